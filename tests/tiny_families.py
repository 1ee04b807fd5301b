"""Tiny random models of every family that `lorid convert` knows, in transformers and as GGUF.

The GGUF side is written from the model's own tensors by the names of gguf-py's tensor map and
by llama.cpp's rules (conversion/llama.py permutes q and k, gemma.py adds 1 to norms), without
lorid_convert, so that a fault there cannot hide here. torch, transformers and peft are imported
by the functions that need them.
"""

import copy
import json
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from numpy.typing import NDArray

from lorid_local import llama_native
from lorid_local.kv_cache import Layout
from tests.tiny import CONTEXT, _add_tokenizer, _written

TOKENS = [1, *range(20, 29), 2, 260, 270, 7, 99, 281]
LAYERS, VOCAB, WINDOW, EXPERTS = 2, 288, 64, 4
ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
LINEAR = (*ATTENTION, "gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True)
class Family:
    """A family: its GGUF architecture, what its config adds and what an adapter targets.

    `own_head` is whether llama.cpp reads a head apart from the embeddings.
    """

    architecture: str
    config: dict[str, Any] = field(default_factory=dict)
    targets: tuple[str, ...] = LINEAR
    own_head: bool = True


GEMMA = {"head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": WINDOW,
         "layer_types": ["sliding_attention", "full_attention"]}  # fmt: skip
SHARED = tuple(f"shared_expert.{name}" for name in ("gate_proj", "up_proj", "down_proj"))
FAMILIES = {
    "llama": Family("llama"),
    "mistral": Family("llama", {"sliding_window": None}),
    "mixtral": Family("llama", {"num_local_experts": EXPERTS}, ATTENTION),
    "qwen2": Family("qwen2"),
    "qwen3": Family("qwen3", {"head_dim": 16}),
    "qwen2_moe": Family(
        "qwen2moe",
        {"num_experts": EXPERTS, "num_experts_per_tok": 2, "moe_intermediate_size": 32,
         "shared_expert_intermediate_size": 48},
        (*ATTENTION, *SHARED, "shared_expert_gate"),
    ),
    "gemma2": Family("gemma2", GEMMA, own_head=False),
    "gemma3_text": Family("gemma3", GEMMA),
    "phi3": Family(
        "phi3",
        {"original_max_position_embeddings": CONTEXT},
        ("qkv_proj", "o_proj", "gate_up_proj", "down_proj"),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Tiny:
    """A tiny model: `model` in transformers, in float32 on the CPU, `path` as GGUF in f32."""

    family: Family
    model: Any
    path: Path


def tiny_family(
    path: Path,
    name: str,
    *,
    heads: int = 4,
    kv_heads: int = 2,
    hidden: int = 64,
    tied: bool = False,
    tokenizer: Callable[[gguf.GGUFWriter, int], None] = _add_tokenizer,
) -> Tiny:
    """Make a random model of the family `name` and write it to `path`.

    `tokenizer` adds one of VOCAB tokens to the file.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    family = FAMILIES[name]
    config = AutoConfig.for_model(
        name, vocab_size=VOCAB, hidden_size=hidden, intermediate_size=96,
        num_hidden_layers=LAYERS, num_attention_heads=heads, num_key_value_heads=kv_heads,
        max_position_embeddings=CONTEXT, bos_token_id=1, eos_token_id=2, pad_token_id=2,
        tie_word_embeddings=tied or not family.own_head, **family.config,
    )  # fmt: skip
    torch.manual_seed(sum(name.encode()) + heads + kv_heads)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").float().eval()
    _randomize(model, name)
    writer = gguf.GGUFWriter(path, family.architecture)
    _add_header(writer, model.config)
    tokenizer(writer, VOCAB)
    for tensor, values in _tensors(model, family.architecture):
        writer.add_tensor(tensor, np.ascontiguousarray(values))
    return Tiny(family, model, _written(writer, path))


def _randomize(model: Any, name: str) -> None:
    """Give every part weights of a size at which it changes the logits noticeably."""
    import torch

    with torch.no_grad():
        for key, parameter in model.named_parameters():
            parameter.normal_(std=0.2 if parameter.ndim == 1 else parameter.shape[-1] ** -0.5)
            if key.endswith("post_feedforward_layernorm.weight"):
                # on a CPU llama.cpp looks Gemma's gelu up in a table of half-precision numbers
                # (ggml-cpu/vec.h, GGML_GELU_FP16), which would move logits of size 4 by 3e-3
                parameter.mul_(0.1).sub_(0.9)
            if key.endswith("norm.weight") and not name.startswith("gemma"):
                parameter.add_(1)


def _add_header(writer: gguf.GGUFWriter, config: Any) -> None:
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    ropes = config.rope_parameters
    full = ropes.get("full_attention", ropes)
    writer.add_context_length(CONTEXT)
    writer.add_block_count(LAYERS)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(head)
    writer.add_value_length(head)
    writer.add_rope_dimension_count(head)
    writer.add_rope_freq_base(full["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    if experts := getattr(config, "num_local_experts", 0) or getattr(config, "num_experts", 0):
        writer.add_expert_count(experts)
        writer.add_expert_used_count(config.num_experts_per_tok)
    if config.model_type == "qwen2_moe":
        writer.add_expert_feed_forward_length(config.moe_intermediate_size)
        writer.add_expert_shared_feed_forward_length(config.shared_expert_intermediate_size)
    if config.model_type.startswith("gemma"):
        writer.add_sliding_window(config.sliding_window)
        writer.add_sliding_window_pattern(2)
    if config.model_type == "gemma2":
        writer.add_attn_logit_softcapping(config.attn_logit_softcapping)
        writer.add_final_logit_softcapping(config.final_logit_softcapping)
    if config.model_type == "phi3":
        writer.add_rope_scaling_orig_ctx_len(CONTEXT)
        writer.add_sliding_window(0)


def _tensors(model: Any, architecture: str) -> Iterator[tuple[str, NDArray[np.float32]]]:
    kinds = {name: kind for kind, name in gguf.MODEL_ARCH_NAMES.items()}
    names = gguf.get_tensor_name_map(kinds[architecture], LAYERS)
    for key, tensor in _split_experts(model):
        if key == "lm_head.weight" and model.config.tie_word_embeddings:
            continue
        base, _, suffix = key.rpartition(".")
        values = tensor.numpy()
        if architecture == "llama" and base.endswith((".q_proj", ".k_proj")):
            values = _to_rope_pairs(values, model.config, base[-6])
        if architecture.startswith("gemma") and base.endswith("norm"):
            values = values + np.float32(1)
        if base.endswith("shared_expert_gate"):
            values = values[0]
        yield f"{names.get_name(base)}.{suffix}", values


def _split_experts(model: Any) -> Iterator[tuple[str, Any]]:
    for key, tensor in model.state_dict().items():
        base = key.rpartition(".")[0]
        if key.endswith("experts.gate_up_proj"):
            for name, half in zip(("gate_proj", "up_proj"), tensor.chunk(2, dim=1), strict=True):
                yield f"{base}.{name}.weight", half
        elif key.endswith("experts.down_proj"):
            yield f"{key}.weight", tensor
        else:
            yield key, tensor


def _to_rope_pairs(values: NDArray[Any], config: Any, which: str) -> NDArray[Any]:
    # row i of a head's first half goes beside row i of its second
    heads = config.num_attention_heads if which == "q" else config.num_key_value_heads
    halves = values.reshape(heads, 2, values.shape[0] // heads // 2, *values.shape[1:])
    return np.stack((halves[:, 0], halves[:, 1]), axis=2).reshape(values.shape)


def tiny_lora(
    tiny: Tiny, folder: Path, *, targets: Any = None, r: int = 4, alpha: float = 8, **config: Any
) -> Any:
    """Save a PEFT LoRA with random A and B for `tiny` in `folder`; return the adapted model.

    `targets` is what target_modules takes, by default all that the family has.
    """
    import torch
    from peft import LoraConfig, get_peft_model

    targets = list(tiny.family.targets) if targets is None else targets
    model = copy.deepcopy(tiny.model)
    wanted = LoraConfig(r=r, lora_alpha=alpha, target_modules=targets, task_type="CAUSAL_LM",
                        **config)  # fmt: skip
    with _without_warnings():
        adapted = get_peft_model(model, wanted)
        torch.manual_seed(7)
        with torch.no_grad():
            for name, parameter in adapted.named_parameters():
                if "lora_" in name:
                    size = 0.3 if "_B" in name else 1
                    parameter.normal_(std=size * parameter.shape[-1] ** -0.5)
        adapted.save_pretrained(folder)
    return adapted.eval()


def tiny_experts(tiny: Tiny, folder: Path, *, router: bool, r: int = 4) -> None:
    """Save an adapter of every expert, and of the router, as PEFT did with transformers 4."""
    import torch
    from safetensors.torch import save_file

    config = tiny.model.config
    width = getattr(config, "moe_intermediate_size", config.intermediate_size)
    mixtral = config.model_type == "mixtral"
    block = "block_sparse_moe" if mixtral else "mlp"
    gate, down, up = ("w1", "w2", "w3") if mixtral else ("gate_proj", "down_proj", "up_proj")
    shapes = {f"experts.{e}.{n}": (width, config.hidden_size) for e in range(EXPERTS)
              for n in (gate, up)}  # fmt: skip
    shapes |= {f"experts.{e}.{down}": (config.hidden_size, width) for e in range(EXPERTS)}
    shapes |= {"gate": (EXPERTS, config.hidden_size)} if router else {}
    tensors, random = {}, torch.Generator().manual_seed(3)
    for layer in range(LAYERS):
        for name, (out, inner) in shapes.items():
            module = f"base_model.model.model.layers.{layer}.{block}.{name}"
            tensors[f"{module}.lora_A.weight"] = torch.randn(r, inner, generator=random) / 8
            tensors[f"{module}.lora_B.weight"] = torch.randn(out, r, generator=random) / 3
    folder.mkdir()
    save_file(tensors, folder / "adapter_model.safetensors")
    targets = [gate, down, up, *(["gate"] if router else [])]
    (folder / "adapter_config.json").write_text(json.dumps({
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "r": r, "lora_alpha": 8, "bias": "none",
        "target_modules": targets, "inference_mode": True,
    }))  # fmt: skip


def load_experts(tiny: Tiny, folder: Path) -> Any:
    """Return `tiny` with the adapter that `tiny_experts` saved, loaded by PEFT."""
    from peft import PeftModel

    model = copy.deepcopy(tiny.model)
    if model.config.model_type == "qwen2_moe":
        # PEFT 0.21 fuses the experts of all that are built like qwen2_moe but not its own
        model.config.model_type = "qwen3_moe"
    with _without_warnings():
        return PeftModel.from_pretrained(model, folder).eval()


@contextmanager
def _without_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        # of PEFT and transformers: tied embeddings, saved layers, renamed experts
        warnings.simplefilter("ignore")
        yield


def torch_logits(model: Any) -> NDArray[np.float32]:
    """Return `model`'s logits of TOKENS, (tokens, vocabulary)."""
    import torch

    with torch.no_grad():
        return np.asarray(model(torch.tensor([TOKENS])).logits[0].numpy())


class Bench:
    """Tiny models, each made once, and llama.cpp beside torch."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.made: dict[Any, Tiny] = {}
        self.loaded: dict[Path, Any] = {}
        self.agreed: dict[Path, float] = {}

    def tiny(self, name: str, **shape: Any) -> Tiny:
        """Return the family's model; `shape` is what `tiny_family` takes."""
        key = (name, *sorted(shape.items()))
        if key not in self.made:
            path = self.folder / f"{name}-{len(self.made)}.gguf"
            self.made[key] = tiny_family(path, name, **shape)
        return self.made[key]

    def base_difference(self, tiny: Tiny) -> float:
        """Return the largest difference of a logit without any adapter."""
        if tiny.path not in self.agreed:
            found = torch_logits(tiny.model) - self.logits(tiny.path)
            self.agreed[tiny.path] = float(np.abs(found).max())
        return self.agreed[tiny.path]

    def difference(self, tiny: Tiny, adapted: Any, adapter: Path, scale: float = 1) -> float:
        """Return the largest difference of a logit between PEFT and the GGUF `adapter`."""
        found = torch_logits(adapted) - self.logits(tiny.path, adapter, scale)
        return float(np.abs(found).max())

    def effect(self, tiny: Tiny, adapted: Any) -> float:
        """Return how far PEFT's adapter moves a logit."""
        return float(np.abs(torch_logits(adapted) - torch_logits(tiny.model)).max())

    def logits(self, base: Path, adapter: Path | None = None, scale: float = 1) -> NDArray[Any]:
        """Return llama.cpp's logits of TOKENS, with an f32 cache and one thread."""
        if base not in self.loaded:
            self.loaded[base] = llama_native.Model(base, 0)
        model, count = self.loaded[base], len(TOKENS)
        with _exact():
            context = llama_native.Context(model, Layout(256, count), threads=1, batch=count)
        if adapter:
            context.set_adapter(model.load_adapter(adapter), scale)
        context.decode([llama_native.Slot(t, i, 0, True) for i, t in enumerate(TOKENS)])
        logits = np.stack([context.logits(i).copy() for i in range(count)])
        context.close()
        return logits

    def close(self) -> None:
        for model in self.loaded.values():
            model.close()


@contextmanager
def _exact() -> Iterator[None]:
    # a half-precision cache alone would differ from torch by 1e-3
    module: Any = llama_native
    native = module.llama_cpp
    start = native.llama_init_from_model

    def exact(model: Any, parameters: Any) -> Any:
        parameters.type_k = parameters.type_v = native.GGML_TYPE_F32
        parameters.flash_attn_type = native.LLAMA_FLASH_ATTN_TYPE_DISABLED
        return start(model, parameters)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(native, "llama_init_from_model", exact)
        yield
