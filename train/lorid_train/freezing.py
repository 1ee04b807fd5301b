"""Which numbers of a question must stay as they are, and how large others may get, by their words.

A twenty-dollar bill, 'Room 12', 'the two of them', 'first, second and third', 7 days a week.
"""

import re
from collections.abc import Sequence
from fractions import Fraction
from itertools import combinations

from lorid_train.mentions import Mention

SMALL = 12  # three numbers up to here add up to a fourth by chance

_LABEL = re.compile(
    r"(?:\b(?:book|day|room|grade|class|route|highway|number|part|team|house|level|chapter|group|"
    r"week|month|year|box|phase|round|game|test|quiz|player|street|floor|section|question|type|"
    r"model|gate|area|car|train|bus|age|form|version|exam|stage|set|no\.|lap|hour|shop|store|"
    r"area|lot|size|bag|jar|bin|tank|page|line|track|lane|period|season|century)|#)\s*$",
    re.IGNORECASE,
)
_DEFINITE = re.compile(
    r"\b(?:the|these|those|other|all|both|them|his|her|their|my|our|its|your|'s|next|last|"
    r"another|only|of|first|remaining|following|same|every)\s+$",
    re.IGNORECASE,
)
_BODY = re.compile(
    r"^[- ]?(?:(?:dollar|cent)[- ](?:bill|note|coin)s?|sided?|sides|leg(?:s|ged)?|"
    r"wheel(?:s|ed|ers?)?|eyes|arms|fingers|toes|paws|wings|tentacles|strings|pointers?|corners|"
    r"faces|seasons|digits?|dimension\w*|others?\b|k run|th grade|courses? meal|piece|way|door|"
    r"person|man|bedroom|on one|by four|generation|leaf|star|quarters\b|halves\b|innings|"
    r"points? (?:shots?|baskets?|field|goals?)|"
    r"in the (?:morning|afternoon|evening)|(?<=\d)s\b|(?:different|separate|distinct)\b|"
    r"(?:\w+ )?(?:types|kinds|sorts|varieties|flavou?rs|colou?rs|items)\b|"
    r"of (?:them|us|you|the|his|her|their|those|these|which|whom))",
    re.IGNORECASE,
)
_CASH = re.compile(r" (?:bill|note|coin)s?\b")
_COUNTED = re.compile(
    r"\b(?:respectively|the second|the third|second one|third one|the other one|one of which|"
    r"2nd|3rd|another is|the last one|first (?:one|day|week|month|year|hour|box|friend|child)|"
    r"one is|one has|first,|second,|the former|the latter|the oldest|the youngest|the eldest|"
    r"the tallest|the middle|the smallest|the largest|the first|each other)\b",
    re.IGNORECASE,
)
_LISTED = re.compile(r"\b[A-Z][a-z]+(?:, (?:and )?[A-Z][a-z]+)*,? and [A-Z][a-z]+")
_NAMES = re.compile(r"[A-Z][a-z]+")
_WEEKDAY = re.compile(r"\b(?:mon|tues|wednes|thurs|fri|satur|sun)days?\b", re.IGNORECASE)
_NUMBERS = re.compile(r"(?:\$?\d[\d.,]*(?: \w+)?, )+(?:and )?\$?\d|\d[\d.]*(?: \w+)? and \$?\d")
_PARTS = re.compile(
    r"\b(?:all|total|remaining|remainder|rest|others?|left|left over|altogether|together|combined|"
    r"must|contain\w*|made (?:up )?of|consist\w*|includ\w+|split|divided?|of (?:them|the|these|"
    r"those|which|whom|his|her|their)|final|last)\b",
    re.IGNORECASE,
)
_REMAINDER = re.compile(r"\b(?:remaining|others?|rest|all)\s+$", re.IGNORECASE)
_NEAR = 30  # letters
_YEAR = re.compile(r"\b(?:in|since|year|by|until|of|from|to|between|and|before|after)\s+$", re.I)
_EACH = "(?:a|an|per|each|every|in a|of (?:the|a|each)|this|last|out of (?:the|a|each))"
_LIMITS = {
    rf"[- ](?:school |work ?|week)?days?,? {_EACH} (?:\w+ )?week": 7,
    rf" (?:\w+ )?hours? (?:of \w+ )?(?:{_EACH} (?:\w+ )?(?:day|night|shift|morning)|daily)": 14,
    rf" (?:\w+ )?days? {_EACH} month": 30,
    rf" months? {_EACH} year": 11,
    rf" weeks? {_EACH} month": 4,
    r"[- ]years?[- ]old| years? (?:old|older|younger|of age)": 90,
    rf" times? {_EACH} (?:day|week)": 12,
}
_MOST = [(re.compile(words, re.IGNORECASE), limit) for words, limit in _LIMITS.items()]


