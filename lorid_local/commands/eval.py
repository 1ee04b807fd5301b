"""`lorid eval`: measure methods on problems with known answers."""

from pathlib import Path
from typing import Any

import click

from lorid_local.commands.options import base, option, sampling, server

FILE = click.Path(path_type=Path)


@click.command(short_help="Measure a bundle: methods compared, calibration, a report.")
@click.argument("data", nargs=-1, required=True)
@option("-o", "--output", type=FILE, help="Samples to go on with [default: see lorid paths].")
@option("--methods", help="Names with commas; the others are compared with the first.")
@option("--count", type=click.IntRange(min=1), help="Problems at most.")
@option("--skip", type=click.IntRange(min=0), default=0, help="Leave out so many first.")
@option("--lines", type=FILE, help="File of 0-based line numbers of DATA: only these.")
@option("--rules-file", "rules", type=FILE, help='Teacher\'s rules, .jsonl {"id", "knowledge"}.')
@option("--solved", type=FILE, help="Draw nothing: read what lorid solve --file -o wrote.")
@option("--report", type=FILE, help="Write an HTML report, one file that needs no network.")
@option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@option("-q", "--quiet", is_flag=True, help="No progress.")
@option("--name", help="What to call the data in reports and bundles.")
@option("--calibrate", metavar="BUNDLE", help="Measure BUNDLE, and write into it how sure it is.")
@option("--policy", is_flag=True, help="With --calibrate: set the stopping rule found, too.")
@option("--also", type=FILE, multiple=True, help="Its samples at another --temp: rules to try.")
@option("-r", "--rounds", type=int,
        help="Rounds of the methods without @t [default: the bundle's].")  # fmt: skip
@base
@option("--no-adapters", is_flag=True, help="Prompt the base alone.")
@option("--no-calculator", is_flag=True, help="Let the model do its arithmetic itself.")
@option("-s", "--seed", type=int, default=0, show_default=True, help="Seed of all samples.")
@sampling
@option("-t", "--threads", type=int, help="Threads [default: the cores this process may use].")
@server
@click.help_option("-h", "--help")
def command(**flags: Any) -> int:
    """Measure on DATA: a .jsonl of problems with answers, practice:, practice:TOPIC, a hub id in
    the cache, or samples files of earlier runs, whose problems are joined (nothing is drawn then).

    \b
    lorid eval practice: --count 50 --rounds 4
    lorid eval train.jsonl --lines dev_ids.txt -o dev.jsonl --report dev.html
    lorid eval dev.jsonl more.jsonl --methods lorid@1,lorid@8,majority@8,ir --json

    Methods: ir, dr, dr+teacher, dr+none, dr+other, majority@k, weighted@k, self-consistency@k,
    adaptive, first-to-k, ir-first-to-k, lorid, pooled, pooled-3 (so many votes) to pooled-5, these
    with warm- in front (no greedy round), reference; @t behind those of rounds. Started again it
    goes on; Ctrl-C prints the table so far.
    """
    from lorid_local.evaluate.running import asked, run

    return run(asked(flags))
