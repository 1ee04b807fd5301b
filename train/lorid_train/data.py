"""Reads GSM8K and its rules into role examples; every chain is checked by exact arithmetic.

Needs no torch. What is left out is counted by reason, never dropped in silence.
"""

import json
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lorid_local import arithmetic, prompts
from lorid_local.engine import Part, Role
from lorid_local.errors import TrainError
from lorid_train.recipe import Data

MARKER = "#### "


@dataclass(frozen=True)
class Row:
    """A problem with its worked solution, its final answer and its general rules."""

    id: int
    question: str
    rationale: str
    answer: str
    knowledge: tuple[str, ...]


@dataclass(frozen=True)
class Example:
    """One training example of a role: a prompt and the text the role must write."""

    id: int
    prompt: tuple[Part, ...]
    target: str


@dataclass
class Examples:
    """The examples of a role, with what was left out and why."""

    kept: list[Example] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)


def build(
    data: Data,
    root: Path,
    role: Role,
    profile: prompts.Profile,
    imperfect_rules: float = 0.0,
    seed: int = 0,
) -> Examples:
    """Return the examples of `role` from the files of `data` below `root`.

    A share `imperfect_rules` of DR's examples gets rules as a weak KG would write them;
    which and how is drawn from `seed` and the example's id alone.
    """
    examples = Examples()
    excluded = _excluded(data, root)
    everything = list(rows(data, root))
    examples.left_out.update(excluded[row.id] for row in everything if row.id in excluded)
    usable = [row for row in everything if row.id not in excluded]
    for row in usable:
        target = _TARGETS[role](row)
        if target is None:
            examples.left_out["no verified chain"] += 1
            continue
        knowledge: tuple[str, ...] = ()
        if role is Role.DR:
            rng = random.Random(f"{seed} {row.id}")
            knowledge = row.knowledge
            if rng.random() < imperfect_rules:
                knowledge = spoiled(knowledge, rng.choice(usable).knowledge, rng)
        if role is not Role.IR and not row.knowledge:
            examples.left_out["no rules"] += 1
            continue
        prompt = profile.parts(role, row.question, knowledge)
        examples.kept.append(Example(row.id, prompt, target))
    if not examples.kept:
        raise TrainError(f"no examples for {role}: {dict(examples.left_out)}", hint="check --data")
    return examples


def spoiled(rules: tuple[str, ...], others: tuple[str, ...], rng: random.Random) -> tuple[str, ...]:
    """Return `rules` as a weak KG would write them, so that DR learns to do without.

    One of: none at all, some missing, in another order, one of `others` in a rule's place, or
    `others` altogether.
    """
    kind = rng.choice(("none", "missing", "shuffled", "foreign", "replaced"))
    if kind == "none":
        return ()
    if kind == "missing":
        return tuple(rule for rule in rules if rng.random() < 0.5)
    if kind == "shuffled":
        return tuple(rng.sample(rules, len(rules)))
    if kind == "foreign" or not others or not rules:
        return others
    at = rng.randrange(len(rules))
    return (*rules[:at], rng.choice(others), *rules[at + 1 :])


def rows(data: Data, root: Path) -> Iterator[Row]:
    """Yield the problems in file order, each with its rules (none where the file has none)."""
    knowledge = {
        r["id"]: r["knowledge"] for _, r in _jsonl(root / data.knowledge, {"id", "knowledge"})
    }
    for line, record in _jsonl(root / data.questions, {"question", "answer"}):
        rationale, marker, answer = record["answer"].rpartition(MARKER)
        if not marker:
            raise TrainError(
                f"{root / data.questions}:{line + 1}: the answer has no {MARKER!r} line"
            )
        rules = prompts.rules("\n".join(knowledge.get(line, ())))
        question = prompts.tidy(record["question"])
        yield Row(line, question, rationale.strip(), answer.strip(), rules)


def equations(row: Row) -> str | None:
    """Return the terse chain `<<48/2=24>>` a line, then the answer; None unless it verifies.

    It verifies when every step's arithmetic holds and the last result is the answer.
    """
    steps = arithmetic.steps(row.rationale)
    if not _verified(row, steps):
        return None
    chain = [f"<<{expression.replace(' ', '')}={shown}>>" for expression, shown in steps]
    return "\n".join([*chain, _marked(row)])


def prose(row: Row) -> str | None:
    """Return the worked solution in words with its `<<>>` steps; None unless it verifies."""
    if not _verified(row, arithmetic.steps(row.rationale)):
        return None
    lines = (" ".join(line.split()) for line in row.rationale.splitlines())
    return "\n".join([*(line for line in lines if line), _marked(row)])


def _rules(row: Row) -> str | None:
    return "\n".join(row.knowledge) or None


_TARGETS = {Role.IR: equations, Role.KG: _rules, Role.DR: prose}


def _marked(row: Row) -> str:
    return MARKER + row.answer.replace(",", "")


def _verified(row: Row, steps: list[tuple[str, str]]) -> bool:
    if not steps or arithmetic.false_steps(row.rationale):
        return False
    try:
        return arithmetic.parse_number(steps[-1][1]) == arithmetic.parse_number(row.answer)
    except arithmetic.Malformed:
        return False


def _excluded(data: Data, root: Path) -> dict[int, str]:
    """Map each excluded line to its reason."""
    excluded = {}
    if data.errata:
        errata = _read_json(root / data.errata)
        excluded = {i: f"errata: {kind}" for kind, ids in errata.items() for i in ids}
    for name in data.leave_out:
        for text in _text(root / name).split():
            if not text.isdigit():
                raise TrainError(f"{root / name}: expected a line number, got {text!r}")
            excluded[int(text)] = name
    return excluded


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise TrainError(
            f"{path}: {error.strerror}", hint="give the data folder with --data"
        ) from None


def _read_json(path: Path) -> Any:
    try:
        return json.loads(_text(path))
    except json.JSONDecodeError as error:
        raise TrainError(f"{path}: not JSON: {error}") from None


def _jsonl(path: Path, keys: set[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(_text(path).splitlines()):
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise TrainError(f"{path}:{number + 1}: not JSON: {error}") from None
        if not isinstance(record, dict) or not keys <= record.keys():
            wanted = ", ".join(sorted(keys))
            raise TrainError(f"{path}:{number + 1}: expected an object with {wanted}")
        yield number, record
