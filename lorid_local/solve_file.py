"""A file of problems: a JSON line each, in order, to standard output or to a file to go on with."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from lorid_local.errors import (
    EXIT_AGREED,
    EXIT_FAILURE,
    EXIT_INTERRUPTED,
    EXIT_NO_AGREEMENT,
    InputError,
    OutputError,
)
from lorid_local.problems import Problem, parsed
from lorid_local.prompts import tidy

Record = dict[str, Any]
CUT_OFF = b'{"'  # how a record that was cut off begins
WORST_FIRST = (EXIT_INTERRUPTED, EXIT_FAILURE, EXIT_NO_AGREEMENT)
EXITS = {
    "agreed": EXIT_AGREED,
    "no-agreement": EXIT_NO_AGREEMENT,
    "timeout": EXIT_NO_AGREEMENT,
    "interrupted": EXIT_INTERRUPTED,
    "error": EXIT_FAILURE,
}


def worst(statuses: Sequence[str]) -> int:
    """Return the exit code of a file whose problems ended so."""
    codes = {EXITS[status] for status in statuses}
    return next((code for code in WORST_FIRST if code in codes), EXIT_AGREED)


def stored(path: Path, todo: Sequence[Problem], settings: Record, *, mend: bool) -> list[Record]:
    """Return the results that `path` holds already and that stay.

    They must be of the first problems of `todo` and of the same `settings` (keys of a result).
    `mend` removes from the file what does not stay: a line that was cut off, and all from an
    interrupted one on; nobody else may be writing to it then (`sink`). Raises InputError if they
    are of another run, OutputError if the file cannot be mended.
    """
    lines = whole_lines(path, mend=mend)
    records = [_record(path, n, line) for n, line in enumerate(lines, 1)]
    for number, record in enumerate(records, 1):
        expected = {**settings, "question": None if number > len(todo) else _text(todo[number - 1])}
        for key, value in expected.items():
            if record.get(key, value) != value or number > len(todo):
                raise InputError(
                    f"{path}:{number}: the result of another run (its {key} differs)",
                    hint="give another file with -o/--output, or remove this one",
                )
    # what was interrupted is done again, and all behind it
    ended = next((i for i, r in enumerate(records) if r.get("status") == "interrupted"), None)
    if ended is not None and mend:
        _keep(path, lines[:ended])
    return records[:ended]


def whole_lines(path: Path, *, mend: bool) -> list[bytes]:
    """Return the lines of a file of results, none if it is not there.

    A last line that was cut off is left out, and with `mend` removed from the file. Raises
    OutputError, and InputError if that line is no part of a result.
    """
    if not path.exists() or not path.is_file():
        return []
    try:
        data = path.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        if last := data[len(whole) :]:
            whole = _mended(path, whole, last, mend=mend)
    except OSError as error:
        raise _unwritable(path, error) from None
    return whole.splitlines()


def _mended(path: Path, whole: bytes, last: bytes, *, mend: bool) -> bytes:
    """Return the lines without a last one that was cut off, or with one that lacks its end."""
    complete = parsed(last) is not None
    if not complete and last[: len(CUT_OFF)] != CUT_OFF[: len(last)]:
        raise _no_result(path, whole.count(b"\n") + 1)
    if mend:
        with open(path, "r+b") as file:
            if complete:
                file.seek(0, os.SEEK_END)
                file.write(b"\n")
            else:
                file.truncate(len(whole))
    return whole + last + b"\n" if complete else whole


def _keep(path: Path, lines: Sequence[bytes]) -> None:
    try:
        with open(path, "r+b") as file:
            file.truncate(sum(len(line) + 1 for line in lines))
    except OSError as error:
        raise _unwritable(path, error) from None


def _text(problem: Problem) -> str:
    return tidy(problem.text)


def _record(path: Path, number: int, line: bytes) -> Record:
    record = parsed(line)
    if not isinstance(record, dict) or record.get("status") not in EXITS:
        raise _no_result(path, number)
    return record


def _no_result(path: Path, number: int) -> InputError:
    return InputError(
        f"{path}:{number}: not a result of lorid",
        hint="give another file with -o/--output, or remove this one",
    )


@contextmanager
def sink(path: Path | None, as_json: Callable[[Record], str]) -> Iterator[Callable[[Record], None]]:
    """Yield what writes a result: to standard output, or safely (fsync) behind `path`'s lines."""
    if path is None:
        yield lambda record: print(as_json(record), flush=True)
        return
    try:
        with open(path, "a", encoding="utf-8") as file:
            if path.is_file() and not _locked(file):
                raise OutputError(
                    f"{path}: another process is writing to it",
                    hint="wait for it, or give another file with -o/--output",
                )

            def write(record: Record) -> None:
                file.write(as_json(record) + "\n")
                file.flush()
                if path.is_file():
                    os.fsync(file.fileno())

            yield write
    except OSError as error:
        raise _unwritable(path, error) from None


def _locked(file: TextIO) -> bool:
    """Lock an open file until it is closed; False if another process has. Always True on Windows
    and where a file system knows no locks.
    """
    try:
        import fcntl
    except ImportError:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def _unwritable(path: Path, error: OSError) -> OutputError:
    return OutputError(
        f"{path}: cannot be written ({error.strerror})",
        hint="give -o/--output a file in a folder that you may write to; what it holds is kept",
    )


@contextmanager
def progress(done: int, total: int, *, quiet: bool) -> Iterator[Callable[[str], None]]:
    """Yield what is told each problem's status: a bar on a terminal, else a line on stderr."""
    if quiet:
        yield lambda status: None
    elif sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb":
        agreed, count = 0, 0

        def show(status: str) -> None:
            nonlocal agreed, count
            count, agreed = count + 1, agreed + (status == "agreed")
            advance(1, f"{agreed} of {count} agreed")

        with bar(done, total) as advance:
            yield show
    else:
        count = done

        def line(status: str) -> None:
            nonlocal count
            count += 1
            print(f"{count}/{total} {status}", file=sys.stderr, flush=True)

        yield line


@contextmanager
def bar(done: int, total: int) -> Iterator[Callable[[int, str], None]]:
    """Yield what moves a bar on standard error on by some problems, with a note behind their rate.

    The bar shows problems a minute and the time left.
    """
    import time

    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    started, count = time.monotonic(), 0
    # rich would take standard output too, and print it to where the bar is
    both = sys.stdout.isatty()
    with Progress(*columns, console=Console(stderr=True), redirect_stdout=both) as shown:
        task = shown.add_task("", total=total, completed=done, rate="")

        def advance(problems: int, note: str) -> None:
            nonlocal count
            count += problems
            minutes = (time.monotonic() - started) / 60
            rate = f"{count / minutes:.1f} problems/min, {note}"
            shown.update(task, advance=problems, rate=rate)

        yield advance
