"""`lorid train`: train one role's adapter from a recipe."""

import math
from pathlib import Path

import click

from lorid_local.commands.options import option
from lorid_local.engine import Role


@click.command(short_help="Train one role's LoRA adapter from a recipe.")
@click.argument("recipe", type=click.Path(path_type=Path))
@option("--role", type=click.Choice([r.value for r in Role]), required=True, help="The adapter.")
@option("--data", "root", type=click.Path(path_type=Path), default=Path(),
        help="Folder that the recipe's data files lie in.")  # fmt: skip
@option("--out", type=click.Path(path_type=Path),
        help="Folder for the run [default: runs/RECIPE-ROLE].")  # fmt: skip
@option("--minutes", type=click.FloatRange(min=0), default=math.inf,
        help="Stop after so long, with a checkpoint and exit code 75.")  # fmt: skip
@click.help_option("-h", "--help")
def command(recipe: Path, role: str, root: Path, out: Path | None, minutes: float) -> None:
    """Train one role's LoRA adapter from RECIPE, a .toml file.

    \b
    lorid train train/recipes/smollm2-135m-cpu.toml --role ir --data ../data
    lorid convert runs/smollm2-135m-cpu-ir/adapter --base BASE.gguf --outfile ir.gguf

    Started again with the same --out, an interrupted run goes on from its last checkpoint.
    The path of the finished PEFT folder is printed on stdout.
    """
    from lorid_local.training_progress import bar
    from lorid_train import recipe as recipes
    from lorid_train import run

    loaded = recipes.load(recipe)
    out = out or Path("runs") / f"{loaded.name}-{role}"
    with bar(role) as progress:
        adapter = run.start(
            loaded,
            Role(role),
            root,
            out,
            progress,
            lambda text: click.echo(text, err=True),
            minutes,
        )
    click.echo(adapter)
