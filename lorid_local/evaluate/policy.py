"""When to stop drawing: rules compared on one half of the problems, confirmed on the other.

Of the rules that nothing beats at their price, the cheapest one within a standard error of the
best is chosen (Breiman's one-standard-error rule); the other half had no say in it.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

from lorid_local.engine import Role
from lorid_local.evaluate.methods import PROTOCOLS, Method, parse
from lorid_local.evaluate.sampled import Sampled
from lorid_local.evaluate.statistics import share

VOTES = (2, 3, 4, 5)
Figures = dict[str, Any]


def candidates(rounds: int, ir: int) -> list[Method]:
    """Return the rules that `rounds` whole rounds and `ir` samples of System 1 can be tried on."""
    return parse(list(_names(rounds, ir)), max(rounds, 1))


def _names(rounds: int, ir: int) -> Iterator[str]:
    yield from (f"majority@{k}" for k in range(1, ir + 1))
    yield from (f"self-consistency@{k}" for k in range(1, ir))  # without the greedy sample
    yield from (f"adaptive@{k}" for k in range(2, ir + 1))
    yield from (f"ir-first-to-{v}@{ir}" for v in VOTES if v <= ir)
    yield from (f"{kind}@{t}" for kind in PROTOCOLS for t in range(1, rounds + 1))
    yield from (f"first-to-{v}@{rounds}" for v in VOTES if v <= 2 * rounds)


def figures(problems: Sequence[Sampled]) -> Figures | None:
    """Return the rules on the first half (even places in the data) and the second.

    `chosen` is the best rule of all, `loop` the best of those that `lorid solve` can follow.
    """
    first, second = problems[0::2], problems[1::2]
    rounds = min((len(p.whole) for p in problems), default=0)
    ir = min((len(p.of(Role.IR)) for p in problems), default=0)
    if not second or not rounds:
        return None
    rows: list[Figures] = [
        {"method": m.name, "kind": m.kind, "t": m.t, "first": _score(m, first)}
        for m in candidates(rounds, ir)
    ]
    best = {row["method"] for row in frontier(rows)}
    for row in rows:
        row["frontier"] = row["method"] in best
    by_name = {m.name: m for m in candidates(rounds, ir)}
    loop = [row for row in rows if row["kind"] in PROTOCOLS]
    picked = {"chosen": choose(rows), "loop": choose(loop)}
    for row in (r for r in rows if r["frontier"] or r in picked.values()):
        row["second"] = _score(by_name[row["method"]], second)
    return {
        "halves": [len(first), len(second)],
        "rules": [row for row in rows if "second" in row],
        "tried": len(rows),
        **{name: row["method"] for name, row in picked.items()},
    }


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
