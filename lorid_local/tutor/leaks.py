"""Does a text state a number? What the tutor shows is held against the answer before it is shown.

Knows digits, fractions, mixed numbers, percents and number words. What is yet to be worked out is
no number stated: '96 / 2', with spaces, is a calculation, and 'three less than ten' a riddle.
"""

import re
from fractions import Fraction

from lorid_local.answers import Answer, read
from lorid_local.arithmetic import Malformed, parse_number

_NUMBER = r"\d[\d,]*(?:\.\d+)?|\.\d+"
_DIGITS = re.compile(rf"(?<![\w.])(?:(\d+) )?({_NUMBER})(?:/({_NUMBER}))?( ?%| percent\b)?", re.I)
_SMALL = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety"
)
_WORD = rf"(?:{'|'.join((*_SMALL.split(), 'hundred', 'thousand', 'million'))})"
_WORDS = re.compile(rf"\b({_WORD}(?:(?:[ -]| and ){_WORD})*)\b( percent\b)?", re.I)
PARTS = {
    part: below
    for below, parts in {
        2: "half halves", 3: "third thirds", 4: "quarter quarters fourth fourths",
        5: "fifth fifths", 6: "sixth sixths", 7: "seventh sevenths", 8: "eighth eighths",
        9: "ninth ninths", 10: "tenth tenths", 100: "hundredth hundredths",
    }.items()
    for part in parts.split()
}  # fmt: skip
_PART = re.compile(rf"\b(?:({_WORD}|an?)[ -])?({'|'.join(PARTS)})\b", re.I)
_NAMED = {"dozen": 12, "dozens": 12, "score": 20}
_NAME = re.compile(rf"\b({'|'.join(_NAMED)})\b", re.I)


def values(text: str) -> set[Fraction]:
    """Return every number that `text` states, '50%' as 50 and as 1/2, '1 1/2' as its parts too."""
    found: set[Fraction] = set()
    for whole, above, below, percent in _DIGITS.findall(text):
        _add(found, _digits(whole, above, below), bool(percent))
    for words, percent in _WORDS.findall(text):
        _add(found, _in_words(words), bool(percent))
    for count, part in _PART.findall(text):
        many = _in_words(count) if count.lower() not in ("", "a", "an") else [Fraction(1)]
        found.update(value / PARTS[part.lower()] for value in many)
    if "and a half" in text.lower():
        found |= {value + Fraction(1, 2) for value in found}
    found.update(Fraction(_NAMED[name.lower()]) for name in _NAME.findall(text))
    return found


def _add(found: set[Fraction], more: list[Fraction], percent: bool) -> None:
    found.update(more)
    if percent:
        found.update(value / 100 for value in more)


def _digits(whole: str, above: str, below: str) -> list[Fraction]:
    try:
        value = parse_number(above.rstrip(","))
        parts = [value]
        if below and (under := parse_number(below.rstrip(","))):
            parts += [under, value / under]
        if whole:
            parts += [Fraction(int(whole)), int(whole) + parts[-1]]
    except Malformed:  # '1,2,3' is a list
        parts = [parse_number(part) for part in above.split(",") if part]
    return parts


def _in_words(words: str) -> list[Fraction]:
    """Return the number and its parts: of 'one hundred and five' also 100, 1 and 5."""
    answers = [read(words), *(read(word) for word in re.split(r"[ -]|and", words.lower()) if word)]
    return [answer.value for answer in answers if isinstance(answer, Answer)]
