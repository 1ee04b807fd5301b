"""`lorid models list` and `show` as rows and lines of text."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lorid_local.models.catalogue import Offer, offers
from lorid_local.models.shelf import Note, find, notes

HEADS = ("name", "MB", "laptop", "licence", "where")


def rows() -> Iterator[tuple[str, ...]]:
    """Yield heads, then the models here, then those that are offered."""
    yield HEADS
    here = notes()
    for note in here.values():
        yield note.name, _mb(note.bytes), "", note.licence, str(note.path)
    for offer in offers().values():
        if offer.name not in here:
            yield (offer.name, str(offer.size_mb), f"{offer.laptop_gb} GB", offer.licence,
                   f"lorid models pull {offer.name}")  # fmt: skip


def table() -> Iterator[str]:
    """Yield `rows` as lines of even columns."""
    found = list(rows())
    widths = [max(len(row[i]) for row in found) for i in range(len(HEADS) - 1)]
    for row in found:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        yield "  ".join((*cells, row[-1])).rstrip()


def data() -> dict[str, Any]:
    """Return the same as JSON-ready data."""
    here = notes()
    return {
        "schema": "lorid-models/1",
        "here": [_note(note) for note in here.values()],
        "offered": [vars(offer) for name, offer in offers().items() if name not in here],
    }


def _note(note: Note) -> dict[str, Any]:
    return {
        "name": note.name, "kind": note.kind, "path": str(note.path), "bytes": note.bytes,
        "repo": note.repo, "revision": note.revision, "licence": note.licence,
        "sha256": [part.sha256 for part in note.parts],
    }  # fmt: skip


def lines(name: str) -> Iterator[str]:
    """Yield what is known of a model; raises ModelError if there is none of that name."""
    there = offers()
    if name in there and name not in notes():
        yield from _offered(there[name])
        return
    note = find(name)
    for key, value in _note(note).items():
        if value and key != "sha256":
            yield f"{key}: {value}"
    for part in note.parts:
        there_is = "" if Path(part.path).is_file() else " (gone)"
        yield f"file: {part.path}{there_is}, SHA-256 {part.sha256}"
    yield _next(note)


def _next(note: Note) -> str:
    if note.kind == "gguf":
        return f"next: lorid solve -m {note.name} PROBLEM"
    return f"next: lorid convert {note.path} --base BASE.gguf --outfile ROLE.gguf"


def _offered(offer: Offer) -> Iterator[str]:
    yield f"name: {offer.name}"
    yield f"repo: {offer.repo}"
    yield f"file: {offer.file}, about {offer.size_mb} MB"
    yield f"licence: {offer.licence}"
    yield f"for: laptops of {offer.laptop_gb} GB or more"
    if offer.note:
        yield f"note: {offer.note}"
    yield f"next: lorid models pull {offer.name}"


def _mb(size: int) -> str:
    return f"{size / 1e6:.0f}"
