"""The architectures that can be converted: which GGUF tensor a Hugging Face module becomes.

An allow-list: a new architecture is a new row here, with a parity test of its own. Names are
those of gguf-py's tensor_mapping.py; the permutation is llama.cpp's LlamaModel.permute
(conversion/llama.py).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lorid_local.errors import ConvertError
from lorid_local.gguf_header import Header

_LAYER = re.compile(r"model\.layers\.(?P<layer>\d+)\.(?P<part>.+)")


@dataclass(frozen=True)
class Architecture:
    """`parts` maps a module within a layer to its tensor within a block.

    `rotated` names the parts whose rows GGUF stores in ggml's rope order, with the header key
    that holds their number of heads.
    """

    name: str
    parts: Mapping[str, str]
    rotated: Mapping[str, str]

    def tensor(self, module: str) -> str | None:
        """Return the base tensor that `module` adapts, or None if there is none in the table."""
        match = _LAYER.fullmatch(module)
        part = self.parts.get(match["part"]) if match else None
        return f"blk.{match['layer']}.{part}.weight" if match and part else None

    def heads(self, module: str, base: Header) -> int | None:
        """Return the number of heads to permute `module`'s rows by; None: leave them.

        `base` has the module's tensor. Raises ConvertError if its heads do not fit.
        """
        match = _LAYER.fullmatch(module)
        key = self.rotated.get(match["part"]) if match else None
        if key is None:
            return None
        heads = base.get(key, base.get("attention.head_count"))
        rows = base.tensors[str(self.tensor(module))].shape[0]
        if type(heads) is not int or heads < 1 or rows % (2 * heads):
            raise ConvertError(
                f"{base.path}: {self.name}.{key} is {heads!r}, which does not split the "
                f"{rows} rows of {self.tensor(module)} into heads",
                hint="use a base whose layers all have the same number of heads",
            )
        return heads


LLAMA = Architecture(
    name="llama",
    parts={
        "self_attn.q_proj": "attn_q",
        "self_attn.k_proj": "attn_k",
        "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output",
        "mlp.gate_proj": "ffn_gate",
        "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down",
    },
    rotated={
        "self_attn.q_proj": "attention.head_count",
        "self_attn.k_proj": "attention.head_count_kv",
    },
)
SUPPORTED = {architecture.name: architecture for architecture in (LLAMA,)}


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
