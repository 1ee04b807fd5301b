"""Problems with rules, or a built folder, as role examples; chains are checked by exact arithmetic.

Needs no torch. What is left out is counted by reason, never dropped in silence.
"""

import random
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from lorid_local import arithmetic, prompts
from lorid_local.engine import Part, Role
from lorid_local.errors import TrainError
from lorid_train import built, rows
from lorid_train.recipe import Data
from lorid_train.rows import MARKER, Row


@dataclass(frozen=True)
class Example:
    """One training example of a role: a prompt and the text the role must write."""

    id: int | str
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
    if data.built:
        if imperfect_rules:
            raise TrainError(
                "imperfect_rules is for a recipe without built data",
                hint="set it in the data recipe and build again",
            )
        return _ready(root / data.built, role, profile)
    excluded = rows.excluded(root, data.leave_out, data.errata)
    everything = list(rows.read(root, data.questions, "gsm8k", data.knowledge))
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


def _ready(folder: Path, role: Role, profile: prompts.Profile) -> Examples:
    """Return the examples of a built folder: all that is left to do is the prompt."""
    examples = Examples()
    for record in built.records(folder, role.value):
        prompt = profile.parts(role, record["prompt_question"], record["knowledge"])
        examples.kept.append(Example(record["id"], prompt, record["target"]))
    if not examples.kept:
        raise TrainError(f"{folder}: no rows for {role}", hint="give it a count in the data recipe")
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


def rules(row: Row) -> str | None:
    """Return the rules, one a line; None if there are none."""
    return "\n".join(row.knowledge) or None


_TARGETS = {Role.IR: equations, Role.KG: rules, Role.DR: prose}


def _marked(row: Row) -> str:
    return MARKER + row.answer.replace(",", "")


def _verified(row: Row, steps: list[tuple[str, str]]) -> bool:
    if not steps or arithmetic.false_steps(row.rationale):
        return False
    try:
        return arithmetic.parse_number(steps[-1][1]) == arithmetic.parse_number(row.answer)
    except arithmetic.Malformed:
        return False
