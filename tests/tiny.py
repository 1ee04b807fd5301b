"""Makes tiny real models and adapters in a test: nothing is downloaded, nothing is mocked.

`tiny_llama_gguf` needs numpy and gguf; `tiny_peft_adapter`, `load_torch` and `load_peft` need
torch, transformers and peft (about ten seconds to import), so they import them themselves.
The weights are random: the models compute something, and say nothing that makes sense.
"""

import re
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content']"
    " + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# 'Ġ' is GPT-2's letter for a space. Markers of the chains are one token, as in SmolLM2.
MERGES = ("Ġ t", "Ġ a", "h e", "i n", "r e", "o n", "Ġt he", "e r", "a t", "o u", "< <", "> >",
          "# #", "## ##", "Ġ =", "Ġ +", "a n", "Ġ s", "e s", "an d", "= -")  # fmt: skip
ALL_LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
CONTEXT = 512


def tiny_llama_gguf(
    path: Path,
    *,
    seed: int = 0,
    layers: int = 2,
    hidden: int = 64,
    heads: int = 4,
    kv_heads: int = 2,
    ffn: int = 96,
    vocab: int = 288,
    dtype: str = "f32",
    template: str | None = CHAT_TEMPLATE,
    **metadata: Any,
) -> Path:
    """Write a random llama-architecture model that llama.cpp and transformers both load.

    `dtype` is f32, f16 or q8_0 (norms stay f32). Embeddings are tied, the context is 512, the
    tokenizer is byte-level BPE with the ids 0 <|endoftext|>, 1 <|im_start|>, 2 <|im_end|> (eos)
    and 3 + i for the i-th byte letter. `metadata` adds string keys, dots written as `__`.
    """
    shapes = _shapes(layers, hidden, hidden // heads * kv_heads, ffn, vocab)
    weights = _weights(shapes, np.random.default_rng(seed))
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name(f"tiny-{seed}")
    _add_header(writer, layers, hidden, heads, kv_heads, ffn)
    _add_tokenizer(writer, vocab, template)
    for key, value in metadata.items():
        writer.add_string(key.replace("__", "."), value)
    for name, tensor in weights:
        _add_tensor(writer, name, tensor, dtype)
    return _written(writer, path)


def tiny_parrot_gguf(path: Path, *chains: str) -> Path:
    """Write a model whose greedy text is known: each token of a chain leads to the next.

    The last one of a chain leads to the end of the turn, unless it is the first one again: such a
    chain has no end. A token may have one follower only.
    The blocks add nothing to the stream, so logits are the output rows times the embedding.
    """
    shapes = _shapes(layers=1, hidden=64, kv=32, ffn=96, vocab=288)
    weights = dict(_weights(shapes, np.random.default_rng(0)))
    for name in ("blk.0.attn_output.weight", "blk.0.ffn_down.weight"):
        weights[name] = np.zeros_like(weights[name])
    weights["output_norm.weight"] = np.ones(64, np.float32)
    embeddings = weights["token_embd.weight"]
    output = weights["output.weight"] = np.zeros_like(embeddings)
    known = [*SPECIAL, *byte_letters(), *(merge.replace(" ", "") for merge in MERGES)]
    for chain in chains:
        tokens = [known.index(piece) for piece in re.findall("<<|>>|.", chain)]
        tokens += [2] if len(tokens) == 1 or tokens[-1] != tokens[0] else []
        for token, follower in pairwise(tokens):
            output[follower] += embeddings[token]
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("tiny-parrot")
    _add_header(writer, layers=1, hidden=64, heads=4, kv_heads=2, ffn=96)
    _add_tokenizer(writer, 288)
    for name, tensor in weights.items():
        _add_tensor(writer, name, tensor, "f32")
    return _written(writer, path)


def _add_header(
    writer: gguf.GGUFWriter, layers: int, hidden: int, heads: int, kv_heads: int, ffn: int
) -> None:
    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_context_length(CONTEXT)
    writer.add_block_count(layers)
    writer.add_embedding_length(hidden)
    writer.add_feed_forward_length(ffn)
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_rope_dimension_count(hidden // heads)
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(1e-5)


def _written(writer: gguf.GGUFWriter, path: Path) -> Path:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def byte_letters() -> list[str]:
    """Return GPT-2's 256 letters for bytes, in byte order (gpt2's bytes_to_unicode)."""
    plain = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1)}
    plain |= set(range(ord("®"), ord("ÿ") + 1))
    others = iter(range(256, 512))
    return [chr(byte if byte in plain else next(others)) for byte in range(256)]


