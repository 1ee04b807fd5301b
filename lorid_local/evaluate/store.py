"""The file of samples: what they were drawn with, the problems, and a line for each sample.

A line is on disk (fsync) before the next sample is noted, and a file of other settings is
refused by the setting's name. Knows neither engine nor methods.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from lorid_local import solve_file
from lorid_local.engine import Completion, Role
from lorid_local.errors import InputError
from lorid_local.evaluate.cases import Case, from_dict
from lorid_local.judging import Protocol
from lorid_local.trace import LOGPROB_DIGITS

SCHEMA = "lorid-samples/1"
OTHER_FILE = "give another file with -o/--output, or remove this one"


class Key(NamedTuple):
    """Whose sample it is. `by` says whose rules DR had: '' is KG's of the same round."""

    case: int
    role: Role
    round: int
    by: str = ""


class Stops(NamedTuple):
    """Drawing ended where the systems agreed by this protocol, or after so many rounds."""

    protocol: Protocol
    rounds: int


@dataclass(frozen=True)
class Taken:
    """A sample as it came. `seconds` are those since the one before it in the same call."""

    completion: Completion
    seconds: float = 0.0


@dataclass
class Contents:
    """What a file of samples holds. `settings` are by name; `cases` are in the data's order.

    `stops` says that a problem has no samples behind its agreement, else that many rounds.
    """

    data: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    cases: list[Case] = field(default_factory=list)
    samples: dict[Key, Taken] = field(default_factory=dict)
    stops: Stops | None = None


def read(path: Path, *, mend: bool = False) -> Contents:
    """Return what `path` holds, nothing if it is not there; a line that was cut off is left out.

    `mend` removes that line from the file, which nobody else may be writing to then. Raises
    InputError for a line that is not one of lorid's.
    """
    contents = Contents()
    for number, line in enumerate(solve_file.whole_lines(path, mend=mend), 1):
        try:
            _add(contents, json.loads(line), first=number == 1)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise InputError(
                f"{path}:{number}: not a line of samples ({SCHEMA})", hint=OTHER_FILE
            ) from None
    return contents


def is_samples(path: Path) -> bool:
    """True if the file at `path` begins as a file of samples does."""
    try:
        with open(path, "rb") as file:
            return file.readline(200).startswith(f'{{"schema": "{SCHEMA}"'.encode())
    except OSError:
        return False


def _add(contents: Contents, record: dict[str, Any], *, first: bool) -> None:
    if first:
        if record["schema"] != SCHEMA:
            raise ValueError(record["schema"])
        contents.data, contents.settings = record["data"], dict(record["settings"])
    elif "problem" in record:
        if record["case"] != len(contents.cases):
            raise ValueError(record["case"])
        contents.cases.append(from_dict(record["problem"]))
    else:
        key = Key(record["case"], Role(record["role"]), record["round"], record["by"])
        done = _completion(record)
        if not 0 <= key.case < len(contents.cases):
            raise ValueError(key.case)
        contents.samples[key] = Taken(done, record["seconds"])


def _completion(record: Mapping[str, Any]) -> Completion:
    text, reason, tokens = record["text"], record["finish_reason"], record["tokens"]
    return Completion(text, reason, tokens, record.get("logprob"))


def check(
    path: Path, contents: Contents, settings: Mapping[str, Any], cases: Sequence[Case]
) -> None:
    """Raise InputError, naming the first setting or problem that differs, if it is another run's.

    More problems or fewer than the file holds are no other run.
    """
    for name, value in settings.items():
        there = contents.settings.get(name)
        if there != value:
            raise InputError(
                f"{path}: the samples of another run: its {name} is {there!r}, not {value!r}",
                hint=OTHER_FILE,
            )
    for number, (there, case) in enumerate(zip(contents.cases, cases, strict=False), 1):
        if (there.question, there.gold.value) != (case.question, case.gold.value):
            raise InputError(
                f"{path}: the samples of another run: its problem {number} is "
                f"{there.question[:60]!r}",
                hint=OTHER_FILE,
            )


class Writer:
    """Adds to a file of samples and to the `contents` that were read from it."""

    def __init__(self, write: Callable[[dict[str, Any]], None], contents: Contents) -> None:
        self._write, self.contents = write, contents

    def case(self, case: Case) -> None:
        """Note the next problem."""
        self._write({"case": len(self.contents.cases), "problem": case.as_dict()})
        self.contents.cases.append(case)

    def sample(self, key: Key, completion: Completion, seconds: float) -> None:
        """Note a sample, unless it is there or was cancelled."""
        if key in self.contents.samples or completion.finish_reason == "cancelled":
            return
        record: dict[str, Any] = {"case": key.case, "role": key.role.value, "round": key.round}
        record |= {"by": key.by, "text": completion.text}
        record |= {"finish_reason": completion.finish_reason, "tokens": completion.tokens}
        if completion.logprob is not None:
            record["logprob"] = round(completion.logprob, LOGPROB_DIGITS)
        self._write(record | {"seconds": round(seconds, 4)})
        self.contents.samples[key] = Taken(completion, seconds)


@contextmanager
def writer(
    path: Path, data: str, settings: Mapping[str, Any], cases: Sequence[Case]
) -> Iterator[Writer]:
    """Yield what goes on with the file at `path`; raises InputError if it is another run's.

    Raises OutputError where it cannot be written, as on a full disk.
    """
    with solve_file.sink(path, json.dumps) as write:
        contents = read(path, mend=True)
        if contents.settings:
            check(path, contents, settings, cases)
        if not contents.settings:
            contents.data, contents.settings = data, dict(settings)
            write({"schema": SCHEMA, "data": data, "settings": contents.settings})
        yield Writer(write, contents)


def from_traces(path: Path, cases: Sequence[Case]) -> Contents:
    """Return what `lorid solve --file -o` wrote (schema lorid-trace/1) as samples of `cases`.

    Such samples end where the systems agreed. Raises InputError if a problem is not of `cases`,
    or the protocol or t differs from line to line.
    """
    numbers = {case.question: number for number, case in enumerate(cases)}
    found: dict[int, dict[str, Any]] = {}
    stops: set[Stops] = set()
    for line, record in enumerate(map(json.loads, solve_file.whole_lines(path, mend=False)), 1):
        number = numbers.get(record.get("question"))
        if number is None:
            raise InputError(
                f"{path}:{line}: its problem is not one of DATA",
                hint="give the data that the problems were taken from",
            )
        if record.get("status") in ("agreed", "no-agreement"):
            found[number] = record
            stops.add(Stops(record["protocol"], record["max_rounds"]))
    if len(stops) > 1:
        said = [f"{s.protocol}, t = {s.rounds}" for s in sorted(stops)]
        raise InputError(
            f"{path}: of several runs: {' and '.join(said)}",
            hint="give the results of one run",
        )
    contents = Contents(data=path.name, cases=[cases[n] for n in sorted(found)])
    contents.stops = next(iter(stops), None)
    for at, number in enumerate(sorted(found)):
        for drawn in found[number]["rounds"]:
            for role in (r for r in Role if r.value in drawn):
                done = _completion(drawn[role.value])
                contents.samples[Key(at, role, drawn["round"])] = Taken(done)
    return contents
