"""PEFT folder -> GGUF LoRA: plan what will be written, refuse what cannot be, write it."""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lorid_convert import architectures, lora_file, notes, peft_folder, placing, verifying
from lorid_convert.lora_file import Row
from lorid_convert.notes import Notes
from lorid_convert.peft_folder import Adapter, Pair
from lorid_convert.placing import Placed
from lorid_local.errors import ConvertError, OutputError
from lorid_local.gguf_header import Header, read_header

OUTTYPES = ("auto", "f32", "f16", "bf16", "q8_0")
SHOWN = 12  # problems of one kind that an error lists in full


@dataclass(frozen=True)
class Plan:
    """What a conversion of `folder` writes; `alpha` is the file's."""

    folder: Path
    adapter: Adapter
    base: Header
    placed: tuple[Placed, ...]
    alpha: float

    @property
    def rows(self) -> list[Row]:
        """The tensors in the order of the file."""
        return [row for placed in self.placed for row in placed.rows]

    @property
    def modules(self) -> int:
        return len(self.adapter.pairs)

    @property
    def folded(self) -> int:
        """How many modules need another scale than the file's alpha gives."""
        return sum(factor != 1 for placed in self.placed for factor in placed.factors.values())


@dataclass(frozen=True)
class Report:
    """What a conversion wrote. `error` is the products' largest relative one; None: unchecked."""

    outfile: Path
    plan: Plan
    bytes: int
    error: float | None


Proof = Callable[[Path], None]
"""Called with the written file before it is put in place; raises LoridError against it."""


def plan(
    peft_dir: Path,
    base: Path,
    outtype: str = "auto",
    *,
    unpickled: Path | None = None,
    values: bool = True,
) -> Plan:
    """Check everything and return what `convert` would write.

    `unpickled` is what the folder's adapter_model.bin holds, as safetensors; without `values`
    no number is read. Raises ModelError for missing or damaged files, ConvertError with all
    other problems at once.
    """
    if outtype not in OUTTYPES:
        raise ConvertError(
            f"outtype {outtype!r}: expected one of {', '.join(OUTTYPES)}", hint="lorid convert -h"
        )
    problems: list[str] = []
    adapter = peft_folder.read(peft_dir, problems, unpickled)
    header = read_header(base)
    architecture = architectures.of(header)
    alpha, placed = placing.place(adapter, architecture, header, outtype, problems)
    if values or problems:  # all that is wrong is told at once
        for one in placed:
            for _ in _watched(placing.load(adapter, one), one.rows, problems):
                pass
    made = Plan(peft_dir, adapter, header, placed, alpha)
    if problems:
        raise _refusal(made, problems)
    return made


def convert(
    peft_dir: Path,
    base: Path,
    outfile: Path,
    outtype: str = "auto",
    said: Notes | None = None,
    *,
    unpickled: Path | None = None,
    verify: bool = True,
    proof: Proof | None = None,
) -> Report:
    """Write the adapter in `peft_dir` to `outfile`, for the base that it will run on.

    With `verify` the written products are compared with PEFT's. Raises as `plan` and `proof`
    do, and OutputError if `outfile` cannot be written. Unless it returns, `outfile` is as it was.
    """
    check_outfile(
        outfile, base, *(peft_dir / name for name in (peft_folder.FILE, "adapter_model.bin"))
    )
    made = plan(peft_dir, base, outtype, unpickled=unpickled, values=False)
    metadata = notes.metadata(
        said or Notes(),
        name=outfile.stem,
        alpha=made.alpha,
        base=made.base,
        base_name=made.adapter.config.base_name,
        files=made.adapter.files,
    )
    with lora_file.put_in_place(outfile) as temporary:
        heard = verifying.heard(made.adapter)
        data = _data(made, heard if verify else made.adapter)
        lora_file.write(temporary, made.base.architecture, metadata, made.rows, data)
        written = lora_file.read_back(temporary, made.rows)
        error = verifying.check(written, heard, made.placed) if verify else None
        if proof:
            proof(temporary)
        size = temporary.stat().st_size
    return Report(outfile, made, size, error)


