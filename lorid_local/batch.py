"""Many problems at once: their loops run side by side, so that every batch is full.

Pure like `loop`: it knows an Engine and `loop.steps`. What all problems ask of a role goes
to the engine in one call, and the engine gives a finished sample's place to the next one.
"""

from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass

from lorid_local.engine import Cancelled, Completion, Engine, OnDone, Role, never
from lorid_local.errors import ContextOverflow
from lorid_local.loop import Ask, Event, LoopSettings, RoleTable, steps
from lorid_local.trace import Trace

WINDOW = 32  # problems under way: enough to fill 16 places while some wait for another role
Outcome = Trace | ContextOverflow


@dataclass
class _Running:
    """A problem's loop; `ask` is what it waits for, `outcome` how it ended."""

    loop: Generator[Ask | Event, list[Completion], Trace]
    ask: Ask | None = None
    outcome: Outcome | None = None

    def go_on(self, completions: list[Completion] | None) -> None:
        """Run to the next Ask or to the end."""
        self.ask = None
        try:
            step = self.loop.send(completions)  # type: ignore[arg-type]  # None starts it
            while not isinstance(step, Ask):
                step = next(self.loop)
            self.ask = step
        except StopIteration as stop:
            self.outcome = stop.value


def solve_all(
    questions: Iterable[str],
    engine: Engine,
    roles: RoleTable,
    settings: LoopSettings,
    *,
    seed: int = 0,
    timeout: float | None = None,
    cancelled: Cancelled = never,
    window: int = WINDOW,
) -> Iterator[Outcome]:
    """Yield what became of each question, in their order: a Trace, or why it is too long.

    At most `window` problems are under way; cancelled, those (or the first one) end as
    interrupted and no other one starts. `timeout` (seconds a problem) is exact only where window
    is 1, as the others' samples take time too. Raises what else the engine raises.
    """
    waiting = iter(questions)
    unseen: deque[_Running] = deque()  # in input order, begun and not yielded yet
    more, begun = True, False
    while more or unseen:
        while more and len(unseen) < window and not (begun and cancelled()):
            question, begun = next(waiting, None), True
            if question is None:
                more = False
                break
            loop = steps(question, roles, settings, seed=seed, timeout=timeout, cancelled=cancelled)
            unseen.append(_Running(loop))
            unseen[-1].go_on(None)
        more = more and not cancelled()
        while unseen and unseen[0].outcome is not None:
            yield unseen.popleft().outcome  # type: ignore[misc]  # tested in the line above
        _serve([running for running in unseen if running.ask], engine)


def _serve(asking: Sequence[_Running], engine: Engine) -> None:
    """Draw what is asked of the role that is asked most."""
    wanted = dict.fromkeys(Role, 0)
    for running in asking:
        if running.ask:
            wanted[running.ask.role] += len(running.ask.requests)
    role = max(wanted, key=lambda r: wanted[r])
    chosen = [running for running in asking if running.ask and running.ask.role is role]
    if not chosen:
        return
    try:
        _draw(chosen, engine)
    except ContextOverflow:  # raised before anything ran: find whose it is
        for running in chosen:
            try:
                _draw([running], engine)
            except ContextOverflow as error:
                running.ask, running.outcome = None, error


def _draw(chosen: Sequence[_Running], engine: Engine) -> None:
    """Draw the samples that these problems ask for in one call, and let the problems go on."""
    asks = [running.ask for running in chosen if running.ask]
    requests = [request for ask in asks for request in ask.requests]
    done = engine.generate(requests, None, _all_over(asks), _watcher(asks))
    start = 0
    for running, ask in zip(chosen, asks, strict=True):
        end = start + len(ask.requests)
        running.go_on(done[start:end])
        start = end


def _all_over(asks: Sequence[Ask]) -> Cancelled:
    return lambda: all(ask.over() for ask in asks)


def _watcher(asks: Sequence[Ask]) -> OnDone:
    """Return an OnDone that hands each completion to its own ask's watcher."""
    owners: list[tuple[OnDone, int]] = []
    for ask in asks:
        first, watch = len(owners), ask.watcher()
        owners += [(watch, first)] * len(ask.requests)

    def done(index: int, completion: Completion) -> list[int]:
        watch, first = owners[index]
        return [first + i for i in watch(index - first, completion)]

    return done
