"""What `lorid convert` refuses, with each message asserted whole. Needs no torch.

The adapter folders are written here by hand, so that each can be wrong in one way.
"""

import json
import math
import re
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from numpy.typing import NDArray

from lorid_convert import pipeline
from lorid_local.errors import ConvertError, LoridError, ModelError, OutputError
from tests.tiny import tiny_llama_gguf

CONFIG = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "base_model_name_or_path": "tiny/model"}
Q, K = "model.layers.0.self_attn.q_proj", "model.layers.1.self_attn.k_proj"
ALPHAS = "expected 0 or a number of size 1e-30 to 1e+30"
MERGE = "merge the adapter into its base (PEFT's merge_and_unload) and convert the merged model"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama_gguf(tmp_path_factory.mktemp("base") / "base.gguf")


def ones(*shape: int) -> NDArray[np.float32]:
    return np.ones(shape, np.float32)


def pair(module: str, rank: int = 4, rows: int = 64, columns: int = 64) -> dict[str, Any]:
    prefix = f"base_model.model.{module}.lora_"
    return {f"{prefix}A.weight": ones(rank, columns), f"{prefix}B.weight": ones(rows, rank)}


def write_safetensors(path: Path, tensors: dict[str, Any], **dtypes: str) -> None:
    """Write a safetensors file; `dtypes` overrides the F32 that the header says."""
    header, at = {}, 0
    for name, tensor in tensors.items():
        end = at + tensor.nbytes
        dtype = next((v for part, v in dtypes.items() if part in name), "F32")
        header[name] = {"dtype": dtype, "shape": tensor.shape, "data_offsets": [at, end]}
        at = end
    text = json.dumps(header).encode()
    data = b"".join(tensor.tobytes() for tensor in tensors.values())
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


def folder(
    tmp_path: Path, tensors: dict[str, Any] | None = None, dtypes: Any = (), **config: Any
) -> Path:
    path = tmp_path / "adapter"
    path.mkdir()
    (path / "adapter_config.json").write_text(json.dumps(CONFIG | config))
    usual = pair(Q) | pair(K, rows=32)
    write_safetensors(path / "adapter_model.safetensors", tensors or usual, **dict(dtypes))
    return path


def refused(error: type[LoridError], adapter: Path, base: Path, outtype: str = "auto") -> Any:
    outfile = adapter.parent / "out.gguf"
    with pytest.raises(error) as caught:
        pipeline.convert(adapter, base, outfile, outtype)
    assert not list(adapter.parent.glob("*out.gguf*"))
    return caught.value


def problems(adapter: Path, base: Path, outtype: str = "auto") -> list[str]:
    error = refused(ConvertError, adapter, base, outtype)
    first, *lines = error.message.split("\n")
    assert first == f"{adapter}: cannot be written as a GGUF LoRA for {base}; nothing was written:"
    assert error.hint == (
        "correct this, or give the base it was trained on (tiny/model): "
        f"lorid convert {adapter} --base BASE.gguf"
    )
    return [line.removeprefix("  - ") for line in lines]


def test_the_usual_folder_is_accepted(tmp_path: Path, base: Path) -> None:
    report = pipeline.convert(folder(tmp_path), base, tmp_path / "a.gguf")
    assert len(report.plan.placed) == 2


