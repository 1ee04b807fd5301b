"""`lorid solve` at t = 1 against three stock `Llama(lora_path=...)` objects: time and memory.

    python -m benchmarks.solve_vs_stock --peers peers --pairs 7

Whole processes, started in turn (A B C A B C ...), on the same problem with the same adapters,
prompts and greedy samples: lorid as it comes, lorid with the stock's own conditions (the base as
shipped, no calculator), and the stock. Wall time and peak memory as the kernel accounts them.
Also the CPU time of `lorid --help`. Run it on an idle machine: another busy process slows llama.cpp
tenfold. Where the installed build has Intel's AMX, stock objects may crash (see build_peers.sh):
then give --peers, for all sides.
"""

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from benchmarks.pairs import Cost, Figure, Turns, ratios, resumable, timed, use_libraries
from lorid_local.cores import usable_cores

REACH = 0.6  # of the stock's peak of memory
# chosen among five because both then write the same three texts: elsewhere two tokens tie within
# llama.cpp's rounding, and greedy texts part
PROBLEM = (
    "A baker bakes 12 trays with 8 rolls each and sells 70 of the rolls. How many rolls are left?"
)
ALIKE = ["--base-type", "as-shipped", "--no-calculator"]
LORID = [sys.executable, "-c", "from lorid_local.cli import main; main()"]


def measure(command: list[str]) -> tuple[Cost, str]:
    """Run `command` once and return what it cost and what it wrote."""
    with tempfile.TemporaryFile() as out:
        code, cost = timed(command, out, stderr=subprocess.DEVNULL)
        if code not in (0, 3):
            raise click.ClickException(f"{command} ended with {code}")
        out.seek(0)
        return cost, out.read().decode()


def same_texts(lorid: str, stock: str) -> bool:
    """True if both wrote the same three texts (printed in the order IR, KG, DR)."""
    first = json.loads(lorid)["rounds"][0]
    return "\n".join(first[role]["text"] for role in ("ir", "kg", "dr")) == stock.strip()


def figures(turns: list[Any]) -> Iterator[Figure]:
    """Yield the ratios of wall time and of peak memory."""
    for way in ("as it comes", "alike"):
        for what, aim in (("wall", None), ("peak", REACH)):
            mine, theirs = ([turn[side][what] for turn in turns] for side in (way, "stock"))
            yield Figure(f"{what}, lorid {way} / stock", ratios(mine, theirs), aim, at_most=True)


@click.command()
@click.option("--peers", type=click.Path(path_type=Path), help="Use the libraries built there.")
@click.option("--pairs", default=7, show_default=True)
@click.option("--threads", type=int, default=usable_cores, show_default="usable cores")
@resumable
def main(peers: Path | None, pairs: int, threads: int, out: Path | None,
         minutes: float | None) -> None:  # fmt: skip
    """Print medians of all and of the ratios turn by turn."""
    use_libraries(peers)
    ours = [*LORID, "solve", "--rounds", "1", "--json", "-t", str(threads), PROBLEM]
    stock = [sys.executable, "-m", "benchmarks.stock_once", PROBLEM, str(threads)]
    commands = {"as it comes": ours, "alike": [*ours, *ALIKE], "stock": stock}
    warm = {name: measure(command)[1] for name, command in commands.items()}
    for name in ("as it comes", "alike"):
        print(f"lorid, {name}: same three texts:", same_texts(warm[name], warm["stock"]))
    with Turns(out, minutes, {"problem": PROBLEM, "threads": threads}) as turns:
        for number in turns.left(pairs):
            turns.add({name: asdict(measure(c)[0]) for name, c in commands.items()})
            print(f"turn {number + 1} of {pairs}", flush=True)
    for name in commands if turns.found else ():
        wall, peak = (statistics.median(t[name][k] for t in turns.found) for k in ("wall", "peak"))
        print(f"{name}: {wall:.2f} s, {peak:.0f} MiB at the peak")
    turns.report(figures)
    helps = [measure([*LORID, "--help"])[0].cpu for _ in range(21)]
    print(f"lorid --help: {statistics.median(helps):.3f} s of CPU time (median of 21)")


if __name__ == "__main__":
    main()
