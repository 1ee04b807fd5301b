"""`lorid models`: list, show, pull, import, verify and remove models."""

from functools import partial
from pathlib import Path
from typing import Any

import click

from lorid_local.commands.options import option

NAMED = {
    "show": "Show what is known of a model.",
    "verify": "Read a model's files again and compare size and SHA-256.",
    "remove": "Forget a model; what was pulled is deleted, what was imported stays.",
}


def ask(verb: str, **given: Any) -> None:
    """Do what one of the subcommands says."""
    from lorid_local.models import asked

    getattr(asked, verb)(**given)


@click.group()
def command() -> None:
    """Other models: what is offered, what is here. Only `pull` uses the network.

    \b
    lorid models pull qwen2.5-1.5b
    lorid solve -m qwen2.5-1.5b "Sam has 3 boxes of 12 eggs. How many eggs does he have?"
    """


@command.command("list")
@option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def list_models(**flags: Any) -> None:
    """List the models that are here and those that are offered."""
    ask("list_models", **flags)


@command.command()
@click.argument("what", metavar="NAME|OWNER/REPO[:FILE]")
@option("--name", help="What to call it [default: as its file is called].")
def pull(**flags: Any) -> None:
    """Pull a model into the Hugging Face cache; a pull that was cut off goes on."""
    ask("pull", **flags)


@command.command("import")
@click.argument("path", type=click.Path(path_type=Path))
@option("--name", help="What to call it [default: as its file is called].")
def import_model(**flags: Any) -> None:
    """Give a GGUF file that is here a name; the file stays where it is."""
    ask("import_model", **flags)


for verb, text in NAMED.items():
    command.command(verb, help=text)(click.argument("name")(partial(ask, verb)))
