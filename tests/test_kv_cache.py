"""How a KV cache is laid out, and that samples say the same in either layout."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lorid_local.engine import Completion, Part, Request, Role
from lorid_local.gguf_header import Header
from lorid_local.kv_cache import Layout, Need, kv_bytes, need
from lorid_local.llama import LlamaEngine, Options
from lorid_local.llama_native import Context, Slot
from tests.tiny import tiny_llama_gguf

WIDTH = 6
TOKENS = 200  # of a sample: six of them make the engine take streams


def header(**metadata: object) -> Header:
    """Return a header of 2 layers with 4 heads of 16, changed."""
    known: dict[str, object] = {"block_count": 2, "attention.head_count": 4, "embedding_length": 64}
    changed = {f"llama.{k.replace('__', '.')}": v for k, v in metadata.items()}
    keys = {f"llama.{k}": v for k, v in known.items()} | changed
    return Header(Path("x"), {"general.architecture": "llama", **keys}, {}, 0)


def test_keys_and_values_are_computed_from_the_header() -> None:
    assert kv_bytes(header(), 10) == 2 * 4 * (16 + 16) * 2 * 10
    assert kv_bytes(header(attention__head_count_kv=1), 10) == 2 * 1 * 32 * 2 * 10
    assert kv_bytes(header(attention__head_count_kv=(1, 4)), 10) == 5 * 32 * 2 * 10
    assert kv_bytes(header(attention__key_length=8), 1) == 2 * 4 * (8 + 16) * 2
    assert kv_bytes(header(block_count="two"), 1) is None
    assert kv_bytes(header(embedding_length=None), 1) is None
    assert kv_bytes(header(attention__head_count_kv="many"), 1) is None


def requests(max_tokens: int, count: int) -> list[Request]:
    return [Request(Role.IR, (), max_tokens)] * count


def test_what_is_needed_is_counted_by_hand() -> None:
    shared = [[1] * 100] * 4
    assert need(requests(30, 4), shared, 4) == Need(256, 256, 5)  # 130; 100 + 4 x 30
    assert need(requests(60, 4), shared, 4) == Need(256, 512, 5)  # 160; 100 + 4 x 60
    assert need(requests(60, 4), shared, 2) == Need(256, 256, 3)  # 100 + 2 x 60
    apart = [[1] * 100, [2] * 300]
    assert need(requests(60, 2), apart, 2) == Need(512, 1024, 3)  # 360; 300 + 160 + 360
    assert need(requests(60, 2), apart, 1) == Need(512, 768, 2)  # 300 + 360


def test_streams_are_taken_where_a_shared_cache_would_be_mostly_the_others() -> None:
    needed = Need(longest=512, together=2048, sequences=17)
    assert needed.layout(512 * 17) == Layout(512, 17, streams=True)
    assert needed.layout(512 * 17).total == 512 * 17
    assert needed.layout(512 * 17 - 1) == Layout(2048, 17)  # they would take too much memory
    assert needed.layout(512 * 17 - 1).total == 2048
    assert Need(512, 1792, 17).layout(512 * 17) == Layout(1792, 17)


def test_a_cache_is_kept_while_the_next_samples_fit() -> None:
    unified, streams = Layout(1024, 5), Layout(512, 5, streams=True)
    assert Need(256, 1024, 5).fits(unified) and Need(512, 9999, 5).fits(streams)
    assert not Need(256, 1280, 5).fits(unified) and not Need(768, 768, 2).fits(streams)
    assert not Need(256, 256, 6).fits(unified) and not Need(256, 256, 6).fits(streams)
    assert Need(256, 1280, 2).joined(Need(768, 768, 5)) == Need(768, 1280, 5)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama_gguf(tmp_path_factory.mktemp("kv") / "base.gguf")


@pytest.fixture
def made(base: Path) -> Iterator[Callable[..., LlamaEngine]]:
    engines: list[LlamaEngine] = []

    def make(**options: Any) -> LlamaEngine:
        engines.append(LlamaEngine(base, options=Options(threads=1, width=WIDTH, **options)))
        return engines[-1]

    yield make
    for engine in engines:
        engine.close()


def ask(text: str, seed: int, **settings: Any) -> Request:
    settings = {"max_tokens": TOKENS, "temperature": 1.0} | settings
    return Request(Role.IR, (Part(text),), seed=seed, **settings)


def context(engine: LlamaEngine) -> Context:
    return engine._states[Role.IR].context


class Decodes:
    """Counts what a context decodes and where."""

    def __init__(self, watched: Context) -> None:
        self.decode = watched.decode
        self.batches: list[list[Slot]] = []
        watched.decode = self  # type: ignore[method-assign]

    def __call__(self, slots: Any) -> None:
        self.batches.append(list(slots))
        self.decode(slots)


def alone(engine: LlamaEngine, asked: list[Request]) -> list[Completion]:
    return [engine.generate([request])[0] for request in asked]


def begin_alike(left: list[Completion], right: list[Completion], length: int = 12) -> bool:
    """True if all begin with the same text. Later, another order of sums may tip a draw over."""
    return all(a.text[:length] == b.text[:length] for a, b in zip(left, right, strict=True))


@pytest.mark.parametrize("text", ["Tom has 3 eggs", "Tom has 3 eggs and {}"])
def test_streams_say_what_the_unified_cache_says(
    made: Callable[..., LlamaEngine], text: str
) -> None:
    asked = [ask(text.format(seed), seed) for seed in range(15)]
    streams, unified = made(), made(stream_mib=0)
    found = streams.generate(asked)
    assert context(streams).layout == Layout(256, WIDTH + 1, streams=True)
    assert begin_alike(found, unified.generate(asked))
    assert not context(unified).layout.streams
    assert begin_alike(found, alone(made(), asked))
    assert found == made().generate(asked)


def test_greedy_samples_of_streams_are_those_of_a_single_one(
    made: Callable[..., LlamaEngine],
) -> None:
    asked = [ask(f"{n} eggs", n, temperature=0.0) for n in range(12)]
    streams = made()
    assert begin_alike(streams.generate(asked), alone(made(), asked), 40)
    assert context(streams).layout.streams


def test_low_memory_takes_no_streams(base: Path) -> None:
    with LlamaEngine(base, options=Options(threads=1, width=WIDTH, low_memory=True)) as engine:
        engine.generate([ask("2 + 2", seed) for seed in range(WIDTH)])
        assert not engine._states[None].context.layout.streams


def test_streams_that_end_leave_no_gap(made: Callable[..., LlamaEngine]) -> None:
    """llama.cpp computes in one pass only streams that follow one another."""
    engine = made()
    lengths = [20, TOKENS, 5, 40, 3, TOKENS, 60]
    asked = [ask("2 + 2", seed, max_tokens=n) for seed, n in enumerate(lengths)]
    first = engine.generate([ask("2 + 2", 0)] * WIDTH)  # makes the context
    watched = Decodes(context(engine))
    done = engine.generate(asked)
    assert begin_alike(done, alone(made(), asked), 40)
    assert [c.tokens for c in done][:5] == [20, done[1].tokens, 5, 40, 3] and first
    widths = set()
    for batch in watched.batches:
        sequences = [slot.sequence for slot in batch]
        assert sequences == list(range(1, len(batch) + 1))
        widths.add(len(batch))
    assert {1, WIDTH} <= widths


def test_a_stream_keeps_to_its_cells(made: Callable[..., LlamaEngine]) -> None:
    """A longer problem after many: the context is made anew, for the longer one in each stream."""
    engine = made()
    engine.generate([ask("2 + 2", seed) for seed in range(WIDTH)])
    long = ask("x" * 200, 1)
    assert begin_alike(engine.generate([long]), made().generate([long]))
    assert context(engine).layout == Layout(1280, WIDTH + 1)  # less than 4 times 512


def test_cancelled_streams_leave_the_engine_usable(made: Callable[..., LlamaEngine]) -> None:
    engine = made()
    asked = [ask(f"{seed} + 2", seed) for seed in range(10)]
    whole = engine.generate(asked)
    for after in (1, 7, 40):
        calls = iter(range(after))
        cut = engine.generate(asked, cancelled=lambda left=calls: next(left, None) is None)
        assert {c.finish_reason for c in cut} >= {"cancelled"}
        assert begin_alike(engine.generate(asked), whole)
