"""Base and adapter held against each other by their headers: each refusal, whole."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from lorid_local.errors import EXIT_MODEL, ModelError
from lorid_local.gguf_check import CONVERT_HINT, check_adapter, check_base
from lorid_local.gguf_header import Header, read_header
from tests.tiny import tiny_llama_gguf

Q, DOWN = "blk.0.attn_q.weight", "blk.1.ffn_down.weight"  # 64x64 and 64x96
GOOD = {
    f"{Q}.lora_a": (4, 64), f"{Q}.lora_b": (64, 4),
    f"{DOWN}.lora_a": (2, 96), f"{DOWN}.lora_b": (64, 2),
}  # fmt: skip
ADAPTER = {"general.type": "adapter", "adapter.type": "lora"}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Header:
    return read_header(tiny_llama_gguf(tmp_path_factory.mktemp("base") / "base.gguf"))


def write(
    path: Path,
    tensors: Mapping[str, tuple[int, ...]],
    metadata: Mapping[str, str] = ADAPTER,
    arch: str = "llama",
) -> Header:
    writer = gguf.GGUFWriter(path, arch)
    for key, value in metadata.items():
        writer.add_string(key, value)
    for name, shape in tensors.items():
        writer.add_tensor(name, np.zeros(shape, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return read_header(path)


def refused(adapter: Header, base: Header) -> str:
    """Return what is said of the adapter, without the paths."""
    with pytest.raises(ModelError) as raised:
        check_adapter(adapter, base)
    assert (raised.value.hint, raised.value.exit_code) == (CONVERT_HINT, EXIT_MODEL)
    said = raised.value.message
    assert said.startswith(f"{adapter.path}: ")
    return said.replace(str(adapter.path), "A").replace(str(base.path), "B")


def test_an_adapter_that_fits(tmp_path: Path, base: Header) -> None:
    check_base(base)
    check_adapter(write(tmp_path / "a.gguf", GOOD), base)


def test_turned_embeddings_experts_and_a_vector_fit(tmp_path: Path, base: Header) -> None:
    places = {"output.weight": (288, 64), "blk.0.ffn_up_exps.weight": (3, 96, 64),
              "blk.0.ffn_gate_inp_shexp.weight": (64,)}  # fmt: skip
    tensor = base.tensors[Q]
    more = {name: replace(tensor, name=name, shape=shape) for name, shape in places.items()}
    wide = replace(base, tensors={**base.tensors, **more})
    pairs = {
        "token_embd.weight": ((288, 4), (64, 4)),  # A is turned
        "output.weight": ((4, 64), (288, 4)),
        "blk.0.ffn_up_exps.weight": ((3, 4, 64), (3, 96, 4)),
        "blk.0.ffn_gate_inp_shexp.weight": ((4, 64), (1, 4)),
    }
    shapes = {f"{n}.lora_{s}": pair["ab".index(s)] for n, pair in pairs.items() for s in "ab"}
    check_adapter(write(tmp_path / "a.gguf", shapes), wide)
    shapes["token_embd.weight.lora_a"] = (4, 288)
    assert "token_embd.weight" in refused(write(tmp_path / "b.gguf", shapes), wide)


FAULTS: dict[str, dict[str, Any]] = {
    "blk.0.attn_q.weight lacks its lora_b": {f"{Q}.lora_b": None},
    "blk.0.attn_q.weight lacks its lora_a": {f"{Q}.lora_a": None},
    "blk.0.attn_q.weight is 32x64 here and 64x64 in the base": {f"{Q}.lora_b": (32, 4)},
    "blk.1.ffn_down.weight is 64x64 here and 64x96 in the base": {f"{DOWN}.lora_a": (2, 64)},
    "tensor blk.0.attn_norm.weight is no LoRA pair": {"blk.0.attn_norm.weight": (64,)},
    # passed, and llama.cpp refused it without a reason
    "tensor blk.0.attn_q.weight.lora_c is no LoRA pair": {f"{Q}.lora_c": (4, 64)},
    "the LoRA pair of blk.0.attn_q.weight is not two matrices": {f"{Q}.lora_a": (64,)},
    # llama.cpp ends the process on it
    "token_embd.weight is the base's head as well, where llama.cpp can apply no adapter": {
        "token_embd.weight.lora_a": (64, 4),
        "token_embd.weight.lora_b": (288, 4),
    },
    "the base has no tensor blk.9.attn_q.weight": {
        "blk.9.attn_q.weight.lora_a": (4, 64),
        "blk.9.attn_q.weight.lora_b": (64, 4),
    },
    "it holds no tensors": dict.fromkeys(GOOD),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_one_fault(fault: str, tmp_path: Path, base: Header) -> None:
    tensors = {name: shape for name, shape in (GOOD | FAULTS[fault]).items() if shape is not None}
    adapter = write(tmp_path / "a.gguf", tensors)
    assert refused(adapter, base) == f"A: made for another base than B: {fault}"


def test_ranks_of_a_pair_that_differ(tmp_path: Path, base: Header) -> None:
    adapter = write(tmp_path / "a.gguf", GOOD | {f"{Q}.lora_b": (64, 3)})
    assert refused(adapter, base) == (
        "A: made for another base than B: blk.0.attn_q.weight has rank 4 in its lora_a and 3 in "
        "its lora_b"
    )


@pytest.mark.parametrize("side", ["a", "b"])
def test_a_tensor_without_dimensions(side: str, tmp_path: Path, base: Header) -> None:
    # ended in an IndexError; gguf's writer cannot write one, a damaged file holds it
    adapter = write(tmp_path / "a.gguf", GOOD)
    name = f"{Q}.lora_{side}"
    damaged = adapter.tensors | {name: replace(adapter.tensors[name], shape=())}
    assert refused(replace(adapter, tensors=damaged), base) == (
        "A: made for another base than B: the LoRA pair of blk.0.attn_q.weight is not two matrices"
    )


def test_many_faults_are_counted(tmp_path: Path, base: Header) -> None:
    tensors = {f"blk.{i}.attn_q.weight.lora_a": (4, 64) for i in range(7)}
    lacks = "; ".join(f"blk.{i}.attn_q.weight lacks its lora_b" for i in range(5))
    assert refused(write(tmp_path / "a.gguf", tensors), base) == (
        f"A: made for another base than B: {lacks} and 2 more"
    )
    del tensors["blk.6.attn_q.weight.lora_a"], tensors["blk.5.attn_q.weight.lora_a"]
    assert refused(write(tmp_path / "b.gguf", tensors), base) == (
        f"A: made for another base than B: {lacks}"
    )


def test_an_adapter_of_another_architecture(tmp_path: Path, base: Header) -> None:
    adapter = write(tmp_path / "a.gguf", GOOD, arch="qwen2")
    assert refused(adapter, base) == "A: made for a 'qwen2' base, but B is 'llama'"


@pytest.mark.parametrize(
    "metadata", [{}, {"general.type": "adapter"}, ADAPTER | {"adapter.type": "dora"}]
)
def test_not_a_lora(metadata: dict[str, str], tmp_path: Path, base: Header) -> None:
    assert refused(write(tmp_path / "a.gguf", GOOD, metadata), base) == (
        "A: not a GGUF LoRA adapter"
    )


def test_a_model_given_as_adapter(base: Header) -> None:
    with pytest.raises(ModelError) as raised:
        check_adapter(base, base)
    assert raised.value.message == f"{base.path}: not a GGUF LoRA adapter"


def test_an_adapter_given_as_base(tmp_path: Path) -> None:
    adapter = write(tmp_path / "a.gguf", GOOD)
    with pytest.raises(ModelError) as raised:
        check_base(adapter)
    assert raised.value.message == f"{adapter.path}: a GGUF file of type 'adapter', not a model"
    assert (
        raised.value.hint
        == "give the base model's .gguf (-m or --base), and adapters through a bundle"
    )


def test_a_base_that_is_no_language_model(tmp_path: Path, base: Header) -> None:
    other = write(tmp_path / "m.gguf", {"image.weight": (4, 4)}, {})
    with pytest.raises(ModelError) as raised:
        check_base(other)
    assert raised.value.message == (
        f"{other.path}: holds no token embeddings, so it is not a language model"
    )
    nameless = replace(base, metadata={})
    with pytest.raises(ModelError) as raised:
        check_base(nameless)
    assert raised.value.message == (
        f"{base.path}: names no architecture (general.architecture is missing)"
    )
