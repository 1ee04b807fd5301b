"""Loop and llama.cpp together where something lasts too long, fills up or happens twice at once."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lorid_local import bundle
from lorid_local.answers import Answer
from lorid_local.batch import solve_all
from lorid_local.engine import Part, Request, Role
from lorid_local.errors import EngineError
from lorid_local.kv_cache import Layout
from lorid_local.llama import LlamaEngine, Options
from lorid_local.llama_native import Slot
from lorid_local.loop import LoopSettings, RoleSettings, RoleTable, finish, solve
from lorid_local.trace import Trace
from tests.test_cli import START, answering_gguf, environment, lorid
from tests.test_doctor import write_bundle
from tests.tiny import CONTEXT, tiny_llama_gguf

ASKED = RoleSettings("plain-1", 24)
TABLE = RoleTable(ASKED, ASKED, ASKED)
ONE_ROUND = LoopSettings(rounds=1)
SOLVES = 1000
STATUS = Path("/proc/self/status")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("solving")


@pytest.fixture(scope="module")
def five(folder: Path) -> Iterator[LlamaEngine]:
    """An engine that answers 5 to everything."""
    with LlamaEngine(answering_gguf(folder / "five.gguf"), options=Options(threads=1)) as made:
        yield made


@pytest.fixture
def babbling(folder: Path) -> Iterator[LlamaEngine]:
    with LlamaEngine(tiny_llama_gguf(folder / "any.gguf"), options=Options(threads=1)) as made:
        yield made


def resident() -> int:
    """Return the KiB that this process holds."""
    lines = STATUS.read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))


def solved(engine: LlamaEngine, question: str, settings: LoopSettings, **more: Any) -> Trace:
    return finish(solve(question, engine, TABLE, settings, **more), lambda event: None)


# --- for long


@pytest.mark.skipif(not STATUS.exists(), reason="needs Linux's /proc")
def test_a_thousand_solves_do_not_grow_in_memory(five: LlamaEngine) -> None:
    def some(count: int) -> None:
        for n in range(count // 2):
            assert solved(five, f"{n} + {n}", ONE_ROUND).status == "agreed"
        questions = (f"{n} - {n}" for n in range(count // 2))
        traces = list(solve_all(questions, five, TABLE, ONE_ROUND))
        assert {trace.status for trace in traces if isinstance(trace, Trace)} == {"agreed"}

    some(SOLVES // 4)  # contexts are as large as they get, buffers are made
    before = resident()
    some(SOLVES)
    assert resident() - before < 2048  # KiB; a leak of a trace a solve would be five times that


@pytest.mark.skipif(not STATUS.exists(), reason="needs Linux's /proc")
def test_engines_that_come_and_go_leave_no_memory(folder: Path) -> None:
    base = tiny_llama_gguf(folder / "large.gguf", hidden=256, ffn=512)  # 4.6 MB

    def some(count: int) -> None:
        for _ in range(count):
            with LlamaEngine(base, options=Options(threads=1)) as engine:
                engine.generate([Request(Role.IR, (Part("2 + 2"),), 2)])

    some(5)
    before = resident()
    some(20)
    assert resident() - before < 8192  # KiB; twenty bases would be 92 MB


# --- without an end, and full


def test_a_sample_that_never_stops_ends_where_its_room_does(babbling: LlamaEngine) -> None:
    prompt = "x" * 100
    endless = Request(Role.IR, (Part(prompt),), CONTEXT - 100, seed=3, temperature=5.0)
    lengths = set()
    for seed in range(40):
        (done,) = babbling.generate([Request(**(vars(endless) | {"seed": seed}))])
        lengths.add((done.finish_reason, done.tokens))
    assert ("length", CONTEXT - 100) in lengths
    assert max(tokens for _, tokens in lengths) == CONTEXT - 100


def test_samples_that_never_stop_do_not_vote(babbling: LlamaEngine) -> None:
    short = RoleSettings("plain-1", 3)
    settings = LoopSettings(rounds=4)
    events = solve("2 + 2", babbling, RoleTable(short, short, short), settings)
    trace = finish(events, lambda event: None)
    assert (trace.status, len(trace.rounds)) == ("no-agreement", 4)
    samples = [sample for drawn in trace.rounds for sample in drawn.samples]
    assert "length" in {sample.finish_reason for sample in samples}
    assert not [s for s in samples if s.finish_reason == "length" and isinstance(s.answer, Answer)]


EIGHT = [Request(Role.IR, (Part("2 + 2"),), 60, seed=s, temperature=1.0) for s in range(8)]


def fill(engine: LlamaEngine, left: int) -> None:
    """Take all but `left` of the context's cells, which `generate` counts on."""
    context, state = engine._states[Role.IR].context, engine._states[Role.IR]
    context.clear()
    state.kept = []
    for at in range(context.layout.cells - left):
        context.decode([Slot(5, at, context.layout.sequences - 1, False)])


