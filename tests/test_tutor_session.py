"""Whole dialogues with the tutor, line by line, on problems written here."""

from collections.abc import Iterable
from fractions import Fraction
from typing import Any

import pytest

from lorid_local.errors import InputError
from lorid_local.practice.drawing import draw
from lorid_local.practice.families import Families, load
from lorid_local.practice.family import from_row
from lorid_local.tutor import ladder, level, saved, slips
from lorid_local.tutor import task as tasks
from lorid_local.tutor.session import Session
from lorid_local.tutor.state import (
    Effect,
    End,
    Given,
    Line,
    Next,
    Record,
    Say,
    ShowProgress,
    State,
)
from lorid_local.tutor.task import Task

ROW = {
    "id": "MINE-1", "topic": "eggs and nests", "grade": 4,
    "question": ["{n} finds {a} nests with {b} eggs each and sells {c} percent of the eggs. "
                 "How many eggs are left?"],
    "slots": {"n": "person", "a": [6, 6, 1], "b": [20, 20, 1], "c": [25, 25, 1]}, "where": [],
    "steps": [
        ["t", "a * b", "There are {a} * {b} = {t} eggs."],
        ["s", "t * c / 100", "{n} sells {t} * {c} / 100 = {s} eggs."],
        ["r", "t - s", "So {t} - {s} = {r} eggs are left."],
    ],
    "answer": "r",
    "knowledge": ["Multiply the groups by what is in each.", "Find the percent of the whole.",
                  "Subtract the part that is gone."],
}  # fmt: skip


@pytest.fixture(scope="module")
def families() -> Families:
    return load()


@pytest.fixture
def session(families: Families) -> Session:
    return Session(families)


@pytest.fixture
def eggs() -> Task:
    """6 nests, 20 eggs each, 25 percent sold: 120, 30 and 90 left."""
    family = from_row(ROW, "here:1")
    return tasks.of_practice(family, draw(family, 0))


def talk(session: Session, state: State, *lines: str) -> tuple[State, list[Effect]]:
    """Type lines; return the state and what the last one had for an effect."""
    effects: tuple[Effect, ...] = ()
    for line in lines:
        state, effects = session.step(state, Line(line))
    return state, list(effects)


def texts(effects: Iterable[Effect]) -> list[str]:
    return [effect.text for effect in effects if isinstance(effect, Say)]


def begun(session: Session, task: Task, **more: Any) -> State:
    return session.step(session.start(**more), Given(task))[0]


def test_a_problem_is_given_and_an_attempt_asked_for(session: Session, eggs: Task) -> None:
    _, effects = session.step(session.start(), Given(eggs))
    assert texts(effects) == [
        "Level 4: eggs and nests",
        eggs.question,
        "What do you think? Type a number, or /hint.",
    ]


def test_right_at_once(session: Session, eggs: Task) -> None:
    state, effects = talk(session, begun(session, eggs), "90 eggs")
    assert Record(eggs, "first", 0, 0) in effects
    assert state.over == "right" and state.recent == (1,)
    assert texts(effects)[-1] == "Press Enter for the next one."
    for onward in ("", "next", "OK!"):
        assert talk(session, state, onward)[1] == [Next()]
    assert talk(session, state, "what now")[1] != [Next()]
    assert texts(talk(session, state, "90")[1]) == [
        "This one is done. Press Enter for the next one, or /steps to see how it goes."
    ]


@pytest.mark.parametrize("line", ["1+1=90", "/check 1+1=90", "45*2=80+10=90, 1+1=90"])
def test_a_right_answer_of_a_false_calculation_is_right_but_for_that(
    session: Session, eggs: Task, line: str
) -> None:
    state, effects = talk(session, begun(session, eggs), line)
    assert state.over == "right"
    said = [effect for effect in effects if isinstance(effect, Say)]
    false = "45*2 = 80" if "45" in line else "1+1 = 90"
    assert said[1] == Say("retry", f"Only {false} does not hold: look at how you wrote it.")
    assert not any("Only" in text for text in texts(talk(session, begun(session, eggs), "90")[1]))


def test_the_problem_is_read_once_more(session: Session, eggs: Task) -> None:
    assert talk(session, begun(session, eggs), "/read")[1] == [Say("problem", eggs.question)]


