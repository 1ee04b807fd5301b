"""`lorid export-peft`: a GGUF LoRA file to a PEFT folder."""

from pathlib import Path

import click

from lorid_local.commands.options import option


@click.command(short_help="Turn a GGUF LoRA file into a PEFT folder.")
@click.argument("adapter", type=click.Path(path_type=Path))
@option("--base", type=click.Path(path_type=Path), required=True,
        help="GGUF file of the model the adapter runs on.")  # fmt: skip
@option("--outdir", type=click.Path(path_type=Path),
        help="Folder to write [default: ADAPTER without .gguf].")  # fmt: skip
@click.help_option("-h", "--help")
def command(adapter: Path, base: Path, outdir: Path | None) -> None:
    """Turn ADAPTER, a GGUF LoRA, into a PEFT folder for vLLM, transformers or more training.

    \b
    lorid export-peft ir.gguf --base BASE.gguf --outdir ir

    Numbers of f32, f16 and bf16 are kept bit by bit. The folder's path is printed on stdout.
    """
    from lorid_convert import exporting, notes

    made = exporting.export(adapter, base, outdir or adapter.with_suffix(""))
    ranks = ", ".join(map(str, made.ranks))
    limit = notes.vllm_rank(made.ranks[-1])
    served = f"vLLM: --max-lora-rank {limit}" if limit else "vLLM does not serve this rank"
    click.echo(f"{made.modules} modules, rank {ranks}; {served}", err=True)
    click.echo(made.folder)
