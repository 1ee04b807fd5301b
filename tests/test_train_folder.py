"""train/data: what data recipes name and this project wrote lies there, and no data set does."""

import json
import tomllib
from pathlib import Path

import pytest

from lorid_train import data, overlap, rows

FOLDER = Path(__file__).parents[1] / "train" / "data"
RECIPES = sorted((FOLDER.parent / "recipes").glob("data-*.toml"))
SHARED = Path(__file__).parents[2] / "shared" / "data"
TRAINING, DEV = 7473, 500  # problems of GSM8K's train.jsonl

pytestmark = pytest.mark.skipif(not RECIPES, reason="train/ lies in the source tree only")


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_what_a_recipe_names_is_here_but_for_data_sets(recipe: Path) -> None:
    for problems in tomllib.loads(recipe.read_text())["problems"]:
        ours = [problems.get("errata"), *problems.get("leave_out", ()), problems["knowledge"]]
        assert [name for name in ours if name and not (FOLDER / name).is_file()] == []
        assert (FOLDER / problems["source"]).parent.is_dir()


def test_the_dev_split_is_500_problems_and_rules_are_those_of_all() -> None:
    lists = [(FOLDER / "gsm8k" / name).read_text().split() for name in
             ("dev_ids.txt", "drop_ids.txt")]  # fmt: skip
    dev, dropped = ({int(line) for line in lines} for lines in lists)
    assert len(dev) == DEV and len(dropped) == 3 and not dev & dropped
    assert max(dev | dropped) < TRAINING
    known = rows.jsonl(FOLDER / "knowledge" / "gsm8k-train.jsonl", {"id", "knowledge"})
    ids = [record["id"] for _, record in known]
    assert len(set(ids)) == len(ids) > 7000 and dev < set(ids) <= set(range(TRAINING))
    out = rows.excluded(FOLDER, ("gsm8k/dev_ids.txt",), "knowledge/gsm8k-train-errata.json")
    assert dev < out.keys()


WRITTEN = ("written/problems.jsonl", "gsm8k", "written/knowledge.jsonl")


def test_each_written_problem_has_a_chain_that_holds_and_is_unlike_the_others() -> None:
    problems = list(rows.read(FOLDER, *WRITTEN))
    assert len(problems) > 6000
    assert [row.id for row in problems if not (data.equations(row) and data.prose(row))] == []
    assert sum(not row.knowledge for row in problems) < 100
    index = overlap.Index([])
    for row in problems:
        assert not (why := index.near(row.question)), f"{row.id}: {why}"
        index.add(str(row.id), row.question)


@pytest.mark.skipif(not SHARED.exists(), reason="the data sets are not here")
def test_no_written_problem_is_near_one_of_a_data_set() -> None:
    names = ["gsm8k/train.jsonl", "gsm8k/test.jsonl", "svamp/SVAMP.json"]
    names += [f"mawps/{name}.jsonl" for name in ("multiarith", "singleeq", "addsub")]
    index = overlap.Index(q for name in names for q in overlap.questions(SHARED, name))
    near = {row.id: index.near(row.question) for row in rows.read(FOLDER, *WRITTEN)}
    assert not {id: why for id, why in near.items() if why}


def test_no_data_set_lies_here() -> None:
    ignored = (FOLDER / ".gitignore").read_text().split()
    assert {"gsm8k/*.jsonl", "svamp/", "mawps/"} <= set(ignored)
    for path in FOLDER.rglob("*.json*"):
        if path.parent.name == "knowledge" and path.suffix == ".jsonl":
            keys = {frozenset(json.loads(line)) for line in path.read_text().splitlines()}
            assert keys == {frozenset({"id", "knowledge"})}  # rules, no question and no solution
