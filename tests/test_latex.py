"""Answers in LaTeX, end to end: found, compared within a time limit, shown, agreed on."""

import time
from fractions import Fraction
from typing import Any

import pytest

from lorid_local import latex, loop
from lorid_local.answers import Answer, Unparsed, marked, same
from lorid_local.engine import Role
from lorid_local.errors import MissingExtra
from lorid_local.latex_answers import latex_vote
from lorid_local.loop import LoopSettings, RoleSettings, RoleTable
from tests.scripted import ScriptedEngine


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (r"So it is $\boxed{\frac{\sqrt{3}}{2}}$.", r"\frac{\sqrt{3}}{2}"),
        (r"The answer is: $5\pi$", r"5\pi"),  # not 5 of some unit
        (r"The answer is: $\boxed{(3, 4)}$.", "(3, 4)"),
        ("The answer is: 1,200", "1200"),
        ("The answer is: 1/2.", "0.5"),
        (r"\boxed{x+1} ... so again \boxed{x + 1}", "x + 1"),
        ("The answer is: x^2\n\nQuestion: and now?", "x^2"),
    ],
)
def test_what_is_found(text: str, shown: str) -> None:
    found = latex_vote(text, "stop")
    assert isinstance(found, Answer) and found.shown == shown


@pytest.mark.parametrize(
    ("text", "finish", "reason"),
    [
        ("It is x.", "stop", "no marked answer"),
        (r"\boxed{x}, or \boxed{y}", "stop", "its marked answers differ"),
        ("The answer is: $.$", "stop", "the marked answer is empty"),
        (r"\boxed{x}", "length", "was cut off at the token limit"),
        ("The answer is: " + "x+" * 201, "stop", "the answer is longer than 400 characters"),
    ],
)
def test_what_has_no_vote(text: str, finish: str, reason: str) -> None:
    assert latex_vote(text, finish) == Unparsed(reason)


def expression(text: str) -> Answer:
    return Answer(Fraction(0), text, "latex")


@pytest.mark.parametrize(
    ("a", "b", "equal"),
    [
        (r"\frac{1}{2}", r"\dfrac{1}{2}", True),
        (r"\left( 3, 4 \right)", "(3,4)", True),
        ("x^2+2x+1", "(x+1)^2", True),
        (r"\frac{\sqrt{2}}{2}", r"\frac{1}{\sqrt{2}}", True),
        (r"2\pi", r"\pi", False),
        ("x", "y", False),
        ("(3,4)", "(4,3)", False),
        (r"\oops{", r"\oops", False),
    ],
)
def test_what_is_the_same(a: str, b: str, equal: bool) -> None:
    assert same(expression(a), expression(b)) is equal
    assert same(expression(b), expression(a)) is equal


def test_an_expression_may_be_a_number() -> None:
    assert same(expression(r"\sqrt{4}"), Answer(Fraction(2), "2"))
    assert not same(expression(r"\sqrt{5}"), Answer(Fraction(2), "2"))


def test_what_takes_too_long_is_ended_and_the_next_is_answered() -> None:
    comparer = latex.Comparer()
    try:
        assert comparer.same("x+x", "2x") is True
        comparer.seconds = 0.5
        started = time.monotonic()
        assert comparer.same("((9^9)^9)^9^9^9", "10^{10^{10^{10}}}") is None
        assert time.monotonic() - started < 5
        comparer.seconds = 10
        assert comparer.same("x+x", "2x") is True
    finally:
        comparer.close()


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtra) as raised:
        latex.Comparer().same("x", "y")
    assert raised.value.message == "LaTeX answers need the package math-verify"
    assert raised.value.hint == "pip install 'lorid-local[math]'"


def solved(ir: str, dr: str) -> Any:
    role = RoleSettings("terse-1", 40, latex=True)
    engine = ScriptedEngine({Role.IR: [ir], Role.KG: ["Rule."], Role.DR: [dr]})
    events = loop.solve("?", engine, RoleTable(role, role, role), LoopSettings(rounds=1))
    return loop.finish(events, lambda event: None)


def test_two_forms_of_one_expression_agree() -> None:
    trace = solved(r"\boxed{(x+1)^2}", "The answer is: $x^2+2x+1$")
    assert trace.status == "agreed"
    assert trace.as_dict()["answer"] == "(x+1)^2"
    trace = solved(r"\boxed{x}", r"\boxed{2x}")
    assert (trace.status, trace.rounds[0].why) == (
        "no-agreement", "System 1 says x, System 2 says 2x"
    )  # fmt: skip


def test_what_is_marked_is_kept_as_it_is_written() -> None:
    assert marked(r"a \boxed{\frac{1}{2}} b") == [r"\frac{1}{2}"]
    assert marked("nothing") == []
