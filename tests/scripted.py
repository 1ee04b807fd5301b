"""An engine that says what a test wrote down, and records what it was asked."""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lorid_local.engine import Cancelled, Completion, OnDone, OnToken, Request, Role, never
from lorid_local.errors import LoridError
from lorid_local.judging import Protocol
from lorid_local.loop import (
    Event,
    LoopSettings,
    RoleSettings,
    RoleTable,
    finish,
    solve,
)
from lorid_local.trace import Trace

Line = str | Completion | LoridError
CHUNK = 6  # characters handed to on_token at once


class ScriptedEngine:
    """Answers each role from its queue, in the order of the requests; raises scripted errors.

    A text ends by itself; a Completion says how it ended. `calls` holds the requests of each call.
    """

    def __init__(self, script: Mapping[Role, Iterable[Line]]) -> None:
        self.queues = {role: deque(lines) for role, lines in script.items()}
        self.calls: list[tuple[Request, ...]] = []

    @property
    def requests(self) -> list[Request]:
        return [request for call in self.calls for request in call]

    def of(self, role: Role) -> list[Request]:
        return [request for request in self.requests if request.role is role]

    def generate(
        self,
        requests: Sequence[Request],
        on_token: OnToken | None = None,
        cancelled: Cancelled = never,
        on_done: OnDone | None = None,
    ) -> list[Completion]:
        self.calls.append(tuple(requests))
        if len({request.role for request in requests}) != 1:
            raise AssertionError(f"a call must be of one role, got {requests}")
        lines = [self._next(request.role) for request in requests]
        written: list[Completion] = []
        needless: set[int] = set()
        for i, line in enumerate(lines):
            if i in needless:
                written.append(Completion("", "cancelled", 0))
                continue
            written.append(_write(i, line, on_token, cancelled))
            if on_done:
                needless |= set(on_done(i, written[-1]))
        return written

    def _next(self, role: Role) -> Completion:
        queue = self.queues.get(role)
        if not queue:
            raise AssertionError(f"the script of {role} is exhausted")
        line = queue.popleft()
        if isinstance(line, LoridError):
            raise line
        return line if isinstance(line, Completion) else completion(line)


def completion(text: str) -> Completion:
    """Return `text` as a sample that ended by itself."""
    return Completion(text, "stop", len(_chunks(text)) + 1)


def table() -> RoleTable:
    """Return settings that differ from role to role."""
    return RoleTable(
        ir=RoleSettings("terse-1", 40, temperature=0.5, top_p=0.9, stop=("\n\n",)),
        kg=RoleSettings("terse-1", 50, temperature=0.6, top_p=0.8),
        dr=RoleSettings("terse-1", 60, temperature=0.7, top_p=0.7),
    )


def loop_settings(rounds: int, protocol: Protocol = "same-round", width: int = 1) -> LoopSettings:
    return LoopSettings(rounds, protocol, width)


QUESTION = "Ann has 48 eggs and sells half. How many are left?"


def script(ir: Sequence[object], dr: Sequence[object]) -> ScriptedEngine:
    """Return an engine whose chains end in these answers; completions and errors stay as is."""
    rules = [f"- Rule {n} of half.\n- Add up." for n in range(1, max(len(ir), len(dr)) + 1)]
    lines = {Role.IR: [_line(a) for a in ir], Role.DR: [_line(a) for a in dr]}
    return ScriptedEngine(lines | {Role.KG: list[Line](rules)})


def run(
    engine: ScriptedEngine, rounds: int = 2, protocol: Protocol = "same-round", **more: Any
) -> Trace:
    """Return the trace of QUESTION; `more` goes to solve."""
    return run_events(engine, loop_settings(rounds, protocol), **more)[0]


def run_events(
    engine: ScriptedEngine, settings: LoopSettings, question: str = QUESTION, **more: Any
) -> tuple[Trace, list[Event]]:
    """Return the trace and the events; time stands still unless `more` has a clock."""
    events: list[Event] = []
    more.setdefault("clock", lambda: 0.0)
    return finish(solve(question, engine, table(), settings, **more), events.append), events


def shown(trace: Trace) -> str | None:
    return trace.answer.shown if trace.answer else None


def _line(answer: object) -> Line:
    if isinstance(answer, Completion | LoridError):
        return answer
    return f"<<48/2=24>>\n#### {answer}"


def _chunks(text: str) -> list[str]:
    return [text[at : at + CHUNK] for at in range(0, len(text), CHUNK)]


def _write(
    index: int, line: Completion, on_token: OnToken | None, cancelled: Cancelled
) -> Completion:
    written = ""
    for tokens, chunk in enumerate(_chunks(line.text)):
        if cancelled():
            return Completion(written, "cancelled", tokens)
        written += chunk
        if on_token:
            on_token(index, chunk)
    return line
