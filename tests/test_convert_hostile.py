"""Hostile files and sudden deaths: a few hundred cases of what `tests/fuzz_convert.py` runs."""

import os
import re
import signal
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path
from random import Random

import pytest

from lorid_convert import lora_file, pipeline
from lorid_local.errors import ConvertError, LoridError
from lorid_local.gguf_header import read_header
from tests import hostile
from tests.hostile import CASES, Prey, altered, mutated
from tests.test_convert_refusals import folder
from tests.tiny import tiny_llama_gguf

hypothesis = pytest.importorskip("hypothesis")
strategies = pytest.importorskip("hypothesis.strategies")


@pytest.fixture(scope="module")
def prey(tmp_path_factory: pytest.TempPathFactory) -> Prey:
    return Prey(tmp_path_factory.mktemp("hostile"))


def test_hostile_files_are_converted_or_refused(prey: Prey) -> None:
    tracemalloc.start()

    @hypothesis.settings(max_examples=200, deadline=None, database=None, derandomize=True)
    @hypothesis.given(strategies.randoms(use_true_random=False))
    def attack(random: Random) -> None:
        prey.attack(random)

    try:
        attack()
    finally:
        tracemalloc.stop()


def test_the_attacks_reach_every_end(prey: Prey) -> None:
    # an attack that is always refused at the same place would prove little
    ends = {prey.attack(Random(seed)) for seed in range(250)}
    assert {end.partition(":")[0] for end in ends} == {case.__name__ for case in CASES}
    assert {end.partition(": ")[2] for end in ends} == {
        "ModelError", "ConvertError", "converted", "exported"
    }  # fmt: skip


def test_the_mutations_mutate() -> None:
    data, value = bytes(range(200)), {"a": [1, {"b": 2}], "c": None}
    assert sum(mutated(Random(seed), data) != data for seed in range(100)) > 90
    assert sum(altered(Random(seed), value) != value for seed in range(100)) > 80
    assert value == {"a": [1, {"b": 2}], "c": None}


def test_a_crash_would_be_seen(prey: Prey, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_: object, **__: object) -> None:
        raise IndexError

    monkeypatch.setattr(pipeline, "plan", crash)
    with pytest.raises(IndexError):
        for seed in range(20):
            prey.attack(Random(seed))


@pytest.mark.parametrize("waste", ["much memory", "long"])
def test_waste_would_be_seen(waste: str, prey: Prey, monkeypatch: pytest.MonkeyPatch) -> None:
    def plan(*_: object, **__: object) -> None:
        _ = bytearray(hostile.MOST if waste == "much memory" else 0)
        raise ConvertError("no", hint="none")

    monkeypatch.setattr(pipeline, "plan", plan)
    monkeypatch.setattr(hostile, "LIMIT", 0.0 if waste == "long" else hostile.LIMIT)
    tracemalloc.start()
    try:
        with pytest.raises(AssertionError, match=f"took too {waste}"):
            for seed in range(20):
                prey.attack(Random(seed))
    finally:
        tracemalloc.stop()


def test_a_stray_file_would_be_seen(prey: Prey, monkeypatch: pytest.MonkeyPatch) -> None:
    stray = prey.home / "stray"
    monkeypatch.setattr(pipeline, "plan", lambda *_, **__: stray.touch())
    with pytest.raises((AssertionError, AttributeError)):
        for seed in range(20):
            prey.attack(Random(seed))
    stray.unlink()


SLOW = """
import sys, time
from pathlib import Path
from lorid_convert import lora_file, pipeline
encode = lora_file.encode
def slow(tensor, type_):
    print(flush=True)
    time.sleep(0.02)
    return encode(tensor, type_)
lora_file.encode = slow
pipeline.convert(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))
print("done", flush=True)
"""


@pytest.mark.parametrize("before", [None, b"an older adapter"])
def test_kill_9_leaves_nothing_or_a_whole_file(before: bytes | None, tmp_path: Path) -> None:
    base = tiny_llama_gguf(tmp_path / "base.gguf")
    adapter, outfile = folder(tmp_path), tmp_path / "out" / "a.gguf"
    outfile.parent.mkdir()
    if before:
        outfile.write_bytes(before)
    command = [sys.executable, "-c", SLOW, str(adapter), str(base), str(outfile)]
    for lines in (1, 2, 3, 4):
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, env={"PYTHONPATH": ":".join(sys.path)}
        )
        assert process.stdout
        for _ in range(lines):
            process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        process.communicate()
        if outfile.exists() and outfile.read_bytes() != before:
            assert len(read_header(outfile).tensors) == 4  # it was already in place
        else:
            assert outfile.exists() == (before is not None)
    pipeline.convert(adapter, base, outfile)
    # what the killed ones left is removed by the next that writes there
    assert [path.name for path in outfile.parent.iterdir()] == ["a.gguf"]


def test_the_part_of_a_running_conversion_is_left_alone(tmp_path: Path) -> None:
    base = tiny_llama_gguf(tmp_path / "base.gguf")
    parts = [tmp_path / f".a.gguf.{number}.part" for number in (1, os.getppid(), "x")]
    for part in parts:
        part.touch()
    pipeline.convert(folder(tmp_path), base, tmp_path / "a.gguf")
    assert all(part.exists() for part in parts)


def test_a_link_in_the_temporary_files_place_is_not_followed(tmp_path: Path) -> None:
    base = tiny_llama_gguf(tmp_path / "base.gguf")
    target = tmp_path / "target"
    target.write_text("kept")
    with pytest.raises(LoridError), lora_file.put_in_place(tmp_path / "b.gguf") as part:
        part.unlink()
        part.symlink_to(target)
        with lora_file.put_in_place(tmp_path / "c.gguf"):
            raise OSError(5, "stop")
    assert target.read_text() == "kept"
    # an outfile that is a link is replaced, and what it points to is left alone
    (tmp_path / "a.gguf").symlink_to(target)
    pipeline.convert(folder(tmp_path), base, tmp_path / "a.gguf")
    assert target.read_text() == "kept" and not (tmp_path / "a.gguf").is_symlink()


def test_a_file_of_holes_is_refused_at_once(tmp_path: Path) -> None:
    """A header may claim what a sparse file really has: terabytes of zeros."""
    adapter = folder(tmp_path)
    weights = adapter / "adapter_model.safetensors"
    size = 1 << 40
    name = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
    text = (
        f'{{"{name}":{{"dtype":"F32","shape":[4,{size // 16}],"data_offsets":[0,{size}]}}}}'
    ).encode()
    with open(weights, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + size)
    started = time.thread_time()
    with pytest.raises(LoridError, match=re.escape("has lora_A and no usable lora_B")):
        pipeline.plan(adapter, tiny_llama_gguf(tmp_path / "base.gguf"))
    assert time.thread_time() - started < 5


@pytest.mark.parametrize("file", ["adapter_config.json", "adapter_model.safetensors.index.json"])
def test_a_huge_list_is_not_read(file: str, tmp_path: Path) -> None:
    adapter = folder(tmp_path)
    (adapter / "adapter_model.safetensors").unlink()
    with open(adapter / file, "wb") as large:
        large.truncate(1 << 40)
    with pytest.raises(LoridError) as caught:
        pipeline.plan(adapter, tiny_llama_gguf(tmp_path / "base.gguf"))
    assert caught.value.message == (
        f"{adapter / file}: has {1 << 40} bytes; expected at most 10000000"
    )
    assert caught.value.hint == "check the path"
