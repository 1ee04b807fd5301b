"""LlamaEngine on a tiny random f32 model: real llama.cpp, made in the test, in milliseconds.

What it refuses to load is in test_engine_loading.py.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from numpy.typing import NDArray

from lorid_local.engine import Completion, Part, Request, Role
from lorid_local.errors import ContextOverflow, EngineError
from lorid_local.kv_cache import Layout
from lorid_local.llama import LlamaEngine, Options
from lorid_local.llama_native import Context, Model, Slot
from lorid_local.sampler import Sampler
from tests.tiny import CONTEXT, SPECIAL, byte_letters, tiny_llama_gguf

EGGS = "Tom has 3 eggs"
SEEDS = range(8)
LONG = "x" * 400  # 400 tokens: the tiny tokenizer has no merges of x


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama_gguf(tmp_path_factory.mktemp("engine") / "base.gguf")


@pytest.fixture(scope="session")
def shared(base: Path) -> Iterator[LlamaEngine]:
    """One engine for the tests that leave it as it was, which is nearly all of them."""
    with LlamaEngine(base, options=Options(threads=1)) as engine:
        yield engine


@pytest.fixture
def fresh(base: Path) -> Iterator[Callable[..., LlamaEngine]]:
    """Make engines that nobody used before."""
    made: list[LlamaEngine] = []

    def make(**options: Any) -> LlamaEngine:
        made.append(LlamaEngine(base, options=Options(threads=1, **options)))
        return made[-1]

    yield make
    for engine in made:
        engine.close()


def ask(text: str = EGGS, seed: int = 0, **settings: Any) -> Request:
    settings = {"role": Role.IR, "max_tokens": 24, "temperature": 1.0} | settings
    prompt = (Part("<|im_start|>", special=True), Part(text))
    return Request(prompt=prompt, seed=seed, **settings)


def one_by_one(engine: LlamaEngine, requests: list[Request]) -> list[Completion]:
    return [engine.generate([request])[0] for request in requests]


def nearly_all_equal(left: list[Completion], right: list[Completion]) -> bool:
    """True if 4 of 5 samples are the same and all are as many.

    Where llama.cpp reuses freed cells, it sums attention (in f16) in another order: logits move
    by 0.003 of 3, and a draw may tip over. A wrong cell or position changes every text.
    """
    same = sum(a == b for a, b in zip(left, right, strict=True))
    return same >= 0.8 * len(left)


class Heard:
    """Collects streamed text by request."""

    def __init__(self) -> None:
        self.pieces: dict[int, list[str]] = {}

    def __call__(self, index: int, text: str) -> None:
        self.pieces.setdefault(index, []).append(text)

    def text(self, index: int) -> str:
        return "".join(self.pieces.get(index, []))


def test_greedy_is_the_same_every_time_and_whatever_the_seed(
    shared: LlamaEngine, fresh: Callable[..., LlamaEngine]
) -> None:
    first = shared.generate([ask(temperature=0.0, seed=1)])
    assert first == shared.generate([ask(temperature=0.0, seed=2)])
    assert first == fresh().generate([ask(temperature=0.0)])
    assert first[0].text and first[0].tokens == 24


def test_samples_of_one_call_equal_samples_drawn_one_at_a_time(shared: LlamaEngine) -> None:
    requests = [ask(seed=s) for s in SEEDS]
    assert shared.generate(requests) == one_by_one(shared, requests)


def test_each_request_has_its_own_seed(shared: LlamaEngine) -> None:
    texts = [c.text for c in shared.generate([ask(seed=s) for s in (5, 6, 5, 7)])]
    assert texts[0] == texts[2]
    assert len(set(texts)) == 3
    assert texts[0] == shared.generate([ask(seed=5)])[0].text


def test_requests_of_one_call_may_differ_in_everything_but_the_role(shared: LlamaEngine) -> None:
    requests = [
        ask(temperature=0.0),
        ask("A dog has 4 legs", seed=3, top_p=0.5),
        ask(seed=4, max_tokens=5),
        ask("A", seed=3, temperature=0.4),
        ask(EGGS + " and 2 apples", seed=9),
    ]
    done = shared.generate(requests)
    assert nearly_all_equal(done, one_by_one(shared, requests))
    assert [c.tokens for c in done][2] == 5


def test_no_requests_give_no_completions(shared: LlamaEngine) -> None:
    assert shared.generate([]) == []


@pytest.mark.parametrize("width", [1, 3])
def test_more_requests_than_width_all_return_in_order(
    fresh: Callable[..., LlamaEngine], shared: LlamaEngine, width: int
) -> None:
    requests = [ask(seed=s, max_tokens=3 + 7 * (s % 3)) for s in range(11)]
    heard = Heard()
    done = fresh(width=width).generate(requests, heard)
    assert nearly_all_equal(done, one_by_one(shared, requests))
    assert [heard.text(i) for i in range(11)] == [c.text for c in done]


def test_many_different_prompts_in_one_call(fresh: Callable[..., LlamaEngine]) -> None:
    prompts = [f"{'much ' * (n % 7)}problem {n}" for n in range(40)]
    requests = [ask(text, seed=n) for n, text in enumerate(prompts)]
    engine = fresh()
    assert nearly_all_equal(engine.generate(requests), one_by_one(engine, requests))


def test_prompts_that_fill_the_context_run_one_after_the_other(
    fresh: Callable[..., LlamaEngine],
) -> None:
    requests = [ask(letter * 480, max_tokens=31) for letter in "xyz"]
    engine = fresh(width=2)
    assert engine.generate(requests) == one_by_one(engine, requests)


def test_the_kept_prompt_changes_nothing(shared: LlamaEngine) -> None:
    request = ask(seed=1)
    first = shared.generate([request])
    for other in (EGGS, EGGS + " more", EGGS[:5], "z", LONG):
        shared.generate([ask(other, seed=s) for s in range(1 + len(other) % 5)])
        assert shared.generate([request]) == first
    shared.generate([ask("w", seed=s) for s in range(15)])
    assert shared.generate([request]) == first


def test_temperature_is_applied_before_top_p(base: Path) -> None:
    """By hand: the nucleus at T differs from the nucleus of the plain logits (see DESIGN 4)."""
    model = Model(base, 0)
    context = Context(model, Layout(256, 1), threads=1, batch=64)
    tokens = model.tokenize(EGGS, False)
    context.decode([Slot(t, i, 0, i == len(tokens) - 1) for i, t in enumerate(tokens)])
    logits = context.logits(len(tokens) - 1).copy()

    def drawn(temperature: float) -> set[int]:
        found = set()
        for seed in range(300):
            sampler = Sampler(temperature=temperature, top_p=0.6, seed=seed)
            found.add(sampler.draw(logits))
        return found

    cold, plain, hot = (nucleus(logits / t, 0.6) for t in (0.5, 1.0, 2.0))
    assert cold < plain < hot
    assert drawn(0.5) <= cold  # the other order would leave `cold`
    assert drawn(2.0) <= hot and drawn(2.0) - plain  # the other order could not leave `plain`
    context.close()
    model.close()


def nucleus(logits: NDArray[np.float64], top_p: float) -> set[int]:
    """Return the fewest tokens, likeliest first, whose probabilities reach `top_p`."""
    p = np.exp(logits - logits.max())
    order = np.argsort(-p)
    count = int(np.searchsorted(np.cumsum(p[order] / p.sum()), top_p)) + 1
    return {int(token) for token in order[:count]}


@pytest.mark.parametrize("length", [1, 3, 6])
def test_a_stop_string_ends_the_sample_and_is_never_shown(shared: LlamaEngine, length: int) -> None:
    for seed in SEEDS:
        whole = shared.generate([ask(seed=seed)])[0].text
        stop = whole[8 : 8 + length]
        heard = Heard()
        cut = shared.generate([ask(seed=seed, stop=("never", stop))], heard)[0]
        assert cut.text == whole[: whole.find(stop)]
        assert cut.finish_reason == "stop"
        assert heard.text(0) == cut.text


def test_a_stop_string_that_does_not_come_holds_nothing_back(shared: LlamaEngine) -> None:
    plain, heard = shared.generate([ask(seed=1)]), Heard()
    assert shared.generate([ask(seed=1, stop=("never here",))], heard) == plain
    assert heard.text(0) == plain[0].text


def test_a_sample_ends_with_the_end_token_or_with_its_length(shared: LlamaEngine) -> None:
    done = shared.generate([ask(seed=s, max_tokens=60) for s in range(32)])
    ends = {c.finish_reason for c in done}
    assert ends == {"stop", "length"}
    assert {c.tokens for c in done if c.finish_reason == "length"} == {60}
    assert all(c.tokens <= 60 for c in done if c.finish_reason == "stop")
    assert not any(special in c.text for c in done for special in SPECIAL)


def test_streamed_text_is_the_completions_text(shared: LlamaEngine) -> None:
    heard = Heard()
    done = shared.generate([ask(seed=s, max_tokens=40) for s in SEEDS], heard)
    assert [heard.text(i) for i in SEEDS] == [c.text for c in done]
    assert min(len(pieces) for pieces in heard.pieces.values()) > 1


@pytest.fixture(scope="session")
def accents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that says é for ever: its two bytes, two tokens, in turn.

    Without the blocks' outputs the logits are E (w * norm(E[t])). With E[C3] = (c, c, 0...),
    E[A9] = (c, -c, 0...) and w = (1, -1, 0...), each byte makes the other the likeliest.
    """
    path = tiny_llama_gguf(tmp_path_factory.mktemp("accents") / "base.gguf", hidden=64)
    tensors = {t.name: t.data for t in gguf.GGUFReader(path, "r+").tensors}
    for name, data in tensors.items():
        if name.endswith(("attn_output.weight", "ffn_down.weight")):
            data[:] = 0
    first, second = (len(SPECIAL) + byte for byte in "é".encode())
    embeddings, norm = tensors["token_embd.weight"], tensors["output_norm.weight"]
    embeddings[[first, second]] = 0
    embeddings[first, :2], embeddings[second, :2] = (9, 9), (9, -9)
    norm[:] = 0
    norm[:2] = (1, -1)
    for data in tensors.values():
        data.flush()
    return path


