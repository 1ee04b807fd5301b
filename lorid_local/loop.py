"""The consensus of LoRID (arXiv 2508.13037): draw a round, judge it, stop at agreement.

Pure: it knows an Engine, prompts and answers, but no llama.cpp, no bundle and no screen.
`steps` is the loop itself and calls nothing; `solve` runs it on an engine.
"""

import hashlib
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass

from lorid_local import prompts
from lorid_local.answers import Answer
from lorid_local.engine import Cancelled, Completion, Engine, OnDone, OnToken, Request, Role, never
from lorid_local.judging import Protocol, best_guess, joined, judge, sample
from lorid_local.trace import Round, Sample, Status, Trace

MAX_ROUNDS = 100


@dataclass(frozen=True)
class RoleSettings:
    """How one role is asked. Round 1 is greedy if `greedy_first`; temperature, top_k (0: all
    tokens) and top_p rule the rest.

    `chat` None is the prompt profile's own frame. `repeats`: of 2,758 dev samples of the
    bundled adapters 5 said lines 3 times in a row and came to an answer all the same, none to the
    right one; of 22 that said them twice, one did.
    """

    prompt: str
    max_tokens: int
    adapter: str = ""
    sha256: str = ""
    temperature: float = 0.7
    top_p: float = 0.95
    top_k: int = 0
    greedy_first: bool = True
    stop: tuple[str, ...] = ()
    last_line: str = ""
    repeats: int = 4
    calculator: bool = False
    latex: bool = False
    chat: prompts.Chat | None = None

    def __post_init__(self) -> None:
        if self.max_tokens < 1:
            raise ValueError(f"max_tokens must be at least 1, got {self.max_tokens}")
        if not 0 <= self.temperature <= 5:
            raise ValueError(f"temperature must lie in 0 to 5, got {self.temperature}")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must lie in (0, 1], got {self.top_p}")
        if self.top_k < 0:
            raise ValueError(f"top_k must be at least 1, or 0 (all tokens), got {self.top_k}")
        if self.repeats < 0 or self.repeats == 1:
            raise ValueError(f"repeats must be at least 2, or 0 (never), got {self.repeats}")


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
    """t of the paper, the protocol, and how many rounds after the first are drawn at once.

    `width` 0 is auto: 2 rounds, then 4, 8 and so on.
    """

    rounds: int = 8
    protocol: Protocol = "same-round"
    width: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.rounds <= MAX_ROUNDS:
            raise ValueError(f"rounds must lie in 1 to {MAX_ROUNDS}, got {self.rounds}")
        if not 0 <= self.width <= MAX_ROUNDS:
            raise ValueError(f"width must lie in 1 to {MAX_ROUNDS}, or 0 (auto), got {self.width}")

    @property
    def most_at_once(self) -> int:
        """How many rounds a solve that never agrees draws at once."""
        return max(map(len, _batches(self)))


@dataclass(frozen=True)
class Drawn:
    """Event: a role has written its sample of a round."""

    sample: Sample


@dataclass(frozen=True)
class Judged:
    """Event: a round is complete."""

    round: Round


@dataclass(frozen=True)
class Ask:
    """What a solve needs next: samples of one role, one for each of `rounds`.

    `over` is True as soon as none of them is of use any more.
    """

    requests: tuple[Request, ...]
    rounds: tuple[Round, ...]
    before: tuple[Round, ...]
    protocol: Protocol
    over: Cancelled

    @property
    def role(self) -> Role:
        """The role that is asked."""
        return self.requests[0].role

    def settled(self, found: Mapping[int, Completion]) -> bool:
        """True if the completions found so far make an agreement certain.

        Rounds are judged in their order, so those before the agreeing one must be complete.
        """
        if self.role is not Role.DR:
            return False
        before = list(self.before)
        for i, drawn in enumerate(self.rounds):
            if i not in found:
                return False
            written = sample(self.requests[i], drawn.number, found[i])
            judged, winner = judge(joined(drawn, written), before, self.protocol)
            if winner:
                return True
            before.append(judged)
        return False

    def watcher(self) -> OnDone:
        """Return an `OnDone` that ends all requests once an agreement is certain."""
        found: dict[int, Completion] = {}

        def done(index: int, completion: Completion) -> range:
            found[index] = completion
            return range(len(self.requests) if self.settled(found) else 0)

        return done

    def listener(self, on_text: "OnText | None") -> OnToken | None:
        """Return an `OnToken` that tells `on_text` role and round."""
        if on_text is None:
            return None
        return lambda index, text: on_text(self.role, self.rounds[index].number, text)


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
    running = steps(
        question, roles, settings, seed=seed, timeout=timeout, cancelled=cancelled, clock=clock
    )
    drawn: list[Completion] | None = None
    while True:
        try:
            step = running.send(drawn)  # type: ignore[arg-type]  # None is what starts it
        except StopIteration as stop:
            trace: Trace = stop.value
            return trace
        drawn = None
        if isinstance(step, Ask):
            drawn = engine.generate(
                step.requests, step.listener(on_text), step.over, step.watcher()
            )
        else:
            yield step


