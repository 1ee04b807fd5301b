"""`lorid convert` from flags to exit code: where the converter, llama.cpp and PEFT meet."""

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lorid_convert import finding, inspecting, notes, peft_folder, pipeline
from lorid_convert.notes import Notes
from lorid_convert.pipeline import Plan, Report
from lorid_local.errors import ConvertError, InputError, MissingExtra, OutputError
from lorid_local.models.shelf import located
from lorid_local.tables import show

QUICK = 2 << 30  # bytes of a base that llama.cpp loads and runs in seconds
# how far llama.cpp's effect of an adapter may be from PEFT's, relative to its size: llama.cpp
# rounds the activations of a quantized base, which torch does not (7% on SmolLM2-135M in Q4_1)
CLOSE = {"whole": 0.02, "quantized": 0.25}
WHOLE_TYPES = {0, 1, 30}  # f32, f16 and bf16 of ggml.h
EXTRA = "pip install 'lorid-local[train]'"


@dataclass(frozen=True)
class Flags:
    """The command line. `given` is a folder or a repository in the Hugging Face cache."""

    given: str = ""
    base: Path | None = None
    outfile: Path | None = None
    outtype: str = "auto"
    adapter: str = ""
    all_roles: bool = False
    verify: str = "auto"
    dry_run: bool = False
    inspect: Path | None = None
    said: Notes = field(default_factory=Notes)


def run(flags: Flags) -> None:
    """Do what the flags ask for; what was written goes to stdout. Raises LoridError."""
    if flags.inspect:
        if flags.given:
            raise InputError("PEFT_DIR and --inspect were both given", hint="give one of them")
        return _inspect(flags.inspect, located(flags.base))
    if not flags.given or not flags.base:
        missing = "PEFT_DIR" if not flags.given else "--base"
        raise InputError(f"{missing} is missing", hint="lorid convert PEFT_DIR --base BASE.gguf")
    if flags.all_roles and (flags.adapter or flags.said.role):
        raise InputError(
            "--all was given with --adapter or --role", hint="give --all alone, or without it both"
        )
    base = located(flags.base) or flags.base
    if flags.all_roles:
        return _convert_all(flags, base)
    folder = finding.find(flags.given, flags.adapter)
    _one(flags, folder, base, flags.outfile or _beside(flags.given, folder), flags.said)


def _convert_all(flags: Flags, base: Path) -> None:
    """Convert the three roles; all are checked before the first is written."""
    found = finding.roles(flags.given)
    out = flags.outfile or (Path(flags.given) if Path(flags.given).is_dir() else Path())
    if not out.is_dir():
        raise OutputError(f"{out}: no such folder", hint=f"mkdir -p {out}")
    for folder in found.values():
        with _unpickled(folder) as unpickled:
            pipeline.plan(folder, base, flags.outtype, unpickled=unpickled)
    for role, folder in found.items():
        said = Notes(role.value, flags.said.prompt, flags.said.licence, flags.said.hash_base)
        _one(flags, folder, base, out / f"{role.value}.gguf", said)


def _one(flags: Flags, folder: Path, base: Path, outfile: Path, said: Notes) -> None:
    with _unpickled(folder) as unpickled:
        if flags.dry_run:
            made = pipeline.plan(folder, base, flags.outtype, unpickled=unpickled)
            _show_rows(made)
            _tell(f"{_summary(made)}; nothing was written")
            return
        effects: list[str] = []
        report = pipeline.convert(
            folder,
            base,
            outfile,
            flags.outtype,
            said,
            unpickled=unpickled,
            verify=flags.verify != "off",
            proof=lambda path: effects.extend(_prove(flags.verify, folder, base, path)),
        )
    _tell(f"{_summary(report.plan)}; {report.bytes / 1e6:.1f} MB{_proved(report, effects)}")
    print(report.outfile)


def _beside(given: str, folder: Path) -> Path:
    """Where an adapter goes unless --outfile says: beside its folder, or here from the cache."""
    if Path(given).is_dir():
        return Path(f"{folder.resolve()}.gguf")
    return Path(given.partition("@")[0].rpartition("/")[2] + ".gguf")


