"""Derived bases: real requantization of tiny models, and everything that may be in its way.

Faults that need other processes (killed, at once, interrupted) are in test_base_type_faults.
"""

import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import gguf
import numpy as np
import pytest

from lorid_local.base import sha256
from lorid_local.base_type import (
    BASE_TYPES,
    BaseType,
    _bytes_needed,
    cache_folder,
    derived,
    proven,
)  # fmt: skip
from lorid_local.engine import Part, Request, Role
from lorid_local.errors import EXIT_MODEL, EngineError, ModelError, OutputError
from lorid_local.gguf_header import read_header
from lorid_local.llama import LlamaEngine, Options
from tests import tiny
from tests.tiny import tiny_llama_gguf

DERIVED: tuple[BaseType, ...] = ("q8_0", "q4_0", "iq4_nl")
AS_SHIPPED = "run with --base-type as-shipped"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama_gguf(tmp_path_factory.mktemp("bases") / "base.gguf")


def in_cache() -> list[Path]:
    return sorted(cache_folder().iterdir()) if cache_folder().exists() else []


def refusal(source: Path, chosen: BaseType = "q8_0") -> ModelError:
    with pytest.raises(ModelError) as raised:
        derived(source, chosen)
    assert raised.value.exit_code == EXIT_MODEL
    assert in_cache() == []
    return raised.value


def values(path: Path) -> dict[str, np.ndarray]:
    tensors = gguf.GGUFReader(path).tensors
    return {t.name: gguf.quants.dequantize(t.data, t.tensor_type) for t in tensors}


@pytest.mark.parametrize(
    # of the largest weight: half a step of 1/127, a step of 1/8 at the end of q4_0's range
    ("chosen", "error"),
    [("q8_0", 0.006), ("q4_0", 0.13), ("iq4_nl", 0.13)],
)
def test_a_base_is_derived(base: Path, chosen: BaseType, error: float) -> None:
    told: list[str] = []
    path = derived(base, chosen, say=told.append)
    assert path.parent == cache_folder()
    assert path.name.startswith(f"{sha256(base)[:16]}-{chosen}-v1-")
    assert in_cache() == [path]
    kinds = Counter(t.type for n, t in read_header(path).tensors.items() if n.startswith("blk."))
    assert kinds == {gguf.GGMLQuantizationType[chosen.upper()]: 14, 0: 4}  # 0: the norms' f32
    theirs, ours = values(base), values(path)
    assert theirs.keys() == ours.keys()
    for name, weights in theirs.items():
        assert np.abs(weights - ours[name]).max() <= error * np.abs(weights).max()
    (line,) = told
    assert line == f"writing the base as {chosen}, once: at most 0.1 MB in {cache_folder()}"
    length = path.stat().st_size
    assert length <= _bytes_needed(read_header(base), chosen) < 1.05 * length


@pytest.mark.parametrize("chosen", DERIVED)
def test_a_derived_base_runs(base: Path, chosen: BaseType) -> None:
    with LlamaEngine(derived(base, chosen), options=Options(threads=1)) as engine:
        assert engine.generate([Request(Role.IR, (Part("2 + 2"),), 8)])[0].tokens


def test_a_quantized_base_is_requantized(tmp_path: Path) -> None:
    source = tiny_llama_gguf(tmp_path / "q8.gguf", dtype="q8_0")
    ours, theirs = values(derived(source, "q4_0")), values(source)
    name = "blk.0.ffn_up.weight"
    assert 0 < np.abs(ours[name] - theirs[name]).max() < 0.13 * np.abs(theirs[name]).max()


def test_as_shipped_is_the_source_itself(tmp_path: Path) -> None:
    assert derived(tmp_path / "not read.gguf", "as-shipped") == tmp_path / "not read.gguf"
    assert in_cache() == []


