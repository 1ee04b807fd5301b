"""`lorid bundle`: a base, three adapters and prompts to a bundle folder."""

from pathlib import Path

import click

from lorid_local.commands.options import option
from lorid_local.engine import Role

FILE = click.Path(path_type=Path)


@click.command(short_help="Make a bundle of a base, three adapters and prompts.")
@click.argument("folder", type=FILE)
@option("--base", type=FILE, required=True, help="The model: a .gguf file, or a name of "
        "`lorid models`.")  # fmt: skip
@option("--ir", type=FILE, help="Adapter of the Intuitive Reasoner, a GGUF LoRA.")
@option("--kg", type=FILE, help="Adapter of the Knowledge Generator.")
@option("--dr", type=FILE, help="Adapter of the Deep Reasoner.")
@option("--prompt", default="", help="Prompt profile [default: as the adapters say].")
@option("--name", default="", help="The bundle's name [default: the folder's].")
@option("--description", default="", help="One line on what it is.")
@option("--licence", default="", help="Its licence [default: as the adapters say].")
@option("--copy-base", is_flag=True, help="Put a copy of the base into the folder.")
@click.help_option("-h", "--help")
def command(
    folder: Path, base: Path, ir: Path | None, kg: Path | None, dr: Path | None, **said: object
) -> None:
    """Make FOLDER, a bundle that `lorid solve --bundle FOLDER` runs.

    \b
    lorid bundle mine --base BASE.gguf --ir ir.gguf --kg kg.gguf --dr dr.gguf --prompt terse-1
    lorid bundle mistral --base mistral-7b.gguf --ir ir.gguf --kg kg.gguf --dr dr.gguf \\
        --prompt mistral

    Profiles llama2, llama3, mistral, qwen and deepseek are those of the LoRID authors' own
    adapters, sampled as in their code (20 rounds, T 1.5). The folder's path goes to stdout.
    """
    from lorid_local import bundling
    from lorid_local.models.shelf import located

    given = {Role.IR: ir, Role.KG: kg, Role.DR: dr}
    adapters = {role: path for role, path in given.items() if path}
    parts = bundling.Parts(base=located(base) or base, adapters=adapters, **said)  # type: ignore[arg-type]
    for line in bundling.make(parts, folder):
        click.echo(f"Note: {line}.", err=True)
    click.echo(folder)
