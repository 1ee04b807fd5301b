"""Where a user's files go by their kind, on each system; makes no folder."""

import os
from collections.abc import Mapping
from pathlib import Path


def user_folder(
    variable: str, inside: str, *, environ: Mapping[str, str], platform: str
) -> Path | None:
    """Return lorid's folder by the XDG `variable`, else `inside` the home folder; None if no home
    folder is known. Windows tells of one folder for all kinds.

    A relative path is ignored, as the XDG Base Directory Specification demands.
    """
    given = environ.get(variable, "")
    if os.path.isabs(given):
        return Path(given, "lorid")
    local = environ.get("LOCALAPPDATA", "")
    if platform == "win32" and os.path.isabs(local):
        return Path(local, "lorid")
    try:
        home = Path.home()
    except RuntimeError:
        return None
    return home / inside / "lorid"
