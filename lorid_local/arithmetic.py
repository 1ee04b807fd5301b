"""Exact arithmetic on rationals: evaluates the `<<48/2=24>>` steps of a chain. No `eval`.

Knows + - * / // ( ) and a percent sign behind a number; no powers, no names, no units.
"""

import re
from fractions import Fraction
from functools import lru_cache
from math import floor

STEP = re.compile(r"<<([^<>=]*)=([^<>=]*)>>")
_MONEY = re.compile(r"^([-+]?)\$")
_WRITTEN = re.compile(r"<<([^<>]*)(>>)?")
_TOKEN = re.compile(r"\s*(\d[\d,]*\.?\d*|\.\d+|//|[-+*/()%])")
_SIGNS = str.maketrans({"×": "*", "÷": "/", "−": "-", "–": "-", "x": "*", "X": "*"})
_NUMBER = re.compile(r"[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+|\.)?")
MAX_LENGTH = 200
MAX_DEPTH = 20


class Malformed(ValueError):
    """The text is not an expression that this module knows, or it divides by zero."""


@lru_cache(4096)  # a replay reads the same few numbers a hundred thousand times
def parse_number(text: str) -> Fraction:
    """Return the exact value of a decimal such as '-1,200.50'; raises Malformed."""
    text = text.strip()
    if len(text) > MAX_LENGTH or not _NUMBER.fullmatch(text) or not any(map(str.isdigit, text)):
        raise Malformed(f"not a number: {text[:MAX_LENGTH]!r}")
    return Fraction(text.replace(",", "").rstrip("."))


def evaluate(expression: str) -> Fraction:
    """Return the exact value of an expression such as '(3 + 4) * 20%'; raises Malformed."""
    if len(expression) > MAX_LENGTH:
        raise Malformed(f"expression longer than {MAX_LENGTH} characters")
    parser = _Parser(_tokens(expression.translate(_SIGNS)))
    value = parser.sum(0)
    if parser.left:
        raise Malformed(f"unexpected {parser.left[0]!r} in {expression!r}")
    return value


def holds(expression: str, shown: str) -> bool:
    """True if `shown` is the value of `expression`, or rounds it at the decimals shown.

    An integer must be exact: rounding is read only from a result written with decimals.
    Raises Malformed.
    """
    shown = _MONEY.sub(r"\1", shown.translate(_SIGNS).strip())
    value, claimed = evaluate(expression), parse_number(shown)
    decimals = len(shown.partition(".")[2])
    tolerance = Fraction(1, 2 * 10**decimals) if decimals else Fraction(0)
    return abs(value - claimed) <= tolerance


def steps(text: str) -> list[tuple[str, str]]:
    """Return the (expression, shown result) pairs of every well-formed `<<...=...>>` in `text`."""
    return [(match[1].strip(), match[2].strip()) for match in STEP.finditer(text)]


def false_steps(text: str) -> list[str]:
    """Return each `<<` step of `text` whose arithmetic fails or cannot be read, as 'a=b'.

    A step that is not closed, or has no '=' or two, counts as one that cannot be read.
    """
    written = [(match[1], bool(match[2])) for match in _WRITTEN.finditer(text)]
    return [_tidy(step) for step, closed in written if not (closed and _ok(step))]


def _tidy(step: str) -> str:
    line = step.strip().partition("\n")[0][:MAX_LENGTH]
    return "=".join(part.strip() for part in line.split("="))


def _ok(step: str) -> bool:
    expression, _, shown = step.partition("=")
    try:
        return holds(expression, shown)
    except Malformed:
        return False


def _tokens(text: str) -> list[str]:
    found, at = [], 0
    text = text.rstrip()
    while at < len(text):
        match = _TOKEN.match(text, at)
        if not match:
            raise Malformed(f"unexpected {text[at:].strip()[:1]!r} in {text!r}")
        found.append(match[1])
        at = match.end()
    return found


class _Parser:
    """Recursive descent: sum -> product -> atom."""

    def __init__(self, tokens: list[str]) -> None:
        self.left = tokens

    def sum(self, depth: int) -> Fraction:
        value = self.product(depth)
        while self.left and self.left[0] in "+-":
            sign, term = self.left.pop(0), self.product(depth)
            value = value + term if sign == "+" else value - term
        return value

    def product(self, depth: int) -> Fraction:
        value = self.atom(depth)
        while self.left and self.left[0] in ("*", "/", "//"):
            sign, factor = self.left.pop(0), self.atom(depth)
            if sign != "*" and not factor:
                raise Malformed("division by zero")
            value = value * factor if sign == "*" else value / factor
            value = Fraction(floor(value)) if sign == "//" else value
        return value

    def atom(self, depth: int) -> Fraction:
        if depth > MAX_DEPTH or not self.left:
            raise Malformed("nested too deeply" if self.left else "expression ends too early")
        token = self.left.pop(0)
        if token in "+-":
            value = self.atom(depth + 1)
            return value if token == "+" else -value
        value = self.parenthesis(depth) if token == "(" else parse_number(token)
        if self.left and self.left[0] == "%":
            self.left.pop(0)
            value /= 100
        return value

    def parenthesis(self, depth: int) -> Fraction:
        value = self.sum(depth + 1)
        if not self.left or self.left.pop(0) != ")":
            raise Malformed("a bracket is not closed")
        return value
