"""`lorid solve` from flags to exit code: the only place where loop and engine meet."""

import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Literal

from lorid_local import batch, loop, problems, results, serving, solve_file
from lorid_local import bundle as bundles
from lorid_local.base_type import BaseType, Say, derived
from lorid_local.calibration import Calibration, Sureness, sureness
from lorid_local.engine import Engine, Role
from lorid_local.errors import InputError, ModelError, OutputError
from lorid_local.judging import Protocol
from lorid_local.models.shelf import located
from lorid_local.prompting import PROMPTED, framed
from lorid_local.render import Screen, screen
from lorid_local.trace import Trace

if TYPE_CHECKING:
    from lorid_local.endpoint.engine import EndpointEngine
    from lorid_local.llama import LlamaEngine

MAX_THREADS = 512  # GGML_MAX_N_THREADS; ggml crashes beyond it
PROMPT_MIB = 128  # of each role: prompts of 32 problems of the bundled model


@dataclass(frozen=True)
class Flags:
    """The command line. None means: as the bundle says."""

    problem: str | None = None
    file: Path | None = None
    output: Path | None = None
    as_json: bool = False
    quiet: bool = False
    trace: Path | None = None
    rounds: int | None = None
    protocol: Protocol | None = None
    width: int | None = None
    timeout: float | None = None
    bundle: str | None = None
    model: Path | None = None
    base_type: BaseType | None = None
    no_adapters: bool = False
    no_calculator: bool = False
    chat: str | None = None
    endpoint: str | None = None
    server_models: str | None = None
    in_flight: int | None = None
    seed: int = 0
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    n_predict: int | None = None
    ctx_size: int | None = None
    threads: int | None = None
    n_gpu_layers: int | None = None
    kv_type: Literal["f16", "q8_0"] = "f16"
    low_memory: bool = False
    verbose: bool = False

    @property
    def prompted(self) -> bool:
        """True if the base is asked without adapters: -m alone means that model as it is."""
        return self.no_adapters or (self.model is not None and self.bundle is None)


@dataclass(frozen=True)
class Setup:
    """What the loop needs, settled from bundle and flags. No calibration if flags changed it."""

    roles: loop.RoleTable
    loop: loop.LoopSettings
    calibration: Calibration | None
    seed: int
    timeout: float | None


def run(flags: Flags) -> int:
    """Solve what the flags ask for; return the exit code. Raises LoridError."""
    flags = replace(flags, model=located(flags.model))
    check(flags)
    todo = problems.from_file(flags.file) if flags.file else _one(flags)
    chosen = bundles.find(flags.bundle or bundles.DEFAULT)
    setup = settle(chosen.contents, flags)
    done = _done(flags, todo, setup, mend=False)
    if len(done) == len(todo):
        _note(f"{flags.output}: all {len(done)} results are there already.")
        return _end_of_file(flags, done)
    # interruptible first: ctypes swallows a KeyboardInterrupt in llama.cpp's log while it loads
    with interruptible() as interrupted, engine_for(chosen, setup, flags) as engine:
        setup = asked(setup, chosen, flags, engine)
        solver = _Solver(engine, setup, interrupted, flags)
        if flags.file:
            return _solve_file(solver, todo)
        return _solve_one(solver, todo[0], flags)


def settle(contents: bundles.BundleFile, flags: Flags) -> Setup:
    """Return the bundle's settings with the flags put over them; raises InputError."""
    changes = {"temperature": flags.temperature, "top_p": flags.top_p, "top_k": flags.top_k}
    changes |= {"max_tokens": flags.n_predict}
    changed: dict[str, Any] = {k: v for k, v in changes.items() if v is not None}
    if flags.no_calculator:
        changed["calculator"] = False
    over: dict[str, Any] = {"rounds": flags.rounds, "protocol": flags.protocol}
    over |= {"width": flags.width}
    try:
        own = PROMPTED if flags.prompted else contents.roles
        table = {r.value: replace(own.of(r), **changed) for r in Role}
        settings = replace(contents.loop, **{k: v for k, v in over.items() if v is not None})
    except ValueError as error:
        raise InputError(str(error), hint="lorid solve --help") from None
    same = not changed and not flags.prompted and flags.model is None
    same = same and flags.base_type in (None, contents.base_type)
    return Setup(
        loop.RoleTable(**table),
        settings,
        contents.calibration if same else None,
        flags.seed,
        flags.timeout,
    )


