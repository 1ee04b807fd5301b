"""Trains the three roles of a recipe, converts them and measures them, in one go.

    cd WORK; python REPO/train/run_all.py RECIPE --data DATA --minutes 9.5 --problems train.jsonl \
        --lines dev_ids.txt

For a machine with a large GPU that is there for some minutes at a time: each call goes on where
the one before stopped and ends with exit code 75 while something is left to do. Everything lies
below WORK/runs, as `lorid train` puts it: RECIPE-ROLE/adapter, and RECIPE/ with ir.gguf, kg.gguf,
dr.gguf (q8_0) and samples.jsonl, which `lorid eval` reads. Needs torch, transformers, peft and
gguf; no llama.cpp.
"""

import sys
import time
from pathlib import Path

import click

from lorid_convert.pipeline import convert
from lorid_local.base import sha256
from lorid_local.bundle import find
from lorid_local.engine import Role
from lorid_local.errors import EXIT_PAUSED, LoridError, TrainPaused
from lorid_local.evaluate import cases, sampling, store
from lorid_local.evaluate.methods import Needs
from lorid_local.evaluate.sampled import RULES
from lorid_local.training_progress import bar
from lorid_train import recipe as recipes
from lorid_train import run

RUNS = Path("runs")
ORDER = (Role.IR, Role.DR, Role.KG)  # DR may start from IR's adapter
AT_ONCE = 2048  # samples of a call: a large GPU takes as long for one


def train(recipe: recipes.Recipe, role: Role, data: Path, until: float) -> Path:
    """Return the role's PEFT folder, trained now unless it is there; raises TrainPaused."""
    out = RUNS / f"{recipe.name}-{role}"
    if not (out / run.MANIFEST).is_file():
        left = (until - time.monotonic()) / 60
        with bar(role) as progress:
            run.start(recipe, role, data, out, progress, say, left)
    return out / "adapter"


def measure(recipe: recipes.Recipe, adapters: dict[Role, Path], data: str, todo: list[cases.Case],
            needs: Needs, out: Path, until: float) -> None:  # fmt: skip
    """Draw with torch what `out` lacks of the samples for `lorid eval`; raises TrainPaused."""
    from lorid_train.torch_engine import TorchEngine

    base = recipe.base.locate()
    settings = {"trained": recipe.name, "seed": 0, "base": sha256(base), "engine": "torch",
                "precision": recipe.precision}  # fmt: skip
    with store.writer(out, data, settings, todo) as writer:
        if not sampling.pending(len(todo), needs, writer.contents, AT_ONCE):
            return
        engine = TorchEngine(base, adapters, precision=recipe.precision, width=AT_ONCE)
        sampling.draw(engine, todo, needs, find().contents.roles, writer, at_once=AT_ONCE,
                      cancelled=lambda: time.monotonic() >= until)  # fmt: skip
        if sampling.pending(len(todo), needs, writer.contents, AT_ONCE):
            raise TrainPaused(f"{out}: the time is over", hint="run the same command again")
    say(f"{out}: lorid eval {out}")


def say(text: str) -> None:
    """Tell on stderr."""
    print(text, file=sys.stderr, flush=True)


@click.command()
@click.argument("recipe", type=click.Path(path_type=Path))
@click.option("--data", type=click.Path(path_type=Path), required=True)
@click.option("--problems", help="To measure on, as lorid eval's DATA.")
@click.option("--lines", type=click.Path(path_type=Path), help="As lorid eval's.")
@click.option("--rules-file", "rules", type=click.Path(path_type=Path), help="As lorid eval's.")
@click.option("--rounds", default=1, show_default=True)
@click.option("--minutes", type=float, default=float("inf"), help="Of this call.")
def main(recipe: Path, data: Path, problems: str | None, lines: Path | None, rules: Path | None,
         rounds: int, minutes: float) -> None:  # fmt: skip
    """Train, convert, measure."""
    until = time.monotonic() + 60 * minutes
    try:
        loaded = recipes.load(recipe)
        todo = cases.load(problems, cases.Choice(lines=lines, rules=rules)) if problems else []
        adapters = {role: train(loaded, role, data, until) for role in ORDER}
        bundle = RUNS / loaded.name
        bundle.mkdir(exist_ok=True)
        for role, folder in adapters.items():
            if not (bundle / f"{role}.gguf").is_file():
                convert(folder, loaded.base.locate(), bundle / f"{role}.gguf")
        if problems:
            by = tuple(name for name in RULES if rules or name != "teacher")
            needs = Needs(rounds, rounds, rounds, by)
            measure(loaded, adapters, Path(problems).name, todo, needs,
                    bundle / "samples.jsonl", until)  # fmt: skip
    except TrainPaused as pause:
        say(f"{pause.message}; {pause.hint}")
        sys.exit(EXIT_PAUSED)
    except LoridError as error:
        say(f"Error: {error.message}\nHint: {error.hint}")
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
