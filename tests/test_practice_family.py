"""One family: what its line must hold, and what is drawn from it."""

import json
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from lorid_local.practice.drawing import TRIES, chain, draw, prose, show
from lorid_local.practice.families import load
from lorid_local.practice.family import FamilyError, Numbers, Person, Things, from_row


def row(**changes: Any) -> dict[str, Any]:
    """Return a family as parsed JSON, with `changes` to its keys."""
    return {
        "id": "clips",
        "topic": "sales",
        "grade": 3,
        "question": [
            "{n} sold {a} {item} in April, half as many in May and got {k} more. How many is it?",
            "After {a} {item} in April {n} sold half of that in May, and {k} more. How many is it?",
        ],
        "slots": {
            "n": "person",
            "item": ["clips", "stickers"],
            "a": [10, 96, 2],
            "k": {"choices": [0.25, 0.5]},
        },
        "where": ["a % 2 == 0"],
        "steps": [
            ["h", "a / 2", "{n} sold {a} / 2 = {h} in May."],
            ["t", "a + h + k", "In all {a} + {h} + {k} = {t}."],
        ],
        "answer": "t",
        "knowledge": ["Half is the whole divided by two."],
    } | changes


def write(path: Path, *rows: dict[str, Any]) -> Path:
    """Write a families file."""
    path.write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    return path


def parsed(**changes: Any) -> Any:
    """The example's line with `changes`, as `load` reads it."""
    return json.loads(json.dumps(row(**changes)), parse_float=Fraction)


def test_a_family_is_what_its_line_says() -> None:
    family = from_row(parsed(), "own.jsonl:1")
    assert (family.id, family.topic, family.grade) == ("clips", "sales", 3)
    assert family.slots["n"] == Person() and family.slots["item"] == Things(("clips", "stickers"))
    assert family.slots["a"] == Numbers(range(10, 97, 2))
    assert family.slots["k"] == Numbers((Fraction(1, 4), Fraction(1, 2)))
    assert [step.result for step in family.steps] == ["h", "t"]
    assert (family.answer, family.knowledge) == ("t", ("Half is the whole divided by two.",))


def test_decimal_steps_stay_exact() -> None:
    family = from_row(parsed(slots=row()["slots"] | {"a": [0.1, 0.5, 0.2]}), "f:1")
    assert family.slots["a"] == Numbers((Fraction("0.1"), Fraction("0.3"), Fraction("0.5")))


def slot(value: Any) -> dict[str, Any]:
    return {"slots": row()["slots"] | {"a": value}}


FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"topics": ""}, "unknown key 'topics' (did you mean topic?)"),
    ({"grade": "3"}, "grade: expected 1 to 12, got '3'"),
    ({"grade": 13}, "grade: expected 1 to 12, got 13"),
    ({"id": ""}, "id: expected a text on one line, got ''"),
    ({"knowledge": []}, "knowledge: expected a list of texts, got []"),
    ({"where": "a > 2"}, "where: expected a list of texts, got 'a > 2'"),
    ({"question": ["{n} {a} {k}", 3]}, "question: expected a text on one line, got 3"),
    ({"steps": []}, "steps: expected a list of [result, expression, sentence], got []"),
    ({"steps": [["h", "a"]]}, "steps: expected [result, expression, sentence], got ['h', 'a']"),
    ({"slots": []}, "slots: expected an object, got []"),
    (slot("name"), "slots: a is 'name': expected 'person', things, [min, max, step] or "
                   "{'choices': [...]}"),
    (slot({"choices": []}), "slots: a is {'choices': []}: expected 'person', things, "
                            "[min, max, step] or {'choices': [...]}"),
    (slot(["clips", "\x1b[2J"]), "slots: expected a text on one line, got '\\x1b[2J'"),
    (slot([1, 9, 0]), "slots: a: expected min <= max, step > 0 and at most 100000 numbers"),
    (slot([9, 1, 1]), "slots: a: expected min <= max, step > 0 and at most 100000 numbers"),
    (slot([1, 10**9, 1]), "slots: a: expected min <= max, step > 0 and at most 100000 numbers"),
    (slot([1, True, 1]), "slots: a holds True: expected a number"),
    (slot({"choices": [0.125]}), "slots: a holds 0.125: expected at most two decimals"),
    ({"slots": row()["slots"] | {"h": [1, 2, 1]}}, "'h' names two things; question[0]: does "
                                                  "not show h; question[1]: does not show h"),
    ({"slots": row()["slots"] | {"2x": "person"}}, "'2x' is no name for a slot"),
    ({"question": ["{n} sold {a} {item}?"]}, "question[0]: does not show k"),
    ({"question": ["{n} sold {a} {k} {h}?"]}, "question[0]: shows the result h"),
    ({"question": ["{n} sold {a} {k} {x}?"]},
     "question[0]: unknown slot {x} in '{n} sold {a} {k} {x}?'"),
    ({"where": ["a > h"]}, "where[0]: unknown name 'h' in 'a > h'"),
    ({"where": ["a + k"]}, "where[0]: 'a + k' is no condition in 'a + k'"),
    ({"steps": [["t", "a + h", "{t}"]]}, "steps[0]: unknown name 'h' in 'a + h'"),
    ({"steps": [["t", "a % 2", "{t}"]]}, "steps[0]: % is for conditions only, got 'a % 2'"),
    ({"steps": [["t", "a / 2", "{h}"]]}, "steps[0]: unknown slot {h} in '{h}'"),
    ({"answer": "a"}, "answer: no step gives 'a'"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "fault"), FAULTS)
def test_a_faulty_line_is_refused(changes: dict[str, Any], fault: str) -> None:
    with pytest.raises(FamilyError) as error:
        from_row(parsed(**changes), "own.jsonl:7")
    assert error.value.message == "own.jsonl:7: " + fault
    assert error.value.hint == "correct the line and run again"


def test_all_faults_are_named_at_once() -> None:
    line = parsed(answer="z", where=["a >"], question=["{a} {k} {z}"])
    with pytest.raises(FamilyError) as error:
        from_row(line, "f:1")
    assert error.value.message == (
        "f:1: question[0]: unknown slot {z} in '{a} {k} {z}'; where[0]: not an expression: 'a >'; "
        "answer: no step gives 'z'"
    )
    with pytest.raises(FamilyError) as error:
        from_row({"id": "x"}, "f:1")
    missing = ("topic", "grade", "question", "slots", "where", "steps", "answer", "knowledge")
    assert error.value.message == "f:1: " + "; ".join(f"missing key {key!r}" for key in missing)
    with pytest.raises(FamilyError) as error:
        from_row([], "f:1")
    assert error.value.message == "f:1: expected a JSON object"


def test_a_draw_is_a_whole_problem() -> None:
    problem = draw(from_row(parsed(), "f:1"), 7, wording=0)
    half, total = problem.steps
    a = problem.values["a"]
    assert problem.values.keys() == {"a", "k"} and a % 2 == 0
    assert (half.value, total.value) == (a / 2, a + a / 2 + problem.values["k"])
    assert problem.answer == total.value and problem.answer_text == total.shown == show(total.value)
    assert half.calculation == f"{a} / 2"
    assert half.sentence.endswith(f"sold {a} / 2 = {a / 2} in May.")
    assert chain(problem).splitlines()[0] == f"<<{a}/2={a / 2}>>"
    assert prose(problem).splitlines()[0].endswith(f"sold {a}/2 = <<{a}/2={a / 2}>>{a / 2} in May.")
    assert (problem.family, problem.grade, problem.seed, problem.wording) == ("clips", 3, 7, 0)
    assert problem.numbers == (a, problem.values["k"])


def test_another_wording_keeps_people_things_and_numbers() -> None:
    family = from_row(parsed(), "f:1")
    first, second = draw(family, 3, wording=0), draw(family, 3, wording=1)
    assert first.question != second.question
    assert (first.values, first.steps) == (second.values, second.steps)
    assert draw(family, 3) in (first, second)
    assert {draw(family, seed).wording for seed in range(40)} == {0, 1}


