"""Tokens a second of each number type of a base, with and without an adapter, by width.

    python -m benchmarks.base_types --peers peers --repeat 5 --out runs/base_types.json

Types are measured in turn, so that what disturbs one disturbs all. Speed is half of the choice;
the other half is what the adapters do on it: `lorid eval` measures that.
Without --peers llama-cpp-python's own libraries are used.
"""

import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from benchmarks.pairs import Figure, Turns, ratios, resumable, use_libraries
from lorid_local import bundle as bundles
from lorid_local.base_type import BASE_TYPES
from lorid_local.cores import usable_cores
from lorid_local.engine import Role, never
from lorid_local.solving import Flags, base_file

READING = "prompt"  # beside the widths


def turn(base: Path, adapters: dict[Role, Path], widths: list[int], tokens: int, threads: int,
         seed: int) -> dict[str, float]:  # fmt: skip
    """Return the tokens a second of one base, by what it runs with and width."""
    from lorid_local.bench import Meter
    from lorid_local.llama import LlamaEngine, Options

    found: dict[str, float] = {}
    with LlamaEngine(base, adapters, Options(threads=threads)) as engine:
        meter = Meter(engine, tokens, never)
        for name, role in (("plain", Role.KG), ("adapter", Role.IR)):
            meter.decode(role, max(widths), 0)
            found |= {f"{name}, {w}": meter.decode(role, w, seed) for w in widths}
            found[f"{name}, {READING}"] = meter.prompt(role)
    return found


@click.command()
@click.option("--peers", type=click.Path(path_type=Path), help="Use the libraries built there.")
@click.option("--repeat", default=5, show_default=True)
@click.option("--widths", default="1,2,4,8,16", show_default=True)
@click.option("--tokens", default=128, show_default=True, help="Of each sample.")
@click.option("--threads", type=int, default=usable_cores, show_default="usable cores")
@click.option("--bundle", default=bundles.DEFAULT, show_default=True)
@click.option("--types", default=",".join(BASE_TYPES), show_default=True)
@resumable
def main(peers: Path | None, repeat: int, widths: str, tokens: int, threads: int, bundle: str,
         types: str, out: Path | None, minutes: float | None) -> None:  # fmt: skip
    """Print tokens a second, and how each type does against the first one named."""
    use_libraries(peers)
    chosen = bundles.find(bundle)
    names: list[Any] = types.split(",")
    bases = {name: base_file(chosen, Flags(base_type=name)) for name in names}
    wanted = [int(width) for width in widths.split(",")]
    adapters = chosen.only(Role.IR).adapters()
    settings = {"types": names, "bundle": bundle, "threads": threads, "widths": wanted,
                "tokens": tokens}  # fmt: skip
    with Turns(out, minutes, settings) as turns:
        for number in turns.left(repeat):
            found = {}
            for name, base in bases.items():
                found[name] = turn(base, adapters, wanted, tokens, threads, number)
                print(f"turn {number + 1} of {repeat}: {name}", flush=True)
            turns.add(found)
    table(names, wanted, turns.found)
    turns.report(lambda found: figures(names, wanted, found))


def table(names: Sequence[str], widths: Sequence[int], turns: Sequence[Any]) -> None:
    """Print the medians."""
    heads = [*map(str, widths), READING]
    print(f"{'tokens a second':24}" + "".join(f"{head:>8}" for head in heads))
    for name in names if turns else ():
        for kind in ("plain", "adapter"):
            speeds = [
                statistics.median(t[name][f"{kind}, {head}"] for t in turns) for head in heads
            ]
            print(f"{name + ', ' + kind:24}" + "".join(f"{speed:8.1f}" for speed in speeds))


def figures(names: Sequence[str], widths: Sequence[int], turns: Sequence[Any]) -> Iterator[Figure]:
    """Yield each type's ratio to the first one, with the adapter."""
    for name in names[1:]:
        for width in widths:
            key = f"adapter, {width}"
            found = ratios((t[name][key] for t in turns), (t[names[0]][key] for t in turns))
            yield Figure(f"{name} / {names[0]}, with the adapter, width {width}", found)


if __name__ == "__main__":
    main()
