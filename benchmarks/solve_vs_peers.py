"""`lorid solve` on many problems against other ways to do the same, in turn, problems in chunks.

    (PROBLEMS.jsonl: 60 lines {"id", "question"}, as lorid solve --file reads them)
    python -m benchmarks.solve_vs_peers reference --peers peers --problems runs/60.jsonl
    python -m benchmarks.solve_vs_peers stock     --peers peers --problems runs/60.jsonl
    python -m benchmarks.solve_vs_peers server    --peers peers --problems runs/60.jsonl

reference: stock `Llama(lora_path=...)` objects, all t = 20 rounds drawn first, as in the authors'
    code, pooled answers; against lorid with the same t and protocol, which stops at agreement.
stock: the same objects with the same early stop, one call after another.
server: llama-server with the three adapters, one chosen by each request, cache_prompt off; its
    requests are in flight at once, from the same loop.

A chunk of problems is a turn: each side solves it in a process of its own (`contender.py`), which
tells the seconds that solving took, loading left out. lorid is measured twice: one problem after
another, and as `--file` does it, side by side, so larger chunks favour it; the peers as they can:
the server both ways, too. Where both sides solve one after another, ratios are taken problem by
problem, else chunk by chunk; medians have 95% bootstrap intervals, so that the first problems
alone (--count) tell what they can tell. With --out a later run with a larger --count goes on.
Which samples are the same: greedy ones (round 1) on all sides. Later rounds only with
--same-samples, where lorid's sampler draws inside the stock objects too, from their own logits
(its time is taken off); llama.cpp's own sampler gives other samples of the same distribution but
for its order of temperature and top-p. Texts are compared one by one and the shares printed, and
so is the share of same answers; texts part where two tokens tie within llama.cpp's rounding.
"""

import json
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import product
from pathlib import Path
from typing import Any

import click

from benchmarks.pairs import (
    Figure,
    Turns,
    environment,
    program,
    ratios,
    resumable,
    timed,
    use_libraries,
)
from lorid_local import bundle as bundles
from lorid_local.cores import usable_cores
from lorid_local.engine import Role
from lorid_local.solving import Flags, base_file

REACH = {"reference": 15.0, "stock": 2.5, "server": 2.0}
CHUNK = {"reference": 4, "stock": 10, "server": 10}  # problems a turn: minutes, not hours
MEMORY = 0.6
SLOTS = 16
WAIT = 120  # seconds for the server to load
CELLS = 1024  # tokens of a slot: problem, rules and answer
Cost = dict[str, Any]


def measure(name: str, arguments: list[str]) -> Cost:
    """Let one side solve a chunk; return what it tells, with its peak of memory in MiB."""
    command = [sys.executable, "-m", "benchmarks.contender", name, *arguments]
    with tempfile.TemporaryFile() as out:
        code, cost = timed(command, out)
        out.seek(0)
        if code:
            raise click.ClickException(f"{name} ended with {code}")
        return {**json.load(out), "peak": cost.peak}


def texts(cost: Cost) -> dict[tuple[str, int, str], str]:
    """Return the samples' texts by question, round and role."""
    return {
        (trace["question"], drawn["round"], role.value): drawn[role.value]["text"].strip()
        for trace in cost["traces"] for drawn in trace["rounds"]
        for role in Role if role.value in drawn
    }  # fmt: skip


def sameness(ours: list[Cost], theirs: list[Cost]) -> dict[str, str]:
    """Return which share of the samples that both drew is the same, and of the answers."""
    found: dict[str, list[bool]] = {"greedy samples": [], "later samples": [], "answers": []}
    for one, other in zip(ours, theirs, strict=True):
        a, b = texts(one), texts(other)
        for key in a.keys() & b.keys():
            found["greedy samples" if key[1] == 1 else "later samples"].append(a[key] == b[key])
        pairs = zip(one["traces"], other["traces"], strict=True)
        found["answers"] += [x["answer"] == y["answer"] for x, y in pairs]
    return {name: f"{sum(same)} of {len(same)}" for name, same in found.items()}


def _each(costs: list[Cost]) -> list[float]:
    return [seconds for cost in costs for seconds in cost["each"]]


@contextmanager
def server(
    peers: Path, bundle: str, base_type: Any, threads: int, slots: int = SLOTS, *more: str
) -> Iterator[str]:
    """Run llama-server with an adapter a role; yield its address."""
    from benchmarks.peer_engines import ServerEngine

    chosen = bundles.find(bundle)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    loras = [x for path in chosen.adapters().values() for x in ("--lora", str(path))]
    base = base_file(chosen, Flags(base_type=base_type))
    command = [program(peers, "llama-server"), "-m", str(base),
               *loras, "--lora-init-without-apply", "-t", str(threads), "-tb", str(threads),
               "-np", str(slots), "-c", str(slots * CELLS), "--host", "127.0.0.1", "--port",
               str(port), "--no-webui", *more]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                               env=environment())  # fmt: skip
    try:
        url = f"http://127.0.0.1:{port}"
        engine = ServerEngine(url, 1)
        until = time.monotonic() + WAIT
        while not engine.ready():
            if process.poll() is not None or time.monotonic() > until:
                raise click.ClickException(f"{' '.join(command)}: did not start")
            time.sleep(0.2)
        yield url
    finally:
        process.terminate()
        process.wait()


