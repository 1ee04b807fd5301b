"""One side of solve_vs_peers.py, in a process of its own: solves problems, prints what it cost.

    python -m benchmarks.contender lorid-file --problems problems.jsonl --first 0 --count 10

Every side is given the same base, adapters, prompts, temperatures and seeds, and none uses the
calculator or ends what repeats itself, which only lorid does. Prints one JSON object.
"""

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from lorid_local import batch, loop, prompts
from lorid_local import bundle as bundles
from lorid_local.engine import Cancelled, Completion, Engine, OnDone, OnToken, Request, Role, never
from lorid_local.judging import joined, sample
from lorid_local.problems import from_file
from lorid_local.solving import Flags, Setup, base_file, opened, settle
from lorid_local.trace import Round, Trace

SEED = 0
Solve = Callable[[list[str]], Iterable[Trace]]


class Drawn:
    """An Engine that hands out samples that were drawn before, by role and seed."""

    def __init__(self, samples: dict[tuple[Role, int], Completion]) -> None:
        self.samples = samples

    def generate(
        self,
        requests: Sequence[Request],
        on_token: OnToken | None = None,
        cancelled: Cancelled = never,
        on_done: OnDone | None = None,
    ) -> list[Completion]:
        return [self.samples[request.role, request.seed] for request in requests]


def one_by_one(engine: Engine, setup: Setup) -> Solve:
    """Return what solves one problem after the other, and stops each at agreement."""

    def solve(texts: list[str]) -> Iterator[Trace]:
        return (_solved(text, engine, setup) for text in texts)

    return solve


def _solved(text: str, engine: Engine, setup: Setup) -> Trace:
    events = loop.solve(text, engine, setup.roles, setup.loop, seed=SEED)
    return loop.finish(events, lambda event: None)


def side_by_side(engine: Engine, setup: Setup) -> Solve:
    """Return what solves many problems at once."""

    def solve(texts: list[str]) -> Iterator[Trace]:
        done = batch.solve_all(texts, engine, setup.roles, setup.loop, seed=SEED)
        return (trace for trace in done if isinstance(trace, Trace))

    return solve


def reference(engine: Engine, setup: Setup) -> Solve:
    """Return the schedule of the authors' code: all rounds are drawn before any is judged."""

    def solve(texts: list[str]) -> Iterator[Trace]:
        return (_solved(text, Drawn(_all_rounds(text, engine, setup)), setup) for text in texts)

    return solve


def _all_rounds(text: str, engine: Engine, setup: Setup) -> dict[tuple[Role, int], Completion]:
    """Draw every round of a problem, whatever the samples say."""
    question, samples = prompts.tidy(text), {}
    for number in range(1, setup.loop.rounds + 1):
        drawn = Round(number, None, None, (), None, agreed=False, why="")
        for role in (Role.IR, Role.KG, Role.DR):
            request = loop.request(setup.roles, role, question, drawn.rules, number, SEED)
            (done,) = engine.generate([request])
            samples[role, request.seed] = done
            drawn = joined(drawn, sample(request, number, done))
    return samples


@click.command()
@click.argument("name", type=click.Choice(["lorid", "lorid-file", "stock", "reference", "server",
                                           "server-file"]))  # fmt: skip
@click.option("--problems", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--first", default=0)
@click.option("--count", default=10)
@click.option("--bundle", default=bundles.DEFAULT)
@click.option("--base-type", type=click.Choice(["as-shipped", "q8_0", "q4_0", "iq4_nl"]))
@click.option("--rounds", type=int)
@click.option("--protocol", type=click.Choice(["same-round", "pooled"]))
@click.option("--n-predict", type=int)
@click.option("--threads", type=int, required=True)
@click.option("--same-samples", is_flag=True)
@click.option("--url", default="")
@click.option("--slots", default=16)
def main(name: str, problems: Path, first: int, count: int, bundle: str, base_type: Any,
         rounds: int | None, protocol: Any, n_predict: int | None, threads: int,
         same_samples: bool, url: str, slots: int) -> None:  # fmt: skip
    """Solve --count problems from --first on."""
    texts = [p.text for p in from_file(problems)[first : first + count]]
    flags = Flags(bundle=bundle, base_type=base_type, rounds=rounds, protocol=protocol,
                  n_predict=n_predict, threads=threads, no_calculator=True, seed=SEED)  # fmt: skip
    chosen = bundles.find(bundle)
    setup = settle(chosen.contents, flags)
    table = {r.value: replace(setup.roles.of(r), repeats=0) for r in Role}
    setup = replace(setup, roles=loop.RoleTable(**table))
    began = time.monotonic()
    if name.startswith("lorid"):
        many = name == "lorid-file"
        with opened(chosen, flags, many=many) as engine:
            way = side_by_side if many else one_by_one
            _tell(way(engine, setup), texts, began)
        return
    from benchmarks.peer_engines import ServerEngine, StockEngine

    if name.startswith("server"):
        way = side_by_side if name == "server-file" else one_by_one
        _tell(way(ServerEngine(url, slots), setup), texts, began)
        return
    base = base_file(chosen, flags)
    stock = StockEngine(base, chosen.adapters(), threads, same_samples=same_samples)
    setup = replace(setup, loop=replace(setup.loop, width=1))  # it gains nothing by more
    way = reference if name == "reference" else one_by_one
    _tell(way(stock, setup), texts, began, stock)


def _tell(solve: Solve, texts: list[str], began: float, stock: Any = None) -> None:
    """Print the cost; `each` are the seconds from one outcome to the next."""
    started = last = time.monotonic()
    traces, each, sampling = [], [], 0.0
    for trace in solve(texts):
        now, taken_off = time.monotonic(), stock.sampling if stock else 0.0
        each.append(now - last - (taken_off - sampling))
        traces.append(trace)
        last, sampling = now, taken_off
    json.dump(
        {
            "load": started - began,
            "seconds": sum(each),
            "each": each,
            "tokens": stock.tokens if stock else sum(trace.tokens for trace in traces),
            "traces": [trace.as_dict() for trace in traces],
        },
        sys.stdout,
    )


if __name__ == "__main__":
    main()
