"""Counts P(right | agreed in round k) and P(right | best guess), each by the probability that
System 1 gives its text, and how far the counts hold.

The expected calibration error and the Brier score are those of counts from one half of the
problems, foretelling the other half.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import floor
from typing import Any

from lorid_local.calibration import Band, Bin, Calibration, Counts, named, place, span
from lorid_local.evaluate.methods import Played, lorid
from lorid_local.evaluate.sampled import Sampled
from lorid_local.evaluate.statistics import brier, calibration_error
from lorid_local.judging import Protocol
from lorid_local.trace import probability

FEWEST = 10  # cases of a band: rounds with fewer are joined with those behind them
BINS, FEWEST_BINNED = 5, 25  # bins at most, and cases a bin, about
STEPS = 10_000  # in which a bin's least probability is told


def calibrate(
    problems: Sequence[Sampled], data: str, protocol: Protocol, rounds: int
) -> Calibration:
    """Return the counts on these problems, which must have `rounds` rounds each."""
    outcomes = _outcomes(problems, protocol, rounds)
    rest = [p for p in outcomes if p.agreed is None]
    return Calibration(
        data=data,
        protocol=protocol,
        rounds=rounds,
        agreed=bands(outcomes, rounds),
        no_agreement=Counts(*_counted(rest)),
    )


def _outcomes(problems: Sequence[Sampled], protocol: Protocol, rounds: int) -> list[Played]:
    found = []
    for one in problems:
        outcome = lorid(one, protocol, rounds)
        sure = probability(one.whole[: outcome.rounds], outcome.answer)
        found.append(replace(outcome, probability=sure))
    return found


def bands(outcomes: Sequence[Played], rounds: int) -> tuple[Band, ...]:
    """Return bands of rounds with FEWEST cases or more each; together they cover 1 to `rounds`.

    The last rounds, with fewer, join the band before them, but never that of round 1 alone: a
    greedy agreement at once is a case of its own.
    """
    spans: list[tuple[int, int]] = []
    first = 1
    for last in range(1, rounds + 1):
        if len(_within(outcomes, first, last)) >= FEWEST or last in (1, rounds):
            spans.append((first, last))
            first = last + 1
    if len(spans) > 2 and len(_within(outcomes, *spans[-1])) < FEWEST:
        spans[-2:] = [(spans[-2][0], spans[-1][1])]
    cases = {(one, end): _within(outcomes, one, end) for one, end in spans}
    return tuple(Band(one, end, *_counted(inside)) for (one, end), inside in cases.items())


def _within(outcomes: Sequence[Played], first: int, last: int) -> list[Played]:
    return [p for p in outcomes if p.agreed and first <= p.agreed <= last]


def _counted(cases: Sequence[Played]) -> tuple[int, int, tuple[Bin, ...]]:
    return sum(p.right for p in cases), len(cases), bins(cases)


def bins(cases: Sequence[Played]) -> tuple[Bin, ...]:
    """Return the cases by System 1's probability, from the largest down; () if that tells nothing.

    As many bins as there are FEWEST_BINNED cases for, alike in size; one that was right less often
    than the next is joined with it (pool adjacent violators), so that a larger probability never
    makes less sure.
    """
    told = sorted((p.probability for p in cases if p.probability is not None), reverse=True)
    count = min(BINS, len(told) // FEWEST_BINNED)
    ends = [told[at * len(told) // count - 1] for at in range(1, count)]
    least = sorted({_floored(p) for p in ends} | {0.0}, reverse=True)
    groups = _by_bin([Bin(edge, 0, 0) for edge in least], cases)
    found: list[Bin] = []
    for edge, rights in zip(least, groups, strict=True):
        found.append(Bin(edge, sum(rights), len(rights)))
        while len(found) > 1 and found[-2].right * found[-1].n <= found[-1].right * found[-2].n:
            over, under = found[-2:]
            found[-2:] = [Bin(under.least, over.right + under.right, over.n + under.n)]
    return tuple(found) if len(found) > 1 else ()


def _by_bin(bins: Sequence[Bin], cases: Sequence[Played]) -> list[list[bool]]:
    """Return which of the cases in each bin were right; those that do not tell are in none."""
    groups: list[list[bool]] = [[] for _ in bins]
    for case in cases:
        if case.probability is not None:
            groups[place(bins, case.probability)].append(case.right)
    return groups


def _floored(share: float) -> float:
    return floor(share * STEPS) / STEPS


def figures(problems: Sequence[Sampled], protocol: Protocol, rounds: int) -> dict[str, Any] | None:
    """Return the calibration on all problems, and each half's foretelling of the other."""
    if not problems or not rounds:
        return None
    whole = calibrate(problems, "", protocol, rounds)
    halves = [problems[0::2], problems[1::2]]
    counted = [calibrate(half, "", protocol, rounds) for half in halves]
    foretold = [_foretold(counted[i], halves[1 - i], protocol) for i in range(2)]
    plain = [_foretold(_without_bins(counted[i]), halves[1 - i], protocol) for i in range(2)]
    return {
        "protocol": protocol,
        "rounds": rounds,
        "agreed": [_as_dict(band) for band in whole.agreed],
        "no_agreement": _as_dict(whole.no_agreement),
        "foretold": [
            [
                {"case": case, "share": share, "right": right, "n": n}
                for case, share, right, n in half
            ]
            for half in foretold
        ],
        "error": [calibration_error(f[1:] for f in half) for half in foretold],
        "brier": brier(f[1:] for half in foretold for f in half),
        "brier_by_agreement": brier(f[1:] for half in plain for f in half),
    }


def _as_dict(found: Band | Counts) -> dict[str, Any]:
    bins = [{**vars(b), "span": span(found.bins, at)} for at, b in enumerate(found.bins)]
    return {**vars(found), "bins": bins}


def _without_bins(counted: Calibration) -> Calibration:
    agreed = tuple(replace(band, bins=()) for band in counted.agreed)
    return replace(counted, agreed=agreed, no_agreement=replace(counted.no_agreement, bins=()))


Foretold = tuple[str, float, int, int]


def _foretold(
    counted: Calibration, held_out: Sequence[Sampled], protocol: Protocol
) -> list[Foretold]:
    """Return (case, share as counted, right, n on the problems that were held out)."""
    outcomes = _outcomes(held_out, protocol, counted.rounds)
    found: list[Foretold] = []
    for band in counted.agreed:
        found += _cells(named(band), band, _within(outcomes, band.first, band.last))
    rest = [p for p in outcomes if p.agreed is None]
    return found + list(_cells("not agreed", counted.no_agreement, rest))


def _cells(case: str, counted: Band | Counts, cases: Sequence[Played]) -> Iterator[Foretold]:
    """Yield what the bins, or the whole where there are none, foretell of these cases."""
    untold = [p for p in cases if not counted.bins or p.probability is None]
    if untold or not counted.bins:
        share = counted.right / counted.n if counted.n else 0.5  # nothing counted: nothing known
        yield case, share, sum(p.right for p in untold), len(untold)
    if not counted.bins:
        return
    inside = _by_bin(counted.bins, cases)
    for at, (one, rights) in enumerate(zip(counted.bins, inside, strict=True)):
        name = f"{case}, System 1's text at {span(counted.bins, at)}"
        yield name, one.right / one.n, sum(rights), len(rights)
