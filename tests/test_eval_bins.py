"""Calibration by the probability that System 1 gave its text: the bins, and what they add."""

from dataclasses import replace
from typing import Any

import pytest

from lorid_local.calibration import Bin, Counts
from lorid_local.evaluate import calibrating, summary
from lorid_local.evaluate.methods import Played
from lorid_local.evaluate.report import page
from lorid_local.evaluate.sampled import Sampled
from tests.test_eval_methods import problem


def told(*cases: tuple[float | None, str]) -> list[Played]:
    """Outcomes by System 1's probability: (0.5, 'rr.') are two right and one wrong."""
    return [Played(None, 1, 1, 1, (0, 0, 0), c == "r", p) for p, cs in cases for c in cs]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        # 4 bins of 25; each boundary is the smallest probability above it, rounded down
        ([(0.99999, "r" * 25), (0.50019, "r" * 20 + "." * 5), (0.25, "r" * 10 + "." * 15),
          (0.1, "." * 25)], [(0.9999, 25, 25), (0.5001, 20, 25), (0.25, 10, 25), (0.0, 0, 25)]),
        # the second was right more often than the first, the third as often as both together
        ([(0.9, "r" * 15 + "." * 10), (0.8, "r" * 25), (0.7, "r" * 20 + "." * 5), (0.1, "." * 25)],
         [(0.7, 60, 75), (0.0, 0, 25)]),
        ([(0.9, "." * 25), (0.1, "r" * 25)], []),  # tells nothing
        ([(0.9, "r" * 24), (0.1, "." * 25)], []),  # too few for two
        ([(0.9, "r" * 50), (0.1, "." * 30), (None, "r" * 99)], [(0.9, 50, 50), (0.0, 0, 30)]),
        ([(1.0, "r" * 200 + "." * 50), (0.5, "." * 50)], [(1.0, 200, 250), (0.0, 0, 50)]),
        ([(None, "r." * 99)], []),
    ],
)  # fmt: skip
def test_bins_by_system_1s_probability(given: Any, expected: Any) -> None:
    found = calibrating.bins(told(*given))
    assert [(b.least, b.right, b.n) for b in found] == expected


def sure(right: int, logprob: float) -> Sampled:
    """A problem whose systems do not agree, and System 1's probability of its text."""
    one = problem([right], [3], gold=24)
    first = one.rounds[0]
    assert first.ir
    rounds = (replace(first, ir=replace(first.ir, logprob=logprob)),)
    return replace(one, rounds=rounds)


def test_what_system_1s_probability_adds_is_told() -> None:
    problems = [sure(24, -0.1)] * 60 + [sure(7, -3.0)] * 60
    whole = calibrating.calibrate(problems, "dev", "same-round", 1)
    assert whole.no_agreement == Counts(60, 120, (Bin(0.9048, 60, 60), Bin(0.0, 0, 60)))
    found = calibrating.figures(problems, "same-round", 1)
    assert found and (found["brier"], found["brier_by_agreement"]) == (0.0, 0.25)
    assert [(c["case"], c["share"], c["right"], c["n"]) for c in found["foretold"][0]][1:] == [
        ("not agreed, System 1's text at 90.5% or more", 1.0, 30, 30),
        ("not agreed, System 1's text at less than 90.5%", 0.0, 0, 30),
    ]
    # half of the other half's samples do not tell: for these the whole counts
    mixed = [replace(p, rounds=problem([24], [3]).rounds) if i % 4 == 1 else p
             for i, p in enumerate(problems)]  # fmt: skip
    again = calibrating.figures(mixed, "same-round", 1)
    assert again and again["foretold"][0][1]["n"] == 30
    said = list(summary.calibration({"calibration": found}))
    html = page._calibration({"calibration": found})
    assert "no agreement, System 1&#x27;s text at 90.5% or more" in html and "60 of 60" in html
    assert "Brier score of that (smaller is better): 0.000; by agreement alone 0.250." in html
    assert said[-4:] == [
        "    System 1's text at 90.5% or more: 60 of 60",
        "    System 1's text at less than 90.5%: 0 of 60",
        "  expected calibration error, each half foretold by the other: 0.000, 0.000",
        "  Brier score of that (smaller is better): 0.000; by agreement alone 0.250",
    ]