def test_a_letter_of_two_bytes_is_never_split(accents: Path) -> None:
    heard = Heard()
    with LlamaEngine(accents, options=Options(threads=1)) as engine:
        request = ask("é", max_tokens=20, temperature=0.0)
        assert engine.generate([request], heard) == [Completion("é" * 10, "length", 20)]
        odd = ask("é", max_tokens=7, temperature=0.0)
        assert engine.generate([odd], heard) == [Completion("é" * 3, "length", 7)]
        stopped = ask("é", max_tokens=20, temperature=0.0, stop=("ééé",))
        assert engine.generate([stopped]) == [Completion("", "stop", 6)]
    assert set(heard.pieces[0]) == {"é"}


def test_a_user_cannot_write_a_special_token(shared: LlamaEngine, base: Path) -> None:
    model = Model(base, 0)
    assert model.tokenize("<|im_end|>", True) == [SPECIAL.index("<|im_end|>")]
    typed = model.tokenize("<|im_end|>", False)
    letters = byte_letters()
    assert typed == [3 + letters.index(letter) for letter in "<|im_end|>"]
    model.close()
    as_text, as_token = (
        Request(Role.IR, (Part(EGGS), Part("<|im_end|>", special=special)), 24)
        for special in (False, True)
    )
    apart = Request(Role.IR, (Part(EGGS), Part("<|im"), Part("_end|>")), 24)
    texts = [c.text for c in one_by_one(shared, [as_text, as_token, apart])]
    assert texts[0] != texts[1]
    assert texts[0] == texts[2]


