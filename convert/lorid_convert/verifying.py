"""Proves a written file: what llama.cpp will add to each base tensor is what PEFT adds.

The products are compared on random vectors, so that no product is ever stored whole (R.
Freivalds, 1977). The expected side is written from PEFT's rules and takes no code of `placing`
or `architectures.permute`, so that a fault there is found.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lorid_convert import lora_file
from lorid_convert.architectures import TOKENS
from lorid_convert.peft_folder import Adapter, Pair
from lorid_convert.placing import Placed
from lorid_local.errors import ConvertError
from lorid_local.gguf_header import Header

PROBES = 4  # random vectors a pair
# largest relative error that a type's rounding explains
TOLERANCE = {"f32": 1e-5, "f16": 3e-3, "bf16": 2e-2, "q8_0": 5e-2}
SHOWN = 5
Array = NDArray[np.float32]


@dataclass(frozen=True)
class Error:
    """How far a pair's product is from PEFT's, relative to its size; `type` is as stored."""

    module: str
    relative: float
    type: str

    @property
    def excessive(self) -> bool:
        return not self.relative <= TOLERANCE[self.type]  # NaN is excessive


def check(written: Header, adapter: Adapter, placed: tuple[Placed, ...]) -> float:
    """Return the largest relative error of all products.

    Raises ConvertError, naming the pairs, where one exceeds what its type's rounding explains.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is no proof: it is NaN
        errors = [error for one in placed for error in _errors(written, adapter, one)]
    if wrong := [error for error in errors if error.excessive]:
        shown = "; ".join(f"{e.module} by {e.relative:.2g} ({e.type})" for e in wrong[:SHOWN])
        more = f" and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        raise ConvertError(
            f"{len(wrong)} of {len(errors)} products differ from PEFT's, so nothing was written: "
            f"{shown}{more}",
            hint="use --outtype f32: the values may be too small or too uneven for the type; if "
            "it happens there too, report it",
        )
    return max((error.relative for error in errors), default=0.0)


def _errors(written: Header, adapter: Adapter, placed: Placed) -> Iterator[Error]:
    a, b = (lora_file.read_tensor(written, row.tensor) for row in placed.rows)
    alpha = float(written.metadata["adapter.lora.alpha"])
    rank = b.shape[-1]
    scale = np.float32(alpha / rank if alpha else 1.0)  # llama-adapter.h, get_scale
    worst = max((row.type for row in placed.rows), key=TOLERANCE.__getitem__)
    stacked = len(placed.rows[0].shape) == 3
    for expert, pair in placed.pairs.items():
        one_a, one_b = (a[expert], b[expert]) if stacked else (a, b)
        if placed.tensor == TOKENS:  # llama.cpp takes rows of A and multiplies them by B
            one_a, one_b = one_b.T, one_a
        found = scale * _product(one_a, one_b, _probe(one_a))
        expected = _expected(adapter, pair, placed.heads, _probe(one_a))
        size = float(np.linalg.norm(expected)) or 1.0
        yield Error(pair.module, float(np.linalg.norm(found - expected)) / size, worst)


def _probe(a: Array) -> Array:
    return np.random.default_rng(a.shape[1]).standard_normal((a.shape[1], PROBES), np.float32)


def _product(a: Array, b: Array, probe: Array) -> Array:
    return b @ (a @ probe)


def _expected(adapter: Adapter, pair: Pair, heads: int | None, probe: Array) -> Array:
    """What PEFT adds (lora/layer.py: alpha / r, or alpha / sqrt(r)), its rows as ggml has them."""
    a, b = adapter.load(pair)
    if pair.embedding:
        a, b = b.T, a.T
    config, rank = adapter.config, pair.rank
    scale = config.alpha_of(pair.module) / (math.sqrt(rank) if config.rslora else rank)
    product = np.float32(scale) * _product(a, b, probe)
    return product if heads is None else product[_pairs_of_halves(heads, len(product))]


def _pairs_of_halves(heads: int, rows: int) -> list[int]:
    """Where each row of ggml's comes from: a head's i-th pair is row i of each of its halves."""
    size = rows // heads
    return [
        head * size + half * (size // 2) + i
        for head in range(heads)
        for i in range(size // 2)
        for half in (0, 1)
    ]
