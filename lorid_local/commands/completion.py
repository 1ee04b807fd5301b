"""`lorid completion`: the shell completes commands, flags and file names."""

import os
from pathlib import Path

import click
from click.shell_completion import get_completion_class

from lorid_local.commands.options import option

SHELLS = ("bash", "zsh", "fish")


@click.command(short_help="Print a script for shell completion.")
@option("--shell", type=click.Choice(SHELLS), help="The shell it is for [default: $SHELL].")
@click.help_option("-h", "--help")
@click.pass_context
def command(ctx: click.Context, shell: str | None) -> None:
    """Print the script that lets the shell complete lorid's commands and flags.

    \b
    lorid completion --shell bash >> ~/.bashrc
    lorid completion --shell zsh >> ~/.zshrc
    lorid completion --shell fish > ~/.config/fish/completions/lorid.fish

    It acts in shells that are started afterwards.
    """
    from lorid_local.errors import InputError

    name = shell or Path(os.environ.get("SHELL", "")).name
    found = get_completion_class(name) if name in SHELLS else None
    if found is None:
        raise InputError(
            f"no completion for the shell {name!r}: expected {', '.join(SHELLS)}",
            hint="lorid completion --shell bash",
        )
    click.echo(found(ctx.find_root().command, {}, "lorid", "_LORID_COMPLETE").source())
