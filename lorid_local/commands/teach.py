"""`lorid teach`: general rules for worked problems, from a teacher model; and their audit."""

import os
from pathlib import Path
from typing import Any

import click

from lorid_local.commands.options import option


@click.command(short_help="Let a teacher model write the rules of worked problems.")
@click.argument("problems", metavar="PROBLEMS")
@option("--data", "root", type=click.Path(path_type=Path), default=Path(),
        help="Folder that PROBLEMS lies in.")  # fmt: skip
@option("--format", type=click.Choice(["gsm8k", "authors", "math"]), default="gsm8k",
        show_default=True, help="How PROBLEMS is written.")  # fmt: skip
@option("--leave-out", multiple=True, help="A file of 0-based lines not to ask about.")
@option("-m", "--model", help="The teacher: a .gguf file, or with --url its name there.")
@option("--url", help="An OpenAI-compatible endpoint, up to /chat/completions.")
@option("-o", "--output", type=click.Path(path_type=Path), help="File of rules; started again, "
        "go on behind what it holds.")  # fmt: skip
@option("--jobs", type=click.IntRange(min=1), help="Requests at once [default: 4].")
@option("-n", "--n-predict", type=int, help="Longest reply, in tokens [default: 1024].")
@option("-t", "--threads", type=int, help="Threads of a local teacher.")
@option("--limit", type=click.IntRange(min=0), default=0, help="Ask about the first N only.")
@option("--audit", type=click.Path(path_type=Path), help="Do not ask: judge this file of rules.")
@option("--samples", type=int, default=50, show_default=True, help="Problems to read, of --audit.")
@option("-s", "--seed", type=int, default=0, show_default=True, help="Which samples.")
@click.help_option("-h", "--help")
def command(**flags: Any) -> int:
    """Ask a teacher for the general rules behind each of PROBLEMS, a file below --data.

    \b
    lorid teach train.jsonl --data DATA --url https://HOST/v1 -m NAME -o rules.jsonl
    lorid teach train.jsonl --data DATA -m teacher.gguf -o rules.jsonl
    lorid teach train.jsonl --data DATA --audit rules.jsonl

    The key of an endpoint is read from LORID_API_KEY or OPENAI_API_KEY. A run that was cut off
    goes on when started again; what was answered is not asked again.
    """
    from lorid_local.solving import interruptible
    from lorid_train import teach

    key = os.environ.get("LORID_API_KEY") or os.environ.get("OPENAI_API_KEY") or ""
    with interruptible() as interrupted:
        return teach.run(teach.Flags(**flags, key=key), _engine, interrupted)


def _engine(model: Path, threads: int) -> Any:
    from lorid_local.llama import LlamaEngine, Options

    return LlamaEngine(model, options=Options(threads=threads))
