"""What reads problems (GSM8K, the authors' format, MATH, the hub's cache); the overlap filter."""

import json
import random
import sys
from pathlib import Path

import pytest

from lorid_local.errors import MissingExtra, TrainError
from lorid_train import overlap, people, rows
from lorid_train.marking import misstated
from tests.data_problems import write_lines


def test_gsm8k_is_read_with_rules_by_line(tmp_path: Path) -> None:
    write_lines(tmp_path / "t.jsonl", [
        {"question": "What  is\n1 and 1?", "answer": "It is <<1+1=2>>2.\n#### 2"},
        {"question": "What is 2?", "answer": "Two.\n#### 2 "},
    ])  # fmt: skip
    write_lines(tmp_path / "k.jsonl", [{"id": 1, "knowledge": ["Look.", "Look.", " "]}])
    first, second = rows.read(tmp_path, "t.jsonl", "gsm8k", "k.jsonl")
    assert first == rows.Row(0, "What is 1 and 1?", "It is <<1+1=2>>2.", "2", ())
    assert second == rows.Row(1, "What is 2?", "Two.", "2", ("Look.",))


def test_the_authors_format_has_its_rules_in_it_under_a_key_that_may_be_named(
    tmp_path: Path,
) -> None:
    row = {"id": "a-1", "question": "q", "rationale": "1+1=<<1+1=2>>2", "answer": 2,
           "knowledge": ["Add."], "mine": ["Sum up."]}  # fmt: skip
    write_lines(tmp_path / "a.jsonl", [row])
    (plain,) = rows.read(tmp_path, "a.jsonl", "authors")
    assert plain.knowledge == ("Add.",)
    (named,) = rows.read(tmp_path, "a.jsonl", "authors", rules="mine")
    assert named == rows.Row(0, "q", "1+1=<<1+1=2>>2", "2", ("Sum up.",))


def test_math_has_its_answer_in_a_box_and_no_chain(tmp_path: Path) -> None:
    solution = "First \\boxed{1}, no: $x = \\boxed{\\frac{1}{2}}$."
    write_lines(tmp_path / "m.jsonl", [{"problem": "p", "solution": solution}])
    assert list(rows.read(tmp_path, "m.jsonl", "math")) == [
        rows.Row(0, "p", "", "\\frac{1}{2}", ())
    ]
    assert rows.boxed("\\boxed{1") is None


@pytest.mark.parametrize(
    ("format", "record", "message"),
    [
        ("math", {"problem": "p", "solution": "x"}, "{at}: the solution has no \\boxed answer"),
        ("math", {"problem": "p"}, "{at}: expected an object with problem, solution"),
        ("authors", {"question": "q", "answer": "2"},
         "{at}: expected an object with answer, question, rationale"),
        ("gsm8k", {"question": "q", "answer": 2}, "{at}: answer must be text, got 2"),
        ("gsm8k", {"question": None, "answer": "#### 2"}, "{at}: question must be text, got None"),
    ],
)  # fmt: skip
def test_a_faulty_row_is_named(
    tmp_path: Path, format: rows.Format, record: dict[str, object], message: str
) -> None:
    write_lines(tmp_path / "t.jsonl", [record])
    with pytest.raises(TrainError) as caught:
        list(rows.read(tmp_path, "t.jsonl", format))
    assert caught.value.message == message.format(at=f"{tmp_path / 't.jsonl'}:1")


def hub(home: Path, files: dict[str, str]) -> None:
    """Write a data set into the Hugging Face cache as `hf download` leaves it."""
    folder = home / ".cache/huggingface/hub/datasets--openai--gsm8k"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs/main").write_text("0" * 40)
    for name, text in files.items():
        path = folder / "snapshots" / ("0" * 40) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_a_hub_id_is_read_from_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    constants = pytest.importorskip("huggingface_hub.constants")
    cache = tmp_path / ".cache/huggingface/hub"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    cache.mkdir(parents=True)
    fetch = "hf download --repo-type dataset openai/gsm8k, or name a file below --data"
    with pytest.raises(TrainError) as caught:
        list(rows.read(tmp_path, "openai/gsm8k"))
    assert caught.value.message == "openai/gsm8k is not in the local Hugging Face cache"
    assert caught.value.hint == fetch
    hub(tmp_path, {"main/train.jsonl": json.dumps({"question": "q", "answer": "#### 7"})})
    assert [row.answer for row in rows.read(tmp_path, "openai/gsm8k")] == ["7"]


