"""The tutor: an event and a state in, a new state and what to do out. Pure: it touches nothing.

The program decides what is revealed (as MWPTutor does, arXiv 2402.09216): the answer only when the
pupil asks for it, a hint only when one is asked for, nothing that a model wrote without a check.
"""

from collections.abc import Callable
from dataclasses import replace

from lorid_local.errors import InputError, did_you_mean
from lorid_local.practice.families import Families
from lorid_local.tutor import diagnosis, ladder, level, wording
from lorid_local.tutor.diagnosis import Finding
from lorid_local.tutor.reading import typed
from lorid_local.tutor.state import (
    Asked,
    Effect,
    End,
    Event,
    Given,
    Impatient,
    Line,
    Next,
    Own,
    Record,
    Result,
    Say,
    ShowProgress,
    State,
    Thought,
    Wait,
)
from lorid_local.tutor.task import Task

Outcome = tuple[State, tuple[Effect, ...]]
_STUCK = {"idk", "i don't know", "i dont know", "dunno", "?", "no idea", "i'm stuck", "im stuck"}
_TOPICS = 8  # that /topic lists
_ONWARD = {"next", "n", "ok", "okay", "go on", "more", "another", "yes"}
_LEVELS = {"easier": -1, "down": -1, "-": -1, "harder": 1, "up": 1, "+": 1}
_LEAVING = {"exit", "bye", "q", "stop"}


class Session:
    """The rules of a session over some families; every method is a function of its arguments."""

    def __init__(self, families: Families) -> None:
        self._families = families
        self._grades = sorted({grade for t in families.topics().values() for grade in t.grades})
        self._known: dict[str, list[int]] = {}  # the grades of topics, found once

    def start(self, wanted: int | None = None, topic: str | None = None) -> State:
        """Return the state before the first problem.

        Raises InputError for an unknown topic, or a level that no problem has.
        """
        if topic is not None:
            self._families.ids(topic)
        grades = (self._grades[0], self._grades[-1])
        if wanted is not None and not grades[0] <= wanted <= grades[1]:
            raise InputError(
                f"--level {wanted}: expected {grades[0]} to {grades[1]}, a school grade",
                hint=f"lorid tutor --level {min(max(wanted, grades[0]), grades[1])}",
            )
        level_now = self.grade(None, level.FIRST if wanted is None else wanted)
        return State(level_now, topic, grades=grades)

    def step(self, state: State, event: Event) -> Outcome:
        """Return the state after `event` and what is to be done, in order."""
        match event:
            case Given():
                return _given(state, event)
            case Asked():
                return _asked(state, event)
            case Thought():
                return replace(state, own=event.own, task=event.task), ()
            case Impatient():
                return state, (Say("plain", wording.STILL_THINKING),)
            case Line():
                return self._line(state, event)

    def _line(self, state: State, line: Line) -> Outcome:
        text = " ".join(line.text.split())
        name, _, rest = text.removeprefix("/").partition(" ")
        name = name.lower()
        if text.startswith("/") or (not rest and name in {*wording.COMMANDS, *_LEAVING}):
            return self._command(state, name, rest.strip(), line)
        if state.over:
            onward = not text or text.lower().strip(" .!") in _ONWARD
            return (state, (Next(),)) if onward else (state, (Say("plain", wording.OVER),))
        if not text:
            return state, (Say("plain", wording.TRY),)
        if text.lower().strip(" .!") in _STUCK:
            return state, (Say("plain", wording.STUCK),)
        return _attempt(state, text, line)

    def _command(self, state: State, name: str, rest: str, line: Line) -> Outcome:
        simple: dict[str, Callable[[State, Line], Outcome]] = {
            "hint": _hint, "steps": _steps, "answer": _answer, "skip": _skip,
            "read": _read,
        }  # fmt: skip
        if name == "answer" and rest:  # theirs, not a wish to see ours
            return self._line(state, replace(line, text=rest))
        if name in simple:
            return simple[name](state, line)
        if name == "check":
            return _check(state, rest, line)
        if name == "topic":
            return self._topic(state, rest)
        if name == "level":
            return self._level(state, rest)
        if name == "progress":
            return state, (ShowProgress(),)
        if name == "help":
            return state, (Say("about", wording.help_lines()),)
        if name == "quit" or name in _LEAVING:
            return state, (Say("about", wording.BYE), End())
        near = did_you_mean(name, wording.COMMANDS).replace("mean ", "mean /")
        return state, (Say("about", wording.unknown_command(name, near)),)

    def _topic(self, state: State, asked: str) -> Outcome:
        if not asked:
            topics = self._families.topics()
            some = [name for name, topic in topics.items() if state.level in topic.grades]
            some = some[:_TOPICS]
            return state, (Say("about", wording.topic_is(state.topic, some)),)
        if asked.lower() in ("any", "all", "none"):
            topic = None
        else:
            topic = asked.lower()
            try:
                self._grades_of(topic)
            except InputError:
                return state, (Say("about", wording.no_topic(asked)),)
        state = replace(state, topic=topic, recent=())
        return state, (Say("about", wording.topic_set(topic)), *_leave(state), Next())

    def _level(self, state: State, asked: str) -> Outcome:
        step = _LEVELS.get(asked.strip().lower())
        chosen = state.level + step if step else typed(asked).value
        if chosen is None or chosen not in self._grades:
            return state, (Say("about", wording.level_is(state.level, state.grades)),)
        state = replace(state, level=int(chosen), recent=())
        return state, (Say("about", wording.level_set(int(chosen))), *_leave(state), Next())

    def grade(self, topic: str | None, wanted: int) -> int:
        """Return the school grade nearest to the level `wanted` that the topic has problems for."""
        return min(self._grades_of(topic), key=lambda grade: (abs(grade - wanted), grade))

    def _grades_of(self, topic: str | None) -> list[int]:
        if topic is None:
            return self._grades
        if topic not in self._known:
            ids = set(self._families.ids(topic))
            per_grade = {g: self._families.ids(grade=g) for g in self._grades}
            self._known[topic] = [g for g, of in per_grade.items() if not ids.isdisjoint(of)]
        return self._known[topic]


