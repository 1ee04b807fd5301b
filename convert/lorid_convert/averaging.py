"""GGUF LoRA files of one base -> one: the average of what they change, cut to a rank by SVD.

Averaged are the products, scale * B A, not A and B themselves, which each run has in coordinates
of its own. Runs that differ in start or data make other mistakes; their average ("model soup",
arXiv 2203.05482) is often better than each, and costs no more to run.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lorid_convert import lora_file, notes, pipeline
from lorid_convert.architectures import TOKENS
from lorid_convert.lora_file import Row
from lorid_convert.notes import Notes
from lorid_local.errors import ConvertError, InputError
from lorid_local.gguf_check import check_adapter
from lorid_local.gguf_header import Header, read_header

Matrix = NDArray[np.float32]
KEPT = ("lorid.role", "lorid.prompt", "general.license")


class Pair(NamedTuple):
    """B (..., out, rank) and A (..., rank, in), with every scale and weight in B."""

    b: Matrix
    a: Matrix

    @property
    def norm(self) -> float:
        """The Frobenius norm of B A, which is never made."""
        return float(np.linalg.norm(_core(self).middle))


class Core(NamedTuple):
    """B A = left @ middle @ right; left's columns and right's rows are orthonormal."""

    left: Matrix
    middle: Matrix
    right: Matrix


@dataclass(frozen=True)
class Averaged:
    """What was written. `error` is how far the file's products are from the exact average, by the
    norm of all together and relative to it: what the cut to `rank` and the number type cost."""

    outfile: Path
    modules: int
    rank: int
    alpha: float
    error: float
    bytes: int


def average(
    adapters: Mapping[Path, float], base: Path, outfile: Path, rank: int = 0, outtype: str = "auto"
) -> Averaged:
    """Write the sum of `adapters`, each times its weight, to `outfile`.

    `rank` 0 is the largest of theirs. Role, prompt profile and licence are the first one's. Raises
    ModelError for a file that is no adapter of `base`, ConvertError for numbers that are not
    finite or do not fit `outtype`, OutputError if `outfile` cannot be written.
    """
    pipeline.check_outfile(outfile, base, *adapters)
    model, headers = read_header(base), [read_header(path) for path in adapters]
    for header in headers:
        check_adapter(header, model)
    tensors = _tensors(headers)  # the first one's come first
    rank = rank or max(_rank(header, tensor) for header in headers for tensor in _tensors([header]))
    alpha = lora_file.scale(headers[0], _rank(headers[0], tensors[0])) * rank
    weighted = list(zip(headers, adapters.values(), strict=True))
    rows = [row for tensor in tensors for row in _rows(weighted, tensor, rank, outtype)]
    far = Distance()
    with lora_file.put_in_place(outfile) as temporary:
        lora_file.write(
            temporary, model.architecture, _metadata(headers, model, outfile, alpha), rows,
            _data(weighted, tensors, rows, alpha),
        )  # fmt: skip
        written = lora_file.read_back(temporary, rows)
        for tensor in tensors:
            far.add(_sum(weighted, tensor), _pair(written, tensor, 1.0))
        size = temporary.stat().st_size
    return Averaged(outfile, len(tensors), rank, alpha, far.relative, size)


class Distance:
    """How far written products are from the exact ones, all together."""

    def __init__(self) -> None:
        self._apart = self._whole = 0.0

    def add(self, exact: Pair, written: Pair) -> None:
        """Count one tensor's."""
        difference = Pair(
            np.concatenate([exact.b, -written.b], -1), np.concatenate([exact.a, written.a], -2)
        )
        self._apart += difference.norm**2
        self._whole += exact.norm**2

    @property
    def relative(self) -> float:
        """The norm of the differences, by that of the exact products."""
        return float((self._apart / self._whole) ** 0.5) if self._whole else 0.0


def _tensors(headers: Sequence[Header]) -> list[str]:
    """Return what any of the files adapts, in their order."""
    halves = (name for header in headers for name in header.tensors)
    return list(dict.fromkeys(name.rpartition(".lora_")[0] for name in halves))


def _rank(header: Header, tensor: str) -> int:
    return header.tensors[f"{tensor}.lora_b"].shape[-1]


def _pair(header: Header, tensor: str, weight: float) -> Pair:
    a, b = (lora_file.read_tensor(header, f"{tensor}.lora_{side}") for side in "ab")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ConvertError(
            f"{header.path}: {tensor} has values that are NaN or infinite",
            hint="leave this adapter out, or train it again",
        )
    scale = weight * lora_file.scale(header, b.shape[-1])
    return Pair(b * np.float32(scale), a.T if tensor == TOKENS else a)