def test_the_hints_climb_and_stop_before_the_answer(session: Session, eggs: Task) -> None:
    state, shown = begun(session, eggs), []
    for _ in range(11):
        state, effects = talk(session, state, "/hint")
        shown += texts(effects)
    assert shown == [
        "Multiply the groups by what is in each.",
        "Find the percent of the whole.",
        "Subtract the part that is gone.",
        "First step: multiply. Work out 6 * 20.",
        "There are 6 * 20 = 120 eggs.",
        "Next step: find the percent. Work out 120 * 25 / 100.",
        f"{eggs.question.split()[0]} sells 120 * 25 / 100 = 30 eggs.",
        "Last step: subtract.",
        "Last step: subtract. Work out 120 - 30.",
        "That is all I can say without the answer. Have a go: what do you get?",
        "That is all I can say without the answer. Have a go: what do you get?",
    ]
    assert Record(eggs, "right", 0, 9) in talk(session, state, "90")[1]


def test_hints_leave_out_what_the_pupil_found(session: Session, eggs: Task) -> None:
    state, _ = talk(session, begun(session, eggs), "6*20=120, 120*25/100=30")
    assert texts(talk(session, state, "/hint")[1]) == ["Subtract the part that is gone."]
    assert texts(talk(session, state, "/hint", "/hint")[1]) == ["Last step: subtract."]


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        ("120", "Good, that is the first step. There are 120 eggs. What comes next?"),
        ("6*20=120", "Good, that is the first step. There are 120 eggs. What comes next?"),
        ("6 x 20", "Good plan! Work it out: what does it come to?"),
        ("120 - 30", "Good plan! Work it out: what does it come to?"),
        ("7 + 7", "I can follow that. Work it out: what does it come to?"),
        ("6*20 = 130", "Look at this one again: 6*20 = 130. What does it come to?"),
        ("26", "It looks as if you added 6 and 20. Is that what the story asks for there?"),
        ("150", "It looks as if you added two numbers. Is that what the story asks for there?"),
        ("5", "Look at the percent again: of which number is it?"),
        ("3000", "Almost. A percent is out of a hundred: did you use that?"),
        ("95", "It looks as if one step is missing. Read the question once more."),
        ("0.3", "It looks as if you divided 6 and 20. Is that what the story asks for there?"),
        ("-90", "It looks as if you subtracted the wrong way round. Which number comes first?"),
        ("900", "The digits look good. Check the zeros and the decimal point."),
        ("25", "25 stands in the question. What can you work out with it?"),
        ("77", "Not yet. Try again, or type /hint."),
        ("what do i do", "I understand numbers, calculations and commands. Stuck? Type /hint for a "
                         "small step."),
        ("5x", "I could not find a number in that. Type one like 18, 2.50 or 3/4."),
        ("3 or 4", "I see more than one number. Which one is your answer?"),
        ("2:30", "That looks like a clock time. Type one number, like 90 or 1.5."),
        ("1" * 500, "That is very long! Type just a number, or a calculation."),
        ("I don't know", "That is fine. Type /hint and we go one small step at a time."),
        ("", "What do you think? Type a number, or /hint."),
        ("/check 6*20=120", "Yes, 6*20 = 120 is right, and it is a step on the way."),
        ("/check 2*2=4", "Yes, 2*2 = 4 is right. Does it help with the question?"),
        ("/check 2*2=5", "Look at this one again: 2*2 = 5. What does it come to?"),
        ("/check", "No steps yet. When you find one, it is listed here. /hint can help."),
        ("/answer", "Have a go first, even a guess: that helps. To see it anyway, type /answer "
                    "again."),
        ("/hnt", "I do not know /hnt (did you mean /hint?). Type /help for what I know."),
        ("/topic qqq", "I have no topic like 'qqq'. Type /topic to see some."),
        ("/level 99", "You are on level 4. Levels go from 2 to 8, as school grades."),
    ],
)  # fmt: skip
def test_the_reply_to_a_line(session: Session, eggs: Task, line: str, reply: str) -> None:
    state, effects = talk(session, begun(session, eggs), line)
    assert texts(effects) == [reply]
    assert state.over == ""


@pytest.mark.parametrize(
    ("line", "level"), [("/level easier", 3), ("/level HARDER", 5), ("/level up", 5)]
)
def test_the_level_goes_by_one(session: Session, eggs: Task, line: str, level: int) -> None:
    state, effects = talk(session, begun(session, eggs), line)
    assert state.level == level and texts(effects)[0] == f"Level {level} it is."


def test_there_is_nothing_easier_than_the_lowest_level(session: Session, eggs: Task) -> None:
    state, effects = talk(session, begun(session, eggs), "/level 2", "/level easier")
    assert state.level == 2
    assert texts(effects) == ["You are on level 2. Levels go from 2 to 8, as school grades."]


