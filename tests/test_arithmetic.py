"""Exact arithmetic of `<<a=b>>` steps."""

import time
from fractions import Fraction

import pytest

from lorid_local.arithmetic import Malformed, evaluate, false_steps, holds, parse_number, steps

VALUES = [
    ("48/2", "24"),
    ("1+2*3", "7"),
    ("(1+2)*3", "9"),
    ("10-2-3", "5"),
    ("48/2/3", "8"),
    ("2*-3", "-6"),
    ("-(2+3)", "-5"),
    ("1/3+1/3+1/3", "1"),
    ("20%", "1/5"),
    ("50*20%", "10"),
    ("1-20%", "4/5"),
    ("1,200*2", "2400"),
    (".5+1.", "3/2"),
    ("6 x 3", "18"),
    ("6×3÷2", "9"),
    ("5−3", "2"),
    ("560//10", "56"),  # GSM8K writes two of its steps so
    ("7//2", "3"),
    ("-7//2", "-4"),
]


@pytest.mark.parametrize(("expression", "value"), VALUES)
def test_evaluate(expression: str, value: str) -> None:
    assert evaluate(expression) == Fraction(value)


MALFORMED = [
    ("", "expression ends too early"),
    ("1+", "expression ends too early"),
    ("1/0", "division by zero"),
    ("1//0", "division by zero"),
    ("1/(2-2)", "division by zero"),
    ("(1", "a bracket is not closed"),
    ("1)", "unexpected ')' in '1)'"),
    ("3 4", "unexpected '4' in '3 4'"),
    ("2**3", "not a number: '*'"),
    ("2^3", "unexpected '^' in '2^3'"),
    ("2 apples", "unexpected 'a' in '2 apples'"),
    ("__import__('os')", "unexpected '_' in \"__import__('os')\""),
    ("1,5", "not a number: '1,5'"),
    ("%", "not a number: '%'"),
    ("(" * 30 + "1" + ")" * 30, "nested too deeply"),
    ("-" * 30 + "1", "nested too deeply"),
    ("1" * 201, "expression longer than 200 characters"),
]


@pytest.mark.parametrize(("expression", "message"), MALFORMED)
def test_evaluate_refuses(expression: str, message: str) -> None:
    with pytest.raises(Malformed) as raised:
        evaluate(expression)
    assert str(raised.value) == message


PARSED = [("18", "18"), (" -1,200.50 ", "-2401/2"), (".5", "1/2"), ("18.", "18"), ("+3", "3")]


@pytest.mark.parametrize(("text", "value"), PARSED)
def test_parse_number(text: str, value: str) -> None:
    assert parse_number(text) == Fraction(value)


@pytest.mark.parametrize("text", ["", ".", "+", "1,5", "1_000", "1e5", "²", "$5", "1.2.3", "nan"])
def test_parse_number_refuses(text: str) -> None:
    with pytest.raises(Malformed):
        parse_number(text)


HOLDS = [
    ("48/2", "24", True),
    ("48/2", "25", False),
    ("48/2", "24.", True),
    ("48/2", "$24", True),
    ("2-8", "-$6", True),  # was malformed: the sign stood before the currency
    ("2-8", "$-6", True),
    ("2-8", "−6", True),  # was malformed: only the expression's minus sign was known
    ("1/3", "0.33", True),
    ("1/3", ".3", True),
    ("2/3", "0.66", False),
    ("10/3", "3", False),
    ("1/8", "0.13", True),
    ("1200*1", "1,200", True),
]


@pytest.mark.parametrize(("expression", "shown", "expected"), HOLDS)
def test_holds(expression: str, shown: str, expected: bool) -> None:
    assert holds(expression, shown) is expected


FALSE_STEPS = [
    ("48/2 = <<48/2=24>>24, 48+24 = <<48+24=72>>72", []),
    ("no steps", []),
    ("<< 48/2 = 25 >>", ["48/2=25"]),
    ("<<48/2=24>> <<1+1=3>> <<2+2=5>>", ["1+1=3", "2+2=5"]),
    ("<<1/0=1>>", ["1/0=1"]),
    ("<<a=b>>", ["a=b"]),
    # these were no steps at all, and so passed
    ("<<48/2=24=25>>", ["48/2=24=25"]),
    ("<<48/2>>", ["48/2"]),
    ("<<48/2=24", ["48/2=24"]),
    ("<<48/2=25\nso", ["48/2=25"]),
    ("<<48/2=25> 3", ["48/2=25"]),
    ("<<>>", [""]),
]


@pytest.mark.parametrize(("text", "expected"), FALSE_STEPS)
def test_false_steps(text: str, expected: list[str]) -> None:
    assert false_steps(text) == expected


def test_steps_are_the_well_formed_ones() -> None:
    text = "<<48/2=24>> <<1=2=3>> << 1 + 1 = 3 >> <<4"
    assert steps(text) == [("48/2", "24"), ("1 + 1", "3")]


@pytest.mark.parametrize("piece", ["<<", "<<1", "<<1=", "<<1=1>>", "=", "<", "<<(("])
def test_false_steps_takes_linear_time(piece: str) -> None:
    start = time.thread_time()
    false_steps((piece * 100_000)[:100_000])
    assert time.thread_time() - start < 3  # 0.1 s on a fast core; quadratic: minutes
