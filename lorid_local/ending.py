"""Where a sample ends before the model ends it: a stop string, its last line, repetition."""

import re
from typing import NamedTuple

from lorid_local import thoughts
from lorid_local.engine import FinishReason, Request

CYCLES = (1, 2, 3)  # lines that are said over and over


class End(NamedTuple):
    """What is left of a sample's text, and how it ended."""

    text: str
    finish: FinishReason


def end(text: str, request: Request, old: int = 0) -> End | None:
    """Return how `request` ends `text`, or None while it does not.

    Cheap enough to be asked behind every token; `old` is the text's length when it was asked
    last. A last line within a thought ends nothing: a model tries answers there.
    """
    ends = [at for stop in request.stop if (at := text.find(stop)) >= 0]
    if ends:
        return End(text[: min(ends)], "stop")
    if request.last_line and request.last_line in text:
        whole = _behind_last_line(thoughts.opened(request) + text, text, request.last_line)
        if whole is not None:
            return End(whole, "stop")
    return _repeated(text, request.repeats, old) if request.repeats else None


def _behind_last_line(whole: str, text: str, marker: str) -> str | None:
    """Return `text` up to the end of the line that begins with `marker` and a number."""
    line = re.compile(rf"^[ \t]*{re.escape(marker)}[^A-Za-z\n]*\d[^\n]*(?=\n)", re.M)
    for match in line.finditer(whole):
        if thoughts.split(whole[: match.start()]).closed:
            return text[: match.end() - (len(whole) - len(text))]
    return None


def _repeated(text: str, times: int, old: int) -> End | None:
    """End `text` behind the first new line that completes `times` equal lines, or cycles of them.

    Empty lines do not count, nor do spaces around a line.
    """
    at = text.find("\n", old)
    while at >= 0:
        lines = [line for line in map(str.strip, text[:at].split("\n")) if line]
        if any(_cycles(lines, length, times) for length in CYCLES):
            return End(text[:at], "repeated")
        at = text.find("\n", at + 1)
    return None


def _cycles(lines: list[str], length: int, times: int) -> bool:
    last = lines[-length * times :]
    return len(last) == length * times and last[length:] == last[:-length]
