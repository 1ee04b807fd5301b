"""Judges a teacher's rules: are they general, or the solution in other words?

Looks at words and numbers only: what is counted are suspicions, and samples are there to read.
Counted are numbers, names and rare words of the question, calculations of the solution, advice
without an operation, repeated rules, and operations of the solution that no rule names.
"""

import random
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from lorid_local import arithmetic
from lorid_local.errors import InputError
from lorid_local.practice.families import BUNDLED
from lorid_train import constants, overlap, rows
from lorid_train.mentions import mentions
from lorid_train.rows import Row

RARE = 0.005  # at most this share of the questions, and of the rules, holds a word of one story
FEW = 3  # in a short file; and so many families make a word a general one
COPIED = 0.5  # of a rule's 5-grams
_OPERATIONS = {
    "+": r"add\w*|sums?|totals?|plus|altogether|combin\w+|together|increas\w+|more|both|all",
    "-": r"subtract\w*|minus|difference|less|left|remain\w*|fewer|decreas\w+|discount\w*|rest|"
    r"reduc\w+|take away|without",
    "*": r"multipl\w+|times|product|twice|doubl\w+|tripl\w+|percent\w*|each|per|area|every|rate",
    "/": r"divi\w+|half|halv\w+|quotient|per|averages?|ratios?|shar\w+|split\w*|thirds?|quarters?|"
    r"fraction\w*|equally|rate|percent\w*",
}
OPERATIONS = {sign: re.compile(rf"\b(?:{words})\b", re.I) for sign, words in _OPERATIONS.items()}
_ANY = re.compile(
    rf"\b(?:{'|'.join(_OPERATIONS.values())}|equals?|is|are|has|have|contains?)\b", re.IGNORECASE
)
_ADVICE = re.compile(
    r"\b(?:read (?:the|carefully)|carefully|identify|understand|check (?:your|the)|make sure|"
    r"step by step|determine what|write (?:down )?an equation|solve the problem)\b",
    re.IGNORECASE,
)
_CALCULATION = re.compile(r"\d\s*[-+*/x×÷]\s*\$?\d|=\s*\$?\d|<<")
_WORD = re.compile(r"[A-Za-z][a-z]+")
_USUAL = frozenset((0, 1, 2, 100))  # 'half', 'twice' and percents are general


@dataclass(frozen=True)
class Judged:
    """A problem's rules with what is suspicious: (kind of fault, what shows it)."""

    row: Row
    rules: tuple[str, ...]
    faults: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Audit:
    """All judged problems, in the order of the problems; how many have no rules."""

    judged: tuple[Judged, ...]
    without: int


def read(path: Path) -> dict[int | str, tuple[str, ...]]:
    """Return id -> rules of a file as `lorid teach` writes it; raises InputError, TrainError."""
    if not path.is_file():
        raise InputError(f"{path}: no such file", hint="--audit takes what lorid teach wrote")
    records = rows.jsonl(path, {"id", "knowledge"})
    found: dict[int | str, tuple[str, ...]] = {}
    for line, record in records:
        rules = record["knowledge"]
        if not isinstance(rules, list) or not all(isinstance(rule, str) for rule in rules):
            raise InputError(
                f"{path}:{line + 1}: its knowledge is no list of texts",
                hint='expected lines {"id": 0, "knowledge": ["a rule", "another"]}',
            )
        found[record["id"]] = tuple(rules)
    return found


def audit(problems: list[Row], given: dict[int | str, tuple[str, ...]]) -> Audit:
    """Judge the rules of every problem that has some."""
    found = [(row, given[row.id]) for row in problems if row.id in given]
    # 'balance' is rare in questions, yet many rules need it: a word of mathematics, not of a story
    stories = Counter(word for row in problems for word in _words(row.question))
    general = Counter(word for _, r in found for word in _words(" ".join(r)))
    most = max(FEW, RARE * len(problems))
    rare = frozenset(w for w, count in stories.items() if max(count, general[w]) <= most)
    rare -= _vocabulary()
    judged = tuple(Judged(row, r, tuple(dict.fromkeys(_faults(row, r, rare)))) for row, r in found)
    return Audit(judged, len(problems) - len(judged))


