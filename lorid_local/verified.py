"""Remembers what was found of files in the user's cache, so that it is found once: a file's
SHA-256, for which it is read whole, and claims such as that an adapter acts on a base.

Unchanged is what it is for git: the same place on the disk, the same length and times. A file that
was written a moment ago is not remembered: a change right behind could bear the same times.
Damage on the disk that changes none of these goes unnoticed; `lorid doctor` reads files whole and
proves adapters anew.
"""

import hashlib
import os
import re
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from lorid_local import base, whole_file
from lorid_local.base_type import cache_folder
from lorid_local.errors import OutputError

SETTLED = 2.0  # seconds: the coarsest clock that file systems have (FAT)
NOTE = re.compile(r"([\d ]+)\n([0-9a-f]{64})\n")


def sha256(path: Path) -> str:
    """Return the hex SHA-256 of a file; raises ModelError if it cannot be read."""
    with suppress(OSError, OutputError):  # no cache, or none that can be used: no memory
        stamp, note = _stamp(path), _note([path])
        if found := _remembered(note, stamp):
            return found
        digest = base.sha256(path)
        if stamp == _stamp(path) and _settled(path):
            _remember(note, f"{stamp}\n{digest}\n")
        return digest
    return base.sha256(path)


class Claim:
    """Something found true of `files` together, under circumstances that `about` tells of.

    Make it before they are looked at: it is about the files as they are then.
    """

    def __init__(self, files: Sequence[Path], about: bytes) -> None:
        self._files = files
        self._about = hashlib.sha256(about).hexdigest()
        self._text = self._now()

    def holds(self) -> bool:
        """True if it is remembered of these files, unchanged, and of these circumstances."""
        with suppress(OSError, OutputError, UnicodeDecodeError):
            return bool(self._text) and _note(self._files).read_text("ascii") == self._text
        return False

    def remember(self) -> None:
        """Remember it, unless a file changed a moment ago or since the claim was made."""
        with suppress(OSError, OutputError):
            if self._text and self._text == self._now() and all(map(_settled, self._files)):
                _remember(_note(self._files), self._text)

    def _now(self) -> str:
        with suppress(OSError):
            return "".join(f"{line}\n" for line in (*map(_stamp, self._files), self._about))
        return ""


def _stamp(path: Path) -> str:
    told = os.stat(path)
    times = (told.st_mtime_ns, told.st_ctime_ns)
    return " ".join(map(str, (told.st_dev, told.st_ino, told.st_size, *times)))


def _settled(path: Path) -> bool:
    told = os.stat(path)
    return time.time() - max(told.st_mtime, told.st_ctime) > SETTLED


def folder() -> Path:
    """Return the folder of the notes, beside that of the bases."""
    return cache_folder().parent / "verified"


def _note(paths: Sequence[Path]) -> Path:
    named = b"\0".join(os.fsencode(path.resolve()) for path in paths)
    return folder() / hashlib.sha256(named).hexdigest()[:32]


def _remembered(note: Path, stamp: str) -> str:
    with suppress(OSError, UnicodeDecodeError):
        told = NOTE.fullmatch(note.read_text(encoding="ascii"))
        if told and told[1] == stamp:
            return told[2]
    return ""


def _remember(note: Path, text: str) -> None:
    """Write the note whole or not at all; a note that cannot be written costs time only."""
    with suppress(OSError):
        note.parent.mkdir(parents=True, exist_ok=True)
        whole_file.write(note, [text], "ascii")
