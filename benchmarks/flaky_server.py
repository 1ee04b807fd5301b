"""`lorid solve --endpoint` with 200 requests in flight on a server of which one in ten fails.

    python -m benchmarks.flaky_server --problems 2000

The server, in a process of its own, is the tests' scripted one: it writes each problem's number
as the answer, and every tenth request is broken in another way (429, 500, half a stream, wrong
JSON, nothing ...). `lorid solve --file` runs as a process; its resident memory is read while the
results come. Prints whether every problem was answered once and in order, how many requests that
took and how many were in flight at most, and the memory at the end over that at a quarter.
"""

import itertools
import json
import multiprocessing
import subprocess
import sys
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path

import click

from benchmarks.pairs import Figure, Turns, environment

ONE_IN = 10
FLAT = 1.1
PAUSE = 0.05  # seconds between two events of a stream, so that requests overlap


def serve(told: Connection) -> None:
    """Run the server; tell its address, and when asked what it saw."""
    from tests.servers import Reply, llama_server
    from tests.test_endpoint import answering
    from tests.test_endpoint_faults import FAULTS

    faults = itertools.cycle([reply for reply, _ in FAULTS.values()])

    def fault(number: int) -> Reply | None:
        return next(faults) if number % ONE_IN == 0 else None

    with llama_server(answering, fault, pause=PAUSE) as seen:
        told.send(seen.url)
        told.recv()
        told.send((len(seen.samples), seen.most))


def resident(pid: int) -> float:
    """Return the MiB of a process that are in memory; 0 if it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS")), 0.0)


def solved(url: str, problems: Path, out: Path, in_flight: int) -> list[tuple[int, float]]:
    """Let lorid solve; return how many results there were and its memory, as time went on."""
    command = [sys.executable, "-c", "from lorid_local.cli import main; main()", "solve", "-q",
               "--endpoint", url, "--file", str(problems), "-o", str(out), "--in-flight",
               str(in_flight)]  # fmt: skip
    found = []
    with subprocess.Popen(command, env=environment()) as process:
        while process.poll() is None:
            done = out.read_bytes().count(b"\n") if out.exists() else 0
            found.append((done, resident(process.pid)))
            time.sleep(0.2)
    if process.returncode:
        raise click.ClickException(f"lorid ended with {process.returncode}")
    return [(done, size) for done, size in found if size]


@click.command()
@click.option("--problems", "count", default=2000, show_default=True)
@click.option("--in-flight", default=200, show_default=True)
@click.option("--out", type=click.Path(path_type=Path))
def main(count: int, in_flight: int, out: Path | None) -> None:
    """Solve --problems made-up problems and print what came of it."""
    here, there = multiprocessing.get_context("spawn").Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(there,), daemon=True)
    server.start()
    url = here.recv()
    with tempfile.TemporaryDirectory() as temporary:
        problems, results = Path(temporary) / "problems.jsonl", Path(temporary) / "out.jsonl"
        rows = (json.dumps({"question": f"What is {i}?"}) for i in range(count))
        problems.write_text("\n".join(rows))
        started = time.monotonic()
        memory = solved(url, problems, results, in_flight)
        seconds = time.monotonic() - started
        answers = [json.loads(line)["answer"] for line in results.read_text().splitlines()]
    here.send("end")
    requests, most = here.recv()
    server.join()
    early = max(size for done, size in memory if done <= count / 4)
    ratio = max(size for _, size in memory) / early
    right = answers == [str(i) for i in range(count)]
    print(f"{len(answers)} results for {count} problems, each once and in order: {right}")
    print(f"{requests} requests, one in {ONE_IN} of them failed; {most} at once at most")
    print(f"{seconds:.1f} s, {early:.0f} MiB at a quarter, {early * ratio:.0f} MiB at most")
    with Turns(out, None, {"problems": count, "in_flight": in_flight}) as turns:
        turns.add({"memory": memory, "requests": requests, "most": most, "seconds": seconds})
        turns.report(
            lambda _: [Figure("memory, most / at a quarter", (ratio,), FLAT, at_most=True)]
        )
    if not right:
        raise click.ClickException("answers are missing, or not in order")


if __name__ == "__main__":
    main()