def engine_for(
    chosen: bundles.Bundle, setup: Setup, flags: Flags
) -> "AbstractContextManager[LlamaEngine | EndpointEngine]":
    """Return the engine that the flags ask for, a server or one in this process."""
    if flags.endpoint:
        return serving.connected(flags.endpoint, setup.roles, flags.server_models, flags.in_flight)
    return opened(chosen, flags, many=flags.file is not None)


def asked(
    setup: Setup, chosen: bundles.Bundle, flags: Flags, engine: "LlamaEngine | EndpointEngine"
) -> Setup:
    """Return `setup` with the model's own chat format, where no role has an adapter."""
    if any(setup.roles.of(role).adapter for role in Role):
        return setup
    where = str(flags.endpoint or flags.model or chosen.contents.name)
    return replace(
        setup, roles=framed(setup.roles, flags.chat, engine.template, engine.room, where)
    )


def check(flags: Flags) -> None:
    """Raise InputError for flags that contradict each other or are out of range."""
    if flags.file and flags.problem not in (None, "-"):
        raise InputError("a problem and --file were both given", hint="give one of them")
    if flags.output and not flags.file:
        raise InputError(
            "-o/--output was given without --file", hint="lorid solve --file FILE -o OUT"
        )
    if flags.endpoint and (flags.model or flags.base_type):
        raise InputError(
            "--endpoint was given with -m or --base-type, but the server has its own base",
            hint="lorid solve --endpoint URL --no-adapters ... asks that base by prompts alone",
        )
    serving.check(flags.in_flight)
    if not flags.endpoint and (flags.in_flight is not None or flags.server_models):
        given = "--in-flight" if flags.in_flight is not None else "--server-models"
        raise InputError(f"{given} was given without --endpoint", hint="--endpoint URL")
    if flags.timeout is not None and not flags.timeout > 0:
        raise InputError(
            f"--timeout {flags.timeout}: expected seconds above 0", hint="leave it out for no limit"
        )
    if flags.threads is not None and not 1 <= flags.threads <= MAX_THREADS:
        raise InputError(
            f"--threads {flags.threads}: expected 1 to {MAX_THREADS}",
            hint="leave it out for the cores this process may use",
        )
    if flags.chat and not flags.prompted:
        raise InputError(
            "--chat was given, but the bundle's adapters know one format only",
            hint="lorid solve -m MODEL.gguf --chat FORMAT ...",
        )
    if flags.ctx_size is not None and flags.ctx_size < 1:
        raise InputError(
            f"--ctx-size {flags.ctx_size}: expected 1 or more",
            hint="leave it out for as much as a problem needs",
        )
    if flags.trace:
        results.check_trace(flags.trace)


def _one(flags: Flags) -> list[problems.Problem]:
    text = problems.from_command_line(flags.problem)
    if left_out := problems.unprintable(text):
        _note(f"Note: left out {left_out} control characters.")
    if not problems.counts(text):
        _note("Note: no number and no number word in this; expected a math word problem.")
    return [problems.Problem(text)]


def base_type(contents: bundles.BundleFile, flags: Flags) -> BaseType:
    """Return the representation of the base that the flags or the bundle ask for."""
    return flags.base_type or ("as-shipped" if flags.model else contents.base_type)


