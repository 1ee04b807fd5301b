"""All figures of a run as one JSON-ready dict (schema lorid-eval/1): the report's only source."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from lorid_local.answers import Answer
from lorid_local.engine import Role
from lorid_local.evaluate import calibrating, peers, policy, questions
from lorid_local.evaluate.methods import Method, Played
from lorid_local.evaluate.policy import Draw
from lorid_local.evaluate.sampled import Sampled
from lorid_local.evaluate.statistics import mcnemar, share
from lorid_local.evaluate.store import Contents
from lorid_local.judging import Protocol

SCHEMA = "lorid-eval/1"
Figures = dict[str, Any]


@dataclass(frozen=True)
class Replayed:
    """What every method made of every problem that has the samples for all of them."""

    problems: list[Sampled]
    outcomes: dict[str, list[Played]]


def replay(problems: Sequence[Sampled], methods: Sequence[Method]) -> Replayed:
    """Replay the methods, each on the same problems: those whose samples suffice for all."""
    usable = [p for p in problems if all(method.playable(p) for method in methods)]
    return Replayed(usable, {m.name: [m.play(p) for p in usable] for m in methods})


def figures(
    contents: Contents,
    replayed: Replayed,
    *,
    wanted: int,
    rounds: int,
    protocol: Protocol,
    others: Sequence[Draw] = (),
) -> Figures:
    """Return everything that is known of the run. `wanted` is how many problems it was to have.

    `rounds` and `protocol` are the bundle's own, which the calibration is for; `others` are the
    same cases drawn at other temperatures.
    """
    problems = replayed.problems
    rates = seconds_a_token(contents)
    drawn = min((len(p.whole) for p in problems), default=0)
    if contents.stops and contents.stops.protocol == "same-round":
        drawn = contents.stops.rounds  # what agreed before has no more to say
    t = min(rounds, drawn)
    return {
        "schema": SCHEMA,
        "data": contents.data,
        "settings": contents.settings,
        "problems": len(problems),
        "wanted": wanted,
        "rounds": drawn,
        "methods": [table_row(name, played, rates) for name, played in replayed.outcomes.items()],
        "pairs": pairs(replayed.outcomes),
        "samples": {role.value: drawn_figures(problems, role) for role in Role},
        "curve": questions.curve(problems, drawn),
        "convergence": questions.convergence(problems, protocol, t),
        "rules": questions.rules(problems),
        "kinds": questions.kinds(problems),
        "independence": questions.independence(problems),
        "calibration": calibrating.figures(problems, protocol, t),
        "policy": policy.figures([Draw(problems), *_of_the_same(problems, others)]),
        "extractors": peers.extractors(problems),
    }


def _of_the_same(problems: Sequence[Sampled], others: Sequence[Draw]) -> list[Draw]:
    kept = {id(p.case) for p in problems}
    return [replace(o, problems=[p for p in o.problems if id(p.case) in kept]) for o in others]


def table_row(name: str, outcomes: Sequence[Played], rates: Sequence[float]) -> Figures:
    """Return a method's line of the table; means are per problem."""
    n = len(outcomes)
    settled = [p for p in outcomes if p.agreed is not None]
    by_round = Counter(p.agreed for p in settled if p.agreed)
    right_by_round = Counter(p.agreed for p in settled if p.right)
    open_ = [p for p in outcomes if p.agreed is None]
    tokens = [sum(p.tokens[i] for p in outcomes) / n if n else 0.0 for i in range(len(Role))]
    return {
        "method": name,
        **share(sum(p.right for p in outcomes), n),
        "agreed": share(sum(p.right for p in settled), len(settled)),
        "not_agreed": share(sum(p.right for p in open_), len(open_)),
        "by_round": [
            {"round": k, **share(right_by_round[k], by_round[k])} for k in sorted(by_round)
        ],
        "no_answer": sum(p.answer is None for p in outcomes),
        "rounds": sum(p.rounds for p in outcomes) / n if n else 0.0,
        "generations": sum(p.generations for p in outcomes) / n if n else 0.0,
        "tokens": sum(tokens),
        "seconds": sum(t * rate for t, rate in zip(tokens, rates, strict=True)),
    }


def pairs(outcomes: dict[str, list[Played]]) -> list[Figures]:
    """Return each two methods compared on the same problems, by McNemar's exact test."""
    names = list(outcomes)
    found = []
    for i, first in enumerate(names):
        for second in names[i + 1 :]:
            both = list(zip(outcomes[first], outcomes[second], strict=True))
            one = sum(a.right and not b.right for a, b in both)
            two = sum(b.right and not a.right for a, b in both)
            found.append(
                {"first": first, "second": second, "only_first": one, "only_second": two,
                 "p": mcnemar(one, two)}
            )  # fmt: skip
    return found


def seconds_a_token(contents: Contents) -> list[float]:
    """Return IR's, KG's and DR's seconds a generated token, as this pass drew them in batches."""
    rates = []
    for role in Role:
        taken = [t for key, t in contents.samples.items() if key.role is role]
        tokens = sum(t.completion.tokens for t in taken if t.seconds)
        rates.append(sum(t.seconds for t in taken) / tokens if tokens else 0.0)
    return rates


def drawn_figures(problems: Sequence[Sampled], role: Role) -> Figures:
    """Return how a role's samples ended, how many vote, and why the others do not."""
    samples = [s for p in problems for s in p.of(role)]
    ends = Counter(s.finish_reason for s in samples)
    votes = sum(isinstance(s.answer, Answer) for s in samples)
    reasons = Counter(
        questions.kind_of_reason(s.answer.reason)
        for s in samples
        if s.answer and not isinstance(s.answer, Answer)
    )
    return {
        "drawn": len(samples),
        "truncated": ends["length"] + ends["repeated"],
        "failed": ends["failed"],
        "votes": votes,
        "no_vote": dict(reasons.most_common()),
        "tokens": sum(s.tokens for s in samples) / len(samples) if samples else 0.0,
    }