def test_a_base_of_that_type_is_the_source_itself(tmp_path: Path) -> None:
    source = tiny_llama_gguf(tmp_path / "q8.gguf", dtype="q8_0")
    assert derived(source, "q8_0") == derived(source, "q8_0", sha256=sha256(source)) == source
    assert in_cache() == []


def test_the_types_are_those_a_bundle_may_name() -> None:
    assert ("as-shipped", *DERIVED) == BASE_TYPES


def test_a_cached_base_is_found_without_its_source(tmp_path: Path) -> None:
    source = tiny_llama_gguf(tmp_path / "s.gguf")
    digest, told = sha256(source), list[str]()
    first = derived(source, "q8_0")
    written = first.stat()
    assert derived(source, "q8_0", say=told.append) == first
    source.unlink()
    assert derived(source, "q8_0", sha256=digest, say=told.append) == first
    assert derived(source, "q8_0", sha256=digest.upper()) == first
    assert (first.stat().st_ino, first.stat().st_mtime_ns) == (written.st_ino, written.st_mtime_ns)
    assert told == []


def test_another_source_has_another_file(tmp_path: Path, base: Path) -> None:
    other = tiny_llama_gguf(tmp_path / "other.gguf", seed=1)
    paths = {derived(source, chosen) for source in (base, other) for chosen in ("q8_0", "q4_0")}
    assert in_cache() == sorted(paths) and len(paths) == 4


def test_damage_that_leaves_header_and_length_is_found_by_reading_it_whole(base: Path) -> None:
    path = derived(base, "q8_0")
    assert proven(path) and not proven(base)
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)
    assert derived(base, "q8_0") == path  # a solve reads no weights to find it
    with pytest.raises(ModelError) as raised:
        proven(path)
    known = path.stem[-16:]
    assert raised.value.message == (
        f"{path}: damaged: its SHA-256 begins with {sha256(path)[:16]}, expected {known}"
    )
    assert raised.value.hint == "delete that file: the next solve writes it anew"
    path.unlink()
    assert derived(base, "q8_0") == path and proven(path)


def test_a_file_of_an_older_lorid_is_used_though_its_name_tells_no_checksum(base: Path) -> None:
    path = derived(base, "q8_0")
    old = path.rename(path.with_name(f"{path.stem[:-17]}.gguf"))
    assert derived(base, "q8_0") == old and not proven(old)


FIND = """
import sys
from pathlib import Path
from lorid_local.base_type import derived
print(derived(Path("gone.gguf"), "q8_0", sha256=sys.argv[1]))
print(*{name.partition(".")[0] for name in sys.modules})
"""


def test_finding_a_cached_base_imports_nothing_heavy(base: Path) -> None:
    path = derived(base, "q8_0")
    command = [sys.executable, "-c", FIND, sha256(base)]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    ran = subprocess.run(command, capture_output=True, text=True, check=True, env=environ)
    found, loaded = ran.stdout.splitlines()
    assert found == str(path)
    assert not {"llama_cpp", "numpy", "gguf", "click"} & set(loaded.split())


def test_a_cached_base_is_found_in_five_milliseconds(tmp_path: Path) -> None:
    source = tiny_llama_gguf(tmp_path / "s.gguf", vocab=49152)  # as many as the bundled base has
    digest, times = sha256(source), []
    derived(source, "q8_0")
    for _ in range(20):
        started = time.perf_counter()
        derived(source, "q8_0", sha256=digest)
        times.append(time.perf_counter() - started)
    assert min(times) < 0.005


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("damage", ["cut", "longer", "empty", "magic", "tensors", "name", "seal"])
def test_a_damaged_file_is_written_anew(base: Path, damage: str) -> None:
    path = derived(base, "q8_0")
    whole, found = path.read_bytes(), path
    if damage == "name":  # and with it the seal
        found = path.rename(path.with_stem(f"{path.stem[:-25]}00000000{path.stem[-17:]}"))
    elif damage == "seal":
        found = path.rename(path.with_stem(path.stem[:-10]))
    elif damage in ("cut", "longer", "empty"):
        length = {"cut": len(whole) - 1, "longer": len(whole) + 1, "empty": 0}[damage]
        os.truncate(path, length)
    else:
        flip(path, {"magic": 0, "tensors": read_header(path).data_start - 40}[damage])
    told: list[str] = []
    assert derived(base, "q8_0", say=told.append) == path
    assert told[0] == f"{found}: damaged, so it is written anew"
    assert told[1].startswith("writing the base as q8_0, once: at most ") and len(told) == 2
    assert path.read_bytes() == whole
    assert in_cache() == [path]
    assert derived(base, "q8_0", say=told.append) == path and len(told) == 2


