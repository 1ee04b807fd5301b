"""`lorid bench`: how fast does this machine solve?"""

from pathlib import Path

import click

from lorid_local.commands.options import Widths, bundle_option, model_option, option


@click.command(short_help="Measure how fast this machine solves.")
@bundle_option
@model_option
@option("--no-adapters", is_flag=True, help="Prompt the base alone.")
@option("-t", "--threads", type=int, help="Threads [default: the cores this process may use].")
@option("--widths", type=Widths(), default="1,4,8,16", show_default=True,
        help="Samples drawn at once, each to be measured.")  # fmt: skip
@option("--tokens", type=click.IntRange(min=1), default=64, show_default=True,
        help="Tokens of each sample.")  # fmt: skip
@option("--repeat", type=click.IntRange(min=1), default=3, show_default=True,
        help="Measure so often and take the medians.")  # fmt: skip
@option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.help_option("-h", "--help")
def command(
    bundle: str | None,
    model: Path | None,
    no_adapters: bool,
    threads: int | None,
    widths: tuple[int, ...],
    tokens: int,
    repeat: int,
    as_json: bool,
) -> int:
    """Measure tokens a second, with and without an adapter, seconds a problem, and memory.

    \b
    lorid bench
    lorid bench -t 1 --widths 1,2,4 --repeat 5
    lorid bench -m OTHER.gguf --no-adapters --json

    Takes a minute or two. Close other programs first: another busy process makes the figures
    several times lower. They go to standard output, everything else to standard error.
    """
    from lorid_local.bench import Task, run
    from lorid_local.solving import Flags

    flags = Flags(bundle=bundle, model=model, no_adapters=no_adapters, threads=threads)
    return run(flags, Task(widths, tokens, repeat), as_json=as_json)
