"""Finding families by topic and grade, and problems without end from them."""

import json
import time
from collections import Counter
from itertools import islice, pairwise
from pathlib import Path

import pytest

from lorid_local.errors import InputError
from lorid_local.practice.bank import WINDOW, Bank
from lorid_local.practice.drawing import draw
from lorid_local.practice.families import Families, Topic, load
from lorid_local.practice.family import FamilyError
from lorid_local.practice.topics import GROUPS, topic_of
from tests.test_practice_family import row, write


@pytest.fixture(scope="module")
def families() -> Families:
    return load()


# --- topics


def test_the_topics_hold_every_family(families: Families) -> None:
    topics = families.topics()
    assert sum(topic.count for topic in topics.values()) == len(families)
    assert list(topics.values()) == sorted(topics.values(), key=lambda topic: -topic.count)
    own = {name: topic for name, topic in topics.items() if topic.count == 12}
    assert len(own) == 80  # the T families; the S families are in groups
    assert own["pizza, cakes and slices"] == Topic(12, own["pizza, cakes and slices"].grades)
    groups = topics.keys() - own.keys()
    assert {name for name, _ in GROUPS} <= groups
    assert groups - {name for name, _ in GROUPS} == {
        "several operations in a row", "adding and taking away"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("id", "words", "expression", "topic"),
    [
        ("T01-01", "ages now", "a + b", "ages now"),
        ("mine", "ages now", "a + b", "ages now"),
        ("S1-001", "ages after some years", "a + b", "ages of people and things"),
        ("S1-001", "averages by percent", "a + b", "averages and what is needed for one"),
        ("S1-001", "packages of cabbages", "a + b", "groups, packs and counting"),  # no age
        ("S1-001", "how it ends", "a + b * 2", "several operations in a row"),
        ("S1-001", "how it ends", "a - b", "adding and taking away"),
        ("S1-001", "how it ends", "a * b", "multiplying and dividing"),
    ],
)
def test_a_family_has_one_topic(id: str, words: str, expression: str, topic: str) -> None:
    assert topic_of(row(id=id, topic=words, steps=[["t", expression, ""]])) == topic


def test_topics_of_one_grade(families: Families) -> None:
    topics = families.topics(grade=8)
    assert {topic.grades for topic in topics.values()} == {(8,)}
    assert sum(topic.count for topic in topics.values()) == len(families.ids(grade=8)) == 6


def test_families_are_found_by_topic_words_and_id(families: Families) -> None:
    pizza = families.ids("pizza, cakes and slices")
    assert len(pizza) == 12
    assert families.ids("Pizza") == families.ids("  SLIC cak ") == pizza
    assert families.ids("T57-03") == ["T57-03"]
    percent = {families.family(id).topic for id in families.ids("percent")}
    assert "percents of amounts and groups" in percent and len(percent) > 3
    both = families.ids("pizza", grade=families.family(pizza[0]).grade)
    assert set(both) < set(pizza) and pizza[0] in both


def test_an_exact_topic_is_not_widened() -> None:
    families = load_rows([row(topic="eggs"), row(id="b", topic="eggs and hens")])
    assert families.ids("eggs") == ["clips"]
    assert families.ids("egg") == ["clips", "b"]


def load_rows(rows: list[dict[str, object]]) -> Families:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        return load(write(Path(folder) / "own.jsonl", *rows))


@pytest.mark.parametrize(
    ("topic", "grade", "message"),
    [
        ("piza", None, "no topic fits 'piza' (did you mean pizza?)"),
        ("zzzz", None, "no topic fits 'zzzz'"),
        (" ", None, "no topic fits ' '"),
        ("pizza bus", None, "no topic fits 'pizza bus' (did you mean pizza?)"),
        (None, 1, "no family is for grade 1, only for 2, 3, 4, 5, 6, 7, 8"),
        ("T57-03", 12, "no family of topic 'T57-03' is for grade 12, only for 4"),
    ],
)
def test_what_there_is_not_is_named(
    families: Families, topic: str | None, grade: int | None, message: str
) -> None:
    with pytest.raises(InputError) as error:
        families.ids(topic, grade)
    assert (error.value.message, error.value.hint) == (message, "lorid practice list")


