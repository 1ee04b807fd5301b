"""The hint ladder: rules, then each step's operation and the step worked, never the answer.

Point, teach, bottom out (VanLehn, 2006); the answer itself is no rung. What would tell it, as
where a step on the way comes to the same number, is left out.
"""

import ast
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from lorid_local.tutor import leaks
from lorid_local.tutor.slips import percent_of
from lorid_local.tutor.task import Step, Task

Kind = Literal["rule", "operation", "worked"]
_VERBS: dict[type[ast.AST], str] = {
    ast.Add: "add", ast.Sub: "subtract", ast.Mult: "multiply", ast.Div: "divide",
    ast.FloorDiv: "divide and drop the remainder",
}  # fmt: skip


@dataclass(frozen=True)
class Rung:
    """One hint. `step` is the index of the step it is about, as far as that is known."""

    kind: Kind
    text: str
    step: int | None = None


def rungs(task: Task) -> list[Rung]:
    """Return the hints in their order, at least three for a practice problem."""
    rules = [Rung("rule", rule, _about(task, i)) for i, rule in enumerate(task.rules)]
    found = [rung for rung in rules if not tells(task, rung.text)]
    for index in range(len(task.steps)):
        found += _of_step(task, index)
    return found


def next_rung(ladder: list[Rung], at: int, found: Collection[int]) -> int | None:
    """Return the index of the next hint at or after `at` that is not about a step found already."""
    return next((i for i in range(at, len(ladder)) if ladder[i].step not in found), None)


def tells(task: Task, text: str) -> bool:
    """True if `text` states the answer, and that number does not stand in the question."""
    return task.answer in leaks.values(text) and task.answer not in visible(task)


def visible(task: Task) -> set[Fraction]:
    """Return the numbers that stand in the question."""
    return leaks.values(task.question) | set(task.numbers.values())


def operation(step: Step) -> str:
    """Return what a step does, without its numbers: 'multiply, then add', 'find the percent'."""
    try:
        verbs = list(dict.fromkeys(_verbs(ast.parse(step.expression, mode="eval").body)))
    except (SyntaxError, ValueError):
        verbs = []
    return ", then ".join(verbs) or "work it out"


def _about(task: Task, rule: int) -> int | None:
    """Return the step that a family's rule is about: both stand in the order of the solution."""
    if task.source is None:
        return None
    return rule * len(task.steps) // len(task.rules)


def _of_step(task: Task, index: int) -> Iterator[Rung]:
    step, last = task.steps[index], index == len(task.steps) - 1
    name = "Last step" if last else "Next step" if index else "First step"
    does = f"{name}: {operation(step)}."
    with_numbers = f"{name}: {operation(step)}. Work out {step.calculation}."
    told = tells(task, with_numbers)
    if last:
        yield Rung("operation", does, index)
    if not (last and told):
        yield Rung("operation", does if told else with_numbers, index)
    if not last and step.value != task.answer and not tells(task, step.sentence):
        yield Rung("worked", step.sentence, index)


def _verbs(node: ast.AST) -> Iterator[str]:
    """Yield the operations in the order they are done in."""
    if not isinstance(node, ast.BinOp):
        return
    if product := percent_of(node):
        yield from (*_verbs(product.left), *_verbs(product.right), "find the percent")
        return
    yield from (*_verbs(node.left), *_verbs(node.right), _VERBS.get(type(node.op), "work it out"))
