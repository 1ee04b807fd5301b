"""Adds to a problem a sentence with a number that is not needed, and that changes no answer.

Models trained on problems where each number counts use each number: of 133 SVAMP problems with
one too many such an IR solved 2 (CARD.md). What the sentence tells is another person's, or
of a kind that the problem does not mention (arXiv 2302.00093 has such sentences off the topic and
in it). Most are the first sentences of other problems: GSM8K's training problems lend 607.
"""

import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lorid_train import people

_END = re.compile(r"(?<=[.!?])(?<!\bMr\.)(?<!\bMrs\.)(?<!\bMs\.)(?<!\bDr\.)(?<!\bSt\.)\s+(?=[A-Z])")
_LEANS = re.compile(  # on the sentence before it: nothing may come between the two
    r"(?:he|she|they|it|its|his|her|hers|their|this|that|these|those|then|there|here|so|both|each|"
    r"one|another|the (?:other|rest|next|same|first|second|last|remaining)|half|of|if|after|"
    r"also|however|but|and|instead)\b",
    re.IGNORECASE,
)
_COUNTED = re.compile(r"\b\d+ ([a-z]{3,}s)\b")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_TOGETHER = re.compile(
    r"\b(?:total|all|altogether|together|combined|overall|both|everyone|everybody|they|their|"
    r"average|more|fewer|less|most|each|between|among|difference|others?|people|children)\b",
    re.IGNORECASE,
)
_MEASURES = (
    "minutes hours days weeks months years seconds miles feet inches meters kilometers pounds "
    "ounces grams kilograms gallons liters dollars cents percent times students friends adults "
    "units points degrees thirds fourths fifths quarters halves less plus was has his"
)
_NO_THINGS = frozenset(_MEASURES.split())
_UNFINISHED = re.compile(  # needs what comes next, or speaks of several
    r"\b(?:they|their|them|if|each|every|per|twice|half|times|another|other|following|some|both|"
    r"and a|total|how|when|while)\b|[:;?]|\d+/\d|%",
    re.IGNORECASE,
)
_MONEY = re.compile(
    r"[$]|\b(?:money|cents?|dollars?|cost|price|pay|paid|earn|spen[dt])", re.IGNORECASE
)
_COMMON_WORDS = (
    "have has had that this with from into also want wants wanted bought buys sold sells gave "
    "gives made makes make take takes took needs need needed each every many much more than "
    "were been will would there their them they what which when where while after before then "
    "first last next some other only just over about does did left decided decides started"
)
_COMMON = frozenset(word.rstrip("s") for word in _COMMON_WORDS.split())
MOST = 110  # characters of a borrowed sentence
TRIES = 20  # sentences looked at for one that shares no word with the problem
_OWNED = "stickers marbles postcards seashells puzzles comics scarves mugs posters whistles"
_KIN = "brother sister cousin uncle aunt neighbor"


@dataclass(frozen=True)
class _Telling:
    """`{n}` is the number, `{who}` someone of the problem, `{other}` someone who is not."""

    text: str
    low: int
    high: int
    unless: str  # a pattern: problems that mention it do not get this sentence


_TIME = r"minute|hour|o'clock|time|second"
_AGE = r"year|age\b|old|young|birthday"
_WAY = r"mile|kilomet|meter|feet|foot|inch|distance|drive|walk|run|ran\b"
_BUS = _Telling("The bus there has {n} seats.", 18, 60, "bus|seat")
_OFF_TOPIC = (
    _Telling("{who} is {n} years old.", 6, 60, _AGE),
    _Telling("{who} lives {n} miles from the nearest town.", 2, 40, _WAY),
    _Telling("{who} has read {n} pages of a novel since last week.", 20, 190, "page|read|book"),
    _Telling("{who} waited {n} minutes for the bus that morning.", 2, 25, _TIME),
    _Telling("{who}'s {kin} owns {n} {owned}.", 3, 80, "brother|sister|cousin|uncle|aunt"),
    _Telling("{other}, who lives next door, has {n} {owned}.", 3, 80, "neighbor|next door"),
    _Telling("{other} is {n} years old.", 6, 60, _AGE),
    _Telling("It was {n} degrees outside that day.", 40, 95, "degree|temperature|weather"),
    _BUS,
    _Telling("The radio played {n} songs in the meantime.", 3, 30, "song|radio|music"),
    _Telling("There are {n} houses on that street.", 8, 90, "house|home|street"),
    _Telling("A clock on the wall is {n} minutes slow.", 2, 14, _TIME),
)
_IN_TOPIC = (
    "{other} has {n} {thing}.",
    "{who}'s {kin} has {n} {thing}.",
    "{other}, who is a friend of {who}, got {n} {thing} yesterday.",
)


@dataclass(frozen=True)
class Borrowed:
    """A problem's first sentence, with its person's place as `{}`, and the words it is about."""

    text: str
    form: str  # 'she' or 'he': whom its pronouns fit
    words: frozenset[str]


