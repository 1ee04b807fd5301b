"""Where the samples of a run go that was given no -o/--output; makes no folder."""

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


def default(data: str, settings: Mapping[str, Any], first: str) -> Path:
    """Return the file of a run on `data` with these settings, whose first problem is `first`.

    Each such run has its own, so that the same command goes on with it and another one begins.
    """
    text = json.dumps([settings, first], sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    name = Path(data).stem if Path(data).exists() else data
    words = re.sub(r"[^A-Za-z0-9]+", "-", f"{name[:60]} {settings['bundle']}").strip("-")
    return folder() / f"{words}-{digest}.jsonl"
