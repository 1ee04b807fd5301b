"""What the subcommands of `lorid models` do: results on standard output, progress on stderr."""

import json
import sys
from pathlib import Path

from lorid_local.errors import ModelError
from lorid_local.models import pulling, shelf, showing


def list_models(*, as_json: bool) -> None:
    """Print the models that are here and those that are offered."""
    print(json.dumps(showing.data()) if as_json else "\n".join(showing.table()))


def show(*, name: str) -> None:
    """Print what is known of a model."""
    print("\n".join(showing.lines(name)))


def pull(*, what: str, name: str | None) -> None:
    """Pull a model, note it and print its path."""
    print(pulling.pull(what, name, _say).path)


def import_model(*, path: Path, name: str | None) -> None:
    """Note a file that is here and print its path."""
    print(pulling.bring(path, name, _say).path)


def verify(*, name: str) -> None:
    """Compare a model's files with its note; raises ModelError naming every fault."""
    note = shelf.find(name)
    faults = pulling.faults(note, _say)
    if faults:
        again = note.repo + (":" + Path(note.parts[0].path).name if note.kind == "gguf" else "")
        hint = f"lorid models remove {name}, then pull {again}" if note.repo else (
            f"lorid models remove {name}, then import the right file")  # fmt: skip
        raise ModelError("; ".join(faults), hint=hint)
    print(f"{name}: all is well")


def remove(*, name: str) -> None:
    """Forget a model and say what became of its files."""
    note = pulling.remove(name)
    print(f"{name}: {'deleted' if note.repo else 'forgotten; its file stays'}")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
