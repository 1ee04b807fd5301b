"""Reads a pupil's line: a number as people type it, calculations, or a plan not worked out yet.

What could be two things is not guessed: `unclear` says which kind of thing it was.
"""

import re
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Literal

from lorid_local import arithmetic
from lorid_local.answers import MAX_LENGTH, Answer, read
from lorid_local.tutor.leaks import PARTS
from lorid_local.tutor.task import Money

Unclear = Literal["", "no number", "two numbers", "time", "too long"]


@dataclass(frozen=True)
class Sum:
    """A calculation the pupil wrote out, '48/2 = 24'; `holds` is whether it is right."""

    text: str
    value: Fraction
    holds: bool


@dataclass(frozen=True)
class Typed:
    """What was typed: a number, or a plan such as '48 + 24'; with the calculations before it."""

    value: Fraction | None = None
    sums: tuple[Sum, ...] = ()
    plan: Fraction | None = None
    unclear: Unclear = ""


def typed(line: str, money: Money = "", *, coins: bool = False) -> Typed:
    """Read a pupil's line.

    `money` is what the answer is in: '50 cents' is 0.5 where dollars are asked for, '$2' is 200
    where cents are. `coins` True leaves 'three quarters' unread, for it may mean coins.
    """
    line = _tidy(line)
    if len(line) > MAX_LENGTH:
        return Typed(unclear="too long")
    pieces = [piece for piece in _SPLIT.split(line) if piece.strip()]
    sums = tuple(found for piece in pieces if "=" in piece for found in _sums(piece))
    last = pieces[-1] if sums else line
    if "=" in last:
        last = last.rpartition("=")[2]
        if not last.strip():  # '24 + 6 =', not finished
            return _plan(line.rpartition("=")[0].rpartition("=")[2], sums)
    if _DIVISION.fullmatch(last.strip()):  # 96/2 is a plan, 3/4 a number
        plan = _plan(last, sums)
        if plan.plan is not None and plan.plan.denominator == 1:
            return plan
    value = _amount(last, money, coins)
    if isinstance(value, Fraction):
        return Typed(value, sums)
    plan = _plan(last, sums)
    return plan if plan.plan is not None else Typed(None, sums, unclear=value)


_SPLIT = re.compile(r"[;\n]|,\s+|\b(?:and then|then|so)\b|\band\b(?=[^=]*=)", re.I)
_IS = re.compile(r"(?<=[\d)%])\s+(?:is|are|makes?|gives|equals)\s+(?=[-$\d])", re.I)
_FIRST_WORDS = re.compile(r"^[^\d($-]+")
_DIVISION = re.compile(r"\$?\d[\d,]*(?:\.\d+)? ?[/÷] ?\$?\d[\d,]*(?:\.\d+)?")
_SAID = re.compile(
    r"^(?:(?:i (?:think|guess|believe|got|get|say)|maybe|perhaps|is it|it is|it's|its|um+|hm+"
    r"|about|that is|that's|ok|okay|the answer is|answer|my answer is|that makes|makes)[\s,:]+)+",
    re.I,
)
_PARTS = re.compile(
    rf"(?:(?P<whole>\w+(?:-\w+)?) and )?(?P<count>an?|\w+)[ -](?P<part>{'|'.join(PARTS)})"
    r"(?: of (?:a|an|one|the) \w+)?(?: \w+)?",
    re.I,
)
_DOLLARS_CENTS = re.compile(
    r"(?=.*(?:\$|dollars?))\$?(\d[\d,]*)(?: ?dollars?)?(?: and)? (\d{1,2}) ?(?:cents?|¢)", re.I
)
_CENTS = re.compile(r"(?:\bcents?|¢)$", re.I)
_DOLLARS = re.compile(r"^-?\$|\bdollars?$", re.I)
_IN_WORDS = (
    (re.compile(r"\bplus\b", re.I), "+"),
    (re.compile(r"\b(?:minus|take away)\b", re.I), "-"),
    (re.compile(r"\b(?:times|multiplied by|of)\b|(?<=[\d)])\s*[x×]\s*(?=[\d(.$])", re.I), "*"),
    (re.compile(r"\b(?:divided by|over)\b|÷", re.I), "/"),
)
_UNITS = re.compile(r"[^\W\d_]+\.?|[$€£¢?!\"']")
_OPERATOR = re.compile(r"[-+*/]")


def _tidy(line: str) -> str:
    line = " ".join(line.split()).rstrip(" .!?")
    return _IS.sub(" = ", _SAID.sub("", line)).strip()


def _sums(piece: str) -> list[Sum]:
    """Return the calculations of '48/2 = 24 + 48 = 72': each '=' claims the number behind it."""
    found = []
    sides = piece.split("=")
    for left, right in pairwise(sides):
        claimed = re.match(r"\s*\$?\s*(-?\d[\d,]*(?:\.\d+)?(?: ?/ ?\d+)?)", right)
        made = _evaluated(left)
        if made is None or not claimed or not _calculates(left):
            continue
        said = read(claimed[1])
        if isinstance(said, Answer):
            text = f"{_FIRST_WORDS.sub('', left).strip()} = {claimed[1].strip()}"
            holds = said.value == made or _rounds(made, claimed[1])
            found.append(Sum(text, said.value, holds))
    return found


def _rounds(value: Fraction, said: str) -> bool:
    try:
        return arithmetic.holds(f"{value.numerator}/{value.denominator}", said)
    except arithmetic.Malformed:
        return False


def _plan(text: str, sums: tuple[Sum, ...]) -> Typed:
    value = _evaluated(text)
    if value is None or not _calculates(text):
        return Typed(None, sums, unclear="no number")
    return Typed(None, sums, plan=value)


def _calculates(text: str) -> bool:
    return bool(_OPERATOR.search(text.strip(" -"))) or any(w.search(text) for w, _ in _IN_WORDS)


def _evaluated(text: str) -> Fraction | None:
    """Return the value of a calculation with units and words in it, or None."""
    for words, sign in _IN_WORDS:
        text = words.sub(f" {sign} ", text)
    try:
        return arithmetic.evaluate(_UNITS.sub(" ", text))
    except arithmetic.Malformed:
        return None


def _amount(text: str, money: Money, coins: bool) -> Fraction | Unclear:
    text = text.strip()
    if match := _DOLLARS_CENTS.fullmatch(text):
        cents = 100 * int(match[1].replace(",", "")) + int(match[2])
        return Fraction(cents) if money == "cents" else Fraction(cents, 100)
    part = None if coins else _PARTS.fullmatch(text)
    if part and (value := _parts(part)) is not None:
        return value
    answer = read(text)
    if not isinstance(answer, Answer):
        many = "holds" in answer.reason or "range" in answer.reason or "ratio" in answer.reason
        return "two numbers" if many else "no number"
    if answer.kind == "time":
        return "time"
    if money == "dollars" and _CENTS.search(text):
        return answer.value / 100
    if money == "cents" and _DOLLARS.search(text):
        return answer.value * 100
    return answer.value


def _parts(match: re.Match[str]) -> Fraction | None:
    """'three quarters' is 3/4, 'two and a half' 5/2."""
    one = match["count"].lower() in ("a", "an")
    count = Answer(Fraction(1), "") if one else read(match["count"])
    whole = read(match["whole"]) if match["whole"] else Answer(Fraction(0), "")
    if not isinstance(count, Answer) or not isinstance(whole, Answer):
        return None
    return whole.value + count.value / PARTS[match["part"].lower()]
