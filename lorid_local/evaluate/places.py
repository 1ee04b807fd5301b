"""Where the samples of a run go that was given no -o/--output."""

import hashlib
import json
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lorid_local.errors import OutputError
from lorid_local.user_folders import user_folder


def folder(environ: Mapping[str, str] = os.environ, platform: str = sys.platform) -> Path:
    """Return the folder of all such runs; raises OutputError if no home folder is known.

    By XDG_STATE_HOME, where it is an absolute path.
    """
    inside = "Library/Application Support" if platform == "darwin" else ".local/state"
    found = user_folder("XDG_STATE_HOME", inside, environ=environ, platform=platform)
    if found is None:
        raise OutputError(
            "no home folder is known, so there is no place for the samples",
            hint="-o FILE, or set XDG_STATE_HOME to a folder",
        )
    return found / "samples"


def default(data: str, settings: Mapping[str, Any], first: str, lines: Path | None = None) -> Path:
    """Return the file of a run on `data` with these settings, whose first problem is `first`.

    `lines` is the file that chose the problems, if one did. Each such run has its own, so that the
    same command goes on with it and another one begins. The folder is made; raises OutputError if
    it cannot be.
    """
    chosen = [str(lines)] if lines else []
    text = json.dumps([settings, first, *chosen], sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    name = Path(data).stem if Path(data).exists() else data
    words = re.sub(r"[^A-Za-z0-9]+", "-", f"{name[:60]} {settings['bundle']}").strip("-")
    place = folder()
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{place}: cannot be made for the samples ({error.strerror})",
            hint="-o FILE, or set XDG_STATE_HOME to a folder that you may write to",
        ) from None
    return place / f"{words}-{digest}.jsonl"
