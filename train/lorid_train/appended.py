"""A JSON lines file that grows while a run goes on, and survives its being killed."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from lorid_local.errors import TrainError


def whole_lines(path: Path, key: str) -> list[dict[str, Any]]:
    """Return a file's records, none if it is not there; half a line at its end is cut off.

    Raises TrainError for a line that is no object with `key`, OSError.
    """
    if not path.exists():
        return []
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if whole != content:
        os.truncate(path, len(whole))
    return list(_records(whole.decode(), path, key))


def _records(text: str, path: Path, key: str) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(text.splitlines(), 1):
        try:
            record = json.loads(line)
            record[key]
        except (ValueError, TypeError, KeyError):
            raise TrainError(
                f"{path}:{number}: expected an object with {key}",
                hint="remove that line, or begin a new file",
            ) from None
        yield record


def append(file: IO[str], record: dict[str, Any]) -> None:
    """Write a record as a line; it is on the disk when this returns. Raises OSError."""
    file.write(json.dumps(record, ensure_ascii=False) + "\n")
    file.flush()
    os.fsync(file.fileno())
