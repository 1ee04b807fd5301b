"""`lorid data`: build training rows, look at them, prove that they are clean."""

from pathlib import Path

import click

from lorid_local.commands.options import option

folder = click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
root = option("--data", "root", type=click.Path(path_type=Path), default=Path(),
              help="Folder that the recipe's data files lie in.")  # fmt: skip


@click.group()
def command() -> None:
    """Training rows from worked problems: built, shown, checked. Needs no torch.

    \b
    lorid data build train/recipes/data-v1.toml --data ../data --out built/v1
    lorid data check built/v1 --data ../data
    """


@command.command()
@click.argument("recipe", type=click.Path(path_type=Path))
@root
@option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the rows.")
@option("--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="Processes.")
def build(recipe: Path, root: Path, out: Path, jobs: int) -> None:
    """Build every role's rows by RECIPE, a .toml file, and a manifest.json of what they are."""
    from lorid_train import building, checking, data_recipe

    made = building.build(
        data_recipe.load(recipe), root, out, jobs, lambda text: click.echo(text, err=True)
    )
    click.echo("\n".join(checking.summary(made)))


@command.command()
@folder
@option("--role", type=click.Choice(["ir", "kg", "dr", "heldout"]), help="Only these rows.")
@option("--count", type=click.IntRange(min=0), default=3, show_default=True, help="Rows a role.")
@option("-s", "--seed", type=int, default=0, show_default=True, help="Which rows.")
def show(folder: Path, role: str | None, count: int, seed: int) -> None:
    """Show what is in DIR, and rows of it to read."""
    from lorid_train import showing

    click.echo("\n".join(showing.shown(folder, role, count, seed)))


@command.command()
@folder
@root
def check(folder: Path, root: Path) -> None:
    """Prove that no row of DIR is from or near what is kept out, and that every chain holds."""
    from lorid_train import checking

    report = checking.check(folder, root)
    click.echo("\n".join(report.lines()))
    raise SystemExit(1 if report.wrong else 0)
