"""The problems of `lorid eval`: formats told apart by their keys, choices, what is refused."""

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from lorid_local.errors import InputError
from lorid_local.evaluate.cases import FORMATS, Case, Choice, from_dict, load
from tests.eval_engine import answer

Q = "Ann has 2 eggs. How many?"


def write(path: Path, *rows: Any) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize(
    ("row", "gold", "steps"),
    [
        ({"question": Q, "answer": "She has <<1+1=2>>2, <<2*3=6>>6.\n#### 6"}, 6, ("1+1", "2*3")),
        ({"question": Q, "answer": "1,200"}, 1200, ()),
        ({"question": Q, "answer": 7}, 7, ()),
        ({"question": Q, "answer": 0.5}, Fraction(1, 2), ()),
        ({"input": Q, "target": 43.0}, 43, ()),
        ({"input": Q, "target": 0.6666666667}, Fraction(2, 3), ()),  # PAL's cut fractions
        ({"input": Q, "target": 10.3333333333}, Fraction(31, 3), ()),
        ({"input": Q, "target": 0.1234567891}, Fraction(1234567891, 10**10), ()),
        ({"question": Q, "rationale": "x", "knowledge": ["Add."], "answer": "72"}, 72, ()),
        ({"question": Q, "rationale": "The answer is: \\frac{1}{48}"}, Fraction(1, 48), ()),
        ({"Body": "Ann has 2 eggs", "Question": "How many?", "Answer": 2.0,
          "Equation": "( 76.0 - 25.0 ) * 2"}, 2, ("-", "*")),
    ],
)  # fmt: skip
def test_each_format_is_told_by_its_keys(
    tmp_path: Path, row: Any, gold: Any, steps: tuple[str, ...]
) -> None:
    (case,) = load(write(tmp_path / "a.jsonl", row), Choice())
    assert (case.question, case.gold.value, case.steps) == (Q, gold, steps)
    assert case.rules == tuple(row.get("knowledge", ()))
    again = from_dict(json.loads(json.dumps(case.as_dict())))
    assert (again.gold.value, again.question, again.steps) == (gold, Q, steps)


def test_a_json_list_and_ids(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps([{"ID": "chal-1", "Body": "A", "Question": "B?", "Answer": 1},
                                {"question": Q, "answer": 1}]))  # fmt: skip
    assert [c.id for c in load(str(path), Choice())] == ["chal-1", 1]


def rows(tmp_path: Path, count: int = 6) -> str:
    return write(tmp_path / "a.jsonl", *({"question": f"{n}?", "answer": n} for n in range(count)))


def test_problems_are_chosen_by_line_count_and_skip(tmp_path: Path) -> None:
    data = rows(tmp_path)
    (tmp_path / "ids.txt").write_text("4\n1\n5\n")
    assert [c.id for c in load(data, Choice(lines=tmp_path / "ids.txt"))] == [4, 1, 5]
    assert [c.id for c in load(data, Choice(1, 1, tmp_path / "ids.txt"))] == [1]
    assert [c.id for c in load(data, Choice(2, 3))] == [3, 4]
    assert [c.id for c in load(data, Choice(skip=4))] == [4, 5]


def test_the_teachers_rules_are_found_by_id(tmp_path: Path) -> None:
    rules = write(tmp_path / "r.jsonl", {"id": 1, "knowledge": ["Add.", "Halve."]})
    cases = load(rows(tmp_path, 2), Choice(rules=Path(rules)))
    assert [c.rules for c in cases] == [(), ("Add.", "Halve.")]


