"""`lorid solve`: one problem, or a file of problems."""

from pathlib import Path
from typing import Any

import click

from lorid_local.commands.options import PROTOCOLS, Width, base, option, sampling, server


@click.command(short_help="Solve math word problems.")
@click.argument("problem", required=False)
@option("-f", "--file", type=click.Path(path_type=Path), help="Problems, .jsonl, .csv or .txt "
        "(one a line); one JSON result a line.")  # fmt: skip
@option("-o", "--output", type=click.Path(path_type=Path), help="Write --file's results here; "
        "started again, go on behind them.")  # fmt: skip
@option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@option("-q", "--quiet", is_flag=True, help="Print the answer only.")
@option("--trace", type=click.Path(path_type=Path), help="Write every sample to this JSON file.")
@option("-r", "--rounds", type=int, help="Give up after so many (t) [default: the bundle's].")
@option("--protocol", type=click.Choice(PROTOCOLS), help="Who agrees [default: the bundle's].")
@option("--width", type=Width(), help="Rounds drawn at once; auto: 2, 4, 8 ... after the first "
        "[default: the bundle's].")  # fmt: skip
@option("--timeout", type=float, help="Stop after this many seconds [default: never].")
@base
@option("--no-adapters", is_flag=True, help="Prompt the base alone.")
@option("--chat", help="Chat format of a model without adapters [default: its own].")
@option("--no-calculator", is_flag=True, help="Let the model do its arithmetic itself.")
@option("-s", "--seed", type=int, default=0, show_default=True, help="Seed of all samples.")
@sampling
@option("-c", "--ctx-size", type=int, help="Tokens of problem and answer [default: as needed].")
@option("-t", "--threads", type=int, help="Threads [default: the cores this process may use].")
@option("-ngl", "--n-gpu-layers", type=int, help="Layers on the GPU [default: all, if any].")
@option("--kv-type", type=click.Choice(["f16", "q8_0"]), default="f16", show_default=True,
        help="How keys and values are cached.")  # fmt: skip
@option("--low-memory", is_flag=True, help="One context for all roles: less memory, slower.")
@server
@option("-v", "--verbose", is_flag=True, help="Show llama.cpp's own log.")
@click.help_option("-h", "--help")
def command(**flags: Any) -> int:
    """Solve PROBLEM; `-`, or a pipe, reads it from standard input.

    \b
    lorid solve "Sam has 3 boxes of 12 eggs. How many eggs does he have?"
    echo "Sam has 3 boxes of 12 eggs. How many eggs does he have?" | lorid solve -q
    lorid solve --json --trace trace.json --seed 7 "..."
    lorid solve --file problems.jsonl > answers.jsonl

    The answer goes to standard output, everything else to standard error.
    Exit codes: 0 both systems agreed, 3 no agreement (best guess printed, marked), 1 failure,
    2 usage, 4 model or adapter missing or mismatched, 130 interrupted.
    """
    from lorid_local.solving import Flags, run

    return run(Flags(**flags))
