"""`lorid practice` as a person meets it: what is printed where, files, worksheets, speed."""

import html
import json
import os
import re
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.exceptions import UsageError

from lorid_local.commands.group import group
from lorid_local.errors import InputError, OutputError
from lorid_local.practice.families import load
from tests.test_practice_family import row, write

Capture = pytest.CaptureFixture[str]


def lorid(capsys: Capture, *arguments: Any) -> tuple[str, str]:
    """Run `lorid practice`; return what went to standard output and to standard error."""
    group.main(["practice", *map(str, arguments)], prog_name="lorid", standalone_mode=False)
    return tuple(capsys.readouterr())  # type: ignore[return-value]


def test_the_list_shows_topics_counts_and_grades(capsys: Capture) -> None:
    out, err = lorid(capsys, "list")
    head, first, *others = out.splitlines()
    assert head == "families  grades     topic"
    assert first == "     141  3-8        percents of amounts and groups"
    assert len(others) == len(load().topics()) - 1 and err == ""
    assert "      23  4,5,6,8    averages and what is needed for one" in others


def test_the_list_of_a_grade_as_json(capsys: Capture) -> None:
    rows = json.loads(lorid(capsys, "list", "--grade", 8, "--json")[0])
    assert rows[0] == {"topic": "ages of people and things", "families": 1, "grades": [8]}
    assert len(rows) == 6


def test_a_problem_is_shown_without_its_answer(capsys: Capture) -> None:
    out, err = lorid(capsys, "show", "T10-02", "--seed", 1)
    problem = json.loads(lorid(capsys, "show", "T10-02", "-s", 1, "--answer", "--json")[0])
    assert out == problem["question"] + "\n"
    assert err == "\nWith the answer: lorid practice show T10-02 --seed 1 --answer\n"
    bare = json.loads(lorid(capsys, "show", "T10-02", "--seed", 1, "--json")[0])
    assert bare.keys() == {"question", "topic", "grade", "family", "seed"}
    assert problem["family"] == "T10-02" and problem["seed"] == 1


def test_the_answer_comes_with_rules_and_steps(capsys: Capture) -> None:
    problem = json.loads(lorid(capsys, "show", "T10-02", "--seed", 1, "--answer", "--json")[0])
    out, err = lorid(capsys, "show", "T10-02", "--seed", 1, "--answer")
    assert out.splitlines() == [
        problem["question"],
        "",
        "What one must know",
        *(f"  - {rule}" for rule in problem["knowledge"]),
        "",
        "Step by step",
        *(f"  {step['sentence']}" for step in problem["steps"]),
        "",
        "Answer:",
        problem["answer"],
    ]
    assert err == ""
    assert problem["steps"][-1]["calculation"].endswith(f" = {problem['answer']}")


def test_the_hint_shows_the_same_problem_of_a_topic(capsys: Capture) -> None:
    question, err = lorid(capsys, "show", "bus", "commut", "--seed", 5)
    command = err.removeprefix("\nWith the answer: lorid practice ").split()
    assert lorid(capsys, *command)[0].startswith(question)
    assert lorid(capsys, "show", "bus commut", "--seed", 5)[0] == question


def test_without_a_seed_a_problem_is_new_each_time(capsys: Capture) -> None:
    assert len({lorid(capsys, "show")[0] for _ in range(6)}) > 1


def test_a_wide_text_is_wrapped_on_a_terminal(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    question, _ = lorid(capsys, "show", "T10-02", "--seed", 1)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "40")
    out, _ = lorid(capsys, "show", "T10-02", "--seed", 1, "--answer")
    assert max(map(len, out.splitlines())) <= 40
    assert " ".join(out.split()).startswith(question.strip())


def test_a_file_of_ones_own(capsys: Capture, tmp_path: Path) -> None:
    path = write(tmp_path / "my own.jsonl", row())
    assert lorid(capsys, "--families", path, "list")[0].endswith("       1  3       sales\n")
    _, err = lorid(capsys, "--families", path, "show", "sales", "--seed", 2)
    assert err.startswith(f"\nWith the answer: lorid practice --families '{path}' show clips --se")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("show piza", "no topic fits 'piza' (did you mean pizza?)"),
        ("list --grade 1", "no family is for grade 1, only for 2, 3, 4, 5, 6, 7, 8"),
        ("export 3 --topic T57-03 --grade 9",
         "no family of topic 'T57-03' is for grade 9, only for 4"),
    ],
)  # fmt: skip
def test_what_there_is_not_is_refused(arguments: str, message: str, capsys: Capture) -> None:
    with pytest.raises(InputError) as error:
        lorid(capsys, *arguments.split())
    assert (error.value.message, error.value.hint) == (message, "lorid practice list")
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("count", ["0", "-1", "x"])
def test_a_number_of_problems_is_one_or_more(count: str, capsys: Capture) -> None:
    with pytest.raises(UsageError):
        lorid(capsys, "export", "--", count)


# --- export


