"""Which base tensor each PEFT pair adapts, in which order of rows and with which scale.

llama.cpp multiplies B·A by alpha / rank, with one alpha a file (llama-adapter.h, get_scale).
The scale that PEFT uses, whatever made it, is therefore written as alpha = scale * rank; a
module that needs another alpha than the rest has the difference multiplied into its B.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lorid_convert import architectures, lora_file
from lorid_convert.architectures import HEAD, TOKENS, Architecture, Place
from lorid_convert.lora_file import Row
from lorid_convert.peft_config import MERGE, LoraConfig
from lorid_convert.peft_folder import Adapter, Pair
from lorid_local.gguf_header import Header

# llama.cpp gives a tied head the name token_embd.weight. It finds a head's adapter by that name,
# and a token adapter, whose A and B are turned, would reach the head's product and abort
# (llama-model.cpp, TENSOR_DUPLICATED; llama-graph.cpp, build_inp_embd and build_lora_mm).
_TIED = (
    "tied in the base: its head and token embeddings are one tensor, where llama.cpp cannot "
    f"apply an adapter; train without embed_tokens and lm_head, or {MERGE}"
)
Array = NDArray[np.float32]
Loaded = tuple[int, Pair, Array, Array]


@dataclass(frozen=True)
class Placed:
    """A base tensor and what adapts it: one pair, or one for each of its experts.

    `pairs` and `factors` (what B is multiplied by, 1 for most) are by expert, 0 where there are
    none. `rows` are as wide as the largest rank; what is smaller or lacking is zero there.
    """

    tensor: str
    pairs: dict[int, Pair]
    factors: dict[int, float]
    heads: int | None
    rows: tuple[Row, Row]


def place(
    adapter: Adapter, architecture: Architecture, base: Header, outtype: str, problems: list[str]
) -> tuple[float, tuple[Placed, ...]]:
    """Return the file's alpha and what each base tensor gets; what fits nowhere is a problem.

    Raises ConvertError if the base's own numbers contradict each other.
    """
    groups: dict[str, dict[int, Pair]] = {}
    places: dict[str, Place] = {}
    for pair in adapter.pairs:
        where = _place(pair, architecture, base, problems)
        if where is None:
            continue
        pairs = groups.setdefault(where.tensor, {})
        other = pairs.setdefault(where.expert or 0, pair)
        if other is not pair:
            problems.append(
                f"module {pair.module}: adapts {where.tensor} as {other.module} does; "
                "keep one of them"
            )
        places[where.tensor] = where
    _check_copies(adapter, architecture, base, problems)
    alpha = _file_alpha(adapter.config, groups)
    return alpha, tuple(
        _placed(adapter.config, alpha, outtype, places[tensor], pairs, base)
        for tensor, pairs in groups.items()
    )


def load(adapter: Adapter, placed: Placed) -> Iterator[Loaded]:
    """Yield each pair with its expert, its A and its B, as the base wants them."""
    for expert, pair in placed.pairs.items():
        a, b = adapter.load(pair)
        if pair.embedding:
            a = np.ascontiguousarray(a.T)  # llama.cpp looks a token's row up
        if placed.heads is not None:
            b = architectures.permute(b, placed.heads)
        if (factor := placed.factors[expert]) != 1:
            with np.errstate(over="ignore", invalid="ignore"):  # what is infinite is told of
                b = b * np.float32(factor)
        yield expert, pair, a, b


def tensors(adapter: Adapter, placed: Placed) -> tuple[Array, Array]:
    """Return A and B as they are written, those of experts stacked."""
    return stacked(placed, load(adapter, placed))


def stacked(placed: Placed, loaded: Iterator[Loaded]) -> tuple[Array, Array]:
    """Return what `load` yields as it is written, that of experts stacked."""
    if len(placed.rows[0].shape) == 2:
        _, _, a, b = next(loaded)
        return a, b
    all_a, all_b = (np.zeros(row.shape, np.float32) for row in placed.rows)
    for expert, pair, a, b in loaded:
        all_a[expert, : pair.rank], all_b[expert, :, : pair.rank] = a, b
    return all_a, all_b


def _place(
    pair: Pair, architecture: Architecture, base: Header, problems: list[str]
) -> Place | None:
    where, module = architecture.place(pair.module), pair.module
    if where is None or (where.tensor == TOKENS) != pair.embedding:
        parts = ", ".join(dict.fromkeys(architecture.trainable(base)))
        problems.append(
            f"module {module}: not convertible; train with target_modules among {parts}"
        )
    elif where.tensor in (TOKENS, HEAD) and HEAD not in base.tensors:
        problems.append(f"module {module}: {_TIED}")
    elif where.tensor not in base.tensors:
        problems.append(f"module {module}: the base has no tensor {where.tensor}")
    elif (found := _shape(pair)) != (shape := _adapted(where, base)):
        problems.append(f"module {module}: fits {found}, the base's {where.tensor} is {shape}")
    else:
        return where
    return None


def _shape(pair: Pair) -> tuple[int, int]:
    """Return the shape of the weight that `pair` adapts."""
    shape = pair.b.shape[0], pair.a.shape[1]
    return (shape[1], shape[0]) if pair.embedding else shape


def _adapted(where: Place, base: Header) -> tuple[int, ...]:
    """Return the shape of the weight at `where` in `base`, of more than 2 numbers if none fits."""
    shape = base.tensors[where.tensor].shape
    if where.expert is not None and len(shape) == 3 and where.expert < shape[0]:
        return shape[1:]
    # a vector is a matrix of one row to llama.cpp (qwen2moe's ffn_gate_inp_shexp)
    return (1, *shape) if len(shape) == 1 or where.expert is not None else shape


def _check_copies(
    adapter: Adapter, architecture: Architecture, base: Header, problems: list[str]
) -> None:
    adapted = {pair.module for pair in adapter.pairs}
    for module, entry in adapter.copies.items():
        where = architecture.place(module)
        tensor = base.tensors.get(where.tensor) if where else None
        if module in adapted and (tensor is None or entry.shape == tensor.shape):
            continue  # the base's own weight, or the module has been refused already
        problems.append(
            f"tensor {entry.name}: a whole layer of shape {entry.shape}, not the base's; "
            f"a GGUF LoRA holds none; {MERGE}"
        )


def _file_alpha(config: LoraConfig, groups: dict[str, dict[int, Pair]]) -> float:
    """Return the alpha that most modules need, so that few B are changed."""
    counts = Counter(
        _alpha(config, pair, _rank(pairs)) for pairs in groups.values() for pair in pairs.values()
    )
    counts.pop(0.0, None)  # to llama.cpp 0 means that none is given, at full strength
    return counts.most_common(1)[0][0] if counts else 1.0


def _alpha(config: LoraConfig, pair: Pair, rank: int) -> float:
    """Return the alpha that gives `pair` its own scale where llama.cpp divides by `rank`."""
    alpha = config.scale_times_rank(pair.module, pair.rank)
    return alpha if rank == pair.rank else alpha * rank / pair.rank


def _rank(pairs: dict[int, Pair]) -> int:
    return max(pair.rank for pair in pairs.values())


def _placed(
    config: LoraConfig,
    alpha: float,
    outtype: str,
    where: Place,
    pairs: dict[int, Pair],
    base: Header,
) -> Placed:
    rank, shape = _rank(pairs), base.tensors[where.tensor].shape
    out, width = _adapted(where, base)
    shapes = (
        ((out, rank), (width, rank)) if where.tensor == TOKENS else ((rank, width), (out, rank))
    )
    experts = shape[:1] if where.expert is not None else ()
    a, b = (
        Row(f"{where.tensor}.{side}", (*experts, *one), rank,
            lora_file.choose_type(outtype, one[-1]))
        for side, one in zip(("lora_a", "lora_b"), shapes, strict=True)
    )  # fmt: skip
    factors = {key: _alpha(config, pair, rank) / alpha for key, pair in pairs.items()}
    return Placed(where.tensor, pairs, factors, architectures.heads(where, base), (a, b))
