"""Draws a token from logits: temperature, top-k, top-p (nucleus), then a seeded draw.

numpy does what a chain of llama.cpp's samplers does, in a tenth of the time on a large
vocabulary: only tokens that weigh something are weighed, only those that can be in the nucleus
are sorted.
"""

import math
from typing import Any

import numpy as np

from lorid_local.errors import EngineError

BLOCK = 256  # tokens whose weights are summed in one go
LOST = 1e-6  # what all tokens left out may weigh together, as a share of the best one's weight
SPARSE = 16  # one token in so many must weigh something for all to be weighed
Logits = np.ndarray[Any, np.dtype[np.float32]]


class Sampler:
    """One sample's way of drawing; greedy at temperature 0, `top_k` 0 keeps all tokens."""

    def __init__(self, *, temperature: float, top_p: float, seed: int, top_k: int = 0) -> None:
        self.temperature, self.top_p, self.top_k = temperature, top_p, top_k
        self._room: Logits = np.empty(0, np.float32)
        self._random = np.random.default_rng(seed % 2**64)

    def draw(self, logits: Logits) -> int:
        """Return a token; `logits` has shape (vocabulary,). Raises EngineError if all are lost."""
        best = int(logits.argmax())
        if not np.isfinite(logits[best]):  # argmax finds a NaN first
            raise EngineError(
                "the model computed logits that are not numbers: a file of it may be damaged",
                hint='rm -r "$(lorid paths cache)", which is written again, then lorid doctor',
            )
        if self.temperature <= 0:
            return best
        tokens = self._likeliest(logits, self._heavy(logits, logits[best]))
        weights = self._weigh(logits if tokens is None else logits[tokens], logits[best])
        at = self._pick_any(weights) if self.top_p >= 1 else self._pick_nucleus(weights)
        return at if tokens is None else int(tokens[at])

    def logprob(self, logits: Logits, token: int) -> float:
        """Return the natural logarithm of a token's probability at temperature 1, among all."""
        if len(self._room) < len(logits):
            self._room = np.empty(len(logits), np.float32)
        room, best = self._room[: len(logits)], logits.max()
        np.exp(np.subtract(logits, best, out=room), out=room)
        return float(logits[token] - best) - math.log(float(room.sum()))

    def _heavy(self, logits: Logits, best: np.float32) -> "np.ndarray[Any, Any] | None":
        """Return the tokens of which all others weigh less than LOST; None if they are many."""
        reach = self.temperature * math.log(len(logits) / LOST)
        heavy = logits >= best - np.float32(reach)
        few = np.count_nonzero(heavy) * SPARSE < len(logits)
        return np.flatnonzero(heavy) if few else None

    def _likeliest(
        self, logits: Logits, tokens: "np.ndarray[Any, Any] | None"
    ) -> "np.ndarray[Any, Any] | None":
        """Return the top_k of the tokens (None: all), and those that tie with the last of them."""
        held = logits if tokens is None else logits[tokens]
        if not 0 < self.top_k < len(held):
            return tokens
        among = np.flatnonzero(held >= np.partition(held, -self.top_k)[-self.top_k])
        return among if tokens is None else tokens[among]

    def _weigh(self, logits: Logits, best: np.float32) -> Logits:
        """Return exp((logits - best) / temperature), shape (blocks, BLOCK), filled up with zeros.

        The memory is used again by the next call.
        """
        count = len(logits)
        size = -(-count // BLOCK) * BLOCK
        if len(self._room) < size:
            self._room = np.empty(size, np.float32)
        room = self._room[:count]
        with np.errstate(over="ignore"):  # a tiny temperature: all others fall to weight 0
            np.subtract(logits, best, out=room)
            np.divide(room, np.float32(self.temperature), out=room)
        np.exp(room, out=room)
        self._room[count:size] = 0
        return self._room[:size].reshape(-1, BLOCK)

    def _pick_any(self, weights: Logits) -> int:
        """Return an index of all, drawn by weight: first its block is found, then its place."""
        sums = _block_sums(weights).cumsum()
        wanted = self._random.random() * sums[-1]
        block = min(int(np.searchsorted(sums, wanted, side="right")), len(sums) - 1)
        inside = weights[block].cumsum(dtype=np.float64)
        if block:
            wanted -= sums[block - 1]
        at = int(np.searchsorted(inside, wanted, side="right"))
        # rounding must not lead past the last token of the block that has a weight
        return block * BLOCK + min(at, int(np.searchsorted(inside, inside[-1])))

    def _pick_nucleus(self, weights: Logits) -> int:
        """Return an index of the fewest that together hold top_p of the weight, by weight."""
        total = float(_block_sums(weights).sum())
        weights = weights.reshape(-1)
        # all tokens below this weight together are less than what top-p cuts off
        floor = (1 - self.top_p) * total / len(weights)
        able = np.flatnonzero(weights > floor)
        able = able[np.argsort(-weights[able], kind="stable")]
        sums = weights[able].cumsum(dtype=np.float64)
        size = int(np.searchsorted(sums, self.top_p * total)) + 1
        return int(able[self._pick(sums[:size])])

    def _pick(self, sums: Any) -> int:
        """Return an index, drawn in proportion to the steps of `sums`."""
        at = int(np.searchsorted(sums, self._random.random() * sums[-1], side="right"))
        return min(at, len(sums) - 1)


def _block_sums(weights: Logits) -> "np.ndarray[Any, np.dtype[np.float64]]":
    """Return each row's sum; einsum takes a quarter of the time of np.sum over so short rows."""
    sums: np.ndarray[Any, np.dtype[np.float64]] = np.einsum("ij->i", weights).astype(np.float64)
    return sums
