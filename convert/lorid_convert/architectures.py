"""The architectures that can be converted: which GGUF tensor a Hugging Face module becomes.

An allow-list: a new architecture is a new row here, with a parity test of its own. Names are
those of gguf-py's tensor_mapping.py; which rows are permuted is read from llama.cpp's
conversion/ (of these, llama.py alone permutes). That Gemma's norms are stored with 1 added
does not matter: no LoRA changes a norm.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lorid_local.errors import ConvertError
from lorid_local.gguf_header import Header

_LAYER = re.compile(r"(?P<root>.+)\.layers\.(?P<layer>[0-9]{1,4})\.(?P<part>.+)")
_EXPERT = re.compile(r"(?P<before>.+\.experts)\.(?P<expert>[0-9]{1,4})\.(?P<after>.+)")
TOKENS, HEAD = "token_embd.weight", "output.weight"


@dataclass(frozen=True)
class Place:
    """The base tensor that a module adapts; `expert` is its index where experts share a tensor.

    `heads_key` names the header key with the number of heads to permute the rows by, if any.
    """

    tensor: str
    expert: int | None = None
    heads_key: str = ""


@dataclass(frozen=True)
class Architecture:
    """`parts` maps a module within a layer to its tensor within a block ('*': any expert).

    `rotated` names the tensors whose rows GGUF stores in ggml's rope order, with the header key
    that holds their number of heads. `roots` are the names that the text model may have.
    """

    name: str
    parts: Mapping[str, str]
    rotated: Mapping[str, str] = field(default_factory=dict)
    roots: tuple[str, ...] = ("model",)

    def place(self, module: str) -> Place | None:
        """Return the base tensor that `module` adapts, or None if there is none in the table."""
        if module in (f"{root}.embed_tokens" for root in self.roots):
            return Place(TOKENS)
        if module == "lm_head":
            return Place(HEAD)
        layer = _LAYER.fullmatch(module)
        if not layer or layer["root"] not in self.roots:
            return None
        part, expert = layer["part"], _EXPERT.fullmatch(layer["part"])
        if expert:
            part = f"{expert['before']}.*.{expert['after']}"
        name = self.parts.get(part)
        if name is None:
            return None
        index = int(expert["expert"]) if expert else None
        return Place(f"blk.{layer['layer']}.{name}.weight", index, self.rotated.get(name, ""))

    def trainable(self, base: Header) -> Iterator[str]:
        """Yield the short names of the modules that can be converted for `base`."""
        for part, name in self.parts.items():
            if f"blk.0.{name}.weight" in base.tensors:
                yield part.rpartition(".")[2]
        if HEAD in base.tensors:
            yield from ("embed_tokens", "lm_head")


def heads(place: Place, base: Header) -> int | None:
    """Return the number of heads to permute the rows at `place` by; None: leave them.

    `base` has the tensor. Raises ConvertError if its heads do not fit.
    """
    if not place.heads_key:
        return None
    count = base.get(place.heads_key, base.get("attention.head_count"))
    rows = base.tensors[place.tensor].shape[0]
    if type(count) is not int or count < 1 or rows % (2 * count):
        raise ConvertError(
            f"{base.path}: {base.architecture}.{place.heads_key} is {count!r}, which does not "
            f"split the {rows} rows of {place.tensor} into heads",
            hint="use a base whose layers all have the same number of heads",
        )
    return count


_ATTENTION = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
}
_DENSE = _ATTENTION | {
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
# one tensor holds a layer's experts; llama.cpp applies a LoRA expert by expert
# (llama-graph.cpp, build_lora_mm_id)
_MIXTRAL = {
    "block_sparse_moe.gate": "ffn_gate_inp",
    "block_sparse_moe.experts.*.w1": "ffn_gate_exps",
    "block_sparse_moe.experts.*.w2": "ffn_down_exps",
    "block_sparse_moe.experts.*.w3": "ffn_up_exps",
}
_QWEN_EXPERTS = {
    "mlp.gate": "ffn_gate_inp",
    "mlp.experts.*.gate_proj": "ffn_gate_exps",
    "mlp.experts.*.down_proj": "ffn_down_exps",
    "mlp.experts.*.up_proj": "ffn_up_exps",
    "mlp.shared_expert_gate": "ffn_gate_inp_shexp",
    "mlp.shared_expert.gate_proj": "ffn_gate_shexp",
    "mlp.shared_expert.down_proj": "ffn_down_shexp",
    "mlp.shared_expert.up_proj": "ffn_up_shexp",
}
_PHI3 = {
    "self_attn.qkv_proj": "attn_qkv",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
# Gemma 3 with images keeps its text model under one of the longer names
_WITH_IMAGES = ("model", "model.language_model", "language_model.model")

ROWS = (
    # also Mistral and Mixtral: their GGUF files say llama
    Architecture(
        "llama",
        _DENSE | _MIXTRAL,
        rotated={"attn_q": "attention.head_count", "attn_k": "attention.head_count_kv"},
    ),
    Architecture("qwen2", _DENSE),
    Architecture("qwen3", _DENSE),
    Architecture("qwen2moe", _ATTENTION | _QWEN_EXPERTS),
    Architecture("gemma2", _DENSE),
    Architecture("gemma3", _DENSE, roots=_WITH_IMAGES),
    Architecture("phi3", _PHI3),
)
SUPPORTED = {architecture.name: architecture for architecture in ROWS}


def of(base: Header) -> Architecture:
    """Return `base`'s architecture; raises ConvertError if it is not in the table."""
    if base.metadata.get("general.type", "model") != "model":
        raise ConvertError(
            f"{base.path}: a GGUF file of type {base.metadata['general.type']!r}, not a model",
            hint="give the base model's file: lorid convert PEFT_DIR --base BASE.gguf",
        )
    if base.architecture not in SUPPORTED:
        raise ConvertError(
            f"{base.path}: architecture {base.architecture!r} cannot be converted; "
            f"supported: {', '.join(SUPPORTED)}",
            hint="llama.cpp's convert_lora_to_gguf.py knows more (but not use_rslora)",
        )
    return SUPPORTED[base.architecture]


def permute(rows: NDArray[np.float32], heads: int) -> NDArray[np.float32]:
    """Reorder (out, n) rows from Hugging Face's rope halves to ggml's rope pairs, per head."""
    out = rows.shape[0]
    return rows.reshape(heads, 2, out // heads // 2, -1).swapaxes(1, 2).reshape(rows.shape)


def unpermute(rows: NDArray[Any], heads: int) -> NDArray[Any]:
    """Reorder (out, n) rows back from ggml's rope pairs to Hugging Face's rope halves."""
    out = rows.shape[0]
    return rows.reshape(heads, out // heads // 2, 2, -1).swapaxes(1, 2).reshape(rows.shape)
