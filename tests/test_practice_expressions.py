"""The families' expressions: exact values, Python's meaning of // and %, and nothing else."""

from fractions import Fraction

import pytest

from lorid_local.practice.expressions import (
    MAX_LENGTH,
    Malformed,
    Number,
    condition,
    number,
    plain,
)

VALUES: dict[str, Number] = {"a": 7, "b": 2, "zero": 0, "half": Fraction(1, 2)}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a", "7"),
        ("0.1 + 0.2", "3/10"),  # not 0.30000000000000004
        ("a / b", "7/2"),
        ("6 / b", "3"),
        ("a // b", "3"),
        ("-a // b", "-4"),
        ("a % b", "1"),
        ("-a % b", "1"),  # Python's: the sign of the divisor
        ("7.5 % b", "3/2"),
        ("half * b", "1"),
        ("half // 0.2", "2"),
        ("2 + 3 * 4", "14"),
        ("(2 + 3) * 4", "20"),
        ("10 - 4 - 3", "3"),
        ("24 / 4 / 3", "2"),
        ("-(a - 10)", "3"),
        ("--a", "7"),
        ("  a - b ", "5"),
        ("100000000000000000.1 * 10", "1000000000000000001"),
    ],
)
def test_a_value_is_exact(text: str, value: str) -> None:
    assert number(text, VALUES)(VALUES) == Fraction(value)


def test_a_whole_quotient_is_an_int() -> None:
    assert type(number("6 / b", VALUES)(VALUES)) is int
    assert type(number("half / half", VALUES)(VALUES)) is int
    assert type(plain(Fraction(4, 2))) is int and plain(Fraction(1, 2)) == Fraction(1, 2)


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("a > b", True),
        ("a < b", False),
        ("a >= 7 and a <= 7", True),
        ("a != 7", False),
        ("a % b == 0 or b == 2", True),
        ("a % b == 0 or b == 3", False),
        ("a > 1 and b > 1 and a < b", False),
        ("not a == b", True),
        ("not (a > b or zero == 0)", False),
        ("1 < b < a", True),
        ("1 < a < b", False),
        ("0.1 + 0.2 == 0.3", True),
        ("half * 2 == 1", True),
    ],
)
def test_a_condition_holds_or_not(text: str, holds: bool) -> None:
    assert condition(text, VALUES)(VALUES) is holds


@pytest.mark.parametrize("text", ["a / zero", "a // zero", "a % zero", "half / zero"])
def test_a_division_by_zero_is_left_to_the_caller(text: str) -> None:
    with pytest.raises(ZeroDivisionError):
        number(text, VALUES)(VALUES)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not an expression: ''"),
        ("a +", "not an expression: 'a +'"),
        ("a\0", r"not an expression: 'a\x00'"),
        ("(" * 199, f"not an expression: {'(' * 199!r}"),
        ("a" * (MAX_LENGTH + 1), f"longer than 200 characters: {'a' * 40!r}..."),
        ("c * 2", "unknown name 'c' in 'c * 2'"),
        ("a ** b", "'a ** b' is no number in 'a ** b'"),
        ("a > b", "'a > b' is no number in 'a > b'"),
        ("+a", "'+a' is no number in '+a'"),
        ("a.real", "'a.real' is no number in 'a.real'"),
        ("print(a)", "'print(a)' is no number in 'print(a)'"),
        ("[a][0]", "'[a][0]' is no number in '[a][0]'"),
        ("1e9", "1e9 is no decimal in '1e9'"),
        ("0x10", "0x10 is no decimal in '0x10'"),
        ("1_000", "1_000 is no decimal in '1_000'"),
        ("True", "True is no decimal in 'True'"),
        ("'a'", "'a' is no decimal in \"'a'\""),
    ],
)
def test_what_is_no_expression_is_refused(text: str, reason: str) -> None:
    with pytest.raises(Malformed) as error:
        number(text, VALUES)
    assert str(error.value) == reason


@pytest.mark.parametrize(
    "text", ["a", "a + b", "a in b", "a is b", "a > b > zero + (a > b)", "True"]
)
def test_what_is_no_condition_is_refused(text: str) -> None:
    with pytest.raises(Malformed, match=r"is no (condition|number) in "):
        condition(text, VALUES)