@pytest.mark.parametrize("id", ["[1]", '{"a": 1}', "null", "1.5"])
def test_an_id_that_is_neither_number_nor_text_is_left_out(tmp_path: Path, id: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(f'{{"id": {id}, "question": "1?", "answer": {"9" * 400}}}\n')
    (case,) = load(str(path), Choice())
    assert (case.id, case.gold.value) == (0, int("9" * 400))


def test_practice_brings_topic_grade_steps_and_rules() -> None:
    cases = load("practice:pizza", Choice(count=3, seed=1))
    assert cases == load("practice:pizza", Choice(count=3, seed=1))
    assert cases[1:] == load("practice:pizza", Choice(count=2, skip=1, seed=1))
    assert cases != load("practice:pizza", Choice(count=3, seed=2))
    for case in cases:
        assert "pizza" in case.topic and case.grade and case.steps and case.rules
        assert case.gold.value > 0 and str(case.id).rpartition("/")[2].isdigit()


@pytest.mark.parametrize(
    ("lines", "choice", "message", "hint"),
    [
        (['{"question": "1?", "answer": 1}', "[]", '{"question": "", "answer": 1}', "x",
          '{"question": "1?", "answer": "many"}', '{"question": "1?", "answer": true}'], {},
         "{data}: line 2 is no JSON object; line 3 has no question; line 4 is no JSON object; line "
         "5 has no answer that can be read (no number in 'many'); line 6 has no answer that can be "
         "read (True is no number and no text)", f"expected {FORMATS}"),
        (['{"question": "1?"}', '{"question": "1?", "answer": null}'], {},
         "{data}: line 1 has no answer; line 2 has no answer", f"expected {FORMATS}"),
        (['{"question": "1?", "answer": NaN}', '{"question": "1?", "answer": -Infinity}'], {},
         "{data}: line 1 has no answer that can be read (nan is no number and no text); line 2 has "
         "no answer that can be read (-inf is no number and no text)", f"expected {FORMATS}"),
        (["x"] * 7, {}, "{data}: line 1 is no JSON object; line 2 is no JSON object; line 3 is "
         "no JSON object; line 4 is no JSON object; line 5 is no JSON object and 2 more",
         f"expected {FORMATS}"),
        ([], {}, "{data}: holds no problems to measure on", f"expected {FORMATS}"),
        (['{"question": "1?", "answer": 1}'], {"skip": 3},
         "{data}: --skip 3 leaves none of its 1 problems", "lower --skip, or leave --lines out"),
        (["[1, 2"], {}, "{data}: not valid JSON", f"expected {FORMATS}"),
        (['{"question": "1?", "answer": 1}'], {"lines": "0 1"},
         "{lines}: line 1 is not in {data}, which has 0 to 0",
         "give the file that the numbers were made for"),
        (['{"question": "1?", "answer": 1}'], {"lines": "a"},
         "{lines}: expected 0-based line numbers", "check --lines"),
        (['{"question": "1?", "answer": 1}'], {"rules": '{"id": 1}'},
         '{rules}: row 1 has no "id" and "knowledge"', "check --rules-file"),
    ],
)  # fmt: skip
def test_what_is_refused(
    tmp_path: Path, lines: list[str], choice: dict[str, Any], message: str, hint: str
) -> None:
    data = tmp_path / "a.jsonl"
    data.write_text("".join(line + "\n" for line in lines))
    given: dict[str, Any] = {}
    for name, text in choice.items():
        given[name] = text if name == "skip" else tmp_path / name
        if name != "skip":
            given[name].write_text(text)
    with pytest.raises(InputError) as raised:
        load(str(data), Choice(**given))
    assert raised.value.message == message.format(data=data, **given)
    assert raised.value.hint == hint


def test_missing_files_are_named(tmp_path: Path) -> None:
    none = tmp_path / "none"
    with pytest.raises(InputError) as raised:
        load(rows(tmp_path), Choice(lines=none))
    assert raised.value.message == f"{none}: No such file or directory"
    assert raised.value.hint == "check --lines"
    with pytest.raises(InputError) as raised:
        load(str(none), Choice())
    assert raised.value.message == f"{none}: no such file"
    assert raised.value.hint == "give a .jsonl file, practice: or a hub id OWNER/NAME"
    with pytest.raises(InputError) as raised:
        load(str(tmp_path), Choice())
    assert raised.value.message == f"{tmp_path}: Is a directory"


@pytest.mark.parametrize("flag", ["lines", "rules"])
def test_files_make_no_sense_with_practice(tmp_path: Path, flag: str) -> None:
    name = {"lines": "--lines", "rules": "--rules-file"}[flag]
    with pytest.raises(InputError) as raised:
        load("practice:", Choice(**{flag: tmp_path}))  # type: ignore[arg-type]
    assert raised.value.message == (
        f"{name} was given with practice problems, not a file of problems"
    )
    assert raised.value.hint == (
        "choose with --count and --skip; the families bring their own rules"
    )


def test_a_data_set_in_the_hubs_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "datasets--someone--sums" / "snapshots" / "abc" / "data"
    folder.mkdir(parents=True)
    write(folder / "train.jsonl", {"question": "train?", "answer": 1})
    write(folder / "test.jsonl", {"question": "test?", "answer": 1})
    assert [c.question for c in load("someone/sums", Choice())] == ["test?"]
    assert [c.question for c in load("someone/sums:train.jsonl", Choice())] == ["train?"]
    with pytest.raises(InputError) as raised:
        load("someone/else", Choice())
    assert raised.value.message == (
        f"someone/else: no file, and the Hugging Face cache ({tmp_path / 'hub'}) holds no .jsonl "
        "or .json of it"
    )
    assert raised.value.hint == (
        "hf download --repo-type dataset someone/else, or give a .jsonl file"
    )


def test_a_case_keeps_a_time_of_day() -> None:
    case = from_dict(Case(1, Q, answer(1)).as_dict() | {"gold": "15:30"})
    assert (case.gold.kind, case.gold.value) == ("time", 930)
