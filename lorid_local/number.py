"""The grammar of one number or time of day in a cleaned line of text: exact values, no `eval`.

Knows decimals, fractions, mixed numbers, '3e5', ordinals, times and number words; skips units.
Knows no algebra, powers, roots, lists or intervals: it raises Refused, with the reason.
"""

import re
from fractions import Fraction
from typing import Literal, NamedTuple

from lorid_local.arithmetic import parse_number

MAX_DIGITS = 60


class Token(NamedTuple):
    kind: str  # 'time', 'number', 'word' or 'mark'
    text: str  # lower case
    start: int
    end: int


class Found(NamedTuple):
    value: Fraction
    kind: Literal["number", "time"]
    first: int  # index of its first token, its sign included
    after: int  # index of the token behind it


class Refused(Exception):
    """The text is no single number; the argument is the reason."""


Pick = Literal["only", "first", "last"]


def the_number(plain: str, quote: str, *, pick: Pick = "only") -> Found:
    """Return the one number or time in `plain`, or of several the one to `pick`; raises Refused.

    `plain` has ASCII digits, signs and spaces only; `quote` is how a reason names the text.
    """
    tokens = _tokens(plain)
    found = _all_found(tokens)
    if pick != "only":  # 'reads 42 pages, half of the rest': digits count before words
        found = [item for item in found if not _in_words(tokens, item)] or found
    if not found:
        raise Refused(f"no number in {quote}")
    near = {"only": found, "first": found[:2], "last": found[-2:]}[pick]
    if len(found) > 1 and (pick == "only" or _joint(tokens, *near) != "other"):
        raise Refused(_why_many(tokens, near, quote))
    picked = found[0 if pick == "first" else -1]
    _check_rest(tokens, picked, quote, pick != "only")
    return picked


def holds_number(plain: str) -> bool:
    """True if a digit or a number word stands in `plain`."""
    return any(t.kind in ("number", "time") or t.text in _NUMBER_WORDS for t in _tokens(plain))


def show(value: Fraction) -> str:
    """Return '18', '0.125' (exact, up to 6 decimals) or else a fraction such as '1/3'."""
    if value.denominator == 1:
        return str(value.numerator)
    millionths = value * 10**6
    if millionths.denominator != 1:
        return f"{value.numerator}/{value.denominator}"
    whole, rest = divmod(abs(millionths.numerator), 10**6)
    return f"{'-' if value < 0 else ''}{whole}.{rest:06d}".rstrip("0")


_TOKEN = re.compile(
    r"(?P<time>\d{1,2}:\d{2}(?![\d:]))"
    r"|(?P<number>\.?\d(?:[\d.,]*\d)?(?:[eE][-+]?\d+)?)"
    r"|(?P<word>[^\W\d_]+)|(?P<mark>\S)"
)
_DECIMAL = re.compile(r"(?:\d+|[1-9]\d{0,2}(?:,\d{3})+)(?:\.\d+)?|\.\d+")
_UNITS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
    "fifteen sixteen seventeen eighteen nineteen"
)
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
_SMALL = {word: value for value, word in enumerate(_UNITS.split())}
_SMALL |= {word: 10 * value for value, word in enumerate(_TENS.split(), 2)}
# as pupils write them: 'fourty five' must not be read as 5
_MISSPELT = "fourty 40 fivety 50 eigthy 80 ninty 90 fourten 14 fiveteen 15 eightteen 18 ninteen 19"
_SMALL |= {word: int(value) for word, value in re.findall(r"(\w+) (\d+)", _MISSPELT)}
_SCALES = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_MULTIPLIERS = {"hundred": 100} | _SCALES
_NUMBER_WORDS = {*_SMALL, *_MULTIPLIERS, "half"}
_THIRDS = "third fourth fifth sixth seventh eighth ninth tenth hundredth thousandth"
_PARTS = {f"{part}{s}" for part in _THIRDS.split() for s in ("", "s")} | {"half", "halves"}
_AMBIGUOUS = {"x", "y", "z", "k"}  # glued to a number: a variable, or thousands


def _tokens(plain: str) -> list[Token]:
    return [
        Token(match.lastgroup or "mark", match[0].lower(), match.start(), match.end())
        for match in _TOKEN.finditer(plain)
    ]


def _text(tokens: list[Token], at: int) -> str:
    return tokens[at].text if 0 <= at < len(tokens) else ""


def _kind(tokens: list[Token], at: int) -> str:
    return tokens[at].kind if 0 <= at < len(tokens) else ""


