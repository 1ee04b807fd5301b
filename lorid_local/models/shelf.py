"""The models that this user has: a note for each, in the data folder; the files stay in place.

A pulled file lies in the hub's own cache, an imported one where it was. A note is written last
and whole, so that a pull that was killed leaves none.
"""

import json
import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path

from lorid_local import settings, whole_file
from lorid_local.errors import InputError, ModelError, OutputError, did_you_mean
from lorid_local.models import parts
from lorid_local.models.catalogue import offers

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True)
class Part:
    """A file of a model: where it is, its bytes and its SHA-256."""

    path: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Note:
    """A model: GGUF parts (the first is the one to load) or the files of a PEFT adapter.

    `repo` and `revision` are the hub's; '' for one that was imported.
    """

    name: str
    kind: str
    parts: tuple[Part, ...]
    repo: str = ""
    revision: str = ""
    licence: str = ""

    @property
    def path(self) -> Path:
        """What to give to -m, or the folder that `lorid convert` takes."""
        first = Path(self.parts[0].path)
        return first if self.kind == "gguf" else first.parent

    @property
    def bytes(self) -> int:
        """The size of all parts."""
        return sum(part.bytes for part in self.parts)


def folder() -> Path:
    """Return the folder of the notes (XDG_DATA_HOME/lorid/models)."""
    data = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(data).expanduser() / "lorid" / "models"


def notes() -> dict[str, Note]:
    """Return all notes by name; raises SettingsError for one that is damaged."""
    files = sorted(folder().glob("*.json"))
    return {file.stem: _read(file) for file in files}


def _read(file: Path) -> Note:
    try:
        table = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, OSError):
        table = None
    if not isinstance(table, dict):
        raise ModelError(
            f"{file}: not a note of lorid", hint="remove it, and pull or import the model again"
        )
    return settings.from_table(table, Note, str(file))


def find(name: str) -> Note:
    """Return the note called `name`; raises ModelError with what there is, or the offer."""
    there = notes()
    if name in there:
        return there[name]
    if name in offers():
        raise ModelError(f"{name}: offered, but not pulled yet", hint=f"lorid models pull {name}")
    raise ModelError(
        f"no model {name!r}{did_you_mean(name, there)}",
        hint=f"here: {', '.join(there) or 'none'}; lorid models list shows what is offered",
    )


def located(model: Path | None) -> Path | None:
    """Return the path of what -m names: a file, or a model of this shelf or the catalogue.

    Raises ModelError if there is no model of that name, or parts of it are missing.
    """
    if model is None:
        return None
    if model.name == str(model) and model.suffix != ".gguf" and not model.exists():
        model = _model(find(str(model)))
    parts.check(model)
    return model


def _model(note: Note) -> Path:
    if note.kind != "gguf":
        raise ModelError(
            f"{note.name}: an adapter, and no model to run",
            hint=f"lorid convert {note.path} --base BASE.gguf",
        )
    return note.path


def checked_name(name: str) -> str:
    """Return `name`; raises InputError if it cannot name a note."""
    if not NAME.fullmatch(name):
        raise InputError(
            f"--name {name}: expected letters, digits, '.', '_' and '-', 100 at most",
            hint="lorid models import PATH --name NAME",
        )
    return name


def keep(note: Note) -> Path:
    """Write the note, whole or not at all; raises OutputError."""
    file = folder() / f"{note.name}.json"
    try:
        folder().mkdir(parents=True, exist_ok=True)
        whole_file.write(file, [json.dumps(asdict(note), indent=1)])
    except OSError as error:
        raise OutputError(
            f"{file}: the model's note cannot be written ({error.strerror})",
            hint="set XDG_DATA_HOME to a folder that you may write to",
        ) from None
    return file


def forget(note: Note) -> None:
    """Remove the note; the files stay."""
    (folder() / f"{note.name}.json").unlink(missing_ok=True)
