"""Where a sample ends before the model ends it: at a stop string or behind its last line."""

import re

from lorid_local import thoughts
from lorid_local.engine import Request


def cut(text: str, request: Request) -> str | None:
    """Return `text` up to where `request` ends it, or None while it does not.

    Cheap enough to be asked behind every token. A last line within a thought ends nothing: a
    model tries answers there.
    """
    ends = [at for stop in request.stop if (at := text.find(stop)) >= 0]
    if ends:
        return text[: min(ends)]
    if request.last_line and request.last_line in text:
        return _behind_last_line(thoughts.opened(request) + text, text, request.last_line)
    return None


def _behind_last_line(whole: str, text: str, marker: str) -> str | None:
    """Return `text` up to the end of the line that begins with `marker` and a number."""
    line = re.compile(rf"^[ \t]*{re.escape(marker)}[^A-Za-z\n]*\d[^\n]*(?=\n)", re.M)
    for match in line.finditer(whole):
        if thoughts.split(whole[: match.start()]).closed:
            return text[: match.end() - (len(whole) - len(text))]
    return None