def frozen(mention: Mention, question: str) -> bool:
    """True if this number of `question` must not change, for the words around it."""
    before, behind = question[: mention.start], question[mention.end :]
    value = mention.value
    if value in (0, 1) or mention.kind not in ("digits", "word") or value.denominator > 100:
        return True
    if re.search(r"[\d:/-]$", before.rstrip("$")) or re.match(r"[:/]\d|-\$?\d|\s*/\s*\d", behind):
        return True
    if _LABEL.search(before) and not mention.style.money:
        return True
    if _BODY.match(behind) or (mention.style.money and _CASH.match(behind)):
        return True
    if mention.style.comma is False and 1900 <= value <= 2100 and value.denominator == 1:
        return bool(_YEAR.search(before)) and not mention.style.money
    if mention.kind == "word" and (value > 20 or _DEFINITE.search(before)):
        return True
    if re.match(r" (?:of|quarters?|thirds?|halves|half)\b", behind) and mention.kind == "word":
        return True
    return value <= 6 and bool(_DEFINITE.search(before)) and not mention.style.money


def counted(question: str) -> frozenset[Fraction]:
    """Return the values that the wording itself counts out, so that they must stay."""
    values: set[int] = set()
    if _COUNTED.search(question):
        values |= set(range(2, 7))
    for listed in _LISTED.findall(question):
        names = len(_NAMES.findall(listed))
        values |= {names - 1, names, names + 1}
    for listed in _NUMBERS.findall(question):
        if (count := len(re.findall(r"\$?\d[\d.,]*\d|\d", listed))) > 2:
            values |= {count}
    days = len({day.lower().rstrip("s") for day in _WEEKDAY.findall(question)})
    if days > 1:
        values |= set(range(2, 8))
    return frozenset(map(Fraction, values))


def most(mention: Mention, question: str) -> int:
    """Return the largest sensible value of a number by the words behind it; 0 for any."""
    behind = question[mention.end : mention.end + 50]
    return next((limit for words, limit in _MOST if words.match(behind)), 0)


def remainders(found: Sequence[Mention], question: str) -> frozenset[Fraction]:
    """Return the numbers that are named as what is left of others: 'the remaining 13 pupils'."""
    return frozenset(m.value for m in found if _REMAINDER.search(question[: m.start]))


def parts(found: Sequence[Mention], question: str) -> frozenset[Fraction]:
    """Return the numbers that add up to another one, where the words say that they are its parts.

    '8 men, 6 women ... all 14' states 14 twice over: no step computes it, so all three stay.
    """
    values = sorted(m.value for m in found if m.value > 0)
    near = {
        m.value for m in found
        if _PARTS.search(question[max(0, m.start - _NEAR) : m.end + _NEAR])
    }  # fmt: skip
    stay: set[Fraction] = set()
    for size in (2, 3):
        for chosen in combinations(values, size):
            whole = sum(chosen, Fraction(0))
            if whole in values and (size < 3 or whole > SMALL) and near & {whole, *chosen}:
                stay |= {whole, *chosen}
    return frozenset(stay)
