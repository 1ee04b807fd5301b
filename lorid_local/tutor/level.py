"""The level, a school grade, from the last answers: up after three in a row, down after trouble.

An answer counts 1 if it was right at the first try and without a hint, -1 if it was shown or took
more than MANY tries, else 0.
"""

from lorid_local.tutor.state import Result

FIRST = 4  # before anything is known of the pupil
IN_A_ROW = 3
MANY = 3


def score(result: Result, tries: int) -> int:
    """Return what one answer counts; `tries` are the wrong ones before it."""
    if result == "first":
        return 1
    return -1 if result == "shown" or tries >= MANY else 0


def adapted(
    level: int, recent: tuple[int, ...], lowest: int, highest: int
) -> tuple[int, tuple[int, ...]]:
    """Return the next level and what of `recent`, oldest first, still counts for it."""
    recent = recent[-IN_A_ROW:]
    if len(recent) == IN_A_ROW and sum(recent) == IN_A_ROW and level < highest:
        return level + 1, ()
    if sum(recent) <= -2 and level > lowest:
        return level - 1, ()
    return level, recent
