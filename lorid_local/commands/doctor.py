"""`lorid doctor`: can this machine solve, and what will it take?"""

from pathlib import Path

import click

from lorid_local.commands.options import Width, bundle_option, model_option, option


@click.command(short_help="Check that this machine can solve.")
@bundle_option
@model_option
@option("--no-adapters", is_flag=True, help="Prompt the base alone.")
@option("--width", type=Width(), help="Plan the memory for this many rounds drawn at once; "
        "auto: as many as a solve draws.")  # fmt: skip
@option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.help_option("-h", "--help")
def command(
    bundle: str | None, model: Path | None, no_adapters: bool, width: int | None, as_json: bool
) -> int:
    """Say whether this machine can solve, what is wrong if not, and what memory it will take.

    \b
    lorid doctor
    lorid doctor --width 8
    lorid doctor -m OTHER.gguf --no-adapters --json

    Looks at what is installed, at the build of llama.cpp (its fork, its CPU features, its GPU),
    at the bundle's files, and lets llama.cpp load them as a solve does, first in a process of its
    own. If the bundle's base has yet to be written to the cache, that is done. Each finding comes
    with the next command to type. The report goes to standard output.
    Exit codes: 0 all is well, 4 the model or an adapter is the problem, 1 something else is.
    """
    from lorid_local.doctor import run
    from lorid_local.solving import Flags

    flags = Flags(bundle=bundle, model=model, no_adapters=no_adapters, width=width)
    return run(flags, as_json=as_json)
