"""train/data: what data recipes name and this project wrote lies there, and no data set does."""

import json
import tomllib
from pathlib import Path

import pytest

from lorid_train import rows

FOLDER = Path(__file__).parents[1] / "train" / "data"
RECIPES = sorted((FOLDER.parent / "recipes").glob("data-*.toml"))
TRAINING, DEV = 7473, 500  # problems of GSM8K's train.jsonl

pytestmark = pytest.mark.skipif(not RECIPES, reason="train/ lies in the source tree only")


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_what_a_recipe_names_is_here_but_for_data_sets(recipe: Path) -> None:
    for problems in tomllib.loads(recipe.read_text())["problems"]:
        ours = [problems["knowledge"], problems["errata"], *problems["leave_out"]]
        assert [name for name in ours if not (FOLDER / name).is_file()] == []
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


def test_no_data_set_lies_here() -> None:
    ignored = (FOLDER / ".gitignore").read_text().split()
    assert {"gsm8k/*.jsonl", "svamp/", "mawps/"} <= set(ignored)
    for path in FOLDER.rglob("*.json*"):
        if path.parent.name == "knowledge" and path.suffix == ".jsonl":
            keys = {frozenset(json.loads(line)) for line in path.read_text().splitlines()}
            assert keys == {frozenset({"id", "knowledge"})}  # rules, no question and no solution
