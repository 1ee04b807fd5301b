"""Reads problems with worked solutions: GSM8K, the paper's authors' format and MATH.

A data set is a file below the data folder or a hub id whose files are already in the local Hugging
Face cache. Nothing is downloaded, and no solution is checked here: `data` and `tracing` do that.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lorid_local import prompts
from lorid_local.errors import MissingExtra, TrainError

MARKER = "#### "
ELSEWHERE = "put it there, or give another folder with --data (see train/data/README.md)"
OTHER_FORMAT = "choose the format the file has in the recipe: gsm8k, authors or math"
HUB_IDS = {"openai/gsm8k": ("main", "train")}  # id -> folder and split of its training file

Format = Literal["gsm8k", "authors", "math"]


@dataclass(frozen=True)
class Row:
    """A problem with its worked solution, its final answer and its general rules.

    `id` is the 0-based line, or the problem's own id; MATH's rows have no rationale.
    """

    id: int | str
    question: str
    rationale: str
    answer: str
    knowledge: tuple[str, ...]


def read(
    root: Path, source: str, format: Format = "gsm8k", knowledge: str = "", rules: str = ""
) -> Iterator[Row]:
    """Yield the problems of `source`, a file below `root` or a hub id, in its order.

    `knowledge` names a file of {"id": line, "knowledge": [rules]} below `root`. `rules` names the
    key that rules stand under in the source itself. Raises TrainError naming file and line,
    MissingExtra where the hub's files need a package that is not installed.
    """
    extra = {}
    if knowledge:
        records = jsonl(root / knowledge, {"id", "knowledge"})
        extra = {record["id"]: record["knowledge"] for _, record in records}
    for where, line, record in _records(root, source, _KEYS[format]):
        question, rationale, answer = _READERS[format](record, where)
        given = record.get(rules or "knowledge", ()) if format != "gsm8k" else ()
        found = prompts.rules("\n".join(extra.get(line, given)))
        yield Row(line, prompts.tidy(question), rationale.strip(), answer.strip(), found)


def _gsm8k(record: dict[str, Any], where: str) -> tuple[str, str, str]:
    rationale, marker, answer = _text(record, "answer", where).rpartition(MARKER)
    if not marker:
        raise TrainError(
            f"{where}: the answer has no {MARKER!r} line",
            hint=OTHER_FORMAT,
        )
    return _text(record, "question", where), rationale, answer


def _authors(record: dict[str, Any], where: str) -> tuple[str, str, str]:
    question, rationale = (_text(record, key, where) for key in ("question", "rationale"))
    return question, rationale, str(record["answer"])


def _math(record: dict[str, Any], where: str) -> tuple[str, str, str]:
    answer = boxed(_text(record, "solution", where))
    if answer is None:
        raise TrainError(
            f"{where}: the solution has no \\boxed answer",
            hint=OTHER_FORMAT,
        )
    return _text(record, "problem", where), "", answer


def _text(record: dict[str, Any], key: str, where: str) -> str:
    value = record[key]
    if not isinstance(value, str):
        raise TrainError(
            f"{where}: {key} must be text, got {value!r}",
            hint="mend that row, or leave its line out",
        )
    return value


def boxed(solution: str) -> str | None:
    """Return what the last `\\boxed{...}` of a LaTeX text holds; None if there is none, or open."""
    _, found, rest = solution.rpartition("\\boxed{")
    if not found:
        return None
    depth = 1
    for at, letter in enumerate(rest):
        depth += {"{": 1, "}": -1}.get(letter, 0)
        if not depth:
            return rest[:at].strip()
    return None


_READERS = {"gsm8k": _gsm8k, "authors": _authors, "math": _math}
_KEYS: dict[str, set[str]] = {
    "gsm8k": {"question", "answer"},
    "authors": {"question", "rationale", "answer"},
    "math": {"problem", "solution"},
}


def _records(root: Path, source: str, keys: set[str]) -> Iterator[tuple[str, int, dict[str, Any]]]:
    """Yield ('file:line', 0-based line, record)."""
    path = root / source
    if source in HUB_IDS and not path.exists():
        path = cached(source)
    if path.suffix == ".parquet":
        for line, record in enumerate(_parquet(path)):
            yield f"{path}:{line + 1}", line, record
        return
    for line, record in jsonl(path, keys):
        yield f"{path}:{line + 1}", line, record


def cached(hub_id: str) -> Path:
    """Return the training file of a hub data set from the local cache.

    Raises TrainError with the command that fetches it, MissingExtra without huggingface_hub.
    """
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import LocalEntryNotFoundError
    except ModuleNotFoundError:
        raise MissingExtra(
            "reading the Hugging Face cache needs huggingface_hub, which is not installed",
            hint="pip install huggingface_hub, or name a file below --data",
        ) from None
    fetch = f"hf download --repo-type dataset {hub_id}, or name a file below --data"
    try:
        folder = Path(snapshot_download(hub_id, repo_type="dataset", local_files_only=True))
    except LocalEntryNotFoundError:
        raise TrainError(f"{hub_id} is not in the local Hugging Face cache", hint=fetch) from None
    inside, split = HUB_IDS[hub_id]
    for pattern in (f"{inside}/{split}*.parquet", f"{inside}/{split}*.jsonl"):
        if found := sorted(folder.glob(pattern)):
            return found[0]
    raise TrainError(f"{folder}: holds no {inside}/{split} file", hint=fetch)


def _parquet(path: Path) -> list[dict[str, Any]]:
    try:
        from pyarrow import parquet  # type: ignore[import-not-found,import-untyped,unused-ignore]
    except ModuleNotFoundError:
        raise MissingExtra(
            f"reading {path.name} needs pyarrow, which is not installed", hint="pip install pyarrow"
        ) from None
    records: list[dict[str, Any]] = parquet.read_table(path).to_pylist()
    return records


def excluded(root: Path, leave_out: tuple[str, ...], errata: str) -> dict[int | str, str]:
    """Map each line that must not be used to the reason: a file's name, or 'errata: kind'."""
    found: dict[int | str, str] = {}
    if errata:
        kinds = read_json(root / errata)
        found = {line: f"errata: {kind}" for kind, lines in kinds.items() for line in lines}
    for name in leave_out:
        for text in read_text(root / name).split():
            if not text.isdigit():
                raise TrainError(
                    f"{root / name}: expected a line number, got {text!r}",
                    hint="0-based line numbers with blanks between them",
                )
            found[int(text)] = name
    return found


def read_text(path: Path) -> str:
    """Return a file's text; raises TrainError that names the flag."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise TrainError(f"{path}: {error.strerror}", hint=ELSEWHERE) from None


def read_json(path: Path) -> Any:
    """Return a file's JSON; raises TrainError."""
    try:
        return json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise TrainError(f"{path}: not JSON: {error}", hint="fetch the file again") from None


def jsonl(path: Path, keys: set[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (0-based line, object) of a file whose every object holds `keys`."""
    for number, line in enumerate(read_text(path).splitlines()):
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise TrainError(
                f"{path}:{number + 1}: not JSON: {error}", hint="one JSON object a line"
            ) from None
        if not isinstance(record, dict) or not keys <= record.keys():
            wanted = ", ".join(sorted(keys))
            raise TrainError(
                f"{path}:{number + 1}: expected an object with {wanted}",
                hint="mend that row, or name another file",
            )
        yield number, record
