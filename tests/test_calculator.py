"""The calculator: what follows `<<48/2=`, and that the engine puts it into each sample."""

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lorid_local.calculator import result
from lorid_local.engine import Completion, Part, Request, Role
from lorid_local.llama import LlamaEngine, Options
from tests.tiny import tiny_parrot_gguf


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<<48/2=", "24>>"),
        ("He has 3*4 = <<3*4=", "12>>12"),  # the sentence goes on with the result
        ("He has 3*4 = <<3*4=12>>12.\n<<12*2=", "24>>"),
        ("Then $<<1/8=", "0.125>>0.125"),
        (" \n  <<1/8=", "0.125>>"),
        ("<<48/2=24>>\n<<48+24=", "72>>"),
        ("<<1/8=", "0.125>>"),
        ("<<3-5=", "-2>>"),
        ("<<(3+4)*20%=", "1.4>>"),
        ("<<1,200*2 =", "2400>>"),
        ("<<7//2=", "3>>"),
        ("<<.5*9=", "4.5>>"),
        ("<<1/3=", ""),  # no finite decimal: the model rounds as it learned to
        ("<<5/0=", ""),
        ("<<5 apples*2=", ""),
        ("<<=", ""),
        ("<<2=2=", ""),
        ("<<2*3>>=", ""),  # the step is closed
        ("2*3=", ""),
        ("<<2*3", ""),
        ("<<2*3=6", ""),
        ("<<99999999*99999999=", ""),  # longer than any word problem's number
        ("<<" + "(" * 500 + "=", ""),
        ("", ""),
    ],
)
def test_what_completes_a_step(text: str, expected: str) -> None:
    assert result(text) == expected


STEP = "<<60/4="
Engines = Callable[..., LlamaEngine]


@pytest.fixture
def parrot(tmp_path: Path) -> Iterator[Engines]:
    """Make engines whose model writes `chain` behind a colon, and nothing behind '>>'."""
    made: list[LlamaEngine] = []

    def make(chain: str, **options: Any) -> LlamaEngine:
        ends = () if chain.endswith(">>") else (">>",)
        base = tiny_parrot_gguf(tmp_path / f"{len(made)}.gguf", ":" + chain, *ends)
        made.append(LlamaEngine(base, options=Options(threads=1, **options)))
        return made[-1]

    yield make
    for engine in made:
        engine.close()


def ask(**settings: Any) -> Request:
    settings = {"max_tokens": 40, "calculator": True} | settings
    return Request(Role.IR, (Part("Eggs:"),), **settings)


def draw(engine: LlamaEngine, **settings: Any) -> Completion:
    return engine.generate([ask(**settings)])[0]


def test_the_result_is_put_into_the_text_in_place_of_the_models_own(parrot: Engines) -> None:
    engine = parrot(STEP + "7")
    assert draw(engine) == Completion(STEP + "15>>", "stop", 10)
    assert draw(engine, calculator=False) == Completion(STEP + "7", "stop", 8)


def test_what_follows_is_as_if_the_model_had_written_the_result_itself(parrot: Engines) -> None:
    right = STEP + "15>>"
    assert draw(parrot(right)) == draw(parrot(right), calculator=False)
    assert draw(parrot(right)).text == right


def test_every_sample_of_a_batch_gets_its_own(parrot: Engines) -> None:
    requests = [ask(), ask(calculator=False), ask(max_tokens=9), ask()]
    done = parrot(STEP + "7").generate(requests)
    assert [c.text.removeprefix(STEP) for c in done] == ["15>>", "7", "7", "15>>"]


def test_a_result_whose_sign_would_merge_with_the_equals_sign(parrot: Engines) -> None:
    # '=-' is one token of SmolLM2's, and of this vocabulary
    assert draw(parrot("<<6/4-9=7")).text == "<<6/4-9=-7.5>>"


def test_a_malformed_step_leaves_the_models_own_tokens(parrot: Engines) -> None:
    assert draw(parrot("<<6/0=7")).text == "<<6/0=7"


def test_a_result_that_does_not_fit_is_left_to_the_model(parrot: Engines) -> None:
    engine = parrot(STEP + "7")
    assert draw(engine, max_tokens=8) == Completion(STEP + "7", "stop", 8)
    assert draw(engine, max_tokens=6) == Completion(STEP, "length", 6)


def test_a_result_that_completes_a_stop_string_ends_the_sample(parrot: Engines) -> None:
    assert draw(parrot(STEP + "7"), stop=("5>",)) == Completion(STEP + "1", "stop", 9)


def test_a_batch_smaller_than_all_results_is_run_in_parts(parrot: Engines) -> None:
    done = parrot(STEP + "7", batch=8).generate([ask() for _ in range(6)])
    assert [c.text for c in done] == [STEP + "15>>"] * 6


@pytest.mark.parametrize("stream_mib", [512, 0])
def test_results_in_streams_go_along_with_the_others_next_tokens(
    parrot: Engines, stream_mib: int
) -> None:
    """In streams a sample with more pending than the others would cost a pass of its own."""
    engine = parrot(STEP + "7", width=6, stream_mib=stream_mib)
    asked = [ask(max_tokens=200, calculator=n != 2) for n in range(6)]
    engine.generate(asked)
    context = engine._states[Role.IR].context
    assert context.layout.streams == bool(stream_mib)
    decode, tokens = context.decode, []

    def counted(slots: Any) -> None:
        tokens.append(Counter(slot.sequence for slot in slots))
        decode(slots)

    context.decode = counted  # type: ignore[method-assign]
    done = [c.text.removeprefix(STEP) for c in engine.generate(asked)]
    assert done == ["15>>"] * 2 + ["7"] + ["15>>"] * 3
    assert {len(set(each.values())) for each in tokens} == ({1} if stream_mib else {1, 2})
    tokens.clear()
    assert draw(engine, max_tokens=200).text == STEP + "15>>"
    assert max(each.total() for each in tokens) == 4  # alone it takes all at once: '=15>>'


def test_the_result_is_streamed(parrot: Engines) -> None:
    pieces: list[str] = []
    parrot(STEP + "7").generate([ask()], lambda index, text: pieces.append(text))
    assert "".join(pieces) == STEP + "15>>"