def test_a_context_that_is_full_costs_no_more_than_it_must(babbling: LlamaEngine) -> None:
    whole = babbling.generate(EIGHT)
    assert babbling._states[Role.IR].context.layout == Layout(512, 9)
    fill(babbling, 160)
    done = babbling.generate(EIGHT[:6])
    reasons = [completion.finish_reason for completion in done]
    assert 1 <= reasons.count("failed") <= 3  # those who fail make room for the others
    for cut, complete in zip(done, whole, strict=False):
        assert cut.text[:8] == complete.text[:8]  # later another batch's rounding may show
    fill(babbling, 512)  # nothing is taken any more
    assert babbling.generate(EIGHT) == whole


def test_a_context_that_is_full_for_all_says_so(babbling: LlamaEngine) -> None:
    babbling.generate(EIGHT)
    fill(babbling, 8)
    with pytest.raises(EngineError) as raised:
        babbling.generate(EIGHT[:2])
    assert raised.value.message == "the context of 512 tokens is full"
    assert raised.value.hint == "raise -c/--ctx-size or lower -n/--n-predict"


# --- cancelled


@pytest.mark.parametrize("calls", [0, 1, 5, 9, 14, 30])
def test_a_cancelled_solve_leaves_the_engine_usable(babbling: LlamaEngine, calls: int) -> None:
    whole = solved(babbling, "2 + 2", ONE_ROUND)
    asked: list[int] = []

    def cancelled() -> bool:
        asked.append(1)
        return len(asked) > calls

    assert solved(babbling, "2 + 2", ONE_ROUND, cancelled=cancelled).status == "interrupted"
    again = solved(babbling, "2 + 2", ONE_ROUND)
    assert [r.samples for r in again.rounds] == [r.samples for r in whole.rounds]


# --- two at once


def test_two_processes_that_solve_at_once(tmp_path: Path) -> None:
    """Both find no base in the cache, derive it, and draw what one alone draws."""
    folder = write_bundle(tmp_path, "q8_0")
    command = [*START, "solve", "--bundle", str(folder), "--json", "-r", "3", "2 + 2"]
    both = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                         stdin=subprocess.DEVNULL, env=environment())
        for _ in range(2)
    ]  # fmt: skip
    told = [process.communicate(timeout=60) for process in both]
    assert [process.returncode for process in both] == [3, 3]
    assert all(b"Traceback" not in errors for _, errors in told)
    alone = lorid("solve", "--bundle", folder, "--json", "-r", "3", "2 + 2", stdin=b"")
    traces = [json.loads(text) for text in (*(out for out, _ in told), alone.stdout)]
    assert all(trace["rounds"] == traces[0]["rounds"] for trace in traces)
    assert bundle.find(str(folder)).contents.base_type == "q8_0"
    assert len(list((tmp_path / "home" / "cache" / "lorid" / "bases").iterdir())) == 1
