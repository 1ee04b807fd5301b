"""Finds every number that a text mentions, in digits or in words, and writes numbers back.

Knows what a mention looks like, not what it means: `tracing` decides what may be varied.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

_WRITTEN = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
    "fifteen sixteen seventeen eighteen nineteen twenty"
)
_UNITS = _WRITTEN.split()
WORDS = {word: value for value, word in enumerate(_UNITS)}
_TENS = "thirty forty fifty sixty seventy eighty ninety"
TENS = {word: 10 * value for value, word in enumerate(_TENS.split(), 3)}
_SCALES = {"hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9}
_PARTS = {
    part: number
    for number, parts in {
        2: "half halves", 3: "third thirds", 4: "fourth fourths quarter quarters",
        5: "fifth fifths", 6: "sixth sixths", 7: "seventh sevenths", 8: "eighth eighths",
        9: "ninth ninths", 10: "tenth tenths", 20: "twentieth twentieths",
        100: "hundredth hundredths",
    }.items()
    for part in parts.split()
}  # fmt: skip
_FIXED = {
    "twice": 2, "double": 2, "doubles": 2, "doubled": 2, "doubling": 2, "pair": 2, "pairs": 2,
    "both": 2, "couple": 2, "couples": 2, "halved": 2, "twins": 2, "duo": 2, "thrice": 3,
    "triple": 3,
    "triples": 3, "tripled": 3, "tripling": 3, "triplets": 3, "trio": 3, "quadruple": 4,
    "quadrupled": 4, "quadruples": 4, "quadruplets": 4, "quintuple": 5, "dozen": 12, "dozens": 12,
    "score": 20, "half": 2, "single": 1, "once": 1, "first": 1, "second": 2, "zero": 0,
}  # fmt: skip
_SMALL = "|".join([*WORDS, *TENS])
_SCALE = "|".join(_SCALES)
_PART = "|".join(sorted(_PARTS, key=len, reverse=True))
_SHARES = (
    r"(?P<mixed>\b\d+(?:\s+|\s*-\s*|\s+and\s+)\d+/\d+\b|\b\d*[½¼¾])|(?P<fraction>\b\d+/\d+\b)|"
)
_UNIT = "kg|km|cm|mm|ml|mg|lbs?|oz|ft|mph|hrs?|mins?|m|g|l|sq|in|s"
_NUMBER = (
    r"(?P<time>\b\d{1,2}(?::\d{2})?\s*[ap]\.?m\b\.?|\b\d{1,2}:\d{2}\b|\b\d{1,2}\s+o'clock)|"
    r"(?P<ordinal>\b\d+(?:st|nd|rd|th)\b)|%s"
    rf"(?P<glued>(?<![\w.])\d[\d,.]*(?!(?:{_UNIT})\b|x\s*\$?\d)[a-z]\w*)|"
    r"(?P<digits>(?:(?<![\w.])|(?<=\dx))(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?"
    r"|(?<![\w.])\.\d+)|"
    rf"(?P<parts>\b(?:(?:{_SMALL})[- ])?(?:{_PART})\b)|"
    rf"(?P<compound>\b(?:(?:{_SMALL}|a)[- ])?(?:{_SCALE})s?\b"
    rf"(?:(?:\s+and|-)?\s*(?:{_SMALL}|{_SCALE})\b)*"
    rf"|\b(?:{'|'.join(TENS)}|twenty)-(?:{'|'.join(_UNITS[1:10])})\b)|"
    rf"(?P<word>\b(?:{_SMALL})\b)|"
    rf"(?P<fixed>\b(?:{'|'.join(_FIXED)})\b)"
)
_QUESTION = re.compile(_NUMBER % _SHARES, re.IGNORECASE)
_SOLUTION = re.compile(_NUMBER % "", re.IGNORECASE)
Kind = Literal[
    "time", "ordinal", "mixed", "fraction", "glued", "digits", "parts", "compound", "word", "fixed"
]


@dataclass(frozen=True)
class Style:
    """How a number is written: decimals shown, thousands comma, '.5', or a word's letter case."""

    decimals: int = 0
    comma: bool = False
    bare: bool = False
    word: Literal["", "lower", "title"] = ""
    money: bool = False


@dataclass(frozen=True)
class Mention:
    """One number in a text. `atoms` are the values a solution may use for one that stays fixed.

    `also` are further values that it implies: what a share leaves, or its percent.
    """

    start: int
    end: int
    kind: Kind
    value: Fraction
    style: Style
    atoms: tuple[Fraction, ...] = ()
    also: tuple[Fraction, ...] = ()
    percent: bool = False


def mentions(text: str, shares: bool = True) -> list[Mention]:
    """Return the numbers of `text` in order; 'a dozen' and 'half' are among them.

    '3/4' is one number, or, without `shares`, a division of two.
    """
    token = _QUESTION if shares else _SOLUTION
    return [_mention(match, text) for match in token.finditer(text)]


