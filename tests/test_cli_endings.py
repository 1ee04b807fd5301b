"""How `lorid solve` ends: files of problems, traces, Ctrl-C, and outputs that take nothing."""

import json
import os
import pty
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from lorid_local.results import check_trace
from tests.test_cli import START, Ran, answering_gguf, environment, lorid
from tests.tiny import tiny_llama_gguf

FULL = Path("/dev/full")
needs_full = pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full")


@pytest.fixture(scope="session")
def five(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """A solve on a base that answers 5 to everything."""
    path = answering_gguf(tmp_path_factory.mktemp("five") / "five.gguf")
    return ("solve", "-m", str(path), "--no-adapters", "-n", "40")


@pytest.fixture(scope="session")
def endless(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """A solve on a base that says anything, for so many rounds that it takes a minute."""
    path = tmp_path_factory.mktemp("endless") / "slow.gguf"
    tiny_llama_gguf(path, layers=6, hidden=512, ffn=1024)
    return ("solve", "-m", str(path), "--no-adapters", "-n", "100", "-r", "100")


def records(ran: Ran) -> list[dict[str, Any]]:
    return [json.loads(line) for line in ran.stdout.splitlines()]


# --- files of problems


def test_a_jsonl_file_gives_a_line_each_in_order(five: tuple[str, ...], tmp_path: Path) -> None:
    path = tmp_path / "problems.jsonl"
    rows = [{"id": "b", "question": "2 + 3"}, {"id": 7, "problem": "1 + 4"}, {"question": "5 + 0"}]
    path.write_text("\n\n".join(map(json.dumps, rows)))
    ran = lorid(*five, "--file", path)
    assert (ran.returncode, ran.stderr) == (0, b"1/3 agreed\n2/3 agreed\n3/3 agreed\n")
    assert [(r.get("id"), r["question"], r["answer"]) for r in records(ran)] == [
        ("b", "2 + 3", "5"), (7, "1 + 4", "5"), (None, "5 + 0", "5")]  # fmt: skip
    assert lorid(*five, "-q", "-f", path).stderr == b""


def test_a_text_file_holds_a_problem_a_line(five: tuple[str, ...], tmp_path: Path) -> None:
    path = tmp_path / "problems.txt"
    path.write_bytes(b"\xef\xbb\xbf2 + 3\r\n\r\n1 +  4\n")
    assert [r["question"] for r in records(lorid(*five, "--file", path))] == ["2 + 3", "1 + 4"]


def test_a_problem_too_long_does_not_stop_the_others(five: tuple[str, ...], tmp_path: Path) -> None:
    path, trace = tmp_path / "problems.txt", tmp_path / "trace.json"
    path.write_text(f"2 + 3\n{'x' * 2000}\n1 + 4\n")
    ran = lorid(*five, "--file", path, "--trace", trace)
    done = records(ran)
    assert ran.returncode == 1
    assert [r["status"] for r in done] == ["agreed", "error", "agreed"]
    assert done[1]["answer"] is None
    assert done[1]["error"].endswith("and the answer up to 40, but the context holds 512")
    assert json.loads(trace.read_text()) == done


def test_all_faulty_lines_are_named(five: tuple[str, ...], tmp_path: Path) -> None:
    path = tmp_path / "problems.jsonl"
    lines = ["{", "[1]", '{"question": "2 + 3"}', '{"id": 1}', '{"question": 5}',
             '{"question": " "}', "null"]  # fmt: skip
    path.write_text("\n".join(lines))
    ran = lorid(*five, "--file", path)
    assert (ran.returncode, ran.stdout) == (2, b"")
    assert ran.stderr.decode() == (
        f"Error: {path}: line 1 is no JSON object; line 2 is no JSON object; line 4 has no text in "
        '"question"; line 5 has no text in "question"; line 6 has no text in "question" and 1 '
        'more\nHint: each line is an object such as {"id": 1, "question": "..."}\n'
    )


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (None, "No such file or directory\nHint: check -f/--file"),
        (b"", "holds no problems\nHint: write one problem a line"),
        (b"\n \n", "holds no problems\nHint: write one problem a line"),
    ],
)
def test_a_file_without_problems_is_refused(
    five: tuple[str, ...], tmp_path: Path, data: bytes | None, message: str
) -> None:
    path = tmp_path / "problems.txt"
    if data is not None:
        path.write_bytes(data)
    ran = lorid(*five, "--file", path)
    assert (ran.returncode, ran.stdout, ran.stderr.decode()) == (
        2, b"", f"Error: {path}: {message}\n")  # fmt: skip


