"""What the tutor promises over generated problems and a thousand random sessions.

`python -m tests.tutor_reach 2000` holds it against more problems than a test has time for.
"""

import random

import pytest

from lorid_local.practice.families import Families, load
from lorid_local.tutor import saved
from lorid_local.tutor.session import Session
from lorid_local.tutor.state import Effect, End, Event, Given, Line, Next, Record, Say, State
from lorid_local.tutor.task import Task
from tests.tutor_reach import faults, leaks, problems, said, typed_ways, wrongs

PROBLEMS, SESSIONS, TURNS = 40, 1000, 8
NOISE = ("", "idk", "hint", "help", "/check", "/steps", "/hint", "/hint", "/hint", "/answer",
         "/skip", "/topic", "/topic pizza", "/topic zzz", "/topic any", "/level", "/level 3",
         "/level 99", "/progress", "/helo", "/", "//", "=", "1/0", "1 1 1", "\x1b[31m", "🙂",
         "5-7", "3 pm", "9" * 500, "(" * 90, "<<3*4=12>>", "#### 5", "2 + 2 = 5", "½", "-1", "0",
         "/check 2 + 2 = 5", "/check 1", "١٢", "\\frac{1}{2}", "1e9", "yes")  # fmt: skip


@pytest.fixture(scope="module")
def families() -> Families:
    return load()


@pytest.fixture(scope="module")
def some(families: Families) -> list[Task]:
    return list(problems(families, PROBLEMS, seed=5))


def test_generated_problems_keep_every_promise(families: Families, some: list[Task]) -> None:
    session, rng = Session(families), random.Random(5)
    assert [fault for task in some for fault in faults(session, task, rng)] == []


class Pupil:
    """Types at random: right, half right, wrong and odd things; gives what the session asks for."""

    def __init__(self, session: Session, tasks: list[Task], rng: random.Random) -> None:
        self.session, self.tasks, self.rng = session, tasks, rng
        self.state: State = session.start()
        self.typed: list[str] = []
        self.ended = False

    def feed(self, event: Event) -> None:
        before = self.state
        self.state, effects = self.session.step(before, event)
        self.check(before, effects)
        for effect in effects:
            self.ended |= isinstance(effect, End)
            if isinstance(effect, Next):
                self.typed = []
                self.feed(Given(self.rng.choice(self.tasks)))

    def check(self, before: State, effects: tuple[Effect, ...]) -> None:
        task, known = before.task, not self.state.over and not before.over
        if task and known and self.state.task is task:
            assert leaks(task, effects, self.typed) == []
        if self.state.over == "shown" and not before.over:
            assert self.typed[-1] == "/answer"
        if self.state.over == "right" and not before.over:
            assert any(isinstance(e, Record) and e.result in ("first", "right") for e in effects)
        assert all(isinstance(say, Say) and say.text for say in said(effects))

    def turn(self) -> None:
        task = self.state.task
        assert task is not None
        kind = self.rng.random()
        if kind < 0.15:
            line = self.rng.choice(typed_ways(task))
        elif kind < 0.45:
            line = self.rng.choice(wrongs(task, self.rng))
        elif kind < 0.55:
            step = self.rng.choice(task.steps)
            line = f"{self.rng.choice(['', '/check '])}{step.calculation} = {step.value}"
        else:
            line = self.rng.choice(NOISE)
        over, right = self.state.over, kind < 0.15
        self.typed.append(line)
        self.feed(Line(line))
        if right and not over:
            assert self.state.over == "right", (line, task.question)


def test_a_thousand_random_sessions(families: Families, some: list[Task]) -> None:
    session, ends = Session(families), []
    for seed in range(SESSIONS):
        pupil = Pupil(session, some, random.Random(seed))
        pupil.feed(Given(some[seed % len(some)]))
        for _ in range(TURNS):
            pupil.turn()
        ends.append(pupil.state.over)
        again = saved.from_json(saved.to_json(pupil.state), session.start(), families)
        assert again.level == pupil.state.level
        if not pupil.state.over:
            assert again == pupil.state
    assert {"", "right", "shown"} == set(ends)
