"""What all comparisons share: interleaved turns, medians of their ratios, one build, JSON out.

A figure is a median of ratios taken pair by pair, with a 95% bootstrap interval of that median. A
run may end early, by Ctrl-C or --minutes: it tells what it has, and with --out a later run goes
on behind it. Run on an idle machine: another busy process slows llama.cpp tenfold, and not always
both sides alike.
"""

import json
import os
import platform
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import click

from lorid_local import whole_file
from lorid_local.bench import cpu_name
from lorid_local.cores import usable_cores

LIBRARIES = "LLAMA_CPP_LIB_PATH"  # where llama-cpp-python looks for its shared libraries
ROOT = Path(__file__).parents[1]
RESAMPLES = 2000  # of the bootstrap
Command = Callable[..., Any]


@dataclass(frozen=True)
class Figure:
    """A ratio for each pair; `reach`, if any, is what its median should be at least, or at most."""

    name: str
    ratios: tuple[float, ...]
    reach: float | None = None
    at_most: bool = False

    @property
    def median(self) -> float:
        """The median ratio."""
        return statistics.median(self.ratios)

    @property
    def interval(self) -> tuple[float, float]:
        """The 95% percentile bootstrap interval of the median (Efron and Tibshirani, 1993)."""
        draw, size = random.Random(0), len(self.ratios)
        medians = [statistics.median(draw.choices(self.ratios, k=size)) for _ in range(RESAMPLES)]
        cuts = statistics.quantiles(medians, n=40, method="inclusive")
        return cuts[0], cuts[-1]

    @property
    def reached(self) -> bool | None:
        """True if the median is as good as it should be; None if nothing is to be reached."""
        if self.reach is None:
            return None
        return self.median <= self.reach if self.at_most else self.median >= self.reach

    def line(self) -> str:
        """Return it as text."""
        low, high = self.interval
        shown = f"{self.name}: {self.median:.3f} (95% interval {low:.3f} to {high:.3f}, "
        shown += f"pairs: {len(self.ratios)})"
        if self.reach is None:
            return shown
        sign = "<=" if self.at_most else ">="
        return f"{shown}, {'reached' if self.reached else 'NOT reached'} ({sign} {self.reach})"

    def as_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "median": round(self.median, 4),
            "interval_95": [round(end, 4) for end in self.interval],
            "ratios": [round(ratio, 4) for ratio in self.ratios],
            "reach": self.reach,
            "at_most": self.at_most,
            "reached": self.reached,
        }


def ratios(over: Iterable[float], under: Iterable[float]) -> tuple[float, ...]:
    """Return over / under, pair by pair."""
    return tuple(a / b for a, b in zip(over, under, strict=True))