def _given(state: State, event: Given) -> Outcome:
    """Show a practice problem; one that was cut off keeps what was found of it."""
    if not event.resumed:
        state = replace(
            state, own=None, rung=0, hints=0, tried=(), found=frozenset(), seen=frozenset(),
            warned=False, over="",
        )  # fmt: skip
    state = replace(state, task=event.task)
    said = [Say("about", wording.BACK)] if event.resumed else []
    said += [Say("about", wording.AGAIN)] if event.again else []
    said += [
        Say("heading", wording.header(event.task)),
        Say("problem", event.task.question),
    ]
    return state, (*said, Say("plain", wording.TRY))


def _asked(state: State, event: Asked) -> Outcome:
    state = State(
        state.level, state.topic, state.recent, own=Own(event.question), grades=state.grades
    )
    return state, (
        Say("heading", wording.YOURS),
        Say("problem", event.question),
        Say("plain", wording.THINKING),
    )


def _waits(state: State, line: Line, rules: int | None = None) -> tuple[Effect, ...]:
    """Return what to do where the pupil's own problem is not settled yet."""
    thinking = state.own is not None and state.own.status == "thinking"
    return (Wait(line, rules),) if thinking else ()


def _attempt(state: State, text: str, line: Line) -> Outcome:
    if wait := _waits(state, line):
        return state, wait
    if state.task is None:
        return state, (Say("plain", _not_settled(state)),)
    task = state.task
    found = diagnosis.diagnose(task, typed(text, task.money, coins="quarter" in task.question))
    state = replace(state, found=state.found | found.found)
    if found.verdict == "right":
        return _right(state, task, found)
    if found.verdict == "unread":
        unclear = typed(text, task.money, coins="quarter" in task.question).unclear
        words = unclear == "no number" and not any(map(str.isdigit, text))
        return state, (Say("plain", wording.NO_DIGITS if words else wording.UNREAD[unclear]),)
    if state.own is not None and found.verdict == "step" and found.step is not None:
        return state, (Say("plain", wording.own_step(state.own, found.step)),)
    if found.verdict in ("plan", "step"):
        return state, (Say("good", wording.finding(task, found)),)
    return _wrong(state, task, found)


def _right(state: State, task: Task, found: Finding) -> Outcome:
    but = (Say("retry", wording.but(found.sum)),) if found.sum else ()
    if state.own is not None:
        own = Say("good", wording.own_right(state.own))
        return replace(state, over="right"), (own, *but, Say("plain", wording.NEXT))
    result: Result = "right" if state.tried or state.hints else "first"
    turn = len(task.question) + len(state.tried)
    state, said = _settled(state, result)
    return replace(state, over="right"), (
        Say("good", wording.right(task, turn)),
        *but,
        Record(task, result, len(state.tried), state.hints),
        *said,
        Say("plain", wording.NEXT),
    )


def _settled(state: State, result: Result) -> tuple[State, tuple[Say, ...]]:
    """Return the state with its level adapted to one more result, and what to say of that."""
    recent = (*state.recent, level.score(result, len(state.tried)))
    now, recent = level.adapted(state.level, recent, *state.grades)
    said = {1: (Say("good", wording.UP),), 0: (), -1: (Say("about", wording.DOWN),)}
    return replace(state, level=now, recent=recent), said[now - state.level]


def _wrong(state: State, task: Task, found: Finding) -> Outcome:
    if found.value is None:  # a calculation that does not hold, without a number at its end
        return state, (Say("retry", wording.finding(task, found)),)
    if found.value in state.tried:
        return state, (Say("retry", wording.TRIED),)
    text = wording.finding(task, found, len(state.tried))
    state = replace(state, tried=(*state.tried, found.value))
    if state.own is None or found.sum:
        return state, (Say("retry", text),)
    other = Say("plain", wording.own_other(state.own))
    return state, (other, Say("plain", wording.own_slip(text))) if found.slip else (other,)


