"""The common slips: what a pupil's number would be if one step had gone wrong in one known way.

Each step's expression is changed (another operation on the same two numbers, the step left out,
the percent of another number, a percent not taken of a hundred), and the rest is worked out.
"""

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from lorid_local.practice import expressions
from lorid_local.practice.expressions import Malformed
from lorid_local.tutor.task import Task

Kind = Literal["operation", "order", "left out", "percent", "hundred", "ten"]
OPERATIONS: dict[type[ast.operator], str] = {
    ast.Add: "added", ast.Sub: "subtracted", ast.Mult: "multiplied", ast.Div: "divided",
}  # fmt: skip
MOST_FACTORS = 3  # of 10, either way


@dataclass(frozen=True)
class Slip:
    """One slip at a step; `did` is what was done to `numbers`, for an operation and its order."""

    kind: Kind
    step: int
    did: str = ""
    numbers: tuple[Fraction, ...] = ()


def find(task: Task, value: Fraction) -> Slip | None:
    """Return the likeliest slip that gives `value`, a wrong answer; None if none does.

    Slips of later steps count first: a pupil who is near the end has made fewer.
    """
    found = [slip for made, slip in _made(task) if made == value]
    order: tuple[Kind, ...] = ("operation", "order", "percent", "hundred", "left out")
    found.sort(key=lambda slip: (order.index(slip.kind), -slip.step))
    if found:
        return found[0]
    if value and task.answer:
        ratios = [Fraction(10) ** power for power in range(1, MOST_FACTORS + 1)]
        if value / task.answer in {*ratios, *(1 / ratio for ratio in ratios)}:
            return Slip("ten", max(0, len(task.steps) - 1))
    return None


def _made(task: Task) -> Iterator[tuple[Fraction, Slip]]:
    """Yield each slip with the result it gives at once, and with the answer it leads to."""
    right = {step.value for step in task.steps}
    for index in range(len(task.steps)):
        for expression, slip in _variants(task, index):
            values = _worked(task, index, expression)
            for made in {values[0], values[-1]} - right if values else ():
                yield made, slip


def _worked(task: Task, index: int, expression: str) -> list[Fraction]:
    """Return the results from step `index` on, done by `expression`; [] where it cannot be."""
    known: dict[str, expressions.Number] = {**task.numbers}
    known.update((step.result, step.value) for step in task.steps[:index])
    made: list[Fraction] = []
    try:
        for step in task.steps[index:]:
            text = step.expression if made else expression
            made.append(Fraction(expressions.number(text, known)(known)))
            known[step.result] = made[-1]
    except (Malformed, ZeroDivisionError):
        return []
    return made


def _variants(task: Task, index: int) -> Iterator[tuple[str, Slip]]:
    step = task.steps[index]
    known: dict[str, Fraction] = {**task.numbers}
    known.update((earlier.result, earlier.value) for earlier in task.steps[:index])
    try:
        tree = ast.parse(step.expression, mode="eval").body
    except (SyntaxError, ValueError):
        return
    for name in sorted(step.needs):
        yield name, Slip("left out", index)
    for node in ast.walk(tree):
        if not isinstance(node, ast.BinOp):
            continue
        if product := percent_of(node):
            yield _with(tree, node, product), Slip("hundred", index)
            yield from _percents(tree, product, index, known)
        elif not _of_hundred(node):
            yield from _operations(tree, node, index, known)


def _operations(
    tree: ast.expr, node: ast.BinOp, index: int, known: Mapping[str, Fraction]
) -> Iterator[tuple[str, Slip]]:
    left, right = node.left, node.right
    numbers = _values(left, known) + _values(right, known)
    for operation, did in OPERATIONS.items():
        if not isinstance(node.op, operation):
            text = _with(tree, node, ast.BinOp(left, operation(), right))
            yield text, Slip("operation", index, did, numbers)
    if isinstance(node.op, ast.Sub | ast.Div):
        text = _with(tree, node, ast.BinOp(right, node.op, left))
        yield text, Slip("order", index, OPERATIONS[type(node.op)], numbers)


def _percents(
    tree: ast.expr, product: ast.BinOp, index: int, known: Mapping[str, Fraction]
) -> Iterator[tuple[str, Slip]]:
    """The percent of every other number."""
    for base in (product.left, product.right):
        for name in known:
            if isinstance(base, ast.Name) and name != base.id:
                yield _with(tree, base, ast.Name(name)), Slip("percent", index)


def percent_of(node: ast.BinOp) -> ast.BinOp | None:
    """Return 'a * p' of 'a * p / 100', None for anything else."""
    hundred = isinstance(node.right, ast.Constant) and node.right.value == 100
    if hundred and isinstance(node.op, ast.Div) and isinstance(node.left, ast.BinOp):
        return node.left if isinstance(node.left.op, ast.Mult) else None
    return None


def _of_hundred(node: ast.BinOp) -> bool:
    return any(isinstance(s, ast.Constant) and s.value == 100 for s in (node.left, node.right))


def _values(node: ast.expr, known: Mapping[str, Fraction]) -> tuple[Fraction, ...]:
    """Return the value of a name or a number; () for what is itself a calculation."""
    if isinstance(node, ast.Name):
        return (known[node.id],)
    if isinstance(node, ast.Constant):
        return (Fraction(str(node.value)),)
    return ()


def _with(tree: ast.expr, old: ast.expr, new: ast.expr) -> str:
    """Return the text of `tree` with `new` in the place of `old`."""
    return ast.unparse(_exchanged(tree, old, new))


def _exchanged(tree: ast.expr, old: ast.expr, new: ast.expr) -> ast.expr:
    if tree is old:
        return new
    if isinstance(tree, ast.BinOp):
        left, right = (_exchanged(side, old, new) for side in (tree.left, tree.right))
        return ast.BinOp(left, tree.op, right)
    return tree
