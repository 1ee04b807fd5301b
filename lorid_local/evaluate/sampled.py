"""A problem with its samples, read and judged once, for every method to be replayed on.

The judging is the product's own (`lorid_local.judging`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate, takewhile

from lorid_local.answers import Answer, Unparsed, find, same
from lorid_local.engine import Request, Role
from lorid_local.evaluate.cases import Case
from lorid_local.evaluate.store import Contents, Key, Stops
from lorid_local.judging import Protocol, best_guess, implies, joined, judge, sample
from lorid_local.trace import Round, Sample

RULES = ("teacher", "none", "other")  # whose rules DR's extra greedy sample had
Agreement = tuple[int, Answer]


@dataclass(frozen=True)
class Sampled:
    """`rounds` are as many as any role drew; `extra` is DR's greedy sample by other rules."""

    case: Case
    rounds: tuple[Round, ...]
    extra: Mapping[str, Sample]
    stops: Stops | None = None

    def of(self, role: Role) -> list[Sample]:
        """Return a role's samples in the order of the rounds, up to the first that is missing."""
        return self._of[role]

    @cached_property
    def _of(self) -> dict[Role, list[Sample]]:
        drawn = {role: [getattr(r, role.value) for r in self.rounds] for role in Role}
        return {role: list(takewhile(bool, samples)) for role, samples in drawn.items()}

    @cached_property
    def whole(self) -> tuple[Round, ...]:
        """The rounds in which all three roles wrote."""
        return self.rounds[: min(len(self.of(role)) for role in Role)]

    @cached_property
    def warm(self) -> "Sampled":
        """The problem without the greedy round: round 2 is its first."""
        rounds = tuple(replace(r, number=r.number - 1) for r in self.rounds[1:])
        return Sampled(self.case, rounds, {})

    def agreement(self, protocol: Protocol, t: int) -> Agreement | None:
        """Return the round in which the systems agree, up to `t`, and the answer."""
        if protocol not in self._agreements:
            self._agreements[protocol] = _agreement(self.whole, protocol)
        found = self._agreements[protocol]
        return found if found and found[0] <= t else None

    def guess(self, t: int) -> Answer | None:
        """Return the best guess of the first `t` whole rounds."""
        if t not in self._guesses:
            self._guesses[t] = best_guess(self.whole[:t])
        return self._guesses[t]

    @cached_property
    def spent(self) -> list[tuple[int, int, int]]:
        """The tokens that IR, KG and DR generated in the first 0, 1, 2 ... whole rounds."""
        each = [[0, *accumulate(s.tokens for s in self.of(role))] for role in Role]
        return list(zip(*each, strict=False))

    def settled(self, protocol: Protocol, t: int) -> bool:
        """True if no more was drawn because the systems agreed, by this protocol too, up to t."""
        if not self.stops or self.stops.rounds < t:
            return False
        return implies(self.stops.protocol, protocol) and self.agreement(protocol, t) is not None

    @cached_property
    def _agreements(self) -> dict[Protocol, Agreement | None]:
        return {}

    @cached_property
    def _guesses(self) -> dict[int, Answer | None]:
        return {}

    def right(self, answer: Answer | Unparsed | None) -> bool:
        """True if `answer` is one and the right one."""
        return isinstance(answer, Answer) and same(answer, self.case.gold)


def _agreement(rounds: Sequence[Round], protocol: Protocol) -> Agreement | None:
    for i, drawn in enumerate(rounds):
        _, winner = judge(drawn, rounds[:i], protocol)
        if winner:
            return drawn.number, winner
    return None


def answer_alone(sample: Sample) -> Answer | Unparsed:
    """Return the marked answer of a sample that nobody checks, whatever its arithmetic."""
    vote = sample.answer
    return vote if isinstance(vote, Answer) else find(sample.text, marked_only=True)


def gather(contents: Contents) -> list[Sampled]:
    """Return every problem with what was drawn for it."""
    return [one(contents, number) for number in range(len(contents.cases))]


def one(contents: Contents, number: int) -> Sampled:
    """Return a problem, by its place in the data, with what was drawn for it."""
    rounds: list[Round] = []
    while True:
        drawn = Round(len(rounds) + 1, None, None, (), None, agreed=False, why="")
        for role in Role:
            if taken := contents.samples.get(Key(number, role, drawn.number)):
                drawn = joined(
                    drawn, sample(_asked(contents, role), drawn.number, taken.completion)
                )
        if not drawn.samples:
            break
        rounds.append(drawn)
    extra = {
        by: sample(_asked(contents, Role.DR), 1, taken.completion)
        for by in RULES
        if (taken := contents.samples.get(Key(number, Role.DR, 1, by)))
    }
    return Sampled(contents.cases[number], tuple(rounds), extra, contents.stops)


def _asked(contents: Contents, role: Role) -> Request:
    """Return what a sample must be read by; its prompt is not stored."""
    return Request(role, (), 1, latex=bool(contents.settings.get(f"{role}.latex")))