def test_a_later_step_is_named_too(session: Session, eggs: Task) -> None:
    name = eggs.question.split()[0]
    state, effects = talk(session, begun(session, eggs), "30")
    assert texts(effects) == [
        f"Good, that is a step on the way. {name} sells 30 eggs. What comes next?"
    ]
    assert state.found == {0, 1}  # what leads to it was found too


def test_the_same_wrong_answer_counts_once_and_the_words_change(
    session: Session, eggs: Task
) -> None:
    state, effects = talk(session, begun(session, eggs), "77", "77")
    assert texts(effects) == ["You had that one before. Try another way, or type /hint."]
    assert state.tried == (77,)
    said = [texts(talk(session, state, *more)[1])[0] for more in (["78"], ["78", "79"])]
    assert said == [
        "Not quite. Which numbers of the story do you need first?",
        "Not yet, but keep going. Shall we take a small step? Type /hint.",
    ]
    assert Record(eggs, "right", 1, 0) in talk(session, state, "ninety")[1]


def test_the_answer_comes_when_asked_for(session: Session, eggs: Task) -> None:
    state, effects = talk(session, begun(session, eggs), "/answer", "/answer")
    said = texts(effects)
    assert said[0] == "Step by step:" and said[3] == "- So 120 - 30 = 90 eggs are left."
    assert said[4:] == [
        "The answer is 90.",
        "This kind comes back later, with new numbers: then you will know it.",
        "Press Enter for the next one.",
    ]
    assert Record(eggs, "shown", 0, 0) in effects and state.over == "shown"
    once = talk(session, begun(session, eggs), "77", "/answer")[1]
    assert Record(eggs, "shown", 1, 0) in once
    assert texts(talk(session, state, "/answer")[1])[0].startswith("This one is done.")


def test_steps_tell_what_is_known_and_after_the_end_everything(
    session: Session, eggs: Task
) -> None:
    state, effects = talk(session, begun(session, eggs), "120", "/steps")
    assert texts(effects) == ["What you know by now:", "- There are 6 * 20 = 120 eggs."]
    assert texts(talk(session, state, "/check")[1]) == texts(effects)
    assert len(texts(talk(session, state, "90", "/steps")[1])) == 4


def test_what_is_left_undone_is_recorded_as_skipped(session: Session, eggs: Task) -> None:
    for line in ("/skip", "/level 3", "/topic pizza", "/topic any"):
        state, effects = talk(session, begun(session, eggs), "77", line)
        assert effects[1:] == [Record(eggs, "skipped", 1, 0), Next()], line
    assert state.topic is None
    state, _ = talk(session, begun(session, eggs), "/level three", "/topic Pizza")
    assert (state.level, state.topic) == (3, "pizza")
    assert texts(talk(session, state, "/topic")[1])[0].startswith("Your topic: pizza.\nSome topics")


def test_the_other_commands(session: Session, eggs: Task) -> None:
    state = begun(session, eggs)
    assert talk(session, state, "/progress")[1] == [ShowProgress()]
    for line in ("/quit", "quit", "exit", "bye"):
        assert talk(session, state, line)[1] == [
            Say("about", "Bye! Well done for practising."),
            End(),
        ]
    listed = texts(talk(session, state, "help")[1])[0].splitlines()
    assert [line.split(":")[0] for line in listed] == [
        "/hint", "/check", "/steps", "/answer", "/read", "/skip", "/topic", "/level", "/progress",
        "/help", "/quit",
    ]  # fmt: skip


def test_an_answer_behind_the_command_is_the_pupils_own(session: Session, eggs: Task) -> None:
    state, effects = talk(session, begun(session, eggs), "/answer 77")
    assert effects == talk(session, begun(session, eggs), "77")[1] and not state.over
    state, effects = talk(session, state, "/answer 90")
    assert state.over == "right"
    assert texts(talk(session, state, "/answer 90")[1])[0].startswith("This one is done.")


def test_the_level_follows_the_answers(session: Session, eggs: Task) -> None:
    state = begun(session, eggs)
    for _ in range(3):
        state, effects = talk(session, state, "90")
        state = session.step(state, Given(eggs))[0]
    assert state.level == 5 and state.recent == ()
    assert "You got these all by yourself. Let us go one level up!" in texts(effects)
    for _ in range(2):
        state, effects = talk(session, state, "/answer", "/answer")
        state = session.step(state, Given(eggs))[0]
    assert state.level == 4
    assert "Let us warm up with some easier ones." in texts(effects)


