"""A pupil's line, as people type it: one row a spelling. What is unclear is not guessed."""

from fractions import Fraction

import pytest

from lorid_local.tutor.reading import Sum, Typed, typed
from lorid_local.tutor.task import Money


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("18", 18), ("$18.00", 18), ("18 dollars", 18), ("1/2", Fraction(1, 2)), ("0.5", 0.5),
        ("1 1/2", 1.5), ("1,200", 1200), ("eighteen", 18), ("Eighteen apples", 18), ("18!", 18),
        ("twenty-one", 21), ("one hundred and five", 105), (".5", 0.5), ("-3", -3),
        ("I think it's 18", 18), ("is it 18?", 18), ("the answer is 18.", 18), ("= 18", 18),
        ("18 (because 9+9)", 18), ("50%", 50), ("a half", 0.5), ("one half", 0.5),
        ("three quarters", 0.75), ("3 quarters", 0.75), ("two and a half", 2.5), ("3/4", 0.75),
        ("18 dollars and 50 cents", 18.5), ("$18 50¢", 18.5), ("48 / 2 = 24", 24),
        ("48/2=24, 48+24=72", 72), ("48/2=24+48=72", 72), ("9+9 is 18", 18), ("12*3=36 so 36", 36),
    ],
)  # fmt: skip
def test_a_number_is_read(line: str, value: float) -> None:
    assert typed(line).value == Fraction(value)
    assert typed(line).unclear == ""


@pytest.mark.parametrize(
    ("line", "money", "value"),
    [
        ("50 cents", "dollars", 0.5), ("50¢", "dollars", 0.5), ("50 cents", "cents", 50),
        ("50 cents", "", 50), ("$2", "cents", 200), ("2 dollars", "cents", 200), ("$2", "", 2),
        ("2 dollars and 5 cents", "cents", 205), ("200", "cents", 200), ("2", "dollars", 2),
    ],
)  # fmt: skip
def test_money_is_read_in_the_unit_asked_for(line: str, money: Money, value: float) -> None:
    assert typed(line, money).value == Fraction(value)


def test_quarters_may_be_coins() -> None:
    assert typed("three quarters", coins=True).value is None


@pytest.mark.parametrize(
    ("line", "value"),
    [("48+24", 72), ("96/2", 48), ("6 x 3", 18), ("20% of 50", 10), ("48 divided by 2", 24),
     ("48 plus 24", 72), ("(2+3)*4", 20), ("24 + 6 =", 30), ("12 apples - 4 apples", 8),
     ("18=9+9", 18)],
)  # fmt: skip
def test_what_is_not_worked_out_is_a_plan(line: str, value: int) -> None:
    assert typed(line).plan == value
    assert typed(line).value is None


@pytest.mark.parametrize(
    ("line", "why"),
    [("3 and 4", "two numbers"), ("18 apples and 4 pears", "two numbers"),
     ("5 to 7", "two numbers"), ("2:30", "time"), ("3 pm", "time"), ("idk", "no number"),
     ("5x", "no number"), ("1/0", "no number"), ("", "no number"), ("==", "no number"),
     ("1,5", "no number"),
     ("9" * 500, "too long")],
)  # fmt: skip
def test_what_is_unclear_says_why(line: str, why: str) -> None:
    assert typed(line).unclear == why
    assert typed(line).value is None


def test_the_working_is_read_and_checked() -> None:
    assert typed("First 12+5=18, then 18 x 2 = 36") == Typed(
        value=Fraction(36),
        sums=(Sum("12+5 = 18", Fraction(18), False), Sum("18 x 2 = 36", Fraction(36), True)),
    )
    assert typed("12+5=17 and 17*2=34").sums[1].holds
    assert typed("10/3 = 3.33").sums[0].holds  # rounded at the decimals shown
