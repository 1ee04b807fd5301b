"""What the flags make of a bundle's settings, and what a file of problems holds; no model."""

import io
import json
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lorid_local import bundle as bundles
from lorid_local import problems, solve_file, solving
from lorid_local.engine import Completion, Role
from lorid_local.errors import InputError, OutputError
from lorid_local.problems import Problem
from lorid_local.solving import Flags, Setup, settle
from tests.scripted import run, script

CONTENTS = bundles.find().contents


def settled(**flags: Any) -> Setup:
    return settle(CONTENTS, Flags(**flags))


def test_without_flags_all_is_as_the_bundle_says() -> None:
    setup = settled()
    assert setup.roles == CONTENTS.roles
    assert setup.loop == CONTENTS.loop
    assert setup.calibration == CONTENTS.calibration is not None


def test_the_calculator_can_be_left_out() -> None:
    assert CONTENTS.roles.ir.calculator and CONTENTS.roles.dr.calculator
    roles = settled(no_calculator=True).roles
    assert not any(roles.of(role).calculator for role in Role)


@pytest.mark.parametrize(
    "flags",
    [{"temperature": 1.0}, {"top_p": 0.5}, {"top_k": 9}, {"n_predict": 9}, {"no_adapters": True},
     {"no_calculator": True}, {"base_type": "q4_0"}],
)  # fmt: skip
def test_what_changes_the_samples_leaves_the_calibration_behind(flags: dict[str, Any]) -> None:
    assert settled(**flags).calibration is None


@pytest.mark.parametrize(
    "flags",
    [{"seed": 3}, {"timeout": 9.0}, {"threads": 1}, {"width": 1}, {"low_memory": True},
     {"base_type": CONTENTS.base_type}],
)  # fmt: skip
def test_what_changes_only_the_way_keeps_it(flags: dict[str, Any]) -> None:
    assert settled(**flags).calibration == CONTENTS.calibration


@pytest.mark.parametrize("name", ["-", "problems", "problems.dat", "problems.jsonl"])
def test_problems_are_known_by_their_first_line(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = Path(name) if name == "-" else tmp_path / name
    data = b'\n{"id": 7, "question": "1 + 1?"}\n'
    if name == "-":
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))
    else:
        path.write_bytes(data)
    assert problems.from_file(path) == [Problem("1 + 1?", 7)]


@pytest.mark.parametrize(
    ("name", "line"), [("p.txt", '{"id": 7}'), ("p", "[1]"), ("p", "{1 + 1?"), ("p", "5")]
)
def test_other_lines_are_texts(name: str, line: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(line)
    assert problems.from_file(path) == [Problem(line)]


TABLE = 'id,class,question\r\n7,4b,"3 boxes, each of 12 eggs.\nHow many?"\r\n8,4b,1 + 1?\r\n'


def test_a_table_has_a_column_of_problems(tmp_path: Path) -> None:
    path = tmp_path / "class.csv"
    path.write_bytes(b"\xef\xbb\xbf" + TABLE.encode())  # as spreadsheets write it
    eggs = "3 boxes, each of 12 eggs.\nHow many?"
    assert problems.from_file(path) == [Problem(eggs, "7"), Problem("1 + 1?", "8")]
    path = tmp_path / "class.tsv"
    path.write_text("problem\n1 + 1?\n\n2 + 2?\n")
    assert problems.from_file(path) == [Problem("1 + 1?"), Problem("2 + 2?")]


@pytest.mark.parametrize(
    ("table", "message", "hint"),
    [
        ("id,text\n1,1 + 1?\n", "its first line names no column question",
         "write question above the column of problems"),
        ("", "its first line names no column question",
         "write question above the column of problems"),
        ("id,question\n1,\n2,1 + 1?\n3\n",
         "line 2 has no text in question; line 4 has no text in question",
         "give each row a problem, or leave the row out"),
        ("question\n", "holds no problems", "write one problem a row"),
    ],
)  # fmt: skip
def test_a_table_without_problems_is_refused(
    table: str, message: str, hint: str, tmp_path: Path
) -> None:
    path = tmp_path / "class.csv"
    path.write_text(table)
    with pytest.raises(InputError) as raised:
        problems.from_file(path)
    assert (raised.value.message, raised.value.hint) == (f"{path}: {message}", hint)


@pytest.mark.parametrize(
    ("flags", "name"),
    [({"in_flight": 3}, "--in-flight"), ({"server_models": "ir=x"}, "--server-models")],
)
def test_flags_of_a_server_need_one(flags: dict[str, Any], name: str) -> None:
    with pytest.raises(InputError) as raised:
        solving.check(Flags(**flags))
    assert raised.value.message == f"{name} was given without --endpoint"
    assert raised.value.hint == "--endpoint URL"


class Endless:
    """Solves each problem with a trace of its own, of a hundred kilobytes."""

    setup = replace(settled(), calibration=None)

    def __init__(self, flags: Flags) -> None:
        self.flags = flags

    def solve_all(self, texts: Iterator[str]) -> Iterator[Any]:
        for n, text in enumerate(texts):
            long = Completion(f"{n:b}" + "y" * 100_000 + "\n#### 5", "stop", 9)
            rounds, protocol = self.setup.loop.rounds, self.setup.loop.protocol
            yield run(script([long], [5]), rounds, protocol, question=text)


def test_results_that_are_written_are_not_held(tmp_path: Path) -> None:
    flags = Flags(output=tmp_path / "out", quiet=True)
    todo = [Problem(f"{n}?") for n in range(60)]
    tracemalloc.start()
    solving._solve_file(Endless(flags), todo)  # type: ignore[arg-type]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (tmp_path / "out").read_bytes().count(b"\n") == 60
    one = (tmp_path / "out").stat().st_size / 60
    assert one > 100_000
    assert peak < 30 * one  # a dozen copies of one while it is written, and not 60


def test_a_file_that_another_process_writes_to_is_left_as_it_is(tmp_path: Path) -> None:
    """The other one's last line may be half written just now: it must not be cut off."""
    flags = Flags(output=tmp_path / "out", quiet=True)
    todo = [Problem("1?")]
    with solve_file.sink(flags.output, json.dumps):
        (tmp_path / "out").write_text('{"question": "1?", "sta')
        assert solving._done(flags, todo, Endless.setup, mend=False) == []
        with pytest.raises(OutputError, match="another process is writing to it"):
            solving._solve_file(Endless(flags), todo)  # type: ignore[arg-type]
        assert (tmp_path / "out").read_text() == '{"question": "1?", "sta'
    solving._solve_file(Endless(flags), todo)  # type: ignore[arg-type]
    assert json.loads((tmp_path / "out").read_text())["question"] == "1?"


def test_what_another_process_has_solved_meanwhile_is_not_solved_again(tmp_path: Path) -> None:
    flags = Flags(output=tmp_path / "out", quiet=True)
    todo = [Problem(f"{n}?") for n in range(3)]
    solving._solve_file(Endless(flags), todo[:2])  # type: ignore[arg-type]
    before = (tmp_path / "out").read_bytes()
    solving._solve_file(Endless(flags), todo)  # type: ignore[arg-type]
    after = (tmp_path / "out").read_bytes()
    assert after.startswith(before) and after.count(b"\n") == 3
