"""TorchEngine against LlamaEngine: the same seam, the same texts, on a tiny f32 model."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lorid_local.engine import Completion, Part, Request, Role
from lorid_local.llama import LlamaEngine, Options
from lorid_local.sample import Sample
from tests.tiny import tiny_llama_gguf, tiny_parrot_gguf, tiny_peft_adapter

pytest.importorskip("torch")
import torch

from lorid_train.torch_engine import Row, TorchEngine, is_byte_level

WORDS = ("What is 2 and 3?", "Add 4", "How many apples are 7 and 8 apples", "2", "Sum: 10 + 11 =")
REQUESTS = [Request(Role.IR, (Part(text),), 12) for text in WORDS]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama_gguf(tmp_path_factory.mktemp("torch") / "tiny.gguf")


@pytest.fixture(scope="module")
def engine(base: Path) -> TorchEngine:
    return TorchEngine(base, precision="f32", width=4)


@pytest.fixture(scope="module")
def llama(base: Path) -> Iterator[LlamaEngine]:
    with LlamaEngine(base, options=Options(threads=1)) as found:
        yield found


def test_greedy_texts_are_llama_cpps(engine: TorchEngine, llama: LlamaEngine) -> None:
    assert engine.generate(REQUESTS) == llama.generate(REQUESTS)


def test_padding_and_company_change_no_sample(engine: TorchEngine) -> None:
    hot = [replace(r, temperature=0.9, top_p=0.9, seed=i) for i, r in enumerate(REQUESTS)]
    together = engine.generate(hot)
    assert together == [engine.generate([request])[0] for request in hot]
    assert together != engine.generate([replace(r, seed=r.seed + 9) for r in hot])


def test_byte_level_decoders_are_known_alone_and_in_a_sequence() -> None:
    """transformers 5.17 wraps the one of a GGUF in a sequence, later ones do not."""
    from tokenizers import decoders

    alone, other = decoders.ByteLevel(), decoders.Sequence([decoders.Fuse()])
    assert is_byte_level(alone) and is_byte_level(decoders.Sequence([alone]))
    assert not is_byte_level(other) and not is_byte_level(decoders.Metaspace())


def test_top_k_draws_from_the_likeliest_alone(engine: TorchEngine, llama: LlamaEngine) -> None:
    hot = [replace(r, temperature=5.0, top_k=1, seed=i) for i, r in enumerate(REQUESTS)]
    assert engine.generate(hot) == llama.generate(REQUESTS)  # the likeliest one is greedy
    logits = torch.tensor([[0.1, 0.2, 0.3, 0.4]] * 2).log()
    warm = [replace(REQUESTS[0], temperature=1.0, top_p=0.75, top_k=k) for k in (3, 0)]
    rows = [Row(Sample(i, r, i, [1]), np.random.default_rng(i)) for i, r in enumerate(warm)]
    drawn = [engine._draw(logits, rows) for _ in range(300)]
    assert {token for token, _ in drawn} == {2, 3} and {token for _, token in drawn} == {1, 2, 3}


def test_each_role_speaks_with_its_own_adapter(base: Path, tmp_path: Path) -> None:
    from lorid_convert.pipeline import convert

    folder = tiny_peft_adapter(tmp_path / "kg", base)
    convert(folder, base, tmp_path / "kg.gguf")
    asked = [replace(REQUESTS[0], role=role) for role in (Role.KG, Role.DR)]
    trained = TorchEngine(base, {Role.KG: folder}, precision="f32")
    with LlamaEngine(base, {Role.KG: tmp_path / "kg.gguf"}, Options(threads=1)) as llama:
        for request in asked:
            assert trained.generate([request]) == llama.generate([request])
    texts = [trained.generate([request])[0].text for request in asked]
    assert texts[0] != texts[1]


@pytest.mark.parametrize("step", ["<<60/4=", "<<6/4-9="])  # '=-' is one token
def test_the_calculator_computes_in_each_row(tmp_path: Path, step: str) -> None:
    """The model writes a false result, 7, behind the step; nothing follows '>>'."""
    base = tiny_parrot_gguf(tmp_path / "parrot.gguf", f":{step}7", ">>")
    asked = [Request(Role.IR, (Part("Eggs:"),), n, calculator=on)
             for n, on in ((40, True), (40, False), (9, True), (8, True))]  # fmt: skip
    with LlamaEngine(base, options=Options(threads=1)) as llama:
        expected = llama.generate(asked)
    assert TorchEngine(base, precision="f32").generate(asked) == expected
    assert expected[0].text != expected[1].text


def test_a_sample_that_repeats_itself_ends(tmp_path: Path) -> None:
    base = tiny_parrot_gguf(tmp_path / "parrot.gguf", "abĊa")  # Ċ is GPT-2's new line
    asked = [Request(Role.DR, (Part("a"),), 40, repeats=n) for n in (4, 3, 0)]
    with LlamaEngine(base, options=Options(threads=1)) as llama:
        expected = llama.generate(asked)
    assert TorchEngine(base, precision="f32").generate(asked) == expected
    assert [done.finish_reason for done in expected] == ["repeated", "repeated", "length"]


def test_what_agreement_makes_needless_ends(engine: TorchEngine) -> None:
    told: list[int] = []

    def done(index: int, completion: Completion) -> list[int]:
        told.append(index)
        return list(range(len(REQUESTS)))

    reasons = [c.finish_reason for c in engine.generate(REQUESTS, on_done=done)]
    assert len(told) == 1 and reasons.count("cancelled") == len(REQUESTS) - 1
    ended = engine.generate(REQUESTS, cancelled=lambda: True)
    assert {c.finish_reason for c in ended} == {"cancelled"}
