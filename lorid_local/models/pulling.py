"""What `lorid models` pulls, imports, checks and removes: from a name to a note on the shelf."""

from collections.abc import Callable, Sequence
from pathlib import Path

from lorid_local.base import sha256
from lorid_local.errors import InputError, ModelError
from lorid_local.gguf_check import check_base
from lorid_local.gguf_header import read_header
from lorid_local.models import parts, shelf
from lorid_local.models.catalogue import Source, source
from lorid_local.models.shelf import Note, Part

PEFT = ("adapter_config.json", "adapter_model.safetensors")
PREFERRED = "q4_k_m"  # of several GGUF files: the usual trade of size against quality
Say = Callable[[str], None]


def pull(what: str, name: str | None, say: Say) -> Note:
    """Pull a model of the catalogue, `owner/repo` or `owner/repo:file`; raises LoridError."""
    from lorid_local.models import hub

    wanted = source(what)
    files = wanted_files(wanted, [] if wanted.file else hub.files(wanted.repo))
    called = shelf.checked_name(name or wanted.name or _name_for(wanted, files))
    fetched = []
    for file in files:
        say(f"{wanted.repo}: {file}")
        fetched.append(hub.fetch(wanted.repo, file))
    kind = "peft" if files == list(PEFT) else "gguf"
    note = Note(
        called,
        kind,
        tuple(f.part for f in fetched),
        repo=wanted.repo,
        revision=fetched[0].commit,
        licence=wanted.licence,
    )
    if kind == "gguf":
        check_base(read_header(note.path))
    shelf.keep(note)
    return note


def wanted_files(wanted: Source, there: Sequence[str]) -> list[str]:
    """Return the files to pull: a GGUF with its parts, or the two of a PEFT adapter.

    `there` are the repository's files, needed where `wanted` names none. Of several GGUF files
    the only Q4_K_M is taken. Raises ModelError if there is none, or no way to choose.
    """
    if wanted.file:
        return parts.siblings(wanted.file)
    if set(PEFT) <= set(there):
        return list(PEFT)
    found = [n for n in parts.first_of(there) if n.endswith(".gguf") and "mmproj" not in n]
    preferred = [name for name in found if PREFERRED in name.lower()]
    chosen = found if len(found) == 1 else preferred
    if len(chosen) == 1:
        return parts.siblings(chosen[0])
    if not found:
        raise ModelError(
            f"{wanted.repo}: holds neither a GGUF model nor a PEFT adapter",
            hint="look for a repository whose name ends in -GGUF",
        )
    raise ModelError(
        f"{wanted.repo}: holds {len(found)} GGUF models: {', '.join(found)}",
        hint=f"lorid models pull {wanted.repo}:{found[0]}",
    )


def _name_for(wanted: Source, files: Sequence[str]) -> str:
    if files == list(PEFT):
        return wanted.repo.rpartition("/")[2]
    return Path(files[0]).stem


def bring(path: Path, name: str | None, say: Say) -> Note:
    """Note a GGUF file that lies on this machine; it stays where it is. Raises LoridError."""
    if not path.is_file():
        raise InputError(f"{path}: no such file", hint="lorid models import PATH.gguf")
    parts.check(path)
    check_base(read_header(path))
    called = shelf.checked_name(name or path.stem)
    if called in shelf.notes():
        raise InputError(
            f"{called}: there is a model of that name",
            hint=f"lorid models import {path} --name OTHER, or lorid models remove {called}",
        )
    held = []
    for file in parts.siblings(path.name):
        say(f"reading {file}")
        whole = path.with_name(file).resolve()
        held.append(Part(str(whole), whole.stat().st_size, sha256(whole)))
    note = Note(called, "gguf", tuple(held))
    shelf.keep(note)
    return note


def faults(note: Note, say: Say) -> list[str]:
    """Return what is wrong with a model's files, each as a sentence; none if all is well."""
    found = []
    for part in note.parts:
        say(f"reading {part.path}")
        path = Path(part.path)
        if not path.is_file():
            found.append(f"{path}: gone")
        elif (size := path.stat().st_size) != part.bytes:
            found.append(f"{path}: {size} bytes, expected {part.bytes}")
        elif (actual := sha256(path)) != part.sha256:
            found.append(f"{path}: its SHA-256 begins with {actual[:12]}, not {part.sha256[:12]}")
    return found


def remove(name: str) -> Note:
    """Forget a model; what was pulled is deleted from the hub's cache too. Raises LoridError."""
    note = shelf.find(name)
    others = [n for n in shelf.notes().values() if n.name != name and n.repo == note.repo]
    if note.repo and not any(other.revision == note.revision for other in others):
        from lorid_local.models import hub

        hub.delete(note.repo, note.revision)
    shelf.forget(note)
    return note
