"""A pupil's progress as text: a table by week, bars by topic and week with their numbers beside."""

import textwrap
from collections.abc import Iterator, Sequence
from datetime import date

from lorid_local.tutor.store import Tally

NOTHING = "Nothing yet: type lorid tutor and solve your first problem."
BAR = 20  # columns of a bar; narrower on a narrow terminal
LEGEND = "Bars: {full} right at the first try, {half} right in the end, {empty} answer shown."
_MARKS = {True: "█▒░", False: "#=."}


def lines(
    topics: Sequence[Tally], weeks: Sequence[Tally], *, width: int, blocks: bool
) -> Iterator[str]:
    """Yield the report; `blocks` False draws the bars in ASCII. `width` is in columns."""
    done = sum(tally.done for tally in topics)
    skipped = sum(tally.skipped for tally in topics)
    if not done + skipped:
        yield NOTHING
        return
    yield from _table(weeks)
    marks = _MARKS[blocks]
    yield ""
    legend = LEGEND.format(full=marks[0], half=marks[1], empty=marks[2])
    yield from textwrap.wrap(legend, width)
    yield from _bars("By topic", [t for t in topics if t.done], width, marks)
    yield from _bars("By week", [_week(t) for t in weeks if t.done], width, marks)


def _table(weeks: Sequence[Tally]) -> Iterator[str]:
    """A line a week and one of all: how many problems ended in which way; 39 columns."""
    heads = ("first try", "later", "shown", "skipped")
    yield f"{'':<7}" + "  ".join(f"{head:>{_column(head)}}" for head in heads)
    whole = [sum(getattr(w, n) for w in weeks) for n in ("first", "right", "shown", "skipped")]
    for tally in (*weeks, Tally("all", *whole)):
        monday = "all" if tally.name == "all" else f"{date.fromisoformat(tally.name):%d %b}"
        counts = (tally.first, tally.right, tally.shown, tally.skipped)
        yield f"{monday:<7}" + "  ".join(
            f"{count:>{_column(head)}}" for head, count in zip(heads, counts, strict=True)
        )


def _column(head: str) -> int:
    return max(len(head), 5)


def _bars(title: str, tallies: Sequence[Tally], width: int, marks: str) -> Iterator[str]:
    """A name a line and its bar below it, as long as its share of the largest one."""
    most = max((tally.done for tally in tallies), default=1)
    room = max(4, min(BAR, width - 14))
    if tallies:
        yield ""
        yield title
    for tally in tallies:
        yield from textwrap.wrap(tally.name, width, initial_indent="  ", subsequent_indent="  ")
        length = max(1, round(room * tally.done / most))
        first = round(length * tally.first / tally.done)
        solved = round(length * tally.solved / tally.done)
        bar = marks[0] * first + marks[1] * (solved - first) + marks[2] * (length - solved)
        yield f"  {bar} {tally.solved} of {tally.done}"


def _week(tally: Tally) -> Tally:
    monday = date.fromisoformat(tally.name)
    name = f"week of {monday.day} {monday:%B %Y}"
    return Tally(name, tally.first, tally.right, tally.shown, tally.skipped)
