"""The families' texts, compiled once: slots, pronouns, and a/an and -th/-st/-nd with numbers.

Also finds the calculation that a step's sentence shows, to mark it `<<a/2=h>>` as GSM8K does.
"""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from fractions import Fraction

from lorid_local.practice.expressions import Malformed, Number, number
from lorid_local.practice.names import FORMS

_FIELD = re.compile(r"\{([A-Za-z]\w*)(?:\.(\w+))?\}")
_ARTICLE = re.compile(r"\b([Aa])n?( \$?)\{(\w+)\}")
_ORDINAL = re.compile(r"\{(\w+)\}(?:st|nd|rd|th)\b")
_PERCENT = re.compile(r"([\w.{}]+)%")
_NAME = re.compile(r"[A-Za-z]\w*")
_OPERAND = r"\(*\$?(?:\{\w+\}|\d+(?:\.\d+)?)%?\)*"
_SHOWN = re.compile(
    rf"({_OPERAND}(?: ?(?://|[-+*/]) ?{_OPERAND})+) ?= ?(\$?)\{{(\w+)\}}",
)
_NEXT_WORDS = re.compile(r"\{(\w+)\}(?= ([a-z]+|\{\w+\})(?: ([a-z]+|\{\w+\}))?)")
_PLURALS = {"children", "people", "men", "women", "feet", "teeth", "geese", "mice", "fish"}
_NO_PLURALS = {"is", "was", "has", "plus", "minus", "this", "its", "his", "as", "costs", "does"}
_NO_ADJECTIVES = frozenset(
    word
    for words in (
        "a above after an and as at back before by each every for from have if in is left less of",
        "off on or per percent than that the then times to was when with",
    )
    for word in words.split()
)


@dataclass(frozen=True)
class Names:
    """What a text may name: the people, the things and the numbers (slots and results)."""

    people: frozenset[str]
    things: frozenset[str]
    numbers: frozenset[str]


@dataclass(frozen=True)
class Template:
    """A text with {slots}; `used` are the names it shows."""

    source: str
    used: frozenset[str]
    _percent_format: str = field(repr=False)

    def fill(self, words: "Words") -> str:
        """Return the text with each slot's words put in."""
        return self._percent_format % words


class Words(dict[str, str]):
    """The words of a draw by slot; articles and ordinals are made when a text asks for one."""

    def __missing__(self, key: str) -> str:
        kind, made, name = key.partition(":")
        if not made:
            raise KeyError(key)
        return _ordinal(self[name]) if kind == "th" else kind + _n(self[name])


def template(source: str, names: Names) -> Template:
    """Compile a text with {slots}; raises Malformed for a name or a pronoun there is not."""
    rest = _FIELD.sub("", source)
    if "{" in rest or "}" in rest:
        raise Malformed(f"a brace that names no slot in {source!r}")
    used = set()
    for name, form in _FIELD.findall(source):
        if name not in names.people | names.things | names.numbers:
            raise Malformed(f"unknown slot {{{name}}} in {source!r}")
        if form and (name not in names.people or form not in FORMS):
            raise Malformed(f"unknown pronoun {{{name}.{form}}} in {source!r}")
        used.add(name)
    text = _ARTICLE.sub(lambda match: _article(match, names), source.replace("%", "%%"))
    text = _ORDINAL.sub(lambda match: _suffix(match, names), text)
    text = _FIELD.sub(lambda match: f"%({match[0][1:-1]})s", text)
    return Template(source, frozenset(used), text)


def is_name(text: str) -> bool:
    """True if `text` can name a slot or a result."""
    return bool(_NAME.fullmatch(text))


def before_plurals(sources: Iterable[str], names: Names) -> frozenset[str]:
    """Return the numbers that some text puts before a plural, where 1 would be '1 tablets'.

    Guesses by the s at the end of one of the next two words; it may name one too many.
    """
    found = set()
    for source in sources:
        for name, one, two in _NEXT_WORDS.findall(source):
            if name in names.numbers and (
                _plural(one, names) or (one not in _NO_ADJECTIVES and _plural(two, names))
            ):
                found.add(name)
    return frozenset(found)


def _plural(word: str, names: Names) -> bool:
    if word.startswith("{"):
        return word[1:-1] in names.things
    return word in _PLURALS or (
        word.endswith("s") and word not in _NO_PLURALS and word[-2:] != "ss"
    )


def calculation(expression: str) -> str:
    """Return the template of an expression with the numbers put in: 'a / 2' as '{a} / 2'."""
    return _NAME.sub(r"{\g<0>}", expression)


def marked(sentence: str, expression: str, result: str, names: Collection[str]) -> str | None:
    """Return `sentence` with its calculation written as GSM8K does, or None if it shows none.

    '{a} / 2 = ${h}' becomes '{a}/2 = $<<{a}/2={h}>>{h}'. What is shown must have the value of
    `expression`, the step's own, for whatever numbers; `names` are those of all numbers.
    """
    match = _SHOWN.search(sentence)
    if not match:
        return None
    left, money, shown_result = match.groups()
    start = match.start(1)
    while left.startswith("(") and left.count("(") > left.count(")"):  # opened before it
        left, start = left[1:], start + 1
    left = left.replace(" ", "")
    shown = _PERCENT.sub(r"(\1/100)", left.replace("$", "")).replace("{", "").replace("}", "")
    if not _same(shown, expression, names) or not (
        shown_result == result or _same(shown_result, expression, names)
    ):
        return None
    step = f"<<{left.replace('$', '')}={{{shown_result}}}>>{{{shown_result}}}"
    return f"{sentence[:start]}{left} = {money}{step}{sentence[match.end() :]}"


def _same(shown: str, expression: str, names: Collection[str]) -> bool:
    """True if both are the same text, or give the same values on two sets of numbers."""
    if shown == expression.replace(" ", ""):
        return True
    try:
        sides = number(shown, names), number(expression, names)
    except Malformed:
        return False
    draws: list[dict[str, Number]] = [
        {name: Fraction(7 * i + k, k) for i, name in enumerate(sorted(names), 2)} for k in (11, 13)
    ]
    try:
        return all(sides[0](values) == sides[1](values) for values in draws)
    except ZeroDivisionError:
        return False


def _article(match: re.Match[str], names: Names) -> str:
    letter, gap, name = match.groups()
    return f"%({letter}:{name})s{gap}{{{name}}}" if name in names.numbers else match[0]


def _suffix(match: re.Match[str], names: Names) -> str:
    return f"{{{match[1]}}}%(th:{match[1]})s" if match[1] in names.numbers else match[0]


def _n(number: str) -> str:
    """'n' if the number is said with a vowel first: 8, 85, 11, 18, 18000."""
    whole = number.partition(".")[0]
    thousands = whole[:2] if len(whole) == 5 else whole
    return "n" if whole.startswith("8") or thousands in ("11", "18") else ""


def _ordinal(number: str) -> str:
    if number[-2:] in ("11", "12", "13"):
        return "th"
    return {"1": "st", "2": "nd", "3": "rd"}.get(number[-1:], "th")