def test_what_processes_left_behind_long_ago_is_removed(base: Path) -> None:
    folder = cache_folder()
    folder.mkdir(parents=True)
    names = {".a-q8_0-v1.x1.part": 7200, ".a-q4_0-v1.x2.part": 1800, "mine.gguf": 99999}
    for name, age in names.items():
        (folder / name).touch()
        os.utime(folder / name, (time.time() - age,) * 2)
    path = derived(base, "q8_0")
    assert {p.name for p in in_cache()} == {".a-q4_0-v1.x2.part", "mine.gguf", path.name}


@pytest.mark.parametrize(
    ("environ", "platform", "folder"),
    [
        ({}, "linux", "/home/me/.cache/lorid/bases"),
        ({"XDG_CACHE_HOME": "/c"}, "linux", "/c/lorid/bases"),
        ({"XDG_CACHE_HOME": "c"}, "linux", "/home/me/.cache/lorid/bases"),
        ({"XDG_CACHE_HOME": ""}, "linux", "/home/me/.cache/lorid/bases"),
        ({"LOCALAPPDATA": "/local"}, "linux", "/home/me/.cache/lorid/bases"),
        ({}, "darwin", "/home/me/Library/Caches/lorid/bases"),
        ({"XDG_CACHE_HOME": "/c"}, "darwin", "/c/lorid/bases"),
        ({"LOCALAPPDATA": "/local"}, "win32", "/local/lorid/bases"),
        ({"LOCALAPPDATA": "/local", "XDG_CACHE_HOME": "/c"}, "win32", "/c/lorid/bases"),
        ({}, "win32", "/home/me/AppData/Local/lorid/bases"),
    ],
)
def test_the_cache_is_where_the_platform_has_it(
    monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], platform: str, folder: str
) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert cache_folder(environ, platform) == Path(folder)


def test_without_a_home_there_is_no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")  # as pathlib does

    monkeypatch.setattr(Path, "home", homeless)
    with pytest.raises(OutputError) as raised:
        cache_folder({})
    assert raised.value.message == "no home folder is known, so there is no cache for the base"
    assert raised.value.hint == f"set XDG_CACHE_HOME to a folder, or {AS_SHIPPED}"


def changed(base: Path, path: Path, old: bytes, new: bytes) -> Path:
    data = base.read_bytes()
    assert old in data and len(old) == len(new)
    path.write_bytes(data.replace(old, new))
    return path


def test_an_unknown_architecture_is_refused(base: Path, tmp_path: Path) -> None:
    source = changed(base, tmp_path / "odd.gguf", b"llama", b"nones")
    error = refusal(source, "q4_0")
    assert error.message == (
        f"{source}: llama.cpp cannot write this model as q4_0 (unknown model architecture: 'nones')"
    )
    assert error.hint == AS_SHIPPED


def test_a_source_that_makes_llama_cpp_abort_is_refused(base: Path, tmp_path: Path) -> None:
    key = b"llama.block_count\x04\0\0\0"
    source = changed(base, tmp_path / "odd.gguf", key + b"\x02", key + b"\0")
    error = refusal(source)
    assert error.message.startswith(
        f"{source}: llama.cpp broke off writing this model as q8_0 (code -6: "
    )
    assert "GGML_ASSERT(hparams.n_layer_all > 0" in error.message
    assert error.hint == AS_SHIPPED


