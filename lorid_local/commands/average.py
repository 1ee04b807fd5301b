"""`lorid average`: several adapters of one base to one."""

from pathlib import Path

import click

from lorid_local.commands.convert import OUTTYPES
from lorid_local.commands.options import option

FILE = click.Path(path_type=Path)


@click.command(short_help="Average GGUF LoRA files of one base.")
@click.argument("adapters", nargs=-1, required=True, type=FILE)
@option("--base", type=FILE, required=True, help="GGUF file of the model that they run on.")
@option("--outfile", type=FILE, required=True, help="GGUF file to write.")
@option("--weights", default="", help="A number an adapter, with commas [default: equal shares].")
@option("--rank", type=click.IntRange(min=1), help="Rank to cut to [default: the largest there].")
@option("--outtype", type=click.Choice(OUTTYPES), default="auto", show_default=True,
        help="Number type; auto: q8_0, or f16 for rows not a multiple of 32.")  # fmt: skip
@click.help_option("-h", "--help")
def command(
    adapters: tuple[Path, ...], base: Path, outfile: Path, weights: str, rank: int | None,
    outtype: str,
) -> None:  # fmt: skip
    """Average ADAPTERS, GGUF LoRA files of one role and one base, into one of the same cost.

    \b
    lorid average run1.gguf run2.gguf --base BASE.gguf --outfile ir.gguf
    lorid average run1.gguf run2.gguf --weights 0.7,0.3 --base BASE.gguf --outfile ir.gguf

    What is averaged is what they change in the weights, so runs of other ranks, starts or data fit.
    Measure the average before you use it (lorid eval): it is often better than each, not always.
    Role, prompt profile and licence are the first one's. The path of the file is printed on stdout.
    """
    from lorid_convert import averaging

    given = dict(zip(adapters, averaging.weights(weights, len(adapters)), strict=True))
    made = averaging.average(given, base, outfile, rank or 0, outtype)
    click.echo(
        f"{made.modules} modules, rank {made.rank}, alpha {made.alpha:g}; {made.bytes / 1e6:.1f} "
        f"MB; within {made.error:.2g} of the exact average",
        err=True,
    )
    click.echo(made.outfile)
