"""A pass that is killed (SIGKILL) at random moments and goes on, so often; then ends in peace.

    python -m tests.eval_killed TIMES FOLDER

What was noted before a kill must be there after it. Used by test_eval_sampling.py.
"""

import os
import random
import signal
import sys
import time
from pathlib import Path

from lorid_local.evaluate import store
from tests.eval_engine import HashedEngine, draw

PAUSE = 0.002  # seconds behind each sample


def killed_once(path: Path, seconds: float) -> None:
    """Draw in a child, and kill it after so many seconds."""
    child = os.fork()
    if child == 0:
        draw(path, HashedEngine(pause=PAUSE))
        os._exit(0)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def main(times: int, folder: Path) -> None:
    path, rng = folder / "killed.jsonl", random.Random(0)
    noted = kills = 0
    while kills < times:
        killed_once(path, rng.uniform(0, 0.03))
        kills += 1
        found = len(store.read(path).samples)
        if found < noted:
            raise SystemExit(f"{noted} samples were noted, {found} are there")
        noted = found
        if noted == 9 * 12:  # begin anew, so that every kill has work to interrupt
            if kills < times:
                path.unlink()
            noted = 0
    draw(path, HashedEngine())
    print(f"killed {kills} times, {len(store.read(path).samples)} samples")


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
