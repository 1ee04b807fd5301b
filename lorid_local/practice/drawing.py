"""Makes one problem of a family: numbers drawn until they are valid, then every text filled in.

The same family and seed give the same problem on every machine and Python: all that is drawn is
from `random.Random(text).random()`, whose sequence Python promises to keep. First the wording, then
people and things in the order of the slots, then, try by try, the numbers in that order.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from lorid_local.practice.expressions import Number, plain
from lorid_local.practice.family import Family, FamilyError, Numbers, Person, Things
from lorid_local.practice.names import FORMS, PEOPLE
from lorid_local.practice.texts import Words

TRIES = 10_000  # the hardest family of the bundled file needs about 120
LARGEST = 10**7  # of any result
DECIMALS = 100  # a result is whole when multiplied by this: two decimals


@dataclass(frozen=True)
class Worked:
    """One step with its numbers: 'h', 48, '48', '96 / 2' and the sentence that shows it."""

    result: str
    value: Fraction
    shown: str
    calculation: str
    sentence: str
    marked: str | None  # the sentence with `<<96/2=48>>`, None where it shows no calculation


@dataclass(frozen=True)
class Problem:
    """A problem with its worked solution. `values` are the numbers that were drawn, by slot."""

    family: str
    topic: str
    grade: int
    seed: int
    wording: int
    question: str
    values: Mapping[str, Fraction]
    steps: tuple[Worked, ...]
    answer: Fraction
    answer_text: str
    knowledge: tuple[str, ...]

    @property
    def numbers(self) -> tuple[Fraction, ...]:
        """The number set: two problems of a family with the same one have the same solution."""
        return tuple(self.values.values())


def draw(family: Family, seed: int, wording: int | None = None) -> Problem:
    """Return the problem of `family` for `seed`; another `wording` (an index) keeps the rest.

    Numbers are valid if all conditions hold, every result is 0 to LARGEST with at most two
    decimals, the answer is above 0, and none that stands before a plural is 1 ('1 tablets').
    Raises FamilyError if no valid ones turn up in TRIES tries.
    """
    rng = random.Random(f"{family.id} {seed}")
    drawn_wording = int(rng.random() * len(family.wordings))
    wording = drawn_wording if wording is None else wording
    words = _people_and_things(family, rng)
    values, slots = _valid_values(family, rng)
    words.update((name, show(value)) for name, value in values.items())
    steps = tuple(
        Worked(
            result=step.result,
            value=Fraction(values[step.result]),
            shown=words[step.result],
            calculation=step.calculation.fill(words),
            sentence=step.sentence.fill(words),
            marked=step.marked.fill(words) if step.marked else None,
        )
        for step in family.steps
    )
    return Problem(
        family=family.id,
        topic=family.topic,
        grade=family.grade,
        seed=seed,
        wording=wording,
        question=family.wordings[wording].fill(words),
        values={name: Fraction(values[name]) for name in slots},
        steps=steps,
        answer=Fraction(values[family.answer]),
        answer_text=words[family.answer],
        knowledge=family.knowledge,
    )


def show(value: Number) -> str:
    """Return the number as the stories print it: '48' if whole, else two decimals, '1.50'."""
    if value.denominator == 1:
        return str(value.numerator)
    whole, rest = divmod(int(max(value, -value) * DECIMALS), DECIMALS)
    return f"{'-' if value < 0 else ''}{whole}.{rest:02d}"


def chain(problem: Problem) -> str:
    """Return the terse chain, a line a step: '<<96/2=48>>'."""
    return "\n".join(
        f"<<{step.calculation.replace(' ', '')}={step.shown}>>" for step in problem.steps
    )


def prose(problem: Problem) -> str:
    """Return the worked solution, a sentence a line, with its calculations marked as in GSM8K.

    '96 / 2 = 48' becomes '96/2 = <<96/2=48>>48'; a sentence that shows none stays as it is.
    """
    return "\n".join(step.marked or step.sentence for step in problem.steps)


def _people_and_things(family: Family, rng: random.Random) -> Words:
    words = Words()
    people = list(PEOPLE)
    for slot_name, slot in family.slots.items():
        if isinstance(slot, Person):  # no two of the same name
            name, forms = people.pop(int(rng.random() * len(people)))
            words[slot_name] = name
            words.update(
                (f"{slot_name}.{form}", word) for form, word in zip(FORMS, forms, strict=True)
            )
        elif isinstance(slot, Things):
            words[slot_name] = slot.choices[int(rng.random() * len(slot.choices))]
    return words


def _valid_values(family: Family, rng: random.Random) -> tuple[dict[str, Number], list[str]]:
    """Return the values of slots and results, and the names of the slots."""
    slots = {name: slot.choices for name, slot in family.slots.items() if isinstance(slot, Numbers)}
    draw_one = rng.random
    for _ in range(TRIES):
        values = {name: choices[int(draw_one() * len(choices))] for name, choices in slots.items()}
        if _valid(family, values):
            return values, list(slots)
    raise FamilyError(
        f"family {family.id}: no valid numbers in {TRIES} draws",
        hint="widen its slots or drop a condition; 1 is never drawn before a plural",
    )


def _valid(family: Family, values: dict[str, Number]) -> bool:
    """Add the results to `values`; False as soon as a condition or a result does not hold."""
    try:
        for condition in family.where:
            if not condition.holds(values):
                return False
        for step in family.steps:
            value = plain(step.evaluate(values))
            if not 0 <= value <= LARGEST or DECIMALS % value.denominator:
                return False
            values[step.result] = value
    except ZeroDivisionError:
        return False
    return values[family.answer] > 0 and not any(values[name] == 1 for name in family.never_one)
