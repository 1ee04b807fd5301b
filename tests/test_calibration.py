"""How sure lorid says it is: counted on the dev split, and silent where nothing was counted."""

import math
from dataclasses import replace

import pytest

from lorid_local.answers import Answer, read
from lorid_local.calibration import (
    Band,
    Bin,
    Calibration,
    Counts,
    Sureness,
    place,
    span,
    sureness,
    wilson,
)
from lorid_local.trace import Status, Trace
from tests.test_logprob import drawn_round

CALIBRATION = Calibration(
    data="dev",
    protocol="same-round",
    rounds=8,
    agreed=(Band(1, 1, 90, 100), Band(2, 4, 6, 10), Band(5, 6, 0, 0)),
    no_agreement=Counts(5, 50),
)


def trace(status: Status, agreed_round: int | None = None, **changes: object) -> Trace:
    answer = read("18")
    assert isinstance(answer, Answer)
    values = {"protocol": "same-round", "max_rounds": 8, "seed": 0, "seconds": 1.0} | changes
    return Trace("How many?", status, answer, agreed_round, (), **values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("right", "n", "low", "high"),
    [
        # z = 1.959964: (p + z2/2n -+ z sqrt(p(1-p)/n + z2/4n2)) / (1 + z2/n), by hand
        (90, 100, 0.825634, 0.944771),
        (6, 10, 0.312674, 0.831820),
        (5, 10, 0.236593, 0.763407),  # centre is 0.5
        (0, 10, 0.0, 0.277533),  # z2/(n + z2)
        (10, 10, 0.722467, 1.0),  # n/(n + z2)
        (0, 0, 0.0, 1.0),
    ],
)
def test_wilson(right: int, n: int, low: float, high: float) -> None:
    assert wilson(right, n) == pytest.approx((low, high), abs=1e-6)


@pytest.mark.parametrize("n", [1, 7, 1000])
def test_wilson_lies_around_the_share_within_0_and_1(n: int) -> None:
    for right in range(n + 1):
        low, high = wilson(right, n)
        assert 0 <= low <= right / n + 1e-12
        assert right / n - 1e-12 <= high <= 1


ROUND_1 = Sureness(90, 100, 83, 94, "dev", "agreed in round 1")
ROUNDS_2_TO_4 = Sureness(6, 10, 31, 83, "dev", "agreed in rounds 2-4")
CASES = {
    "agreed in round 1": (
        trace("agreed", 1),
        ROUND_1,
    ),
    "first of a band": (trace("agreed", 2), ROUNDS_2_TO_4),
    "last of a band": (trace("agreed", 4), ROUNDS_2_TO_4),
    "a band without cases": (trace("agreed", 5), None),
    "outside any band": (trace("agreed", 7), None),
    "agreed, other t": (
        # what agreed in round 1 did so whatever t was
        trace("agreed", 1, max_rounds=3),
        ROUND_1,
    ),
    "agreed, other protocol": (trace("agreed", 1, protocol="pooled"), None),
    "no agreement": (trace("no-agreement"), Sureness(5, 50, 4, 21, "dev", "no agreement")),
    "no agreement, other t": (trace("no-agreement", max_rounds=7), None),
    "no agreement, other protocol": (trace("no-agreement", protocol="pooled"), None),
    "timeout": (trace("timeout"), None),
    "interrupted": (trace("interrupted"), None),
}


@pytest.mark.parametrize("name", CASES)
def test_sureness(name: str) -> None:
    outcome, expected = CASES[name]
    assert sureness(CALIBRATION, outcome) == expected


def test_a_bundle_without_a_calibration_is_not_sure() -> None:
    assert sureness(None, trace("agreed", 1)) is None


def test_no_answer_has_no_chance_to_be_right() -> None:
    assert sureness(CALIBRATION, replace(trace("no-agreement"), answer=None)) is None


def test_the_sentence() -> None:
    sure = sureness(CALIBRATION, trace("agreed", 3))
    assert sure
    assert sure.sentence() == "right in 6 of 10 such cases on dev (95% interval 31-83%)"


def test_counts_that_cannot_be_are_refused() -> None:
    # more right than counted ended in 'math domain error' while an answer was shown
    with pytest.raises(ValueError, match=r"^right must lie in 0 to n, got 5 of 3$"):
        Counts(5, 3)
    with pytest.raises(ValueError, match=r"^right must lie in 0 to n, got -1 of 3$"):
        Band(1, 2, -1, 3)
    with pytest.raises(ValueError, match=r"^least must lie in 0 to 1, got 1.5$"):
        Bin(1.5, 0, 0)


BINS = (Bin(0.9312, 19, 20), Bin(0.125, 6, 10), Bin(0.0, 1, 20))
BINNED = Calibration("dev", "same-round", 1, (Band(1, 1, 26, 50, BINS),), Counts(3, 9))


@pytest.mark.parametrize(
    ("probability", "at", "words"),
    [(1.0, 0, "93.1% or more"), (0.9312, 0, "93.1% or more"), (0.9311, 1, "12.5-93.1%"),
     (0.125, 1, "12.5-93.1%"), (0.1, 2, "less than 12.5%"), (0.0, 2, "less than 12.5%")],
)  # fmt: skip
def test_which_bin_a_probability_falls_into(probability: float, at: int, words: str) -> None:
    assert place(BINS, probability) == at and span(BINS, at) == words


def test_how_sure_by_the_probability_that_system_1_gives_its_text() -> None:
    def sure(logprob: float | None, status: Status = "agreed", said: str = "18") -> Sureness | None:
        outcome = trace(status, 1 if status == "agreed" else None, max_rounds=1)
        return sureness(BINNED, replace(outcome, rounds=(drawn_round(1, said, logprob),)))

    case = "agreed in round 1, System 1's text at"
    assert sure(0.0) == Sureness(19, 20, 76, 99, "dev", f"{case} 93.1% or more", 1.0)
    middle = sure(math.log(0.5))
    assert middle and (middle.right, middle.n, middle.case) == (6, 10, f"{case} 12.5-93.1%")
    other = sure(0.0, said="7")  # System 1 wrote no text with the answer
    assert other and (other.right, other.n, other.probability) == (1, 20, 0.0)
    # an engine that does not tell, and a calibration that does not ask
    assert sure(None) == Sureness(26, 50, 39, 65, "dev", "agreed in round 1")
    assert sure(0.0, "no-agreement") == Sureness(3, 9, 12, 65, "dev", "no agreement")
