"""`lorid teach` from its flags to its exit code: asks a teacher, or audits what one wrote."""

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lorid_local.engine import Engine
from lorid_local.errors import EXIT_FAILURE, EXIT_INTERRUPTED, InputError
from lorid_train import audit, rows, teaching
from lorid_train.endpoint import Access, Endpoint
from lorid_train.local_teacher import LocalTeacher
from lorid_train.rows import Row
from lorid_train.teacher import Cancelled, Teacher

OpenEngine = Callable[[Path, int], AbstractContextManager[Engine]]
"""(model, threads) -> an engine; 0 threads means one a core."""


@dataclass(frozen=True)
class Flags:
    """The flags of `lorid teach`; None means that the default is somebody else's."""

    problems: str
    root: Path
    format: rows.Format = "gsm8k"
    leave_out: tuple[str, ...] = ()
    model: str | None = None
    url: str | None = None
    output: Path | None = None
    jobs: int | None = None
    n_predict: int | None = None
    threads: int | None = None
    limit: int = 0
    audit: Path | None = None
    samples: int = 50
    seed: int = 0
    key: str = ""


def run(flags: Flags, open_engine: OpenEngine, interrupted: Cancelled) -> int:
    """Do what the flags ask for; return the exit code. Raises LoridError."""
    if flags.audit and (flags.output or flags.url or flags.model):
        raise InputError(
            "--audit judges a file that is there: it takes no -o, --url or --model",
            hint=f"lorid teach {flags.problems} --data DATA --audit {flags.audit}",
        )
    everything = _rows(flags)
    if flags.audit:
        found = audit.audit(everything, audit.read(flags.audit))
        print("\n".join(audit.lines(found, flags.samples, flags.seed)))
        return 0
    if not flags.output or not flags.model:
        lacking = "-o/--output" if not flags.output else "-m/--model"
        raise InputError(
            f"{lacking} is missing",
            hint="lorid teach PROBLEMS --url https://HOST/v1 -m NAME -o rules.jsonl",
        )
    with (
        _teacher(flags, flags.model, open_engine) as asked,
        teaching.Store(flags.output, _made_of(flags, flags.model)) as store,
    ):
        told = teaching.collect(everything, asked, store, interrupted, _say)
    return _report(told, len(everything), interrupted())


def _rows(flags: Flags) -> list[Row]:
    out = rows.excluded(flags.root, flags.leave_out, "")
    read = rows.read(flags.root, flags.problems, flags.format)
    found = [row for row in read if row.id not in out]
    return found[: flags.limit] if flags.limit else found


def _teacher(flags: Flags, model: str, open_engine: OpenEngine) -> AbstractContextManager[Teacher]:
    if flags.url:
        given = {"jobs": flags.jobs, "max_tokens": flags.n_predict}
        chosen: dict[str, Any] = {name: value for name, value in given.items() if value}
        return nullcontext(Endpoint(Access(flags.url, model, flags.key, **chosen)))
    if not model.endswith(".gguf"):
        raise InputError(
            f"--model {model}: expected a .gguf file, or --url",
            hint="lorid teach PROBLEMS --url https://HOST/v1 -m NAME -o rules.jsonl",
        )
    return LocalTeacher(
        lambda: open_engine(Path(model), flags.threads or 0), flags.n_predict or Access.max_tokens
    )


def _made_of(flags: Flags, model: str) -> dict[str, Any]:
    path = flags.root / flags.problems
    source = path if path.exists() else rows.cached(flags.problems)
    return teaching.made_of(source, model if flags.url else Path(model).name)


def _report(told: teaching.Told, total: int, interrupted: bool) -> int:
    _say(f"{told.done} of {total} problems have rules")
    _say(f"tokens of this run: {told.prompt_tokens} asked, {told.reply_tokens} answered")
    for why, count in told.given_up.most_common():
        _say(f"given up after {teaching.ATTEMPTS} attempts: {count}, {why}")
    if interrupted:
        return EXIT_INTERRUPTED
    return EXIT_FAILURE if told.done < total else 0


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
