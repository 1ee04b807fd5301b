"""Collects a teacher's rules for a file of problems, one JSON line a problem, as they come.

Each reply is on the disk before the next question is asked: a run that was killed and is started
again pays only for what was under way. Replies that cannot be read count as attempts, also then.
"""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from lorid_local.base import sha256
from lorid_local.errors import OutputError, TrainError
from lorid_train import teacher
from lorid_train.appended import append, whole_lines
from lorid_train.rows import Row
from lorid_train.teacher import Cancelled, Teacher

ATTEMPTS = 3
TOLD_EVERY = 50  # problems


@dataclass
class Told:
    """What a run did: problems with rules, given up, tokens paid for in this run."""

    done: int = 0
    given_up: Counter[str] = field(default_factory=Counter)
    prompt_tokens: int = 0
    reply_tokens: int = 0


class Store:
    """The output file, beside it `.failed` with replies that could not be read, and `.run.json`.

    Raises OutputError, and TrainError for an output of other problems or another teacher.
    """

    def __init__(self, path: Path, made_of: dict[str, Any]) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._same_run(made_of)
            self.known = {record["id"] for record in whole_lines(path, "id")}
            failed = whole_lines(_beside(path, ".failed"), "why")
            self.attempts = Counter(record["id"] for record in failed)
            self.reasons = {record["id"]: record["why"] for record in failed}
            self._rules = path.open("a", encoding="utf-8")
            self._failed = _beside(path, ".failed").open("a", encoding="utf-8")
        except OSError as error:
            raise OutputError(
                f"{path}: cannot be written ({error.strerror})", hint="choose -o/--output"
            ) from None

    def _same_run(self, made_of: dict[str, Any]) -> None:
        note = _beside(self.path, ".run.json")
        if not note.exists():
            if self.path.exists():
                raise TrainError(
                    f"{self.path}: exists, but not from a run of lorid teach",
                    hint="choose another -o/--output",
                )
            note.write_text(json.dumps(made_of, indent=1) + "\n", encoding="utf-8")
            return
        before = json.loads(note.read_text(encoding="utf-8"))
        if before != made_of:
            other = [key for key in made_of if before.get(key) != made_of[key]]
            raise TrainError(
                f"{self.path}: belongs to another run (other {', '.join(other)})",
                hint="choose another -o/--output",
            )

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *_: object) -> None:
        self._rules.close()
        self._failed.close()

    def add(self, id: int | str, rules: tuple[str, ...]) -> None:
        """Write the rules of a problem; they are on the disk when this returns."""
        self.known.add(id)
        self._write(self._rules, {"id": id, "knowledge": list(rules)})

    def fail(self, id: int | str, why: str, text: str) -> None:
        """Write down a reply that holds no rules, and count the attempt."""
        self.attempts[id] += 1
        self.reasons[id] = why
        self._write(self._failed, {"id": id, "why": why, "reply": text})

    def _write(self, file: IO[str], record: dict[str, Any]) -> None:
        try:
            append(file, record)
        except OSError as error:
            raise OutputError(
                f"{self.path}: cannot be written ({error.strerror})",
                hint="make room there; the same command goes on",
            ) from None


def made_of(source: Path, model: str, prompt: str = teacher.SYSTEM) -> dict[str, Any]:
    """Return what decides the rules, so that two runs never share a file."""
    return {"problems_sha256": sha256(source), "model": model, "prompt": prompt}


def collect(
    rows: list[Row], asked: Teacher, store: Store, cancelled: Cancelled, say: Callable[[str], None]
) -> Told:
    """Ask for the rules of every row that `store` lacks, up to ATTEMPTS times each.

    Raises TrainError, EngineError, OutputError; what was answered by then is kept.
    """
    told = Told(done=sum(row.id in store.known for row in rows))
    if told.done:
        say(f"{told.done} of {len(rows)} are there already")
    while todo := [r for r in rows if r.id not in store.known and store.attempts[r.id] < ATTEMPTS]:
        asks = (teacher.ask(row, store.attempts[row.id]) for row in todo)
        for ask, reply in asked.answers(asks, cancelled):
            told.prompt_tokens += reply.prompt_tokens
            told.reply_tokens += reply.reply_tokens
            try:
                store.add(ask.id, teacher.rules(reply))
            except teacher.Unreadable as reason:
                store.fail(ask.id, str(reason), reply.text)
                continue
            told.done += 1
            if told.done % TOLD_EVERY == 0:
                say(f"{told.done} of {len(rows)}")
        if cancelled():
            break
    given_up = [r.id for r in rows if r.id not in store.known and store.attempts[r.id] >= ATTEMPTS]
    told.given_up.update(store.reasons[id] for id in given_up)
    return told


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)