def _note(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def base_file(chosen: bundles.Bundle, flags: Flags, say: Say = _note) -> Path:
    """Return the base's file, in the representation that the flags or the bundle ask for."""
    contents = chosen.contents
    kind = base_type(contents, flags)
    path, sha256 = (flags.model, "") if flags.model else (chosen.base(), contents.base.sha256)
    try:
        return derived(path, kind, sha256=sha256, say=say)
    except OutputError as error:
        if flags.base_type:
            raise
        # the bundle's choice is only the faster one: the shipped file holds the same model
        say(f"Note: {error.message}; going on with the base as it was shipped.")
        return path


@contextmanager
def opened(
    chosen: bundles.Bundle, flags: Flags, say: Say = _note, *, many: bool = False
) -> Iterator["LlamaEngine"]:
    """Yield the engine that the flags ask for, as a solve uses it, of `many` problems side by side
    or of one after another. Raises LoridError.

    `say` is told what is written to the cache, or why it cannot be.
    """
    # after the flags and the problem were checked: llama_cpp and numpy take 0.3 s to import
    from lorid_local.llama import LlamaEngine, Options
    from lorid_local.too_large import warning

    base = base_file(chosen, flags, say)
    if told := warning(base):
        say(told)
    adapters = {} if flags.prompted else chosen.adapters()
    options = Options(
        threads=flags.threads or 0,
        context_size=flags.ctx_size or 0,
        gpu_layers=flags.n_gpu_layers,
        kv_type=flags.kv_type,
        low_memory=flags.low_memory,
        prompt_mib=PROMPT_MIB if many else 0,
        verbose=flags.verbose,
    )
    try:
        engine = LlamaEngine(base, adapters, options)
    except ModelError as error:
        if flags.model and adapters:
            error.hint = f"lorid solve -m {flags.model} ... (without --bundle: by prompts alone)"
        raise
    with engine:
        yield engine


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C into a flag, so that what was found can be shown; the second ends."""
    pressed: list[int] = []

    def on_signal(number: int, frame: FrameType | None) -> None:
        if pressed:
            raise KeyboardInterrupt
        pressed.append(number)

    before = signal.signal(signal.SIGINT, on_signal)
    try:
        yield lambda: bool(pressed)
    finally:
        signal.signal(signal.SIGINT, before)


@dataclass(frozen=True)
class _Solver:
    engine: Engine
    setup: Setup
    interrupted: Callable[[], bool]
    flags: Flags

    def solve(self, text: str, show: Screen) -> tuple[Trace, Sureness | None]:
        events = loop.solve(
            text,
            self.engine,
            self.setup.roles,
            self.setup.loop,
            seed=self.setup.seed,
            timeout=self.setup.timeout,
            cancelled=self.interrupted,
            on_text=show.on_text,
        )
        trace = loop.finish(events, show.on_event)
        return trace, sureness(self.setup.calibration, trace)

    def solve_all(self, texts: Iterable[str]) -> Iterator[batch.Outcome]:
        if self.flags.endpoint:  # a server makes its own batches
            from lorid_local import parallel  # threads, which an engine here need not

            solve_all, window = parallel.solve_all, self.flags.in_flight or serving.IN_FLIGHT
        else:
            solve_all, window = batch.solve_all, batch.WINDOW if self.setup.timeout is None else 1
        return solve_all(
            texts,
            self.engine,
            self.setup.roles,
            self.setup.loop,
            seed=self.setup.seed,
            timeout=self.setup.timeout,
            cancelled=self.interrupted,
            window=window,
        )


def _solve_one(solver: _Solver, problem: problems.Problem, flags: Flags) -> int:
    silent = flags.quiet or flags.as_json
    with screen(silent=silent) as show:
        trace, sure = solver.solve(problem.text, show)
    if flags.as_json:
        print(results.as_json(results.record(trace, sure), sys.stdout.encoding))
    else:
        show.report(trace, sure, quiet=flags.quiet)
    sys.stdout.flush()
    if flags.trace:
        results.write_trace(flags.trace, results.record(trace, sure))
    return solve_file.EXITS[trace.status]


def _solve_file(solver: _Solver, todo: list[problems.Problem]) -> int:
    """Write a JSON line for each problem that has none yet, in order."""
    flags, calibration = solver.flags, solver.setup.calibration
    with solve_file.sink(flags.output, _as_json) as write:
        # read again, now that no other process writes to it
        done = _done(flags, todo, solver.setup, mend=True)
        rest = todo[len(done) :]
        with solve_file.progress(len(done), len(todo), quiet=flags.quiet) as told:
            for problem, outcome in zip(rest, solver.solve_all(p.text for p in rest), strict=False):
                record = results.of_line(problem, outcome, calibration)
                write(record)
                done.append(_kept(record, flags))
                told(record["status"])
    return _end_of_file(flags, done)


def _as_json(record: solve_file.Record) -> str:
    return results.as_json(record, sys.stdout.encoding or "utf-8")  # none beside rich's bar


def _done(
    flags: Flags, todo: list[problems.Problem], setup: Setup, *, mend: bool
) -> list[solve_file.Record]:
    """Return the results that --output holds already, which are not solved again."""
    if not flags.output:
        return []
    settings = {
        "seed": setup.seed,
        "protocol": setup.loop.protocol,
        "max_rounds": setup.loop.rounds,
    }
    records = solve_file.stored(flags.output, todo, settings, mend=mend)
    return [_kept(record, flags) for record in records]


def _kept(record: solve_file.Record, flags: Flags) -> solve_file.Record:
    """Return what is held in memory of a result that is written, whatever a file holds."""
    return record if flags.trace else {"status": record["status"]}


def _end_of_file(flags: Flags, done: list[solve_file.Record]) -> int:
    """Write the trace of all results; return the worst exit code."""
    if flags.trace:
        results.write_trace(flags.trace, done)
    return solve_file.worst([str(record["status"]) for record in done])
