"""What the tutor promises, held against many practice problems: marking, hints, no answer given.

The tests run a sample; `python -m tests.tutor_reach 2000` runs as many as one likes. How numbers
are spelled here owes nothing to lorid_local.tutor.leaks, so that a fault there cannot hide.
"""

import random
import re
import sys
import time
from collections.abc import Iterable, Iterator
from fractions import Fraction

from lorid_local.practice.bank import Bank
from lorid_local.practice.families import Families, load
from lorid_local.tutor import task as tasks
from lorid_local.tutor.session import Session
from lorid_local.tutor.state import Effect, Given, Line, Record, Say, State
from lorid_local.tutor.task import Task

UNITS = re.findall(
    r"\w+",
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen"
    " sixteen seventeen eighteen nineteen",
)
TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
PARTS = {2: "half", 3: "third", 4: "quarter", 5: "fifth", 10: "tenth"}
ENOUGH = 3  # hints before the answer


def words(n: int) -> str:
    """Return a whole number below a million in words: 'one hundred and five'."""
    if n >= 1000:
        rest = n % 1000
        joint = " and " if 0 < rest < 100 else " "
        return f"{words(n // 1000)} thousand" + (joint + words(rest) if rest else "")
    if n >= 100:
        return f"{UNITS[n // 100]} hundred" + (f" and {words(n % 100)}" if n % 100 else "")
    if n >= 20:
        return TENS[n // 10 - 2] + (f"-{UNITS[n % 10]}" if n % 10 else "")
    return UNITS[n]


def spellings(value: Fraction) -> list[str]:
    """Return a non-negative number of at most two decimals as people may write it."""
    whole, part = divmod(value, 1)
    found: list[str] = []
    if not part:
        found += [f"{whole}", f"{whole:,}", f"{whole}.0", f"{whole}.00"]
        found += [words(whole)] if whole < 10**6 else []
    else:
        cents = f"{int(100 * part):02d}"
        found += [f"{whole}.{cents}", f"{whole:,}.{cents}", f"{whole}.{cents.rstrip('0')}"]
        found += [f"{value.numerator}/{value.denominator}"]
        if whole:
            found += [f"{whole} {part.numerator}/{part.denominator}"]
        else:
            found += [f".{cents}"]
            if part.numerator == 1 and part.denominator in PARTS:
                found += [f"a {PARTS[part.denominator]}", f"one {PARTS[part.denominator]}"]
        if part == Fraction(1, 2) and 0 < whole < 100:
            found.append(f"{words(whole)} and a half")
    return list(dict.fromkeys(found))


def typed_ways(task: Task) -> list[str]:
    """Return the answer's spellings with what pupils put around them."""
    plain = spellings(task.answer)
    dollars = spellings(task.answer / 100)[0] if task.money == "cents" else plain[0]
    return [*plain, f"${dollars}", f"{plain[0]} apples", f"i think {plain[0]}", f" {plain[0]}. ",
            f"= {plain[0]}", f"it's {plain[-1]}!", plain[-1].upper()]  # fmt: skip


def stated(value: Fraction, text: str) -> str | None:
    """Return the spelling by which `text` states `value`, None if it does not."""
    ways = spellings(value)
    percent = spellings(100 * value)
    ways += [f"{way}%" for way in percent] + [f"{way} percent" for way in percent]
    for way in ways:
        if re.search(rf"(?<![\w.,-]){re.escape(way)}(?!\w|-\w|[.,]\d)", text, re.I):
            return way
    return None


def said(effects: Iterable[Effect]) -> list[Say]:
    return [effect for effect in effects if isinstance(effect, Say)]


def leaks(task: Task, effects: Iterable[Effect], typed: Iterable[str] = ()) -> list[str]:
    """Return the texts that state the answer though neither the question nor the pupil did."""
    if any(stated(task.answer, text) for text in (task.question, *typed)):
        return []
    tutoring = [say for say in said(effects) if say.tone not in ("about", "heading")]
    return [say.text for say in tutoring if stated(task.answer, say.text)]


def problems(families: Families, count: int, seed: int = 0) -> Iterator[Task]:
    bank = Bank(families, seed=seed)
    for _ in range(count):
        problem = next(bank)
        yield tasks.of_practice(families.family(problem.family), problem)


def faults(session: Session, task: Task, rng: random.Random) -> list[str]:
    """Return where the tutor breaks a promise on this problem."""
    found = []
    start, _ = session.step(session.start(), Given(task))
    for way in typed_ways(task):
        _, effects = session.step(start, Line(way))
        if not any(isinstance(e, Record) and e.result == "first" for e in effects):
            found.append(f"{way!r} was not marked right: {task.question}")
    count = 0
    state: State = start
    shown: list[str] = []
    while True:
        state, effects = session.step(state, Line("/hint"))
        texts = [say.text for say in said(effects)]
        found += [f"leak: {text!r}: {task.question}" for text in leaks(task, effects)]
        if texts == shown:
            break
        shown, count = texts, count + 1
    if count - 1 < ENOUGH:  # the last one says that there are no more
        found.append(f"only {count - 1} hints: {task.question}")
    for wrong in wrongs(task, rng):
        after, effects = session.step(start, Line(wrong))
        found += [f"leak: {text!r} to {wrong!r}" for text in leaks(task, effects, [wrong])]
        if after.over:
            found.append(f"{wrong!r} was marked right: {task.question}")
    return found


def wrongs(task: Task, rng: random.Random) -> list[str]:
    values = [step.value for step in task.steps[:-1]] + list(task.numbers.values())
    values += [task.answer * 10, task.answer / 10, task.answer + 1, Fraction(rng.randrange(10**4))]
    a, b = rng.choices(values, k=2)
    values += [a + b, a * b, abs(a - b)]
    fit = [v for v in values if (100 * v).denominator == 1 and v >= 0 and v != task.answer]
    return [spellings(value)[0] for value in fit]


def main(count: int) -> int:
    families = load()
    session, rng = Session(families), random.Random(0)
    found: list[str] = []
    started = time.process_time()
    for task in problems(families, count):
        found += faults(session, task, rng)
    print(f"{count} problems, {len(found)} faults, {time.process_time() - started:.1f} s of CPU")
    print("\n".join(found[:20]))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 2000))