@contextmanager
def _unpickled(folder: Path) -> Iterator[Path | None]:
    """Give the folder's adapter_model.bin as safetensors, for as long as the block runs."""
    if not peft_folder.only_pickled(folder):
        yield None
        return
    try:
        from lorid_train import peft_logits
    except ImportError:
        raise MissingExtra(
            f"{folder / peft_folder.PICKLE}: a pickle, which torch alone reads safely",
            hint=f"{EXTRA}, or save the adapter with safe_serialization=True",
        ) from None
    with tempfile.TemporaryDirectory() as temporary:
        target = Path(temporary) / peft_folder.FILE
        peft_logits.to_safetensors(folder / peft_folder.PICKLE, target)
        yield target


def _prove(verify: str, folder: Path, base: Path, adapter: Path) -> list[str]:
    """Return what was proved by running the adapter; raises LoridError against it."""
    if verify == "off" or (verify == "auto" and base.stat().st_size > QUICK):
        return []
    from lorid_local import adapter_proof

    tokens, off, on = adapter_proof.tokens_and_logits(base, adapter)
    if verify != "full":
        return ["acts in llama.cpp"]
    try:
        from lorid_train import peft_logits
    except ImportError:
        raise MissingExtra(
            "--verify=full compares with PEFT, which is missing", hint=EXTRA
        ) from None
    theirs_off, theirs_on = peft_logits.logits(base, folder, tokens)
    return [_compared(base, on - off, theirs_on - theirs_off)]


def _compared(base: Path, ours: Any, theirs: Any) -> str:
    """Compare the adapter's effects on the logits, so that the base's own rounding drops out."""
    import numpy as np

    from lorid_local.gguf_header import read_header

    kinds = {t.type for t in read_header(base).tensors.values()}
    limit = CLOSE["whole" if kinds <= WHOLE_TYPES else "quantized"]
    far = float(np.linalg.norm(ours - theirs) / max(float(np.linalg.norm(theirs)), 1e-30))
    if not far <= limit:
        raise ConvertError(
            f"llama.cpp's effect of the adapter differs from PEFT's by {far:.1%} of its size; "
            f"expected at most {limit:.0%}, so nothing was written",
            hint="check that --base is the model that the adapter was trained on; of one hardly "
            "trained the effect drowns in llama.cpp's rounding: take --verify=on",
        )
    return f"effect within {far:.1%} of PEFT's"


def _proved(report: Report, effects: list[str]) -> str:
    if report.error is None:
        return ""
    return "; ".join(["", f"products within {report.error:.1g} of PEFT's", *effects])


def _summary(made: Plan) -> str:
    types = ", ".join(sorted({row.type for row in made.rows}))
    folded = f"; {made.folded} scales folded into B" if made.folded else ""
    return f"{made.modules} modules, alpha {made.alpha:g}, {types}{folded}"


def _show_rows(made: Plan) -> None:
    rows = [
        (row.tensor, "x".join(map(str, row.shape)), str(row.rank), row.type, str(row.bytes))
        for row in made.rows
    ]
    show(("tensor", "shape", "rank", "type", "bytes"), rows)
    ranks = sorted({row.rank for row in made.rows})
    limit = notes.vllm_rank(ranks[-1])
    served = f"--max-lora-rank {limit}" if limit else "not served"
    _tell(f"ranks {', '.join(map(str, ranks))}; by vLLM: {served}")


def _inspect(path: Path, base: Path | None) -> None:
    found = inspecting.inspect(path, base)
    for name, value in found.facts.items():
        print(f"{name}: {_printable(value)}")
    print()
    rows = [
        (_printable(pair.tensor), "x".join(map(str, pair.a)), "x".join(map(str, pair.b)),
         str(pair.rank), f"{pair.scale:g}", pair.type, str(pair.bytes))
        for pair in found.pairs
    ]  # fmt: skip
    show(("tensor", "lora_a", "lora_b", "rank", "scale", "type", "bytes"), rows)
    for warning in found.warnings:
        _tell(f"Note: {_printable(warning)}")


def _printable(text: str) -> str:
    """Names and values come from files of unknown origin."""
    return "".join(c if c.isprintable() else "?" for c in text)


def _tell(text: str) -> None:
    print(text, file=sys.stderr)
