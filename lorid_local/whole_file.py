"""Files written whole or not at all: beside the file first, then renamed onto it."""

import glob
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def write(path: Path, parts: Iterable[str], encoding: str = "utf-8") -> None:
    """Write the parts of a text; raises OSError, and what stood in `path` stays then.

    Of two processes that write the same file, one's text is there, whole. A device is written to
    as it is: os.replace would remove /dev/stdout, as root.
    """
    if path.exists() and not path.is_file():
        with path.open("w", encoding=encoding) as device:
            device.writelines(parts)
        return
    with replacing(path) as part, part.open("w", encoding=encoding) as file:
        file.writelines(parts)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give an empty file beside `path` that becomes `path` if the block succeeds.

    It is gone afterwards in any case, and so is what a killed process left of such a one. What is
    put in place is on the disk, even if the power fails. Raises OSError.
    """
    part = _part(path)
    _remove_abandoned(path)
    # none of another's, so that no link that lies there is followed
    os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    try:
        yield part
        sync(part)
        os.replace(part, path)
        with suppress(OSError):  # a folder cannot be synced everywhere; the file already is
            sync(path.parent)
    finally:
        part.unlink(missing_ok=True)


def check(path: Path) -> None:
    """Raise OSError if a file could not be written to where `path` is."""
    part = _part(path)
    part.touch()
    part.unlink()


def sync(path: Path) -> None:
    """Wait until a file, or a folder's list of files, is on the disk; raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _part(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.part")


def _remove_abandoned(path: Path) -> None:
    """Remove what a process that was killed has left."""
    for part in path.parent.glob(f".{glob.escape(path.name)}.*.part"):
        number = part.name.split(".")[-2]
        if number.isdigit() and not _is_running(int(number)):
            part.unlink(missing_ok=True)


def _is_running(process: int) -> bool:
    if process == os.getpid():
        return False
    if os.name == "nt":  # there signal 0 is Ctrl-C
        return True
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
