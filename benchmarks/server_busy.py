"""Do 64 requests in flight keep llama-server as busy as llama.cpp's own benchmark does?

    python -m benchmarks.server_busy --peers peers --pairs 3

Three sides in turn, on the same base without an adapter, all with as many sequences at once:
llama-batched-bench (its tokens are random, it draws no samples and speaks no HTTP: the limit),
a bare client (a thread a request, whole answers, none streamed: what the server itself can do),
and lorid's engine on the server, which streams each token, and asks for the prompt's tokens first.
A side's figure is its tokens a second, those of the prompts counted in. The prompts are practice
problems; llama-batched-bench's are as long as theirs are on average.
"""

import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from statistics import mean
from typing import Any

import click

from benchmarks.engine_vs_batched_bench import rows
from benchmarks.pairs import (
    Figure,
    Turns,
    program,
    ratios,
    resumable,
    use_libraries,
)
from benchmarks.peer_engines import ServerEngine
from benchmarks.solve_vs_peers import server
from lorid_local import bundle as bundles
from lorid_local import prompts
from lorid_local.cores import usable_cores
from lorid_local.engine import Completion, Request, Role
from lorid_local.practice.bank import Bank
from lorid_local.practice.families import load
from lorid_local.solving import Flags, base_file

REACH = 0.9
HEAT = 2.0  # so hot that hardly a sample ends by itself before its last token


def asked(count: int, tokens: int, seed: int) -> list[Request]:
    """Return requests that the bare base answers, each of another problem."""
    profile = prompts.profile("terse-1")
    return [
        Request(Role.IR, profile.parts(Role.IR, problem.question), tokens, i, HEAT, 1.0)
        for i, problem in enumerate(islice(Bank(load(), seed=seed), count))
    ]


def limit(command: list[str]) -> float:
    """Return llama-batched-bench's tokens a second, prompts counted in."""
    found = rows(command)
    if not found:
        raise click.ClickException(f"{command[0]} measured nothing")
    return float(found[-1]["speed"])


def rate(engine: Any, requests: Sequence[Request], lengths: Sequence[int]) -> float:
    """Return an engine's tokens a second, prompts counted in."""
    started = time.monotonic()
    done: list[Completion] = engine.generate(requests)
    seconds = time.monotonic() - started
    if any(completion.finish_reason == "failed" for completion in done):
        raise click.ClickException("the server failed")
    return (sum(lengths) + sum(completion.tokens for completion in done)) / seconds


@click.command()
@click.option("--peers", type=click.Path(path_type=Path), required=True)
@click.option("--pairs", default=3, show_default=True)
@click.option("--in-flight", default=64, show_default=True)
@click.option("--requests", "count", default=256, show_default=True, help="Of a side in a pair.")
@click.option("--tokens", default=64, show_default=True, help="Of each sample.")
@click.option("--threads", type=int, default=usable_cores, show_default="usable cores")
@click.option("--bundle", default=bundles.DEFAULT, show_default=True)
@click.option("--base-type", type=click.Choice(["as-shipped", "q8_0", "q4_0", "iq4_nl"]))
@resumable
def main(peers: Path, pairs: int, in_flight: int, count: int, tokens: int, threads: int,
         bundle: str, base_type: Any, out: Path | None, minutes: float | None) -> None:  # fmt: skip
    """Measure in turn and print the ratios, lorid / the other."""
    from lorid_local.endpoint.engine import EndpointEngine, Options
    from lorid_local.endpoint.greeting import Wanted

    use_libraries(peers)
    base = base_file(bundles.find(bundle), Flags(base_type=base_type))
    settings = {"base": base.name, "threads": threads, "in_flight": in_flight,
                "requests": count, "tokens": tokens}  # fmt: skip
    with (
        server(peers, bundle, base_type, threads, in_flight) as url,
        EndpointEngine(url, Wanted({}, {}), Options(in_flight=in_flight)) as engine,
        Turns(out, minutes, settings) as turns,
    ):
        bare = ServerEngine(url, in_flight, adapters=False)
        for pair in turns.left(pairs):
            requests = asked(count, tokens, pair)
            lengths = [len(engine.prompt(request)) for request in requests]
            size = round(mean(lengths))
            command = [program(peers, "llama-batched-bench"), "-m", str(base), "-c",
                       str(in_flight * (size + tokens)), "-npp", str(size), "-ntg", str(tokens),
                       "-npl", str(in_flight), "-t", str(threads), "-tb", str(threads),
                       "--output-format", "jsonl"]  # fmt: skip
            turn = {
                "limit": limit(command),
                "bare": rate(bare, requests, lengths),
                "lorid": rate(engine, requests, lengths),
            }
            turns.add(turn)
            told = ", ".join(f"{name} {speed:.1f}" for name, speed in turn.items())
            print(f"pair {pair + 1} of {pairs}, tokens a second: {told}", flush=True)
    turns.report(figures)


def figures(turns: Sequence[dict[str, float]]) -> list[Figure]:
    """Return the ratios pair by pair."""
    limits, bare, lorid = ([t[name] for t in turns] for name in ("limit", "bare", "lorid"))
    return [
        Figure("lorid / llama-batched-bench", ratios(lorid, limits), REACH),
        Figure("lorid / a bare client", ratios(lorid, bare)),
        Figure("a bare client / llama-batched-bench", ratios(bare, limits)),
    ]


if __name__ == "__main__":
    main()