# --- files


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    families = load(write(tmp_path / "own.jsonl", row(), row(id="b", grade=4)))
    assert families.topics() == {"sales": Topic(2, (3, 4))}
    assert families.family("b").grade == 4
    with pytest.raises(KeyError):
        families.family("c")


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "own.jsonl"
    for prepare, reason in (
        (lambda: None, "No such file or directory"),
        (lambda: path.write_bytes(b"\xff"), "not UTF-8"),
    ):
        prepare()
        with pytest.raises(InputError) as error:
            load(path)
        assert error.value.message == f"{path}: cannot be read ({reason})"
        assert error.value.hint == "check --families"


def test_faulty_lines_are_all_named(tmp_path: Path) -> None:
    path = write(tmp_path / "own.jsonl", row(), row(grade=0), row())
    path.write_text(path.read_text() + "\n{\n")
    with pytest.raises(FamilyError) as error:
        load(path)
    assert error.value.message == (
        f"{path}:2: grade: expected 1 to 12, got 0; "
        f"{path}:3: id 'clips' stands in {path}:1 too; {path}:5: no JSON"
    )
    path.write_text("{\n" * 7)
    with pytest.raises(FamilyError, match=r"5: no JSON \(and 2 more\)$") as error:
        load(path)
    assert error.value.hint == "correct the file and run again"
    path.write_text("\n")
    with pytest.raises(FamilyError) as error:
        load(path)
    assert error.value.message == f"{path}: holds no families"
    assert error.value.hint == "write one JSON object a line"


# --- the bank


def test_the_same_seed_gives_the_same_problems(families: Families) -> None:
    first, again, other = (Bank(families, topic="pizza", seed=seed) for seed in (1, 1, 2))
    problems = list(islice(first, 40))
    assert problems == list(islice(again, 40)) != list(islice(other, 40))


def test_a_problem_is_the_draw_of_its_seed(families: Families) -> None:
    for problem in islice(Bank(families, seed=3), 20):
        assert problem == draw(families.family(problem.family), problem.seed)


def test_every_family_comes_once_before_any_comes_again(families: Families) -> None:
    problems = list(islice(Bank(families, grade=7, seed=5), 5 * 72))
    turns = [[p.family for p in problems[i : i + 72]] for i in range(0, len(problems), 72)]
    assert all(sorted(turn) == sorted(families.ids(grade=7)) for turn in turns)
    assert len({tuple(turn) for turn in turns}) == 5  # shuffled anew


def test_no_family_comes_twice_in_a_row(families: Families) -> None:
    problems = islice(Bank(families, grade=8, seed=5), 40 * 6)
    assert not any(first.family == second.family for first, second in pairwise(problems))


def test_no_numbers_come_again_within_the_window(families: Families) -> None:
    problems = list(islice(Bank(families, topic="pizza", seed=1), 3 * WINDOW))
    last: dict[object, int] = {}
    for i, problem in enumerate(problems):
        key = (problem.family, problem.numbers)
        assert i - last.get(key, -WINDOW - 1) > WINDOW
        last[key] = i


def test_few_number_sets_come_again_only_when_all_were_seen() -> None:
    slots = row()["slots"] | {"a": [10, 14, 2], "k": {"choices": [0.5]}}
    problems = list(islice(Bank(load_rows([row(slots=slots)]), seed=2), 60))
    sets = [problem.numbers for problem in problems]
    assert Counter(sets).keys() == set(sets[:3]) and len(set(sets)) == 3
    assert not any(first == second for first, second in pairwise(sets))


def test_one_number_set_alone_comes_again_and_again() -> None:
    slots = row()["slots"] | {"a": [10, 10, 2], "k": {"choices": [0.5]}}
    problems = list(islice(Bank(load_rows([row(slots=slots)])), 5))
    assert len({problem.numbers for problem in problems}) == 1


def test_drawing_is_fast_enough_to_train_from(families: Families) -> None:
    """About 8,000 a second of CPU time on an idle core; a loaded one is slower."""
    compiled = list(families)
    start = time.thread_time()
    for family in compiled:
        draw(family, 9)
    assert len(compiled) / (time.thread_time() - start) > 1500


def test_the_bundled_file_is_the_one_shipped(families: Families) -> None:
    path = Path(load.__code__.co_filename).with_name("families.jsonl")
    lines = path.read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["id"] for line in lines] == families.ids()
