"""The bundled adapters on a real llama-server, where there is one.

LORID_LLAMA_SERVER names the program, else `llama-server` of PATH is taken; LORID_SERVER_PROBLEMS
says how many problems (50 takes minutes). The README of llama-cpp-python's sdist (vendor/llama.cpp)
tells how to build it. Both engines read the same file of the base, as it was shipped.
"""

import os
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path

import pytest

from lorid_local import batch, parallel
from lorid_local import bundle as bundles
from lorid_local.endpoint.engine import EndpointEngine, Options
from lorid_local.endpoint.greeting import Wanted
from lorid_local.engine import Role
from lorid_local.llama import LlamaEngine
from lorid_local.llama import Options as LlamaOptions
from lorid_local.loop import LoopSettings
from lorid_local.practice.bank import Bank
from lorid_local.practice.families import load
from lorid_local.trace import Trace

# read at import: the tests' own fixture clears LORID_*
PROGRAM = os.environ.get("LORID_LLAMA_SERVER") or shutil.which("llama-server")
PROBLEMS = int(os.environ.get("LORID_SERVER_PROBLEMS", "4"))
THREADS = 1
# from 64 tokens read at once on, ggml's flash attention sums in another order
# (ggml-cpu/ops.cpp, GGML_FA_TILE_Q); below that, logits do not depend on the batches
BATCH = 32

pytestmark = [
    pytest.mark.usefixtures("loopback"),
    pytest.mark.skipif(not PROGRAM, reason="no llama-server: set LORID_LLAMA_SERVER to one"),
]


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """A llama-server with the bundle's base and its three adapters, loaded and not applied."""
    chosen = bundles.find()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    loras = [part for path in chosen.adapters().values() for part in ("--lora", str(path))]
    log = tmp_path / "server.log"
    with log.open("wb") as out, subprocess.Popen(
        [str(PROGRAM), "-m", str(chosen.base()), *loras, "--lora-init-without-apply",
         "--port", str(port), "-np", "1", "-c", "2048", "-t", str(THREADS),
         "-ub", str(BATCH)],
        stdout=out, stderr=out,
    ) as server:  # fmt: skip
        try:
            where = f"http://127.0.0.1:{port}"
            _wait(f"{where}/health", server, log)
            yield where
        finally:
            server.terminate()


def _wait(health: str, server: "subprocess.Popen[bytes]", log: Path) -> None:
    ends = time.monotonic() + 120
    while time.monotonic() < ends and server.poll() is None:
        with suppress(OSError), urllib.request.urlopen(health, timeout=2) as answer:
            if answer.status == 200:
                return
        time.sleep(0.2)
    pytest.fail(f"llama-server did not start: {log.read_text(errors='replace')[-2000:]}")


def test_the_same_answers_as_the_embedded_engine_when_greedy(url: str) -> None:
    chosen = bundles.find()
    roles, settings = chosen.contents.roles, LoopSettings(rounds=1)
    own_options = LlamaOptions(threads=THREADS, batch=BATCH)
    texts = [problem.question for problem in islice(Bank(load(), seed=5), PROBLEMS)]
    wanted = Wanted({role: roles.of(role).adapter for role in Role}, {})
    with EndpointEngine(url, wanted, Options(in_flight=1)) as engine:
        served = list(parallel.solve_all(texts, engine, roles, settings, window=1))
    with LlamaEngine(chosen.base(), chosen.adapters(), own_options) as engine:
        own = list(batch.solve_all(texts, engine, roles, settings, window=1))
    assert [shown(t) for t in served] == [shown(t) for t in own]


def shown(outcome: object) -> tuple[object, ...]:
    """How it ended, what both systems answer, and all that was written."""
    assert isinstance(outcome, Trace)
    (drawn,) = outcome.rounds
    answers = (getattr(s.answer, "shown", None) for s in drawn.samples)
    written = drawn.as_dict()
    return (outcome.status, *answers, drawn.rules, *(written[r]["text"] for r in Role))
