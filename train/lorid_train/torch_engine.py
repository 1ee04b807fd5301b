"""TorchEngine: the engine's seam on torch, for machines with a large GPU and no llama.cpp.

Draws hundreds of samples at once, for rejection sampling and for measuring a training run where
it ran. The model of a role is the base with that role's adapter merged into it. Knows byte-level
tokenizers only (GPT-2's kind).
"""

import copy
import warnings
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import PeftModel
from transformers import DynamicCache
from transformers.convert_slow_tokenizer import bytes_to_unicode

from lorid_local import calculator
from lorid_local.engine import Cancelled, Completion, OnDone, OnToken, Request, Role, never
from lorid_local.errors import EngineError, TrainError
from lorid_local.sample import Sample
from lorid_train import masking, parallel, sft
from lorid_train.recipe import Precision

BYTES = {letter: byte for byte, letter in bytes_to_unicode().items()}
WIDTH = 512  # samples at once
SHRINK = 0.5  # rows that have ended are dropped when fewer than this share go on


@dataclass
class Row:
    """A sample under way: what is forced upon it next, and its random numbers."""

    sample: Sample
    random: Any
    forced: deque[int] = field(default_factory=deque)

    @property
    def ended(self) -> bool:
        return self.sample.finish is not None


class TorchEngine:
    """Implements `lorid_local.engine.Engine`; roles without an adapter use the bare base.

    `adapters` are PEFT folders. Raises TrainError for a base or tokenizer it cannot use.
    """

    def __init__(self, base: Path, adapters: Mapping[Role, Path] | None = None, *,
                 precision: Precision = "auto", width: int = WIDTH) -> None:  # fmt: skip
        self.width = width
        self.device = parallel.device(parallel.place())
        self.tokenizer, bare = sft.read(base, precision, self.device)
        if not is_byte_level(self.tokenizer.backend_tokenizer.decoder):
            raise TrainError(
                f"{base}: TorchEngine reads byte-level tokenizers only",
                hint="use `lorid eval`, which runs on llama.cpp",
            )
        self._models: dict[Role | None, Any] = {}
        for role, folder in (adapters or {}).items():
            with warnings.catch_warnings(action="ignore"):  # of old names that peft still uses
                adapted = PeftModel.from_pretrained(copy.deepcopy(bare), str(folder))
            self._models[role] = adapted.merge_and_unload().to(self.device).eval()
        self._models[None] = bare.to(self.device).eval()
        self._encode = sft.encoder(self.tokenizer)
        self._end: int = self.tokenizer.eos_token_id
        self._pieces: dict[int, bytes] = {}

    def generate(
        self,
        requests: Sequence[Request],
        on_token: OnToken | None = None,
        cancelled: Cancelled = never,
        on_done: OnDone | None = None,
    ) -> list[Completion]:
        """Return one completion a request, in order; `on_token` is told whole texts at the end."""
        prompts = [masking.encode_prompt(r.prompt, self._encode) for r in requests]
        order = deque(sorted(range(len(requests)), key=lambda i: (len(prompts[i]), i)))
        done: dict[int, Completion] = {}
        needless: set[int] = set()
        while order:
            chosen = [order.popleft() for _ in range(min(self.width, len(order)))]
            rows = [self._row(i, requests[i], prompts[i]) for i in chosen if i not in needless]
            done |= {i: Completion("", "cancelled", 0) for i in chosen if i in needless}
            for row in self._finished(rows, cancelled, needless):
                index = row.sample.index
                done[index] = row.sample.completion()
                if on_token and done[index].text:
                    on_token(index, done[index].text)
                if on_done and row.ended and row.sample.finish != "cancelled":
                    needless |= set(on_done(index, done[index])) - done.keys()
        return [done[i] for i in range(len(requests))]

    def _row(self, index: int, request: Request, prompt: list[int]) -> Row:
        if not prompt:
            raise EngineError("a request's prompt holds no tokens")
        return Row(Sample(index, request, 0, prompt), np.random.default_rng(request.seed % 2**64))

    @torch.inference_mode()  # type: ignore[untyped-decorator]  # torch has no types here
    def _finished(self, rows: list[Row], cancelled: Cancelled, needless: set[int]) -> Iterator[Row]:
        """Advance `rows`, all of one role, together; yield each when it has ended."""
        if not rows:
            return
        model = self._models.get(rows[0].sample.request.role, self._models[None])
        state = _Prefilled(model, [row.sample.prompt for row in rows], self.device)
        going = rows  # row i of the cache belongs to going[i], ended or not
        while True:
            drawn = self._draw(state.logits, going)
            told = _logprobs(state.logits, drawn, going)
            for row, token, logprob in zip(going, drawn, told, strict=True):
                if row.ended:
                    continue
                if cancelled() or row.sample.index in needless:
                    row.sample.finish = "cancelled"
                else:
                    self._advance(row, token, logprob)
                if row.ended:
                    yield row
            left = [i for i, row in enumerate(going) if not row.ended]
            if not left:
                return
            if len(left) < SHRINK * len(going):
                state.keep(left)
                going = [going[i] for i in left]
            state.step([row.sample.tokens_pending[-1] for row in going])

    def _advance(self, row: Row, drawn: int, logprob: float) -> None:
        """Take the next forced token, or the drawn one and what the calculator puts behind it."""
        sample = row.sample
        sample.logprob += 0.0 if row.forced else logprob
        token = row.forced.popleft() if row.forced else drawn
        if token == self._end:
            sample.end()
            return
        sample.take(token, self._piece(token))
        if sample.request.calculator and not row.forced and not sample.finish:
            forced = self._continuation("=", calculator.result(sample.text))
            if sample.tokens + len(forced) < sample.request.max_tokens:
                row.forced.extend(forced)

    def _continuation(self, before: str, text: str) -> list[int]:
        """Return the tokens of `text` as they stand behind the token `before`."""
        head, whole = self._encode(before, False), self._encode(before + text, False)
        return whole[len(head) :] if whole[: len(head)] == head else self._encode(text, False)

    def _piece(self, token: int) -> bytes:
        """Return a token's bytes; b'' for a special one, as in llama.cpp."""
        if token not in self._pieces:
            added = self.tokenizer.added_tokens_decoder.get(token)
            letters = "" if added and added.special else self.tokenizer.convert_ids_to_tokens(token)
            self._pieces[token] = bytes(BYTES[letter] for letter in letters)
        return self._pieces[token]

    def _draw(self, logits: Any, rows: list[Row]) -> list[int]:
        """Return a token a row; logits (rows, vocabulary). Temperature, then top-k, then top-p."""
        requests = [row.sample.request for row in rows]
        best = logits.argmax(-1)
        if all(r.temperature <= 0 for r in requests):
            return list(best.tolist())
        column = {"device": self.device, "dtype": torch.float32}
        heat = torch.tensor([[max(r.temperature, 1e-6)] for r in requests], **column)
        top_p = torch.tensor([[r.top_p] for r in requests], **column)
        luck = torch.tensor([[row.random.random()] for row in rows], **column)
        weights, order = torch.softmax(logits.float() / heat, -1).sort(-1, descending=True)
        if any(r.top_k for r in requests):
            kept = torch.tensor([[r.top_k or weights.shape[-1]] for r in requests], **column)
            weights *= torch.arange(weights.shape[-1], device=self.device) < kept
            weights /= weights.sum(-1, keepdim=True)
        sums = weights.cumsum(-1)
        # the nucleus: tokens until top_p is reached, the one that reaches it included
        size = ((sums < top_p).sum(-1, keepdim=True) + 1).clamp(max=weights.shape[-1])
        total = sums.gather(-1, size - 1)
        at = torch.searchsorted(sums, luck * total, right=True).clamp(max=size - 1)
        drawn = order.gather(-1, at).squeeze(-1)
        greedy = torch.tensor([r.temperature <= 0 for r in requests], device=self.device)
        return list(torch.where(greedy, best, drawn).tolist())


