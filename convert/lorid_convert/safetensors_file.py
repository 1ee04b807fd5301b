"""Reads safetensors files strictly and writes them, a tensor at a time, in numpy.

Format: README of huggingface/safetensors. Own code and not the package, because its numpy
side has no bfloat16 and PEFT saves that. Knows F32, F16 and BF16; nothing of LoRA.
"""

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lorid_convert.files import check_regular, read_small
from lorid_local.errors import ModelError

MAX_HEADER = 100_000_000  # bytes; the limit of the safetensors package
MAX_INDEX = 10_000_000  # bytes of the list of a sharded file's tensors
ITEM_SIZES = {"F32": 4, "F16": 2, "BF16": 2}
SHARD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,200}\.safetensors")  # a name and never a path
AGAIN = "copy or download the adapter again"


@dataclass(frozen=True)
class Entry:
    """A tensor's place: `start` is its byte offset in the file `path`."""

    path: Path
    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    nbytes: int


def read_table(path: Path) -> dict[str, Entry]:
    """Return the tensors that `path` lists; raises ModelError if it is missing or damaged."""
    check_regular(path)
    try:
        with open(path, "rb") as file:
            size = path.stat().st_size
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or length > min(MAX_HEADER, size - 8):
                raise ValueError(f"its header would end at byte {8 + length} of {size}")
            table = json.loads(file.read(length), object_pairs_hook=_without_repeats)
        return _entries(path, table, 8 + length, size)
    except OSError as error:
        raise _unreadable(path, error) from None
    except (ValueError, RecursionError) as error:  # json's and Unicode's errors are ValueErrors
        raise ModelError(
            f"{path}: not a safetensors file, or damaged: {error}", hint=AGAIN
        ) from None


def read_sharded(index: Path) -> dict[str, Entry]:
    """Return the tensors of all files that `index` (model.safetensors.index.json) names.

    Raises ModelError if one is missing or damaged, lies elsewhere or holds other tensors.
    """
    wanted = _weight_map(index)
    found: dict[str, Entry] = {}
    for file in sorted(set(wanted.values())):
        for name, entry in read_table(index.parent / file).items():
            if wanted.get(name) != file:
                raise ModelError(
                    f"{index.parent / file}: holds a tensor {name!r} that {index.name} does not "
                    "say is there",
                    hint=AGAIN,
                )
            found[name] = entry
    if missing := sorted(wanted.keys() - found.keys()):
        raise ModelError(
            f"{index}: {len(missing)} of its tensors are in no file, the first is {missing[0]!r}",
            hint=AGAIN,
        )
    return found


def _weight_map(index: Path) -> dict[str, str]:
    try:
        table = json.loads(read_small(index, MAX_INDEX))
        files = dict(table["weight_map"])
        for file_name in files.values():
            if not SHARD.fullmatch(file_name):
                raise ValueError(f"{file_name!r} is not a file name")
    except OSError as error:
        raise _unreadable(index, error) from None
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ModelError(
            f"{index}: not a list of safetensors files, or damaged: {error}", hint=AGAIN
        ) from None
    return files


def load(entry: Entry) -> NDArray[np.float32]:
    """Read one tensor as float32; raises ModelError if the file has changed or is unreadable."""
    try:
        with open(entry.path, "rb") as file:
            file.seek(entry.start)
            raw = file.read(entry.nbytes)
    except OSError as error:
        raise _unreadable(entry.path, error) from None
    if len(raw) != entry.nbytes:
        raise ModelError(f"{entry.path}: changed while it was read", hint="run the command again")
    return _as_float32(raw, entry.dtype).reshape(entry.shape)


def write(
    path: Path, rows: Mapping[str, tuple[str, tuple[int, ...]]], data: Iterable[NDArray[Any]]
) -> None:
    """Write tensors, given as {name: (dtype, shape)} and, in the same order, their numbers.

    The numbers of BF16 are given as uint16, the others in their own type.
    """
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}  # which transformers asks for
    at = 0
    for name, (dtype, shape) in rows.items():
        end = at + math.prod(shape) * ITEM_SIZES[dtype]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, end]}
        at = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for tensor in data:
            file.write(np.ascontiguousarray(tensor).data)


def _unreadable(path: Path, error: OSError) -> ModelError:
    return ModelError(f"{path}: cannot be read ({error.strerror})", hint="check the path")


def _as_float32(raw: bytes, dtype: str) -> NDArray[np.float32]:
    if dtype == "BF16":  # the upper half of a float32
        return (np.frombuffer(raw, "<u2").astype("<u4") << 16).view("<f4")
    return np.frombuffer(raw, "<f4" if dtype == "F32" else "<f2").astype("<f4", copy=False)


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("its header names a tensor twice")
    return table


def _entries(path: Path, table: Any, data_start: int, size: int) -> dict[str, Entry]:
    if not isinstance(table, dict):
        raise ValueError("its header is not a table")
    table.pop("__metadata__", None)
    rows = [_entry(path, name, row, data_start) for name, row in table.items()]
    rows.sort(key=lambda entry: (entry.start, entry.nbytes))
    at = data_start
    for entry in rows:
        if entry.start != at:
            raise ValueError(f"tensor {entry.name!r} overlaps another one or leaves a gap")
        at += entry.nbytes
    if at != size:
        raise ValueError(f"its tensors end at byte {at} of {size}")
    return {entry.name: entry for entry in rows}


def _entry(path: Path, name: str, row: Any, data_start: int) -> Entry:
    try:
        dtype, shape, (start, end) = row["dtype"], tuple(row["shape"]), row["data_offsets"]
    except (TypeError, KeyError, ValueError):
        raise ValueError(f"tensor {name!r} lacks dtype, shape or data_offsets") from None
    if any(type(n) is not int or n < 0 for n in (*shape, start, end)) or end < start:
        raise ValueError(f"tensor {name!r} has sizes that are not whole numbers")
    item = ITEM_SIZES.get(dtype) if isinstance(dtype, str) else None
    if item and math.prod(shape) * item != end - start:
        raise ValueError(f"tensor {name!r} has {end - start} bytes, which do not fit its shape")
    return Entry(path, name, str(dtype), shape, data_start + start, end - start)
