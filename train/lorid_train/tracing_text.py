"""Traces the numbers that stand in the words of a question and of its solution."""

import re
from collections.abc import Iterator
from fractions import Fraction
from typing import Protocol

from lorid_train import constants
from lorid_train.mentions import Mention, mentions
from lorid_train.template import Pieces, Shown, Step, Symbol


class Ambiguous(Exception):
    """A number in the words could be two things that will differ."""


class Known(Protocol):
    """What `tracing` knows of the problem."""

    fixed: set[Fraction]
    also: set[Fraction]
    implied: frozenset[Fraction]

    def variable(self, value: Fraction) -> Symbol | None: ...
    def derived(self, value: Fraction) -> Symbol | None: ...


def traced_question(question: str, found: list[Mention], known: Known) -> Pieces:
    """Return the question with its variables taken out."""
    pieces: list[str | Shown] = []
    at = 0
    for mention in found:
        variable = known.variable(mention.value) if mention.kind in ("digits", "word") else None
        if variable:
            pieces += [question[at : mention.start], Shown(variable, mention.style)]
            at = mention.end
    return (*pieces, question[at:])


def traced_prose(rationale: str, steps: list[Step], known: Known) -> Pieces:
    """Return the solution with every number that depends on a variable taken out.

    Raises LookupError for a number that comes from nowhere, Ambiguous.
    """
    pieces: list[str | Shown] = []
    done = 0
    lines = [" ".join(line.split()) for line in rationale.splitlines()]
    for line in filter(None, lines):
        if pieces:
            pieces.append("\n")
        parts = re.split(r"(<<[^<>]*>>)", line)
        last = done + len(parts) // 2
        for at, part in enumerate(parts):
            if at % 2:
                pieces.append(Shown(Symbol("res", done), steps[done].style, step=done))
                done += 1
                continue
            step = steps[done] if at < len(parts) - 1 else None
            after = done - 1 if at else -1
            pieces += _segment(part, step, after, steps[:last], known)
    return tuple(pieces)


def _segment(
    text: str, step: Step | None, after: int, results: list[Step], known: Known
) -> Iterator[str | Shown]:
    """Trace the words before a step and behind the step `after`; `results` are known in them."""
    own = dict(zip(step.expression.values, step.operands, strict=True)) if step else {}
    if step and len(own) < len(set(zip(step.expression.values, step.operands, strict=True))):
        own = {}  # the same number twice, for two reasons
        in_order = _tail(text, step)
    else:
        in_order = {}
    at = 0
    for mention in mentions(text, shares=False):
        yield text[at : mention.start]
        at = mention.start
        if mention.kind not in ("digits", "word"):
            _check_words(mention, known)
            continue
        if not text[: mention.start].strip(" $") and after >= 0:
            if mention.value != results[after].result:
                raise LookupError
            symbol = Symbol("res", after)
        elif mention.start in in_order:
            symbol = in_order[mention.start]
        else:
            symbol = own.get(mention.value) or _symbol(mention, results, known)
        if symbol.kind != "const":
            yield Shown(symbol, mention.style)
            at = mention.end
    yield text[at:]


def _tail(text: str, step: Step) -> dict[int, Symbol]:
    """Return the symbols of the last numbers before a step, if they are its operands in order."""
    found = [m for m in mentions(text, shares=False) if m.kind in ("digits", "word")]
    tail = found[-len(step.operands) :]
    if [m.value for m in tail] != list(step.expression.values):
        return {}
    return {m.start: symbol for m, symbol in zip(tail, step.operands, strict=True)}


def _symbol(mention: Mention, results: list[Step], known: Known) -> Symbol:
    value = mention.value
    const = Symbol("const", value=value)
    found = [Symbol("res", i) for i, step in enumerate(results) if step.result == value]
    if variable := known.variable(value):
        found.append(variable)
    elif value in known.fixed and (found or value != 1):
        found.append(const)
    if len(found) > 1:
        raise Ambiguous
    if found:
        return found[0]
    if derived := known.derived(value):
        return derived
    used = {s.value for step in results for s in step.operands if s.kind == "const"}
    if value in known.also | known.implied | used or value == 1:
        return const
    if mention.kind == "word" and value in constants.FREE:
        return const
    raise LookupError


def _check_words(mention: Mention, known: Known) -> None:
    """Refuse 'half' or 'thrice' in a solution whose question says nothing of the kind."""
    if mention.kind == "fixed" and mention.value <= 2:
        return  # 'the first', 'both', 'twice': a variable 2 does not change beside these
    if mention.kind in ("glued", "time", "compound", "ordinal", "mixed"):
        if mention.kind in ("time", "ordinal", "compound") and mention.value in known.fixed:
            return
        raise LookupError
    if not set(mention.atoms) & (known.fixed | known.also | known.implied) - {Fraction(1)}:
        raise LookupError
