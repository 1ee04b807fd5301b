"""Time from process start to the first text on the terminal: `lorid solve` against a stock script.

    python -m benchmarks.first_token --peers peers --pairs 9 --out runs/first.json

The stock script is the smallest that streams one generation (STOCK below): one `Llama` object of
the same base file with the adapter of the role that writes first, so that it writes the same; and
"bare", without any adapter. lorid loads three; that the first one acts it proved in the first turn,
which is not counted and also warms the page cache and lorid's own. All write to a pseudo-terminal,
as for a person; what counts is when the first letter that the model writes can be read there
(lorid does not show the `<<` that its text begins with). CPU time is that of the whole process
until then. What each side began with is printed.
"""

import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from benchmarks.pairs import (
    Cost,
    Figure,
    Turns,
    cost_of,
    environment,
    ratios,
    resumable,
    use_libraries,
)
from benchmarks.peer_engines import text_of
from lorid_local import bundle as bundles
from lorid_local import loop
from lorid_local.cores import usable_cores
from lorid_local.engine import Role
from lorid_local.solving import Flags, base_file

REACH = 1.3
PROBLEM = (
    "Tom has 3 boxes with 12 pencils in each box. He gives 10 pencils to his friends. How many "
    "pencils does Tom have left?"
)
STOCK = """
import sys
from llama_cpp import Llama
base, adapter, threads, prompt = sys.argv[1:]
model = Llama(base, lora_path=adapter or None, n_ctx=1024, n_threads=int(threads),
              n_threads_batch=int(threads), verbose=False)
for part in model.create_completion(prompt, max_tokens=32, temperature=0.0, stream=True):
    print(part["choices"][0]["text"], end="", flush=True)
"""
LORID = [sys.executable, "-c", "from lorid_local.cli import main; main()"]
CONTROL = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]|\r")
HEADING = b"System 1, at once\n"  # lorid shows it with the first word below


def first_text(command: list[str], after: bytes, timeout: float) -> tuple[Cost, str]:
    """Return the cost until any text is shown behind `after`, and that text; then end it.

    Without `after` only standard output counts: the stock's warnings go to the other one.
    """
    master, slave = pty.openpty()
    until = (started := time.monotonic()) + timeout
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=slave,
                               stderr=slave if after else subprocess.DEVNULL,
                               env=environment() | {"TERM": "xterm"})  # fmt: skip
    os.close(slave)
    try:
        shown = _read(master, after, until)
        wall = time.monotonic() - started
    finally:
        process.kill()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        os.close(master)
    return cost_of(wall, usage), shown


def _read(master: int, after: bytes, until: float) -> str:
    shown = b""
    try:
        while select.select([master], [], [], max(0.0, until - time.monotonic()))[0]:
            shown += os.read(master, 65536)
            plain = CONTROL.sub(b"", shown)
            behind = plain.partition(after)[2] if after else plain
            if behind.strip():
                return behind.decode("utf-8", "replace").strip()
    except OSError:  # the process ended
        pass
    raise click.ClickException(f"no text was shown: {shown[-500:]!r}")


def figures(turns: list[Any]) -> Iterator[Figure]:
    """Yield the ratios of wall and of CPU time."""
    for peer in ("stock", "bare"):
        for what, aim in (("wall", REACH), ("cpu", None)):
            mine, theirs = ([turn[side][what] for turn in turns] for side in ("lorid", peer))
            name = f"{what} seconds to the first text, lorid / {peer}"
            yield Figure(name, ratios(mine, theirs), aim, at_most=True)


@click.command()
@click.option("--peers", type=click.Path(path_type=Path), help="Use the libraries built there.")
@click.option("--pairs", default=9, show_default=True)
@click.option("--threads", type=int, default=usable_cores, show_default="usable cores")
@click.option("--bundle", default=bundles.DEFAULT, show_default=True)
@click.option("--base-type", type=click.Choice(["as-shipped", "q8_0", "q4_0", "iq4_nl"]))
@click.option("--timeout", default=120.0, show_default=True, help="Seconds for one start.")
@resumable
def main(peers: Path | None, pairs: int, threads: int, bundle: str, base_type: Any,
         timeout: float, out: Path | None, minutes: float | None) -> None:  # fmt: skip
    """Start all in turn and print the ratios, lorid / stock."""
    use_libraries(peers)
    chosen = bundles.find(bundle)
    base = base_file(chosen, Flags(base_type=base_type))
    roles = chosen.contents.roles
    prompt = text_of(loop.request(roles, Role.IR, PROBLEM, (), 1, 0))
    lorid = [*LORID, "solve", "--bundle", bundle, "-t", str(threads), PROBLEM]
    lorid += ["--base-type", base_type] if base_type else []
    commands = {"lorid": (lorid, HEADING)}
    for name, lora in (("stock", str(chosen.adapters()[Role.IR])), ("bare", "")):
        stock = [sys.executable, "-c", STOCK, str(base), lora, str(threads), prompt]
        commands[name] = (stock, b"")
    for name, (command, after) in commands.items():
        print(f"{name} began {first_text(command, after, timeout)[1][:12]!r}")
    settings = {"base": base.name, "bundle": bundle, "threads": threads}
    with Turns(out, minutes, settings) as turns:
        for number in turns.left(pairs):
            costs = {n: first_text(*command, timeout)[0] for n, command in commands.items()}
            turns.add({name: asdict(cost) for name, cost in costs.items()})
            told = ", ".join(f"{n} {c.wall:.3f} s ({c.cpu:.3f} of CPU)" for n, c in costs.items())
            print(f"turn {number + 1} of {pairs}: {told}", flush=True)
    turns.report(figures)


if __name__ == "__main__":
    main()
