"""Proves a written file: what llama.cpp will add to each base tensor is what PEFT adds.

The products are compared on random vectors, so that no product is ever stored whole (R.
Freivalds, 1977). The expected side is written from PEFT's rules and takes no code of `placing`
or `architectures.permute`, so that a fault there is found; it is computed while the numbers are
read to be written, so that they are read once.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from lorid_convert import lora_file
from lorid_convert.architectures import TOKENS
from lorid_convert.peft_folder import Adapter, Pair
from lorid_convert.placing import Placed
from lorid_local.errors import ConvertError
from lorid_local.gguf_header import Header

PROBES = 2  # random vectors a pair
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


@dataclass(frozen=True)
class Heard(Adapter):
    """An adapter that remembers what each pair loaded from it adds to the probe, as PEFT's rules
    say (lora/layer.py: alpha / r, or alpha / sqrt(r)), rows in PEFT's order.
    """

    products: dict[tuple[str, bool], Array] = field(default_factory=dict)

    def load(self, pair: Pair) -> tuple[Array, Array]:
        a, b = super().load(pair)
        inner, outer = (b.T, a.T) if pair.embedding else (a, b)
        rank = math.sqrt(pair.rank) if self.config.rslora else pair.rank
        scale = np.float32(self.config.alpha_of(pair.module) / rank)
        with _overflowing():
            product = scale * _product(inner, outer, _probe(inner.shape[1]))
        self.products[pair.module, pair.embedding] = product
        return a, b


def heard(adapter: Adapter) -> Heard:
    """Return `adapter` so that what is loaded from it can be checked."""
    return Heard(adapter.files, adapter.config, adapter.pairs, adapter.copies)


def check(written: Header, adapter: Heard, placed: tuple[Placed, ...]) -> float:
    """Return the largest relative error of all products that were loaded from `adapter`.

    Raises ConvertError, naming the pairs, where one exceeds what its type's rounding explains.
    """
    with _overflowing():
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


def _overflowing() -> "np.errstate":
    """What overflows becomes NaN, which is an excessive error."""
    return np.errstate(over="ignore", invalid="ignore")


def _errors(written: Header, adapter: Heard, placed: Placed) -> Iterator[Error]:
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
        found = scale * _product(one_a, one_b, _probe(one_a.shape[1]))
        expected = adapter.products[pair.module, pair.embedding]
        if placed.heads is not None:
            expected = expected[_pairs_of_halves(placed.heads, len(expected))]
        size = float(np.linalg.norm(expected)) or 1.0
        yield Error(pair.module, float(np.linalg.norm(found - expected)) / size, worst)


@lru_cache(8)
def _probe(width: int) -> Array:
    return np.random.default_rng(width).standard_normal((width, PROBES), np.float32)


def _product(a: Array, b: Array, probe: Array) -> Array:
    return b @ (a @ probe)


@lru_cache(8)
def _pairs_of_halves(heads: int, rows: int) -> NDArray[np.intp]:
    """Where each row of ggml's comes from: a head's i-th pair is row i of each of its halves."""
    size = rows // heads
    return np.array(
        [
            head * size + half * (size // 2) + i
            for head in range(heads)
            for i in range(size // 2)
            for half in (0, 1)
        ]
    )
