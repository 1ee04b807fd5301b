"""What all comparisons share: interleaved pairs, medians of their ratios, one build, JSON out.

A figure is a median of ratios taken pair by pair in one run. Run on an idle machine: another busy
process slows llama.cpp tenfold, and not always both sides alike.
"""

import json
import os
import platform
import statistics
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from lorid_local.bench import cpu_name
from lorid_local.cores import usable_cores

LIBRARIES = "LLAMA_CPP_LIB_PATH"  # where llama-cpp-python looks for its shared libraries
ROOT = Path(__file__).parents[1]


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
    def reached(self) -> bool | None:
        """True if the median is as good as it should be; None if nothing is to be reached."""
        if self.reach is None:
            return None
        return self.median <= self.reach if self.at_most else self.median >= self.reach

    def line(self) -> str:
        """Return it as text."""
        low, high, count = min(self.ratios), max(self.ratios), len(self.ratios)
        shown = f"{self.name}: {self.median:.3f} ({low:.3f} to {high:.3f}, pairs: {count})"
        if self.reach is None:
            return shown
        sign = "<=" if self.at_most else ">="
        return f"{shown}, {'reached' if self.reached else 'NOT reached'} ({sign} {self.reach})"

    def as_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "median": round(self.median, 4),
            "ratios": [round(ratio, 4) for ratio in self.ratios],
            "reach": self.reach,
            "at_most": self.at_most,
            "reached": self.reached,
        }


def ratios(over: Iterable[float], under: Iterable[float]) -> tuple[float, ...]:
    """Return over / under, pair by pair."""
    return tuple(a / b for a, b in zip(over, under, strict=True))


def report(
    out: Path | None, figures: Sequence[Figure], measured: Mapping[str, Any], **settings: Any
) -> None:
    """Print the figures, and write them with what was measured as JSON."""
    for figure in figures:
        print(figure.line())
    if out:
        record = {
            "command": " ".join(sys.argv),
            "machine": machine(),
            "settings": settings,
            "figures": [figure.as_dict() for figure in figures],
            "measured": measured,
        }
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(record, indent=1, default=str) + "\n", encoding="utf-8")


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
    """Return the environment of a child: our packages on its path."""
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
