"""How far a pass is: problems done, accuracy so far, problems a minute, time left."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from lorid_local import solve_file


@contextmanager
def progress(done: int, total: int, *, quiet: bool) -> Iterator[Callable[[int, str], None]]:
    """Yield what is told of problems that are complete, with the accuracy so far in words.

    A bar on a terminal, else a line on standard error.
    """
    if quiet:
        yield lambda problems, note: None
    elif sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb":
        with solve_file.bar(done, total) as advance:
            yield advance
    else:
        yield _lines(done, total, time.monotonic)


def _lines(done: int, total: int, clock: Callable[[], float]) -> Callable[[int, str], None]:
    started, fresh = clock(), 0

    def line(problems: int, note: str) -> None:
        nonlocal fresh
        fresh += problems
        minutes = max(clock() - started, 1e-6) / 60
        left = (total - done - fresh) * minutes / fresh
        print(
            f"{done + fresh}/{total} {note}, {fresh / minutes:.1f} problems/min, "
            f"{left:.0f} min left",
            file=sys.stderr,
            flush=True,
        )

    return line
