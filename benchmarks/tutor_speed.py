"""How soon `lorid tutor` shows its first problem, and how long a hint takes.

    python benchmarks/tutor_speed.py --runs 21 --hints 500

Run it on an idle machine. The first is CPU time of whole processes, user and system, that start,
show one problem and end (no model is loaded); the second is wall time of one step of the session.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time

from lorid_local.practice.bank import Bank
from lorid_local.practice.families import load
from lorid_local.tutor import task as tasks
from lorid_local.tutor.session import Session
from lorid_local.tutor.state import Given, Line

LORID = [sys.executable, "-c", "from lorid_local.cli import main; main()", "tutor", "--seed", "1"]


def first_problem(folder: str) -> float:
    """Return the CPU seconds of one process."""
    before = os.times()
    subprocess.run(
        LORID,
        input="",
        text=True,
        capture_output=True,
        check=True,
        env={**os.environ, "XDG_DATA_HOME": folder},
    )
    after = os.times()
    user = after.children_user - before.children_user
    return user + after.children_system - before.children_system


def hints(count: int) -> list[float]:
    """Return the seconds of `count` hints, each on the state that all before it led to."""
    families = load()
    session, bank = Session(families), Bank(families, seed=1)
    state = session.start()
    seconds: list[float] = []
    while len(seconds) < count:
        problem = next(bank)
        task = tasks.of_practice(families.family(problem.family), problem)
        state, _ = session.step(state, Given(task))
        for _ in range(10):
            started = time.perf_counter()
            state, _ = session.step(state, Line("/hint"))
            seconds.append(time.perf_counter() - started)
    return seconds[:count]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=21)
    parser.add_argument("--hints", type=int, default=500)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        firsts = [first_problem(folder) for _ in range(asked.runs)]
    print(f"first problem: median {statistics.median(firsts):.2f} s of CPU, most {max(firsts):.2f}")
    took = [1000 * seconds for seconds in hints(asked.hints)]
    print(f"hint: median {statistics.median(took):.1f} ms, most {max(took):.1f} ms")


if __name__ == "__main__":
    main()
