"""`lorid paths`: where are the files?"""

import click

from lorid_local.commands.options import bundle_option, option


@click.command(short_help="Show where lorid's files are.")
@click.argument("name", required=False)
@bundle_option
@option("--json", "as_json", is_flag=True, help="Print one JSON object of lists.")
@click.help_option("-h", "--help")
def command(name: str | None, bundle: str | None, as_json: bool) -> int:
    """Show where the bundle, its adapters and base, caches, models, samples and progress are.

    With NAME only that one.

    \b
    lorid paths
    lorid paths cache
    rm -r "$(lorid paths cache)"    what is there is written again when it is needed
    """
    from lorid_local.paths import run

    return run(name, bundle, as_json=as_json)