def check_outfile(outfile: Path, *inputs: Path) -> None:
    """Raise OutputError if `outfile` cannot be written or is one of `inputs`."""
    if not outfile.parent.is_dir():
        raise OutputError(f"{outfile.parent}: no such folder", hint=f"mkdir -p {outfile.parent}")
    if outfile.is_dir():
        raise OutputError(f"{outfile}: is a folder", hint=f"--outfile {outfile / 'adapter.gguf'}")
    for path in inputs:
        if outfile.exists() and path.exists() and os.path.samefile(outfile, path):
            raise OutputError(f"{outfile}: would overwrite {path}", hint="give another --outfile")


def _faults(
    pair: Pair, rows: Sequence[Row], tensors: Sequence[NDArray[np.float32]]
) -> Iterator[str]:
    for entry, row, tensor in zip((pair.a, pair.b), rows, tensors, strict=True):
        # a NaN or an infinity is one end or the other
        low, high = float(tensor.min()), float(tensor.max())
        largest = max(-low, high)
        if not np.isfinite((low, high)).all():
            yield f"tensor {entry.name}: has values that are NaN or infinite; train again"
        elif largest > lora_file.LARGEST[row.type]:
            yield f"tensor {entry.name}: exceeds {row.type} ({largest:g}); use --outtype f32"


def _data(made: Plan, adapter: Adapter) -> Iterator[NDArray[Any]]:
    """Yield the tensors as they are stored; raises ConvertError at the end for bad values."""
    problems: list[str] = []
    for placed in made.placed:
        before = len(problems)
        loaded = _watched(placing.load(adapter, placed), placed.rows, problems)
        tensors = placing.stacked(placed, loaded)
        for row, tensor in zip(placed.rows, tensors, strict=True):
            # a bad value has no place in most types; it is told of at the end with all others
            bad = len(problems) > before
            yield lora_file.encode(np.zeros_like(tensor) if bad else tensor, row.type)
    if problems:
        raise _refusal(made, problems)


def _watched(
    loaded: Iterator[placing.Loaded], rows: Sequence[Row], problems: list[str]
) -> Iterator[placing.Loaded]:
    for expert, pair, a, b in loaded:
        problems += _faults(pair, rows, (a, b))
        yield expert, pair, a, b


def _refusal(made: Plan, problems: list[str]) -> ConvertError:
    name, peft_dir = made.adapter.config.base_name, made.folder
    trained_on = f" ({name})" if name else ""
    return ConvertError(
        f"{peft_dir}: cannot be written as a GGUF LoRA for {made.base.path}; nothing was written:"
        + "".join(f"\n  - {_printable(line)}" for line in _shortened(problems)),
        hint=f"correct this, or give the base it was trained on{trained_on}: "
        f"lorid convert {peft_dir} --base BASE.gguf",
    )


def _shortened(problems: list[str]) -> Iterator[str]:
    """Yield `problems`, with a count in place of the rest where one kind has very many."""
    kinds = Counter(_kind(problem) for problem in problems)
    seen: Counter[str] = Counter()
    for problem in problems:
        kind = _kind(problem)
        seen[kind] += 1
        if seen[kind] <= SHOWN:
            yield problem
        elif seen[kind] == kinds[kind]:
            yield f"and {kinds[kind] - SHOWN} more like these, the last: {problem}"


def _kind(problem: str) -> str:
    """Return the problem without the name it is about, as in 'module fits'."""
    subject, _, text = problem.partition(": ")
    return " ".join([*subject.split()[:1], *text.split()[:1]])


def _printable(line: str) -> str:
    """Return `line` without control characters: names come from files of unknown origin."""
    return "".join(letter if letter.isprintable() else "?" for letter in line)
