"""The methods by name, each a replay on samples that are there: what it answers and what it costs.

`ir`, `dr` (greedy, alone), `dr+teacher`, `dr+none`, `dr+other` (by other rules than KG's),
`majority@k`, `weighted@k` (by probability), `self-consistency@k` and `adaptive@t` (IR alone),
`first-to-k@t` (both systems), `ir-first-to-k@t`, `lorid@t` (same-round), `pooled@t` and
`pooled-3@t` to `pooled-5@t` (so many votes), these with `warm-` in front (without the greedy
round), `reference@t` (the authors' scoring, lenient as theirs).
"""

import re
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace

from lorid_local.answers import Answer, same
from lorid_local.engine import Role
from lorid_local.errors import InputError, did_you_mean
from lorid_local.evaluate.peers import authors, lenient
from lorid_local.evaluate.sampled import RULES, Sampled, answer_alone
from lorid_local.evaluate.statistics import leads
from lorid_local.judging import PROTOCOLS, Protocol, best_guess, most_probable, number_key
from lorid_local.loop import MAX_ROUNDS
from lorid_local.trace import Round, Sample

CONFIDENT = 0.95  # Adaptive-Consistency stops there
WARM = "warm-"
TAUGHT = "dr+teacher"  # only of problems that a teacher wrote rules for
LOOPS: dict[str, Protocol] = {{"same-round": "lorid"}.get(p, p): p for p in PROTOCOLS}
KINDS = (
    "ir", "dr", *(f"dr+{by}" for by in RULES), "majority@5", "weighted@5", "self-consistency@5",
    "adaptive", "first-to-3", "ir-first-to-3", *LOOPS, f"{WARM}lorid", f"{WARM}pooled", "reference",
)  # fmt: skip
SETTLED = ("lorid", "lorid@1", "pooled", "ir", "dr")  # where drawing ended at agreement
DEFAULT = ("lorid", "lorid@1", "pooled", "ir", "dr", "majority@5", "self-consistency@5",
           "first-to-3", "adaptive", "reference")  # fmt: skip
_NAME = re.compile(
    r"(?P<kind>ir|dr|dr\+(?:teacher|none|other)|majority|weighted|self-consistency|adaptive|reference"
    rf"|(?:{WARM})?(?:{'|'.join(LOOPS)})|(?:ir-)?first-to-(?P<votes>\d{{1,3}}))(?:@(?P<t>\d{{1,3}}))?"
)


@dataclass(frozen=True)
class Played:
    """What a method makes of one problem. `agreed` is the round in which it was settled.

    `tokens` are generated ones of IR, KG and DR. `probability` is the trace's, where asked for.
    """

    answer: Answer | None
    agreed: int | None
    rounds: int
    generations: int
    tokens: tuple[int, int, int]
    right: bool = False
    probability: float | None = None


@dataclass(frozen=True)
class Needs:
    """How many rounds of each role a method may need, and DR's extra samples."""

    ir: int = 0
    kg: int = 0
    dr: int = 0
    by: tuple[str, ...] = ()

    def __or__(self, other: "Needs") -> "Needs":
        by = tuple(name for name in RULES if name in self.by + other.by)
        return Needs(max(self.ir, other.ir), max(self.kg, other.kg), max(self.dr, other.dr), by)

    def met_by(self, sampled: Sampled) -> bool:
        """True if the problem has all these samples."""
        drawn = all(len(sampled.of(role)) >= getattr(self, role.value) for role in Role)
        return drawn and all(by in sampled.extra for by in self.by)


@dataclass(frozen=True)
class Method:
    """A method by its name; `t` rounds at most."""

    name: str
    kind: str
    needs: Needs
    t: int
    _replay: Callable[[Sampled], Played]

    def playable(self, sampled: Sampled) -> bool:
        """True if the problem's samples suffice."""
        protocol = LOOPS.get(self.kind)
        settled = protocol is not None and sampled.settled(protocol, self.t)
        ruled = self.kind != TAUGHT or bool(sampled.case.rules)
        return settled or (ruled and self.needs.met_by(sampled))

    def play(self, sampled: Sampled) -> Played:
        """Return what it makes of a problem; the samples must suffice."""
        played = self._replay(sampled)
        if self.kind == "reference":
            return played
        return replace(played, right=sampled.right(played.answer))


def parse(names: Sequence[str], rounds: int) -> list[Method]:
    """Return the methods of these names; without '@t' they go on for up to `rounds` rounds.

    Raises InputError for a name that is none.
    """
    return [_method(name, rounds) for name in dict.fromkeys(names)]


