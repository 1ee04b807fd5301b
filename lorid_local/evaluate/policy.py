"""When to stop drawing: rules compared on one half of the problems, confirmed on the other.

Of the rules that nothing beats at their price, the cheapest one within a standard error of the
best is chosen (Breiman's one-standard-error rule); the other half had no say in it.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lorid_local.engine import Role
from lorid_local.evaluate.methods import LOOPS, WARM, Method, parse
from lorid_local.evaluate.sampled import Sampled
from lorid_local.evaluate.statistics import share
from lorid_local.judging import VOTES

FIRST_TO = (2, 3, 4, 5)
Figures = dict[str, Any]


@dataclass(frozen=True)
class Draw:
    """The problems with their samples at one temperature; `at` names it, '' the bundle's own.

    `settings` are by name those that the samples were drawn with.
    """

    problems: Sequence[Sampled]
    at: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)


def candidates(rounds: int, ir: int) -> list[Method]:
    """Return the rules that `rounds` whole rounds and `ir` samples of System 1 can be tried on."""
    return parse(list(_names(rounds, ir)), max(rounds, 1))


def _names(rounds: int, ir: int) -> Iterator[str]:
    yield from (f"majority@{k}" for k in range(1, ir + 1))
    yield from (f"weighted@{k}" for k in range(2, ir + 1))
    yield from (f"self-consistency@{k}" for k in range(1, ir))  # without the greedy sample
    yield from (f"adaptive@{k}" for k in range(2, ir + 1))
    yield from (f"ir-first-to-{v}@{ir}" for v in FIRST_TO if v <= ir)
    for kind, protocol in LOOPS.items():
        fewest = -(-VOTES[protocol] // 2)  # rounds in which so many votes can be cast
        yield from (f"{kind}@{t}" for t in range(fewest, rounds + 1))
        yield from (f"{WARM}{kind}@{t}" for t in range(fewest, rounds))
    yield from (f"first-to-{v}@{rounds}" for v in FIRST_TO if v <= 2 * rounds)


def figures(draws: Sequence[Draw]) -> Figures | None:
    """Return the rules on the first half (even places in the data) and the second.

    `chosen` is the best rule of all, `loop` the best of those that `lorid solve` can follow;
    `draws` has the latter at each temperature. None without a whole round, or of one problem.
    """
    tried = [(m, n) for n, draw in enumerate(draws) for m in _tried(draw.problems, again=n > 0)]
    if not tried or len(draws[0].problems) < 2:
        return None
    rows: list[Figures] = [
        {"method": f"{m.name} at {draws[n].at}" if draws[n].at else m.name, "kind": m.kind,
         "t": m.t, "draw": n, "first": _score(m, draws[n].problems[0::2])}
        for m, n in tried
    ]  # fmt: skip
    loop = [row for row in rows if row["kind"].removeprefix(WARM) in LOOPS]
    at_each = [[row for row in loop if row["draw"] == n] for n in range(len(draws))]
    picked = {"chosen": choose(rows), "loop": choose(loop)}
    by_draw = [(draws[n].at, choose(of)) for n, of in enumerate(at_each) if of]
    best = frontier(rows)
    shown = [*best, *picked.values(), *(row for _, row in by_draw)]
    for row, (m, n) in zip(rows, tried, strict=True):
        row["frontier"] = row in best
        if row in shown:
            row["second"] = _score(m, draws[n].problems[1::2])
    return {
        "halves": [len(draws[0].problems[half::2]) for half in range(2)],
        "rules": [row for row in rows if "second" in row],
        "tried": len(rows),
        "draws": [{"at": at, "loop": row["method"]} for at, row in by_draw],
        **{name: row["method"] for name, row in picked.items()},
    }


def _tried(problems: Sequence[Sampled], *, again: bool) -> list[Method]:
    """Return the rules to try; `again` leaves out what is greedy alone, and so the same."""
    rounds = min((len(p.whole) for p in problems), default=0)
    ir = min((len(p.of(Role.IR)) for p in problems), default=0)
    if not rounds:
        return []
    greedy = ("majority", *LOOPS)
    return [m for m in candidates(rounds, ir) if not (again and m.t == 1 and m.kind in greedy)]


def _score(method: Method, problems: Sequence[Sampled]) -> Figures:
    played = [method.play(p) for p in problems]
    tokens = sum(sum(p.tokens) for p in played) / len(played)
    return {**share(sum(p.right for p in played), len(played)), "tokens": tokens}


def frontier(rows: Sequence[Figures]) -> list[Figures]:
    """Return the rows that no other beats: as right for fewer tokens, or right more often."""
    found: list[Figures] = []
    for row in sorted(rows, key=lambda r: (r["first"]["tokens"], -r["first"]["right"])):
        if not found or row["first"]["right"] > found[-1]["first"]["right"]:
            found.append(row)
    return found


def choose(rows: Sequence[Figures]) -> Figures:
    """Return the cheapest row of the frontier within one standard error of its best."""
    best = frontier(rows)
    top = best[-1]["first"]
    error = math.sqrt(top["share"] * (1 - top["share"]) / top["n"])
    return next(row for row in best if row["first"]["share"] >= top["share"] - error)
