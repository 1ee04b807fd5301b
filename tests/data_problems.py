"""Problems written for the tests of `lorid data`, as GSM8K writes them."""

import json
from pathlib import Path
from typing import Any

from lorid_train.rows import Row

PENS = Row(
    0,
    "Tom buys 8 pens for $1.50 each and 25 cards for $2 each. How much does he pay?",
    "The pens cost 8*$1.50=$<<8*1.5=12>>12.\nThe cards cost 25*$2 = $<<25*2=50>>50.\n"
    "He pays $12+$50=$<<12+50=62>>62.",
    "62",
    ("A total price is the number of things multiplied by the price of one.",),
)
SALE = Row(
    1,
    "A coat of $80 is sold at 25% off. What is the price now?",
    "The discount is 80*25/100=$<<80*25/100=20>>20.\nThe price is 80-20=$<<80-20=60>>60.",
    "60",
    ("A discount is the price multiplied by the percent.",),
)
HALF = Row(
    2,
    "Anna picks 48 pears and gives half of them away. She puts the rest in six baskets. "
    "How many pears are in a basket?",
    "She gives away 48/2 = <<48/2=24>>24 pears.\nShe keeps 48-24 = <<48-24=24>>24 pears.\n"
    "Six baskets hold 24/6 = <<24/6=4>>4 pears each.",
    "4",
    ("Half of a number is the number divided by two.",),
)
WEEK = Row(
    3,
    "Mia saves 40 coins a day. How many coins does she save in 9 weeks?",
    "A week has 7 days, so she saves 40*7 = <<40*7=280>>280 coins a week.\n"
    "That is 280*9 = <<280*9=2520>>2520 coins.",
    "2520",
    ("A week has seven days.",),
)
ALL = (PENS, SALE, HALF, WEEK)


def changed(row: Row, **values: Any) -> Row:
    """Return a row with some fields changed."""
    return Row(**{**vars(row), **values})


def short(question: str, rationale: str, answer: str) -> Row:
    """Return a problem without rules."""
    return Row(0, question, rationale, answer, ())


def write_lines(path: Path, records: list[dict[str, Any]]) -> None:
    """Write JSON lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


def data_folder(root: Path) -> Path:
    """Make a data folder: problems, rules, a test set, a line left out; return a recipe."""
    dev = "Zoe has 70 owls and sells 30 owls. How many owls does she keep?"
    near = "Zoe has 95 owls and sells 40 owls. How many owls does she keep?"
    rows = [
        *({"question": r.question, "answer": f"{r.rationale}\n#### {r.answer}"} for r in ALL),
        {"question": dev, "answer": "She keeps 70-30=<<70-30=40>>40.\n#### 40"},
        {"question": near, "answer": "She keeps 95-40=<<95-40=55>>55.\n#### 55"},
        {"question": "What is 3 less 1?", "answer": "It is 3-1=<<3-1=2>>2.\n#### 9"},
    ]
    write_lines(root / "train.jsonl", rows)
    rules = [{"id": at, "knowledge": list(row.knowledge)} for at, row in enumerate(ALL)]
    write_lines(root / "rules.jsonl", rules)
    write_lines(root / "test.jsonl", [{"question": "A ship has 3 masts. How many?"}])
    (root / "dev_ids.txt").write_text("4\n")
    recipe = root / "tiny.toml"
    recipe.write_text(RECIPE)
    return recipe


RECIPE = """
name = "tiny"
seed = 3
overlap = ["test.jsonl"]
imperfect_rules = 0.5
rename = 0.5
[[problems]]
source = "train.jsonl"
knowledge = "rules.jsonl"
leave_out = ["dev_ids.txt"]
originals = { ir = 2, kg = 1, dr = 1 }
templates = { ir = 6, dr = 3 }
[families]
file = "families.jsonl"
heldout = 2
draws = { ir = 3, kg = 1, dr = 2 }
"""


def families(path: Path, ids: list[str]) -> None:
    """Write small families with these ids."""
    write_lines(path, [
        {
            "id": id, "topic": "owls", "grade": 3,
            "question": [f"{{n}} counts {{a}} {id} owls and then {{b}} more. How many is that?"],
            "slots": {"n": "person", "a": [10, 90, 1], "b": [3, 50, 1]},
            "where": ["a > b"],
            "steps": [["t", "a + b", "{n} counts {a} + {b} = {t} owls."]],
            "answer": "t",
            "knowledge": ["A total is the sum of its parts."],
        }
        for id in ids
    ])  # fmt: skip
