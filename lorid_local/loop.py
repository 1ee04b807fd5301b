"""The consensus of LoRID (arXiv 2508.13037): draw a round, judge it, stop at agreement.

Pure: it knows an Engine, prompts and answers, but no llama.cpp, no bundle and no screen.
Two protocols: `same-round` (the paper's text: IR and DR of one round agree) and `pooled`
(the authors' code: any answers of rounds 1..j agree).
"""

import hashlib
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from lorid_local import prompts
from lorid_local.answers import Answer, Unparsed, find, same, vote
from lorid_local.engine import Cancelled, Completion, Engine, Request, Role, never
from lorid_local.trace import Round, Sample, Status, Trace

Protocol = Literal["same-round", "pooled"]
MAX_ROUNDS = 100


@dataclass(frozen=True)
class RoleSettings:
    """How one role is asked. Round 1 is always greedy; temperature and top_p rule the rest."""

    prompt: str
    max_tokens: int
    adapter: str = ""
    sha256: str = ""
    temperature: float = 0.7
    top_p: float = 0.95
    stop: tuple[str, ...] = ()
    calculator: bool = False

    def __post_init__(self) -> None:
        if self.max_tokens < 1:
            raise ValueError(f"max_tokens must be at least 1, got {self.max_tokens}")
        if not 0 <= self.temperature <= 5:
            raise ValueError(f"temperature must lie in 0 to 5, got {self.temperature}")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must lie in (0, 1], got {self.top_p}")


@dataclass(frozen=True)
class RoleTable:
    """The settings of the three roles."""

    ir: RoleSettings
    kg: RoleSettings
    dr: RoleSettings

    def of(self, role: Role) -> RoleSettings:
        """Return one role's settings."""
        settings: RoleSettings = getattr(self, role.value)
        return settings


@dataclass(frozen=True)
class LoopSettings:
    """t of the paper, the protocol, and how many rounds after the first are drawn at once."""

    rounds: int = 8
    protocol: Protocol = "same-round"
    width: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.rounds <= MAX_ROUNDS:
            raise ValueError(f"rounds must lie in 1 to {MAX_ROUNDS}, got {self.rounds}")
        if not 1 <= self.width <= MAX_ROUNDS:
            raise ValueError(f"width must lie in 1 to {MAX_ROUNDS}, got {self.width}")


@dataclass(frozen=True)
class Drawn:
    """Event: a role has written its sample of a round."""

    sample: Sample


@dataclass(frozen=True)
class Judged:
    """Event: a round is complete."""

    round: Round


Event = Drawn | Judged
OnText = Callable[[Role, int, str], None]
"""Called while a sample grows, with its role, its round and the new text."""


