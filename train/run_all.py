"""Trains the three roles of a recipe, converts them and solves problems with them, in one go.

    cd WORK; python REPO/train/run_all.py RECIPE --data DATA --minutes 9.5 --problems dev.jsonl

For a machine with a large GPU that is there for some minutes at a time: each call goes on where
the one before stopped and ends with exit code 75 while something is left to do. Everything lies
below WORK/runs, as `lorid train` puts it: RECIPE-ROLE/adapter, and RECIPE/ with ir.gguf, kg.gguf,
dr.gguf (q8_0) and solved.jsonl, which is what `lorid solve --file` writes. Needs torch,
transformers, peft and gguf; no llama.cpp.
"""

import json
import sys
import time
from pathlib import Path

import click

from lorid_convert.pipeline import convert
from lorid_local import batch, problems, whole_file
from lorid_local.bundle import find
from lorid_local.engine import Role
from lorid_local.errors import EXIT_PAUSED, LoridError, TrainPaused
from lorid_local.loop import LoopSettings
from lorid_local.trace import Trace
from lorid_local.training_progress import bar
from lorid_train import recipe as recipes
from lorid_train import run

RUNS = Path("runs")
ORDER = (Role.IR, Role.DR, Role.KG)  # DR may start from IR's adapter


def train(recipe: recipes.Recipe, role: Role, data: Path, until: float) -> Path:
    """Return the role's PEFT folder, trained now unless it is there; raises TrainPaused."""
    out = RUNS / f"{recipe.name}-{role}"
    if not (out / run.MANIFEST).is_file():
        left = (until - time.monotonic()) / 60
        with bar(role) as progress:
            run.start(recipe, role, data, out, progress, say, left)
    return out / "adapter"


def solve(recipe: recipes.Recipe, adapters: dict[Role, Path], file: Path, settings: LoopSettings,
          out: Path) -> None:  # fmt: skip
    """Write what the loop makes of every problem of `file`, drawn with torch."""
    from lorid_train.torch_engine import TorchEngine

    todo = problems.from_file(file)
    engine = TorchEngine(recipe.base.locate(), adapters, precision=recipe.precision)
    table = find().contents.roles
    found = batch.solve_all((p.text for p in todo), engine, table, settings, window=len(todo))
    lines = (
        json.dumps({"id": problem.id, **trace.as_dict()}) + "\n"
        for problem, trace in zip(todo, found, strict=True) if isinstance(trace, Trace)
    )  # fmt: skip
    whole_file.write(out, lines)
    agreed = sum(json.loads(line)["status"] == "agreed" for line in out.open(encoding="utf-8"))
    say(f"{out}: {agreed} of {len(todo)} agreed")


def say(text: str) -> None:
    """Tell on stderr."""
    print(text, file=sys.stderr, flush=True)


@click.command()
@click.argument("recipe", type=click.Path(path_type=Path))
@click.option("--data", type=click.Path(path_type=Path), required=True)
@click.option("--problems", "file", type=click.Path(path_type=Path), help="As lorid solve --file.")
@click.option("--rounds", default=8, show_default=True)
@click.option("--minutes", type=float, default=float("inf"), help="Of this call.")
def main(recipe: Path, data: Path, file: Path | None, rounds: int, minutes: float) -> None:
    """Train, convert, solve."""
    until = time.monotonic() + 60 * minutes
    try:
        loaded = recipes.load(recipe)
        adapters = {role: train(loaded, role, data, until) for role in ORDER}
        bundle = RUNS / loaded.name
        bundle.mkdir(exist_ok=True)
        for role, folder in adapters.items():
            if not (bundle / f"{role}.gguf").is_file():
                convert(folder, loaded.base.locate(), bundle / f"{role}.gguf")
        if file and not (bundle / "solved.jsonl").is_file():
            if until - time.monotonic() < 60:  # solving is not gone on with: give it a whole call
                raise TrainPaused("all roles are trained", hint="run it again to solve")
            solve(loaded, adapters, file, LoopSettings(rounds=rounds), bundle / "solved.jsonl")
    except TrainPaused as pause:
        say(f"{pause.message}; {pause.hint}")
        sys.exit(EXIT_PAUSED)
    except LoridError as error:
        say(f"Error: {error.message}\nHint: {error.hint}")
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