def _method(name: str, rounds: int) -> Method:
    match = _NAME.fullmatch(name)
    t = int(match["t"] or rounds) if match else 0
    if not match or not 1 <= t <= MAX_ROUNDS or match["votes"] == "0":
        raise InputError(
            f"unknown method {name!r}{did_you_mean(name, KINDS)}",
            hint=f"known, with any k, and @t behind those of rounds: {', '.join(KINDS)}",
        )
    kind, votes = match["kind"], int(match["votes"] or 0)
    three, ir = Needs(t, t, t), Needs(ir=t)

    def enough(counted: Votes) -> bool:
        return max((n for _, n in counted.values()), default=0) >= votes

    replays: dict[str, tuple[Needs, Callable[[Sampled], Played]]] = {
        "ir": (Needs(ir=1), lambda s: _alone(s.rounds[0].ir)),
        "dr": (Needs(kg=1, dr=1), lambda s: _alone(s.rounds[0].dr, s.rounds[0].kg)),
        "majority": (ir, lambda s: _majority(s.of(Role.IR)[:t])),
        "weighted": (ir, lambda s: _weighted(s.of(Role.IR)[:t])),
        "self-consistency": (Needs(ir=t + 1), lambda s: _majority(s.of(Role.IR)[1 : t + 1])),
        "adaptive": (ir, lambda s: _until(_systems(s.of(Role.IR)[:t]), _confident)),
        **{
            name: (three, lambda s, p=protocol: lorid(s, p, t))  # type: ignore[misc]
            for name, protocol in LOOPS.items()
        },
        **{
            WARM + name: (Needs(t + 1, t + 1, t + 1), lambda s, p=protocol: lorid(s.warm, p, t))  # type: ignore[misc]
            for name, protocol in LOOPS.items()
        },
        "reference": (three, lambda s: reference(s, t)),
    }
    replays |= {
        f"dr+{by}": (Needs(kg=int(by == "other"), by=(by,)), lambda s, by=by: _alone(s.extra[by]))  # type: ignore[misc]
        for by in RULES
    }
    if kind.startswith("first-to"):
        replays[kind] = (three, lambda s: _until(s.whole[:t], enough))
    elif votes:
        replays[kind] = (ir, lambda s: _until(_systems(s.of(Role.IR)[:t]), enough))
    needs, replay = replays[kind]
    return Method(name, kind, needs, t, replay)


def played(samples: Sequence[Sample], answer: Answer | None, agreed: int | None) -> Played:
    """Return a method's outcome that took these samples."""
    ir, kg, dr = (sum(s.tokens for s in samples if s.role is role) for role in Role)
    rounds = len({s.round for s in samples})
    return Played(answer, agreed, rounds, len(samples), (ir, kg, dr))


def lorid(sampled: Sampled, protocol: Protocol, t: int) -> Played:
    """Return what the loop makes of the samples with this protocol and `t` rounds at most."""
    found = sampled.agreement(protocol, t)
    agreed, answer = found or (None, sampled.guess(t))
    rounds = min(agreed or t, len(sampled.whole))
    right = sampled.right(answer)
    return Played(answer, agreed, rounds, len(Role) * rounds, sampled.spent[rounds], right)


def reference(sampled: Sampled, t: int) -> Played:
    """Return the authors' scoring (src/predict.py): right if any answer that both pools share is.

    Answers are read without a mark too, shared as strings and compared leniently: x, x/100 and
    100x are all equal to x. Never shared is wrong. All t rounds are drawn first and so counted.
    """
    gold = float(sampled.case.gold.value)
    rounds = sampled.whole[:t]
    samples = [s for r in rounds for s in r.samples]
    ir: dict[str, Answer] = {}
    dr: dict[str, Answer] = {}
    for drawn in rounds:
        for pool, sample in ((ir, drawn.ir), (dr, drawn.dr)):
            if sample and (answer := authors(sample.text)):
                pool[answer.shown] = answer
        shared = [answer for text, answer in ir.items() if text in dr]
        if shared:
            right = [a for a in shared if lenient(float(a.value), gold)]
            done = played(samples, (right or shared)[0], drawn.number)
            return replace(done, rounds=drawn.number, right=bool(right))
    return played(samples, None, None)


def _alone(sample: Sample | None, before: Sample | None = None) -> Played:
    samples = [s for s in (before, sample) if s]
    answer = answer_alone(sample) if sample else None
    return played(samples, answer if isinstance(answer, Answer) else None, None)


def _systems(samples: Sequence[Sample]) -> list[Round]:
    """Return System 1's samples as rounds of their own."""
    return [Round(s.round, s, None, (), None, agreed=False, why="") for s in samples]


def _majority(samples: Sequence[Sample]) -> Played:
    return played(samples, best_guess(_systems(samples)), None)


def _weighted(samples: Sequence[Sample]) -> Played:
    rounds = _systems(samples)
    return played(samples, most_probable(rounds) or best_guess(rounds), None)


Votes = dict[Hashable, tuple[Answer, int]]


def _confident(votes: Votes) -> bool:
    counts = [*sorted((n for _, n in votes.values()), reverse=True), 0, 0]
    return leads(counts[0], counts[1]) >= CONFIDENT


def _until(rounds: Sequence[Round], settled: Callable[[Votes], bool]) -> Played:
    """Draw IR, then KG and DR, round by round, until the votes are `settled`."""
    votes: Votes = {}
    samples: list[Sample] = []
    for drawn in rounds:
        for sample in drawn.samples:
            samples.append(sample)
            if not isinstance(sample.answer, Answer):
                continue
            _count(votes, sample.answer)
            if settled(votes):
                best = max(votes.values(), key=lambda v: v[1])
                return played(samples, best[0], drawn.number)
    return played(samples, best_guess(rounds), None)


def _count(votes: Votes, answer: Answer) -> None:
    kinds = {answer.kind, *(one.kind for one, _ in votes.values())}
    key: Hashable = number_key(answer)
    if "latex" in kinds:  # an expression may be the same as any other answer
        key = next((k for k, (one, _) in votes.items() if same(one, answer)), (answer.text, key))
    first, n = votes.get(key, (answer, 0))
    votes[key] = first, n + 1
