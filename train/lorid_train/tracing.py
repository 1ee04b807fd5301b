"""Makes a template of a problem, or says why not: every number must come from somewhere.

An operand is a number of the question, an earlier result, what follows from a percent, or one of
a closed set of constants. Where two readings are equally good the problem is refused: a template
that is wrong once is wrong for every number it is filled with.
"""

import itertools
import re
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import get_args

from lorid_local import arithmetic
from lorid_train import constants, expressions, freezing
from lorid_train.expressions import Number
from lorid_train.marking import marked, misstated
from lorid_train.mentions import Mention, mentions, style_of
from lorid_train.rows import Row
from lorid_train.template import Derived, Step, Symbol, Template, Variable, derive, value_of
from lorid_train.tracing_text import Ambiguous, traced_prose, traced_question

MOST_READINGS = 256
OLDEST = 110  # years
_PRIMES = tuple(n for n in range(53, 400) if all(n % d for d in range(2, n)))
_ALGEBRA = re.compile(
    r"\blet\b|\b\d*[a-wyz]\s*=|=\s*\d*[a-wyz]\b|\bx\s*=|=\s*x\b|\d+[a-z]\s*[-+*/]|\bx\s*[-+]|[-+]\s*\d*x\b",
    re.I,
)


class Refused(Exception):
    """The problem cannot be a template; the argument is the reason, as it is counted."""


@dataclass
class Known:
    """What is known of a problem while it is traced."""

    variables: list[Variable]
    fixed: set[Fraction]  # numbers of the question that stay, and those its words hold
    also: set[Fraction]  # what these imply: the rest of a share, its percent
    implied: frozenset[Fraction]
    rivals: frozenset[Fraction]  # of these, what a result may be mistaken for
    unused: list[Fraction] = field(default_factory=list)

    def variable(self, value: Fraction) -> Symbol | None:
        """Return the variable whose value in the original is `value`."""
        for index, variable in enumerate(self.variables):
            if variable.value == value:
                return Symbol("var", index)
        return None

    def derived(self, value: Fraction) -> Symbol | None:
        """Return the percent (or cents) that `value` follows from."""
        for how in get_args(Derived)[1:]:
            for index, variable in enumerate(self.variables):
                if variable.percent and derive(how, variable.value) == value:
                    return Symbol("var", index, derived=how)
        return None


def trace(row: Row) -> Template:
    """Return the template of a problem; raises Refused."""
    rationale = marked(row.rationale)
    steps = _steps(rationale, row.answer)
    if _ALGEBRA.search(re.sub(r"<<[^<>]*>>", "", rationale)):
        raise Refused("algebra")
    found = mentions(row.question)
    if any(m.kind == "glued" or (not m.value and m.kind == "mixed") for m in found):
        raise Refused("a number of the question is unreadable")
    known = _known(row.question, rationale, found, steps)
    operands = _operands(steps, known)
    _check_results(steps)
    _check_remainders(freezing.remainders(found, row.question), found, steps)
    known, operands = _without_unused(known, operands, [s.result for s in steps])
    if not known.variables:
        raise Refused("no number can change")
    _check_uses(found, known, operands, steps)
    old = _ages(row.question, rationale)
    steps = [
        replace(step, operands=of, most=OLDEST if at in old and step.result <= OLDEST else 0)
        for at, (step, of) in enumerate(zip(steps, operands, strict=True))
    ]
    try:
        prose = None if misstated(rationale) else traced_prose(rationale, steps, known)
    except Ambiguous:
        prose = None
    except LookupError:
        raise Refused("a number of the solution's words is not traceable") from None
    return Template(
        id=row.id,
        question=traced_question(row.question, found, known),
        prose=prose,
        steps=tuple(steps),
        variables=tuple(known.variables),
        order=_order(known),
        knowledge=row.knowledge,
    )


def _steps(rationale: str, answer: str) -> list[Step]:
    """Return the steps, still without symbols."""
    shown = arithmetic.steps(rationale)
    if not shown:
        raise Refused("no steps")
    if arithmetic.false_steps(rationale):
        raise Refused("a step is false or unreadable")
    steps = []
    for text, result in shown:
        expression = expressions.parse(text)
        number = result.replace("$", "").strip()
        value = arithmetic.parse_number(number)
        if arithmetic.evaluate(text.replace("$", "")) != value:
            raise Refused("a result is rounded")
        if len(expression.values) < 2 and "%" not in text:
            raise Refused("a step without a calculation")
        if value < 0:
            raise Refused("a result is below zero")
        steps.append(Step(expression, (), value, style_of(number)))
    try:
        if steps[-1].result != arithmetic.parse_number(answer.replace("$", "")):
            raise Refused("the last result is not the answer")
    except arithmetic.Malformed:
        raise Refused("the answer is no number") from None
    return steps