def lend(questions: Iterable[str]) -> list[Borrowed]:
    """Return first sentences that stand alone and tell one or two numbers of one person."""
    found = []
    for question in questions:
        first, *rest = _END.split(question.strip(), maxsplit=1)
        names = set(re.findall(r"[A-Z][A-Za-z]*", first))
        name = first[: len(next(iter(names), ""))]
        if rest and names == {name} and name in people.NAMES and _stands_alone(first):
            words = _words(first) - {name.lower()}
            found.append(Borrowed(first.replace(name, "{}"), people.NAMES[name], words))
    return found


def _stands_alone(sentence: str) -> bool:
    return (
        len(sentence) <= MOST
        and sentence.endswith(".")
        and 1 <= len(_NUMBER.findall(sentence)) <= 2
        and not _UNFINISHED.search(sentence)
    )


def distracted(question: str, rng: random.Random, lent: Sequence[Borrowed] = ()) -> str:
    """Return `question` with one more sentence, whose number the answer does not need.

    It never stands behind the question itself, nor between a sentence and one that leans on it.
    """
    parts = _END.split(question.strip())
    sentence, kind = "", rng.random()
    if kind < 0.7 and lent:
        sentence = _borrowed(question, parts[-1], lent, rng)
    elif kind < 0.85:
        sentence = _in_topic(question, parts[-1], rng)
    sentence = sentence or _off_topic(question, rng)
    places = [at for at, part in enumerate(parts) if at == 0 or not _LEANS.match(part)]
    at = rng.choice(places)
    return " ".join([*parts[:at], sentence, *parts[at:]])


def _borrowed(question: str, asked: str, lent: Sequence[Borrowed], rng: random.Random) -> str:
    """Return another problem's sentence, told of someone here or of a stranger, or ''."""
    about, who = _words(question), _someone(question)
    taken = set(_NUMBER.findall(question))
    for _ in range(TRIES):
        one = rng.choice(lent)
        if one.words & about or taken & set(_NUMBER.findall(one.text)):
            continue
        if "$" in one.text and _MONEY.search(question):
            continue
        same = people.NAMES.get(who) == one.form and not _TOGETHER.search(asked)
        if same and rng.random() < 0.7:
            return one.text.replace("{}", who)
        return one.text.replace("{}", _stranger(question, rng, one.form))
    return ""


def _words(text: str) -> frozenset[str]:
    """Return the words of a text that may say what it is about, without plural s."""
    words = re.findall(r"[a-z]{4,}", text.lower())
    return frozenset(word.rstrip("s") for word in words) - _COMMON


def _off_topic(question: str, rng: random.Random) -> str:
    fits = [t for t in _OFF_TOPIC if not re.search(t.unless, question, re.IGNORECASE)]
    owned = [thing for thing in _OWNED.split() if thing[:-1] not in question.lower()]
    who = _someone(question)
    if not who:
        fits = [t for t in fits if "{who}" not in t.text]
    telling = rng.choice(fits or [_BUS])
    n = _new_number(question, telling.low, telling.high, rng)
    return telling.text.format(
        n=n, who=who, other=_stranger(question, rng), kin=_relative(question, rng),
        owned=rng.choice(owned),
    )  # fmt: skip


def _in_topic(question: str, asked: str, rng: random.Random) -> str:
    """Return another person's count of a thing that is counted, if the question asks of someone.

    A question of all, or one that compares, could mean that person too.
    """
    who = _someone(asked)
    things = [t for t in _COUNTED.findall(question) if t not in _NO_THINGS]
    if not who or not things or _TOGETHER.search(asked):
        return ""
    n = _new_number(question, 2, max(20, min(900, round(2 * max(_numbers(question))))), rng)
    return rng.choice(_IN_TOPIC).format(
        n=n, who=who, other=_stranger(question, rng), kin=_relative(question, rng),
        thing=rng.choice(things),
    )  # fmt: skip


def _someone(text: str) -> str:
    """Return the first name of `text` that is surely a person's, or ''."""
    return next((word for word in re.findall(r"[A-Z][a-z]+", text) if word in people.NAMES), "")


def _stranger(question: str, rng: random.Random, form: str = "") -> str:
    taken = set(re.findall(r"[A-Z][a-z]+", question))
    names = [name for name, its in people.NAMES.items() if form in ("", its)]
    return rng.choice([name for name in names if name not in taken])


def _relative(question: str, rng: random.Random) -> str:
    return rng.choice([word for word in _KIN.split() if word not in question] or ["friend"])


def _new_number(question: str, low: int, high: int, rng: random.Random) -> int:
    """Return a number of the range that does not stand in the question."""
    taken = _numbers(question)
    return rng.choice([n for n in range(low, high + 1) if n not in taken] or [high + 1])


def _numbers(text: str) -> set[float]:
    return {float(n) for n in _NUMBER.findall(text.replace(",", ""))}
