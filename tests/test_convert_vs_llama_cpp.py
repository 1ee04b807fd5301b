"""The same tensors as llama.cpp's own convert_lora_to_gguf.py, on what that script supports.

Needs its source: LLAMA_CPP_SOURCE=llama_cpp_python-0.3.36/vendor/llama.cpp python -m pytest ...
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lorid_convert import pipeline
from tests.tiny_families import FAMILIES, Bench, tiny_lora

SOURCE = os.environ.get("LLAMA_CPP_SOURCE", "")
pytestmark = pytest.mark.skipif(not SOURCE, reason="LLAMA_CPP_SOURCE names no llama.cpp")


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    pytest.importorskip("peft")
    made = Bench(tmp_path_factory.mktemp("families"))
    yield made
    made.close()


def theirs(tiny: Any, adapter: Path, outfile: Path, outtype: str) -> Path:
    """Convert with llama.cpp's script, from the base's Hugging Face config."""
    config = outfile.parent / "config"
    tiny.model.config.architectures = [type(tiny.model).__name__]
    tiny.model.config.save_pretrained(config)
    script = Path(SOURCE) / "convert_lora_to_gguf.py"
    command = [sys.executable, script, adapter, "--base", config, "--outfile", outfile,
               "--outtype", outtype]  # fmt: skip
    ran = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    assert not ran.returncode, ran.stderr[-2000:]
    return outfile


def differences(ours: Path, theirs: Path) -> list[str]:
    # not at the top: beside an installed lorid there are no benchmarks
    from benchmarks import convert_vs_llama_cpp

    return convert_vs_llama_cpp.differences(ours, theirs)


@pytest.mark.parametrize("outtype", ["f32", "f16", "bf16", "q8_0"])
def test_the_same_tensors_of_every_type(outtype: str, bench: Bench, tmp_path: Path) -> None:
    tiny = bench.tiny("llama")
    tiny_lora(tiny, tmp_path / "adapter", r=32)
    report = pipeline.convert(tmp_path / "adapter", tiny.path, tmp_path / "a.gguf", outtype)
    other = theirs(tiny, tmp_path / "adapter", tmp_path / "b.gguf", outtype)
    assert differences(report.outfile, other) == []


@pytest.mark.parametrize("name", FAMILIES)
def test_the_same_tensors_of_every_family(name: str, bench: Bench, tmp_path: Path) -> None:
    tiny = bench.tiny(name)
    tiny_lora(tiny, tmp_path / "adapter", r=5)
    report = pipeline.convert(tmp_path / "adapter", tiny.path, tmp_path / "a.gguf", "f32")
    other = theirs(tiny, tmp_path / "adapter", tmp_path / "b.gguf", "f32")
    assert differences(report.outfile, other) == []