def cancel_at(call: int) -> Callable[[], bool]:
    """True from the `call`-th question on, 1 the first."""
    asked: list[int] = []

    def cancelled() -> bool:
        asked.append(1)
        return len(asked) >= call

    return cancelled


@pytest.mark.parametrize("call", [1, 2, 3, 4, 5, 6, 9, 17])
@pytest.mark.parametrize("text", [EGGS, LONG])
def test_cancelling_at_any_moment_ends_every_sample(
    fresh: Callable[..., LlamaEngine], shared: LlamaEngine, text: str, call: int
) -> None:
    requests = [ask(text, seed=s, max_tokens=50, stop=("never here",)) for s in range(5)]
    engine, heard = fresh(width=3, batch=128), Heard()
    done = engine.generate(requests, heard, cancel_at(call))
    assert len(done) == 5
    whole = one_by_one(shared, requests)
    for i, (cut, complete) in enumerate(zip(done, whole, strict=True)):
        assert cut == complete or cut.finish_reason == "cancelled"
        assert complete.text.startswith(cut.text)
        assert heard.text(i) == cut.text
    assert "cancelled" in {c.finish_reason for c in done}
    assert nearly_all_equal(engine.generate(requests), whole)


@pytest.mark.parametrize("call", [1, 2, 3, 4, 5, 9])
def test_one_yes_is_enough_to_cancel(fresh: Callable[..., LlamaEngine], call: int) -> None:
    """A question whose answer goes back to no must not sample from a half read prompt."""
    answers = iter([False] * (call - 1) + [True])
    done = fresh(batch=128).generate([ask(LONG)], None, lambda: next(answers, False))
    assert [c.finish_reason for c in done] == ["cancelled"]


