"""A family: one story with slots that exact arithmetic fills thousands of times. Checked at load.

The file's own README defines the format; here a number slot is the numbers it may take.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, TypeVar

from lorid_local.errors import EXIT_USAGE, LoridError, did_you_mean
from lorid_local.practice import expressions, texts
from lorid_local.practice.expressions import Check, Evaluate, Malformed, Number, plain
from lorid_local.practice.topics import topic_of

T = TypeVar("T")
KEYS = ("id", "topic", "grade", "question", "slots", "where", "steps", "answer", "knowledge")
MAX_NUMBERS = 100_000  # that one slot may choose from


class FamilyError(LoridError):
    """A line of a families file cannot be used, or a family has no valid draw."""

    exit_code = EXIT_USAGE


@dataclass(frozen=True)
class Person:
    """A slot for a first name."""


@dataclass(frozen=True)
class Things:
    """A slot for one of these things."""

    choices: tuple[str, ...]


@dataclass(frozen=True)
class Numbers:
    """A slot for one of these numbers."""

    choices: Sequence[Number]


Slot = Person | Things | Numbers


@dataclass(frozen=True)
class Condition:
    """What the numbers must meet, as text and compiled."""

    text: str
    holds: Check = field(repr=False, compare=False)


@dataclass(frozen=True)
class Step:
    """One calculation: the result's name, the expression and the sentence that shows it."""

    result: str
    expression: str
    evaluate: Evaluate = field(repr=False, compare=False)
    calculation: texts.Template = field(repr=False)  # the expression with the numbers put in
    sentence: texts.Template
    marked: texts.Template | None = field(repr=False)  # the sentence with `<<a/2=h>>`


@dataclass(frozen=True)
class Family:
    """A story with slots. `topic` is the one it is listed under, `story` the file's own words."""

    id: str
    topic: str
    story: str
    grade: int
    wordings: tuple[texts.Template, ...]
    slots: Mapping[str, Slot]
    where: tuple[Condition, ...]
    steps: tuple[Step, ...]
    answer: str
    knowledge: tuple[str, ...]
    never_one: frozenset[str] = field(repr=False)  # numbers before a plural: '1 tablets'


def from_row(row: Any, where: str) -> Family:
    """Build and check the family of a parsed line; `where` is 'file:line' for the message.

    `row` is parsed with `parse_float=Fraction`. Raises FamilyError that names every fault.
    """
    faults = _key_faults(row)
    family = None if faults else _built(row, faults)
    if family is None or faults:
        raise FamilyError(f"{where}: " + "; ".join(faults), hint="correct the line and run again")
    return family


def _key_faults(row: Any) -> list[str]:
    if not isinstance(row, dict):
        return ["expected a JSON object"]
    unknown = [f"unknown key {key!r}{did_you_mean(key, KEYS)}" for key in row if key not in KEYS]
    return unknown + [f"missing key {key!r}" for key in KEYS if key not in row]


def _built(row: dict[str, Any], faults: list[str]) -> Family | None:
    def attempt(at: str, make: Callable[..., T], *given: Any) -> T | None:
        try:
            return make(*given)
        except Malformed as error:
            faults.append(f"{at}: {error}")
            return None

    for key in ("id", "topic", "answer"):
        attempt(key, _text, row[key])
    for key in ("question", "where", "knowledge"):
        attempt(key, _list_of_texts, row[key], key != "where")
    attempt("grade", _grade, row["grade"])
    steps = attempt("steps", _triples, row["steps"])
    slots = attempt("slots", _slots, row["slots"])
    if faults or steps is None or slots is None:
        return None  # the parts below expect these
    names = _names(slots, [result for result, _, _ in steps], faults)
    numbers = {name for name, slot in slots.items() if isinstance(slot, Numbers)}
    wordings = [
        attempt(f"question[{i}]", _wording, text, names, numbers)
        for i, text in enumerate(row["question"])
    ]
    where = [
        attempt(f"where[{i}]", _condition, text, numbers) for i, text in enumerate(row["where"])
    ]
    built, known = [], set(numbers)
    for i, (result, expression, sentence) in enumerate(steps):
        built.append(attempt(f"steps[{i}]", _step, result, expression, sentence, known, names))
        known.add(result)
    if row["answer"] not in known - numbers:
        faults.append(f"answer: no step gives {row['answer']!r}")
    if faults:
        return None
    shown = [*row["question"], *(sentence for _, _, sentence in steps)]
    return Family(
        id=row["id"],
        topic=topic_of(row),
        story=row["topic"],
        grade=row["grade"],
        wordings=tuple(filter(None, wordings)),
        slots=slots,
        where=tuple(filter(None, where)),
        steps=tuple(filter(None, built)),
        answer=row["answer"],
        knowledge=tuple(row["knowledge"]),
        never_one=texts.before_plurals(shown, names),
    )


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise Malformed(f"expected a text on one line, got {value!r}")
    return value  # without escape sequences, too: it will be shown on a terminal


