"""A pass that is killed (SIGKILL) at random moments and goes on, so often; then ends in peace.

    python -m tests.eval_killed TIMES FOLDER

Each sample that was handed on must be in the file after the kill: the child tells of it through a
pipe, which knows no buffer, as soon as the writer took it. Used by test_eval_sampling.py.
"""

import hashlib
import os
import random
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from lorid_local.engine import Cancelled, Completion, OnDone, OnToken, Request, never
from lorid_local.evaluate import store
from tests.eval_engine import HashedEngine, draw

PAUSE = 0.002  # seconds behind each sample
DIGEST = 16  # bytes that name a sample: its request's role, seed and prompt


class Telling(HashedEngine):
    """Writes each sample's name into a pipe when it was noted."""

    def __init__(self, pipe: int) -> None:
        super().__init__(pause=PAUSE)
        self.pipe = pipe

    def generate(
        self,
        requests: Sequence[Request],
        on_token: OnToken | None = None,
        cancelled: Cancelled = never,
        on_done: OnDone | None = None,
    ) -> list[Completion]:
        assert on_done

        def told(index: int, completion: Completion) -> Sequence[int]:
            ended = on_done(index, completion)
            one = requests[index]
            name = f"{one.role} {one.seed} {one.prompt}".encode()
            os.write(self.pipe, hashlib.sha256(name).digest()[:DIGEST])
            return ended

        return super().generate(requests, on_token, cancelled, told)


def killed_once(path: Path, seconds: float) -> set[bytes]:
    """Draw in a child, and kill it after so many seconds; return the names it told of."""
    reader, pipe = os.pipe()
    child = os.fork()
    if child == 0:
        draw(path, Telling(pipe))
        os._exit(0)
    os.close(pipe)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with open(reader, "rb") as file:
        told = file.read()
    return {told[i : i + DIGEST] for i in range(0, len(told), DIGEST)}


def main(times: int, folder: Path) -> None:
    path, rng = folder / "killed.jsonl", random.Random(0)
    told: set[bytes] = set()
    lost = kills = most = 0
    while kills < times:
        told |= killed_once(path, rng.uniform(0, 0.03))
        kills += 1
        found = len(store.read(path).samples)
        most = max(most, found)
        lost += max(0, len(told) - found)
        if found == 9 * 12:  # begin anew, so that every kill has work to interrupt
            if kills < times:
                path.unlink()
            told = set()
    if lost or not most:
        raise SystemExit(f"{lost} samples that were noted are not there, {most} at most were")
    draw(path, HashedEngine())
    print(f"killed {kills} times, {len(store.read(path).samples)} samples, none lost")


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
