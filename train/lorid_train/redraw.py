"""Draws new numbers for a template under the problem's own conditions, and writes it out again.

What was whole stays whole, what was below one stays below one, signs stay, sizes stay within
LEAST and MOST times the old; money keeps two decimals. Every row is checked by `verified`.
"""

import random
from collections.abc import Iterator, Sequence
from fractions import Fraction
from math import ceil, floor, log10
from typing import NamedTuple

from lorid_local import arithmetic
from lorid_train.expressions import Number, Value, compiled, plain
from lorid_train.mentions import Style, join, write
from lorid_train.rows import Row
from lorid_train.template import Pieces, Step, Template, Variable, getter, value_of

LEAST, MOST = Fraction(2, 5), Fraction(5, 2)
RATIO = 12  # at most, of a result to the old one, and the inverse
LARGEST = 10**7
SMALL = 12  # numbers up to here are drawn from 2 to here
TRIES = 400  # a row, on average
STAYS = 0.12  # chance that a number stays, which makes tight conditions easier to meet


def draws(template: Template, wanted: int, rng: random.Random) -> Iterator[tuple[Number, ...]]:
    """Yield up to `wanted` distinct sets of numbers, none of them all old ones."""
    old = tuple(plain(v.value) for v in template.variables)
    choices = [choices_of(v) for v in template.variables]
    seen = {old}
    tests = _tests(template)
    for _ in range(wanted * TRIES):
        values = tuple(
            was if len(of) < 2 or rng.random() < STAYS else of[int(rng.random() * len(of))]
            for was, of in zip(old, choices, strict=True)
        )
        if values in seen or not _in_order(template, values) or not _fits(tests, values):
            continue
        seen.add(values)
        yield values
        if len(seen) > wanted:
            return


def choices_of(variable: Variable) -> tuple[Number, ...]:
    """Return the values that a number may take, as round as the old one."""
    value = variable.value
    if variable.percent:
        step = 5 if value % 5 == 0 else 1
        low, high = max(step, int(value * LEAST)), min(99, int(value * MOST))
        return tuple(range(-(-low // step) * step, high + 1, step))
    if value.denominator > 1:
        return _decimals(variable)
    whole = int(value)
    if variable.word and whole <= 20:
        low, high, step = 2, 12 if whole <= SMALL else 20, 1
    elif whole <= SMALL:
        low, high, step = 2, SMALL, 1
    else:
        step = _roundness(whole)
        low, high = -(-int(whole * LEAST) // step) * step, int(whole * MOST)
        low = max(low, step, 3)
    if variable.most:
        high = min(high, variable.most)
    return tuple(range(low, high + 1, step))


def _roundness(whole: int) -> int:
    """Return 1, 5, 10, 50, 100 ...: the step that keeps a number as round as it is."""
    if whole < 30:
        return 5 if whole % 10 == 0 else 1
    size: int = 10 ** floor(log10(whole))
    for step in (size, size // 2, size // 10, size // 20):
        if step > 1 and whole % step == 0:
            return max(step // 10, 5) if step == size else max(step // 5, 5)
    return 5 if whole % 5 == 0 else 1


def _decimals(variable: Variable) -> tuple[Number, ...]:
    unit = next(
        Fraction(n, 100) for n in (50, 25, 20, 10, 5, 1) if variable.value % Fraction(n, 100) == 0
    )
    low, high = floor(variable.value * LEAST / unit), floor(variable.value * MOST / unit)
    if variable.value < 1:
        high = min(high, floor((1 - unit) / unit))
    found = (plain(unit * n) for n in range(max(low, 1), high + 1))
    return tuple(v for v in found if v != 1)


class _Test(NamedTuple):
    """A step's result, and what it must be like: as the old one was."""

    result: Value
    whole: bool
    decimals: int  # a power of ten that makes it whole
    same: int | None  # 0 and 1 stay: 'no apples', '1 apple'
    share: bool  # below one
    low: int
    high: int


def _tests(template: Template) -> list[_Test]:
    found = []
    for step in template.steps:
        old = step.result
        result = compiled(step.expression.program, [getter(s) for s in step.operands])
        found.append(
            _Test(
                result=result,
                whole=old.denominator == 1,
                decimals=10 ** max(2, step.style.decimals),
                same=int(old) if old in (0, 1) else None,
                share=0 < old < 1,
                low=0 if old < 1 else max(2 if old.denominator == 1 else 1, floor(old / RATIO)),
                high=min(step.most or LARGEST, ceil(old * RATIO)),
            )
        )
    return found


def _fits(tests: list[_Test], values: tuple[Number, ...]) -> bool:
    results: list[Number] = []
    for test in tests:
        try:
            result = test.result(values, results)
        except ZeroDivisionError:
            return False
        if not _like(test, result):
            return False
        results.append(result)
    return True


def _like(test: _Test, result: Number) -> bool:
    if test.same is not None:
        return result == test.same
    if type(result) is int:
        return not test.share and result != 1 and test.low <= result <= test.high
    if test.whole or test.decimals % result.denominator or result <= 0:
        return False
    return (result < 1) == test.share and test.low <= result <= test.high


def _in_order(template: Template, values: Sequence[Number]) -> bool:
    return all(
        (values[i] > number) == (template.variables[i].value > number) and values[i] != number
        for i, number in template.order
    )


def filled(template: Template, values: Sequence[Number], id: str) -> Row:
    """Return the row with these numbers; without prose its rationale is the bare chain."""
    results: list[Number] = []
    chain = []
    for step in template.steps:
        given = [value_of(s, values, results) for s in step.operands]
        results.append(step.expression.run(given))
        chain.append(_step(step, given, results[-1]))
    prose = "\n".join(chain)
    if template.prose is not None:
        prose = _text(template.prose, values, results, chain)
    last = template.steps[-1].style
    answer = write(results[-1], Style(last.decimals))
    question = _text(template.question, values, results, chain)
    return Row(id, question, prose, answer, template.knowledge)


def _step(step: Step, given: Sequence[Number], result: Number) -> str:
    texts = step.expression.texts
    shown = texts[0]
    for text, value, style in zip(texts[1:], given, step.expression.styles, strict=True):
        shown += write(value, style) + text
    return f"<<{shown}={write(result, step.style)}>>".replace(",", "")


def _text(
    pieces: Pieces,
    values: Sequence[Number],
    results: Sequence[Number],
    chain: list[str],
) -> str:
    written: list[str | tuple[str, bool]] = []
    for piece in pieces:
        if isinstance(piece, str):
            written.append(piece)
        elif piece.step >= 0:
            written.append(chain[piece.step])
        else:
            value = value_of(piece.symbol, values, results)
            written.append((write(value, piece.style), True))
    return join(written)


def verified(row: Row) -> bool:
    """True if every step of a row holds and the last result is its answer."""
    steps = arithmetic.steps(row.rationale)
    if not steps or arithmetic.false_steps(row.rationale):
        return False
    return arithmetic.parse_number(steps[-1][1]) == arithmetic.parse_number(row.answer)
