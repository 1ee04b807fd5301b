"""Writes and reads a GGUF LoRA file tensor by tensor, and puts it in place in one step.

Knows GGUF, not PEFT. Keys are those of llama.cpp's convert_lora_to_gguf.py.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Kind
from numpy.typing import NDArray

from lorid_local import whole_file
from lorid_local.errors import ModelError, OutputError
from lorid_local.gguf_header import Header, read_header

KINDS = {"f32": Kind.F32, "f16": Kind.F16, "bf16": Kind.BF16, "q8_0": Kind.Q8_0}
BLOCK = 32  # elements of a q8_0 block
# a q8_0 block holds its largest value / 127 as a float16; bf16 rounds to infinity above
LARGEST = {"f32": math.inf, "f16": 65504.0, "bf16": 3.38e38, "q8_0": 65504.0 * 127}


@dataclass(frozen=True)
class Row:
    """A tensor to be written: `shape` is row-major, `type` one of f32, f16, bf16, q8_0."""

    tensor: str
    shape: tuple[int, ...]
    rank: int
    type: str

    @property
    def bytes(self) -> int:
        return math.prod(self.stored_shape) * int(np.dtype(self.stored_dtype).itemsize)

    @property
    def stored_dtype(self) -> Any:
        return {"f32": np.float32, "f16": np.float16}.get(self.type, np.uint8)

    @property
    def stored_shape(self) -> tuple[int, ...]:
        if self.type == "bf16":
            return *self.shape[:-1], self.shape[-1] * 2
        if self.type == "q8_0":
            return *self.shape[:-1], self.shape[-1] // BLOCK * 34
        return self.shape


def choose_type(outtype: str, length: int) -> str:
    """Return the type for rows of `length` numbers: q8_0 needs whole blocks, else it is f16."""
    if outtype in ("f32", "f16", "bf16"):
        return outtype
    return "q8_0" if length % BLOCK == 0 else "f16"


def encode(tensor: NDArray[np.float32], type_: str) -> NDArray[Any]:
    """Return `tensor` as it is stored, in row-major order."""
    if type_ in ("q8_0", "bf16"):
        return np.asarray(gguf.quants.quantize(tensor, KINDS[type_]))
    return np.ascontiguousarray(tensor, {"f32": np.float32, "f16": np.float16}[type_])


def alpha(header: Header) -> float:
    """Return an adapter's alpha, 0.0 if its file has none."""
    found: Any = header.metadata.get("adapter.lora.alpha")
    return float(found) if type(found) in (int, float) else 0.0


def scale(header: Header, rank: int) -> float:
    """Return what llama.cpp multiplies B A by: alpha / rank, and 1 without an alpha."""
    return alpha(header) / rank if alpha(header) else 1.0


def read_tensor(header: Header, name: str) -> NDArray[np.float32]:
    """Read a tensor of a GGUF file as float32, row-major; `name` is in `header`.

    Raises ModelError if the file has changed, or the type is none that adapters have.
    """
    kind = Kind(header.tensors[name].type)
    if kind not in KINDS.values():
        raise ModelError(
            f"{header.path}: tensor {name!r} is of type {kind.name.lower()}; adapters of type "
            f"{', '.join(KINDS)} can be read",
            hint="convert the adapter again from its PEFT folder",
        )
    raw = read_raw(header, name)
    return np.asarray(gguf.quants.dequantize(raw, kind)).reshape(header.tensors[name].shape)


def read_raw(header: Header, name: str) -> NDArray[np.uint8]:
    """Read a tensor's bytes; raises ModelError if the file has changed or cannot be read."""
    info = header.tensors[name]
    start = header.data_start + info.offset
    try:
        raw = np.fromfile(header.path, np.uint8, info.nbytes, offset=start)
    except OSError as error:
        raise ModelError(
            f"{header.path}: cannot be read ({error.strerror})",
            hint="check the path and its permissions",
        ) from None
    if raw.nbytes != info.nbytes:
        raise ModelError(f"{header.path}: changed while it was read", hint="run the command again")
    return raw


def write(
    path: Path,
    architecture: str,
    metadata: Mapping[str, str | float],
    rows: Iterable[Row],
    tensors: Iterable[NDArray[Any]],
) -> None:
    """Write `rows` and their encoded `tensors`, taken one at a time, in the same order."""
    writer = gguf.GGUFWriter(path, architecture)
    try:
        _describe(writer, metadata)
        for row in rows:
            dtype = np.dtype(row.stored_dtype)
            writer.add_tensor_info(row.tensor, row.stored_shape, dtype, row.bytes, KINDS[row.type])
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for tensor in tensors:
            writer.write_tensor_data(tensor)
    finally:
        writer.close()


def _describe(writer: gguf.GGUFWriter, metadata: Mapping[str, str | float]) -> None:
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    for key, value in metadata.items():
        if isinstance(value, str):
            writer.add_string(key, value)
        else:
            writer.add_float32(key, value)


def read_back(path: Path, rows: Iterable[Row]) -> Header:
    """Return the header of `path`; raises OutputError unless it lists exactly `rows`."""
    try:
        header = read_header(path)
    except ModelError as error:
        raise _not_as_written(error.message) from None
    found = {t.name: (t.shape, t.type) for t in header.tensors.values()}
    if found != {row.tensor: (row.shape, int(KINDS[row.type])) for row in rows}:
        raise _not_as_written(f"{path}: its tensors are not those that were written")
    return header


def _not_as_written(reason: str) -> OutputError:
    return OutputError(
        f"what was written cannot be read back, so it was removed: {reason}",
        hint="check the disk and run the command again",
    )


@contextmanager
def put_in_place(outfile: Path) -> Iterator[Path]:
    """Give a temporary path beside `outfile` that becomes `outfile` if the block succeeds.

    The temporary is gone afterwards in any case. Raises OutputError where the disk refuses.
    """
    try:
        with whole_file.replacing(outfile) as temporary:
            yield temporary
    except OSError as error:
        raise OutputError(
            f"{outfile}: cannot be written ({error.strerror or error})",
            hint="free some space or give another --outfile",
        ) from error
