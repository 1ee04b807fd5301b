"""`lorid teach --audit`: what is suspicious in a file of rules, and how it is reported."""

from pathlib import Path

import pytest

from lorid_local.errors import InputError
from lorid_train import audit
from lorid_train.rows import Row
from tests.data_problems import ALL, SALE, write_lines
from tests.test_teach import lorid

AUDITED = [
    ("A price for 25 coats.", "a number of the question", "25"),
    ("Multiply the zebra by its price.", "a name or thing of the question", "zebra"),
    ("Give Zorba the total.", "a name or thing of the question", "zorba"),
    ("The total is 8*3.", "a copy of the solution", "The total is 8*3."),
    ("The discount is now taken from price.", "a copy of the solution",
     "The discount is now taken from price."),
    ("Read the question carefully.", "advice without content", "Read the question carefully."),
    ("Think.", "advice without content", "Think."),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "kind", "what"), AUDITED)
def test_the_audit_finds(rule: str, kind: str, what: str) -> None:
    row = Row(
        7, "A zebra coat that Zorba sells at $80 with 25% off costs how much?",
        "The discount is now taken from: 80*25/100=<<80*25/100=20>>20.", "60", (),
    )  # fmt: skip
    others = [Row(i, f"{i} price?", "x", "1", ()) for i in range(100, 110)]
    clean = "The reduced amount is the percent multiplied by the whole and divided by 100."
    given: dict[int | str, tuple[str, ...]] = {7: (clean, rule)}
    (judged,) = audit.audit([row, *others], given).judged
    assert (kind, what) in judged.faults
    (judged,) = audit.audit([row, *others], {7: (clean,)}).judged
    assert judged.faults == ()
    (judged,) = audit.audit([row, *others], {7: (clean, f"- {clean.upper()}")}).judged
    assert ("a rule twice", f"- {clean.upper()}") in judged.faults
    (judged,) = audit.audit([row, *others], {7: ("The parts make up a sum.",)}).judged
    assert judged.faults == (("a step without a rule", "*"), ("a step without a rule", "/"))


def test_the_audit_reports_and_shows_samples(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_lines(tmp_path / "p.jsonl", [
        {"question": r.question, "answer": f"{r.rationale}\n#### {r.answer}"} for r in ALL
    ])  # fmt: skip
    write_lines(tmp_path / "r.jsonl", [
        {"id": 1, "knowledge": ["The discount is the price multiplied by the percent, divided "
                                "by 100.", "Subtract the discount from the price."]},
        {"id": 3, "knowledge": ["Mia saves 40 coins."]},
    ])  # fmt: skip
    assert lorid("p.jsonl", "--data", tmp_path, "--audit", tmp_path / "r.jsonl") == 0
    out = capsys.readouterr().out
    assert out.splitlines()[:7] == [
        "problems with rules: 2; without: 2; rules: 3",
        "rules a problem: 1.50; distinct rules: 3",
        "nothing suspicious: 1 problems (50.0%)",
        "a name or thing of the question: 1 problems (50.0%)",
        "a number of the question: 1 problems (50.0%)",
        "a step without a rule: 1 problems (50.0%)",
        "advice without content: 1 problems (50.0%)",
    ]
    assert f"\n1: {SALE.question}\nSolution: " in out
    assert "  - Mia saves 40 coins.\n  ? a number of the question: 40\n" in out
    lorid("p.jsonl", "--data", tmp_path, "--audit", tmp_path / "r.jsonl", "--samples", 0)
    assert "Rules:" not in capsys.readouterr().out


@pytest.mark.parametrize("rules", ['"Multiply the boxes."', '["Multiply.", 3]', "null"])
def test_rules_that_are_no_list_of_texts_are_refused(tmp_path: Path, rules: str) -> None:
    path = tmp_path / "rules.jsonl"
    path.write_text(f'{{"id": 0, "knowledge": ["Add."]}}\n{{"id": 1, "knowledge": {rules}}}\n')
    with pytest.raises(InputError) as raised:
        audit.read(path)
    assert raised.value.message == f"{path}:2: its knowledge is no list of texts"
    assert raised.value.hint == ('expected lines {"id": 0, "knowledge": ["a rule", "another"]}')
