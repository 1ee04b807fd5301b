"""Time from process start to the first text on the terminal: `lorid solve` against a stock script.

    python -m benchmarks.first_token --peers peers --pairs 9 --out runs/first.json

The stock script is the smallest that streams one generation (STOCK below): one `Llama` object of
the same base file, no adapter, or with --adapter the one that writes first; lorid loads three and
proves each. Both write to a pseudo-terminal, as for a person; what counts is when the first letter
that the model writes can be read there (lorid draws its view 12 times a second). A first pair, not
counted, warms the page cache; what both sides began with is printed.
"""

import os
import pty
import re
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import click

from benchmarks.pairs import Figure, environment, ratios, report, use_libraries
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


def first_text(command: list[str], after: bytes, timeout: float) -> tuple[float, str]:
    """Return the seconds until any text is shown behind `after`, and that text; then end it.

    Without `after` only standard output counts: the stock's warnings go to the other one.
    """
    master, slave = pty.openpty()
    until = (started := time.monotonic()) + timeout
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=slave,
                               stderr=slave if after else subprocess.DEVNULL,
                               env=environment() | {"TERM": "xterm"})  # fmt: skip
    os.close(slave)
    shown = b""
    try:
        while select.select([master], [], [], max(0.0, until - time.monotonic()))[0]:
            shown += os.read(master, 65536)
            plain = CONTROL.sub(b"", shown)
            behind = plain.partition(after)[2] if after else plain
            if behind.strip():
                return time.monotonic() - started, behind.decode("utf-8", "replace").strip()
    except OSError:  # the process ended
        pass
    finally:
        process.kill()
        process.wait()
        os.close(master)
    raise click.ClickException(f"{command[:3]} showed no text: {shown[-500:]!r}")


@click.command()
@click.option("--peers", type=click.Path(path_type=Path), help="Use the libraries built there.")
@click.option("--pairs", default=9, show_default=True)
@click.option("--adapter", is_flag=True, help="The stock script loads the first role's adapter.")
@click.option("--threads", type=int, default=usable_cores, show_default="usable cores")
@click.option("--bundle", default=bundles.DEFAULT, show_default=True)
@click.option("--base-type", type=click.Choice(["as-shipped", "q8_0", "q4_0", "iq4_nl"]))
@click.option("--timeout", default=120.0, show_default=True, help="Seconds for one start.")
@click.option("--out", type=click.Path(path_type=Path))
def main(peers: Path | None, pairs: int, adapter: bool, threads: int, bundle: str,
         base_type: Any, timeout: float, out: Path | None) -> None:  # fmt: skip
    """Start both in turn and print the ratio, lorid / stock."""
    use_libraries(peers)
    chosen = bundles.find(bundle)
    base = base_file(chosen, Flags(base_type=base_type))
    roles = chosen.contents.roles
    prompt = text_of(loop.request(roles, Role.IR, PROBLEM, (), 1, 0))
    lora = str(chosen.adapters()[Role.IR]) if adapter else ""
    lorid = [*LORID, "solve", "--bundle", bundle, "-t", str(threads), PROBLEM]
    lorid += ["--base-type", base_type] if base_type else []
    stock = [sys.executable, "-c", STOCK, str(base), lora, str(threads), prompt]
    sides: dict[str, list[float]] = {"lorid": [], "stock": []}
    for pair in range(-1, pairs):  # the first pair warms the page cache
        ours, mine = first_text(lorid, HEADING, timeout)
        theirs, other = first_text(stock, b"", timeout)
        if pair < 0:
            print(f"lorid began {mine[:12]!r}, stock began {other[:12]!r}")
            continue
        sides["lorid"].append(ours)
        sides["stock"].append(theirs)
        print(f"pair {pair + 1} of {pairs}: lorid {ours:.3f} s, stock {theirs:.3f} s", flush=True)
    figure = Figure("seconds to the first text, lorid / stock",
                    ratios(sides["lorid"], sides["stock"]), REACH, at_most=True)  # fmt: skip
    report(out, [figure], sides, base=base.name, adapter=adapter, threads=threads)


if __name__ == "__main__":
    main()