CONFIG_ROWS: list[tuple[str, Any, str]] = [
    ("bias", "lora_only", 'bias is "lora_only": a GGUF LoRA holds no biases; '
     f'{MERGE}, or train with "none"'),
    ("init_lora_weights", "pissa_niter_16", 'init_lora_weights is "pissa_niter_16": it changed '
     "the base's weights, which the GGUF base does not have; save again with PEFT's "
     "path_initial_model_for_weight_conversion"),
    ("alora_invocation_tokens", [1], "alora_invocation_tokens is [1]: an activated LoRA is not "
     "supported; train a plain LoRA"),
    ("arrow_config", {"top_k": 3}, 'arrow_config is {"top_k": 3}: routing between adapters is '
     "not supported; train a plain LoRA"),
    ("kasa_config", {"beta": 1}, 'kasa_config is {"beta": 1}: KaSA changes the base\'s weights; '
     f"{MERGE}"),
    ("layer_replication", [[0, 2]], "layer_replication is [[0, 2]]: the base file does not have "
     f"the repeated layers; {MERGE}"),
    ("lora_bias", True, f"lora_bias is true: a GGUF LoRA holds no biases; {MERGE}, "
     "or train with false"),
    ("megatron_config", {"a": 1}, 'megatron_config is {"a": 1}: parallel Megatron layers are not '
     "supported; train without them"),
    ("modules_to_save", ["lm_head"], 'modules_to_save is ["lm_head"]: a GGUF LoRA holds no whole '
     f"layers; {MERGE}, or train with null"),
    ("monteclora_config", {"n": 1}, 'monteclora_config is {"n": 1}: random adapters are not '
     "supported; train a plain LoRA"),
    ("target_parameters", ["w"], 'target_parameters is ["w"]: only linear layers are supported; '
     f"{MERGE}, or use target_modules"),
    ("trainable_token_indices", [5], "trainable_token_indices is [5]: a GGUF LoRA holds no token "
     f"rows; {MERGE}, or train with null"),
    ("use_bdlora", {"n": 1}, 'use_bdlora is {"n": 1}: block-diagonal LoRA is not supported; '
     "train a plain LoRA"),
    ("use_dora", True, f"use_dora is true: a GGUF LoRA holds no magnitude vectors; {MERGE}, "
     "or train with false"),
    ("use_qalora", True, "use_qalora is true: QALoRA pools the layer's input; train a plain LoRA"),
    ("use_rslorra", True, "use_rslorra is true: a key lorid does not know (did you mean "
     "use_rslora?); remove it if it does not change what the adapter computes"),
    ("r", 0, "r is 0: expected a whole number above 0"),
    ("r", "4", 'r is "4": expected a whole number above 0'),
    ("r", 5, ""),
    ("lora_alpha", "8", f'lora_alpha is "8": {ALPHAS}'),
    ("lora_alpha", math.nan, f"lora_alpha is NaN: {ALPHAS}"),
    ("lora_alpha", 1e-40, f"lora_alpha is 1e-40: {ALPHAS}"),
    ("lora_alpha", 10**400, f"lora_alpha is 1{'0' * 56}...: {ALPHAS}"),
    ("use_rslora", "yes", 'use_rslora is "yes": expected true or false'),
    ("rank_pattern", {"q_proj": 0}, "rank_pattern['q_proj'] is 0: expected a whole number above 0"),
    ("alpha_pattern", {"q_proj": None}, "alpha_pattern['q_proj'] is null: " + ALPHAS),
    ("alpha_pattern", {"q_proj": True}, "alpha_pattern['q_proj'] is true: " + ALPHAS),
    ("alpha_pattern", {"(": 2}, "alpha_pattern['(']: not a regular expression"),
    ("alpha_pattern", [2], "alpha_pattern is [2]: expected an object"),
]  # fmt: skip


@pytest.mark.parametrize(("key", "value", "message"), [r for r in CONFIG_ROWS if r[2]])
def test_config_refusals(key: str, value: Any, message: str, tmp_path: Path, base: Path) -> None:
    assert problems(folder(tmp_path, **{key: value}), base) == [message]


def test_empty_unknown_keys_pass(tmp_path: Path, base: Path) -> None:
    # a newer PEFT writes its new options as null, false or {} where they are not used
    adapter = folder(tmp_path, use_new_method=False, new_config=None, new_pattern={})
    assert len(pipeline.plan(adapter, base).rows) == 4


