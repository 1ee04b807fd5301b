"""`lorid practice`: problems whose answers are computed; needs no model."""

from pathlib import Path
from typing import Any

import click

from lorid_local.commands.options import option

grade = option("--grade", type=int, help="Only what is for this school grade.")
seed = option("-s", "--seed", type=int, help="The same problems again [default: new ones].")


@click.group()
@option("--families", type=click.Path(path_type=Path), help="Another file of families, .jsonl.")
@click.pass_context
def command(context: click.Context, families: Path | None) -> None:
    """Word problems without end. Their answers are computed, not guessed: no model is loaded.

    \b
    lorid practice show bus commut --grade 6 --answer
    lorid practice export 20 --topic pizza --format html -o sheet.html
    """
    from lorid_local.practice.asked import Asked

    context.obj = Asked(families)


@command.command("list")
@grade
@option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def list_topics(practice: Any, /, **flags: Any) -> None:
    """List the topics. Each family of one is a story that numbers are drawn for."""
    practice.list_topics(**flags)


@command.command()
@click.argument("topic", nargs=-1)
@grade
@seed
@option("--answer", is_flag=True, help="Print the rules, the steps and the answer too.")
@option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def show(practice: Any, /, **flags: Any) -> None:
    """Show a problem. TOPIC is one of the list, words of it, or a family's id."""
    practice.show(**flags)


@command.command()
@click.argument("count", metavar="N", type=click.IntRange(min=1))
@option("--topic", help="As `lorid practice show` takes it.")
@grade
@seed
@option("--format", type=click.Choice(["jsonl", "html"]), default="jsonl", show_default=True)
@option("-o", "--output", type=click.Path(path_type=Path), help="File [default: stdout].")
@click.pass_obj
def export(practice: Any, /, **flags: Any) -> None:
    """Write N problems with answers, steps and rules, or an HTML worksheet to print."""
    practice.export(**flags)
