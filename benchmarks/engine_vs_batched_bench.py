"""The engine's tokens a second against llama.cpp's own llama-batched-bench: the limit there is.

    python -m benchmarks.engine_vs_batched_bench --peers peers --pairs 5 --out runs/engine.json

Samples of one prompt, read before; decoding alone is timed, on both sides. llama-batched-bench
draws no samples (its tokens are random) and takes no adapter; of its ways to hold the cache, with
the prompt shared and apart, the one with the faster median counts, width by width (the faster one
of each pair would count noise as speed: one run against the better of two). The engine draws each
token from the model's logits and hands out text, first without an adapter, then with the bundle's.
"""

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import click

from benchmarks.pairs import (
    Figure,
    Turns,
    environment,
    program,
    ratios,
    resumable,
    use_libraries,
)
from lorid_local import bundle as bundles
from lorid_local.cores import usable_cores
from lorid_local.engine import Role, never
from lorid_local.solving import Flags, base_file

REACH_PLAIN, REACH_ADAPTED = 0.92, 0.80
ADAPTED_FROM = 8  # the width from which the figure with an adapter is one to reach
REST = 0.5  # seconds: threads of the side before spin on for a while
CACHES = ("--kv-unified", "--no-kv-unified")
Speeds = dict[str, float]  # by width, as JSON has its keys


def rows(command: list[str]) -> list[dict[str, Any]]:
    """Run llama-batched-bench with its output as jsonl; return what it measured."""
    ran = subprocess.run(command, capture_output=True, text=True, check=True, env=environment())
    lines = (ran.stdout + ran.stderr).splitlines()
    return [json.loads(line) for line in lines if line.startswith('{"n_kv_max"')]


def batched_bench(command: list[str], widths: list[int]) -> Speeds:
    """Return the tokens a second of each width."""
    found: Speeds = {str(row["pl"]): row["speed_tg"] for row in rows(command)}
    if set(found) != set(map(str, widths)):
        raise click.ClickException(f"{command[0]} measured no speed for one of {widths}")
    return found


def figures(turns: list[dict[str, Speeds]]) -> Iterator[Figure]:
    """Yield the ratios by what the engine ran with and by width."""
    for name, reach in (("plain", REACH_PLAIN), ("adapter", REACH_ADAPTED)):
        for width in turns[0][name]:
            peers = ([turn[cache][width] for turn in turns] for cache in CACHES)
            found = ratios((turn[name][width] for turn in turns), max(peers, key=median))
            aim = reach if name == "plain" or int(width) >= ADAPTED_FROM else None
            yield Figure(f"{name}, width {width}", found, aim)


@click.command()
@click.option("--peers", type=click.Path(path_type=Path), required=True)
@click.option("--pairs", default=5, show_default=True)
@click.option("--widths", default="1,4,8,16", show_default=True)
@click.option("--prompt", default=64, show_default=True, help="Its tokens, in llama-batched-bench.")
@click.option("--tokens", default=128, show_default=True, help="Of each sample.")
@click.option("--threads", type=int, default=usable_cores, show_default="usable cores")
@click.option("--bundle", default=bundles.DEFAULT, show_default=True)
@click.option("--base-type", type=click.Choice(["as-shipped", "q8_0", "q4_0", "iq4_nl"]))
@resumable
def main(peers: Path, pairs: int, widths: str, prompt: int, tokens: int, threads: int,
         bundle: str, base_type: Any, out: Path | None, minutes: float | None) -> None:  # fmt: skip
    """Measure in turn and print the ratios, engine / llama-batched-bench."""
    use_libraries(peers)
    from lorid_local.bench import Meter
    from lorid_local.llama import LlamaEngine, Options

    chosen = bundles.find(bundle)
    base = base_file(chosen, Flags(base_type=base_type))
    wanted = [int(width) for width in widths.split(",")]
    room = prompt * max(wanted) + tokens * max(wanted)
    command = [program(peers, "llama-batched-bench"), "-m", str(base), "-c", str(room), "-pps",
               "-npp", str(prompt), "-ntg", str(tokens), "-npl", widths, "-t", str(threads),
               "-tb", str(threads), "--output-format", "jsonl"]  # fmt: skip
    # roles without an adapter of theirs run the bare base
    adapters = chosen.only(Role.IR).adapters()
    settings = {"base": base.name, "bundle": bundle, "threads": threads, "widths": wanted,
                "tokens": tokens, "prompt": prompt}  # fmt: skip
    with (
        Turns(out, minutes, settings) as turns,
        LlamaEngine(base, adapters, Options(threads=threads)) as engine,
    ):
        meter = Meter(engine, tokens, never)
        roles = {"plain": Role.KG, "adapter": Role.IR}
        for role in roles.values():
            meter.decode(role, max(wanted), 0)
        for pair in turns.left(pairs):
            turn = {cache: batched_bench([*command, cache], wanted) for cache in CACHES}
            for name, role in roles.items():
                time.sleep(REST)
                turn[name] = {str(w): meter.decode(role, w, pair) for w in wanted}
            turns.add(turn)
            print(f"pair {pair + 1} of {pairs}: {turn}", flush=True)
    turns.report(figures)


if __name__ == "__main__":
    main()