def test_a_file_that_is_no_text_is_refused(five: tuple[str, ...], tmp_path: Path) -> None:
    path = tmp_path / "caf.txt"
    path.write_bytes("2 cafés + 3".encode("latin1"))
    ran = lorid(*five, "--file", path)
    assert (ran.returncode, ran.stdout) == (2, b"")
    assert ran.stderr.decode() == (
        f"Error: {path} is not UTF-8: byte 0xe9 at position 5\n"
        f"Hint: iconv -f latin1 -t utf-8 {path} > utf8-caf.txt\n"
    )
    path.write_bytes(b"2\0 + 3")
    assert lorid(*five, "--file", path).stderr.decode() == (
        f"Error: {path} holds a NUL byte at position 1: expected plain text\n"
        "Hint: save it as plain text in UTF-8\n"
    )


def test_a_problem_and_a_file_are_not_both_taken(five: tuple[str, ...]) -> None:
    ran = lorid(*five, "--file", "problems.txt", "2 + 3")
    assert (ran.returncode, ran.stderr.decode()) == (
        2, "Error: a problem and --file were both given\nHint: give one of them\n")  # fmt: skip


@pytest.mark.parametrize("both", [False, True])
def test_beside_a_bar_on_the_terminal_results_go_to_standard_output(
    five: tuple[str, ...], tmp_path: Path, both: bool
) -> None:
    path = tmp_path / "problems.txt"
    path.write_text("2 + 3\n1 + 4\n")
    master, terminal = pty.openpty()
    command = [*START, *five, "--file", str(path)]
    with open(tmp_path / "out.jsonl", "wb") as out:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=terminal,
                                   stdout=terminal if both else out,
                                   env=environment() | {"TERM": "xterm"})  # fmt: skip
        os.close(terminal)
        shown = b""
        with suppress(OSError):  # the process ended
            while part := os.read(master, 65536):
                shown += part
        os.close(master)
    assert process.wait(60) == 0, shown.decode()
    assert b"2/2" in shown
    written = (tmp_path / "out.jsonl").read_text().splitlines()
    assert len([json.loads(line) for line in written]) == (0 if both else 2)
    assert (b'"question"' in shown) is both


# --- traces


def test_a_trace_holds_what_json_prints(five: tuple[str, ...], tmp_path: Path) -> None:
    trace = tmp_path / "trace.json"
    trace.write_text("the old one")
    ran = lorid(*five, "--json", "--trace", trace, "2 + 3")
    assert json.loads(trace.read_text()) == json.loads(ran.stdout)
    assert [p.name for p in tmp_path.iterdir() if p.is_file()] == ["trace.json"]


