"""How many rounds of one problem to draw at once: `lorid solve --width` against the default.

    python -m benchmarks.widths --peers peers --problems runs/60.jsonl --count 10 --widths 2,8

Each problem is solved once by each width, in turn, one problem after another, as `lorid solve`
does it: the same seeds, so the same samples but for llama.cpp's rounding. Wider batches draw more
that an early agreement makes needless, narrower ones leave the processor idle.
"""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from benchmarks.pairs import Figure, Turns, ratios, resumable, use_libraries
from lorid_local import bundle as bundles
from lorid_local import loop
from lorid_local.cores import usable_cores
from lorid_local.problems import from_file
from lorid_local.solving import Flags, opened, settle

AUTO = "auto"
Turn = dict[str, dict[str, Any]]


def figures(names: list[str], turns: list[Turn]) -> Iterator[Figure]:
    """Yield each width's seconds against those of the first, problem by problem and in all."""
    for name in names[1:]:
        found = ratios((t[name]["seconds"] for t in turns), (t[names[0]]["seconds"] for t in turns))
        yield Figure(f"seconds, width {name} / {names[0]}", found)
        whole = [sum(t[n]["seconds"] for t in turns) for n in (name, names[0])]
        yield Figure(f"seconds in all, width {name} / {names[0]}", (whole[0] / whole[1],))


@click.command()
@click.option("--peers", type=click.Path(path_type=Path), help="Use the libraries built there.")
@click.option("--problems", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--count", default=10, show_default=True, help="The first so many problems.")
@click.option("--widths", default="4,8", show_default=True, help="Against the default, auto.")
@click.option("--rounds", type=int, help="t [default: the bundle's].")
@click.option("--threads", type=int, default=usable_cores, show_default="usable cores")
@click.option("--bundle", default=bundles.DEFAULT, show_default=True)
@resumable
def main(peers: Path | None, problems: Path, count: int, widths: str, rounds: int | None,
         threads: int, bundle: str, out: Path | None, minutes: float | None) -> None:  # fmt: skip
    """Solve each problem by each width and print the ratios."""
    use_libraries(peers)
    names = [AUTO, *widths.split(",")]
    todo = from_file(problems)
    chosen, flags = bundles.find(bundle), Flags(bundle=bundle, rounds=rounds, threads=threads)
    setup = settle(chosen.contents, flags)
    settings = {"problems": problems, "widths": names, "rounds": rounds, "threads": threads,
                "bundle": bundle}  # fmt: skip
    with ExitStack() as stack:
        turns = stack.enter_context(Turns(out, minutes, settings))
        engines = {name: stack.enter_context(opened(chosen, flags)) for name in names}
        for number in turns.left(min(count, len(todo))):
            turn: Turn = {}
            for name, engine in engines.items():
                width = 0 if name == AUTO else int(name)
                events = loop.solve(todo[number].text, engine, setup.roles,
                                    replace(setup.loop, width=width), seed=setup.seed)  # fmt: skip
                started = time.monotonic()
                trace = loop.finish(events, lambda event: None)
                turn[name] = {"seconds": time.monotonic() - started, "tokens": trace.tokens,
                              "agreed": trace.agreed_round}  # fmt: skip
            turns.add(turn)
            print(f"problem {number + 1} of {count}: {turn}", flush=True)
    turns.report(lambda found: figures(names, found))


if __name__ == "__main__":
    main()