@pytest.mark.parametrize(
    ("now", "recent", "after"),
    [(8, (1, 1, 1), (8, (1, 1, 1))), (2, (-1, -1), (2, (-1, -1))), (4, (1, 1, 0), (4, (1, 1, 0))),
     (4, (0, 1, 1, 1), (5, ())), (4, (1, -1, -1, 0), (3, ())), (4, (-1,), (4, (-1,)))],
)  # fmt: skip
def test_levels_stay_within_what_there_is(now: int, recent: Any, after: Any) -> None:
    assert level.adapted(now, recent, 2, 8) == after
    assert [level.score(r, n) for r, n in (("first", 0), ("right", 1), ("right", 3))] == [1, 0, -1]


def test_the_nearest_grade_of_a_topic(session: Session) -> None:
    assert session.grade("percent increase and decrease in turn", 3) == 6
    assert session.grade(None, 99) == 8
    with pytest.raises(InputError):
        session.start(topic="qqq")


@pytest.mark.parametrize(("wanted", "near"), [(1, 2), (12, 8)])
def test_a_level_that_no_problem_has_is_refused(session: Session, wanted: int, near: int) -> None:
    with pytest.raises(InputError) as raised:
        session.start(wanted)
    assert raised.value.message == f"--level {wanted}: expected 2 to 8, a school grade"
    assert raised.value.hint == f"lorid tutor --level {near}"
    assert session.start(near).level == near


def test_a_step_that_comes_to_the_answer_is_not_worked(session: Session) -> None:
    """The first step's result is the answer, which the question does not show."""
    row = ROW | {
        "question": ["{n} has {a} red and {b} blue pens, gets {c} and loses {c}. How many now?"],
        "slots": {"n": "person", "a": [11, 11, 1], "b": [12, 12, 1], "c": [5, 5, 1]},
        "steps": [["t", "a + b", "{a} + {b} = {t} pens"], ["u", "t + c", "{t} + {c} = {u} pens"],
                  ["v", "u - c", "{u} - {c} = {v} pens"]],
        "answer": "v",
        "knowledge": ["Add what is got.", "Twenty-three is a number.", "Subtract what is lost."],
    }  # fmt: skip
    family = from_row(row, "here:1")
    task = tasks.of_practice(family, draw(family, 0))
    assert [rung.text for rung in ladder.rungs(task)] == [
        "Add what is got.",
        "Subtract what is lost.",
        "First step: add. Work out 11 + 12.",
        "Next step: add.",
        "Last step: subtract.",
        "Last step: subtract. Work out 28 - 5.",
    ]


def test_a_step_that_comes_to_the_answer_is_not_worked_even_where_that_is_seen(
    session: Session,
) -> None:
    """The question shows 20, so that 20 may be said, but not that a step comes to it."""
    row = ROW | {
        "question": ["{n} has {a} pens in {b} boxes, {c} in all boxes but one. How many a box?"],
        "slots": {"n": "person", "a": [40, 40, 1], "b": [2, 2, 1], "c": [20, 20, 1]},
        "steps": [["t", "a / b", "{a} / {b} = {t} a box"], ["u", "t + c", "{t} + {c} = {u} pens"],
                  ["v", "u - c", "{u} - {c} = {v} pens"]],
        "answer": "v",
    }  # fmt: skip
    family = from_row(row, "here:1")
    task = tasks.of_practice(family, draw(family, 0))
    assert [rung.text for rung in ladder.rungs(task) if rung.kind == "worked"] == [
        "20 + 20 = 40 pens"
    ]


def test_slips_of_a_task_without_steps(eggs: Task) -> None:
    bare = Task(eggs.question, {}, (), Fraction(90), "90", ())
    assert slips.find(bare, Fraction(900)) == slips.Slip("ten", 0)
    assert slips.find(bare, Fraction(77)) is None


def test_a_state_is_kept_and_taken_up_again(session: Session, families: Families) -> None:
    family = families.family("T10-02")
    state = begun(session, tasks.of_practice(family, draw(family, 3)))
    state, _ = talk(session, state, "/hint", "7777", "/hint")
    fresh = session.start()
    assert saved.from_json(saved.to_json(state), fresh, families) == state
    again, effects = session.step(state, Given(state.task, resumed=True))  # type: ignore[arg-type]
    assert texts(effects)[0] == "Welcome back! You were working on this one."
    assert again == state
    for broken in ("", "{}", "[1]", '{"level": "x"}', '{"level": 3, "topic": 4, "recent": 0}'):
        assert saved.from_json(broken, fresh, families) == fresh
    gone = '{"level": 99, "topic": "qqq", "recent": [1], "problem": {"family": "none"}}'
    kept = saved.from_json(gone, fresh, families)
    assert (kept.level, kept.topic, kept.task) == (4, None, None)
