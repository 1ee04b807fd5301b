"""The problems to measure on, each with its right answer, from files in five formats or families.

GSM8K, SVAMP, MAWPS (as PAL publishes it), the authors' rows and plain {"question", "answer"} are
told apart by their keys. Knows nothing of samples.
"""

import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

from lorid_local import arithmetic, hub_cache, problems
from lorid_local.answers import Answer, Unparsed, find, read
from lorid_local.errors import InputError
from lorid_local.practice import families
from lorid_local.practice.bank import Bank
from lorid_local.prompts import tidy

PRACTICE = "practice:"
PRACTICE_COUNT = 200  # problems of the families, where no count is given
FORMATS = (
    'GSM8K, SVAMP, MAWPS {"input", "target"}, LoRID\'s rows or {"question", "answer"}, as .jsonl '
    "or a .json list"
)
_EQUATION = re.compile(r"[-+*/]")


@dataclass(frozen=True)
class Case:
    """A problem and its right answer. `steps` are the worked solution's expressions, if known.

    `rules` are a teacher's; `topic` and `grade` those of the families.
    """

    id: Any
    question: str
    gold: Answer
    steps: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()
    topic: str = ""
    grade: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return what a file of samples keeps of it."""
        record: dict[str, Any] = {"id": self.id, "question": self.question}
        record |= {"gold": self.gold.shown, "steps": list(self.steps), "rules": list(self.rules)}
        return record | {"topic": self.topic, "grade": self.grade}


def from_dict(record: dict[str, Any]) -> Case:
    """Return the case that `as_dict` wrote."""
    return Case(
        record["id"],
        record["question"],
        _gold(record["gold"]),
        tuple(record["steps"]),
        tuple(record["rules"]),
        record["topic"],
        record["grade"],
    )


@dataclass(frozen=True)
class Choice:
    """Which problems of the data: those on the 0-based `lines` of a file, in its order, and of
    them `count` behind the first `skip`. `rules` is a file of the teacher's rules by id.
    """

    count: int | None = None
    skip: int = 0
    lines: Path | None = None
    rules: Path | None = None
    seed: int = 0


def load(data: str, choice: Choice) -> list[Case]:
    """Return the chosen problems of `data`: a file, an id in the hub's cache or 'practice:TOPIC'.

    Raises InputError naming the faulty rows; nothing is measured then.
    """
    if data.startswith(PRACTICE):
        if choice.lines or choice.rules:
            given = "--lines" if choice.lines else "--rules-file"
            raise InputError(
                f"{given} was given with {PRACTICE.rstrip(':')} problems, not a file of problems",
                hint="choose with --count and --skip; the families bring their own rules",
            )
        return list(_practice(data.removeprefix(PRACTICE), choice))
    path = Path(data) if Path(data).exists() else hub_cache.find(data)
    every = _rows(path)
    rows = _chosen(every, choice, path)
    rules = _rules(choice.rules) if choice.rules else {}
    faults: list[str] = []
    cases = [c for number, row in rows if (c := _case(number, row, rules, faults))]
    if faults:
        more = f" and {len(faults) - problems.SHOWN} more" if len(faults) > problems.SHOWN else ""
        raise InputError(
            f"{path}: " + "; ".join(faults[: problems.SHOWN]) + more, hint=f"expected {FORMATS}"
        )
    if every and not rows:
        raise InputError(
            f"{path}: --skip {choice.skip} leaves none of its {len(every)} problems",
            hint="lower --skip, or leave --lines out",
        )
    if not cases:
        raise InputError(f"{path}: holds no problems to measure on", hint=f"expected {FORMATS}")
    return cases


def _rows(path: Path) -> list[Any]:
    """Return the objects of a JSON list or of JSON lines."""
    try:
        text = problems.checked(path.read_bytes(), str(path))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}", hint="check DATA") from None
    try:
        if text.lstrip().startswith("["):
            rows: list[Any] = json.loads(text)
            return rows
    except (ValueError, RecursionError):
        raise InputError(f"{path}: not valid JSON", hint=f"expected {FORMATS}") from None
    return [problems.parsed(line) for line in text.split("\n") if line.strip()]


def _chosen(rows: list[Any], choice: Choice, path: Path) -> list[tuple[int, Any]]:
    numbers = list(range(len(rows)))
    if choice.lines:
        numbers = _numbers(choice.lines)
        if wrong := [n for n in numbers if not 0 <= n < len(rows)]:
            raise InputError(
                f"{choice.lines}: line {wrong[0]} is not in {path}, which has 0 to {len(rows) - 1}",
                hint="give the file that the numbers were made for",
            )
    end = None if choice.count is None else choice.skip + choice.count
    return [(n, rows[n]) for n in numbers[choice.skip : end]]


def _numbers(path: Path) -> list[int]:
    try:
        return [int(word) for word in path.read_text(encoding="utf-8").split()]
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}", hint="check --lines") from None
    except ValueError:
        raise InputError(f"{path}: expected 0-based line numbers", hint="check --lines") from None


def _rules(path: Path) -> dict[Any, tuple[str, ...]]:
    found: dict[Any, tuple[str, ...]] = {}
    for number, row in enumerate(_rows(path), 1):
        match row:
            case {"id": int() | str() as id, "knowledge": [*rules]} if _texts(rules):
                found[id] = tuple(rules)
            case _:
                raise InputError(
                    f'{path}: row {number} has no "id" and "knowledge"', hint="check --rules-file"
                )
    return found


def _texts(items: Sequence[Any]) -> bool:
    return all(isinstance(item, str) for item in items)


def _case(
    number: int, row: Any, rules: dict[Any, tuple[str, ...]], faults: list[str]
) -> Case | None:
    """Return a row as a case; a fault that names its line, the first is 1, is added where it is
    none."""
    line = f"line {number + 1}"
    if not isinstance(row, dict):
        faults.append(f"{line} is no JSON object")
        return None
    question, gold, steps = _read(row)
    own_id = row.get("id", row.get("ID"))
    id: Any = own_id if isinstance(own_id, int | str) else number
    if not isinstance(question, str) or not tidy(question):
        faults.append(f"{line} has no question")
        return None
    if gold is None:
        faults.append(f"{line} has no answer")
        return None
    answer = _gold(gold)
    if isinstance(answer, Unparsed):
        faults.append(f"{line} has no answer that can be read ({answer.reason})")
        return None
    own = row.get("knowledge", [])
    known = rules.get(id, tuple(own) if isinstance(own, list) and _texts(own) else ())
    return Case(id, tidy(question), answer, steps, known)


def _read(row: Any) -> tuple[Any, Any, tuple[str, ...]]:
    """Return question, answer and steps of a row, told apart by its keys."""
    match row:
        case {"Body": str(body), "Question": str(asked), "Answer": answer}:  # SVAMP
            dot = "" if body.rstrip().endswith((".", "?", "!")) else "."
            return f"{body}{dot} {asked}", answer, _operations(str(row.get("Equation", "")))
        case {"input": question, "target": answer}:  # MAWPS, as PAL has it
            return question, answer, ()
        case {"question": question, "rationale": str(rationale)}:  # the authors'
            return question, row.get("answer", rationale), ()
        case {"question": question, "answer": str(answer)} if "####" in answer:  # GSM8K
            return question, answer, tuple(left for left, _ in arithmetic.steps(answer))
        case {"question": question}:
            return question, row.get("answer"), ()
    return None, None, ()


def _operations(equation: str) -> tuple[str, ...]:
    """Return '( 76.0 - 25.0 ) * 2' as one step an operation; only their kinds are ever used."""
    return tuple(_EQUATION.findall(equation))


def _gold(value: Any) -> Any:
    """Return the right answer, an Answer, or Unparsed.

    A number in JSON may be a fraction cut to ten decimals or so: 0.6666666667 is 2/3.
    """
    known = isinstance(value, int | float | str) and not isinstance(value, bool)
    if not known or (isinstance(value, float) and not math.isfinite(value)):
        return Unparsed(f"{value!r} is no number and no text")
    if isinstance(value, str):
        marked = find(value, marked_only=True)
        return marked if isinstance(marked, Answer) else read(value)
    text = str(value)
    exact = Fraction(text)
    decimals = len(text.partition(".")[2])
    if decimals > 6:
        near = exact.limit_denominator(1000)
        if abs(near - exact) <= Fraction(1, 2 * 10**decimals):
            exact = near
    return Answer(exact, text)


def _practice(topic: str, choice: Choice) -> Iterator[Case]:
    bank = Bank(families.load(), topic=topic or None, seed=choice.seed)
    count = PRACTICE_COUNT if choice.count is None else choice.count
    for problem in islice(bank, choice.skip, choice.skip + count):
        yield Case(
            f"{problem.family}/{problem.seed}",
            tidy(problem.question),
            Answer(problem.answer, problem.answer_text),
            tuple(step.calculation for step in problem.steps),
            problem.knowledge,
            problem.topic,
            problem.grade,
        )
