"""Reads a folder that `lorid data build` made, after a look at its manifest."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lorid_local.base import sha256
from lorid_local.errors import TrainError

MANIFEST = "manifest.json"
FORMAT = "lorid-data/1"
FILES = ("ir", "kg", "dr", "heldout")
_AGAIN = "lorid data build RECIPE.toml --data DIR --out "


def file_name(role: str) -> str:
    """Return the name of a role's file in a built folder."""
    return f"{role}.jsonl.gz"


def manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest; raises TrainError where it is missing or of another format."""
    path = folder / MANIFEST
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise TrainError(f"{path}: {error.strerror}", hint=f"{_AGAIN}{folder}") from None
    except ValueError as error:
        raise TrainError(f"{path}: not JSON: {error}", hint=f"{_AGAIN}{folder}") from None
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise TrainError(f"{path}: expected format {FORMAT}", hint=f"{_AGAIN}{folder}")
    return found


def records(folder: Path, name: str) -> Iterator[dict[str, Any]]:
    """Yield the rows of a role, or of 'heldout', in order.

    Raises TrainError if the file is not the one that the manifest names.
    """
    path = folder / file_name(name)
    expected = manifest(folder)["outputs_sha256"].get(path.name)
    if not path.exists() or sha256(path) != expected:
        state = "differs from its manifest" if path.exists() else "no such file"
        raise TrainError(f"{path}: {state}", hint=f"{_AGAIN}{folder}")
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)
