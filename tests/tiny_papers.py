"""The paper's five bases, tiny: their architectures, kinds of tokenizer and chat templates.

`reference` tokenizes as their tokenizer.json does, by the tokenizers library: text goes in with
the special tokens in it, as LLaMA-Factory encodes a turn. It shares the vocabulary with the GGUF
and nothing else. Regular expressions are cut down to what they say of ASCII.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import gguf

from tests.tiny import MERGES, byte_letters
from tests.tiny_families import VOCAB, Tiny, tiny_family

LETTERS = "\u2581thenasiro"  # what a SentencePiece of them is made of; other bytes fall back
PIECES = ("\u2581t", "he", "in", "an", "re", "\u2581a", "\u2581the", "er", "on", "\u2581s", "at",
          "es", "or", "st", "en", "is", "it", "\u2581an", "ti")  # fmt: skip
GPT4 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,%d}"
        r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")  # fmt: skip
SPLITS = {
    "llama-bpe": (GPT4 % 3,),
    "qwen2": (GPT4 % 1,),
    "deepseek-llm": (r"[\r\n]", r"\s?[A-Za-z]+", r"\s?[!-/:-~]+", r"\s+$", r"\p{N}"),
}
EACH = "{%% for m in messages %%}{%% if m['role'] == 'user' %%}{{ %s }}{%% endif %%}{%% endfor %%}"


@dataclass(frozen=True)
class PaperBase:
    """A base: its prompt profile, GGUF `pre` tokenizer ('' is SentencePiece), and what it sees.

    `sees` is REFERENCE's row: what follows BOS, with {c} for the turn.
    """

    prompt: str
    family: str
    kv_heads: int
    pre: str
    special: tuple[str, ...]
    bos: str
    eos: str
    sees: str
    template: str
    adds_bos: bool = True
    ends: tuple[str, ...] = ()  # stops at these as well as at eos

    @property
    def tokens(self) -> list[str]:
        """All tokens, in the order of their ids."""
        if not self.pre:
            return [*self.special, *(f"<0x{i:02X}>" for i in range(256)), *LETTERS, *PIECES]
        known = [*self.special, *byte_letters(), *(merge.replace(" ", "") for merge in MERGES)]
        return known + [f"<|spare_{i}|>" for i in range(VOCAB - len(known))]


BASES = {
    "llama-2-7b": PaperBase(
        "llama2", "llama", 4, "", ("<unk>", "<s>", "</s>"), "<s>", "</s>",
        "[INST] {c} [/INST]",
        EACH % "bos_token + '[INST] ' + m['content'] + ' [/INST]'",
    ),
    "llama-3-8b": PaperBase(
        "llama3", "llama", 2, "llama-bpe",
        ("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>",
         "<|eot_id|>", "<|eom_id|>"),
        "<|begin_of_text|>", "<|end_of_text|>",
        "<|start_header_id|>user<|end_header_id|>\n\n{c}<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
        EACH % ("bos_token + '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n' + "
                "m['content'] | trim + '<|eot_id|>'")
        + "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}",
        ends=("<|eot_id|>", "<|eom_id|>"),
    ),
    "mistral-7b": PaperBase(
        "mistral", "mistral", 2, "", ("<unk>", "<s>", "</s>"), "<s>", "</s>",
        "[INST] {c}[/INST]",
        EACH % "bos_token + '[INST] ' + m['content'] + '[/INST]'",
    ),
    "qwen2.5-math-7b": PaperBase(
        "qwen", "qwen2", 2, "qwen2", ("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
        "<|endoftext|>", "<|endoftext|>",
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n{c}"
        "<|im_end|>\n<|im_start|>assistant\n",
        "{{ '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}"
        + EACH % "'<|im_start|>user\n' + m['content'] + '<|im_end|>\n'"
        + "{{ '<|im_start|>assistant\n' }}",
        adds_bos=False,
        ends=("<|im_end|>",),
    ),
    "deepseekmath-7b": PaperBase(
        "deepseek", "llama", 4, "deepseek-llm",
        ("<\uff5cbegin\u2581of\u2581sentence\uff5c>", "<\uff5cend\u2581of\u2581sentence\uff5c>"),
        "<\uff5cbegin\u2581of\u2581sentence\uff5c>", "<\uff5cend\u2581of\u2581sentence\uff5c>",
        "User: {c}\n\nAssistant:",
        "{{ bos_token }}" + EACH % "'User: ' + m['content'] + '\n\n'" + "{{ 'Assistant:' }}",
    ),
}  # fmt: skip


def tiny_paper(path: Path, base: PaperBase) -> Tiny:
    """Make a random model of the base's architecture, with a tokenizer of its kind."""
    add = partial(_add_tokenizer, base)
    return tiny_family(path, base.family, kv_heads=base.kv_heads, tokenizer=add)


def _add_tokenizer(base: PaperBase, writer: gguf.GGUFWriter, vocab: int) -> None:
    kinds = gguf.TokenType
    tokens = base.tokens
    assert len(tokens) == vocab, len(tokens)
    special = [t in base.special or t.startswith("<|spare") for t in tokens]
    types = [int(kinds.CONTROL if s else kinds.NORMAL) for s in special]
    if base.pre:
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(base.pre)
        writer.add_token_merges(list(MERGES))
    else:
        writer.add_tokenizer_model("llama")
        writer.add_tokenizer_pre("default")
        types = [int(kinds.BYTE) if t.startswith("<0x") else k
                 for t, k in zip(tokens, types, strict=True)]  # fmt: skip
        types[0] = int(kinds.UNKNOWN)
        writer.add_token_scores([_score(t) for t in tokens])
        writer.add_add_space_prefix(True)
        writer.add_unk_token_id(0)
    writer.add_vocab_size(vocab)
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_bos_token_id(tokens.index(base.bos))
    writer.add_eos_token_id(tokens.index(base.eos))
    writer.add_add_bos_token(base.adds_bos)
    writer.add_chat_template(base.template)


def _score(token: str) -> float:
    """A piece's score falls with its place; letters come last, so that merges are tried first."""
    return -float(PIECES.index(token)) if token in PIECES else -1e3


def reference(base: PaperBase) -> Callable[[str], list[int]]:
    """Return what makes ids of a text that holds special tokens, BOS not added."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers
    from tokenizers.pre_tokenizers import ByteLevel, Sequence, Split

    ids = {token: i for i, token in enumerate(base.tokens)}
    merges = [m.split() for m in MERGES] if base.pre else [*_splits_of_pieces(ids)]
    pairs = [(left, right) for left, right in merges]
    more: dict[str, Any] = {} if base.pre else {"unk_token": "<unk>", "byte_fallback": True}
    made = Tokenizer(models.BPE(vocab=ids, merges=pairs, fuse_unk=not base.pre, **more))
    if base.pre:
        splits = [Split(Regex(s), "isolated") for s in SPLITS[base.pre]]
        made.pre_tokenizer = Sequence([*splits, ByteLevel(add_prefix_space=False, use_regex=False)])
        made.decoder = decoders.ByteLevel()
    else:
        made.normalizer = normalizers.Sequence(
            [normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]
        )
    made.add_special_tokens([AddedToken(t, normalized=False) for t in base.special])
    return lambda text: list(made.encode(text, add_special_tokens=False).ids)


def _splits_of_pieces(ids: dict[str, int]) -> Any:
    for piece in PIECES:
        for at in range(1, len(piece)):
            if piece[:at] in ids and piece[at:] in ids:
                yield [piece[:at], piece[at:]]