def _ages(question: str, rationale: str) -> set[int]:
    """Return which steps give the age of somebody."""
    marks = list(re.finditer(r"<<[^<>]*>>", rationale))
    ages = {
        at for at, mark in enumerate(marks)
        if re.match(r"\$?[\d,.]+ years?[ -](?:old|of age)", rationale[mark.end() :])
    }  # fmt: skip
    if re.search(r"\bhow old\b|'s (?:\w+ )?age\b", question, re.IGNORECASE):
        ages |= {len(marks) - 1}
    return ages


def _known(question: str, rationale: str, found: list[Mention], steps: list[Step]) -> Known:
    """Sort the question's numbers into variables and those that stay."""
    words = [m for m in mentions(re.sub(r"<<[^<>]*>>", "", rationale), shares=False)
             if m.kind not in ("digits", "word")]  # fmt: skip
    implied = constants.implied(question)
    atoms = {a for m in [*found, *words] for a in m.atoms}
    stay = atoms | implied | freezing.counted(question) | freezing.parts(found, question)
    stay |= {m.value for m in found if freezing.frozen(m, question)}
    groups: dict[Fraction, list[Mention]] = {}
    for mention in found:
        groups.setdefault(mention.value, []).append(mention)
    percents = [v for v, group in groups.items() if any(m.percent for m in group)]
    stay |= _entangled(percents, set(groups))
    variables = [
        _variable(value, group, question)
        for value, group in groups.items()
        if value not in stay and all(m.kind in ("digits", "word") for m in group)
    ]
    free = {variable.value for variable in variables}
    fixed = {a for m in found for a in m.atoms} | {v for v in groups if v not in free}
    also = {a for m in found for a in m.also}
    also |= {derive(how, p) for p in percents if p not in free for how in get_args(Derived)}  # type: ignore[misc]
    return Known(variables, fixed, also, implied, constants.rivals(question))


def _entangled(percents: list[Fraction], stated: set[Fraction]) -> set[Fraction]:
    """Return percents that stay: those above 100, that add up to 100, or leave a stated number."""
    stay = {p for p in percents if p > 100 or p.denominator > 1}
    for size in (2, 3, 4):
        for chosen in itertools.combinations(percents, size):
            if sum(chosen) == 100:
                stay |= set(chosen)
    for p in percents:
        for other in (100 - p, 100 + p, p / 100):
            if other in stated:
                stay |= {p, other}
    return stay


def _variable(value: Fraction, group: list[Mention], question: str) -> Variable:
    limits = [limit for m in group if (limit := freezing.most(m, question))]
    return Variable(
        value=value,
        percent=any(m.percent or _cents(question, m) for m in group),
        money=any(m.style.money for m in group),
        word=any(m.kind == "word" for m in group),
        decimals=max(m.style.decimals for m in group) if value.denominator > 1 else 0,
        most=min(limits, default=0),
    )


def _cents(question: str, mention: Mention) -> bool:
    """True for '75 cents', which a solution may write as 0.75."""
    return mention.value < 100 and bool(re.match(r"[- ](?:cents?|¢)|¢", question[mention.end :]))


def _operands(steps: list[Step], known: Known) -> list[tuple[Symbol, ...]]:
    """Return each step's symbols by the reading that uses most of what there is."""
    choices: list[list[Symbol]] = []
    for at, step in enumerate(steps):
        for value in step.expression.values:
            choices.append(_candidates(value, at, steps, known))
    readings = 1
    for choice in choices:
        readings *= len(choice)
    if readings > MOST_READINGS:
        raise Refused("an operand could be two numbers")
    best: dict[tuple[object, ...], list[tuple[Symbol, ...]]] = {}
    most = -1
    for flat in itertools.product(*choices):
        used = len({s if s.kind != "const" else s.value for s in flat
                    if s.kind != "const" or s.value in known.fixed})  # fmt: skip
        if used < most:
            continue
        if used > most:
            best, most = {}, used
        cut = _cut(flat, steps)
        best.setdefault(_meaning(cut, steps, len(known.variables)), cut)
    if len(best) > 1:
        raise Refused("an operand could be two numbers")
    return next(iter(best.values()))


def _candidates(value: Fraction, at: int, steps: list[Step], known: Known) -> list[Symbol]:
    step_values = steps[at].expression.values
    const = Symbol("const", value=value)
    found = [Symbol("res", i) for i, step in enumerate(steps[:at]) if step.result == value]
    variable = known.variable(value)
    if variable:
        return [variable, *found]
    twice = step_values.count(value) > 1
    if value in known.fixed or (found and value in (known.implied if twice else known.rivals)):
        return [const, *found]
    if found:
        return found
    if derived := known.derived(value):
        return [derived]
    if value in known.also | known.implied:
        return [const]
    earlier = [v.value for v in known.variables] + [step.result for step in steps[:at]]
    if value in constants.FREE and (value == 1 or not _follows(value, earlier)):
        return [const]
    raise Refused("an operand is not traceable")


