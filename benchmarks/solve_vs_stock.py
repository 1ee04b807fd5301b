"""`lorid solve` at t = 1 against three stock `Llama(lora_path=...)` objects: time and memory.

    python benchmarks/solve_vs_stock.py --pairs 7

Whole processes, started in turn (A B C A B C ...), on the same problem with the same adapters,
prompts and greedy samples: lorid as it comes, lorid with the stock's own conditions (the base as
shipped, no calculator), and the stock. Wall time and peak memory as the kernel accounts them.
Also the CPU time of `lorid --help`. Run it on an idle machine: another busy process slows llama.cpp
tenfold. Where the installed build has Intel's AMX, stock objects may crash (see build_peers.sh):
set LLAMA_CPP_LIB_PATH=peers/build/bin, for all sides.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import click

# chosen among five because both then write the same three texts: elsewhere two tokens tie within
# llama.cpp's rounding, and greedy texts part
PROBLEM = "A farmer has 12 cows and twice as many sheep. How many animals does he have?"
ALIKE = ["--base-type", "as-shipped", "--no-calculator"]
LORID = [sys.executable, "-c", "from lorid_local.cli import main; main()"]


class Cost(NamedTuple):
    """One process: seconds of wall and CPU time, peak resident memory in MiB, its output."""

    wall: float
    cpu: float
    peak: float
    output: str


FIGURES: dict[str, Callable[[Cost], float]] = {
    "wall seconds": lambda cost: cost.wall,
    "peak MiB": lambda cost: cost.peak,
}


def measure(command: list[str]) -> Cost:
    """Run `command` once and return what it cost."""
    with tempfile.TemporaryFile() as out:
        started = time.monotonic()
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out,
                                   stderr=subprocess.DEVNULL)  # fmt: skip
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.monotonic() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        output = out.read().decode()
    if process.returncode not in (0, 3):
        raise click.ClickException(f"{command} ended with {process.returncode}")
    return Cost(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, output)


def same_texts(lorid: str, stock: str) -> bool:
    """True if both wrote the same three texts (printed in the order IR, KG, DR)."""
    first = json.loads(lorid)["rounds"][0]
    return "\n".join(first[role]["text"] for role in ("ir", "kg", "dr")) == stock.strip()


@click.command()
@click.option("--pairs", default=7, show_default=True)
def main(pairs: int) -> None:
    """Print medians of both and of the ratios pair by pair."""
    ours = [*LORID, "solve", "--rounds", "1", "--json", PROBLEM]
    stock = [sys.executable, str(Path(__file__).with_name("stock_once.py")), PROBLEM]
    commands = {"as it comes": ours, "alike": [*ours, *ALIKE], "stock": stock}
    warm = {name: measure(command).output for name, command in commands.items()}
    for name in ("as it comes", "alike"):
        print(f"lorid, {name}: same three texts:", same_texts(warm[name], warm["stock"]))
    costs = [{name: measure(command) for name, command in commands.items()} for _ in range(pairs)]
    for name, figure in FIGURES.items():
        stocks = [figure(turn["stock"]) for turn in costs]
        print(f"{name}: stock {statistics.median(stocks):.2f} (median of {pairs})")
        for way in ("as it comes", "alike"):
            mine = [figure(turn[way]) for turn in costs]
            ratio = statistics.median(x / y for x, y in zip(mine, stocks, strict=True))
            print(f"  lorid, {way}: {statistics.median(mine):.2f}, ratio lorid/stock {ratio:.2f}")
    helps = [measure([*LORID, "--help"]).cpu for _ in range(21)]
    print(f"lorid --help: {statistics.median(helps):.3f} s of CPU time (median of 21)")


if __name__ == "__main__":
    main()