def steps(
    question: str,
    roles: RoleTable,
    settings: LoopSettings,
    *,
    seed: int = 0,
    timeout: float | None = None,
    cancelled: Cancelled = never,
    clock: Callable[[], float] = time.monotonic,
) -> Generator["Ask | Event", list[Completion], Trace]:
    """The loop without an engine: yields what it needs (`Ask`) and what happened (events).

    Send it the completions of each Ask. `timeout` in seconds counts from the first send.
    """
    started = clock()

    def over() -> bool:
        return cancelled() or (timeout is not None and clock() - started >= timeout)

    question = prompts.tidy(question)
    rounds: list[Round] = []
    winner: Answer | None = None
    for numbers in _batches(settings):
        drawn = yield from _draw(question, roles, seed, numbers, rounds, settings.protocol, over)
        for candidate in drawn:
            judged, winner = judge(candidate, rounds, settings.protocol)
            rounds.append(judged)
            yield Judged(judged)
            if winner:
                break
        if winner or over():
            break
    return Trace(
        question=question,
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
    greedy = number == 1 and settings.greedy_first
    return Request(
        role=role,
        prompt=prompts.profile(settings.prompt).parts(role, question, rules, settings.chat),
        max_tokens=settings.max_tokens,
        seed=round_seed(seed, role, number),
        temperature=0.0 if greedy else settings.temperature,
        top_p=1.0 if greedy else settings.top_p,
        top_k=0 if greedy else settings.top_k,
        stop=settings.stop,
        last_line=settings.last_line,
        repeats=settings.repeats,
        calculator=settings.calculator,
        latex=settings.latex,
        logprob=role is Role.IR,  # tells right from wrong better than agreement does (CARD.md)
    )


def _batches(settings: LoopSettings) -> Iterator[range]:
    """Round 1 alone (most problems end there), then `width` rounds at a time.

    Width 0 (auto) doubles: 2, 4, 8 ... A problem that disagrees once more is likely to need
    many rounds, and a wide batch costs little more time than a narrow one.
    """
    first, size = 1, 1
    while first <= settings.rounds:
        yield range(first, min(first + size, settings.rounds + 1))
        first += size
        size = settings.width or 2 * size


def _draw(
    question: str,
    roles: RoleTable,
    seed: int,
    numbers: range,
    before: Sequence[Round],
    protocol: Protocol,
    over: Cancelled,
) -> Generator["Ask | Event", list[Completion], list[Round]]:
    """Ask for IR's samples of these rounds, then KG's, then DR's; return the rounds."""
    drawn = [Round(n, None, None, (), None, agreed=False, why="") for n in numbers]
    for role in (Role.IR, Role.KG, Role.DR):
        if over():
            break
        requests = [request(roles, role, question, r.rules, r.number, seed) for r in drawn]
        ask = Ask(tuple(requests), tuple(drawn), tuple(before), protocol, over)
        completions = yield ask
        for i, completion in enumerate(completions):
            written = sample(requests[i], drawn[i].number, completion)
            drawn[i] = joined(drawn[i], written)
            yield Drawn(written)
    return [r for r in drawn if r.samples]


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