def solve(
    question: str,
    engine: Engine,
    roles: RoleTable,
    settings: LoopSettings,
    *,
    seed: int = 0,
    timeout: float | None = None,
    cancelled: Cancelled = never,
    on_text: OnText | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Generator[Event, None, Trace]:
    """Yield events while the rounds run; return the Trace (StopIteration's value).

    `timeout` in seconds. Raises what the engine raises.
    """
    started = clock()

    def over() -> bool:
        return cancelled() or (timeout is not None and clock() - started >= timeout)

    draw = _Draw(prompts.tidy(question), engine, roles, seed, over, on_text)
    rounds: list[Round] = []
    winner: Answer | None = None
    for numbers in _batches(settings):
        for drawn in (yield from draw.rounds(numbers)):
            judged, winner = _judge(drawn, rounds, settings.protocol)
            rounds.append(judged)
            yield Judged(judged)
            if winner:
                break
        if winner or over():
            break
    return Trace(
        question=draw.question,
        status=_status(winner, over(), cancelled(), rounds, settings),
        answer=winner or best_guess(rounds),
        agreed_round=rounds[-1].number if winner else None,
        rounds=tuple(rounds),
        protocol=settings.protocol,
        max_rounds=settings.rounds,
        seed=seed,
        seconds=clock() - started,
    )


def finish(events: Generator[Event, None, Trace], on_event: Callable[[Event], None]) -> Trace:
    """Run `events` to the end, hand each to `on_event`, and return the Trace."""
    while True:
        try:
            on_event(next(events))
        except StopIteration as stop:
            trace: Trace = stop.value
            return trace


def round_seed(seed: int, role: Role, number: int) -> int:
    """Return the 32-bit seed of one sample; the same whatever the width."""
    digest = hashlib.sha256(f"{seed}/{role.value}/{number}".encode()).digest()
    return int.from_bytes(digest[:4], "little")


def request(
    roles: RoleTable, role: Role, question: str, rules: tuple[str, ...], number: int, seed: int
) -> Request:
    """Return what `role` is asked in round `number` of a solve with `seed`."""
    settings = roles.of(role)
    greedy = number == 1
    return Request(
        role=role,
        prompt=prompts.profile(settings.prompt).parts(role, question, rules),
        max_tokens=settings.max_tokens,
        seed=round_seed(seed, role, number),
        temperature=0.0 if greedy else settings.temperature,
        top_p=1.0 if greedy else settings.top_p,
        stop=settings.stop,
        calculator=settings.calculator,
    )


def best_guess(rounds: Sequence[Round]) -> Answer | None:
    """Return the most frequent vote, the earliest of equals.

    Without any vote: the most frequent marked answer of samples that failed some other test.
    """
    samples = [s for r in rounds for s in (r.ir, r.dr) if s]
    return _most_frequent([s.answer for s in samples]) or _most_frequent(
        [find(s.text, marked_only=True) for s in samples if s.finish_reason == "stop"]
    )


def _most_frequent(answers: Sequence[Answer | Unparsed | None]) -> Answer | None:
    votes = [a for a in answers if isinstance(a, Answer)]
    return max(votes, key=lambda a: sum(same(a, b) for b in votes), default=None)


def _batches(settings: LoopSettings) -> Iterator[range]:
    """Round 1 alone (most problems end there), then `width` rounds at a time."""
    yield range(1, 2)
    for first in range(2, settings.rounds + 1, settings.width):
        yield range(first, min(first + settings.width, settings.rounds + 1))


@dataclass
class _Draw:
    """Draws rounds: IR's samples in one call, then KG's, then DR's with each round's rules."""

    question: str
    engine: Engine
    roles: RoleTable
    seed: int
    over: Cancelled
    on_text: OnText | None

    def rounds(self, numbers: range) -> Generator[Event, None, list[Round]]:
        """Yield each sample as it is done; return the rounds, not yet judged."""
        drawn = [Round(n, None, None, (), None, agreed=False, why="") for n in numbers]
        for role in (Role.IR, Role.KG, Role.DR):
            if self.over():
                break
            samples = self._samples(role, drawn)
            for i, sample in enumerate(samples):
                drawn[i] = _with(drawn[i], sample)
                yield Drawn(sample)
        return [r for r in drawn if r.samples]

    def _samples(self, role: Role, rounds: list[Round]) -> list[Sample]:
        requests = [
            request(self.roles, role, self.question, r.rules, r.number, self.seed) for r in rounds
        ]
        completions = self.engine.generate(requests, self._listener(role, rounds), self.over)
        return [_sample(role, r.number, c) for r, c in zip(rounds, completions, strict=True)]

    def _listener(self, role: Role, rounds: list[Round]) -> Callable[[int, str], None] | None:
        if self.on_text is None:
            return None
        on_text = self.on_text
        return lambda index, text: on_text(role, rounds[index].number, text)


def _sample(role: Role, number: int, done: Completion) -> Sample:
    text = prompts.printable(done.text).strip()
    answer = None if role is Role.KG else vote(text, done.finish_reason)
    return Sample(role, number, text, done.finish_reason, done.tokens, answer)


def _with(drawn: Round, sample: Sample) -> Round:
    if sample.role is Role.IR:
        return replace(drawn, ir=sample)
    if sample.role is Role.KG:
        whole = sample.finish_reason == "stop"
        return replace(drawn, kg=sample, rules=prompts.rules(sample.text, complete=whole))
    return replace(drawn, dr=sample)


def _judge(drawn: Round, before: list[Round], protocol: Protocol) -> tuple[Round, Answer | None]:
    """Return the round with its verdict, and the agreed answer if there is one."""
    if not (drawn.ir and drawn.dr):
        return replace(drawn, why="the round was cut short"), None
    pools = [drawn] if protocol == "same-round" else [*before, drawn]
    winner = _shared([r.ir for r in pools], [r.dr for r in pools])
    if winner:
        return replace(drawn, agreed=True, why=f"both say {winner.shown}"), winner
    return replace(drawn, why=_why(drawn.ir.answer, drawn.dr.answer)), None


def _why(ir: Answer | Unparsed | None, dr: Answer | Unparsed | None) -> str:
    if isinstance(ir, Answer) and isinstance(dr, Answer):
        return f"System 1 says {ir.shown}, System 2 says {dr.shown}"
    none = [f"System {n}: {a.reason}" for n, a in ((1, ir), (2, dr)) if isinstance(a, Unparsed)]
    return "; ".join(none)


def _shared(ir: Sequence[Sample | None], dr: Sequence[Sample | None]) -> Answer | None:
    """Return the answer that both pools hold; of several, the one with the most votes."""
    left = [s.answer for s in ir if s and isinstance(s.answer, Answer)]
    right = [s.answer for s in dr if s and isinstance(s.answer, Answer)]
    shared = [a for a in left if any(same(a, b) for b in right)]
    return max(shared, key=lambda a: sum(same(a, b) for b in (*left, *right)), default=None)


def _status(
    winner: Answer | None,
    over: bool,
    cancelled: bool,
    rounds: list[Round],
    settings: LoopSettings,
) -> Status:
    if winner:
        return "agreed"
    if cancelled:
        return "interrupted"
    last = [r.dr for r in rounds if r.dr and r.dr.finish_reason != "cancelled"]
    complete = len(last) == settings.rounds
    return "timeout" if over and not complete else "no-agreement"