def _list_of_texts(value: Any, at_least_one: bool = True) -> list[str]:
    if not isinstance(value, list) or (at_least_one and not value):
        raise Malformed(f"expected a list of texts, got {value!r}")
    return [_text(item) for item in value]


def _grade(value: Any) -> int:
    if type(value) is not int or not 1 <= value <= 12:
        raise Malformed(f"expected 1 to 12, got {value!r}")
    return value


def _triples(value: Any) -> list[list[str]]:
    if not isinstance(value, list) or not value:
        raise Malformed(f"expected a list of [result, expression, sentence], got {value!r}")
    for item in value:
        if not isinstance(item, list) or len(item) != 3:
            raise Malformed(f"expected [result, expression, sentence], got {item!r}")
    return [_list_of_texts(item) for item in value]


def _slots(value: Any) -> dict[str, Slot]:
    if not isinstance(value, dict):
        raise Malformed(f"expected an object, got {value!r}")
    return {name: _slot(name, slot) for name, slot in value.items()}


def _slot(name: str, value: Any) -> Slot:
    match value:
        case "person":
            return Person()
        case {"choices": [_, *_] as choices} if len(value) == 1:
            return Numbers(tuple(_decimal(name, item) for item in choices))
        case [str(), *_]:
            return Things(tuple(map(_text, value)))
        case [low, high, step] if not isinstance(low, str):
            return Numbers(_range(name, *(_decimal(name, item) for item in (low, high, step))))
    raise Malformed(
        f"{name} is {value!r}: expected 'person', things, [min, max, step] or {{'choices': [...]}}"
    )


def _decimal(name: str, value: Any) -> Number:
    if type(value) not in (int, Fraction):
        raise Malformed(f"{name} holds {value!r}: expected a number")
    if (value * 100).denominator != 1:
        raise Malformed(f"{name} holds {float(value)}: expected at most two decimals")
    return plain(value)


def _range(name: str, low: Number, high: Number, step: Number) -> Sequence[Number]:
    if step <= 0 or high < low or (high - low) / step >= MAX_NUMBERS:
        raise Malformed(f"{name}: expected min <= max, step > 0 and at most {MAX_NUMBERS} numbers")
    if isinstance(low, int) and isinstance(step, int):
        return range(low, int(high) + 1, step)
    return tuple(plain(low + step * i) for i in range(int((high - low) / step) + 1))


def _names(slots: dict[str, Slot], results: list[str], faults: list[str]) -> texts.Names:
    every = [*slots, *results]
    faults += [f"{n!r} names two things" for n in dict.fromkeys(every) if every.count(n) > 1]
    faults += [f"{n!r} is no name for a slot" for n in every if not texts.is_name(n)]
    kinds = {
        kind: {n for n, s in slots.items() if isinstance(s, kind)} for kind in (Person, Things)
    }
    numbers = set(every) - kinds[Person] - kinds[Things]
    return texts.Names(*map(frozenset, (kinds[Person], kinds[Things], numbers)))


def _wording(text: str, names: texts.Names, numbers: set[str]) -> texts.Template:
    made = texts.template(text, names)
    if missing := numbers - made.used:
        raise Malformed(f"does not show {', '.join(sorted(missing))}")
    if results := (made.used & names.numbers) - numbers:
        raise Malformed(f"shows the result {', '.join(sorted(results))}")
    return made


def _condition(text: str, numbers: set[str]) -> Condition:
    return Condition(text, expressions.condition(text, numbers))


def _step(result: str, expression: str, sentence: str, known: set[str], names: texts.Names) -> Step:
    if "%" in expression:  # a chain would read it as percent
        raise Malformed(f"% is for conditions only, got {expression!r}")
    seen = texts.Names(names.people, names.things, frozenset(known | {result}))
    marked = texts.marked(sentence, expression, result, known | {result})
    return Step(
        result=result,
        expression=expression,
        evaluate=expressions.number(expression, known),
        calculation=texts.template(texts.calculation(expression), seen),
        sentence=texts.template(sentence, seen),
        marked=texts.template(marked, seen) if marked else None,
    )