def _cut(flat: tuple[Symbol, ...], steps: list[Step]) -> list[tuple[Symbol, ...]]:
    at, cut = 0, []
    for step in steps:
        cut.append(flat[at : at + len(step.expression.values)])
        at += len(step.expression.values)
    return cut


def _meaning(
    operands: list[tuple[Symbol, ...]], steps: list[Step], variables: int
) -> tuple[object, ...]:
    """Return what the steps give for some numbers: readings that always give the same are one."""
    meaning: list[object] = []
    for point in (_PRIMES, _PRIMES[5:], _PRIMES[11:]):
        results: list[Number] = []
        for symbols, step in zip(operands, steps, strict=True):
            given = [value_of(s, point[:variables], results) for s in symbols]
            try:
                results.append(step.expression.run(given))
            except ZeroDivisionError:
                return operands[0]  # no meaning: differs from all others
        meaning += results
    return tuple(meaning)


def _follows(value: Fraction, numbers: list[Fraction]) -> bool:
    """True if two of `numbers` give `value` by one calculation that nobody wrote down."""
    for left, right in itertools.permutations(numbers, 2):
        if value in (left + right, left - right, left * right) or (right and left / right == value):
            return True
    return False


def _without_unused(
    known: Known, operands: list[tuple[Symbol, ...]], results: list[Fraction]
) -> tuple[Known, list[tuple[Symbol, ...]]]:
    """Let the numbers that no step uses stay; refuse where one of them follows from others."""
    used = sorted({s.index for symbols in operands for s in symbols if s.kind == "var"})
    unused = [v for i, v in enumerate(known.variables) if i not in used]
    stated = [v.value for v in known.variables]
    for variable in unused:
        others = [v for v in [*stated, *results] if v != variable.value]
        if variable.value in results or _follows(variable.value, others):
            raise Refused("a number that no step uses follows from others")
    new_index = {old: new for new, old in enumerate(used)}
    kept = Known(
        [known.variables[i] for i in used],
        known.fixed | {v.value for v in unused},
        known.also,
        known.implied,
        known.rivals,
        [v.value for v in unused if not v.percent],
    )
    renamed = [
        tuple(replace(s, index=new_index[s.index]) if s.kind == "var" else s for s in symbols)
        for symbols in operands
    ]
    return kept, renamed


def _check_results(steps: list[Step]) -> None:
    """Refuse a result that no later step uses: the solution chose between it and another.

    Which one is the cheaper, or comes first, may differ for other numbers.
    """
    for at, step in enumerate(steps[:-1]):
        if not any(step.result in later.expression.values for later in steps[at + 1 :]):
            raise Refused("a result that no later step uses")


def _check_remainders(named: frozenset[Fraction], found: list[Mention], steps: list[Step]) -> None:
    """Refuse 'the remaining 13' where 13 is what a result and another number leave."""
    results = {step.result for step in steps}
    numbers = {m.value for m in found} | results
    shown = [{*step.expression.values, step.result} for step in steps]
    for value, one, other in itertools.product(named, numbers, results):
        trio = {value, one, other}
        if (
            len(trio) == 3
            and value in (one + other, abs(one - other))
            and not any(trio <= of for of in shown)
        ):
            raise Refused("a number that is left follows from others")


def _check_uses(
    found: list[Mention], known: Known, operands: list[tuple[Symbol, ...]], steps: list[Step]
) -> None:
    """Refuse a number that is used more often than stated and may once be a sum in the head.

    'For himself and 3 friends at $4 each': is a 4 in the solution the price, or the people?
    """
    results = {step.result for step in steps}
    stated = {v.value for v in known.variables}
    for index, variable in enumerate(known.variables):
        uses = sum(Symbol("var", index) in symbols for symbols in operands)
        mentioned = sum(m.value == variable.value for m in found)
        others = [*(stated - {variable.value}), *(results - {variable.value}), Fraction(1)]
        sums = {a + b for a in others for b in others} | {a - b for a in others for b in others}
        small = sums if variable.value <= constants.HEAD else set()
        if uses > max(1, mentioned) and variable.value in small:
            raise Refused("a number could also be a sum in the head")


def _order(known: Known) -> tuple[tuple[int, Fraction], ...]:
    return tuple(
        (index, value)
        for index, variable in enumerate(known.variables)
        for value in known.unused
        if not variable.percent
    )