def _sum(weighted: Sequence[tuple[Header, float]], tensor: str) -> Pair:
    """Return the weighted sum of a tensor's products; a file that lacks it adds nothing."""
    pairs = [_pair(h, tensor, w) for h, w in weighted if f"{tensor}.lora_b" in h.tensors]
    return Pair(np.concatenate([p.b for p in pairs], -1), np.concatenate([p.a for p in pairs], -2))


def _core(pair: Pair) -> Core:
    left, upper = np.linalg.qr(pair.b)
    right, lower = np.linalg.qr(np.swapaxes(pair.a, -1, -2))
    return Core(left, upper @ np.swapaxes(lower, -1, -2), np.swapaxes(right, -1, -2))


def _cut(pair: Pair, rank: int, scale: float) -> tuple[Matrix, Matrix]:
    """Return A and B of the nearest product of this rank, B A = product / scale.

    Where the product's own rank is smaller, the rest is zeros.
    """
    core = _core(pair)
    u, sizes, v = np.linalg.svd(core.middle, full_matrices=False)
    u, sizes, v = u[..., :rank], sizes[..., :rank], v[..., :rank, :]
    roots = np.sqrt(sizes / np.float32(scale))
    b, a = (core.left @ u) * roots[..., None, :], roots[..., None] * (v @ core.right)
    short = rank - roots.shape[-1]
    none = [(0, 0)] * (a.ndim - 2)
    return np.pad(a, [*none, (0, short), (0, 0)]), np.pad(b, [*none, (0, 0), (0, short)])


def _rows(
    weighted: Sequence[tuple[Header, float]], tensor: str, rank: int, outtype: str
) -> Iterator[Row]:
    header = next(h for h, _ in weighted if f"{tensor}.lora_b" in h.tensors)
    for side in "ab":
        shape = header.tensors[f"{tensor}.lora_{side}"].shape
        short = side == "a" and tensor != TOKENS  # A is (rank, in), and turned (in, rank)
        shape = (*shape[:-2], rank, shape[-1]) if short else (*shape[:-1], rank)
        yield Row(f"{tensor}.lora_{side}", shape, rank, lora_file.choose_type(outtype, shape[-1]))


def _data(
    weighted: Sequence[tuple[Header, float]], tensors: Sequence[str], rows: Sequence[Row],
    alpha: float,
) -> Iterator[NDArray[Any]]:  # fmt: skip
    """Yield the tensors as they are stored, in the order of `rows`."""
    for at, tensor in enumerate(tensors):
        row_a, row_b = rows[2 * at : 2 * at + 2]
        a, b = _cut(_sum(weighted, tensor), row_b.rank, alpha / row_b.rank)
        for row, numbers in ((row_a, a.T if tensor == TOKENS else a), (row_b, b)):
            if float(np.abs(numbers).max()) > lora_file.LARGEST[row.type]:
                raise ConvertError(f"tensor {row.tensor}: exceeds {row.type}",
                                   hint="use --outtype f32")  # fmt: skip
            yield lora_file.encode(np.ascontiguousarray(numbers), row.type)


def _metadata(
    headers: Sequence[Header], base: Header, outfile: Path, alpha: float
) -> dict[str, str | float]:
    first = headers[0].metadata
    role, prompt, licence = (str(first.get(key, "")) for key in KEPT)
    return notes.metadata(
        Notes(role, prompt, licence), name=outfile.stem, alpha=alpha, base=base,
        base_name=str(first.get("lorid.trained_on", "")), files=[h.path for h in headers],
    )  # fmt: skip


def weights(said: str, count: int) -> list[float]:
    """Return the weights of `count` adapters: equal shares, or the numbers said, with commas."""
    if count < 2:
        raise InputError(
            f"{count} adapter: an average needs two or more", hint="lorid average A.gguf B.gguf"
        )
    try:
        found = [float(part) for part in said.split(",")] if said else [1 / count] * count
    except ValueError:
        found = []
    if len(found) != count or not all(np.isfinite(found)):
        raise InputError(
            f"--weights {said!r}: expected {count} numbers with commas, one for each adapter",
            hint=f"--weights {','.join(['1'] * count)} adds them up; without it they are averaged",
        )
    return found
