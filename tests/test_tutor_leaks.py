"""The leak check, fuzzed: whatever way a number is written, it is found; others are not."""

import random
from fractions import Fraction

import pytest

from lorid_local.tutor.leaks import values
from tests.tutor_reach import spellings, stated, words

FRAMES = ("It is {}.", "so there are {} of them", "{}", "(that is {})", "Total: {}!", "A {} B")


def numbers(rng: random.Random, count: int) -> list[Fraction]:
    kinds = (
        lambda: Fraction(rng.randrange(1, 100)),
        lambda: Fraction(rng.randrange(100, 10**6)),
        lambda: Fraction(rng.randrange(1, 10**4), 100),
        lambda: Fraction(rng.choice([1, 2, 3]), rng.choice([2, 4, 5, 10])),
    )
    return [rng.choice(kinds)() for _ in range(count)]


def test_every_spelling_is_found() -> None:
    rng = random.Random(1)
    for value in numbers(rng, 500):
        for way in spellings(value):
            text = rng.choice(FRAMES).format(way)
            assert value in values(text), text
            assert stated(value, text), text  # the tests' own reader


def test_every_percent_is_found_as_number_and_as_share() -> None:
    rng = random.Random(2)
    for _ in range(300):
        n = rng.randrange(1, 100)
        for way in (f"{n}%", f"{n} %", f"{n} percent", f"{words(n)} percent"):
            assert {Fraction(n), Fraction(n, 100)} <= values(f"That is {way} of it."), way


def test_no_number_is_made_up() -> None:
    rng = random.Random(3)
    for value in numbers(rng, 500):
        other = value + rng.choice([1, 10, Fraction(1, 2)])
        text = rng.choice(FRAMES).format(spellings(other)[0])
        assert value not in values(text), text


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("half of the eggs", {Fraction(1, 2)}),
        ("three quarters", {Fraction(3, 4), Fraction(3)}),
        ("1 1/2 cups", {Fraction(1), Fraction(2), Fraction(1, 2), Fraction(3, 2)}),
        ("two and a half", {Fraction(2), Fraction(1, 2), Fraction(5, 2), Fraction(1)}),
        ("a dozen eggs", {Fraction(12)}),
        ("someone often weighs nothing", set()),
        ("Divide 96 / 2 first", {Fraction(96), Fraction(2)}),  # not worked out
        ("item A4", set()),
    ],
)
def test_words_and_fractions(text: str, found: set[Fraction]) -> None:
    assert values(text) == found
