"""A problem with its numbers taken out: what `tracing` makes and `redraw` fills.

Plain frozen data, so that it can be sent to another process.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from lorid_train.expressions import Expression, Number, Value, divide, plain
from lorid_train.mentions import Style

Derived = Literal["", "/100", "1-", "1+", "100-", "100+"]


@dataclass(frozen=True)
class Symbol:
    """Where a number comes from: a variable, an earlier step's result, or nowhere ('const').

    `derived` says how it follows from a percent p: p/100, 1-p/100, 1+p/100, 100-p or 100+p.
    """

    kind: Literal["var", "res", "const"]
    index: int = 0
    value: Fraction = Fraction(0)
    derived: Derived = ""


@dataclass(frozen=True)
class Variable:
    """A number of the question that may change, and how it was written.

    `most` is the largest value that the words around it allow (days in a week), 0 for any.
    """

    value: Fraction
    percent: bool = False
    money: bool = False
    word: bool = False
    decimals: int = 0
    most: int = 0


@dataclass(frozen=True)
class Step:
    """One `<<expression=result>>`; an operand a symbol each. `most` limits the result, 0: no."""

    expression: Expression
    operands: tuple[Symbol, ...]
    result: Fraction
    style: Style
    most: int = 0


@dataclass(frozen=True)
class Shown:
    """A number put into a text. `step` of 0 or more stands for that step's whole `<<...>>`."""

    symbol: Symbol
    style: Style
    step: int = -1


Pieces = tuple[str | Shown, ...]


@dataclass(frozen=True)
class Template:
    """`prose` is None where a number of the solution's words could mean two things.

    `order` holds pairs (variable, number that stays) whose order is kept.
    """

    id: int | str
    question: Pieces
    prose: Pieces | None
    steps: tuple[Step, ...]
    variables: tuple[Variable, ...]
    order: tuple[tuple[int, Fraction], ...]
    knowledge: tuple[str, ...]


_DERIVE = {
    "/100": (0, 1, 100), "1-": (100, -1, 100), "1+": (100, 1, 100),
    "100-": (100, -1, 1), "100+": (100, 1, 1),
}  # fmt: skip


def derive(how: Derived, percent: Number) -> Number:
    """Return what `how` makes of a percent."""
    if not how:
        return percent
    add, sign, below = _DERIVE[how]
    return divide(add + sign * percent, below)


def value_of(symbol: Symbol, values: Sequence[Number], results: Sequence[Number]) -> Number:
    """Return a symbol's value for drawn `values` and the `results` they give."""
    return getter(symbol)(values, results)


def getter(symbol: Symbol) -> Value:
    """Return the function that finds a symbol's value."""
    index, how = symbol.index, symbol.derived
    if symbol.kind == "const":
        constant = plain(symbol.value)
        return lambda v, r: constant
    if symbol.kind == "res":
        return lambda v, r: r[index]
    if how:
        return lambda v, r: derive(how, v[index])
    return lambda v, r: v[index]
