"""All that PEFT's config says about scales and targets, against PEFT's own logits.

Every case is run for every family, so that no family's tensors miss a scale.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lorid_convert import pipeline
from tests.tiny_families import FAMILIES, Bench, tiny_lora

PARITY = 1e-3
FIRST_LAYER = r"layers\.0\.self_attn\.(q|qkv)_proj"
SCALES: dict[str, dict[str, Any]] = {
    "plain": {},
    "weak": {"r": 8, "alpha": 1.5},
    "odd_rank": {"r": 5, "alpha": 7},
    "rank_1": {"r": 1, "alpha": -2},
    "rslora": {"r": 8, "use_rslora": True},
    "patterns": {
        "rank_pattern": {"o_proj": 6, FIRST_LAYER: 1},
        "alpha_pattern": {"o_proj": 3, r"layers\.1\.self_attn\.(k|qkv)_proj": 20},
    },
    "rslora_patterns": {
        "rank_pattern": {"^model.layers.0.self_attn.o_proj": 7},
        "alpha_pattern": {"o_proj": 2.5, FIRST_LAYER: 0},
        "use_rslora": True,
    },
}
TARGETS: dict[str, dict[str, Any]] = {
    "regex": {"targets": r".*\.layers\.[01]\.(self_attn\.(q|qkv|v)_proj|mlp\.down_proj)"},
    "all_linear": {"targets": "all-linear"},
    "all_linear_but": {"targets": "all-linear", "exclude_modules": ["o_proj"]},
    "excluded_by_regex": {"exclude_modules": r".*\.layers\.0\..*"},
    "one_layer": {"layers_to_transform": 1},
    "layers_by_pattern": {"layers_to_transform": [0], "layers_pattern": ["layers"]},
}


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    pytest.importorskip("peft")
    made = Bench(tmp_path_factory.mktemp("families"))
    yield made
    made.close()


@pytest.mark.parametrize("case", SCALES)
@pytest.mark.parametrize("name", FAMILIES)
def test_scales(name: str, case: str, bench: Bench, tmp_path: Path) -> None:
    tiny = bench.tiny(name)
    assert bench.base_difference(tiny) <= PARITY
    adapted = tiny_lora(tiny, tmp_path / "adapter", **SCALES[case])
    assert bench.effect(tiny, adapted) > 0.1
    report = pipeline.convert(tmp_path / "adapter", tiny.path, tmp_path / "a.gguf", "f32")
    assert bench.difference(tiny, adapted, report.outfile) <= PARITY


@pytest.mark.parametrize("name", FAMILIES)
def test_alpha_0_does_nothing_in_either(name: str, bench: Bench, tmp_path: Path) -> None:
    # an alpha of 0 in the file would be taken by llama.cpp for none, at full strength
    tiny = bench.tiny(name)
    adapted = tiny_lora(tiny, tmp_path / "adapter", alpha=0)
    assert bench.effect(tiny, adapted) == 0
    report = pipeline.convert(tmp_path / "adapter", tiny.path, tmp_path / "a.gguf", "f32")
    assert bench.difference(tiny, adapted, report.outfile) <= PARITY


@pytest.mark.parametrize("name", FAMILIES)
def test_an_adapter_at_half_strength(name: str, bench: Bench, tmp_path: Path) -> None:
    tiny = bench.tiny(name)
    adapted = tiny_lora(tiny, tmp_path / "adapter", alpha=12)
    for module in adapted.modules():
        if hasattr(module, "scale_layer"):
            module.scale_layer(0.5)
    report = pipeline.convert(tmp_path / "adapter", tiny.path, tmp_path / "a.gguf", "f32")
    assert bench.difference(tiny, adapted, report.outfile) > 1e-2
    assert bench.difference(tiny, adapted, report.outfile, scale=0.5) <= PARITY


@pytest.mark.parametrize("case", TARGETS)
@pytest.mark.parametrize("name", ["llama", "phi3"])
def test_targets(name: str, case: str, bench: Bench, tmp_path: Path) -> None:
    tiny = bench.tiny(name)
    adapted = tiny_lora(tiny, tmp_path / "adapter", **TARGETS[case])
    report = pipeline.convert(tmp_path / "adapter", tiny.path, tmp_path / "a.gguf", "f32")
    layers = [module for module in adapted.modules() if hasattr(module, "scale_layer")]
    assert 0 < report.plan.modules == len(layers)
    assert bench.difference(tiny, adapted, report.outfile) <= PARITY


@pytest.mark.parametrize("name", ["llama", "phi3"])
def test_fan_in_fan_out_says_nothing_of_a_and_b(name: str, bench: Bench, tmp_path: Path) -> None:
    # PEFT itself corrects the flag where the layers are linear, so it is set in the file
    tiny, folder = bench.tiny(name), tmp_path / "adapter"
    adapted = tiny_lora(tiny, folder)
    config = json.loads((folder / "adapter_config.json").read_text())
    assert config["fan_in_fan_out"] is False
    (folder / "adapter_config.json").write_text(json.dumps(config | {"fan_in_fan_out": True}))
    report = pipeline.convert(folder, tiny.path, tmp_path / "a.gguf", "f32")
    assert bench.difference(tiny, adapted, report.outfile) <= PARITY
