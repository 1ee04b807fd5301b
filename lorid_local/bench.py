"""`lorid bench`: how fast this machine draws samples and solves, measured through the engine.

Speeds are medians over repeats; with and without an adapter are measured in turn, so that what
disturbs one disturbs the other. What is measured is the machine, not the model's answers.
"""

import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lorid_local import __version__, loop, prompts, tables
from lorid_local import bundle as bundles
from lorid_local.cores import usable_cores
from lorid_local.engine import Cancelled, Part, Request, Role
from lorid_local.errors import ContextOverflow, ModelError
from lorid_local.models.shelf import located
from lorid_local.solving import Flags, asked, base_file, check, interruptible, opened, settle

if TYPE_CHECKING:
    from lorid_local.llama import LlamaEngine

SCHEMA = "lorid-bench/1"
PROBLEM = (
    "Tom has 3 boxes with 12 pencils in each box. He gives 10 pencils to his friends. How many "
    "pencils does Tom have left?"
)
# so hot that no sample ends by itself before its last token; a nucleus would cost a long sort,
# which the sharper distribution of a solve does not
TEMPERATURE, TOP_P = 2.0, 1.0
PROMPT_TOKENS = 256  # a whole batch of the engine's
BUSY = 0.5  # processes that want to run, a core
CPU_INFO = Path("/proc/cpuinfo")


@dataclass(frozen=True)
class Task:
    """What to measure: samples at once, tokens of each, and how often."""

    widths: tuple[int, ...]
    tokens: int
    repeat: int


@dataclass(frozen=True)
class Speed:
    """Tokens a second in each repeat, without an adapter and with one (() if there is none)."""

    plain: tuple[float, ...]
    adapted: tuple[float, ...]

    @property
    def share(self) -> float | None:
        """The median of what is left of the speed with the adapter, repeat by repeat."""
        if not self.adapted:
            return None
        return statistics.median(a / p for a, p in zip(self.adapted, self.plain, strict=True))

    def as_dict(self) -> dict[str, Any]:
        return {
            "plain": round(statistics.median(self.plain), 1),
            "adapter": round(statistics.median(self.adapted), 1) if self.adapted else None,
            "share": round(self.share, 3) if self.share is not None else None,
            "plain_runs": [round(speed, 1) for speed in self.plain],
            "adapter_runs": [round(speed, 1) for speed in self.adapted],
        }


@dataclass(frozen=True)
class Solved:
    """The built-in problem in one round: seconds to load and to solve, tokens written."""

    load: tuple[float, ...]
    solve: tuple[float, ...]
    tokens: int
    peak: float | None  # MiB


@dataclass(frozen=True)
class Result:
    """All that was measured."""

    machine: dict[str, Any]
    task: Task
    adapter: Role | None
    decode: dict[int, Speed]
    prompt: Speed
    solved: Solved

    def as_dict(self) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "machine": self.machine,
            "tokens": self.task.tokens,
            "repeat": self.task.repeat,
            "adapter": self.adapter,
            "decode": [{"width": w, **speed.as_dict()} for w, speed in self.decode.items()],
            "prompt": {"tokens": PROMPT_TOKENS, **self.prompt.as_dict()},
            "problem": {
                "load_seconds": round(statistics.median(self.solved.load), 3),
                "solve_seconds": round(statistics.median(self.solved.solve), 3),
                "tokens": self.solved.tokens,
                "peak_mib": self.solved.peak and round(self.solved.peak, 1),
            },
        }

    def rows(self) -> Iterator[tuple[str, ...]]:
        """Yield heads and rows of a table: tokens a second."""
        named = f"with the {self.adapter} adapter"
        heads = ("tokens a second", "base", *((named, "ratio") if self.adapter else ()))
        yield heads
        for width, speed in self.decode.items():
            yield _row(f"{width} sample{'s' * (width > 1)} at once", speed)
        yield _row("reading a prompt", self.prompt)


