"""The click group: knows each subcommand's module, imports it only when it runs."""

import importlib

import click

from lorid_local import __version__
from lorid_local.commands.names import COMMANDS


class LazyGroup(click.Group):
    """A group whose help costs no more than click itself."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"lorid_local.commands.{cmd_name.replace('-', '_')}")
        command: click.Command = module.command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError:
            from lorid_local.errors import did_you_mean

            near = did_you_mean(args[0], COMMANDS)
            ctx.fail(f"No such command {args[0]!r}{near}. Commands: {', '.join(COMMANDS)}")

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, package_name="lorid-local", prog_name="lorid")
def group() -> None:
    """Solve math word problems offline: two systems answer, and agreement counts.

    \b
    lorid solve "Sam has 3 boxes of 12 eggs. How many eggs does he have?"
    lorid solve --json - < problem.txt
    """
