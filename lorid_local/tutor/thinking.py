"""The pupil's own problem, thought about in a thread: the consensus loop, and what of it is told.

The engine is opened in the thread, so that the pupil reads and tries meanwhile. Nothing is shown
here: `news` is asked for what there is, and only checked rules and a settled verdict come out.
"""

import threading
import time
from collections.abc import Callable
from typing import Protocol

from lorid_local import bundle as bundles
from lorid_local import loop, prompts, solving
from lorid_local.calibration import Sureness, sureness
from lorid_local.engine import Cancelled, Engine, Role
from lorid_local.errors import LoridError
from lorid_local.trace import Trace
from lorid_local.tutor import advice, wording
from lorid_local.tutor.state import Own, Thought
from lorid_local.tutor.task import of_trace

POLL = 0.05  # seconds between looks at what a waiting pupil waits for


class Think(Protocol):
    """Solves a problem: says its rules early, then returns the trace and how sure it is."""

    def __call__(
        self, question: str, on_rules: Callable[[tuple[str, ...]], None], cancelled: Cancelled
    ) -> tuple[Trace, Sureness | None]: ...


def with_bundle(flags: solving.Flags) -> Think:
    """Return a Think that opens the engine the flags ask for, when it is called.

    Raises ModelError for a bundle there is not, at once.
    """
    chosen = bundles.find(flags.bundle or bundles.DEFAULT)
    setup = solving.settle(chosen.contents, flags)

    def think(
        question: str, on_rules: Callable[[tuple[str, ...]], None], cancelled: Cancelled
    ) -> tuple[Trace, Sureness | None]:
        with solving.opened(chosen, flags, say=lambda _: None) as engine:
            return consult(question, engine, setup, on_rules, cancelled)

    return think


def consult(
    question: str,
    engine: Engine,
    setup: solving.Setup,
    on_rules: Callable[[tuple[str, ...]], None],
    cancelled: Cancelled,
) -> tuple[Trace, Sureness | None]:
    """Run the loop on `engine`; hand each round's rules to `on_rules` as they come."""

    def on_event(event: loop.Event) -> None:
        if isinstance(event, loop.Drawn) and event.sample.role is Role.KG:
            whole = event.sample.finish_reason == "stop"
            on_rules(prompts.rules(event.sample.text, complete=whole))

    events = loop.solve(
        question,
        engine,
        setup.roles,
        setup.loop,
        seed=setup.seed,
        timeout=setup.timeout,
        cancelled=cancelled,
    )
    trace = loop.finish(events, on_event)
    return trace, sureness(setup.calibration, trace)


class Thinker:
    """One problem under way in a thread of its own.

    What the two threads tell each other are attributes that are replaced whole, and no locks: a
    Ctrl-C where the waiting thread holds a future's lock would leave the other one stuck.
    """

    def __init__(self, question: str, think: Think) -> None:
        self.question = question
        self._over = False
        self._early: tuple[str, ...] = ()
        self._outcome: tuple[Trace, Sureness | None] | BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(think,), name="thinking")
        self._thread.start()

    def _run(self, think: Think) -> None:
        try:
            self._outcome = think(self.question, self._rules, lambda: self._over)
        except BaseException as error:  # raised again where news is asked for
            self._outcome = error

    def news(self) -> Thought:
        """Return what may be told by now; raises what the thread raised, LoridError apart."""
        outcome = self._outcome
        if outcome is None:
            return Thought(Own(self.question, "thinking", self._early))
        if isinstance(outcome, LoridError):
            return Thought(Own(self.question, "failed", self._early, why=outcome.message))
        if isinstance(outcome, BaseException):
            raise outcome
        return verdict(*outcome, self._early)

    def wait(self, rules: int | None = None) -> None:
        """Return as soon as there is a verdict, or more than `rules` rules (None: never mind).

        Raises KeyboardInterrupt where Ctrl-C is pressed; the thread goes on.
        """
        while self._outcome is None and (rules is None or len(self._early) <= rules):
            time.sleep(POLL)

    def stop(self) -> None:
        """End the thread; it stops between two decoding steps."""
        self._over = True
        self._thread.join()

    def _rules(self, rules: tuple[str, ...]) -> None:
        """Keep those without any number: whatever the answer will be, they do not tell it."""
        found = [rule for rule in advice.checked(rules, self.question, ()) if advice.bare(rule)]
        self._early = tuple(dict.fromkeys((*self._early, *found)))


def verdict(trace: Trace, sure: Sureness | None, early: tuple[str, ...]) -> Thought:
    """Return what a finished solve lets the tutor say; `early` rules, already shown, stay first."""
    answers = advice.candidates(trace.rounds)
    answers |= {trace.answer.value} if trace.answer else set()
    every = [rule for drawn in trace.rounds for rule in drawn.rules]
    rules = tuple(dict.fromkeys((*early, *advice.checked(every, trace.question, answers))))
    task = of_trace(trace, rules)
    if task is None:
        return Thought(Own(trace.question, "unsettled", rules))
    counts = (sure.right, sure.n) if sure else None
    return Thought(Own(trace.question, "agreed", rules, wording.sure(counts)), task)
