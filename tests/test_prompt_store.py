"""Prompts that come again are not read again, and what is written behind them is the same."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lorid_local.engine import Completion, Part, Request, Role
from lorid_local.llama import LlamaEngine, Options
from lorid_local.llama_native import Context
from lorid_local.prompt_store import WORTH, Found, PromptStore, common
from tests.test_engine_loading import write_lora
from tests.test_kv_cache import begin_alike
from tests.tiny import tiny_llama_gguf

TEXTS = [f"{name} has " + "eggs and apples and pears, " * 3 for name in ("Tom", "Ann", "Bo")]


@dataclass(frozen=True)
class State:
    nbytes: int


def body(problem: int, rules: int = 0) -> list[int]:
    """A frame of 10 tokens, 60 of a problem, 40 of rules."""
    return [*range(10), *[100 + problem] * 60, *[200 + rules] * 40]


def filled(limit: int, problems: int) -> PromptStore[State]:
    store = PromptStore[State](limit)
    for i in range(problems):
        assert store.wants(body(i), body(i + 1))
        store.keep(body(i), State(10 + i))
    return store


def test_what_two_begin_with() -> None:
    assert common([1, 2, 3], [1, 2, 4]) == 2
    assert common([1, 2], [1, 2, 4]) == common([1, 2, 4], [1, 2]) == 2
    assert common([], [1]) == common([1], [2]) == 0


def test_the_entry_that_begins_most_alike_is_found() -> None:
    store = filled(1000, 3)
    assert store.bytes == 33
    assert store.nearest(body(1, rules=5)) == Found(70, State(11))
    assert PromptStore[State](9).nearest(body(1)) is None


def test_a_prompt_is_worth_an_entry_where_another_problem_comes() -> None:
    store = PromptStore[State](1000)
    assert not store.wants([], body(0))
    assert store.wants(body(0), body(1))
    assert not store.wants(body(1), body(1, rules=3))  # which keeps what both begin with
    assert not store.wants(body(1), body(1))
    assert not store.wants([*range(10), *[7] * (WORTH - 1)], body(1))
    assert store.wants([*range(10), *[7] * WORTH], body(1))
    assert not PromptStore[State](0).wants(body(0), body(1))


def test_a_problem_has_one_entry() -> None:
    store = filled(1000, 2)
    store.keep(body(1, rules=9), State(50))
    assert store.bytes == 60
    assert store.nearest(body(1, rules=1)) == Found(70, State(50))
    assert store.nearest(body(1, rules=9)) == Found(110, State(50))


def test_what_was_longest_not_asked_for_goes_first() -> None:
    store = filled(33, 3)
    assert store.nearest(body(0))
    store.keep(body(3), State(11))
    assert store.bytes == 33
    kept = [store.nearest(body(i)) for i in range(4)]
    assert [found and found.same for found in kept] == [110, 10, 110, 110]
    store.keep(body(4), State(34))  # more than there is room for
    assert store.bytes == 0 and store.nearest(body(4)) is None


# --- in the engine


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama_gguf(tmp_path_factory.mktemp("store") / "base.gguf")


@pytest.fixture
def made(base: Path, tmp_path: Path) -> Iterator[Callable[..., LlamaEngine]]:
    engines: list[LlamaEngine] = []
    lora = write_lora(tmp_path / "ir.gguf")

    def make(**options: Any) -> LlamaEngine:
        options = {"threads": 1, "width": 4, "prompt_mib": 1} | options
        engines.append(LlamaEngine(base, {Role.IR: lora}, Options(**options)))
        return engines[-1]

    yield make
    for engine in engines:
        engine.close()


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many prompt tokens each decode read."""
    found: list[int] = []
    decode = Context.decode

    def counted(context: Context, slots: Any) -> None:
        if not any(slot.wanted for slot in slots):
            found.append(len(slots))
        decode(context, slots)

    monkeypatch.setattr(Context, "decode", counted)
    return found


def ask(text: str, tokens: int = 12) -> Request:
    return Request(Role.IR, (Part(text),), tokens, 1, 1.0)


def drawn(engine: LlamaEngine, texts: list[str], tokens: int = 12) -> list[Completion]:
    return engine.generate([ask(text, tokens) for text in texts])


@pytest.mark.parametrize("options", [{}, {"stream_mib": 0}, {"kv_type": "f16", "width": 1}])
def test_a_prompt_is_read_once(
    made: Callable[..., LlamaEngine], read: list[int], options: dict[str, Any]
) -> None:
    engine = made(**options)
    first = drawn(engine, TEXTS)
    once = sum(read)
    again = [drawn(engine, TEXTS), drawn(engine, TEXTS[::-1])[::-1]]
    assert again == [first, first]
    assert sum(read) == once
    other = made(**options, prompt_mib=0)
    read.clear()
    assert [drawn(other, TEXTS) for _ in range(2)] == [first] * 2
    assert sum(read) > 1.8 * once


def test_what_begins_alike_is_read_from_there(
    made: Callable[..., LlamaEngine], read: list[int]
) -> None:
    engine = made()
    drawn(engine, [text + "first rules, of some length" for text in TEXTS])
    read.clear()
    rules = [text + "other rules" for text in TEXTS]
    found = drawn(engine, rules)
    assert 0 < max(read) <= len("other rules")
    assert found == drawn(made(prompt_mib=0), rules)


def test_streams_too(made: Callable[..., LlamaEngine], read: list[int]) -> None:
    engine = made(width=8)
    many = [f"{i} {TEXTS[0]}" for i in range(10)]
    first = drawn(engine, many, 200)
    assert engine._states[Role.IR].context.layout.streams
    read.clear()
    # each sample of a prompt, and those behind one that is read between
    for texts in (many, [*many[:3], *many[:3]], many[5:], many):
        expected = drawn(made(width=8, prompt_mib=0), texts, 200)
        read.clear()
        assert begin_alike(drawn(engine, texts, 200), expected)
        assert len(read) <= 1
    mixed = [*many[:2], "Eve" + TEXTS[1], *many[2:4], "Sue" + TEXTS[2]]
    expected = drawn(made(width=8, prompt_mib=0), mixed, 200)
    assert begin_alike(drawn(engine, mixed, 200), expected)
    assert begin_alike(drawn(engine, many, 200), first)


def test_where_there_is_no_room_the_prompt_is_read(
    made: Callable[..., LlamaEngine], read: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = made()
    first = drawn(engine, TEXTS)
    state = Context.state
    # what no cache has room for, and what llama.cpp does not take
    for damage in (lambda s: s[:40], lambda s: np.zeros_like(s)):
        engine = made()
        monkeypatch.setattr(Context, "state", lambda *a, damage=damage: damage(state(*a)))
        assert drawn(engine, TEXTS) == first
        read.clear()
        assert drawn(engine, TEXTS) == first and len(read) >= 2


def test_low_memory_and_one_problem_keep_nothing(made: Callable[..., LlamaEngine]) -> None:
    for engine in (made(low_memory=True), made(prompt_mib=0)):
        drawn(engine, TEXTS)
        (state,) = engine._states.values()
        assert state.store.bytes == 0 < len(state.kept)
