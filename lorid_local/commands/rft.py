"""`lorid rft`: training rows from chains that a bundle's own adapters wrote, where right."""

from pathlib import Path
from typing import Any

import click

from lorid_local.commands.options import bundle_option, option
from lorid_local.engine import Role


@click.command(short_help="Sample chains with trained adapters, and keep the right ones.")
@click.argument("recipe", type=click.Path(path_type=Path))
@option("--data", "root", type=click.Path(path_type=Path), default=Path(),
        help="Folder that the recipe's data files lie in.")  # fmt: skip
@option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the rows.")
@bundle_option
@option("--role", "roles", type=click.Choice(["ir", "dr"]), multiple=True, default=("ir", "dr"),
        show_default=True, help="Whose chains.")  # fmt: skip
@option("-k", "--count", type=click.IntRange(min=1), default=4, show_default=True,
        help="Chains drawn a problem.")  # fmt: skip
@option("--temp", "--temperature", "temperature", type=float, help="[default: the bundle's]")
@option("-s", "--seed", type=int, default=0, show_default=True, help="Seed of all samples.")
@option("-t", "--threads", type=int, help="Threads [default: the cores this process may use].")
@option("-ngl", "--n-gpu-layers", type=int, help="Layers on the GPU [default: all, if any].")
@click.help_option("-h", "--help")
def command(recipe: Path, root: Path, out: Path, bundle: str | None, roles: tuple[str, ...],
            count: int, temperature: float | None, seed: int, **machine: Any) -> None:  # fmt: skip
    """Draw chains for the problems of RECIPE, a data recipe, and build rows of the right ones.

    \b
    lorid rft train/recipes/data-v1.toml --data DATA --bundle MINE -k 8 --out DATA/built/rft
    lorid data check DATA/built/rft --data DATA

    A training recipe reads the folder as `built`. Started again, it goes on where it stopped.
    """
    from lorid_local import bundle as bundles
    from lorid_local.solving import Flags, interruptible, opened
    from lorid_train import checking, data_recipe, sampling

    loaded, chosen = data_recipe.load(recipe), bundles.find(bundle or bundles.DEFAULT)
    drawings = []
    for role in map(Role, dict.fromkeys(roles)):
        of = chosen.contents.roles.of(role)
        warm = of.temperature if temperature is None else temperature
        drawings.append(sampling.Drawing(role, of.prompt, of.max_tokens, count, warm, of.top_p,
                                         of.stop, of.calculator, seed, of.top_k))  # fmt: skip
    with opened(chosen, Flags(**machine)) as engine, interruptible() as interrupted:
        made = sampling.sample(loaded, root, out, drawings, engine, interrupted,
                               lambda text: click.echo(text, err=True))  # fmt: skip
    click.echo("\n".join(checking.summary(made)))
