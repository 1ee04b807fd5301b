"""Reads small files of unknown origin: regular ones, of a size that was looked at before."""

from pathlib import Path

from lorid_local.errors import ModelError


def check_regular(path: Path) -> None:
    """Raise ModelError for a pipe, which would wait for ever, or a device, which never ends."""
    if path.exists() and not path.is_file():
        raise ModelError(f"{path}: is not a regular file", hint="check the path")


def read_small(path: Path, most: int) -> bytes:
    """Return a file's bytes; raises ModelError if it is over `most` bytes or not regular, OSError
    if it cannot be read."""
    check_regular(path)
    size = path.stat().st_size
    if size > most:
        raise ModelError(
            f"{path}: has {size} bytes; expected at most {most}", hint="check the path"
        )
    with open(path, "rb") as file:
        return file.read(size)
