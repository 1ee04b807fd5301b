"""When a missed kind of problem comes back, by FSRS (the `fsrs` package); a kind is a family.

A kind that was never missed is not scheduled. Times are UTC.
"""

from datetime import datetime, timedelta

from fsrs import Card, Rating, Scheduler

from lorid_local.tutor.state import Result

SOON = timedelta(minutes=10)  # a missed kind first comes back after this
_RATINGS = {"first": Rating.Good, "right": Rating.Hard, "shown": Rating.Again}
# no fuzz: the same answers give the same times
_SCHEDULER = Scheduler(learning_steps=(SOON,), relearning_steps=(SOON,), enable_fuzzing=False)


def reviewed(card: str | None, result: Result, now: datetime) -> tuple[str, datetime] | None:
    """Return a kind's card after one more result, as JSON, and when the kind is due.

    None: it is not scheduled, because it was never missed, or this time was skipped.
    """
    if result == "skipped" or (card is None and result == "first"):
        return None
    before = Card.from_json(card) if card else Card(card_id=0, due=now)
    after, _ = _SCHEDULER.review_card(before, _RATINGS[result], now)
    return after.to_json(), after.due
