"""Reads problems from the argument, a pipe or a file; refuses what is no text."""

import csv
import io
import json
import os
import re
import select
import stat
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from lorid_local.errors import InputError
from lorid_local.number import holds_number
from lorid_local.prompts import printable, tidy

EXAMPLE = 'lorid solve "Sam has 3 boxes of 12 eggs. How many eggs does he have?"'
PATIENCE = 1.0  # seconds that a pipe beside an argument may stay silent
STDIN = Path("-")
SHOWN = 5  # faulty lines listed in one message
QUESTION_KEYS = ("question", "problem")
DIALECTS = {".csv": "excel", ".tsv": "excel-tab"}
AMOUNTS = re.compile(
    r"\b(once|twice|thrice|dozens?|pairs?|couple|double[ds]?|tripled?|thirds?|quarters?|fifths?)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Problem:
    """A problem's text, and its `id` where the file gives one."""

    text: str
    id: Any = None


def from_command_line(argument: str | None, stdin: BinaryIO | None = None) -> str:
    """Return the problem of the argument, of standard input, or of both joined.

    Raises InputError where there is none, or it is not text.
    """
    stdin = stdin or sys.stdin.buffer
    parts = [] if argument in (None, "-") else [checked(os.fsencode(argument or ""), "the problem")]
    if _piped(stdin, wait=not parts):
        parts.append(checked(stdin.read(), "standard input"))
    text = "\n".join(part for part in parts if part.strip())
    if not tidy(text):
        raise InputError("no problem text was given", hint=EXAMPLE)
    return text


def from_file(path: Path) -> list[Problem]:
    """Return a file's problems: .jsonl with "question" (and "id"), .csv or .tsv with such columns,
    or one problem a line; '-' is standard input. A file of another name than .txt whose first
    line is an object is .jsonl.

    Raises InputError naming the faulty lines; nothing is solved then.
    """
    try:
        text = _text(path)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}", hint="check -f/--file") from None
    if path.suffix in DIALECTS:
        return _table(path, text)
    lines = [(n, line) for n, line in enumerate(text.splitlines(), 1) if line.strip()]
    faults: list[str] = []
    as_json = path.suffix in (".jsonl", ".json", ".ndjson")
    if lines and path.suffix != ".txt":
        as_json = as_json or isinstance(parsed(lines[0][1]), dict)
    problems = [_object(n, line, faults) if as_json else Problem(line) for n, line in lines]
    _refuse(path, faults, 'each line is an object such as {"id": 1, "question": "..."}')
    if not problems:
        raise InputError(
            f"{path}: holds no problems",
            hint='write one {"question": "..."} a line' if as_json else "write one problem a line",
        )
    return problems


def _refuse(path: Path, faults: list[str], hint: str) -> None:
    if faults:
        more = f" and {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""
        raise InputError(f"{path}: " + "; ".join(faults[:SHOWN]) + more, hint=hint)


def _table(path: Path, text: str) -> list[Problem]:
    """Return the problems of a table whose first line names its columns."""
    rows = csv.DictReader(io.StringIO(text, newline=""), dialect=DIALECTS[path.suffix])
    key = next((key for key in QUESTION_KEYS if key in (rows.fieldnames or ())), None)
    if key is None:
        raise InputError(
            f"{path}: its first line names no column question",
            hint="write question above the column of problems",
        )
    problems, faults = [], []
    for row in rows:
        if not tidy(row[key] or ""):
            faults.append(f"line {rows.line_num} has no text in question")
        problems.append(Problem(row[key], row.get("id")))
    _refuse(path, faults, "give each row a problem, or leave the row out")
    if not problems:
        raise InputError(f"{path}: holds no problems", hint="write one problem a row")
    return problems


def _text(path: Path) -> str:
    if path == STDIN:
        return checked(sys.stdin.buffer.read(), "standard input")
    return checked(path.read_bytes(), str(path), path)


def checked(data: bytes, source: str, file: Path | None = None) -> str:
    """Return UTF-8 `data`, of `file` if of one, as text; raises InputError if it is none."""
    if b"\0" in data:
        raise InputError(
            f"{source} holds a NUL byte at position {data.index(0)}: expected plain text",
            hint="save it as plain text in UTF-8" if file else EXAMPLE,
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{source} is not UTF-8: byte 0x{data[error.start]:02x} at position {error.start}",
            hint=f"iconv -f latin1 -t utf-8 {file} > utf8-{file.name}"
            if file
            else "convert it, for example: iconv -f latin1 -t utf-8 problem.txt | lorid solve",
        ) from None


def counts(text: str) -> bool:
    """True if something in `text` can be calculated with: a digit, a number word, 'twice'."""
    return holds_number(text) or AMOUNTS.search(text) is not None


def unprintable(text: str) -> int:
    """Return how many control and format characters of `text` will be left out."""
    return len(text.replace("\r", "")) - len(printable(text))


def _object(number: int, line: str, faults: list[str]) -> Problem:
    record = parsed(line)
    if not isinstance(record, dict):
        faults.append(f"line {number} is no JSON object")
        return Problem("")
    text = next((record[k] for k in QUESTION_KEYS if k in record), None)
    if not isinstance(text, str) or not tidy(text):
        faults.append(f'line {number} has no text in "question"')
        return Problem("")
    return Problem(text, record.get("id"))


def parsed(line: str | bytes) -> Any:
    """Return the JSON value of a line, None if it is none."""
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _piped(stdin: BinaryIO, *, wait: bool) -> bool:
    """True if standard input is to be read. A silent pipe beside an argument is left alone."""
    try:
        mode = os.fstat(stdin.fileno()).st_mode
    except (OSError, ValueError):  # closed, or no real file (a test's buffer)
        return wait and not stdin.closed
    if stdin.isatty():
        return False
    if wait or stat.S_ISREG(mode):
        return True
    if not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)):
        return False
    return bool(select.select([stdin], [], [], PATIENCE)[0])
