"""Dialogues over the pupil's own problem: what is told while, before and after it is settled."""

from fractions import Fraction
from typing import Any

from lorid_local.tutor import task as tasks
from lorid_local.tutor.state import Line, Own, Record, Say, State, Thought, Wait
from lorid_local.tutor.task import Task
from tests.test_tutor_session import Session, families, session, talk, texts

__all__ = ["families", "session"]  # fixtures

QUESTION = "A shelf holds 5 rows of 8 cups. 6 break. How many are left?"
RULES = ("Multiply the rows by what is in each.", "Subtract what is gone.")


def own(status: Any, **more: Any) -> State:
    return State(4, own=Own(QUESTION, status, **more))


def agreed() -> tuple[State, Task]:
    steps = (
        tasks.Step("r0", "5*8", Fraction(40), "5 * 8", "5 * 8 = 40", "40"),
        tasks.Step("r1", "r0-6", Fraction(34), "40 - 6", "40 - 6 = 34", "34"),
    )
    numbers = {"n0": Fraction(5), "n1": Fraction(8), "n2": Fraction(6)}
    task = Task(QUESTION, numbers, steps, Fraction(34), "34", RULES)
    return State(4, task=task, own=Own(QUESTION, "agreed", RULES, "I can be wrong.")), task


MAY_HELP = "This may help, and I can be wrong: multiply the rows by what is in each."


def test_while_it_thinks_a_line_waits(session: Session) -> None:
    state = own("thinking")
    for line in ("34", "/answer", "/check 5*8=40"):
        assert talk(session, state, line)[1] == [Wait(Line(line))]
    assert talk(session, state, "/hint")[1] == [Wait(Line("/hint"), 0)]
    early = own("thinking", rules=RULES[:1])
    state, effects = talk(session, early, "/hint")
    assert texts(effects) == [MAY_HELP]
    assert talk(session, state, "/hint")[1] == [Wait(Line("/hint"), 1)]
    assert session.step(state, Thought(Own(QUESTION, "unsettled")))[0].own == Own(
        QUESTION, "unsettled"
    )


def test_an_agreed_answer_marks_and_says_how_sure(session: Session) -> None:
    state, _ = agreed()
    right, effects = talk(session, state, "34")
    assert texts(effects)[0] == "I get that too, in both my ways of solving it. I can be wrong."
    assert right.over == "right" and not any(isinstance(e, Record) for e in effects)
    said = texts(talk(session, state, "77")[1])
    assert said == ["I get another number, in both my ways of solving it. But I can be wrong."]
    said = texts(talk(session, state, "46")[1])
    assert said[1].startswith("If I am right: it looks as if you added")
    assert texts(talk(session, state, "/answer", "/answer")[1])[0] == (
        "I get 34, in both my ways of solving it. I can be wrong."
    )


def test_a_models_steps_are_not_held_against_the_pupil(session: Session) -> None:
    """Both systems may agree on a step of the right way as their answer, or the other way round."""
    state, _ = agreed()
    assert texts(talk(session, state, "40")[1]) == [
        "In my way that is the first step, and I go on from there. I can be wrong."
    ]
    assert texts(talk(session, state, "5*8")[1]) == [
        "I can follow that. Work it out: what does it come to?"
    ]
    assert texts(talk(session, state, "/check 5*8=40")[1]) == [
        "Yes, 5*8 = 40 is right. Does it help with the question?"
    ]


def test_hints_on_a_models_steps_say_so(session: Session) -> None:
    state, _ = agreed()
    said = [texts(talk(session, state, *["/hint"] * n)[1])[0] for n in range(1, 5)]
    assert said == [
        *RULES,
        "How I did it, and I can be wrong: first step: multiply. Work out 5 * 8.",
        "How I did it, and I can be wrong: 5 * 8 = 40",
    ]


def test_what_is_not_settled_is_not_marked(session: Session) -> None:
    state = own("unsettled", rules=RULES)
    unsettled = "I could not settle this one: my two ways of solving it do not agree."
    assert texts(talk(session, state, "34")[1]) == [
        f"{unsettled} So I cannot tell you whether that is right."
    ]
    assert texts(talk(session, state, "/answer")[1]) == [
        f"{unsettled} So I have no answer that I trust. Ask somebody, too."
    ]
    assert texts(talk(session, state, "/hint")[1]) == [MAY_HELP]
    assert talk(session, state, "/read")[1] == [Say("problem", QUESTION)]
    assert texts(talk(session, state, *["/hint"] * 3)[1]) == [
        "Those are all the hints I have for this problem."
    ]
    assert texts(talk(session, own("unsettled"), "/hint")[1]) == [
        "I have no hint that I trust for this problem."
    ]


def test_what_failed_is_said(session: Session) -> None:
    state = own("failed", why="no base")
    for line in ("34", "/hint", "/answer", "/check 1+1=2"):
        assert texts(talk(session, state, line)[1]) == ["I cannot work on your problem: no base."]
