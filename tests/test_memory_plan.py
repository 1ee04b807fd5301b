"""The memory plan: what llama.cpp takes, what the machine has, and what is said of it."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from lorid_local.engine import Part, Request, Role
from lorid_local.gguf_header import read_header
from lorid_local.kv_cache import MIB, Layout, kv_bytes
from lorid_local.llama import LlamaEngine, Options
from lorid_local.memory_plan import (
    PROBLEM_TOKENS,
    Machine,
    Memory,
    Plan,
    Room,
    Verdict,
    look,
    machine,
    needed,
    peak,
)
from tests.test_engine_loading import write_lora
from tests.tiny import tiny_llama_gguf

TOKENS = {Role.IR: 30, Role.KG: 50, Role.DR: 60}
ONE = Plan(2, 40.0, 100.0, 0.0, 30.0, (
    Room(Role.IR, 256, 6.0, 1.0), Room(Role.KG, 512, 12.0, 2.0), Room(Role.DR, 512, 12.5, 2.5),
))  # fmt: skip
MANY = replace(ONE, width=16, rooms=(Room(Role.IR, 4096, 96.0, 4.0),) * 3)


def test_sums() -> None:
    assert ONE.shared == 170.0
    assert ONE.total == 206.0
    assert ONE.low_memory == 185.0  # the largest role's context alone
    assert replace(ONE, single=9.0).low_memory == 179.0
    unknown = replace(ONE, own=None, rooms=(Room(Role.IR, 9, None, None),))
    assert unknown.total == 130.0


@pytest.mark.parametrize(
    ("has", "verdict"),
    [
        (
            Machine(900.0, 800.0),
            Verdict(True, "enough: 206 MiB needed, 470 MiB for a file of problems, 800 MiB free"),
        ),
        (
            Machine(900.0, 300.5),
            Verdict(
                True,
                "enough, but not for a file of problems: 206 MiB needed, 470 MiB for a file of "
                "problems, 301 MiB free",
                "lorid solve --low-memory --file takes 270 MiB",
            ),
        ),
        (
            Machine(900.0, 190.0),
            Verdict(
                False,
                "not enough: 206 MiB needed, 470 MiB for a file of problems, 190 MiB free",
                "lorid solve --low-memory takes 185 MiB",
            ),
        ),
        (
            Machine(900.0, 100.0),
            Verdict(
                False,
                "not enough: 206 MiB needed, 470 MiB for a file of problems, 100 MiB free",
                "end other programs, or give a smaller base with -m",
            ),
        ),
        (
            Machine(150.0, None),
            Verdict(
                False,
                "not enough: 206 MiB needed, 470 MiB for a file of problems, 150 MiB in all",
                "end other programs, or give a smaller base with -m",
            ),
        ),
        (
            Machine(900.0, None),
            Verdict(
                None,
                "206 MiB needed, 470 MiB for a file of problems; how much of 900 MiB is free is "
                "not known here",
            ),
        ),
        (
            Machine(None, None),
            Verdict(
                None,
                "206 MiB needed, 470 MiB for a file of problems; how much is free is not known "
                "here",
            ),
        ),
    ],
)
def test_verdicts(has: Machine, verdict: Verdict) -> None:
    assert Memory(ONE, MANY, has).verdict() == verdict


def test_a_row_for_each_part() -> None:
    rows = list(Memory(ONE, MANY, Machine(None, None)).rows())
    assert rows[0] == ("", "one problem, 2 at once", "--file, 16 at once")
    assert rows[1] == ("Python and libraries", "40.0", "40.0")
    assert ("ir: KV cache of 256 / 4096 tokens", "6.0", "96.0") in rows
    assert rows[-2:] == [("sum", "206.0", "470.0"), ("sum with --low-memory", "185.0", "270.0")]
    assert "base, copied by llama.cpp" not in {row[0] for row in rows}
    copied = Memory(replace(ONE, copied=90.0), replace(MANY, copied=90.0), Machine(None, None))
    assert ("base, copied by llama.cpp", "90.0", "90.0") in list(copied.rows())
    unknown = replace(ONE, own=None, rooms=(Room(Role.IR, 9, None, None),) * 3)
    assert list(Memory(unknown, MANY, Machine(None, None)).rows())[3][1] == "not measured"


def test_as_data() -> None:
    data = Memory(ONE, MANY, Machine(900.126, None)).as_dict()
    assert (data["total_mib"], data["free_mib"], data["enough"]) == (900.13, None, None)
    assert data["one_problem"]["roles"]["kg"] == {
        "cells": 512, "kv_mib": 12.0, "compute_mib": 2.0
    }  # fmt: skip
    assert data["file"]["total_mib"] == 470.0 and data["file"]["low_memory_mib"] == 270.0


def test_rounds_of_one_problem_share_their_prompt() -> None:
    # 120 + 4 x 30, in steps of 256
    assert needed(Role.IR, TOKENS, 4, one_problem=True).together == 256
    assert needed(Role.IR, TOKENS, 4, one_problem=False).together == 768  # 120 + 4 x (120 + 30)
    # DR's prompt holds the rules, which differ
    assert needed(Role.DR, TOKENS, 4, one_problem=True).together == 1280  # 170 + 4 x (170 + 60)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama_gguf(tmp_path_factory.mktemp("plan") / "base.gguf")


def test_the_plan_is_what_llama_cpp_takes(base: Path, tmp_path: Path) -> None:
    lora = write_lora(tmp_path / "ir.gguf")
    with LlamaEngine(base, {Role.IR: lora}, Options(threads=1)) as engine:
        memory = look(engine, read_header(base), [lora], TOKENS, 4, 50.0)
        room = memory.one.rooms[0]
        text = "x" * (PROBLEM_TOKENS - 1)
        request = Request(Role.IR, (Part(text),), TOKENS[Role.IR], temperature=1.0)
        engine.generate([replace(request, seed=seed) for seed in range(4)])
        used = engine._states[Role.IR].context
    assert (used.layout.total, used.layout.sequences) == (room.cells, 4 + 1)
    computed = kv_bytes(read_header(base), room.cells)
    assert computed and room.kv == pytest.approx(computed / MIB, abs=0.01)
    assert room.compute and room.compute > 0
    assert (memory.one.width, memory.many.width) == (4, 16)
    assert memory.one.base == base.stat().st_size / MIB
    assert memory.one.adapters == lora.stat().st_size / MIB
    assert memory.one.own == 50.0


def test_low_memory_takes_one_cache_without_streams(base: Path) -> None:
    with LlamaEngine(base, options=Options(threads=1)) as engine:
        many = look(engine, read_header(base), [], TOKENS, 1, 50.0).many
        assert engine.layout(needed(Role.KG, TOKENS, 16, one_problem=False)).streams
    largest = needed(Role.DR, TOKENS, 16, one_problem=False)
    with LlamaEngine(base, options=Options(threads=1, low_memory=True)) as engine:
        layout = engine.layout(largest)
        taken = sum(engine.buffers(layout).values())
    assert layout == Layout(largest.together, 17)
    assert many.low_memory == pytest.approx(many.shared + taken, abs=0.5)


def test_a_context_too_large_to_try_is_computed(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lorid_local.memory_plan.machine", lambda: Machine(2.0, 0.001))
    with LlamaEngine(base, options=Options(threads=1)) as engine:
        monkeypatch.setattr(engine, "buffers", None)  # not to be called
        room = look(engine, read_header(base), [], TOKENS, 1, None).one.rooms[0]
    computed = kv_bytes(read_header(base), room.cells)
    assert computed and (room.kv, room.compute) == (computed / MIB, None)


def test_the_machines_memory_is_read(tmp_path: Path) -> None:
    file = tmp_path / "meminfo"
    file.write_text("MemTotal:  2048 kB\nMemFree: 10 kB\nMemAvailable:  1024 kB\n")
    assert machine(file) == Machine(2.0, 1.0)


@pytest.mark.parametrize("text", ["", "MemTotal: 2048 kB\n", "MemTotal: x\nMemAvailable: 2 kB\n"])
def test_where_nothing_tells_what_is_free(tmp_path: Path, text: str) -> None:
    (tmp_path / "meminfo").write_text(text)
    for file in (tmp_path / "meminfo", tmp_path / "none"):
        found = machine(file)
        assert found.free is None and (found.total is None or found.total > 64)


@pytest.mark.skipif(sys.platform == "win32", reason="needs getrusage")
def test_the_peak_is_what_was_once_held() -> None:
    before = peak()
    held = bytearray(b"x" * (64 * MIB))
    after = peak()
    assert before is not None and after is not None
    assert after >= max(before, 64 + 10) and len(held) == 64 * MIB