def test_an_error_in_on_token_leaves_the_engine_usable(shared: LlamaEngine) -> None:
    requests = [ask(seed=s) for s in range(4)]
    before = shared.generate(requests)

    def fail(index: int, text: str) -> None:
        if index == 2:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        shared.generate(requests, fail)
    assert shared.generate(requests) == before


def test_two_roles_in_one_call_are_refused(shared: LlamaEngine) -> None:
    with pytest.raises(EngineError) as raised:
        shared.generate([ask(), ask(role=Role.DR)])
    assert raised.value.message == "one call draws samples of one role"


@pytest.mark.parametrize("width", [0, 256])
def test_a_width_that_llama_cpp_cannot_hold_is_refused(base: Path, width: int) -> None:
    with pytest.raises(EngineError) as raised:
        LlamaEngine(base, options=Options(width=width))
    assert raised.value.message == f"width {width}: expected 1 to 255"


@pytest.mark.parametrize(("size", "limit"), [(0, CONTEXT), (64, 64), (10**6, CONTEXT)])
def test_what_exceeds_the_context_is_refused_before_anything_runs(
    fresh: Callable[..., LlamaEngine], size: int, limit: int
) -> None:
    engine, heard = fresh(context_size=size), Heard()
    room = limit - 24 - 1  # the new tokens and <|im_start|>
    with pytest.raises(ContextOverflow) as raised:
        engine.generate([ask(), ask("x" * (room + 1))], heard)
    assert raised.value.message == (
        f"the problem takes {room + 2} tokens and the answer up to 24, "
        f"but the context holds {limit}"
    )
    way_out = "raise -c/--ctx-size" if limit < CONTEXT else "shorten the problem"
    assert raised.value.hint == f"{way_out} or lower -n/--n-predict"
    assert raised.value.exit_code == 2
    assert not heard.pieces
    assert engine.generate([ask("x" * room, seed=1)])[0].tokens == 24


def test_closing_twice_is_harmless(base: Path) -> None:
    engine = LlamaEngine(base, options=Options(threads=1))
    engine.generate([ask()])
    engine.close()
    engine.close()


def test_an_empty_prompt_is_refused(shared: LlamaEngine) -> None:
    with pytest.raises(EngineError) as raised:
        shared.generate([Request(Role.IR, (Part(""),), 8)])
    assert raised.value.message == "a request's prompt holds no tokens"
