"""The paper's open questions, answered on the samples of a run.

t = 1 against t = 20; convergence; what KG's rules are worth; which system suits which kind of
problem; how independent the errors of the two systems are.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any

from lorid_local.answers import Answer, same
from lorid_local.engine import Role
from lorid_local.evaluate.cases import Case
from lorid_local.evaluate.methods import Played, lorid, parse
from lorid_local.evaluate.sampled import Sampled, answer_alone
from lorid_local.evaluate.statistics import mcnemar, phi, share
from lorid_local.judging import Protocol
from lorid_local.trace import Sample

Figures = dict[str, Any]
OF_THE_PAPER: tuple[Protocol, ...] = ("same-round", "pooled")  # its text, its authors' code
MOST_TOPICS = 12  # topics shown; the others are few problems each
SIZES = ("below 10", "10 to 99", "100 to 999", "1000 and more")
_NUMBER = re.compile(r"\d+(?:,\d{3})*(?:\.\d+)?")
_REASONS = (
    "its arithmetic fails",
    "no marked answer",
    "was cut off",
    "repeated itself",
    "its marked answers differ",
    "the engine failed",
    "the marked answer is empty",
)


def kind_of_reason(reason: str) -> str:
    """Return why a sample has no vote, without what is particular to it."""
    return next((r for r in _REASONS if reason.startswith(r)), "the marked answer is no number")


def _point(outcomes: Sequence[Played]) -> Figures:
    tokens = sum(sum(p.tokens) for p in outcomes) / len(outcomes) if outcomes else 0.0
    return {**share(sum(p.right for p in outcomes), len(outcomes)), "tokens": tokens}


def curve(problems: Sequence[Sampled], rounds: int) -> dict[str, list[Figures]]:
    """Return accuracy and tokens with t = 1, 2, ... of both protocols and of IR's majority."""
    found: dict[str, list[Figures]] = {}
    for protocol in OF_THE_PAPER:
        points = []
        for t in range(1, rounds + 1):
            outcomes = [lorid(p, protocol, t) for p in problems]
            agreed = sum(o.agreed is not None for o in outcomes)
            points.append({"t": t, **_point(outcomes), "agreed": agreed})
        found[protocol] = points
    most = min((len(p.of(Role.IR)) for p in problems), default=0)
    majority = [parse([f"majority@{k}"], k)[0] for k in range(1, most + 1)]
    found["majority"] = [{"t": m.t, **_point([m.play(p) for p in problems])} for m in majority]
    return found


def convergence(problems: Sequence[Sampled], protocol: Protocol, t: int) -> Figures:
    """Return in which round the systems agree, how often rightly, and how many never do."""
    rounds = [{"round": k, "n": 0, "right": 0} for k in range(1, t + 1)]
    never = {"n": 0, "right": 0}
    for sampled in problems:
        outcome = lorid(sampled, protocol, t)
        cell = rounds[outcome.agreed - 1] if outcome.agreed else never
        cell["n"] += 1
        cell["right"] += outcome.right
    return {"protocol": protocol, "t": t, "rounds": rounds, "never": never}


def rules(problems: Sequence[Sampled]) -> list[Figures]:
    """Return DR's greedy accuracy by KG's, the teacher's, no and another problem's rules.

    Each is compared with KG's by McNemar's exact test, on the problems that have both.
    """
    found = []
    for by in ("kg", "teacher", "none", "other"):
        pairs = []
        for sampled in problems:
            own = sampled.rounds[0].dr if sampled.rounds else None
            sample = own if by == "kg" else sampled.extra.get(by)
            if by == "teacher" and not sampled.case.rules:
                sample = None
            if own and sample:
                pairs.append((_right(sampled, own), _right(sampled, sample)))
        if pairs:
            right = sum(b for _, b in pairs)
            lost, won = sum(a and not b for a, b in pairs), sum(b and not a for a, b in pairs)
            row: Figures = {"rules": by, **share(right, len(pairs))}
            found.append(row | {"lost": lost, "won": won, "p": mcnemar(lost, won)})
    return found


def _right(sampled: Sampled, sample: Sample) -> bool:
    return sampled.right(answer_alone(sample))


def kinds(problems: Sequence[Sampled]) -> list[Figures]:
    """Return both systems' greedy accuracy by kind of problem, compared by McNemar's test."""
    found = []
    for name, of in KINDS.items():
        groups: dict[str, list[Sampled]] = {}
        for sampled in problems:
            if kind := of(sampled.case):
                groups.setdefault(kind, []).append(sampled)
        order = sorted(groups, key=lambda kind: (SIZES.index(kind) if kind in SIZES else -1, kind))
        if name == "topic":
            order = sorted(order, key=lambda k: -len(groups[k]))[:MOST_TOPICS]
        if len(groups) > 1:
            found += [{"by": name, "kind": kind, **_systems(groups[kind])} for kind in order]
    return found


def _systems(problems: Sequence[Sampled]) -> Figures:
    pairs = [
        (_right(p, first.ir), _right(p, first.dr))
        for p in problems
        for first in p.rounds[:1]
        if first.ir and first.dr
    ]
    one, two = sum(a and not b for a, b in pairs), sum(b and not a for a, b in pairs)
    both = sum(a and b for a, b in pairs)
    row: Figures = {"n": len(pairs), "p": mcnemar(one, two)}
    row["ir"], row["dr"] = share(both + one, len(pairs)), share(both + two, len(pairs))
    return row


def _steps(case: Case) -> str:
    n = len(case.steps)
    return "" if not n else "5 or more" if n > 4 else str(n)


def _operations(case: Case) -> str:
    text = "".join(case.steps)
    adds, multiplies = bool(set("+-") & set(text)), bool(set("*/") & set(text))
    if not (adds or multiplies):
        return ""
    return "both kinds" if adds and multiplies else "+ - only" if adds else "* / only"


def _size(case: Case) -> str:
    numbers = [float(text.replace(",", "")) for text in _NUMBER.findall(case.question)]
    if not numbers:
        return ""
    largest = max(numbers)
    return SIZES[sum(largest >= limit for limit in (10, 100, 1000))]


KINDS: dict[str, Callable[[Case], str]] = {
    "steps": _steps,
    "operations": _operations,
    "largest number": _size,
    "grade": lambda case: "" if case.grade is None else f"grade {case.grade}",
    "topic": lambda case: case.topic,
}


def independence(problems: Sequence[Sampled]) -> Figures:
    """Return how the systems' votes go together, over all rounds in which both vote.

    `wrong_alike` counts, of rounds with both wrong, those with the same wrong answer: only those
    end in a wrong agreement. `expected` is how many rounds would have both right by chance.
    """
    both = first = second = neither = alike = 0
    for sampled in problems:
        for drawn in sampled.whole:
            ir, dr = (s.answer if s else None for s in (drawn.ir, drawn.dr))
            if not (isinstance(ir, Answer) and isinstance(dr, Answer)):
                continue
            right = sampled.right(ir), sampled.right(dr)
            both += right == (True, True)
            first += right == (True, False)
            second += right == (False, True)
            if right == (False, False):
                neither += 1
                alike += same(ir, dr)
    n = both + first + second + neither
    table: Figures = {"rounds": n, "both_right": both, "ir_alone": first, "dr_alone": second}
    table |= {"both_wrong": neither, "wrong_alike": share(alike, neither)}
    expected = (both + first) * (both + second) / n if n else 0.0
    return table | {"expected": expected, "phi": phi(both, first, second, neither)}
