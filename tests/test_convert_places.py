"""Where a module's LoRA goes in each architecture, and what is refused there. Needs no torch.

The bases are headers of the shapes that llama.cpp gives each architecture.
"""

import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from lorid_convert import pipeline, placing
from tests.test_convert_refusals import (
    CONFIG,
    MERGE,
    folder,
    ones,
    pair,
    problems,
)

LAYER = "model.layers.0"
TIED = (
    "tied in the base: its head and token embeddings are one tensor, where llama.cpp cannot "
    f"apply an adapter; train without embed_tokens and lm_head, or {MERGE}"
)
SHAPES: dict[str, dict[str, tuple[int, ...]]] = {
    "llama": {"blk.0.attn_q": (64, 64), "blk.0.ffn_up_exps": (4, 96, 64)},
    "qwen2": {"blk.0.attn_q": (64, 64), "blk.0.ffn_up": (96, 64), "output": (288, 64)},
    "qwen2moe": {"blk.0.ffn_gate_inp": (4, 64), "blk.0.ffn_gate_inp_shexp": (64,),
                 "blk.0.ffn_down_exps": (4, 64, 32), "blk.0.ffn_up_shexp": (48, 64)},
    "gemma3": {"blk.0.attn_q": (64, 64)},
    "phi3": {"blk.0.attn_qkv": (128, 64), "blk.0.ffn_up": (192, 64)},
}  # fmt: skip


def header(folder: Path, architecture: str, experts: int = 0, **more: tuple[int, ...]) -> Path:
    """Write a base's header; `more` are shapes of tensors by name without '.weight'."""
    path = folder / f"{architecture}.gguf"
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_head_count(4)
    writer.add_block_count(1)
    writer.add_expert_count(experts)
    for name, shape in ({"token_embd": (288, 64)} | SHAPES[architecture] | more).items():
        writer.add_tensor(f"{name}.weight", ones(*shape))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def embedding(module: str, tokens: int = 288, width: int = 64) -> dict[str, Any]:
    prefix = f"base_model.model.{module}.lora_embedding_"
    return {f"{prefix}A": ones(4, tokens), f"{prefix}B": ones(width, 4)}


def copy_of(module: str, *shape: int) -> dict[str, Any]:
    return {f"base_model.model.{module}.base_layer.weight": ones(*shape)}


PLACES = [
    ("llama", pair(f"{LAYER}.self_attn.q_proj"), "blk.0.attn_q.weight", (4, 64), (64, 4)),
    ("llama", pair(f"{LAYER}.block_sparse_moe.experts.2.w3", rows=96),
     "blk.0.ffn_up_exps.weight", (4, 4, 64), (4, 96, 4)),
    ("qwen2", pair("lm_head", rows=288), "output.weight", (4, 64), (288, 4)),
    ("qwen2", embedding("model.embed_tokens") | copy_of("model.embed_tokens", 288, 64),
     "token_embd.weight", (288, 4), (64, 4)),
    ("qwen2moe", pair(f"{LAYER}.mlp.gate", rows=4), "blk.0.ffn_gate_inp.weight", (4, 64), (4, 4)),
    ("qwen2moe", pair(f"{LAYER}.mlp.shared_expert_gate", rows=1),
     "blk.0.ffn_gate_inp_shexp.weight", (4, 64), (1, 4)),
    ("qwen2moe", pair(f"{LAYER}.mlp.shared_expert.up_proj", rows=48),
     "blk.0.ffn_up_shexp.weight", (4, 64), (48, 4)),
    ("qwen2moe", pair(f"{LAYER}.mlp.experts.3.down_proj", columns=32),
     "blk.0.ffn_down_exps.weight", (4, 4, 32), (4, 64, 4)),
    ("gemma3", pair("model.language_model.layers.0.self_attn.q_proj"),
     "blk.0.attn_q.weight", (4, 64), (64, 4)),
    ("gemma3", pair("language_model.model.layers.0.self_attn.q_proj"),
     "blk.0.attn_q.weight", (4, 64), (64, 4)),
    ("phi3", pair(f"{LAYER}.self_attn.qkv_proj", rows=128),
     "blk.0.attn_qkv.weight", (4, 64), (128, 4)),
    ("phi3", pair(f"{LAYER}.mlp.gate_up_proj", rows=192), "blk.0.ffn_up.weight", (4, 64), (192, 4)),
]  # fmt: skip


@pytest.mark.parametrize(("architecture", "tensors", "name", "a", "b"), PLACES)
def test_places(
    architecture: str,
    tensors: dict[str, Any],
    name: str,
    a: tuple[int, ...],
    b: tuple[int, ...],
    tmp_path: Path,
) -> None:
    plan = pipeline.plan(folder(tmp_path, tensors), header(tmp_path, architecture), "f32")
    assert [(row.tensor, row.shape) for row in plan.rows] == [
        (f"{name}.lora_a", a),
        (f"{name}.lora_b", b),
    ]
    assert plan.modules == 1


