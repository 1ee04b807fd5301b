"""A solve's outcome as JSON, and the file of --trace, written whole or not at all."""

import json
from pathlib import Path
from typing import Any

from lorid_local import batch, whole_file
from lorid_local.calibration import Calibration, Sureness, sureness
from lorid_local.errors import ContextOverflow, OutputError
from lorid_local.problems import Problem
from lorid_local.prompts import tidy
from lorid_local.trace import Trace

PROBABILITY_DIGITS = 4  # as it is written


def record(trace: Trace, sure: Sureness | None) -> dict[str, Any]:
    """Return the trace as data, with how sure its outcome makes us."""
    counts = (
        {"right": sure.right, "n": sure.n, "interval_95": [sure.low, sure.high]} if sure else {}
    )
    data: dict[str, Any] = {"case": sure.case, "data": sure.data} if sure else {}
    if sure and sure.probability is not None:
        data["probability"] = round(sure.probability, PROBABILITY_DIGITS)
    return {**trace.as_dict(), "sureness": {**counts, **data} or None}


def of_line(
    problem: Problem, outcome: batch.Outcome, calibration: Calibration | None
) -> dict[str, Any]:
    """Return one problem of a file; a problem that is too long does not stop the others."""
    named = {} if problem.id is None else {"id": problem.id}
    if isinstance(outcome, ContextOverflow):
        text = {"question": tidy(problem.text)}
        return {**named, **text, "status": "error", "error": outcome.message, "answer": None}
    return {**named, **record(outcome, sureness(calibration, outcome))}


def as_json(data: Any, encoding: str = "utf-8", indent: int | None = None) -> str:
    """Return `data` as JSON, in plain ASCII only where `encoding` cannot write its letters."""
    text = json.dumps(data, ensure_ascii=False, indent=indent)
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return json.dumps(data, indent=indent)
    return text


def check_trace(path: Path) -> None:
    """Raise OutputError if `path` could not be written, before a minute of solving is lost."""
    if path.is_dir():
        raise _unwritable(path, "it is a folder")
    if path.exists() and not path.is_file():  # a device: writing is the only way to know
        return
    try:
        whole_file.check(path)
    except OSError as error:
        raise _unwritable(path, error.strerror) from None


def write_trace(path: Path, data: Any) -> None:
    """Write a file whole or not at all; raises OutputError (the answer is printed by then)."""
    try:
        whole_file.write(path, [as_json(data, indent=1), "\n"])
    except OSError as error:
        raise _unwritable(path, error.strerror) from None


def _unwritable(path: Path, reason: str | None) -> OutputError:
    return OutputError(
        f"{path}: the trace cannot be written ({reason})",
        hint="give --trace a file in a folder that you may write to",
    )
