"""LlamaEngine where something goes wrong in the middle, by faults that llama.cpp itself makes."""

import ctypes
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import llama_cpp
import pytest

from lorid_local.engine import Completion, Part, Request, Role
from lorid_local.errors import EngineError
from lorid_local.llama import LlamaEngine, Options
from tests.tiny import tiny_llama_gguf

TEXTS = ("Tom has 3 eggs", "A dog has 4 legs", "Ann", "x" * 90)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[LlamaEngine]:
    with LlamaEngine(tiny_llama_gguf(tmp_path / "b.gguf"), options=Options(threads=1)) as made:
        yield made


def ask(text: str = TEXTS[0], seed: int = 0, **settings: Any) -> Request:
    settings = {"max_tokens": 20, "temperature": 1.0} | settings
    return Request(Role.IR, (Part(text),), seed=seed, **settings)


ALL = [ask(text, seed) for seed, text in enumerate(TEXTS, 10)]


class Faults:
    """Makes chosen decodes fail, through llama.cpp's abort callback; counts them from 1."""

    def __init__(self, engine: LlamaEngine, fails: Callable[[int, int], bool]) -> None:
        self.context = engine._states[Role.IR].context
        self.fails, self.decodes, self.failing = fails, 0, False
        self.callback = llama_cpp.ggml_abort_callback(lambda _: self.failing)
        llama_cpp.llama_set_abort_callback(self.context.handle, self.callback, None)
        self.real = self.context.decode
        self.context.decode = self.decode  # type: ignore[method-assign]  # only counts

    def decode(self, slots: Any) -> None:
        self.decodes += 1
        self.failing = self.fails(self.decodes, len({s.sequence for s in slots}))
        self.real(slots)

    def mend(self) -> None:
        self.fails = lambda number, width: False


def test_a_failed_decode_of_a_batch_costs_no_sample(engine: LlamaEngine) -> None:
    whole = engine.generate(ALL)
    faults = Faults(engine, lambda number, width: width > 1 and number % 5 == 0)
    assert engine.generate(ALL) == whole
    assert faults.decodes > 40


def test_a_sample_that_cannot_be_decoded_leaves_the_others(engine: LlamaEngine) -> None:
    whole = engine.generate(ALL)
    bad: list[int] = []

    def fails(number: int, width: int) -> bool:
        # the first batch of four fails, and of its samples the second one
        if width == 4 and not bad:
            bad.append(number)
            return True
        return bool(bad) and number == bad[0] + 2

    Faults(engine, fails)
    done = engine.generate(ALL)
    assert [c.finish_reason for c in done].count("failed") == 1
    assert [c for c in done if c.finish_reason != "failed"] == [
        w for c, w in zip(done, whole, strict=True) if c.finish_reason != "failed"
    ]


def test_a_prompt_that_cannot_be_read_fails_alone(engine: LlamaEngine) -> None:
    whole = engine.generate(ALL)
    engine.generate([ask("z", max_tokens=1)])
    Faults(engine, lambda number, width: number == 1)
    done = engine.generate(ALL)
    assert sorted(c.finish_reason for c in done).count("failed") == 1
    failed = next(i for i, c in enumerate(done) if c.finish_reason == "failed")
    assert done[failed] == Completion("", "failed", 0)
    assert [*done[:failed], *done[failed + 1 :]] == [*whole[:failed], *whole[failed + 1 :]]


def test_if_nothing_can_be_decoded_the_error_is_raised_and_the_engine_stays_usable(
    engine: LlamaEngine,
) -> None:
    whole = engine.generate(ALL)
    faults = Faults(engine, lambda number, width: True)
    with pytest.raises(EngineError) as raised:
        engine.generate(ALL)
    assert raised.value.message.startswith("llama.cpp failed to decode (code 2: ")
    faults.mend()
    assert engine.generate(ALL) == whole


def test_logits_that_are_not_numbers_fail_one_sample(engine: LlamaEngine) -> None:
    whole = engine.generate(ALL)
    context = engine._states[Role.IR].context
    real, calls = context.logits, []

    def logits(index: int) -> Any:
        values = real(index)
        calls.append(index)
        if len(calls) == 3:
            ctypes.memset(values.ctypes.data, 0xFF, 4)  # a NaN in llama.cpp's own memory
        return values

    context.logits = logits  # type: ignore[method-assign]
    done = engine.generate(ALL)
    assert [c.finish_reason for c in done].count("failed") == 1
    # the others run on in a smaller batch, whose rounding may tip over one draw
    assert sum(a == b for a, b in zip(done, whole, strict=True)) >= 2


def test_what_need_not_go_on_is_cancelled_at_once(engine: LlamaEngine) -> None:
    requests = [ask(seed=s, max_tokens=3 if s == 1 else 40) for s in range(4)]
    told: list[tuple[int, str]] = []

    def done(index: int, completion: Completion) -> list[int]:
        told.append((index, completion.finish_reason))
        return [0, 2] if index == 1 else []

    completions = engine.generate(requests, on_done=done)
    reasons = [c.finish_reason for c in completions]
    assert reasons[:3] == ["cancelled", "length", "cancelled"]
    assert told == [(1, "length"), (3, reasons[3])]
    assert completions[0].tokens == completions[2].tokens == 3
    assert completions[3].tokens > 3


def test_what_waits_for_a_place_is_dropped_too(tmp_path: Path) -> None:
    base = tiny_llama_gguf(tmp_path / "b.gguf")
    with LlamaEngine(base, options=Options(threads=1, width=1)) as narrow:
        done = narrow.generate([ask(seed=s) for s in range(3)], on_done=lambda i, c: range(3))
    assert [(c.finish_reason, bool(c.tokens)) for c in done][1:] == [("cancelled", False)] * 2


def test_a_thousand_calls_do_not_grow_in_memory(engine: LlamaEngine) -> None:
    def resident() -> int:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
        raise AssertionError("no VmRSS")

    if not Path("/proc/self/status").exists():
        pytest.skip("needs Linux's /proc")
    for n in range(200):
        engine.generate([ask(seed=n, max_tokens=4)])
    before = resident()
    for n in range(1000):
        engine.generate([ask(seed=n, max_tokens=4), ask("Ann", seed=n, max_tokens=4)])
    assert resident() - before < 4096  # KiB