def figures(peer: str, sides: dict[str, list[Cost]]) -> Iterator[Figure]:
    """Yield the ratios: how many times less time and more tokens a second, and memory."""
    theirs = sides[peer]
    for mine in ("lorid-file", "lorid"):
        aim = REACH[peer.removesuffix("-file")] if mine == "lorid-file" else None
        apart = not (peer + mine).count("-file")  # one problem after another, on both sides
        seconds = [_each(side) if apart else [c["seconds"] for c in side]
                   for side in (theirs, sides[mine])]  # fmt: skip
        per = "problem by problem" if apart else "chunk by chunk"
        yield Figure(f"seconds, {peer} / {mine}, {per}", ratios(*seconds), aim)
        whole = [sum(c["seconds"] for c in side) for side in (theirs, sides[mine])]
        yield Figure(f"seconds in all, {peer} / {mine}", (whole[0] / whole[1],))
        speeds = [[c["tokens"] / c["seconds"] for c in side] for side in (sides[mine], theirs)]
        yield Figure(f"tokens a second, {mine} / {peer}", ratios(*speeds))
    if not peer.startswith("server"):  # whose memory is another process's
        peaks = [[c["peak"] for c in side] for side in (sides["lorid"], theirs)]
        yield Figure(f"peak memory, lorid / {peer}", ratios(*peaks), MEMORY, at_most=True)


@click.command()
@click.argument("peer", type=click.Choice([*REACH]))
@click.option("--peers", type=click.Path(path_type=Path), required=True)
@click.option("--problems", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--count", default=60, show_default=True, help="The first so many problems.")
@click.option("--chunk", type=int, help="Problems a turn [default: 4 for reference, else 10].")
@click.option("--rounds", type=int, help="t [default: 20 for reference, else the bundle's].")
@click.option("--n-predict", type=int, help="Longest answer of a role, in tokens.")
@click.option("--same-samples", is_flag=True, help="lorid's sampler draws in stock objects too.")
@click.option("--threads", type=int, default=usable_cores, show_default="usable cores")
@click.option("--bundle", default=bundles.DEFAULT, show_default=True)
@click.option("--base-type", type=click.Choice(["as-shipped", "q8_0", "q4_0", "iq4_nl"]))
@resumable
def main(peer: str, peers: Path, problems: Path, count: int, chunk: int | None, rounds: int | None,
         n_predict: int | None, same_samples: bool, threads: int, bundle: str, base_type: Any,
         out: Path | None, minutes: float | None) -> None:  # fmt: skip
    """Solve chunks of problems in turn and print the ratios."""
    use_libraries(peers)
    common = {"problems": problems, "threads": threads, "bundle": bundle, "base-type": base_type,
              "n-predict": n_predict, "rounds": rounds}  # fmt: skip
    if peer == "reference":
        common |= {"rounds": rounds or 20, "protocol": "pooled"}
    given = [x for name, value in common.items() if value for x in (f"--{name}", str(value))]
    given += ["--same-samples"] if same_samples else []
    names = ["lorid-file", "lorid", peer, *(["server-file"] if peer == "server" else [])]
    size = chunk or CHUNK[peer]
    settings = {**common, "peer": peer, "same-samples": same_samples, "chunk": size}
    with ExitStack() as stack:
        turns = stack.enter_context(Turns(out, minutes, settings))
        if peer == "server":
            url = stack.enter_context(server(peers, bundle, base_type, threads))
            given += ["--url", url, "--slots", str(SLOTS)]
        for number in turns.left(count // size):
            part = ["--first", str(number * size), "--count", str(size)]
            turns.add({name: _told(number, name, size, [*given, *part]) for name in names})
    sides = {name: [turn[name] for turn in turns.found] for name in names}
    turns.report(lambda _: (f for name in names[2:] for f in figures(name, sides)))
    for mine, name in product(names[:2], names[2:]):
        shares = ", ".join(f"{k} {v}" for k, v in sameness(sides[mine], sides[name]).items())
        print(f"the same in {mine} and {name}: {shares}")


def _told(number: int, name: str, size: int, arguments: list[str]) -> Cost:
    cost = measure(name, arguments)
    print(f"turn {number + 1}: {name}: {cost['seconds'] / size:.2f} s a problem, "
          f"{cost['tokens']} tokens", flush=True)  # fmt: skip
    return cost


if __name__ == "__main__":
    main()
