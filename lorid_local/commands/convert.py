"""`lorid convert`: a PEFT LoRA folder to a GGUF LoRA file."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from lorid_local.engine import Role

if TYPE_CHECKING:
    from lorid_convert.pipeline import Plan


@click.command(short_help="Turn a PEFT LoRA folder into a GGUF LoRA file.")
@click.argument("peft_dir", type=click.Path(path_type=Path))
@click.option("--base", type=click.Path(path_type=Path), required=True, envvar="LORID_BASE",
              help="GGUF file of the model the adapter will run on.")  # fmt: skip
@click.option("--outfile", type=click.Path(path_type=Path), envvar="LORID_OUTFILE",
              help="GGUF file to write [default: PEFT_DIR.gguf].")  # fmt: skip
@click.option("--outtype", type=click.Choice(["auto", "f32", "f16", "q8_0"]), default="auto",
              show_default=True, envvar="LORID_OUTTYPE",
              help="Number type; auto: q8_0, or f16 for rows not a multiple of 32.")  # fmt: skip
@click.option("--role", type=click.Choice([r.value for r in Role]), envvar="LORID_ROLE",
              help="Role to note in the file.")  # fmt: skip
@click.option("--dry-run", is_flag=True, envvar="LORID_DRY_RUN",
              help="Check everything and list the tensors; write nothing.")  # fmt: skip
@click.help_option("-h", "--help")
def command(
    peft_dir: Path, base: Path, outfile: Path | None, outtype: str, role: str | None, dry_run: bool
) -> None:
    """Turn the PEFT LoRA in PEFT_DIR into a GGUF LoRA for llama.cpp.

    \b
    lorid convert runs/ir/adapter --base BASE.gguf --outfile ir.gguf --role ir
    lorid convert runs/ir/adapter --base BASE.gguf --dry-run

    Needs no torch. What a GGUF LoRA cannot express is refused before anything is written.
    The path of the file is printed on stdout.
    """
    from lorid_convert import pipeline

    if dry_run:
        made = pipeline.plan(peft_dir, base, outtype)
        for row in made.rows:
            shape = "x".join(map(str, row.shape))
            click.echo(f"{row.tensor}\t{shape}\trank {row.rank}\t{row.type}\t{row.bytes}")
        click.echo(_summary(made) + "; nothing was written", err=True)
        return
    outfile = outfile or Path(f"{peft_dir.resolve()}.gguf")
    report = pipeline.convert(peft_dir, base, outfile, outtype, role)
    click.echo(f"{_summary(report.plan)}; {report.bytes / 1e6:.1f} MB", err=True)
    click.echo(report.outfile)


def _summary(made: "Plan") -> str:
    types = ", ".join(sorted({row.type for row in made.rows}))
    folded = f"; {made.folded} scales folded into B" if made.folded else ""
    return f"{made.modules} modules, alpha {made.alpha:g}, {types}{folded}"
