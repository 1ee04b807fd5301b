"""Counts P(right | agreed in round k) and P(right | best guess), and how far the counts hold.

The expected calibration error is that of counts from one half of the problems, foretelling the
other half.
"""

from collections.abc import Sequence
from typing import Any

from lorid_local.calibration import Band, Calibration, Counts
from lorid_local.evaluate.methods import Played, lorid
from lorid_local.evaluate.sampled import Sampled
from lorid_local.evaluate.statistics import calibration_error
from lorid_local.judging import Protocol

FEWEST = 10  # cases of a band: rounds with fewer are joined with those behind them


def calibrate(
    problems: Sequence[Sampled], data: str, protocol: Protocol, rounds: int
) -> Calibration:
    """Return the counts on these problems, which must have `rounds` rounds each."""
    outcomes = [lorid(p, protocol, rounds) for p in problems]
    rest = [p for p in outcomes if p.agreed is None]
    return Calibration(
        data=data,
        protocol=protocol,
        rounds=rounds,
        agreed=bands(outcomes, rounds),
        no_agreement=Counts(sum(p.right for p in rest), len(rest)),
    )


def bands(outcomes: Sequence[Played], rounds: int) -> tuple[Band, ...]:
    """Return bands of rounds with FEWEST cases or more each; together they cover 1 to `rounds`.

    The last rounds, with fewer, join the band before them, but never that of round 1 alone: a
    greedy agreement at once is a case of its own.
    """
    found: list[Band] = []
    first = 1
    for last in range(1, rounds + 1):
        cases = [p.right for p in outcomes if p.agreed and first <= p.agreed <= last]
        if len(cases) >= FEWEST or last in (1, rounds):
            found.append(Band(first, last, sum(cases), len(cases)))
            first = last + 1
    if len(found) > 2 and found[-1].n < FEWEST:
        before, short = found[-2:]
        whole = Band(before.first, short.last, before.right + short.right, before.n + short.n)
        found[-2:] = [whole]
    return tuple(found)


def figures(problems: Sequence[Sampled], protocol: Protocol, rounds: int) -> dict[str, Any] | None:
    """Return the calibration on all problems, and each half's foretelling of the other."""
    if not problems or not rounds:
        return None
    whole = calibrate(problems, "", protocol, rounds)
    halves = [problems[0::2], problems[1::2]]
    foretold = [
        _foretold(calibrate(halves[i], "", protocol, rounds), halves[1 - i], protocol)
        for i in range(2)
    ]
    return {
        "protocol": protocol,
        "rounds": rounds,
        "agreed": [vars(band) for band in whole.agreed],
        "no_agreement": vars(whole.no_agreement),
        "foretold": [
            [
                {"case": case, "share": share, "right": right, "n": n}
                for case, share, right, n in half
            ]
            for half in foretold
        ],
        "error": [calibration_error(f[1:] for f in half) for half in foretold],
    }


Foretold = tuple[str, float, int, int]


def _foretold(
    counted: Calibration, held_out: Sequence[Sampled], protocol: Protocol
) -> list[Foretold]:
    """Return (case, share as counted, right, n on the problems that were held out)."""
    outcomes = [lorid(p, protocol, counted.rounds) for p in held_out]
    found = []
    for band in counted.agreed:
        rights = [p.right for p in outcomes if p.agreed and band.first <= p.agreed <= band.last]
        rounds = f"{band.first}" if band.first == band.last else f"{band.first}-{band.last}"
        found.append((f"agreed in {rounds}", _share(band.right, band.n), sum(rights), len(rights)))
    rest = [p.right for p in outcomes if p.agreed is None]
    counts = counted.no_agreement
    found.append(("not agreed", _share(counts.right, counts.n), sum(rest), len(rest)))
    return found


def _share(right: int, n: int) -> float:
    return right / n if n else 0.5  # nothing counted: nothing known
