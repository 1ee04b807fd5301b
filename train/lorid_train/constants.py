"""The closed set of numbers that a solution may use though the problem does not state them.

Each needs a word that brings it up: 7 needs a week. They stay as they are when numbers change.
"""

import re
from fractions import Fraction

_TABLE = {
    r"weeks?|weekly|fortnight": "7 52 14",
    r"weekdays?|workweek|school days?": "5",
    r"weekends?": "2",
    r"days?|daily|tomorrow|yesterday": "24 7 30 365",
    r"hours?|hourly|minutes?|seconds?|mph": "60 3600 24",
    r"months?|monthly": "12 30 31 28 4",
    r"years?|yearly|annual(?:ly)?|ages?": "12 365 52 366 4",
    r"january|march|may|july|august|october|december": "31",
    r"april|june|september|november": "30",
    r"february": "28 29",
    r"decades?": "10",
    r"century|centuries": "100",
    r"percent|percentage|average grade|probability": "100 0.01",
    r"cents?|penny|pennies|coins?|change": "100 0.01",
    r"quarters?": "25 0.25 4",
    r"dimes?": "10 0.1 0.10",
    r"nickels?": "5 0.05",
    r"feet|foot|inch(?:es)?": "12",
    r"yards?": "3 36",
    r"miles?": "5280 1760",
    r"pounds?|ounces?|lbs?": "16",
    r"tons?": "2000 1000",
    r"gallons?|quarts?|pints?|cups?": "4 2 8 16 128",
    r"kilo\w*|kgs?|kms?|lit(?:er|re)s?|met(?:er|re)s?|grams?|ml|tonnes?|milli\w*": "1000 0.001",
    r"cms?|centimet(?:er|re)s?": "100",
    r"eggs|donuts|doughnuts": "12",
    r"squares?|rectang\w*|perimeter|quadrilateral": "4 2",
    r"triang\w*": "3 2 180",
    r"cubes?": "3 6",
    r"half|twice|double\w*|average|alternat\w*|every other|diameter|radius|twins?|each other": "2",
    r"triple\w*|tricycles?": "3",
    r"cows?|dogs?|cats?|horses?|sheep|goats?|cars?|tables?|chairs?|legs|pigs?|tires?": "4",
    r"chickens?|ducks?|hens?|birds?|bicycles?|bikes?|shoes?|socks?|hands|feet|ears?|gloves?": "2",
    r"spiders?|octopus\w*": "8",
    r"insects?|ants?|beetles?": "6",
}  # fmt: skip
_TRIGGERS = [
    (re.compile(rf"\b(?:{words})\b", re.IGNORECASE), tuple(map(Fraction, values.split())))
    for words, values in _TABLE.items()
]
_STRONG = frozenset(map(Fraction, (7, 12, 24, 30, 52, 60, 100, 365)))
HEAD = 12  # up to here people add without writing it down
FREE = frozenset(map(Fraction, range(1, 5)))
"""Counts that a reader sees without a number ('she and her brother'): need no word."""


def implied(question: str) -> frozenset[Fraction]:
    """Return the constants that the words of `question` bring up."""
    found = {value for words, values in _TRIGGERS if words.search(question) for value in values}
    if "%" in question:
        found |= {Fraction(100), Fraction(1, 100)}
    return frozenset(found)


def rivals(question: str) -> frozenset[Fraction]:
    """Return those implied constants that a result of the same value may be mistaken for."""
    return implied(question) & _STRONG
