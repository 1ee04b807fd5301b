"""One step: the loss, its gradients, and the layers as they are merged and compiled."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lorid_train import masking, sft, stepping
from lorid_train import recipe as recipes
from lorid_train.merged import merge
from tests.tiny import tiny_llama_gguf

torch = pytest.importorskip("torch")
LORA = recipes.Lora(rank=4, alpha=8)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama_gguf(tmp_path_factory.mktemp("base") / "tiny.gguf")


@pytest.fixture
def learner(base: Path) -> sft.Learner:
    return sft.load(base, LORA, threads=1, seed=1, precision="f32")


def encoded(learner: sft.Learner) -> list[masking.Encoded]:
    encode = sft.encoder(learner.tokenizer)
    prompts = [f"What is {a} and {a}?" for a in range(1, 25)]
    return [
        masking.Encoded((*encode(p, False), *encode(f"{a}", False), 2), len(encode(p, False)))
        for a, p in enumerate(prompts, 1)
    ]


def loss_of(learner: sft.Learner, batch: list[masking.Encoded]) -> Any:
    return stepping.target_loss(learner.model, stepping.shared(batch, learner.device, learner.here))


def unsettle(model: Any) -> None:
    """Fill B, which starts as zeros: those would hide A's gradient."""
    torch.manual_seed(2)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.05)


def test_the_loss_is_that_of_the_whole_sequence_with_the_prompt_masked(
    learner: sft.Learner,
) -> None:
    """Computed another way: transformers' own loss over labels, padding masked out."""
    batch = encoded(learner)[:5]
    width = max(len(e.ids) for e in batch)
    ids = torch.tensor([[*e.ids, *[0] * (width - len(e.ids))] for e in batch])
    labels = torch.tensor(
        [[*[-100] * e.prompt_length, *e.ids[e.prompt_length :], *[-100] * (width - len(e.ids))]
         for e in batch]
    )  # fmt: skip
    mask = torch.tensor([[1] * len(e.ids) + [0] * (width - len(e.ids)) for e in batch])
    expected = learner.model(input_ids=ids, attention_mask=mask, labels=labels).loss
    ours = loss_of(learner, batch)
    assert ours.item() == pytest.approx(expected.item(), abs=1e-5)


def test_merged_linears_have_pefts_loss_and_gradients(
    learner: sft.Learner, monkeypatch: pytest.MonkeyPatch, base: Path
) -> None:
    monkeypatch.setattr(sft, "merge", lambda model: 0)
    plain = sft.load(base, LORA, threads=1, seed=1, precision="f32")
    for model in (learner.model, plain.model):
        unsettle(model)
    losses, grads = [], []
    for one in (learner, plain):
        loss = loss_of(one, encoded(learner)[:5])
        loss.backward()
        losses.append(float(loss.detach()))
        grads.append({n: p.grad for n, p in one.model.named_parameters() if p.requires_grad})
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)
    assert len(grads[0]) == 2 * 2 * len(LORA.targets)
    for name, grad in grads[1].items():
        assert torch.allclose(grads[0][name], grad, atol=1e-5, rtol=1e-3), name
        assert grad.abs().max() > 1e-4, name


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch compiling uses its own old parts
def test_compiled_layers_have_the_loss_and_the_gradients_of_plain_ones(
    learner: sft.Learner, base: Path
) -> None:
    """In batches of several shapes, one of a single row, and compiled once for all layers."""
    counted = torch._dynamo.utils.counters
    counted.clear()
    compiled = sft.load(base, LORA, threads=1, seed=1, precision="f32")
    stepping.compile_layers(compiled.model, backend="aot_eager")  # the default takes a minute here
    for one in (learner, compiled):
        unsettle(one.model)
    examples = encoded(learner)
    for batch in (examples[:5], examples[3:24], examples[7:8], examples[:7]):
        losses, grads = [], []
        for one in (learner, compiled):
            one.model.zero_grad()
            loss = loss_of(one, batch)
            loss.backward()
            losses.append(float(loss.detach()))
            grads.append([p.grad for p in one.model.parameters() if p.requires_grad])
        assert losses[0] == pytest.approx(losses[1], abs=1e-5)
        for plain, other in zip(*grads, strict=True):
            assert torch.allclose(plain, other, atol=1e-5, rtol=1e-3)
    # a first shape of a size that is also one of the model's, all others, a single row
    assert counted["stats"]["unique_graphs"] <= 3
    assert not counted["graph_break"]


def test_only_plain_linears_are_merged(base: Path) -> None:
    assert merge(sft.load(base, LORA, threads=1, seed=1).model) == 2 * len(LORA.targets)
    with_dropout = sft.load(base, replace(LORA, dropout=0.1), threads=1, seed=1)
    assert merge(with_dropout.model) == 0
