"""The header reader against the gguf package's, and against damage of every kind."""

import os
import random
import struct
import time
import tracemalloc
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from lorid_local.errors import EXIT_MODEL, ModelError
from lorid_local.gguf_header import BLOCKS, Header, SkippedArray, read_header
from tests.tiny import MERGES, tiny_llama_gguf

STRING, ARRAY = 8, 9


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama_gguf(tmp_path_factory.mktemp("tiny") / "tiny.gguf", dtype="q8_0")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A file of a few hundred bytes with a value of each kind; its last byte is tensor data."""
    path = tmp_path_factory.mktemp("small") / "small.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_string("s", "größer")
    writer.add_uint8("u8", 200)
    writer.add_int8("i8", -3)
    writer.add_uint16("u16", 60000)
    writer.add_int16("i16", -5)
    writer.add_uint32("u32", 6)
    writer.add_int32("i32", -7)
    writer.add_float32("f32", 0.5)
    writer.add_bool("b", True)
    writer.add_uint64("u64", 2**63)
    writer.add_int64("i64", -(2**60))
    writer.add_float64("f64", 0.1)
    writer.add_array("few", [1, 2, 3])
    writer.add_array("words", ["a", "bc"])
    writer.add_array("many", list(range(65)))
    writer.add_array("many_words", ["w"] * 65)
    writer.add_tensor("x", np.ones((2, 3, 4), np.float32))
    writer.add_tensor("y", np.ones((4, 8), np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path.read_bytes()


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def refused(path: Path) -> ModelError:
    with pytest.raises(ModelError) as raised:
        read_header(path)
    assert raised.value.exit_code == EXIT_MODEL
    return raised.value


def expected_value(field: gguf.ReaderField) -> Any:
    value = field.contents()
    if not isinstance(value, list):
        return value
    return tuple(value) if len(value) <= 64 else SkippedArray(len(value))


def test_reads_what_ggufs_reader_reads(tiny: Path) -> None:
    header, reader = read_header(tiny), gguf.GGUFReader(tiny)
    fields = {k: f for k, f in reader.fields.items() if not k.startswith("GGUF.")}
    assert header.metadata == {key: expected_value(field) for key, field in fields.items()}
    assert header.data_start == reader.data_offset
    assert list(header.tensors) == [t.name for t in reader.tensors]
    for theirs in reader.tensors:
        ours = header.tensors[theirs.name]
        assert list(ours.shape) == list(theirs.shape)[::-1]
        assert ours.type == theirs.tensor_type
        assert header.data_start + ours.offset == theirs.data_offset
        assert ours.nbytes == theirs.n_bytes


def test_architecture_and_get(tiny: Path) -> None:
    header = read_header(tiny)
    assert header.architecture == "llama"
    assert (header.get("block_count"), header.get("none", 7)) == (2, 7)
    assert header.metadata["tokenizer.ggml.merges"] == MERGES
    assert header.metadata["tokenizer.ggml.tokens"] == SkippedArray(288)
    assert Header(tiny, {}, {}, 0).architecture == ""


def test_every_kind_of_value(small: bytes, tmp_path: Path) -> None:
    header = read_header(write(tmp_path / "s.gguf", small))
    assert header.metadata == {
        "general.architecture": "llama", "s": "größer", "u8": 200, "i8": -3, "u16": 60000,
        "i16": -5, "u32": 6, "i32": -7, "f32": 0.5, "b": True, "u64": 2**63, "i64": -(2**60),
        "f64": 0.1, "few": (1, 2, 3), "words": ("a", "bc"), "many": SkippedArray(65),
        "many_words": SkippedArray(65),
    }  # fmt: skip
    assert header.tensors["x"].shape == (2, 3, 4)
    assert (header.tensors["y"].shape, header.tensors["y"].nbytes) == ((4, 8), 64)


def test_blocks_are_ggmls() -> None:
    theirs = {int(kind): sizes for kind, sizes in gguf.GGML_QUANT_SIZES.items()}
    shared = set(BLOCKS) & set(theirs)
    assert {kind: BLOCKS[kind] for kind in shared} == {kind: theirs[kind] for kind in shared}
    assert set(BLOCKS) == shared  # none made up
    common = ("F32", "F16", "BF16", "Q4_0", "Q4_1", "Q8_0", "Q4_K", "Q6_K", "IQ4_NL")
    assert {int(gguf.GGMLQuantizationType[name]) for name in common} <= shared


def test_truncation_at_every_length(small: bytes, tmp_path: Path) -> None:
    path = write(tmp_path / "cut.gguf", small)
    for length in range(len(small) - 1, 3, -1):
        os.truncate(path, length)
        error = refused(path)
        assert error.message == (
            f"{path}: the file is truncated or damaged ({length} bytes do not hold what its "
            "header says)"
        )
        assert error.hint == "download or convert the file again"


def test_flipped_bytes_never_end_in_anything_but_a_model_error(
    small: bytes, tmp_path: Path
) -> None:
    path, dice, refusals = tmp_path / "flipped.gguf", random.Random(0), 0
    tracemalloc.start()
    started = time.perf_counter()
    for _ in range(2000):
        data = bytearray(small)
        for _ in range(dice.choice((1, 1, 2, 8))):
            data[dice.randrange(4, len(data))] ^= dice.randrange(1, 256)
        try:
            read_header(write(path, bytes(data)))
        except ModelError:
            refusals += 1
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert 200 < refusals < 2000
    assert time.perf_counter() - started < 60
    assert peak < 5_000_000


def header_of(*pairs: bytes, tensors: int = 0, count: int | None = None) -> bytes:
    counts = struct.pack("<QQ", tensors, len(pairs) if count is None else count)
    return b"GGUF" + struct.pack("<I", 3) + counts + b"".join(pairs)


def text(value: bytes) -> bytes:
    return struct.pack("<Q", len(value)) + value


def pair(kind: int, value: bytes, key: bytes = b"k") -> bytes:
    return text(key) + struct.pack("<I", kind) + value


HUGE = 2**64 - 1
DAMAGED = {
    "a huge number of pairs": header_of(count=HUGE),
    "a huge number of tensors": header_of(tensors=HUGE),
    "more pairs than there are": header_of(pair(0, b"\1"), count=2),
    "a key past the end": header_of(struct.pack("<Q", HUGE) + b"k"),
    "a string past the end": header_of(pair(STRING, struct.pack("<Q", HUGE))),
    "a string that is no UTF-8": header_of(pair(STRING, text(b"\xff"))),
    "an unknown kind of value": header_of(pair(13, b"\0" * 8)),
    "an array of arrays": header_of(pair(ARRAY, struct.pack("<IQ", ARRAY, 0))),
    "an array of an unknown kind": header_of(pair(ARRAY, struct.pack("<IQ", 99, 70) + bytes(200))),
    "an array past the end": header_of(pair(ARRAY, struct.pack("<IQ", 0, HUGE))),
    "strings past the end": header_of(
        pair(ARRAY, struct.pack("<IQ", STRING, 65) + struct.pack("<Q", HUGE) + bytes(100))
    ),
    "alignment 0": header_of(pair(4, struct.pack("<I", 0), b"general.alignment")),
    "alignment in words": header_of(pair(STRING, text(b"32"), b"general.alignment")),
    "five dimensions": header_of(text(b"t") + struct.pack("<I", 5) + bytes(60), tensors=1, count=0),
    "a huge tensor": header_of(
        text(b"t") + struct.pack("<IQQQQIQ", 4, HUGE, HUGE, HUGE, HUGE, 0, 0), tensors=1, count=0
    ),
    "an offset past the end": header_of(
        text(b"t") + struct.pack("<IQIQ", 1, 1, 0, HUGE) + bytes(64), tensors=1, count=0
    ),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_damage(damage: str, tmp_path: Path) -> None:
    path = write(tmp_path / "d.gguf", DAMAGED[damage])
    assert refused(path).message.startswith(f"{path}: the file is truncated or damaged (")


def test_the_alignment_moves_the_data(tmp_path: Path) -> None:
    data = header_of(pair(4, struct.pack("<I", 64), b"general.alignment"))
    assert read_header(write(tmp_path / "a.gguf", data)).data_start == 64
    assert read_header(write(tmp_path / "b.gguf", header_of())).data_start == 32


@pytest.mark.parametrize("data", [b"", b"GGU", b"PK\3\4 a zip", b"<!doctype html>"])
def test_not_a_gguf_file(data: bytes, tmp_path: Path) -> None:
    path = write(tmp_path / "x.gguf", data)
    error = refused(path)
    assert error.message == f"{path}: not a GGUF file (it does not start with the bytes 'GGUF')"
    assert error.hint == "give a .gguf file; `lorid convert` makes one from a PEFT adapter"


def test_versions(tmp_path: Path) -> None:
    whole = header_of()
    for version in (2, 3):
        data = whole[:4] + struct.pack("<I", version) + whole[8:]
        assert read_header(write(tmp_path / "v.gguf", data)).metadata == {}
    for version in (0, 1, 4, 3 << 24):  # the last is big-endian
        path = write(tmp_path / "v.gguf", whole[:4] + struct.pack("<I", version) + whole[8:])
        assert refused(path).message == (
            f"{path}: GGUF version {version}; versions 2 and 3 can be read"
        )


@pytest.mark.parametrize("kind", [4, 5, 31, 36, 99])
def test_an_unknown_tensor_type(kind: int, tmp_path: Path) -> None:
    tensor = text(b"t\x1b[31m") + struct.pack("<IQIQ", 1, 32, kind, 0) + bytes(256)
    path = write(tmp_path / "t.gguf", header_of(tensor, tensors=1, count=0))
    error = refused(path)
    assert error.message == (
        f"{path}: tensor 't\\x1b[31m' has type {kind}, which this version of lorid does not know"
    )
    assert error.hint == "use a GGUF file of a common type, such as Q4_1, Q8_0 or F16"


def test_a_missing_file(tmp_path: Path) -> None:
    error = refused(tmp_path / "none.gguf")
    assert error.message == f"{tmp_path / 'none.gguf'}: no such file"
    assert error.hint == "check the path"


def test_a_directory(tmp_path: Path) -> None:
    assert refused(tmp_path).message == f"{tmp_path}: cannot be read (Is a directory)"
