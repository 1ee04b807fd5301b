"""Reads and checks a GGUF file's header in pure Python, before any C code sees the file.

Format: ggml/docs/gguf.md of ggml-org/ggml. Does not read tensor data; long arrays (the
vocabulary) are skipped and only their length is kept.
"""

import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lorid_local.errors import ModelError

MAGIC = b"GGUF"
VERSIONS = (2, 3)
DEFAULT_ALIGNMENT = 32
KEEP_ARRAY = 64  # longer arrays are skipped
MAX_DIMS = 4

# value type -> struct format; 8 is string, 9 is array (gguf.md, gguf_metadata_value_type)
_SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q"}
_SCALARS |= {11: "<q", 12: "<d"}
_STRING, _ARRAY = 8, 9

# tensor type -> (elements in a block, bytes of a block); ggml.h, checked against `gguf` in a test
BLOCKS = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34),
    9: (32, 40), 10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210),
    15: (256, 292), 16: (256, 66), 17: (256, 74), 18: (256, 98), 19: (256, 50), 20: (32, 18),
    21: (256, 110), 22: (256, 82), 23: (256, 136), 24: (1, 1), 25: (1, 2), 26: (1, 4), 27: (1, 8),
    28: (1, 8), 29: (256, 56), 30: (1, 2), 34: (256, 54), 35: (256, 66), 39: (32, 17),
}  # fmt: skip


@dataclass(frozen=True)
class SkippedArray:
    """An array of metadata that was not kept."""

    length: int


@dataclass(frozen=True)
class TensorInfo:
    """A tensor's place. `shape` is row-major (numpy's order, the reverse of GGUF's ne)."""

    name: str
    shape: tuple[int, ...]
    type: int
    offset: int
    nbytes: int


@dataclass(frozen=True)
class Header:
    """A GGUF file's metadata and tensor table. `data_start` is a byte offset in the file."""

    path: Path
    metadata: dict[str, Any]
    tensors: dict[str, TensorInfo]
    data_start: int

    @property
    def architecture(self) -> str:
        """The model family, such as 'llama'; '' where the file names none."""
        return str(self.metadata.get("general.architecture", ""))

    def get(self, key: str, default: Any = None) -> Any:
        """Return metadata `key` with the architecture put in front, as in 'llama.block_count'."""
        return self.metadata.get(f"{self.architecture}.{key}", default)


def read_header(path: Path) -> Header:
    """Read `path`'s header; raises ModelError if it is missing, truncated or not GGUF."""
    try:
        with open(path, "rb") as file:
            if file.read(4) != MAGIC:
                raise ModelError(
                    f"{path}: not a GGUF file (it does not start with the bytes 'GGUF')",
                    hint="give a .gguf file; `lorid convert` makes one from a PEFT adapter",
                )
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return _parse(path, data)
    except FileNotFoundError:
        raise ModelError(f"{path}: no such file", hint="check the path") from None
    except OSError as error:
        raise ModelError(
            f"{path}: cannot be read ({error.strerror})", hint="give a .gguf file that you may read"
        ) from None
    except (struct.error, IndexError, UnicodeDecodeError, OverflowError):
        raise _truncated(path) from None


def _truncated(path: Path) -> ModelError:
    size = path.stat().st_size
    return ModelError(
        f"{path}: the file is truncated or damaged ({size} bytes do not hold what its header says)",
        hint="download or convert the file again",
    )


class _Cursor:
    """A position in the mapped file; reading past its end raises struct.error."""

    def __init__(self, data: mmap.mmap) -> None:
        self.data = data
        self.at = 4

    def scalar(self, fmt: str) -> Any:
        (value,) = struct.unpack_from(fmt, self.data, self.at)
        self.at += struct.calcsize(fmt)
        return value

    def skip(self, count: int) -> None:
        self.at += count
        if self.at > len(self.data):
            raise IndexError

    def string(self) -> str:
        length = self.scalar("<Q")
        start = self.at
        self.skip(length)
        return self.data[start : self.at].decode("utf-8")

    def skip_strings(self, count: int) -> None:
        unpack, data, at = struct.Struct("<Q").unpack_from, self.data, self.at
        for _ in range(count):
            at += 8 + unpack(data, at)[0]
        self.at = at
        self.skip(0)

    def value(self, kind: int) -> Any:
        if kind in _SCALARS:
            return self.scalar(_SCALARS[kind])
        if kind == _STRING:
            return self.string()
        if kind == _ARRAY:
            return self.array()
        raise IndexError

    def array(self) -> Any:
        kind, length = self.scalar("<I"), self.scalar("<Q")
        if kind == _ARRAY or length > len(self.data):
            raise IndexError  # nested arrays are in no model; a length past the file is damage
        if length <= KEEP_ARRAY:
            return tuple(self.value(kind) for _ in range(length))
        if kind == _STRING:
            self.skip_strings(length)
        elif kind in _SCALARS:
            self.skip(length * struct.calcsize(_SCALARS[kind]))
        else:
            raise IndexError
        return SkippedArray(length)


def _parse(path: Path, data: mmap.mmap) -> Header:
    cursor = _Cursor(data)
    version = cursor.scalar("<I")
    if version not in VERSIONS:
        raise ModelError(
            f"{path}: GGUF version {version}; versions 2 and 3 can be read",
            hint="convert the model again with a present llama.cpp",
        )
    tensor_count, pair_count = cursor.scalar("<Q"), cursor.scalar("<Q")
    if tensor_count > len(data) or pair_count > len(data):
        raise IndexError
    metadata = {}
    for _ in range(pair_count):
        key = cursor.string()
        metadata[key] = cursor.value(cursor.scalar("<I"))
    tensors = [_tensor(cursor, path) for _ in range(tensor_count)]
    alignment = metadata.get("general.alignment", DEFAULT_ALIGNMENT)
    if type(alignment) is not int or alignment < 1:
        raise IndexError
    start = -(-cursor.at // alignment) * alignment
    if any(start + t.offset + t.nbytes > len(data) for t in tensors):
        raise IndexError
    return Header(path, metadata, {t.name: t for t in tensors}, start)


def _tensor(cursor: _Cursor, path: Path) -> TensorInfo:
    name, dims = cursor.string(), cursor.scalar("<I")
    if dims > MAX_DIMS:
        raise IndexError
    ne = [cursor.scalar("<Q") for _ in range(dims)]
    kind, offset = cursor.scalar("<I"), cursor.scalar("<Q")
    if kind not in BLOCKS:
        raise ModelError(
            f"{path}: tensor {name!r} has type {kind}, which this version of lorid does not know",
            hint="use a GGUF file of a common type, such as Q4_1, Q8_0 or F16",
        )
    block, size = BLOCKS[kind]
    elements = 1
    for n in ne:
        elements *= n
    return TensorInfo(name, tuple(reversed(ne)), kind, offset, elements // block * size)