def _mention(match: re.Match[str], text: str) -> Mention:
    kind: Kind = match.lastgroup  # type: ignore[assignment]
    found, lower = match[0], match[0].lower()
    make = {
        "digits": _digits, "word": _word, "fraction": _fraction, "parts": _parts,
        "fixed": _fixed, "compound": _compound,
    }.get(kind, _other)  # fmt: skip
    value, style, atoms, also = make(found, lower)
    behind = text[match.end() : match.end() + 10].lower()
    money = text[: match.start()].rstrip().endswith("$")
    if kind == "digits" and money:
        style = Style(style.decimals, style.comma, style.bare, "", True)
    percent = bool(re.match(r"\s*(%|percent|per cent)", behind))
    return Mention(match.start(), match.end(), kind, value, style, atoms, also, percent)


_Read = tuple[Fraction, Style, tuple[Fraction, ...], tuple[Fraction, ...]]


def _digits(found: str, lower: str) -> _Read:
    return value_of(found), style_of(found), (), ()


def _word(found: str, lower: str) -> _Read:
    value = Fraction(WORDS.get(lower) or TENS.get(lower, 0))
    return value, Style(word="title" if found[0].isupper() else "lower"), (), ()


def _fraction(found: str, lower: str) -> _Read:
    above, below = map(int, found.split("/"))
    return _share(above, below or 1)


def _parts(found: str, lower: str) -> _Read:
    words = re.split(r"[- ]", lower)
    above = WORDS.get(words[0], 1) if len(words) > 1 else 1
    return _share(above, _PARTS[words[-1]])


def _share(above: int, below: int) -> _Read:
    value = Fraction(above, below)
    rest = (Fraction(below - above), 1 - value, value * 100, 100 - value * 100)
    return value, Style(), (Fraction(above), Fraction(below), value), rest


def _fixed(found: str, lower: str) -> _Read:
    value = Fraction(_FIXED[lower])
    return value, Style(), (value,), ()


def _compound(found: str, lower: str) -> _Read:
    total, group = 0, 0
    for word in re.findall(r"[a-z]+", lower):
        word = word if word in _SCALES else word.removesuffix("s") if word != "six" else word
        if word in _SCALES:
            group = max(group, 1) * _SCALES[word]
            if _SCALES[word] > 100:
                total, group = total + group, 0
        else:
            group += WORDS.get(word) or TENS.get(word, 0)
    value = Fraction(total + group)
    return value, Style(), (value, *map(Fraction, _SCALES.values())), ()


def _other(found: str, lower: str) -> _Read:
    numbers = tuple(Fraction(n) for n in re.findall(r"\d+", found))
    if "/" in found and len(numbers) == 3 and numbers[2]:
        whole, above, below = numbers
        value = whole + above / below
        return value, Style(), (value, whole, above, below, above / below), (whole * below + above,)
    return (numbers or (Fraction(0),))[0], Style(), numbers, ()


def value_of(digits: str) -> Fraction:
    """Return the exact value of '1,200.50' or '.5'."""
    return Fraction(digits.replace(",", "").rstrip("."))


def style_of(digits: str) -> Style:
    """Return how '1,200.50' is written."""
    whole, _, rest = digits.partition(".")
    return Style(decimals=len(rest), comma="," in whole, bare=not whole)


def write(value: Fraction | int, style: Style) -> str:
    """Return `value` in the manner of `style`; exact, with the decimals it takes.

    What was shown with two decimals, or is money with cents, keeps two: '1.50'. Words reach to
    twenty; a larger number is written in digits.
    """
    if style.word and value.denominator == 1 and 0 <= value <= 20:
        word = _UNITS[int(value)]
        return word.capitalize() if style.word == "title" else word
    if value.denominator == 1:
        shown = f"{int(value):,}" if style.comma else str(int(value))
        return shown + ".00" if style.decimals == 2 and style.money else shown
    decimals = next((d for d in range(1, 7) if 10**d % value.denominator == 0), 6)
    decimals = max(decimals, 2) if style.decimals == 2 or style.money else decimals
    whole, rest = divmod(round(abs(value) * 10**decimals), 10**decimals)
    shown = f"{whole:,}" if style.comma else str(whole)
    sign = "-" if value < 0 else ""
    return f"{sign}{'' if style.bare and not whole else shown}.{rest:0{decimals}d}"


Piece = str | tuple[object, Style]
"""Text as it stands, or a symbol to put a number for."""

_ARTICLE = re.compile(r"\b([Aa])n?([ -]\$?)$")


def article(before: str, written: str) -> str:
    """Return `before` with the 'a' or 'an' at its end as `written`, a number, wants it."""
    match = _ARTICLE.search(before)
    if not match:
        return before
    digits = re.match(r"[\d,]+", written)
    first = digits[0].replace(",", "") if digits else written.lower()
    vowel = first.startswith(("8", "eight", "eleven"))
    vowel = vowel or (len(first) % 3 == 2 and first.startswith(("11", "18")))  # '11,000'
    return before[: match.start()] + match[1] + ("n" if vowel else "") + match[2]


def join(pieces: Sequence[str | tuple[str, bool]]) -> str:
    """Join literal texts and (number written, True) pairs, with articles set right."""
    text = ""
    for piece in pieces:
        if isinstance(piece, str):
            text += piece
        else:
            text = article(text, piece[0]) + piece[0]
    return text