def _logprobs(logits: Any, drawn: list[int], rows: list[Row]) -> list[float]:
    """Return the drawn tokens' log-probabilities at temperature 1, zeros where nobody asks."""
    if not any(row.sample.request.logprob for row in rows):
        return [0.0] * len(rows)
    tokens = torch.tensor(drawn, device=logits.device)[:, None]
    return list(torch.log_softmax(logits.float(), -1).gather(-1, tokens).squeeze(-1).tolist())


def is_byte_level(decoder: Any) -> bool:
    """True if a tokenizer's decoder is GPT-2's, alone or (transformers 5.17) in a sequence."""
    return b'"ByteLevel"' in decoder.__getstate__()


class _Prefilled:
    """A batch's KV cache, its mask and the logits of the last tokens; prompts padded left."""

    def __init__(self, model: Any, prompts: list[list[int]], device: Any) -> None:
        self.model, self.device = model, device
        self.cache = DynamicCache()
        longest = max(map(len, prompts))
        pads = [longest - len(prompt) for prompt in prompts]
        ids = [[*[0] * pad, *prompt] for pad, prompt in zip(pads, prompts, strict=True)]
        mask = [[*[0] * pad, *[1] * (longest - pad)] for pad in pads]
        self.mask = torch.tensor(mask, device=device)
        self._forward(torch.tensor(ids, device=device), (self.mask.cumsum(-1) - 1).clamp(min=0))

    def step(self, tokens: list[int]) -> None:
        """Decode one more token a row."""
        self.mask = torch.cat([self.mask, self.mask.new_ones(len(tokens), 1)], 1)
        ids = torch.tensor(tokens, device=self.device)[:, None]
        self._forward(ids, self.mask.sum(-1, keepdim=True) - 1)

    def keep(self, rows: list[int]) -> None:
        """Drop all other rows."""
        index = torch.tensor(rows, device=self.device)
        self.cache.batch_select_indices(index)
        self.mask = self.mask[index]

    def _forward(self, ids: Any, positions: Any) -> None:
        out = self.model(
            input_ids=ids,
            attention_mask=self.mask,
            position_ids=positions,
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=1,
        )
        self.logits = out.logits[:, -1]