def test_a_trace_that_cannot_be_written_is_told_before_anything_is_solved(
    five: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    trace = tmp_path / "file" / "trace.json"
    for path, reason in ((trace, "Not a directory"), (tmp_path, "it is a folder")):
        ran = lorid(*five, "-q", "--trace", path, "2 + 3")
        assert (ran.returncode, ran.stdout) == (1, b"")
        assert ran.stderr.decode() == (
            f"Error: {path}: the trace cannot be written ({reason})\n"
            "Hint: give --trace a file in a folder that you may write to\n"
        )


def test_looking_whether_a_trace_can_be_written_leaves_nothing(tmp_path: Path) -> None:
    trace = tmp_path / "trace.json"
    check_trace(trace)
    assert list(tmp_path.iterdir()) == []
    trace.write_text("the old one")
    check_trace(trace)
    assert trace.read_text() == "the old one"


@needs_full
def test_a_trace_to_a_device_goes_into_it_and_does_not_replace_it(
    five: tuple[str, ...], tmp_path: Path
) -> None:
    """os.replace would put a regular file where /dev/stdout or /dev/null was, run as root."""
    trace = tmp_path / "full"
    trace.symlink_to(FULL)  # never /dev/full itself: see above
    ran = lorid(*five, "-q", "--trace", trace, "2 + 3")
    assert trace.is_symlink()
    assert (ran.returncode, ran.stdout) == (1, b"5\n")
    assert ran.stderr.decode().startswith(
        f"Error: {trace}: the trace cannot be written (No space left on device)\n"
    )
    trace.unlink()
    trace.symlink_to("/dev/stderr")
    assert json.loads(lorid(*five, "-q", "--trace", trace, "2 + 3").stderr)["answer"] == "5"


# --- Ctrl-C


def start(*arguments: str, ready: bool = False, **settings: Any) -> "subprocess.Popen[bytes]":
    """Start `lorid`; with `ready`, stderr tells when `main` is about to be called."""
    up = "import sys, lorid_local.cli; sys.stderr.write('up\\n'); sys.stderr.flush(); "
    code = [*START[:2], up + START[2]]
    settings = {"stdout": subprocess.PIPE, "stdin": subprocess.DEVNULL} | settings
    process = subprocess.Popen(
        [*(code if ready else START), *arguments],
        stderr=subprocess.PIPE, env=environment(), **settings,
    )  # fmt: skip
    if ready:
        assert process.stderr and process.stderr.readline() == b"up\n"
    return process


def await_line(process: "subprocess.Popen[bytes]", begin: bytes) -> None:
    assert process.stderr
    for line in process.stderr:
        if line.startswith(begin):
            return
    raise AssertionError(f"{begin!r} was never shown")


def test_ctrl_c_shows_what_was_found(endless: tuple[str, ...]) -> None:
    process = start(*endless, "2 + 3")
    await_line(process, b"Round 1:")
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert b"Traceback" not in errors
    assert b"Interrupted in round " in errors and b"System 1, at once\n" in errors


def test_ctrl_c_in_a_file_prints_what_was_found_as_json(
    endless: tuple[str, ...], tmp_path: Path
) -> None:
    path = tmp_path / "problems.txt"
    path.write_text("2 + 3\n2 + 4\n")
    process = start(*endless, "--file", str(path), "-v")
    await_line(process, b"llama_context: ")
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    found = [json.loads(line) for line in output.splitlines()]
    said = [line for line in errors.decode().splitlines() if "interrupted" in line]
    assert said == [f"{n}/2 interrupted" for n in range(1, len(found) + 1)]
    assert (found[0]["question"], found[0]["status"]) == ("2 + 3", "interrupted")


def test_a_file_goes_on_where_it_was_killed(five: tuple[str, ...], tmp_path: Path) -> None:
    path, out = tmp_path / "problems.txt", tmp_path / "out.jsonl"
    path.write_text("2 + 3\n1 + 4\n5 + 0\n")
    assert lorid(*five, "--file", path, "-o", out).stdout == b""
    whole = out.read_bytes()
    assert [json.loads(line)["question"] for line in whole.splitlines()] == [
        "2 + 3", "1 + 4", "5 + 0"
    ]  # fmt: skip
    out.write_bytes(whole[: len(whole) // 2])  # as kill -9 leaves it
    ran = lorid(*five, "--file", path, "-o", out)
    assert ran.stderr.startswith(b"2/3 ") and b"1/3" not in ran.stderr
    assert [json.loads(line)["answer"] for line in out.read_bytes().splitlines()] == ["5"] * 3
    ran = lorid(*five, "--file", path, "-o", out, "-m", tmp_path / "no model is needed")
    assert ran.stderr.decode() == f"{out}: all 3 results are there already.\n"
    assert ran.returncode == 0 or ran.returncode == 3


def test_an_output_needs_a_file_of_problems(five: tuple[str, ...], tmp_path: Path) -> None:
    ran = lorid(*five, "-o", tmp_path / "out.jsonl", "2 + 3")
    assert (ran.returncode, ran.stderr.decode()) == (
        2,
        "Error: -o/--output was given without --file\nHint: lorid solve --file FILE -o OUT\n",
    )


@pytest.mark.parametrize("moment", [0.03, 0.05, 0.1, 0.2, 0.25, 0.3, 0.4, 0.6, 0.8, 1.0])
def test_ctrl_c_at_any_moment_leaves_no_traceback(endless: tuple[str, ...], moment: float) -> None:
    process = start(*endless, "2 + 3", ready=True)
    time.sleep(moment)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert b"Traceback" not in errors and b"Interrupted" in errors


def test_ctrl_c_while_the_model_loads_is_not_lost(endless: tuple[str, ...]) -> None:
    """Python runs only in llama.cpp's log callback then, where ctypes swallows exceptions."""
    process = start(*endless, "-v", "2 + 3")
    await_line(process, b"llama_model_loader: ")
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert b"Traceback" not in errors and b"Exception ignored" not in errors


# --- outputs that take nothing


def test_a_reader_that_has_gone_ends_it_without_a_word(five: tuple[str, ...]) -> None:
    for flags in ((), ("--json",), ("-q",)):
        reading, writing = os.pipe()
        os.close(reading)
        process = start(*five, *flags, "2 + 3", stdout=writing)
        os.close(writing)
        _, errors = process.communicate(timeout=30)
        assert process.returncode == 1
        assert b"Error" not in errors and b"Traceback" not in errors and b"Exception" not in errors


@needs_full
@pytest.mark.parametrize("flags", [(), ("--json",), ("-q",), ("--file",)])
def test_a_full_disk_is_told(five: tuple[str, ...], tmp_path: Path, flags: tuple[str, ...]) -> None:
    (tmp_path / "problems.txt").write_text("2 + 3\n")
    last = str(tmp_path / "problems.txt") if "--file" in flags else "2 + 3"
    with open(FULL, "wb") as full:
        _, errors = (process := start(*five, *flags, last, stdout=full)).communicate(timeout=30)
    assert process.returncode == 1
    assert errors.decode().endswith(
        "Error: the answer cannot be written (No space left on device)\n"
    )
    assert b"Traceback" not in errors and b"Exception" not in errors


@needs_full
def test_a_full_disk_under_the_help_is_told() -> None:
    with open(FULL, "wb") as full:
        _, errors = (process := start("-h", stdout=full)).communicate(timeout=30)
    assert process.returncode == 1
    assert errors == b"Error: the answer cannot be written (No space left on device)\n"


@pytest.mark.parametrize("closed", [0, 1, 2])
def test_a_closed_stream_is_no_bug(five: tuple[str, ...], closed: int) -> None:
    """Python gives None for a stream that was closed before it started, as by `<&-`."""
    shell = subprocess.run(
        ["sh", "-c", f'exec "$@" {closed}>&-', "sh", *START, *five, "2 + 3"],
        capture_output=True, env=environment(), timeout=60,
    )  # fmt: skip
    assert shell.returncode == 0
    assert shell.stdout == (b"" if closed == 1 else b"5\n")
    assert b"Traceback" not in shell.stderr


def test_an_output_that_is_not_utf8_is_written_all_the_same(five: tuple[str, ...]) -> None:
    ran = lorid(*five, "--json", "√4 + 3", PYTHONIOENCODING="cp1252")
    assert ran.returncode == 0
    assert json.loads(ran.stdout)["question"] == "√4 + 3"


def test_half_a_letter_as_an_id_is_given_back(five: tuple[str, ...], tmp_path: Path) -> None:
    """JSON can say half of a surrogate pair; UTF-8 cannot."""
    path, trace = tmp_path / "problems.jsonl", tmp_path / "trace.json"
    path.write_text('{"id": "\\ud83d", "question": "2 + 3"}\n')
    ran = lorid(*five, "--file", path, "--trace", trace)
    assert ran.returncode == 0
    assert [r["id"] for r in records(ran)] == ["\ud83d"]
    assert json.loads(trace.read_text()) == records(ran)


# --- the base in another representation


def test_a_cache_that_cannot_be_written_costs_speed_and_not_the_answer(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    cache = str(tmp_path / "file")
    flags = ("solve", "-q", "--rounds", "1", "-n", "4", "2 + 3")
    ran = lorid(*flags, XDG_CACHE_HOME=cache)
    assert ran.returncode == 3
    assert ran.stderr.decode().startswith(f"Note: {cache}/lorid/bases: cannot hold the base as ")
    assert b"; going on with the base as it was shipped.\n" in ran.stderr
    asked = lorid(*flags, "--base-type", "q8_0", XDG_CACHE_HOME=cache)
    assert asked.returncode == 1
    assert asked.stderr.decode().startswith(f"Error: {cache}/lorid/bases: cannot hold the base")
    shipped = lorid(*flags, "--base-type", "as-shipped", XDG_CACHE_HOME=cache)
    assert (shipped.returncode, shipped.stdout) == (3, ran.stdout)


@pytest.mark.parametrize("command", ["solve", "tutor"])
def test_a_problem_that_begins_with_a_negative_number(command: str) -> None:
    ran = lorid(command, "-5 degrees and 3 more?")
    assert ran.returncode == 2
    assert ran.stderr.decode().splitlines()[-1] == (
        f'Hint: a problem that begins so goes behind --: lorid {command} -- "-5 ..."'
    )
