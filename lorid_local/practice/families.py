"""Finds families by topic, grade or id in a families file: JSON lines, one family each.

The bundled file opens fast because a family is checked and compiled only when it is asked for;
tests check them all. Another file is checked whole when it is opened.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any

from lorid_local.errors import InputError, did_you_mean
from lorid_local.practice.family import Family, FamilyError, from_row
from lorid_local.practice.topics import topic_of

BUNDLED = Path(__file__).with_name("families.jsonl")
SHOWN = 5  # faults listed in one message


@dataclass(frozen=True)
class Topic:
    """How many families a topic has, and the school grades they are for, in order."""

    count: int
    grades: tuple[int, ...]


@dataclass(frozen=True)
class _Line:
    where: str  # 'file:line'
    row: dict[str, Any]


class Families:
    """The families of one file, in its order."""

    def __init__(self, lines: dict[str, _Line]) -> None:
        self._lines = lines
        self._families: dict[str, Family] = {}

    def __len__(self) -> int:
        return len(self._lines)

    def __iter__(self) -> Iterator[Family]:
        return map(self.family, self._lines)

    def family(self, id: str) -> Family:
        """Return a family, checked and compiled once; raises FamilyError, KeyError."""
        if id not in self._families:
            line = self._lines[id]
            self._families[id] = from_row(line.row, line.where)
        return self._families[id]

    def topics(self, grade: int | None = None) -> dict[str, Topic]:
        """Return each topic with its number of families, largest first, of one grade or all.

        Raises InputError for a grade that no family has.
        """
        grades: dict[str, list[int]] = {}
        for id in self.ids(grade=grade):
            grades.setdefault(self._topic_of[id], []).append(self._grade(id))
        topics = {name: Topic(len(of), tuple(sorted(set(of)))) for name, of in grades.items()}
        return dict(sorted(topics.items(), key=lambda item: (-item[1].count, item[0])))

    def ids(self, topic: str | None = None, grade: int | None = None) -> list[str]:
        """Return the ids of the families of a topic and a grade (None: any), in the file's order.

        `topic` is one of `topics`, the beginnings of some of its words ("bus commut"; of all
        topics that have them), or a family's id. Raises InputError where nothing fits.
        """
        found = list(self._lines) if topic is None else self._of_topic(topic)
        if grade is None:
            return found
        ids = [id for id in found if self._grade(id) == grade]
        if not ids:
            there_are = ", ".join(map(str, sorted({self._grade(id) for id in found})))
            of = "" if topic is None else f" of topic {topic!r}"
            raise InputError(
                f"no family{of} is for grade {grade}, only for {there_are}",
                hint="lorid practice list",
            )
        return ids

    def _of_topic(self, asked: str) -> list[str]:
        if asked in self._lines:
            return [asked]
        words = asked.casefold().split()
        exact = [id for id, topic in self._topic_of.items() if topic.casefold().split() == words]
        found = exact or [id for id, topic in self._topic_of.items() if _has(topic, words)]
        if not words or not found:
            names = dict.fromkeys(self._topic_of.values())
            every_word = dict.fromkeys(word for name in names for word in _words(name))
            near = did_you_mean(asked.casefold(), [*names, *every_word])
            raise InputError(f"no topic fits {asked!r}{near}", hint="lorid practice list")
        return found

    def _grade(self, id: str) -> int:
        grade: int = self._lines[id].row["grade"]
        return grade

    @cached_property
    def _topic_of(self) -> dict[str, str]:
        return {id: topic_of(line.row) for id, line in self._lines.items()}


def load(path: Path | None = None) -> Families:
    """Open the bundled families, or those of the file at `path`.

    Raises InputError for a file that cannot be read, FamilyError that names faulty lines.
    """
    source = path or BUNDLED
    try:
        text = source.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise InputError(f"{source}: cannot be read ({reason})", hint="check --families") from None
    lines: dict[str, _Line] = {}
    faults: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            _add(lines, f"{source}:{number}", line, faults, check=path is not None)
    if faults:
        more = f" (and {len(faults) - SHOWN} more)" if len(faults) > SHOWN else ""
        raise FamilyError("; ".join(faults[:SHOWN]) + more, hint="correct the file and run again")
    if not lines:
        raise FamilyError(f"{source}: holds no families", hint="write one JSON object a line")
    return Families(lines)


def _add(lines: dict[str, _Line], where: str, line: str, faults: list[str], check: bool) -> None:
    try:
        row = json.loads(line, parse_float=Fraction)  # of the text: a float is not exact
    except (json.JSONDecodeError, RecursionError):
        faults.append(f"{where}: no JSON")
        return
    if check:
        try:
            from_row(row, where)
        except FamilyError as error:
            faults.append(error.message)
            return
    if row["id"] in lines:
        faults.append(f"{where}: id {row['id']!r} stands in {lines[row['id']].where} too")
        return
    lines[row["id"]] = _Line(where, row)


def _words(text: str) -> list[str]:
    return "".join(c if c.isalnum() else " " for c in text.casefold()).split()


def _has(topic: str, beginnings: list[str]) -> bool:
    words = _words(topic)
    return all(any(word.startswith(start) for word in words) for start in beginnings)