class Turns:
    """What was measured, turn by turn; a context manager that ends in peace at Ctrl-C.

    `out`, if given, is written behind each turn, and goes on where a run with the same settings
    has left it. `minutes` ends a run before the first turn behind them.
    """

    def __init__(
        self, out: Path | None, minutes: float | None, settings: Mapping[str, Any]
    ) -> None:
        self.out = out
        self.until = time.monotonic() + 60 * minutes if minutes else None
        self.settings: dict[str, Any] = json.loads(json.dumps(settings, default=str))
        self.found: list[Any] = []
        self.loads: list[float] = []  # a turn's load of the machine, when it ended
        if out and out.exists():
            self._go_on(json.loads(out.read_text(encoding="utf-8")), out)

    def _go_on(self, record: dict[str, Any], out: Path) -> None:
        there = record.get("settings", {})
        for name in {**there, **self.settings}:
            if there.get(name) != self.settings.get(name):
                raise click.ClickException(
                    f"{out}: of another run: its {name} is {there.get(name)!r}, not "
                    f"{self.settings.get(name)!r}; give another --out"
                )
        self.found, self.loads = record["turns"], record["loads"]
        if self.found:
            print(f"{len(self.found)} turns are there already: {out}", flush=True)

    def __enter__(self) -> "Turns":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:  # fmt: skip
        if kind is KeyboardInterrupt:
            print("\nstopped; what was measured so far:", flush=True)
        return kind is KeyboardInterrupt

    def left(self, count: int) -> Iterator[int]:
        """Yield the numbers, from 0 on, of the turns that `count` lacks, while there is time."""
        for number in range(len(self.found), count):
            if self.until and time.monotonic() > self.until:
                print("the time is up; what was measured so far:", flush=True)
                return
            yield number

    def add(self, turn: Any) -> None:
        """Note a whole turn (JSON-ready)."""
        self.found.append(json.loads(json.dumps(turn)))
        self.loads.append(round(os.getloadavg()[0], 2))
        self._write(())

    def report(self, figures: Callable[[list[Any]], Iterable[Figure]]) -> None:
        """Print the figures of the turns, and write them; raises ClickException without turns."""
        if not self.found:
            raise click.ClickException("no turn was measured whole")
        made = list(figures(self.found))
        for figure in made:
            print(figure.line())
        self._write(made)

    def _write(self, figures: Sequence[Figure]) -> None:
        if not self.out:
            return
        record = {
            "command": " ".join(sys.argv),
            "machine": machine(),
            "settings": self.settings,
            "figures": [figure.as_dict() for figure in figures],
            "loads": self.loads,
            "turns": self.found,
        }
        self.out.parent.mkdir(parents=True, exist_ok=True)
        whole_file.write(self.out, [json.dumps(record, indent=1), "\n"])


def resumable(command: Command) -> Command:
    """Give a click command --out and --minutes."""
    minutes = click.option("--minutes", type=float, help="Start no turn behind these.")
    out = click.option(
        "--out",
        type=click.Path(path_type=Path),
        help="JSON of all turns; a later run goes on with it.",
    )
    return out(minutes(command))


@dataclass(frozen=True)
class Cost:
    """What a process cost: seconds of wall and of CPU time, peak resident memory in MiB."""

    wall: float
    cpu: float
    peak: float


def timed(command: Sequence[str], out: IO[bytes], **how: Any) -> tuple[int, Cost]:
    """Run `command`, its output into `out`; return its exit code and cost. Ends with this process.

    Memory and CPU time are as the kernel accounts them to the process.
    """
    started = time.monotonic()
    process = subprocess.Popen(command, stdout=out, stdin=subprocess.DEVNULL, env=environment(),
                               **how)  # fmt: skip
    try:
        _, status, usage = os.wait4(process.pid, 0)
    except BaseException:
        process.kill()
        process.wait()
        raise
    process.returncode = os.waitstatus_to_exitcode(status)
    wall = time.monotonic() - started
    return process.returncode, cost_of(wall, usage)


def cost_of(wall: float, usage: Any) -> Cost:
    """Return the cost that wait4's `usage` tells of."""
    return Cost(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def machine() -> dict[str, Any]:
    """Return where it was measured; the load tells whether the machine was idle."""
    return {
        "cpu": cpu_name(),
        "cores": usable_cores(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "load": os.getloadavg(),
        "libraries": os.environ.get(LIBRARIES, "those of llama-cpp-python"),
    }


def program(peers: Path, name: str) -> str:
    """Return the path of a program of build_peers.sh."""
    path = peers / "build" / "bin" / name
    if not path.is_file():
        raise click.ClickException(f"{path}: not there; run benchmarks/build_peers.sh {peers}")
    return str(path.resolve())


def use_libraries(peers: Path | None) -> None:
    """Let this process (before it imports llama_cpp) and its children use the peers' build."""
    if "llama_cpp" in sys.modules:
        raise click.ClickException("llama_cpp is imported already")
    if peers:
        program(peers, "libllama.so")
        os.environ[LIBRARIES] = str((peers / "build" / "bin").resolve())


def environment() -> dict[str, str]:
    """Return the environment of a child: our packages on its path, compiled once as installed."""
    found = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    # set, it would let lorid compile its sources at every start, and a peer in site-packages not
    found.pop("PYTHONDONTWRITEBYTECODE", None)
    return found