EXPERT = f"{LAYER}.block_sparse_moe.experts"
REFUSALS: list[tuple[str, dict[str, Any], list[str]]] = [
    ("llama", embedding("model.embed_tokens") | pair("lm_head", rows=288)
     | copy_of("lm_head", 288, 64),
     [f"module model.embed_tokens: {TIED}", f"module lm_head: {TIED}"]),
    ("qwen2", pair("model.embed_tokens", rows=288),
     ["module model.embed_tokens: not convertible; train with target_modules among q_proj, "
      "up_proj, embed_tokens, lm_head"]),
    ("qwen2", embedding("model.embed_tokens", tokens=300),
     ["module model.embed_tokens: fits (300, 64), the base's token_embd.weight is (288, 64)"]),
    ("qwen2", pair("lm_head", rows=288) | copy_of("lm_head", 290, 64),
     ["tensor base_model.model.lm_head.base_layer.weight: a whole layer of shape (290, 64), not "
      f"the base's; a GGUF LoRA holds none; {MERGE}"]),
    ("qwen2", pair("lm_head", rows=288) | copy_of("model.embed_tokens", 288, 64),
     ["tensor base_model.model.model.embed_tokens.base_layer.weight: a whole layer of shape "
      f"(288, 64), not the base's; a GGUF LoRA holds none; {MERGE}"]),
    ("phi3", pair(f"{LAYER}.self_attn.q_proj"),
     [f"module {LAYER}.self_attn.q_proj: not convertible; train with target_modules among "
      "qkv_proj, gate_up_proj"]),
    ("gemma3", pair("model.vision_tower.layers.0.self_attn.q_proj"),
     ["module model.vision_tower.layers.0.self_attn.q_proj: not convertible; train with "
      "target_modules among q_proj"]),
    ("gemma3", pair(f"{LAYER}.self_attn.q_proj")
     | pair("model.language_model.layers.0.self_attn.q_proj"),
     ["module model.language_model.layers.0.self_attn.q_proj: adapts blk.0.attn_q.weight as "
      f"{LAYER}.self_attn.q_proj does; keep one of them"]),
    ("llama", pair(f"{EXPERT}.4.w3", rows=96),
     [f"module {EXPERT}.4.w3: fits (96, 64), the base's blk.0.ffn_up_exps.weight is "
      "(1, 4, 96, 64)"]),
    ("llama", pair(f"{EXPERT}.1.w3", rows=96) | pair(f"{EXPERT}.01.w3", rows=96),
     [f"module {EXPERT}.01.w3: adapts blk.0.ffn_up_exps.weight as {EXPERT}.1.w3 does; keep one "
      "of them"]),
]  # fmt: skip


@pytest.mark.parametrize(("architecture", "tensors", "expected"), REFUSALS)
def test_place_refusals(
    architecture: str, tensors: dict[str, Any], expected: list[str], tmp_path: Path
) -> None:
    assert problems(folder(tmp_path, tensors), header(tmp_path, architecture)) == expected


def test_experts_of_several_ranks_and_one_without(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    own = {
        f"base_model.model.{EXPERT}.{expert}.w3.lora_{side}.weight": random.standard_normal(
            (rank, 64) if side == "A" else (96, rank), np.float32
        )
        for expert, rank in ((0, 4), (1, 2), (3, 4))
        for side in "AB"
    }
    adapter = folder(tmp_path, own, rank_pattern={"1.w3": 2}, alpha_pattern={"3.w3": 1})
    plan = pipeline.plan(adapter, header(tmp_path, "llama"), "f32")
    (placed,) = plan.placed
    a, b = placing.tensors(plan.adapter, placed)
    runtime = plan.alpha / b.shape[-1]  # as llama-graph.cpp's build_lora_mm_id
    for expert, scale in ((0, 8 / 4), (1, 8 / 2), (3, 1 / 4)):
        name = f"base_model.model.{EXPERT}.{expert}.w3.lora_"
        expected = scale * own[f"{name}B.weight"] @ own[f"{name}A.weight"]
        np.testing.assert_allclose(runtime * b[expert] @ a[expert], expected, rtol=1e-4, atol=1e-5)
    assert not a[2].any()
    assert not b[2].any()
    assert plan.modules == 3


def test_stacked_experts_are_written(tmp_path: Path) -> None:
    adapter = folder(tmp_path, pair(f"{EXPERT}.2.w3", rows=96))
    report = pipeline.convert(adapter, header(tmp_path, "llama"), tmp_path / "a.gguf")
    found = {t.name: t for t in gguf.GGUFReader(report.outfile).tensors}
    a = found["blk.0.ffn_up_exps.weight.lora_a"]
    assert a.tensor_type == gguf.GGMLQuantizationType.Q8_0
    values = gguf.quants.dequantize(a.data, a.tensor_type)
    assert values.shape == (4, 4, 64)
    assert [bool(expert.any()) for expert in values] == [False, False, True, False]


OTHER_TYPES = {
    "XLORA": "X-LoRA mixes its adapters token by token; convert each of them by itself",
    "VERA": "only LORA adapters can be converted; turn it into one (PEFT's save_as_lora), or "
    + MERGE,
}


@pytest.mark.parametrize("kind", OTHER_TYPES)
def test_other_kinds_of_adapters(kind: str, tmp_path: Path) -> None:
    # their other keys and tensors mean nothing here, and X-LoRA has no such weights file
    base, adapter = header(tmp_path, "llama"), tmp_path / "adapter"
    adapter.mkdir()
    config = CONFIG | {"peft_type": kind, "r": None, "xlora_depth": 2}
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    assert problems(adapter, base) == [f'peft_type is "{kind}": {OTHER_TYPES[kind]}']
