"""Writes measured figures into a bundle.toml and leaves the rest of its text as it is.

What was written is read back before the file is replaced: nothing else may have changed.
"""

import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lorid_local import whole_file
from lorid_local.bundle import BundleFile, Measured
from lorid_local.calibration import Band, Calibration, Counts
from lorid_local.engine import Role
from lorid_local.errors import OutputError
from lorid_local.judging import Protocol
from lorid_local.settings import from_table

TABLES = "write the tables of bundle.toml one below the other, each under its [name]"
CHOSEN, CONFIRMED = "chosen on this half", "confirmed on this half"


def calibrated(text: str, calibration: Calibration) -> str:
    """Return the text of a bundle.toml with this [calibration] in the place of any other."""
    agreed = "".join(
        f"    {{ first = {b.first}, last = {b.last}, {_counts(b)} }},\n" for b in calibration.agreed
    )
    table = (
        "[calibration]\n"
        f"data = {_string(calibration.data)}\n"
        f"protocol = {_string(calibration.protocol)}\n"
        f"rounds = {calibration.rounds}\n"
        f"agreed = [\n{agreed}]\n"
        f"no_agreement = {{ {_counts(calibration.no_agreement)} }}\n"
    )
    return _with_table(text, "calibration", table)


def with_loop(text: str, protocol: Protocol, rounds: int) -> str:
    """Return the text with these values in [loop]; its other keys stay."""
    return _with_values(text, "loop", {"rounds": str(rounds), "protocol": _string(protocol)})


def with_roles(text: str, settings: Mapping[str, Any], *, warm: bool) -> str:
    """Return the text with each role's temperature and top_p as `settings`, if any, have them by
    name; `warm` makes round 1 as warm as the others.
    """
    for role in Role:
        keys = [key for key in ("temperature", "top_p") if f"{role}.{key}" in settings]
        values = {key: str(float(settings[f"{role}.{key}"])) for key in keys}
        values |= {"greedy_first": "false"} if warm else {}
        text = _with_values(text, f"roles.{role}", values)
    return text


def _with_values(text: str, name: str, values: Mapping[str, str]) -> str:
    head = f"[{name}]"
    span = _span(text, head)
    table = text[slice(*span)] if span else f"{head}\n\n"
    for key, value in values.items():
        line = re.compile(
            rf"^({key}[ \t]*=[ \t]*)(?:[\d.]+|true|false|\"[^\"\n]*\"|'[^'\n]*')", re.M
        )
        if line.search(table):
            table = line.sub(lambda match, value=value: match[1] + value, table)  # type: ignore[misc]
        else:
            table = re.sub(r"\n", f"\n{key} = {value}\n", table, count=1)  # behind the head
    return text[: span[0]] + table + text[span[1] :] if span else _with_table(text, name, table)


def with_measured(text: str, measured: Sequence[Measured]) -> str:
    """Return the text with these [[measured]] at its end, those of an earlier choice left out."""
    blocks = re.split(r"(?m)^(?=[ \t]*\[)", text)
    kept = [b for b in blocks if not (b.startswith("[[measured]]") and _of_a_choice(b))]
    text = "".join(kept).rstrip("\n") + "\n"
    for row in measured:
        text += (
            f"\n[[measured]]\nmethod = {_string(row.method)}\ndata = {_string(row.data)}\n"
            f"right = {row.right}\nn = {row.n}\n"
        )
    return text


def _of_a_choice(block: str) -> bool:
    return any(f"({words})" in block for words in (CHOSEN, CONFIRMED))


def _string(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)  # a TOML basic string


def _counts(found: Band | Counts) -> str:
    """Return the keys of counts; each bin stands on a line of its own, as TOML allows in a list."""
    text = f"right = {found.right}, n = {found.n}"
    if not found.bins:
        return text
    bins = "".join(
        f"        {{ least = {b.least}, right = {b.right}, n = {b.n} }},\n" for b in found.bins
    )
    return f"{text}, bins = [\n{bins}    ]"


def _span(text: str, head: str) -> tuple[int, int] | None:
    """Return where a table begins and ends; blank and comment lines before the next are not its."""
    start = re.search(rf"^{re.escape(head)}[ \t]*(?:#.*)?\n", text, re.M)
    if not start:
        return None
    # a list inside the table has its lines indented or begins them with a bracket that closes
    behind = re.compile(r"^\[\[?[A-Za-z_]", re.M).search(text, start.end())
    end = behind.start() if behind else len(text)
    body = text[start.start() : end]
    return start.start(), start.start() + len(re.sub(r"(?:[ \t]*(?:#[^\n]*)?\n)+\Z", "\n", body))


def _with_table(text: str, name: str, table: str) -> str:
    if span := _span(text, f"[{name}]"):
        return text[: span[0]] + table + text[span[1] :]
    measured = re.search(r"(?:^[ \t]*#.*\n)*^\[\[measured\]\]", text, re.M)
    if not measured:
        return text.rstrip("\n") + "\n\n" + table
    return text[: measured.start()] + table + "\n" + text[measured.start() :]


def save(path: Path, text: str, changed: Sequence[str]) -> None:
    """Replace the bundle.toml at `path`; only the tables `changed` may differ.

    Raises OutputError if they are not all, or it cannot be written; the file stays as it was then.
    """
    before = tomllib.loads(path.read_text(encoding="utf-8"))
    try:
        after = tomllib.loads(text)
    except tomllib.TOMLDecodeError:  # a table that is written as name = { ... }
        raise OutputError(f"{path}: cannot be edited: nothing was written", hint=TABLES) from None
    others = [k for k in {*before, *after} if k not in changed and before.get(k) != after.get(k)]
    if others:
        raise OutputError(
            f"{path}: [{others[0]}] would change too: nothing was written", hint=TABLES
        )
    from_table(after, BundleFile, str(path))
    try:
        whole_file.write(path, [text])
    except OSError as error:
        raise OutputError(
            f"{path}: cannot be written ({error.strerror})",
            hint="copy the bundle to a folder that you may write to, and give that",
        ) from None