P = "base_model.model."
LOST = f"not a lora_A or lora_B weight, so it would be lost; {MERGE}"
TENSOR_ROWS: list[tuple[dict[str, Any], str]] = [
    ({f"{P}{Q}.lora_magnitude_vector": ones(64)},
     f"tensor {P}{Q}.lora_magnitude_vector: {LOST}"),
    (pair("model.layers.0.mlp.gate"),
     "module model.layers.0.mlp.gate: not convertible; train with target_modules among q_proj, "
     "k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj"),
    ({f"{P}{Q}.lora_A.weight": ones(4, 64)},
     f"module {Q}: has lora_A and no usable lora_B"),
    ({f"{P}{Q}.lora_B.weight": ones(64, 4)},
     f"module {Q}: has lora_B and no usable lora_A"),
    ({f"{P}{Q}.lora_A.weight": ones(4, 64), f"{P}{Q}.lora_B.weight": ones(64, 3)},
     f"module {Q}: lora_A has rank 4, lora_B 3"),
    (pair(Q, rank=2), f"module {Q}: its tensors have rank 2, r and rank_pattern say 4"),
    (pair(Q, rows=128), f"module {Q}: fits (128, 64), the base's blk.0.attn_q.weight is (64, 64)"),
    (pair("model.layers.7.mlp.up_proj", rows=96),
     "module model.layers.7.mlp.up_proj: the base has no tensor blk.7.ffn_up.weight"),
    ({f"{P}{Q}.lora_A.weight": ones(4, 64) * np.nan, f"{P}{Q}.lora_B.weight": ones(64, 4)},
     f"tensor {P}{Q}.lora_A.weight: has values that are NaN or infinite; train again"),
    ({f"{P}{Q}.lora_A.weight": ones(4, 64), f"{P}{Q}.lora_B.weight": ones(64, 4) * np.inf},
     f"tensor {P}{Q}.lora_B.weight: has values that are NaN or infinite; train again"),
    ({f"{P}{Q}.lora_A.weight": ones(4, 64) * 1e7, f"{P}{Q}.lora_B.weight": ones(64, 4) * 1e5},
     f"tensor {P}{Q}.lora_A.weight: exceeds q8_0 (1e+07); use --outtype f32\n"
     f"tensor {P}{Q}.lora_B.weight: exceeds f16 (100000); use --outtype f32"),
]  # fmt: skip


@pytest.mark.parametrize(("tensors", "message"), TENSOR_ROWS, ids=[r[1][:60] for r in TENSOR_ROWS])
def test_tensor_refusals(tensors: dict[str, Any], message: str, tmp_path: Path, base: Path) -> None:
    assert problems(folder(tmp_path, pair(K, rows=32) | tensors), base) == message.split("\n")


def test_large_values_fit_f32(tmp_path: Path, base: Path) -> None:
    tensors = {name: tensor * 1e9 for name, tensor in pair(Q).items()}
    assert pipeline.plan(folder(tmp_path, tensors), base, "f32").rows


def test_tensors_of_another_type_are_refused(tmp_path: Path, base: Path) -> None:
    adapter = folder(tmp_path, dtypes={"lora_A": "F64"}.items(), tensors=pair(Q))
    name = f"{P}{Q}.lora_A.weight"
    assert problems(adapter, base) == [
        f"tensor {name}: of type F64; save as F32, F16 or BF16",
        f"module {Q}: has lora_B and no usable lora_A",
    ]


def test_tensors_of_one_dimension_are_refused(tmp_path: Path, base: Path) -> None:
    tensors = pair(Q) | {f"{P}{Q}.lora_A.weight": ones(4)}
    assert problems(folder(tmp_path, tensors), base) == [
        f"tensor {P}{Q}.lora_A.weight: of shape (4,); expected two dimensions",
        f"module {Q}: has lora_B and no usable lora_A",
    ]


def test_no_tensors_at_all_are_refused(tmp_path: Path, base: Path) -> None:
    adapter = folder(tmp_path)
    write_safetensors(adapter / "adapter_model.safetensors", {})
    assert problems(adapter, base) == ["adapter_model.safetensors holds no LoRA tensors"]


def test_all_problems_come_at_once(tmp_path: Path, base: Path) -> None:
    tensors = pair(Q, rows=128) | pair(K) | pair("lm_head", rows=288)
    adapter = folder(tmp_path, tensors, use_dora=True, modules_to_save=["x"], lora_alpha=None)
    found = problems(adapter, base)
    assert [line.split()[:2] for line in found] == [
        ["modules_to_save", "is"],
        ["use_dora", "is"],
        ["lora_alpha", "is"],
        ["module", f"{Q}:"],
        ["module", f"{K}:"],
        ["module", "lm_head:"],
    ]


