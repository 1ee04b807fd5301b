"""Exact values of the families' expressions and conditions, compiled once. No `eval`.

Knows + - * / // % of Python on rationals, comparisons, and/or/not, brackets, names and decimals;
nothing else of what `ast` can read is let through.
"""

import ast
import operator
import re
from collections.abc import Callable, Collection, Mapping
from fractions import Fraction
from typing import Any

Number = int | Fraction
Values = Mapping[str, Number]
Evaluate = Callable[[Values], Number]
Check = Callable[[Values], bool]

MAX_LENGTH = 200
_DECIMAL = re.compile(r"\d+(?:\.\d+)?")


class Malformed(ValueError):
    """The text is no expression that this module knows; the argument is the reason."""


def number(text: str, names: Collection[str]) -> Evaluate:
    """Compile an expression such as 'm * p / 100' over `names`; raises Malformed.

    The compiled function takes the names' values; it raises ZeroDivisionError.
    """
    return _number(_parsed(text), text, names)


def condition(text: str, names: Collection[str]) -> Check:
    """Compile a condition such as 'a % 2 == 0 and a > b' over `names`; raises Malformed.

    The compiled function takes the names' values; it raises ZeroDivisionError.
    """
    return _condition(_parsed(text), text, names)


def plain(value: Number) -> Number:
    """Return a whole `value` as an int: its arithmetic is many times faster than Fraction's."""
    return value.numerator if value.denominator == 1 else value


def _parsed(text: str) -> ast.expr:
    if len(text) > MAX_LENGTH:
        raise Malformed(f"longer than {MAX_LENGTH} characters: {text[:40]!r}...")
    try:
        return ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        raise Malformed(f"not an expression: {text!r}") from None


def _divide(left: Number, right: Number) -> Number:
    if isinstance(left, int) and isinstance(right, int) and not left % right:
        return left // right
    return plain(Fraction(left, right))


_OPERATIONS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: _divide,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}


def _number(node: ast.expr, text: str, names: Collection[str]) -> Evaluate:
    match node:
        case ast.Name(id=name) if name in names:
            return operator.itemgetter(name)
        case ast.Name(id=name):
            raise Malformed(f"unknown name {name!r} in {text!r}")
        case ast.Constant():
            value = _constant(node, text)
            return lambda values: value
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            inner = _number(operand, text, names)
            return lambda values: -inner(values)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATIONS:
            return _binary(
                _OPERATIONS[type(op)],
                _number(left, text, names),
                _number(right, text, names),
            )
    raise Malformed(f"{ast.unparse(node)!r} is no number in {text!r}")


def _binary(operation: Callable[[Any, Any], Any], left: Evaluate, right: Evaluate) -> Evaluate:
    return lambda values: operation(left(values), right(values))


def _constant(node: ast.Constant, text: str) -> Number:
    source = ast.get_source_segment(text.strip(), node) or ""
    if not _DECIMAL.fullmatch(source):  # 1e9, 0x10, 1_000, True, "a"
        raise Malformed(f"{source} is no decimal in {text!r}")
    return plain(Fraction(source))  # of the text: the parser's own float is not exact


def _condition(node: ast.expr, text: str, names: Collection[str]) -> Check:
    match node:
        case ast.Compare(left=left, ops=ops, comparators=others) if all(
            type(op) in _COMPARISONS for op in ops
        ):
            sides = [_number(side, text, names) for side in (left, *others)]
            pairs = zip(ops, sides, sides[1:], strict=False)
            return _every([_compared(_COMPARISONS[type(op)], a, b) for op, a, b in pairs])
        case ast.BoolOp(op=op, values=parts):
            checks = [_condition(part, text, names) for part in parts]
            return _every(checks) if isinstance(op, ast.And) else _some(checks)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            inner = _condition(operand, text, names)
            return lambda values: not inner(values)
    raise Malformed(f"{ast.unparse(node)!r} is no condition in {text!r}")


def _compared(comparison: Callable[[Any, Any], bool], left: Evaluate, right: Evaluate) -> Check:
    return lambda values: comparison(left(values), right(values))


def _every(checks: list[Check]) -> Check:
    if len(checks) == 1:
        return checks[0]
    return lambda values: all(check(values) for check in checks)


def _some(checks: list[Check]) -> Check:
    return lambda values: any(check(values) for check in checks)