def test_a_sentence_without_its_calculation_stays() -> None:
    family = from_row(parsed(steps=[["t", "a / 2", "That makes {t}."]], answer="t"), "f:1")
    problem = draw(family, 1)
    assert prose(problem) == f"That makes {problem.answer_text}."
    assert chain(problem) == f"<<{problem.values['a']}/2={problem.answer_text}>>"


@pytest.mark.parametrize(
    ("changes", "refused"),
    [
        ({"where": ["a != 10", "k == 0.5"]}, lambda p: p.values["a"] == 10 or p.values["k"] != 0.5),
        (slot([1, 4, 1]) | {"steps": [["t", "a - 2", "{t}"]]}, lambda p: p.answer < 1),
        (slot([2, 8, 2]) | {"steps": [["t", "a / 16", "{t}"]]}, lambda p: p.values["a"] % 4),
        (slot([1, 30, 1]) | {"steps": [["t", "a * 1000000", "{t}"]]}, lambda p: p.answer > 10**7),
        (slot([1, 4, 1]) | {"steps": [["t", "8 / (a - 2)", "{t}"]]}, lambda p: p.values["a"] == 2),
        (slot([1, 3, 1]) | {"steps": [["t", "a", "{t} boxes"]]}, lambda p: p.answer == 1),
    ],
)
def test_what_is_not_valid_is_drawn_again(
    changes: dict[str, Any], refused: Callable[[Any], bool]
) -> None:
    family = from_row(parsed(**{"answer": "t"} | changes), "f:1")
    assert not any(refused(draw(family, seed)) for seed in range(60))


def test_a_step_may_be_zero_but_not_the_answer() -> None:
    steps = [["h", "a - 10", "{h} left."], ["t", "h + 1", "{t} in all."]]
    drawn = [draw(from_row(parsed(steps=steps), "f:1"), seed) for seed in range(200)]
    assert any(problem.steps[0].value == 0 for problem in drawn)
    family = from_row(parsed(steps=steps[:1], answer="h"), "f:1")
    assert all(draw(family, seed).answer > 0 for seed in range(200))


def test_no_two_people_of_a_problem_have_the_same_name() -> None:
    people = {name: "person" for name in ("n", "m", "o")}
    family = from_row(
        parsed(slots=row()["slots"] | people, question=["{n} {m} {o} {item} {a} {k}"]), "f:1"
    )
    for seed in range(300):
        assert len(set(draw(family, seed).question.split()[:3])) == 3


def test_a_family_without_valid_numbers_is_an_error() -> None:
    family = from_row(parsed(where=["a < 0"]), "f:1")
    with pytest.raises(FamilyError) as error:
        draw(family, 1)
    assert error.value.message == f"family clips: no valid numbers in {TRIES} draws"
    assert error.value.hint == (
        "widen its slots or drop a condition; 1 is never drawn before a plural"
    )


def test_numbers_are_shown_whole_or_with_two_decimals() -> None:
    values = [Fraction(5), Fraction(3, 2), Fraction(1, 100), Fraction(-5, 4), 10**7, 0]
    assert list(map(show, values)) == ["5", "1.50", "0.01", "-1.25", "10000000", "0"]


KNOWN = (
    "Lucia, Bianca and Hamza divide 304 beads in the ratio 9:4:6. "
    "How many more beads does Lucia get than Hamza?\n"
)


def test_a_seed_means_the_same_problem_on_every_machine() -> None:
    family = load().family("T10-02")
    assert draw(family, 1, wording=0).question == KNOWN.strip()
    code = (
        "from lorid_local.practice.drawing import draw\n"
        "from lorid_local.practice.families import load\n"
        "print(draw(load().family('T10-02'), 1, wording=0).question)"
    )
    for hash_seed in ("1", "2"):
        ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                             check=True, env={"PYTHONPATH": ":".join(sys.path),
                                              "PYTHONHASHSEED": hash_seed})  # fmt: skip
        assert ran.stdout == KNOWN
