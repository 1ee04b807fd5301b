"""The click group: knows each subcommand's module, imports it only when it runs."""

import importlib

import click

from lorid_local import __version__

# name -> one line for `lorid --help`; the command itself is `command` in the module of that name
COMMANDS = {
    "solve": "Solve math word problems.",
    "tutor": "Practise with hints, or be helped with a problem of your own.",
    "models": "Pull, import and list other models.",
    "practice": "Practice problems with computed answers.",
    "convert": "Convert a PEFT LoRA folder to a GGUF LoRA file.",
    "export-peft": "Turn a GGUF LoRA file back into a PEFT folder.",
    "bundle": "Make a bundle of a base, three adapters and prompts.",
    "teach": "Have a teacher model write rules; audit them.",
    "data": "Build, show and check training data.",
    "train": "Train one role's LoRA adapter from a recipe.",
    "rft": "Sample chains; the right ones become training rows.",
    "eval": "Measure a bundle: methods compared, calibration, a report.",
    "doctor": "Check that this machine can solve, and what memory it takes.",
    "bench": "Measure how fast this machine solves.",
    "paths": "Show where lorid's files are.",
    "completion": "Print a script for shell completion.",
}


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
    lorid solve "A box holds 12 eggs. How many eggs are in 5 boxes?"
    lorid solve --json - < problem.txt
    """
