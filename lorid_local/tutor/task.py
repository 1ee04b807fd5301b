"""What the tutor works with: a question, its steps as expressions over names, its answer.

A practice problem's are computed and sure; those of a pupil's own problem come from a model.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from lorid_local import arithmetic
from lorid_local.practice.drawing import Problem
from lorid_local.practice.family import Family
from lorid_local.trace import Sample, Trace

Money = Literal["dollars", "cents", ""]
_NAME = re.compile(r"[A-Za-z]\w*")
_CALCULATION = re.compile(r"\S+ = (\$?)<<[^<>]*>>")
_SIGN = re.compile(r"([-+*/])")
_DECIMAL = re.compile(r"\d+(?:,\d{3})*(?:\.\d+)?|\.\d+")


@dataclass(frozen=True)
class Source:
    """Where a practice problem was drawn: `draw(family, seed)` makes it again."""

    family: str
    seed: int
    topic: str
    grade: int


@dataclass(frozen=True)
class Step:
    """One step: 'h', 'a / 2', 48, '96 / 2', the sentence with it and the sentence without it."""

    result: str
    expression: str
    value: Fraction
    calculation: str
    sentence: str
    said: str

    @property
    def needs(self) -> frozenset[str]:
        """The names that the step takes."""
        return frozenset(_NAME.findall(self.expression))


@dataclass(frozen=True)
class Task:
    """A problem to tutor. `numbers` are the question's by name; `source` None: the pupil's own."""

    question: str
    numbers: Mapping[str, Fraction]
    steps: tuple[Step, ...]
    answer: Fraction
    answer_text: str
    rules: tuple[str, ...]
    money: Money = ""
    source: Source | None = None

    def step_of(self, value: Fraction) -> int | None:
        """Return the index of the first step with this result, the last step apart, or None."""
        return next((i for i, step in enumerate(self.steps[:-1]) if step.value == value), None)

    def before(self, index: int) -> frozenset[int]:
        """Return the indexes of the steps that lead to step `index`, itself included."""
        wanted, found = {self.steps[index].result}, set()
        for i in range(index, -1, -1):
            if self.steps[i].result in wanted:
                found.add(i)
                wanted |= self.steps[i].needs
        return frozenset(found)


def of_practice(family: Family, problem: Problem) -> Task:
    """Return a drawn problem as a task."""
    steps = tuple(
        Step(
            result=worked.result,
            expression=step.expression,
            value=worked.value,
            calculation=worked.calculation,
            sentence=worked.sentence,
            said=_CALCULATION.sub(r"\1", worked.marked or ""),
        )
        for step, worked in zip(family.steps, problem.steps, strict=True)
    )
    return Task(
        question=problem.question,
        numbers=problem.values,
        steps=steps,
        answer=problem.answer,
        answer_text=problem.answer_text,
        rules=problem.knowledge,
        money=_money(problem.question, steps[-1].sentence, problem.answer_text),
        source=Source(problem.family, problem.seed, problem.topic, problem.grade),
    )


def of_trace(trace: Trace, rules: tuple[str, ...]) -> Task | None:
    """Return a solved problem of the pupil's as a task; None unless both systems agreed on it.

    Its steps are those of a chain of the round that agreed, the longer one whose last result is
    the answer; without such a chain there are none.
    """
    if trace.status != "agreed" or trace.answer is None or trace.shown_round is None:
        return None
    drawn = [s for s in (trace.shown_round.ir, trace.shown_round.dr) if s]
    chains = [_chain(sample) for sample in drawn]
    whole = [c for c in chains if c and c[-1].value == trace.answer.value]
    return Task(
        question=trace.question,
        numbers=dict(_numbers(_DECIMAL.findall(trace.question))),
        steps=max(whole, key=len, default=()),
        answer=trace.answer.value,
        answer_text=trace.answer.shown,
        rules=rules,
        money=_money(trace.question, "", trace.answer.shown),
    )


def _money(question: str, sentence: str, answer: str) -> Money:
    if re.search(rf"\${re.escape(answer)}(?![\d,]|\.\d)", sentence):
        return "dollars"
    asked = re.findall(r"\b(?:how many|in) (dollars|cents)\b", question, re.I)
    if asked:
        return "cents" if asked[-1].lower() == "cents" else "dollars"
    return "cents" if "cents" in sentence else ""


def _chain(sample: Sample) -> tuple[Step, ...]:
    """Return a sample's marked calculations as steps; a number that an earlier one gave names it.

    Its arithmetic holds: else the sample would have had no vote.
    """
    steps: list[Step] = []
    results: dict[Fraction, str] = {}
    for left, right in arithmetic.steps(sample.text):
        expression = _DECIMAL.sub(lambda m: _named(m[0], results), left.replace("$", ""))
        try:
            value = arithmetic.parse_number(right.replace("$", ""))
        except arithmetic.Malformed:
            return ()
        name = f"r{len(steps)}"
        if "%" in expression:
            expression = re.sub(r"(\w+(?:\.\d+)?)%", r"(\1 / 100)", expression)
        spaced = " ".join(_SIGN.sub(r" \1 ", left).split())
        sentence = f"{spaced} = {right}"
        steps.append(Step(name, expression.replace(",", ""), value, spaced, sentence, right))
        results[value] = name
    return tuple(steps)


def _named(text: str, results: Mapping[Fraction, str]) -> str:
    return results.get(arithmetic.parse_number(text), text)


def _numbers(found: list[str]) -> list[tuple[str, Fraction]]:
    values = dict.fromkeys(arithmetic.parse_number(text) for text in found)
    return [(f"n{i}", value) for i, value in enumerate(values)]
