"""Tokens a second of each number type of a base, with and without an adapter, by width.

    python -m benchmarks.base_types --peers peers --repeat 5 --out runs/base_types.json

Types are measured in turn, so that what disturbs one disturbs all. Speed is half of the choice;
the other half is what the adapters do on it: `lorid eval` measures that.
Without --peers llama-cpp-python's own libraries are used.
"""

import statistics
from pathlib import Path
from typing import Any

import click

from benchmarks.pairs import Figure, ratios, report, use_libraries
from lorid_local import bundle as bundles
from lorid_local.base_type import BASE_TYPES
from lorid_local.cores import usable_cores
from lorid_local.engine import Role, never
from lorid_local.solving import Flags, base_file

Key = tuple[str, str, int]  # type, what it runs with, width


def turn(base: Path, adapters: dict[Role, Path], widths: list[int], tokens: int, threads: int,
         seed: int) -> dict[tuple[str, int], float]:  # fmt: skip
    """Return the tokens a second of one base, on an engine of its own."""
    from lorid_local.bench import Meter
    from lorid_local.llama import LlamaEngine, Options

    found: dict[tuple[str, int], float] = {}
    with LlamaEngine(base, adapters, Options(threads=threads)) as engine:
        meter = Meter(engine, tokens, never)
        for name, role in (("plain", Role.KG), ("adapter", Role.IR)):
            meter.decode(role, max(widths), 0)
            found |= {(name, w): meter.decode(role, w, seed) for w in widths}
            found[name, 0] = meter.prompt(role)
    return found


@click.command()
@click.option("--peers", type=click.Path(path_type=Path), help="Use the libraries built there.")
@click.option("--repeat", default=5, show_default=True)
@click.option("--widths", default="1,2,4,8,16", show_default=True)
@click.option("--tokens", default=128, show_default=True, help="Of each sample.")
@click.option("--threads", type=int, default=usable_cores, show_default="usable cores")
@click.option("--bundle", default=bundles.DEFAULT, show_default=True)
@click.option("--types", default=",".join(BASE_TYPES), show_default=True)
@click.option("--out", type=click.Path(path_type=Path))
def main(peers: Path | None, repeat: int, widths: str, tokens: int, threads: int, bundle: str,
         types: str, out: Path | None) -> None:  # fmt: skip
    """Print tokens a second, and how each type does against the first one named."""
    use_libraries(peers)
    chosen = bundles.find(bundle)
    names: list[Any] = types.split(",")
    bases = {name: base_file(chosen, Flags(base_type=name)) for name in names}
    wanted = [int(width) for width in widths.split(",")]
    adapters = chosen.only(Role.IR).adapters()
    found: dict[Key, list[float]] = {}
    for number in range(repeat):
        for name, base in bases.items():
            for key, speed in turn(base, adapters, wanted, tokens, threads, number).items():
                found.setdefault((name, *key), []).append(speed)
            print(f"turn {number + 1} of {repeat}: {name}", flush=True)
    print(f"{'tokens a second':24}" + "".join(f"{w:>8}" for w in [*wanted, "prompt"]))
    for name in names:
        for kind in ("plain", "adapter"):
            speeds = [statistics.median(found[name, kind, w]) for w in [*wanted, 0]]
            print(f"{name + ', ' + kind:24}" + "".join(f"{speed:8.1f}" for speed in speeds))
    figures = [
        Figure(f"{name} / {names[0]}, with the adapter, width {w}",
               ratios(found[name, "adapter", w], found[names[0], "adapter", w]))
        for name in names[1:] for w in wanted
    ]  # fmt: skip
    measured = {", ".join(map(str, key)): speeds for key, speeds in found.items()}
    report(out, figures, measured, threads=threads, tokens=tokens, types=names)


if __name__ == "__main__":
    main()
