"""Every bundled family, drawn: valid numbers, whole texts, true arithmetic, the right answer."""

import re
from collections import Counter
from collections.abc import Iterator
from fractions import Fraction

import pytest

from lorid_local import arithmetic
from lorid_local.practice.drawing import LARGEST, Problem, chain, draw, prose, show
from lorid_local.practice.families import Families, load
from lorid_local.practice.family import Family, Numbers, Things
from lorid_local.practice.names import PEOPLE

DRAWS = 3  # one for each of the three wordings
DECIMAL = re.compile(r"\b\d+(\.\d+)?")
PLURALS = re.compile(r"(?<![\d.$/:*+-] )(?<![\d.$/:])\b1 [a-z]+[^s\W]s\b")
NO_PLURALS = {"1 has", "1 is", "1 was", "1 as", "1 parts"}  # "6 - 1 parts of 6"


@pytest.fixture(scope="module")
def families() -> Families:
    return load()


@pytest.fixture(scope="module")
def problems(families: Families) -> list[tuple[Family, Problem]]:
    return [
        (family, draw(family, seed, wording=seed)) for family in families for seed in range(DRAWS)
    ]


def texts(problem: Problem) -> Iterator[str]:
    yield problem.question
    for step in problem.steps:
        yield from (step.sentence, step.calculation)
        yield step.marked or ""


def test_there_are_1812_families_with_three_wordings(families: Families) -> None:
    assert len(families) == 1812
    assert {len(family.wordings) for family in families} == {DRAWS}
    assert Counter(id[0] for id in families.ids()) == {"T": 960, "S": 852}


def test_all_numbers_are_valid(problems: list[tuple[Family, Problem]]) -> None:
    for family, problem in problems:
        numbers = {k: slot.choices for k, slot in family.slots.items() if isinstance(slot, Numbers)}
        assert problem.values.keys() == numbers.keys()
        assert all(problem.values[name] in choices for name, choices in numbers.items())
        assert all(condition.holds(problem.values) for condition in family.where), problem
        for step in problem.steps:
            assert 0 <= step.value <= LARGEST and (step.value * 100).denominator == 1, problem
        assert problem.answer > 0, problem


def test_conditions_and_results_are_what_python_makes_of_them(
    problems: list[tuple[Family, Problem]],
) -> None:
    """Python itself is the second opinion; eval is safe here, for the file is our own."""
    for family, problem in problems:
        values: dict[str, object] = dict(problem.values)
        scope = {"__builtins__": {}, "exact": Fraction}
        for condition in family.where:
            assert eval(DECIMAL.sub(r"exact('\g<0>')", condition.text), scope, values), problem
        for step, worked in zip(family.steps, problem.steps, strict=True):
            value = eval(DECIMAL.sub(r"exact('\g<0>')", step.expression), scope, values)
            assert worked.value == value, problem
            values[worked.result] = value
        assert problem.answer == values[family.answer]


def test_every_wording_shows_every_number(problems: list[tuple[Family, Problem]]) -> None:
    for _, problem in problems:
        for value in problem.values.values():
            assert show(value) in problem.question, problem


def test_no_text_keeps_a_brace_or_a_fault(problems: list[tuple[Family, Problem]]) -> None:
    for _, problem in problems:
        for text in texts(problem):
            assert not re.search(r"[{}]|  |%\(", text), text
            assert text.isascii() and text == text.strip(), text
            assert {m[0] for m in PLURALS.finditer(text)} <= NO_PLURALS, text
            assert not re.search(r"\b[Aa] \$?(8|11\b|18\b)", text), text
            assert not re.search(r"\d*(?<!1)(1|2|3)th\b", text), text


def test_no_family_uses_a_name_of_the_list_itself(families: Families) -> None:
    words: set[str] = set()
    for family in families:
        sources = [*family.wordings, *(step.sentence for step in family.steps)]
        words.update(word for t in sources for word in re.findall(r"[A-Z][\w-]+", t.source))
        for slot in family.slots.values():
            if isinstance(slot, Things):
                words.update(word for choice in slot.choices for word in choice.split())
    assert words & {name for name, _ in PEOPLE} == set()


def test_every_sentence_is_true(problems: list[tuple[Family, Problem]]) -> None:
    for _, problem in problems:
        for text in (chain(problem), prose(problem)):
            assert arithmetic.false_steps(text) == [], problem
            shown = [result for _, result in arithmetic.steps(text)]
            assert shown == [step.shown for step in problem.steps], problem


def test_the_answer_comes_out_of_the_chain_alone(problems: list[tuple[Family, Problem]]) -> None:
    for _, problem in problems:
        last, _ = arithmetic.steps(chain(problem))[-1]
        assert arithmetic.evaluate(last) == problem.answer == Fraction(problem.answer_text), problem


def test_every_sentence_is_marked_as_gsm8k_does(problems: list[tuple[Family, Problem]]) -> None:
    """10,000 sentences: all of them show their calculation, so none stays as it is."""
    unmarked = [step.sentence for _, problem in problems for step in problem.steps
                if step.marked is None]  # fmt: skip
    assert unmarked == []
    for _, problem in problems:
        plain = re.sub(r"<<[^>]*>>", "", prose(problem)).replace(" ", "")
        sentences = "\n".join(step.sentence for step in problem.steps)
        assert plain == sentences.replace(" ", "")
