"""Does llama.cpp take this adapter onto this base, and does the adapter act there?

Logits of a fixed text at scale 0 and at scale 1, from llama.cpp itself. Knows no PEFT.
"""

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lorid_local.cores import usable_cores
from lorid_local.errors import ModelError
from lorid_local.gguf_check import check_adapter, check_base
from lorid_local.gguf_header import read_header
from lorid_local.kv_cache import Layout
from lorid_local.llama_native import Context, Model, Slot

TEXT = "A box holds 12 eggs. How many eggs are in 5 boxes? 5 * 12 = 60"
CELLS = 256  # more tokens than the text has


def tokens_and_logits(base: Path, adapter: Path) -> tuple[list[int], NDArray[Any], NDArray[Any]]:
    """Return the text's tokens and their logits (tokens, vocabulary) at scale 0 and scale 1.

    Raises ModelError if the adapter does not fit the base or leaves the logits as they are.
    """
    header = read_header(base)
    check_base(header)
    check_adapter(read_header(adapter), header)
    with closing(Model(base, 0)) as model:
        tokens = model.tokenize(TEXT, False)
        loaded = model.load_adapter(adapter)
        with closing(_context(model, len(tokens))) as context:
            off = _logits(context, tokens, loaded, 0.0)
            on = _logits(context, tokens, loaded, 1.0)
    if np.array_equal(off, on):
        raise ModelError(
            f"{adapter.name}: the adapter does not act: llama.cpp's logits are the same at scale 0 "
            "and 1",
            hint="train it for at least one step, or convert it all the same with --verify=off",
        )
    return tokens, off, on


def _context(model: Model, count: int) -> Context:
    return Context(model, Layout(CELLS, count), threads=usable_cores(), batch=count)


def _logits(
    context: Context, tokens: Sequence[int], adapter: Any, scale: float
) -> NDArray[np.float32]:
    context.clear()
    context.set_adapter(adapter, scale)
    context.decode([Slot(token, i, 0, True) for i, token in enumerate(tokens)])
    return np.stack([context.logits(i).copy() for i in range(len(tokens))])
