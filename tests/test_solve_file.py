"""`lorid solve --file`: the results file that a run goes on with, and the bar on a terminal."""

import json
from pathlib import Path
from typing import Any

import pytest

from lorid_local.errors import InputError, OutputError
from lorid_local.problems import Problem
from lorid_local.solve_file import progress, sink, stored, worst

TODO = [Problem(f"{n} + 1?") for n in range(1, 5)]
SETTINGS = {"seed": 0, "protocol": "same-round", "max_rounds": 8}
REMOVE = "give another file with -o/--output, or remove this one"


def record(number: int, **changes: Any) -> dict[str, Any]:
    text = {"question": f"{number} + 1?", "status": "agreed"}
    return {**text, **SETTINGS, **changes}


def write(path: Path, *records: Any) -> Path:
    path.write_text("".join(json.dumps(r) + "\n" for r in records))
    return path


def test_no_file_or_an_empty_one_holds_nothing(tmp_path: Path) -> None:
    assert stored(tmp_path / "none.jsonl", TODO, SETTINGS, mend=True) == []
    assert stored(write(tmp_path / "empty.jsonl"), TODO, SETTINGS, mend=True) == []
    assert stored(Path("/dev/null"), TODO, SETTINGS, mend=True) == []


def test_what_is_there_is_taken(tmp_path: Path) -> None:
    path = write(tmp_path / "out.jsonl", record(1), record(2, status="no-agreement"))
    assert stored(path, TODO, SETTINGS, mend=True) == [record(1), record(2, status="no-agreement")]


def test_a_line_that_was_cut_off_is_removed(tmp_path: Path) -> None:
    path = write(tmp_path / "out.jsonl", record(1))
    whole = path.read_bytes()
    for cut in (b"{", b'{"question": "2 + 1?"', json.dumps(record(2)).encode()[:-1]):
        path.write_bytes(whole + cut)
        assert stored(path, TODO, SETTINGS, mend=True) == [record(1)]
        assert path.read_bytes() == whole


def test_a_result_that_lacks_the_end_of_its_line_alone_stays(tmp_path: Path) -> None:
    path = write(tmp_path / "out.jsonl", record(1), record(2))
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    for mend in (False, True):
        assert stored(path, TODO, SETTINGS, mend=mend) == [record(1), record(2)]
        assert path.read_bytes() == (whole if mend else whole[:-1])


def test_from_an_interrupted_problem_on_all_is_done_again(tmp_path: Path) -> None:
    lines = [record(1), record(2, status="interrupted"), record(3, status="interrupted")]
    path = write(tmp_path / "out.jsonl", *lines)
    assert stored(path, TODO, SETTINGS, mend=True) == lines[:1]
    assert path.read_text() == json.dumps(lines[0]) + "\n"


def test_a_file_may_be_looked_at_without_a_change(tmp_path: Path) -> None:
    path = write(tmp_path / "out.jsonl", record(1), record(2, status="interrupted"))
    path.write_text(path.read_text() + "{")
    before = path.read_bytes()
    assert stored(path, TODO, SETTINGS, mend=False) == [record(1)]
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("number", "change", "key"),
    [
        (1, {"question": "9 + 1?"}, "question"),
        (2, {"seed": 1}, "seed"),
        (2, {"protocol": "pooled"}, "protocol"),
        (1, {"max_rounds": 4}, "max_rounds"),
    ],
)
def test_results_of_another_run_are_refused(
    tmp_path: Path, number: int, change: dict[str, Any], key: str
) -> None:
    path = write(tmp_path / "out.jsonl", *[record(n) for n in range(1, number)],
                 record(number, **change))  # fmt: skip
    before = path.read_bytes()
    with pytest.raises(InputError) as raised:
        stored(path, TODO, SETTINGS, mend=True)
    assert raised.value.message == (
        f"{path}:{number}: the result of another run (its {key} differs)"
    )
    assert raised.value.hint == REMOVE
    assert path.read_bytes() == before


def test_more_results_than_problems_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "out.jsonl", *[record(n) for n in range(1, 6)])
    with pytest.raises(InputError, match=r":5: the result of another run"):
        stored(path, TODO, SETTINGS, mend=True)


@pytest.mark.parametrize("end", ["", "\n"])
@pytest.mark.parametrize(
    "line", ["[]", "not json", '"text"', "[" * 100_000, '{"id": 1, "question": "1 + 1?"}', "{}"]
)
def test_what_is_no_result_is_refused(tmp_path: Path, line: str, end: str) -> None:
    path = tmp_path / "out.jsonl"
    path.write_text(line + end)
    with pytest.raises(InputError) as raised:
        stored(path, TODO, SETTINGS, mend=False)
    assert raised.value.message == f"{path}:1: not a result of lorid"
    assert raised.value.hint == REMOVE
    assert path.read_text() == line + end


def test_results_are_added_behind_those_there(tmp_path: Path) -> None:
    path = write(tmp_path / "out.jsonl", record(1))
    with sink(path, json.dumps) as put:
        put(record(2))
        assert stored(path, TODO, SETTINGS, mend=True) == [record(1), record(2)]  # on disk at once


def test_without_a_file_results_go_to_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    with sink(None, json.dumps) as put:
        put(record(1))
    assert json.loads(capsys.readouterr().out) == record(1)


def test_a_place_that_takes_no_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "none" / "out.jsonl"
    with pytest.raises(OutputError) as raised, sink(path, json.dumps):
        pass
    assert raised.value.message == f"{path}: cannot be written (No such file or directory)"
    assert raised.value.hint == (
        "give -o/--output a file in a folder that you may write to; what it holds is kept"
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
def test_a_full_disk_is_named() -> None:
    with pytest.raises(OutputError) as raised, sink(Path("/dev/full"), json.dumps) as put:
        put(record(1))
    assert raised.value.message == "/dev/full: cannot be written (No space left on device)"


def test_lines_count_from_what_was_done_before(capsys: pytest.CaptureFixture[str]) -> None:
    with progress(2, 4, quiet=False) as told:
        told("agreed")
        told("no-agreement")
    assert capsys.readouterr().err == "3/4 agreed\n4/4 no-agreement\n"
    with progress(0, 4, quiet=True) as told:
        told("agreed")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("statuses", "code"),
    [
        ([], 0),
        (["agreed"], 0),
        (["agreed", "no-agreement"], 3),
        (["timeout", "agreed"], 3),
        (["no-agreement", "error"], 1),
        (["error", "interrupted", "agreed"], 130),
    ],
)
def test_the_exit_code_is_the_worst(statuses: list[str], code: int) -> None:
    assert worst(statuses) == code
