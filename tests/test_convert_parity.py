"""What PEFT computes is what llama.cpp computes, for a tiny model of every family.

Parity is between PEFT in torch float32 and llama.cpp on the converted file, base and adapter
both f32. How scales and targets are given is in test_convert_parity_config.py.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lorid_convert import architectures, peft_config, pipeline, placing
from tests.tiny_families import FAMILIES, Bench, load_experts, tiny_experts, tiny_lora

PARITY = 1e-3  # largest difference of a logit that passes
NOTICED = 1e-2  # smallest difference that a fault must make
GQA = {1: (8, 8, 64), 3: (6, 2, 96), 8: (8, 1, 64)}  # ratio: heads, KV heads, hidden
# qwen2moe.cpp requires an output.weight, gemma2.cpp knows none
TIED = [name for name in FAMILIES if name != "qwen2_moe"]
UNTIED = [name for name in FAMILIES if FAMILIES[name].own_head]
MIXTURES = ["mixtral", "qwen2_moe"]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    pytest.importorskip("peft")
    made = Bench(tmp_path_factory.mktemp("families"))
    yield made
    made.close()


def unproved(adapter: Path, base: Path, outfile: Path) -> pipeline.Report:
    """Convert without the converter's own proof, which finds every fault made here by itself."""
    return pipeline.convert(adapter, base, outfile, "f32", verify=False)


@pytest.fixture
def differ(bench: Bench, tmp_path: Path) -> Callable[..., float]:
    """Return the difference that an adapter of a family's tiny model makes once converted."""

    def measure(name: str, shape: dict[str, Any] | None = None, **config: Any) -> float:
        tiny = bench.tiny(name, **(shape or {}))
        assert bench.base_difference(tiny) <= PARITY  # else the base is at fault
        adapted = tiny_lora(tiny, tmp_path / "adapter", **config)
        assert bench.effect(tiny, adapted) > 0.1
        report = unproved(tmp_path / "adapter", tiny.path, tmp_path / "a.gguf")
        return bench.difference(tiny, adapted, report.outfile)

    return measure


@pytest.mark.parametrize("name", FAMILIES)
def test_the_bases_agree_without_an_adapter(name: str, bench: Bench) -> None:
    assert bench.base_difference(bench.tiny(name)) <= PARITY


@pytest.mark.parametrize("ratio", GQA)
@pytest.mark.parametrize("name", FAMILIES)
def test_every_ratio_of_kv_heads(name: str, ratio: int, differ: Callable[..., float]) -> None:
    heads, kv_heads, hidden = GQA[ratio]
    shape = {"heads": heads, "kv_heads": kv_heads, "hidden": hidden}
    assert differ(name, shape) <= PARITY


@pytest.mark.parametrize("name", TIED)
def test_tied_heads(name: str, differ: Callable[..., float]) -> None:
    assert differ(name, {"tied": True}) <= PARITY


@pytest.mark.parametrize("target", ["embed_tokens", "lm_head"])
@pytest.mark.parametrize("name", UNTIED)
def test_embeddings_and_heads(name: str, target: str, differ: Callable[..., float]) -> None:
    assert differ(name, targets=[target], r=3, use_rslora=True) <= PARITY
    assert differ(name, targets=[target, "o_proj"], alpha_pattern={target: 1}) <= PARITY


@pytest.mark.parametrize("router", [False, True])
@pytest.mark.parametrize("name", MIXTURES)
def test_experts(name: str, router: bool, bench: Bench, tmp_path: Path) -> None:
    # adapters of transformers 4, where each expert was a linear layer; PEFT fuses them itself
    tiny = bench.tiny(name)
    tiny_experts(tiny, tmp_path / "adapter", router=router)
    adapted = load_experts(tiny, tmp_path / "adapter")
    assert bench.effect(tiny, adapted) > 0.1
    report = pipeline.convert(tmp_path / "adapter", tiny.path, tmp_path / "a.gguf", "f32")
    assert bench.difference(tiny, adapted, report.outfile) <= PARITY


@pytest.mark.parametrize("outtype", ["f16", "q8_0"])
def test_smaller_types_of_experts_and_embeddings_run(
    outtype: str, bench: Bench, tmp_path: Path
) -> None:
    # llama.cpp looks rows up in the one and multiplies by index in the other
    tiny = bench.tiny("mixtral")
    tiny_experts(tiny, tmp_path / "experts", router=True, r=32)
    cases = {"experts": load_experts(tiny, tmp_path / "experts")}
    cases["tokens"] = tiny_lora(tiny, tmp_path / "tokens", targets=["embed_tokens"], r=32)
    for name, adapted in cases.items():
        report = pipeline.convert(tmp_path / name, tiny.path, tmp_path / "a.gguf", outtype)
        assert {row.type for row in report.plan.rows} == {outtype}
        assert bench.difference(tiny, adapted, report.outfile) < bench.effect(tiny, adapted) / 10


@pytest.mark.parametrize("name", ["llama", "mistral", "mixtral"])
def test_a_missing_permutation_is_noticed(
    name: str, differ: Callable[..., float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(architectures, "permute", lambda rows, heads: rows)
    assert differ(name) > NOTICED


@pytest.mark.parametrize("name", ["llama", "mistral", "mixtral"])
def test_heads_taken_for_kv_heads_are_noticed(
    name: str, differ: Callable[..., float], monkeypatch: pytest.MonkeyPatch
) -> None:
    right = architectures.permute
    monkeypatch.setattr(architectures, "permute", lambda rows, heads: right(rows, 4))
    assert differ(name, targets=["k_proj"]) > NOTICED


@pytest.mark.parametrize("name", ["qwen2", "qwen3", "qwen2_moe", "gemma2", "gemma3_text"])
def test_a_permutation_where_none_belongs_is_noticed(
    name: str, differ: Callable[..., float], monkeypatch: pytest.MonkeyPatch
) -> None:
    row = architectures.SUPPORTED[FAMILIES[name].architecture]
    rotated = architectures.SUPPORTED["llama"].rotated
    monkeypatch.setitem(architectures.SUPPORTED, row.name, replace(row, rotated=rotated))
    assert differ(name) > NOTICED


@pytest.mark.parametrize("name", FAMILIES)
def test_a_missing_square_root_is_noticed(
    name: str, differ: Callable[..., float], monkeypatch: pytest.MonkeyPatch
) -> None:
    # the fault of llama.cpp's own script: it reads lora_alpha and not use_rslora
    monkeypatch.setattr(peft_config.LoraConfig, "scale_times_rank", lambda self, *_: self.alpha)
    assert differ(name, use_rslora=True) > NOTICED


@pytest.mark.parametrize("name", MIXTURES)
def test_experts_in_another_order_are_noticed(
    name: str, bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right, tiny = placing.load, bench.tiny(name)
    tiny_experts(tiny, tmp_path / "adapter", router=False)
    monkeypatch.setattr(
        placing, "load", lambda *given: ((3 - e, *rest) for e, *rest in right(*given))
    )
    report = unproved(tmp_path / "adapter", tiny.path, tmp_path / "a.gguf")
    adapted = load_experts(tiny, tmp_path / "adapter")
    assert bench.difference(tiny, adapted, report.outfile) > NOTICED