def test_a_cached_data_set_without_its_training_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / ".cache/huggingface/hub"))
    hub(tmp_path, {"other.txt": ""})
    with pytest.raises(TrainError) as caught:
        rows.cached("openai/gsm8k")
    assert caught.value.message.endswith(": holds no main/train file")


def test_what_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingExtra) as caught:
        rows.cached("openai/gsm8k")
    assert caught.value.message == (
        "reading the Hugging Face cache needs huggingface_hub, which is not installed"
    )
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "t.parquet").write_bytes(b"")
    with pytest.raises(MissingExtra) as caught:
        list(rows.read(tmp_path, "t.parquet"))
    assert caught.value.message == "reading t.parquet needs pyarrow, which is not installed"


QUESTION = "A ship has 3 masts and each mast has 4 white sails. How many sails has it?"
INDEX = overlap.Index([("test", QUESTION), ("other", "Why?")])


@pytest.mark.parametrize(
    ("question", "why"),
    [
        (QUESTION.upper(), "same text as test"),
        (QUESTION.replace("4", "seven"), "same masked text as test"),
        ("Yesterday Ann saw it. A ship has 9 masts and each mast has 4 white sails, she says.",
         "5-grams of test"),
        ("A boat has 3 masts and each of them 4 white sails. How many sails has it?", ""),
        ("Why?", "same text as other"),
        ("Why not?", ""),
    ],
)  # fmt: skip
def test_near_questions_are_found(question: str, why: str) -> None:
    assert INDEX.near(question) == why
    assert INDEX.near(question) == why  # the second time from what is known


def test_the_share_of_5_grams_is_of_the_shorter_text() -> None:
    index = overlap.Index([("x", "a b c d e f g h i j")])  # 6 distinct 5-grams
    assert index.near("a b c d e f g q w r") == "5-grams of x"  # 3 of 6
    assert index.near("a b c d e f s q w r") == ""  # 2 of 6


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("a.json", '[{"Body": "Ann has 2.", "Question": "How many?"}]', "Ann has 2. How many?"),
        ("a.jsonl", '{"input": "i", "target": 1}', "i"),
        ("a.jsonl", '{"problem": "p"}', "p"),
    ],
)
def test_test_sets_of_three_kinds_are_read(
    tmp_path: Path, name: str, text: str, expected: str
) -> None:
    (tmp_path / name).write_text(text)
    assert list(overlap.questions(tmp_path, name)) == [(name, expected)]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.json", "{}", "{path}: expected a list of problems"),
        ("a.json", "[1]", "{path}:1: expected an object"),
        ("a.jsonl", '{"x": 1}',
         "{path}:1: expected question, input, problem, or Body and Question"),
        ("a.json", "{", "{path}: not JSON: Expecting property name enclosed in double quotes: "
         "line 1 column 2 (char 1)"),
    ],
)  # fmt: skip
def test_a_faulty_test_set_is_named(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(TrainError) as caught:
        list(overlap.questions(tmp_path, name))
    assert caught.value.message == message.format(path=tmp_path / name)


@pytest.mark.parametrize(
    ("text", "changes"),
    [
        ("Tom gives his sister Amy 3 owls.", {"Tom", "Amy"}),
        ("If Tom has 3 owls, he is glad.", {"Tom"}),
        ("Tom Sawyer has 3 owls.", set()),
        ("They swim in Lake Erin.", set()),
        ("Jacob spends 3 of her owls.", set()),  # of the other form here
        ("Zorba has 3 owls.", set()),
    ],
)
def test_names_that_are_surely_a_persons_are_changed(text: str, changes: set[str]) -> None:
    for seed in range(20):
        new = people.renaming(text, random.Random(seed))
        assert new.keys() == changes
        assert all(people.NAMES[old] == people.NAMES[name] for old, name in new.items())
        assert len(set(new.values())) == len(new)
        assert ("3 owls" in people.renamed(text, new)) == ("3 owls" in text)


def test_a_calculation_in_words_that_is_false_is_seen() -> None:
    assert misstated("It costs 3/1=1 dollar, so 3*4=<<3*4=12>>12.")
    assert not misstated("It costs 3/1=<<3/1=3>>3 dollars, and 3 of 4 are 12.")