def _glued(tokens: list[Token], at: int) -> bool:
    """True if no space stands between token `at` and the one behind it."""
    return 0 <= at < len(tokens) - 1 and tokens[at].end == tokens[at + 1].start


def _all_found(tokens: list[Token]) -> list[Found]:
    found: list[Found] = []
    at = 0
    while at < len(tokens):
        item = _time_at(tokens, at) or _number_at(tokens, at) or _words_at(tokens, at)
        if item:
            item = _signed(tokens, item, found[-1].after if found else 0)
            found.append(item)
        at = item.after if item else at + 1
    if not all(_in_words(tokens, item) for item in found):  # 'the one with 18'
        found = [item for item in found if tokens[item.after - 1].text != "one"]
    return found


def _in_words(tokens: list[Token], item: Found) -> bool:
    return not any(token.kind in ("number", "time") for token in tokens[item.first : item.after])


def _time_at(tokens: list[Token], at: int) -> Found | None:
    half = _text(tokens, at + 1)
    if tokens[at].kind != "time" and not (
        tokens[at].kind == "number" and half in ("am", "pm") and tokens[at].text.isdigit()
    ):
        return None
    hours, _, minutes = tokens[at].text.partition(":")
    if half not in ("am", "pm"):
        half = ""
    hour, minute = int(hours[:3]), int(minutes or 0)
    if minute > 59 or hour > 23 or (half and not 1 <= hour <= 12):
        raise Refused(f"'{tokens[at].text}{half}' is not a time of day")
    if half:
        hour = hour % 12 + (12 if half == "pm" else 0)
    return Found(Fraction(60 * hour + minute), "time", at, at + (2 if half else 1))


def _number_at(tokens: list[Token], at: int) -> Found | None:
    if tokens[at].kind != "number":
        return None
    if _kind(tokens, at - 1) == "word" and _glued(tokens, at - 1):
        raise Refused(f"'{tokens[at - 1].text}{tokens[at].text}' is not a plain number")
    value, after = _fraction(tokens, at)
    if after == at + 1 and value.denominator == 1 and _kind(tokens, after) == "number":
        part, behind = _fraction(tokens, after)
        if behind > after + 1 and 0 < part < 1:
            value, after = value + part, behind
    while _text(tokens, after) in _MULTIPLIERS:
        value, after = value * _MULTIPLIERS[_text(tokens, after)], after + 1
    if _glued(tokens, after - 1) and _text(tokens, after) in _AMBIGUOUS:
        raise Refused(f"'{tokens[at].text}{tokens[after].text}' is unclear")
    return _with_half(tokens, value, at, after)


def _fraction(tokens: list[Token], at: int) -> tuple[Fraction, int]:
    value = _decimal(tokens[at].text)
    if _text(tokens, at + 1) != "/" or _kind(tokens, at + 2) != "number":
        return value, at + 1
    below = _decimal(tokens[at + 2].text)
    if not below:
        raise Refused(f"'{tokens[at].text}/{tokens[at + 2].text}' divides by zero")
    return value / below, at + 3


def _decimal(text: str) -> Fraction:
    number, _, exponent = text.partition("e")
    if sum(map(str.isdigit, number)) > MAX_DIGITS or len(exponent) > 4:
        raise Refused(f"a number of more than {MAX_DIGITS} digits")
    if not _DECIMAL.fullmatch(number):
        raise Refused(f"'{number}' is not one number: write 1200 or 1.5, without other marks")
    if abs(int(exponent or 0)) > MAX_DIGITS:
        raise Refused(f"a number of more than {MAX_DIGITS} digits")
    return parse_number(number) * Fraction(10) ** int(exponent or 0)


def _words_at(tokens: list[Token], at: int) -> Found | None:
    """Read number words: each group ('two hundred and five') ends at its scale ('thousand')."""
    total, group, room, scale, after = 0, 0, 100, 10**15, at
    while True:
        word = _text(tokens, after)
        if word in _SMALL and _SMALL[word] < room:
            group, room = group + _SMALL[word], 10 if _SMALL[word] > 19 else 0
        elif word == "hundred" and group < 100:
            group, room = max(group, 1) * 100, 100
        elif word in _SCALES and (group or after == at) and _SCALES[word] < scale:
            scale = _SCALES[word]
            total, group, room = total + max(group, 1) * scale, 0, 100
        elif not (after > at and _joins(tokens, after, room)):
            break
        after += 1
    if after == at:
        return Found(Fraction(1, 2), "number", at, at + 1) if word == "half" else None
    behind = _text(tokens, after + 1)
    if word == "-" and _glued(tokens, after - 1) and behind[:1].isalpha():
        if behind in _PARTS:
            raise _in_parts(behind)
        return None  # 'seven-ish'
    return _with_half(tokens, Fraction(total + group), at, after)