def _row(what: str, speed: Speed) -> tuple[str, ...]:
    shown = (what, f"{statistics.median(speed.plain):.1f}")
    if speed.share is None:
        return shown
    return (*shown, f"{statistics.median(speed.adapted):.1f}", f"{speed.share:.2f}")


def run(flags: Flags, task: Task, *, as_json: bool) -> int:
    """Measure and print the figures; return 0. Raises LoridError."""
    flags = replace(flags, model=located(flags.model))
    check(flags)
    chosen = bundles.find(flags.bundle or bundles.DEFAULT)
    warn(os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0, os.cpu_count() or 1)
    try:
        with interruptible() as interrupted:
            result = measure(chosen, flags, task, interrupted)
    except ModelError as error:
        error.hint = error.hint.replace("lorid solve", "lorid bench")
        raise
    if as_json:
        print(json.dumps(result.as_dict()))
    else:
        show(result)
    return 0


def warn(load: float, cores: int) -> None:
    """Say on standard error if other processes are busy; `load` is what wanted to run lately."""
    if load > BUSY * cores:
        _say(
            f"Warning: the load is {load:.1f} on {cores} core{'s' * (cores > 1)}: another process "
            "is busy, and the figures will be too low."
        )


def show(result: Result) -> None:
    """Print the figures for a person."""
    machine, solved = result.machine, result.solved
    print(f"{machine['cpu']}, {machine['threads']} of {machine['cores']} cores")
    print(f"lorid {machine['lorid']}, llama-cpp-python {machine['llama_cpp_python']}")
    print(f"{machine['bundle']}: {machine['base']}\n")
    heads, *rows = result.rows()
    tables.show(heads, rows)
    load, solve = statistics.median(solved.load), statistics.median(solved.solve)
    print(f"\none problem, one round: {solve:.2f} s ({solved.tokens} tokens)")
    print(f"loading before that: {load:.2f} s")
    if solved.peak is not None:
        print(f"peak memory of that: {solved.peak:.0f} MiB")
    print(f"\nMedians of {result.task.repeat}, {result.task.tokens} tokens a sample. Another busy "
          "process spoils them.")  # fmt: skip


def measure(chosen: bundles.Bundle, flags: Flags, task: Task, interrupted: Cancelled) -> Result:
    """Solve first, for the peak of memory; then measure speeds on a second engine.

    Raises KeyboardInterrupt soon after `interrupted` says so.
    """
    base = base_file(chosen, flags)  # written to the cache before any time is taken
    solved = solve(chosen, flags, task.repeat, interrupted)
    named = [r for r in Role if chosen.contents.roles.of(r).adapter and not flags.prompted]
    adapted = named[0] if named else None
    bare = next(role for role in Role if role is not adapted)
    # the engine gives an adapter to a role, so a role without one shows the bare base
    lone = chosen.only(adapted) if adapted else chosen.only()
    roles = (bare, adapted) if adapted else (bare,)
    try:
        with opened(lone, flags) as engine:
            meter = Meter(engine, task.tokens, interrupted)
            decode, prompt = speeds(meter, task, roles)
    except ContextOverflow as error:
        error.hint = "lower --tokens"
        raise
    return Result(_machine(chosen, base, flags), task, adapted, decode, prompt, solved)


def solve(chosen: bundles.Bundle, flags: Flags, repeat: int, interrupted: Cancelled) -> Solved:
    """Solve PROBLEM in one greedy round, `repeat` times, each on an engine of its own."""
    from lorid_local.memory_plan import peak

    setup = settle(chosen.contents, replace(flags, rounds=1))
    load, seconds, tokens = [], [], 0
    for number in range(1, repeat + 1):
        started = time.monotonic()
        with opened(chosen, flags) as engine:
            loaded = time.monotonic()
            setup = asked(setup, chosen, flags, engine)
            events = loop.solve(PROBLEM, engine, setup.roles, setup.loop, cancelled=interrupted)
            trace = loop.finish(events, lambda event: None)
        _stop_if(interrupted)
        load.append(loaded - started)
        seconds.append(trace.seconds)
        tokens = trace.tokens
        _say(f"solved {number} of {repeat}")
    return Solved(tuple(load), tuple(seconds), tokens, peak())