def test_problems_as_json_lines(capsys: Capture) -> None:
    out, err = lorid(capsys, "export", 30, "--topic", "pizza", "--seed", 4)
    rows = [json.loads(line) for line in out.splitlines()]
    assert len(rows) == 30 and err == "30 problems, seed 4\n"
    keys = {"question", "answer", "steps", "knowledge", "topic", "grade", "family", "seed"}
    assert all(row.keys() == keys and row["topic"] == "pizza, cakes and slices" for row in rows)
    assert len({row["question"] for row in rows}) == 30
    again, _ = lorid(capsys, "export", 30, "--topic", "pizza", "--seed", 4)
    assert again == out
    shown, _ = lorid(capsys, "show", rows[9]["family"], "--seed", rows[9]["seed"])
    assert shown.strip() == rows[9]["question"]


def test_a_file_is_written_whole_or_not_at_all(capsys: Capture, tmp_path: Path) -> None:
    path = tmp_path / "problems.jsonl"
    out, err = lorid(capsys, "export", 1, "--seed", 1, "-o", path)
    assert (out, err) == ("", f"1 problem, seed 1, in {path}\n")
    assert len(path.read_text().splitlines()) == 1
    slots = row()["slots"] | {"a": [11, 11, 2]}
    never = write(tmp_path / "own.jsonl", row(slots=slots))
    before = path.read_text()
    with pytest.raises(Exception, match="no valid numbers"):
        lorid(capsys, "--families", never, "export", 2, "-o", path)
    assert path.read_text() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["own.jsonl", "problems.jsonl"]


def test_a_device_is_written_to_and_not_replaced(capsys: Capture) -> None:
    lorid(capsys, "export", 1, "-o", os.devnull)
    assert not Path(os.devnull).is_file()


def test_a_file_that_cannot_be_written(capsys: Capture, tmp_path: Path) -> None:
    path = tmp_path / "missing" / "sheet.html"
    with pytest.raises(OutputError) as error:
        lorid(capsys, "export", 1, "-o", path)
    assert error.value.message == (
        f"{path}: the problems cannot be written (No such file or directory)"
    )
    assert error.value.hint == "give -o a file in a folder that you may write to"


def test_a_worksheet_has_the_problems_then_the_answers(capsys: Capture) -> None:
    asked = ("export", 12, "--topic", "pizza", "--grade", 5, "--seed", 6)
    page, err = lorid(capsys, *asked, "--format", "html")
    rows = [json.loads(line) for line in lorid(capsys, *asked)[0].splitlines()]
    sheet, key = page.split('<section class="key">')
    assert re.findall(r"<li><p>(.*?)</p>", sheet) == [html.escape(r["question"]) for r in rows]
    assert re.findall(r"<strong>(.*?)</strong>", key) == [r["answer"] for r in rows]
    assert sheet.count('<div class="work"></div>') == 12 and "<ol>" in sheet and "<ol>" in key
    assert "<title>Practice: pizza, grade 5</title>" in sheet
    assert "<footer>lorid: 12 problems, seed 6</footer>" in key
    assert ".key { break-before: page; }" in page and "@media print" in page
    assert not re.search(r"(?:src|href)=|@import|url\(|<script", page)  # one file, nothing else
    assert err == "12 problems, seed 6\n"


def test_a_worksheet_escapes_every_text(capsys: Capture, tmp_path: Path) -> None:
    evil = '<script>alert("1 & 2")</script>'
    changes = {"question": [f"{{n}} {{item}} {{a}} {{k}} {evil}"], "topic": evil}
    slots = row()["slots"] | {"item": ["<b>'clips'</b>"]}
    path = write(tmp_path / "own.jsonl", row(slots=slots, **changes))
    page, _ = lorid(capsys, "--families", path, "export", 2, "--topic", evil, "--format", "html")
    assert "<script" not in page and "<b>" not in page
    assert page.count(html.escape(evil)) == 4  # two titles, two questions
    assert "&lt;b&gt;&#x27;clips&#x27;&lt;/b&gt;" in page


# --- the process


START = "from lorid_local.cli import main; main()"


def test_the_first_problem_comes_at_once_and_loads_no_model() -> None:
    code = (
        "import sys\n"
        "sys.argv = ['lorid', 'practice', 'show', 'pizza', '--seed', '1']\n"
        "try:\n"
        "    from lorid_local.cli import main; main()\n"
        "except SystemExit:\n"
        "    heavy = {'numpy', 'rich', 'llama_cpp', 'gguf', 'torch', 'sympy', 'asyncio'}\n"
        "    print(heavy & {name.partition('.')[0] for name in sys.modules}, file=sys.stderr)\n"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                         env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)})  # fmt: skip
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert ran.stdout.count("\n") == 1 and ran.stderr.endswith("set()\n")
    assert used < 0.5  # seconds of CPU time, the interpreter's start included


def test_an_error_is_a_message_and_a_next_command() -> None:
    ran = subprocess.run([sys.executable, "-c", START, "practice", "show", "piza"],
                         capture_output=True, text=True, check=False,
                         env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)})  # fmt: skip
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr == (
        "Error: no topic fits 'piza' (did you mean pizza?)\nHint: lorid practice list\n"
    )