def _joins(tokens: list[Token], at: int, room: int) -> bool:
    """True for the hyphen of 'twenty-one' and the 'and' of 'one hundred and five'."""
    if _SMALL.get(_text(tokens, at + 1), 100) >= room:
        return False
    return tokens[at].text == ("-" if room == 10 else "and") if at < len(tokens) else False


def _with_half(tokens: list[Token], value: Fraction, first: int, after: int) -> Found:
    """Add '... and a half'; refuse other fractions in words, for 'quarters' may be coins."""
    words = [_text(tokens, at) for at in range(after, after + 3)]
    if words == ["and", "a", "half"]:
        return Found(value + Fraction(1, 2), "number", first, after + 3)
    if words[0] == "half" and value == 1:
        return Found(Fraction(1, 2), "number", first, after + 1)
    coins = tokens[first].kind != "word" and words[:2] != ["and", "a"]
    part = words[2] if words[:2] == ["and", "a"] else words[0]
    if part in _PARTS or (part in ("quarter", "quarters") and not coins):
        raise _in_parts(part)
    return Found(value, "number", first, after)


def _in_parts(word: str) -> Refused:
    return Refused(f"a fraction in words ('{word}') is unclear: write it as 1/2 or 3/4")


def _signed(tokens: list[Token], item: Found, number_ends: int) -> Found:
    """Add the sign before `item`, unless it joins two numbers ('5-7') or a word ('x - 5')."""
    at = item.first - 1
    sign = _text(tokens, at)
    if sign not in ("-", "+", "minus", "negative") or at < number_ends or item.kind == "time":
        return item
    if at == number_ends > 0 and sign != "negative":
        return item
    if sign in "-+" and at and not (_glued(tokens, at) and _opens(tokens, at)):
        return item
    return item._replace(value=item.value if sign == "+" else -item.value, first=at)


def _opens(tokens: list[Token], at: int) -> bool:
    """True if a space or an opening mark stands before the sign at `at`."""
    before = tokens[at - 1]
    return not _glued(tokens, at - 1) or (before.kind == "mark" and before.text not in "-+)%")


# --- why the numbers found are no answer ---

_RANGES = {"-", "to", "~", "through", "till", "until", "- -", ".."}
_OPERATORS = {"+", "-", "*", "/", "^", "x", "plus", "minus", "times", "over", "by"}
_NOT_PLAIN = set("^<>\u2264\u2265\u2260\u00b1\u221a\u03c0\u221e\u00b2\u00b3*+_\\|") | {
    "x",
    "y",
    "z",
}
_BOUNDS = {"not", "than", "least", "most"}


def _joint(tokens: list[Token], left: Found, right: Found) -> str:
    """Say what stands between two numbers: a 'range', 'ratio' or 'sum', else 'other'."""
    between = [token.text for token in tokens[left.after : right.first]]
    if between == ["-"]:
        closed = _glued(tokens, left.after - 1) and _glued(tokens, left.after)
        return "range" if closed else "sum"
    if " ".join(between) in _RANGES:
        return "range"
    if between == [":"]:
        return "ratio"
    return "sum" if between and set(between) <= _OPERATORS else "other"


def _why_many(tokens: list[Token], found: list[Found], quote: str) -> str:
    joint = _joint(tokens, *found[:2])
    if joint == "range" or _text(tokens, found[0].first - 1) == "between":
        return f"{quote} is a range, not one number"
    if joint == "ratio":
        return f"{quote} is a ratio, not one number"
    if joint == "sum":
        return f"{quote} is not worked out"
    return f"{quote} holds {'two' if len(found) == 2 else len(found)} numbers"


def _check_rest(tokens: list[Token], item: Found, quote: str, prose: bool) -> None:
    """Refuse 'x + 5', '2^3', '5/x', 'more than 5': a number among what this module cannot read."""
    before, after = tokens[: item.first], tokens[item.after :]
    if prose:  # only what touches the number
        before, after = before[-1:], after[:1]
    if before and before[-1].text in _OPERATORS - {"by", "over"}:
        raise Refused(f"{quote} is not worked out")
    if any(token.text in _NOT_PLAIN for token in before + after):
        raise Refused(f"{quote} is not a plain number")
    if any(token.text in _BOUNDS for token in before):
        raise Refused(f"{quote} is a bound, not one number")
