"""`weighted@k`: System 1's texts vote with the probability that they were given."""

import math
from dataclasses import replace

import pytest

from lorid_local.evaluate import policy
from lorid_local.evaluate.sampled import Sampled
from lorid_local.judging import most_probable
from tests.test_eval_methods import FALSE, NO, outcome, play, problem


def told(*samples: tuple[object, float | None]) -> Sampled:
    """A problem whose right answer is 24; System 1's samples, each with its probability."""
    one = problem([text for text, _ in samples])
    rounds = tuple(
        replace(r, ir=replace(r.ir, logprob=None if p is None else math.log(p)))
        for r, (_, p) in zip(one.rounds, samples, strict=True)
        if r.ir
    )
    return replace(one, rounds=rounds)


@pytest.mark.parametrize(
    ("samples", "shown"),
    [
        ([(1, 0.3), (24, 0.5)], "24"),  # where a majority takes the earlier one
        ([("<<8*3=24>>\n#### 24", 0.2), (1, 0.3), ("<<12*2=24>>\n#### 24", 0.2)], "24"),
        ([(24, 0.2), (1, 0.3), (24, 0.2)], "1"),  # a text that is drawn twice counts once
        ([(1, 0.3), (24, 0.3)], "1"),
        ([(NO, 0.9), (FALSE, 0.8), (24, 0.01)], "24"),  # what has no vote has no weight
        ([(1, None), (24, 0.1), (1, None)], "24"),
        ([(1, None), (24, None), (24, None)], "24"),  # nothing is told: the majority
        ([(NO, 0.5), (NO, 0.5)], None),
    ],
)
def test_texts_vote_with_their_probability(
    samples: list[tuple[object, float | None]], shown: str | None
) -> None:
    one = told(*samples)
    n = len(samples)
    assert outcome(play(f"weighted@{n}", one)) == (shown, shown == "24", None, n, (10 * n, 0, 0))


def test_nothing_is_most_probable_where_no_text_tells() -> None:
    assert most_probable(told((1, None), (24, None)).rounds) is None


def test_the_policy_tries_it() -> None:
    names = [m.name for m in policy.candidates(1, 3)]
    assert [name for name in names if name.startswith("weighted")] == ["weighted@2", "weighted@3"]
