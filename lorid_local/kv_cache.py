"""How a role's KV cache is laid out: how many cells (tokens), for all samples or for each one.

llama.cpp can hold all sequences in one cache ("unified"), where they share a prompt's cells, or
give each a stream of its own. In the unified one every sample's attention passes over the cells
of all others: 16 samples of 512 tokens run at 0.70 of the speed they have in streams of their
own (llama-batched-bench, 135M base, 2 cores). Streams take more memory where samples share a
long prompt. So few or short samples get the unified cache and many get streams.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lorid_local.engine import Request
from lorid_local.gguf_header import Header

MIB = 1 << 20
CELL_STEP = 256  # contexts grow in steps, so that a longer problem does not remake them
PASSED_OVER = 4  # streams, where the unified cache holds so many times a sample's own cells
ELEMENT = 2  # bytes, f16


def kv_bytes(header: Header, cells: int) -> int | None:
    """Return the bytes of keys and values of `cells` tokens in f16; None if the header lacks it.

    layers x kv heads x (key + value length) x 2 x cells. Models that keep only a window of the
    tokens, or no keys and values at all in some layers, take less.
    """
    layers, heads = header.get("block_count"), header.get("attention.head_count")
    kv_heads = header.get("attention.head_count_kv", heads)
    keys = header.get("attention.key_length") or _head_length(header, heads)
    values = header.get("attention.value_length") or _head_length(header, heads)
    if not (isinstance(layers, int) and keys and values):
        return None
    if isinstance(kv_heads, int):
        kv_heads = (kv_heads,) * layers
    if not isinstance(kv_heads, tuple):  # a list that is too long to be kept, or nothing
        return None
    return int(sum(kv_heads) * (keys + values) * ELEMENT * cells)


def _head_length(header: Header, heads: Any) -> int | None:
    size = header.get("embedding_length")
    return size // heads if isinstance(size, int) and isinstance(heads, int) and heads else None


@dataclass(frozen=True)
class Layout:
    """`sequences` that share `cells` tokens, or of `cells` tokens each if in `streams`."""

    cells: int
    sequences: int
    streams: bool = False

    @property
    def total(self) -> int:
        """The tokens that the whole cache has room for."""
        return self.cells * self.sequences if self.streams else self.cells


@dataclass(frozen=True)
class Need:
    """What samples may need at once: cells of the `longest` with its prompt, cells of all
    `together` where prompts are shared, and `sequences`, the one of the kept prompt included."""

    longest: int
    together: int
    sequences: int

    def joined(self, other: "Need") -> "Need":
        """Return what is enough for both, one after the other."""
        return Need(
            max(self.longest, other.longest),
            max(self.together, other.together),
            max(self.sequences, other.sequences),
        )

    def layout(self, stream_cells: int) -> Layout:
        """Return the layout that serves best; streams may hold `stream_cells` in all."""
        streams = Layout(self.longest, self.sequences, streams=True)
        if self.together >= PASSED_OVER * self.longest and streams.total <= stream_cells:
            return streams
        return Layout(self.together, self.sequences)

    def fits(self, layout: Layout) -> bool:
        """True if a cache of this layout has the room."""
        cells = self.longest if layout.streams else self.together
        return cells <= layout.cells and self.sequences <= layout.sequences


def need(requests: Sequence[Request], prompts: Sequence[Sequence[int]], width: int) -> Need:
    """Return what `width` samples at once may need; `prompts` are the requests' tokens."""
    one_prompt = all(prompt == prompts[0] for prompt in prompts)
    alone = [r.max_tokens + len(p) for p, r in zip(prompts, requests, strict=True)]
    added = [request.max_tokens for request in requests] if one_prompt else alone
    together = max(map(len, prompts)) + sum(sorted(added)[-width:])
    return Need(_in_steps(max(alone)), _in_steps(together), width + 1)


def _in_steps(cells: int) -> int:
    return -(-cells // CELL_STEP) * CELL_STEP
