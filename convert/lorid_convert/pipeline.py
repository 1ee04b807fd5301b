"""PEFT folder -> GGUF LoRA: plan what will be written, refuse what cannot be, write it."""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lorid_convert import architectures, lora_file, peft_folder, placing
from lorid_convert.fingerprint import fingerprint
from lorid_convert.lora_file import Row
from lorid_convert.peft_folder import Adapter
from lorid_convert.placing import Placed
from lorid_local import __version__
from lorid_local.base import sha256
from lorid_local.errors import ConvertError, OutputError
from lorid_local.gguf_header import Header, read_header

OUTTYPES = ("auto", "f32", "f16", "q8_0")
SHOWN = 12  # problems of one kind that an error lists in full


@dataclass(frozen=True)
class Plan:
    """What a conversion writes; `alpha` is the file's."""

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
    """What a conversion wrote."""

    outfile: Path
    plan: Plan
    bytes: int


def plan(peft_dir: Path, base: Path, outtype: str = "auto") -> Plan:
    """Check everything and return what `convert` would write.

    Raises ModelError for missing or damaged files, ConvertError with all other problems at once.
    """
    if outtype not in OUTTYPES:
        raise ConvertError(f"outtype {outtype!r}: expected one of {', '.join(OUTTYPES)}")
    header = read_header(base)
    architecture = architectures.of(header)
    problems: list[str] = []
    adapter = peft_folder.read(peft_dir, problems)
    alpha, placed = placing.place(adapter, architecture, header, outtype, problems)
    for one in placed:
        _check_values(adapter, one, problems)
    if problems:
        raise _refusal(peft_dir, base, adapter, problems)
    return Plan(adapter, header, placed, alpha)


def convert(
    peft_dir: Path, base: Path, outfile: Path, outtype: str = "auto", role: str | None = None
) -> Report:
    """Write the adapter in `peft_dir` to `outfile`, for the base that it will run on.

    Raises as `plan` does, and OutputError if `outfile` cannot be written. Unless it returns,
    `outfile` is as it was.
    """
    _check_outfile(outfile, base, peft_dir / peft_folder.FILE)
    made = plan(peft_dir, base, outtype)
    metadata = _metadata(made, outfile, role)
    with lora_file.put_in_place(outfile) as temporary:
        lora_file.write(temporary, made.base.architecture, metadata, made.rows, _data(made))
        lora_file.verify(temporary, made.rows)
        size = temporary.stat().st_size
    return Report(outfile, made, size)


def _check_outfile(outfile: Path, *inputs: Path) -> None:
    if not outfile.parent.is_dir():
        raise OutputError(f"{outfile.parent}: no such folder", hint=f"mkdir -p {outfile.parent}")
    if outfile.is_dir():
        raise OutputError(f"{outfile}: is a folder", hint=f"--outfile {outfile / 'adapter.gguf'}")
    for path in inputs:
        if outfile.exists() and path.exists() and os.path.samefile(outfile, path):
            raise OutputError(f"{outfile}: would overwrite {path}", hint="give another --outfile")


def _check_values(adapter: Adapter, placed: Placed, problems: list[str]) -> None:
    for _, pair, a, b in placing.load(adapter, placed):
        for entry, row, tensor in zip((pair.a, pair.b), placed.rows, (a, b), strict=True):
            name, largest = entry.name, float(np.abs(tensor).max())
            if not np.isfinite(largest):
                problems.append(f"tensor {name}: has values that are NaN or infinite; train again")
            elif largest > lora_file.LARGEST[row.type]:
                problems.append(
                    f"tensor {name}: exceeds {row.type} ({largest:g}); use --outtype f32"
                )


def _data(made: Plan) -> Iterator[NDArray[Any]]:
    for placed in made.placed:
        for row, tensor in zip(placed.rows, placing.tensors(made.adapter, placed), strict=True):
            yield lora_file.encode(tensor, row.type)


def _metadata(made: Plan, outfile: Path, role: str | None) -> dict[str, str | float]:
    metadata: dict[str, str | float] = {
        "adapter.lora.alpha": made.alpha,
        "general.name": outfile.stem,
        "lorid.version": __version__,
        "lorid.base_fingerprint": fingerprint(made.base),
        "lorid.source_sha256": sha256(made.adapter.weights),
    }
    return metadata | ({"lorid.role": role} if role else {})


def _refusal(peft_dir: Path, base: Path, adapter: Adapter, problems: list[str]) -> ConvertError:
    trained_on = f" ({adapter.config.base_name})" if adapter.config.base_name else ""
    return ConvertError(
        f"{peft_dir}: cannot be written as a GGUF LoRA for {base}; nothing was written:"
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