class Meter:
    """Times an engine's calls."""

    def __init__(self, engine: "LlamaEngine", tokens: int, interrupted: Cancelled) -> None:
        self.engine, self.tokens, self.interrupted = engine, tokens, interrupted
        self.profile = prompts.profile("terse-1")
        self.texts = 0

    def decode(self, role: Role, width: int, seed: int) -> float:
        """Return the tokens a second of `width` samples of one prompt, which is read already."""
        prompt = self.profile.parts(Role.IR, PROBLEM)
        requests = [
            Request(role, prompt, self.tokens, seed * width + i, TEMPERATURE, TOP_P)
            for i in range(width)
        ]
        started = time.monotonic()
        done = self.engine.generate(requests, cancelled=self.interrupted)
        seconds = time.monotonic() - started
        _stop_if(self.interrupted)
        return sum(completion.tokens for completion in done) / seconds

    def prompt(self, role: Role) -> float:
        """Return the tokens a second of reading a prompt that the engine has not seen yet."""
        text = self._new_text()
        request = Request(role, text, 1, temperature=TEMPERATURE)
        count = self.engine.count(text)
        started = time.monotonic()
        self.engine.generate([request], cancelled=self.interrupted)
        seconds = time.monotonic() - started
        _stop_if(self.interrupted)
        return count / seconds

    def _new_text(self) -> tuple[Part, ...]:
        """Return about PROMPT_TOKENS tokens that begin as no text before."""
        self.texts += 1
        words = [f"{self.texts:03d}"]
        more = PROBLEM.split()
        while self.engine.count((Part(" ".join(words)),)) < PROMPT_TOKENS:
            words.append(more[len(words) % len(more)])
        return (Part(" ".join(words[:-1])),)


def speeds(meter: Meter, task: Task, roles: tuple[Role, ...]) -> tuple[dict[int, Speed], Speed]:
    """Return the decoding speed at each width, and that of reading a prompt.

    `roles` are the bare one and, if there is one, that with the adapter.
    """
    for role in roles:  # the contexts are made, the prompt is read
        meter.decode(role, max(task.widths), 0)
        meter.prompt(role)
        meter.decode(role, 1, 0)
    found: dict[tuple[int, Role], list[float]] = {(w, r): [] for w in task.widths for r in roles}
    read: dict[Role, list[float]] = {role: [] for role in roles}
    for number in range(1, task.repeat + 1):
        for width in task.widths:
            for role in roles:
                found[width, role].append(meter.decode(role, width, number))
        for role in roles:
            read[role].append(meter.prompt(role))
        for role in roles:
            meter.decode(role, 1, 0)  # reads the decoding's prompt again
        _say(f"measured {number} of {task.repeat}")
    decode = {w: _speed([found[w, role] for role in roles]) for w in task.widths}
    return decode, _speed([read[role] for role in roles])


def _speed(runs: list[list[float]]) -> Speed:
    return Speed(tuple(runs[0]), tuple(runs[1]) if len(runs) > 1 else ())


def cpu_name(info: Path = CPU_INFO) -> str:
    """Return the processor's name as the system tells it, or at least its architecture."""
    try:
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name" and value.strip():
                return value.strip()
    except OSError:  # not Linux
        pass
    return platform.processor() or platform.machine()


def _machine(chosen: bundles.Bundle, base: Path, flags: Flags) -> dict[str, Any]:
    return {
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "threads": flags.threads or usable_cores(),
        "system": platform.platform(),
        "lorid": __version__,
        "llama_cpp_python": metadata.version("llama-cpp-python"),
        "bundle": chosen.contents.name,
        "base": base.name,
    }


def _stop_if(interrupted: Cancelled) -> None:
    if interrupted():
        raise KeyboardInterrupt


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
