"""Reads a safetensors file strictly, a tensor at a time, as float32 numpy arrays.

Format: README of huggingface/safetensors. Own code and not the package, because its numpy
side has no bfloat16 and PEFT saves that. Knows F32, F16 and BF16; nothing of LoRA.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lorid_local.errors import ModelError

MAX_HEADER = 100_000_000  # bytes; the limit of the safetensors package
ITEM_SIZES = {"F32": 4, "F16": 2, "BF16": 2}


@dataclass(frozen=True)
class Entry:
    """A tensor's place: `start` is its byte offset in the file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    nbytes: int


def read_table(path: Path) -> dict[str, Entry]:
    """Return the tensors that `path` lists; raises ModelError if it is missing or damaged."""
    try:
        with open(path, "rb") as file:
            size = path.stat().st_size
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or length > min(MAX_HEADER, size - 8):
                raise ValueError(f"its header would end at byte {8 + length} of {size}")
            table = json.loads(file.read(length), object_pairs_hook=_without_repeats)
        return _entries(table, 8 + length, size)
    except OSError as error:
        raise _unreadable(path, error) from None
    except (ValueError, RecursionError) as error:  # json's and Unicode's errors are ValueErrors
        raise ModelError(
            f"{path}: not a safetensors file, or damaged: {error}",
            hint="copy or download the adapter again",
        ) from None


def load(path: Path, entry: Entry) -> NDArray[np.float32]:
    """Read one tensor as float32; raises ModelError if the file has changed or is unreadable."""
    try:
        with open(path, "rb") as file:
            file.seek(entry.start)
            raw = file.read(entry.nbytes)
    except OSError as error:
        raise _unreadable(path, error) from None
    if len(raw) != entry.nbytes:
        raise ModelError(f"{path}: changed while it was read", hint="run the command again")
    return _as_float32(raw, entry.dtype).reshape(entry.shape)


def _unreadable(path: Path, error: OSError) -> ModelError:
    return ModelError(f"{path}: cannot be read ({error.strerror})", hint="check the path")


def _as_float32(raw: bytes, dtype: str) -> NDArray[np.float32]:
    if dtype == "BF16":  # the upper half of a float32
        return (np.frombuffer(raw, "<u2").astype("<u4") << 16).view("<f4")
    return np.frombuffer(raw, "<f4" if dtype == "F32" else "<f2").astype("<f4")


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("its header names a tensor twice")
    return table


def _entries(table: Any, data_start: int, size: int) -> dict[str, Entry]:
    if not isinstance(table, dict):
        raise ValueError("its header is not a table")
    rows = [_entry(name, row, data_start) for name, row in table.items() if name != "__metadata__"]
    rows.sort(key=lambda entry: (entry.start, entry.nbytes))
    at = data_start
    for entry in rows:
        if entry.start != at:
            raise ValueError(f"tensor {entry.name!r} overlaps another one or leaves a gap")
        at += entry.nbytes
    if at != size:
        raise ValueError(f"its tensors end at byte {at} of {size}")
    return {entry.name: entry for entry in rows}


def _entry(name: str, row: Any, data_start: int) -> Entry:
    try:
        dtype, shape, (start, end) = row["dtype"], tuple(row["shape"]), row["data_offsets"]
    except (TypeError, KeyError, ValueError):
        raise ValueError(f"tensor {name!r} lacks dtype, shape or data_offsets") from None
    if any(type(n) is not int or n < 0 for n in (*shape, start, end)) or end < start:
        raise ValueError(f"tensor {name!r} has sizes that are not whole numbers")
    item = ITEM_SIZES.get(dtype) if isinstance(dtype, str) else None
    if item and math.prod(shape) * item != end - start:
        raise ValueError(f"tensor {name!r} has {end - start} bytes, which do not fit its shape")
    return Entry(name, str(dtype), shape, data_start + start, end - start)
