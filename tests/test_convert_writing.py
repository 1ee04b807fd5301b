"""A conversion that fails while it writes leaves the folder as it was. Needs no torch."""

import errno
import shutil
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from numpy.typing import NDArray

from lorid_convert import lora_file, pipeline
from lorid_convert.notes import Notes
from lorid_local.errors import OutputError
from tests.test_convert_refusals import folder, pair
from tests.tiny import tiny_llama_gguf


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama_gguf(tmp_path_factory.mktemp("base") / "base.gguf")


def fail_at(count: int, error: BaseException) -> Callable[..., NDArray[Any]]:
    """Return an `encode` that raises `error` at its count-th call."""
    calls, encode = iter(range(1, 10_000)), lora_file.encode

    def failing(tensor: NDArray[np.float32], type_: str) -> NDArray[Any]:
        if next(calls) == count:
            raise error
        return encode(tensor, type_)

    return failing


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left"), KeyboardInterrupt()])
@pytest.mark.parametrize("before", [None, b"an older adapter"])
def test_a_failure_while_writing_leaves_no_trace(
    error: BaseException,
    before: bytes | None,
    base: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    outfile = tmp_path / "out" / "a.gguf"
    outfile.parent.mkdir()
    if before:
        outfile.write_bytes(before)
    monkeypatch.setattr(lora_file, "encode", fail_at(3, error))
    with pytest.raises((OutputError, KeyboardInterrupt)):
        pipeline.convert(folder(tmp_path), base, outfile)
    assert [p.read_bytes() for p in outfile.parent.iterdir()] == ([before] if before else [])


def test_a_full_disk_is_told(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lora_file, "encode", fail_at(1, OSError(errno.ENOSPC, "No space left")))
    with pytest.raises(OutputError) as caught:
        pipeline.convert(folder(tmp_path), base, tmp_path / "a.gguf")
    assert caught.value.message == f"{tmp_path}/a.gguf: cannot be written (No space left)"
    assert caught.value.hint == "free some space or give another --outfile"


@pytest.mark.parametrize("kept", [100, -1])
def test_a_file_that_cannot_be_read_back_is_removed(
    kept: int, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = lora_file.write

    def cut(path: Path, *rest: Any) -> None:
        write(path, *rest)
        path.write_bytes(path.read_bytes()[:kept])

    monkeypatch.setattr(lora_file, "write", cut)
    with pytest.raises(OutputError, match=r"^what was written cannot be read back, so it was"):
        pipeline.convert(folder(tmp_path), base, tmp_path / "a.gguf", "f32")
    assert not list(tmp_path.glob("*a.gguf*"))


def test_a_file_with_other_tensors_is_removed(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lora_file, "write", lambda path, *_: shutil.copy(base, path))
    with pytest.raises(OutputError, match=r"its tensors are not those that were written$"):
        pipeline.convert(folder(tmp_path), base, tmp_path / "a.gguf", "f32")
    assert not list(tmp_path.glob("*a.gguf*"))


def base_of_holes(path: Path, layers: int, rows: int, columns: int) -> Path:
    """Write a base whose down_proj tensors have a header and no bytes on the disk."""
    writer = gguf.GGUFWriter(path, "llama")
    for layer in range(layers):
        name = f"blk.{layer}.ffn_down.weight"
        writer.add_tensor_info(name, (rows, columns), np.dtype(np.float16), 2 * rows * columns)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    with open(path, "r+b") as file:
        file.truncate(path.stat().st_size + layers * 2 * rows * columns + 64)
    return path


@pytest.mark.parametrize("outtype", pipeline.OUTTYPES)
def test_one_pair_is_in_memory_at_a_time(outtype: str, tmp_path: Path) -> None:
    layers, rank, rows, columns = 12, 64, 2048, 4096
    holes = base_of_holes(tmp_path / "base.gguf", layers, rows, columns)
    tensors: dict[str, Any] = {}
    for layer in range(layers):
        tensors |= pair(f"model.layers.{layer}.mlp.down_proj", rank, rows, columns)
    adapter = folder(tmp_path, tensors, r=rank)
    largest = 4 * rank * (rows + columns)
    tensors.clear()
    tracemalloc.start()
    try:
        pipeline.convert(adapter, holes, tmp_path / "a.gguf", outtype, Notes(hash_base=False))
        assert tracemalloc.get_traced_memory()[1] < 4 * largest + (1 << 20)
    finally:
        tracemalloc.stop()