def _not_settled(state: State) -> str:
    if state.own is not None and state.own.status == "failed":
        return wording.failed(state.own)
    return wording.NOT_MARKED


def _read(state: State, line: Line) -> Outcome:
    own = state.own.question if state.own else ""
    return state, (Say("problem", state.task.question if state.task else own),)


def _hint(state: State, line: Line) -> Outcome:
    if state.over:
        return state, (Say("plain", wording.OVER),)
    if state.own is not None and state.task is None:
        return _own_hint(state, line)
    if state.task is None:
        return state, ()
    hints = ladder.rungs(state.task)
    at = ladder.next_rung(hints, state.rung, state.found | state.seen)
    if at is None:
        return state, (Say("hint", wording.NO_MORE_HINTS),)
    rung = hints[at]
    seen = {rung.step} if rung.kind == "worked" and rung.step is not None else set()
    state = replace(state, rung=at + 1, hints=state.hints + 1, seen=state.seen | seen)
    sure = state.own is None or rung.kind == "rule"
    return state, (Say("hint", rung.text if sure else wording.own_hint(rung.text)),)


def _own_hint(state: State, line: Line) -> Outcome:
    """Hints where there is no agreed answer (yet): the rules that were checked, one by one."""
    own = state.own
    assert own is not None
    if state.rung < len(own.rules):
        hint = Say("hint", wording.own_rule(own.rules[state.rung]))
        return replace(state, rung=state.rung + 1, hints=state.hints + 1), (hint,)
    if wait := _waits(state, line, state.rung):
        return state, wait
    if own.status == "failed":
        return state, (Say("plain", wording.failed(own)),)
    return state, (Say("hint", wording.NO_MORE_RULES if own.rules else wording.NO_RULES),)


def _steps(state: State, line: Line) -> Outcome:
    if state.task is None or not state.task.steps:
        return state, (Say("plain", wording.NO_STEPS),)
    steps = list(enumerate(state.task.steps))
    if not state.over:
        steps = [(i, step) for i, step in steps if i in state.found | state.seen]
    if not steps:
        return state, (Say("plain", wording.NO_STEPS),)
    title = wording.ALL_STEPS if state.over else wording.STEPS
    listed = [Say("plain", f"- {step.sentence}") for _, step in steps]
    return state, (Say("plain", title), *listed)


def _check(state: State, rest: str, line: Line) -> Outcome:
    """`/check` alone says what is known; with a calculation, whether that holds."""
    if not rest or state.over:
        return _steps(state, line)
    if wait := _waits(state, line):
        return state, wait
    if state.task is None:
        return state, (Say("plain", _not_settled(state)),)
    sums = typed(rest, state.task.money).sums
    if not sums:
        return _attempt(state, rest, line)
    task, last = state.task, sums[-1]
    found = diagnosis.diagnose(task, typed(rest, task.money))
    state = replace(state, found=state.found | found.found)
    if found.verdict == "right":
        return _right(state, task, found)
    if found.sum:
        return state, (Say("retry", wording.finding(task, found)),)
    step = found.step if state.own is None else None  # a model's steps may be wrong
    return state, (Say("good", wording.calculation(last.text, step)),)


def _answer(state: State, line: Line) -> Outcome:
    if state.over:
        return state, (Say("plain", wording.OVER),)
    if wait := _waits(state, line):
        return state, wait
    if state.task is None:
        failed = state.own is not None and state.own.status == "failed"
        said = _not_settled(state) if failed else wording.NOT_SETTLED_ANSWER
        return state, (Say("plain", said),)
    if not state.tried and not state.warned:
        return replace(state, warned=True), (Say("plain", wording.ANSWER_FIRST),)
    return _shown(state, state.task)


def _shown(state: State, task: Task) -> Outcome:
    if state.own is not None:
        own = Say("answer", wording.own_answer(task, state.own))
        return replace(state, over="shown"), (own, Say("plain", wording.NEXT))
    state, said = _settled(state, "shown")
    return replace(state, over="shown"), (
        Say("plain", wording.ALL_STEPS),
        *(Say("plain", f"- {step.sentence}") for step in task.steps),
        Say("answer", wording.answer(task)),
        Record(task, "shown", len(state.tried), state.hints),
        *(said or (Say("plain", wording.LATER),)),
        Say("plain", wording.NEXT),
    )


def _skip(state: State, line: Line) -> Outcome:
    return state, (Say("plain", wording.SKIPPED), *_leave(state), Next())


def _leave(state: State) -> tuple[Effect, ...]:
    """Return how a practice problem that is left undone is recorded."""
    if state.over or state.task is None or state.own is not None:
        return ()
    return (Record(state.task, "skipped", len(state.tried), state.hints),)