def _vocabulary() -> set[str]:
    """Return the words that the rules of several bundled families use: they tell no story."""
    records = rows.jsonl(BUNDLED, {"knowledge"})
    used = Counter(w for _, record in records for w in _words(" ".join(record["knowledge"])))
    return {word for word, count in used.items() if count >= FEW}


def _faults(row: Row, rules: tuple[str, ...], rare: frozenset[str]) -> Iterator[tuple[str, str]]:
    told = overlap.grams(overlap.normalised(row.rationale))
    numbers = _numbers(row.question)
    names = _names(row.question)
    seen: set[str] = set()
    for rule in rules:
        for value in sorted(_numbers(rule) & numbers):
            yield "a number of the question", str(value)
        words = _words(rule)
        for word in sorted(words & (names | (rare & _words(row.question)))):
            yield "a name or thing of the question", word
        if _CALCULATION.search(rule) or _copied(rule, told):
            yield "a copy of the solution", rule
        if _ADVICE.search(rule) or not _ANY.search(rule):
            yield "advice without content", rule
        if (plain := overlap.normalised(rule)) in seen:
            yield "a rule twice", rule
        seen.add(plain)
    text = " ".join(rules)
    for sign in sorted(_signs(row.rationale)):
        if not OPERATIONS[sign].search(text):
            yield "a step without a rule", sign


def _copied(rule: str, told: frozenset[tuple[str, ...]]) -> bool:
    own = overlap.grams(overlap.normalised(rule))
    return len(own & told) >= COPIED * len(own)


def _numbers(text: str) -> frozenset[int | float]:
    values = {m.value for m in mentions(text) if m.kind in ("digits", "word", "fraction")}
    plain = values - constants.implied(text) - {v for v in values if v in _USUAL}
    return frozenset(int(v) if v.denominator == 1 else float(v) for v in plain)


@cache
def _words(text: str) -> frozenset[str]:
    """Return the words of four letters and more, in lower case, without a plural's s."""
    found = (word.lower() for word in _WORD.findall(text))
    return frozenset(re.sub(r"(?<=[^sui])s$", "", w) for w in found if len(w) > 3)


def _names(question: str) -> frozenset[str]:
    """Return the capitalised words inside sentences, which are names of somebody or something."""
    inside = re.findall(r"(?<![.!?] )(?<!^)(?<!\")\b[A-Z][a-z]{2,}", question)
    return frozenset(word for name in inside for word in _words(name))


def _signs(rationale: str) -> set[str]:
    signs = {"+": "+", "-": "-", "*": "*", "x": "*", "/": "/"}
    text = "".join(expression for expression, _ in arithmetic.steps(rationale))
    return {signs[letter] for letter in text if letter in signs}


def lines(found: Audit, samples: int, seed: int) -> Iterator[str]:
    """Yield the report: counts by kind of fault, then problems to read, chosen by `seed`."""
    total = len(found.judged)
    count = sum(len(one.rules) for one in found.judged)
    yield f"problems with rules: {total}; without: {found.without}; rules: {count}"
    if not total:
        return
    distinct = len({overlap.normalised(rule) for one in found.judged for rule in one.rules})
    yield f"rules a problem: {count / total:.2f}; distinct rules: {distinct}"
    kinds = Counter(kind for one in found.judged for kind in {kind for kind, _ in one.faults})
    clean = sum(not one.faults for one in found.judged)
    yield f"nothing suspicious: {clean} problems ({100 * clean / total:.1f}%)"
    for kind, number in sorted(kinds.items(), key=lambda item: (-item[1], item[0])):
        yield f"{kind}: {number} problems ({100 * number / total:.1f}%)"
    chosen = sorted(random.Random(seed).sample(range(total), min(samples, total)))
    for one in (found.judged[at] for at in chosen):
        yield _sample(one)


def _sample(one: Judged) -> str:
    solution = " | ".join(one.row.rationale.splitlines()) or one.row.answer
    told = [f"\n{one.row.id}: {one.row.question}", f"Solution: {solution}", "Rules:"]
    told += [f"  - {rule}" for rule in one.rules]
    return "\n".join([*told, *(f"  ? {kind}: {what}" for kind, what in one.faults)])
