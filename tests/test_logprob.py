"""The probability that a model gives its own text: in the engine, in samples files, in a trace."""

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lorid_local.answers import Answer, read
from lorid_local.engine import Completion, Part, Request, Role
from lorid_local.evaluate import store
from lorid_local.evaluate.cases import Case
from lorid_local.judging import sample
from lorid_local.llama import LlamaEngine, Options
from lorid_local.loop import request
from lorid_local.sampler import Sampler
from lorid_local.trace import Round, Trace, probability
from tests.scripted import table
from tests.tiny import tiny_llama_gguf, tiny_parrot_gguf

EGGS = (Part("Tom has 3 eggs:"),)
STEP = "<<60/4="
WARM = Request(Role.IR, EGGS, 12, seed=1, temperature=0.5, top_p=0.9, top_k=8, logprob=True)
Drawn = list[float]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Drawn:
    """The log-probabilities, at temperature 1 and of all tokens, of what samplers draw."""
    seen: Drawn = []
    draw = Sampler.draw

    def noted(self: Sampler, logits: Any) -> int:
        token, values = draw(self, logits), logits.astype(np.float64)
        seen.append(float(values[token] - np.log(np.exp(values).sum())))
        return token

    monkeypatch.setattr(Sampler, "draw", noted)
    return seen


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[LlamaEngine]:
    base = tiny_llama_gguf(tmp_path / "base.gguf")
    with LlamaEngine(base, options=Options(threads=1)) as made:
        yield made


@pytest.mark.parametrize("temperature", [0.5, 0.0])
def test_it_is_that_of_the_drawn_tokens(
    engine: LlamaEngine, drawn: Drawn, temperature: float
) -> None:
    done = engine.generate([replace(WARM, temperature=temperature)])[0]
    assert done.logprob == pytest.approx(sum(drawn), abs=1e-3) and len(drawn) > 2
    assert engine.generate([replace(WARM, logprob=False)])[0].logprob is None


def test_each_sample_has_its_own(engine: LlamaEngine) -> None:
    asked = [replace(WARM, seed=seed, logprob=seed != 2) for seed in range(4)]
    alone = [engine.generate([one])[0].logprob for one in asked]
    together = [done.logprob for done in engine.generate(asked)]
    assert together[2] is None and len({round(p, 2) for p in together if p is not None}) > 1
    assert [p and pytest.approx(p, abs=0.05) for p in alone] == together


def test_what_the_calculator_computed_is_not_the_models(tmp_path: Path, drawn: Drawn) -> None:
    base = tiny_parrot_gguf(tmp_path / "parrot.gguf", f":{STEP}7", ">>")
    with LlamaEngine(base, options=Options(threads=1)) as parrot:
        done = parrot.generate([Request(Role.IR, EGGS, 40, calculator=True, logprob=True)])[0]
    assert done.text == STEP + "15>>" and len(drawn) < done.tokens
    assert done.logprob == pytest.approx(sum(drawn), abs=1e-3)


def test_torch_tells_the_same(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from lorid_train.torch_engine import TorchEngine

    base = tiny_parrot_gguf(tmp_path / "parrot.gguf", f":{STEP}7", ">>")
    asked = [Request(Role.IR, EGGS, n, calculator=on, logprob=on) for n, on in
             ((40, True), (40, False), (6, True))]  # fmt: skip
    with LlamaEngine(base, options=Options(threads=1)) as llama:
        expected = llama.generate(asked)
    found = TorchEngine(base, precision="f32").generate(asked)
    for one, other in zip(found, expected, strict=True):
        near = None if other.logprob is None else pytest.approx(other.logprob, abs=1e-3)
        assert one == replace(other, logprob=one.logprob) and one.logprob == near
    assert found[0].logprob != found[2].logprob


def test_the_loop_asks_for_system_1s_alone() -> None:
    asked = {role: request(table(), role, "2 + 3?", (), 1, 0).logprob for role in Role}
    assert asked == {Role.IR: True, Role.KG: False, Role.DR: False}


# --- what becomes of it ---


def drawn_round(number: int, ir: str, logprob: float | None) -> Round:
    done = Completion(f"#### {ir}", "stop", 4, logprob)
    system_1 = sample(Request(Role.IR, (), 9), number, done)
    return Round(number, system_1, None, (), None, agreed=False, why="")


def answer(text: str) -> Answer:
    found = read(text)
    assert isinstance(found, Answer)
    return found


def test_the_answers_is_the_largest_of_the_texts_that_vote_for_it() -> None:
    rounds = [drawn_round(1, "18", -2.0), drawn_round(2, "18.0", -0.5), drawn_round(3, "7", -0.1)]
    assert probability(rounds, answer("18")) == pytest.approx(math.exp(-0.5))
    assert probability(rounds, answer("8")) == probability(rounds, None) == 0.0
    assert probability([drawn_round(1, "18", None)], answer("18")) is None
    assert probability([], answer("18")) is None
    mixed = [drawn_round(1, "18", None), drawn_round(2, "7", -1.0)]
    assert probability(mixed, answer("18")) == 0.0


def test_a_trace_and_a_file_of_samples_keep_it(tmp_path: Path) -> None:
    rounds = (drawn_round(1, "18", -0.123456), drawn_round(2, "18", None))
    trace = Trace("How many?", "no-agreement", answer("18"), None, rounds, "same-round", 2, 0, 1.0)
    assert trace.probability == pytest.approx(math.exp(-0.123456))
    told = trace.as_dict()
    assert (
        told["rounds"][0]["ir"]["logprob"] == -0.1235 and "logprob" not in told["rounds"][1]["ir"]
    )
    path, cases = tmp_path / "s.jsonl", [Case(0, "How many?", answer("18"))]
    with store.writer(path, "dev", {"seed": 0}, cases) as writer:
        writer.case(cases[0])
        for number, logprob in ((1, -0.123456), (2, None)):
            done = Completion("#### 18", "stop", 4, logprob)
            writer.sample(store.Key(0, Role.IR, number), done, 0.1)
    samples = store.read(path).samples.values()
    assert [taken.completion.logprob for taken in samples] == [-0.1235, None]
    solved = tmp_path / "solved.jsonl"
    solved.write_text(json.dumps(told) + "\n")
    found = store.from_traces(solved, cases).samples.values()
    assert [taken.completion.logprob for taken in found] == [-0.1235, None]