def test_very_many_problems_of_one_kind_are_counted(tmp_path: Path, base: Path) -> None:
    tensors: dict[str, Any] = {}
    for layer in range(30):
        tensors |= pair(f"model.layers.{layer}.mlp.down_proj", columns=100)
    found = problems(folder(tmp_path, tensors | pair("lm_head")), base)
    assert len(found) == 2 + 13 + 1  # layers 0 and 1 are in the base, in another shape
    assert found[-2] == (
        "and 16 more like these, the last: module model.layers.29.mlp.down_proj: "
        "the base has no tensor blk.29.ffn_down.weight"
    )
    assert found[-1].startswith("module lm_head")


def test_control_characters_of_names_are_not_shown(tmp_path: Path, base: Path) -> None:
    tensors = pair(Q) | {"\x1b[31mred\n  - use_dora": ones(1)}
    assert problems(folder(tmp_path, tensors), base) == [f"tensor ?[31mred?  - use_dora: {LOST}"]


def test_no_folder(tmp_path: Path, base: Path) -> None:
    error = refused(ModelError, tmp_path / "none", base)
    assert error.message == f"{tmp_path}/none: no such folder"
    assert error.hint == "give the folder that PEFT's save_pretrained() wrote"


def test_no_config(tmp_path: Path, base: Path) -> None:
    adapter = folder(tmp_path)
    (adapter / "adapter_config.json").unlink()
    error = refused(ModelError, adapter, base)
    assert error.message == (
        f"{adapter}/adapter_config.json: cannot be read (No such file or directory)"
    )
    assert error.hint == "give the folder that PEFT's save_pretrained() wrote"


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "not JSON: Expecting property name"), ("[]", "not a JSON object"),
     ("[" * 100_000, "not JSON: ")],
)  # fmt: skip
def test_damaged_config(text: str, message: str, tmp_path: Path, base: Path) -> None:
    adapter = folder(tmp_path)
    (adapter / "adapter_config.json").write_text(text)
    error = refused(ModelError, adapter, base)
    assert error.message.startswith(f"{adapter}/adapter_config.json: {message}")
    assert error.hint == "save the adapter again"


def test_no_weights(tmp_path: Path, base: Path) -> None:
    adapter = folder(tmp_path)
    (adapter / "adapter_model.safetensors").unlink()
    error = refused(ModelError, adapter, base)
    assert error.message == f"{adapter}: has no adapter_model.safetensors"
    assert error.hint == "give the folder that PEFT's save_pretrained() wrote"
    (adapter / "adapter_model.bin").touch()
    hint = "load the adapter with PEFT and save it again with safe_serialization=True"
    assert refused(ModelError, adapter, base).hint == hint


def header_bytes(table: Any) -> bytes:
    text = table.encode() if isinstance(table, str) else json.dumps(table).encode()
    return len(text).to_bytes(8, "little") + text


