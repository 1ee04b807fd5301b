"""Files written whole or not at all: beside the file first, then renamed onto it."""

import os
from collections.abc import Iterable
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
    part = _part(path)
    try:
        with part.open("w", encoding=encoding) as file:
            file.writelines(parts)
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def check(path: Path) -> None:
    """Raise OSError if a file could not be written to where `path` is."""
    part = _part(path)
    part.touch()
    part.unlink()


def _part(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.part")