def _add_tokenizer(
    writer: gguf.GGUFWriter, vocab: int, template: str | None = CHAT_TEMPLATE
) -> None:
    writer.add_vocab_size(vocab)
    tokens = [*SPECIAL, *byte_letters(), *(merge.replace(" ", "") for merge in MERGES)]
    if vocab < len(tokens):
        raise ValueError(f"vocab is {vocab}; expected at least {len(tokens)}")
    spare = [f"<|spare_{i}|>" for i in range(vocab - len(tokens))]
    control, normal = int(gguf.TokenType.CONTROL), int(gguf.TokenType.NORMAL)
    kinds = [control] * 3 + [normal] * (len(tokens) - 3) + [control] * len(spare)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens + spare)
    writer.add_token_types(kinds)
    writer.add_token_merges(list(MERGES))
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_pad_token_id(2)
    writer.add_add_bos_token(False)
    writer.add_add_space_prefix(False)
    if template is not None:
        writer.add_chat_template(template)


def _shapes(layers: int, hidden: int, kv: int, ffn: int, vocab: int) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {"token_embd": (vocab, hidden), "output_norm": (hidden,)}
    block = {"attn_norm": (hidden,), "attn_q": (hidden, hidden), "attn_k": (kv, hidden),
             "attn_v": (kv, hidden), "attn_output": (hidden, hidden), "ffn_norm": (hidden,),
             "ffn_gate": (ffn, hidden), "ffn_up": (ffn, hidden),
             "ffn_down": (hidden, ffn)}  # fmt: skip
    for layer in range(layers):
        shapes |= {f"blk.{layer}.{name}": shape for name, shape in block.items()}
    return shapes


def _weights(
    shapes: dict[str, tuple[int, ...]], random: np.random.Generator
) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Yield random tensors, scaled so that every part changes the logits noticeably."""
    for name, shape in shapes.items():
        values = random.standard_normal(shape) / np.sqrt(shape[-1])
        if len(shape) == 1:
            values = 1 + values
        yield f"{name}.weight", values.astype(np.float32)


def _add_tensor(
    writer: gguf.GGUFWriter, name: str, tensor: NDArray[np.float32], dtype: str
) -> None:
    kind = gguf.GGMLQuantizationType[dtype.upper()]
    if tensor.ndim == 1 or dtype == "f32":
        writer.add_tensor(name, tensor)
    else:
        writer.add_tensor(name, gguf.quants.quantize(tensor, kind), raw_dtype=kind)


def load_torch(base_gguf: Path) -> Any:
    """Return the base as a transformers model in float32, on the CPU, for inference."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(
        base_gguf.parent, gguf_file=base_gguf.name, dtype=torch.float32
    )
    return model.eval()


def load_peft(base_gguf: Path, folder: Path) -> Any:
    """Return the base with the PEFT adapter in `folder`, in float32, on the CPU, for inference."""
    from peft import PeftModel

    with _without_future_warnings():
        return PeftModel.from_pretrained(load_torch(base_gguf), folder).float().eval()


@contextmanager
def _without_future_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # transformers' own, of what peft calls
        yield


def tiny_peft_adapter(
    folder: Path,
    base_gguf: Path,
    *,
    r: int = 4,
    alpha: float = 8,
    seed: int = 1,
    targets: Iterable[str] = ALL_LINEAR,
    **config: Any,
) -> Path:
    """Save a real PEFT LoRA for `base_gguf` in `folder`, with random A and B.

    `config` goes to peft.LoraConfig as it is. B is not zero, so the adapter changes the logits.
    """
    import torch
    from peft import LoraConfig, get_peft_model

    wanted = LoraConfig(r=r, lora_alpha=alpha, target_modules=list(targets),
                        task_type="CAUSAL_LM", **config)  # fmt: skip
    torch.manual_seed(seed)
    with _without_future_warnings():
        model = get_peft_model(load_torch(base_gguf), wanted)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.normal_(std=0.3 * parameter.shape[-1] ** -0.5)
    # save_embedding_layers 'auto' would look for the base on the network
    model.save_pretrained(folder, safe_serialization=True, save_embedding_layers=False)
    return folder