def tensor(start: int, end: int, **changes: Any) -> dict[str, Any]:
    return {"dtype": "F32", "shape": [(end - start) // 4], "data_offsets": [start, end]} | changes


@pytest.mark.parametrize(
    ("raw", "fault"),
    [
        (b"", "its header would end at byte 8 of 0"),
        (b"\xff" * 16, "its header would end at byte 18446744073709551623 of 16"),
        (header_bytes("{"), "Expecting property name"),
        (header_bytes([]), "its header is not a table"),
        (header_bytes('{"a": 1, "a": 2}'), "its header names a tensor twice"),
        (header_bytes({"a": {}}), "tensor 'a' lacks dtype, shape or data_offsets"),
        (header_bytes({"a": tensor(0, 4, shape=[-1])}), "tensor 'a' has sizes that are not whole"),
        (header_bytes({"a": tensor(0, 4, shape=[9])}), "tensor 'a' has 4 bytes, which do not fit"),
        (header_bytes({"a": tensor(0, 8)}), re.escape("its tensors end at byte")),
        (header_bytes({"a": tensor(0, 8), "b": tensor(4, 12)}) + bytes(12), "tensor 'b' overlaps"),
        (header_bytes({"a": tensor(0, 4), "b": tensor(8, 12)}) + bytes(12), "tensor 'b' overlaps"),
        (header_bytes({"a": tensor(0, 4)}) + bytes(5), "its tensors end at byte"),
    ],
)
def test_damaged_weights(raw: bytes, fault: str, tmp_path: Path, base: Path) -> None:
    adapter = folder(tmp_path)
    (adapter / "adapter_model.safetensors").write_bytes(raw)
    error = refused(ModelError, adapter, base)
    path = adapter / "adapter_model.safetensors"
    assert re.match(f"{path}: not a safetensors file, or damaged: {fault}", error.message)
    assert error.hint == "copy or download the adapter again"


def other_base(path: Path, architecture: str, **metadata: str) -> Path:
    writer = gguf.GGUFWriter(path, architecture)
    for key, value in metadata.items():
        writer.add_string(key.replace("__", "."), value)
    writer.add_tensor("blk.0.attn_q.weight", ones(64, 64))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_unknown_architecture(tmp_path: Path) -> None:
    base = other_base(tmp_path / "mamba.gguf", "mamba")
    error = refused(ConvertError, folder(tmp_path), base)
    assert error.message == (
        f"{base}: architecture 'mamba' cannot be converted; supported: llama, qwen2, qwen3, "
        "qwen2moe, gemma2, gemma3, phi3"
    )
    assert error.hint == "llama.cpp's convert_lora_to_gguf.py knows more (but not use_rslora)"


def test_an_adapter_is_no_base(tmp_path: Path) -> None:
    base = other_base(tmp_path / "a.gguf", "llama", general__type="adapter")
    error = refused(ConvertError, folder(tmp_path), base)
    assert error.message == f"{base}: a GGUF file of type 'adapter', not a model"
    assert error.hint == "give the base model's file: lorid convert PEFT_DIR --base BASE.gguf"


def test_a_base_without_head_counts(tmp_path: Path) -> None:
    base = other_base(tmp_path / "odd.gguf", "llama")
    error = refused(ConvertError, folder(tmp_path, pair(Q)), base)
    assert error.message == (
        f"{base}: llama.attention.head_count is None, which does not split the 64 rows of "
        "blk.0.attn_q.weight into heads"
    )
    assert error.hint == "use a base whose layers all have the same number of heads"


def test_no_base(tmp_path: Path) -> None:
    error = refused(ModelError, folder(tmp_path), tmp_path / "none.gguf")
    assert error.message == f"{tmp_path}/none.gguf: no such file"


def test_unknown_outtype(tmp_path: Path, base: Path) -> None:
    error = refused(ConvertError, folder(tmp_path), base, "q4_0")
    assert error.message == "outtype 'q4_0': expected one of auto, f32, f16, bf16, q8_0"


def test_outfiles_that_would_do_harm(tmp_path: Path) -> None:
    base = tiny_llama_gguf(tmp_path / "base.gguf")
    adapter, before = folder(tmp_path), base.read_bytes()
    link = tmp_path / "link.gguf"
    link.symlink_to(base)
    weights = adapter / "adapter_model.safetensors"
    for outfile, inputs in ((base, base), (link, base), (weights, weights)):
        with pytest.raises(OutputError) as caught:
            pipeline.convert(adapter, base, outfile)
        assert caught.value.message == f"{outfile}: would overwrite {inputs}"
        assert caught.value.hint == "give another --outfile"
    assert base.read_bytes() == before


def test_outfiles_that_cannot_be(tmp_path: Path, base: Path) -> None:
    adapter = folder(tmp_path)
    with pytest.raises(OutputError) as caught:
        pipeline.convert(adapter, base, tmp_path / "no" / "a.gguf")
    assert caught.value.message == f"{tmp_path}/no: no such folder"
    assert caught.value.hint == f"mkdir -p {tmp_path}/no"
    with pytest.raises(OutputError) as caught:
        pipeline.convert(adapter, base, tmp_path)
    assert caught.value.message == f"{tmp_path}: is a folder"
    assert caught.value.hint == f"--outfile {tmp_path}/adapter.gguf"