def test_weights_that_are_no_numbers_are_refused(base: Path, tmp_path: Path) -> None:
    source = tmp_path / "nan.gguf"
    source.write_bytes(base.read_bytes()[:-4] + np.float32(np.nan).tobytes())
    assert refusal(source).message == (
        f"{source}: llama.cpp cannot write this model as q8_0 "
        "(tensor 'blk.1.ffn_down.weight' has invalid data)"
    )


def test_one_file_of_a_split_model_is_refused(tmp_path: Path) -> None:
    source = tiny_llama_gguf(tmp_path / "split.gguf", split__count="3")
    error = refusal(source)
    assert error.message == (
        f"{source}: one of 3 files of a split model; q8_0 is derived from one file"
    )
    assert error.hint == f"join them with llama.cpp's llama-gguf-split --merge, or {AS_SHIPPED}"


def test_a_base_whose_rows_fit_no_blocks_is_refused(tmp_path: Path) -> None:
    source = tiny_llama_gguf(tmp_path / "odd.gguf", hidden=48, ffn=80)
    error = refusal(source)
    assert error.message == (
        f"{source}: cannot be derived as q8_0: most of its weights have rows that are no multiple "
        "of 32 elements"
    )
    assert error.hint == AS_SHIPPED
    some = tiny_llama_gguf(tmp_path / "some.gguf", ffn=80)  # ffn_down alone stays in f16
    assert read_header(derived(some, "q8_0")).tensors["blk.0.ffn_down.weight"].type == 1


def test_a_dimension_of_one_is_no_fault(tmp_path: Path) -> None:
    """llama.cpp writes a tensor of 1x64 as one of 64."""
    writer = gguf.GGUFWriter(tmp_path / "one.gguf", "llama")
    tiny._add_header(writer, layers=1, hidden=64, heads=4, kv_heads=2, ffn=96)
    tiny._add_tokenizer(writer, 288)
    shapes = tiny._shapes(1, 64, 32, 96, 288) | {"blk.0.gate": (1, 64)}
    for name, tensor in tiny._weights(shapes, np.random.default_rng(0)):
        tiny._add_tensor(writer, name, tensor, "f32")
    path = derived(tiny._written(writer, tmp_path / "one.gguf"), "q8_0")
    assert read_header(path).tensors["blk.0.gate.weight"].shape == (64,)


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    missing = tmp_path / "none.gguf"
    assert refusal(missing).message == f"{missing}: no such file"
    writer = gguf.GGUFWriter(tmp_path / "lora.gguf", "llama")
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_tensor("blk.0.attn_q.weight.lora_a", np.ones((4, 64), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    path = tmp_path / "lora.gguf"
    assert refusal(path).message == f"{path}: a GGUF file of type 'adapter', not a model"
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(path.read_bytes()[:-9])
    assert "the file is truncated or damaged" in refusal(cut).message


def test_a_python_that_cannot_be_run(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(EngineError) as raised:
        derived(base, "q8_0")
    assert raised.value.message == (
        "/nowhere/python: cannot be run to derive the base as q8_0 (No such file or directory)"
    )
    assert raised.value.hint == AS_SHIPPED
    assert in_cache() == []


def test_modules_of_the_current_folder_are_not_run(
    base: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "llama_cpp.py").write_text("raise SystemExit('run by mistake')")
    monkeypatch.chdir(tmp_path)
    assert derived(base, "q8_0").exists()


def test_a_llama_cpp_that_is_killed(
    base: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As the kernel does when memory is short."""
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nkill -9 $$\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    with pytest.raises(ModelError) as raised:
        derived(base, "q8_0")
    assert raised.value.message == (
        f"{base}: llama.cpp broke off writing this model as q8_0 (code -9: it gave no reason)"
    )
    assert raised.value.hint == AS_SHIPPED
    assert in_cache() == []
