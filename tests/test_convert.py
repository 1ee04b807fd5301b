"""`lorid convert` proved on a tiny real model: read by gguf, loaded and run by llama.cpp.

What PEFT and llama.cpp compute is compared for every family in test_convert_parity.py. What
convert refuses is in test_convert_refusals.py and test_convert_places.py, how it fails while it
writes in test_convert_writing.py.
"""

import ctypes
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray

from lorid_convert import architectures, peft_config, pipeline, safetensors_file
from lorid_convert.fingerprint import fingerprint
from lorid_convert.notes import Notes
from lorid_local.base import sha256
from lorid_local.commands.convert import command
from lorid_local.errors import LoridError
from lorid_local.gguf_header import read_header
from lorid_local.llama_native import built_with_amx
from tests.tiny import load_peft, tiny_llama_gguf, tiny_peft_adapter

PARITY = 1e-4  # largest difference of a logit; 4e-6 was measured
TOKENS = [1, *range(20, 40), 2, 1, 260, 270, 7, 99]


@pytest.fixture(scope="module")
def gqa_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """4 heads, 2 KV heads, hidden 64."""
    return tiny_llama_gguf(tmp_path_factory.mktemp("gqa") / "base.gguf")


@pytest.fixture
def make_adapter(tmp_path: Path) -> Callable[..., Path]:
    pytest.importorskip("peft")
    return lambda base, **config: tiny_peft_adapter(tmp_path / "adapter", base, **config)


@pytest.fixture
def adapter(make_adapter: Callable[..., Path], gqa_base: Path) -> Path:
    return make_adapter(gqa_base)


def peft_logits(base: Path, folder: Path) -> NDArray[np.float32]:
    """Return PEFT's logits of TOKENS, (tokens, vocabulary)."""
    import torch

    with torch.no_grad():
        logits = load_peft(base, folder)(torch.tensor([TOKENS])).logits[0]
    return np.asarray(logits.numpy())


def llama_cpp_logits(base: Path, adapter: Path | None) -> NDArray[np.float32]:
    """Return llama.cpp's logits of TOKENS, with an f32 KV cache and one thread."""
    llama = pytest.importorskip("llama_cpp")
    parameters = llama.llama_model_default_params()
    parameters.n_gpu_layers = 0
    parameters.use_extra_bufts = not built_with_amx(llama.llama_print_system_info())
    model = llama.llama_model_load_from_file(str(base).encode(), parameters)
    assert model, "llama.cpp does not load the base"
    settings = llama.llama_context_default_params()
    settings.n_ctx, settings.n_threads, settings.n_threads_batch = 64, 1, 1
    settings.type_k = settings.type_v = 0  # GGML_TYPE_F32
    settings.flash_attn_type = llama.LLAMA_FLASH_ATTN_TYPE_DISABLED
    context = llama.llama_init_from_model(model, settings)
    if adapter:
        lora = llama.llama_adapter_lora_init(model, str(adapter).encode())
        assert lora, "llama.cpp does not load the adapter"
        adapters = (llama.llama_adapter_lora_p_ctypes * 1)(lora)
        assert not llama.llama_set_adapters_lora(context, adapters, 1, (ctypes.c_float * 1)(1.0))
    batch = llama.llama_batch_init(len(TOKENS), 0, 1)
    batch.n_tokens = len(TOKENS)
    for i, token in enumerate(TOKENS):
        batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.logits[i] = token, i, 1, True
        batch.seq_id[i][0] = 0
    assert llama.llama_decode(context, batch) == 0
    width = llama.llama_vocab_n_tokens(llama.llama_model_get_vocab(model))
    logits = np.ctypeslib.as_array(llama.llama_get_logits(context), (len(TOKENS), width)).copy()
    llama.llama_batch_free(batch)
    llama.llama_free(context)
    llama.llama_model_free(model)
    return logits


def difference(base: Path, folder: Path, converted: Path) -> float:
    """Return the largest difference of a logit between PEFT and llama.cpp."""
    return float(np.abs(peft_logits(base, folder) - llama_cpp_logits(base, converted)).max())


def read(path: Path) -> tuple[dict[str, Any], dict[str, NDArray[np.float32]]]:
    """Read a GGUF file with gguf's own reader: (metadata, dequantized tensors)."""
    reader = gguf.GGUFReader(path)
    tensors = {t.name: gguf.quants.dequantize(t.data, t.tensor_type) for t in reader.tensors}
    return {key: field.contents() for key, field in reader.fields.items()}, tensors


def test_parity_of_a_bfloat16_adapter(adapter: Path, gqa_base: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = adapter / "adapter_model.safetensors"
    save_file({k: v.bfloat16() for k, v in load_file(weights).items()}, weights)
    report = pipeline.convert(adapter, gqa_base, tmp_path / "a.gguf", "f32")
    assert difference(gqa_base, adapter, report.outfile) <= PARITY


def test_permute_turns_rope_halves_into_pairs() -> None:
    # two heads of four rows; a head's halves (0 1 | 2 3) become the pairs 0 2, 1 3
    rows = np.arange(8, dtype=np.float32).reshape(8, 1)
    assert architectures.permute(rows, 2).ravel().tolist() == [0, 2, 1, 3, 4, 6, 5, 7]


def test_the_file_says_what_it_is(adapter: Path, gqa_base: Path, tmp_path: Path) -> None:
    said = Notes("ir", "terse-1", "mit")
    pipeline.convert(adapter, gqa_base, tmp_path / "ir-v1.gguf", "f16", said)
    metadata, tensors = read(tmp_path / "ir-v1.gguf")
    weights = adapter / "adapter_model.safetensors"
    assert {k: v for k, v in metadata.items() if not k.startswith("GGUF.")} == {
        "general.architecture": "llama",
        "general.type": "adapter",
        "general.name": "ir-v1",
        "general.quantization_version": 2,
        "adapter.type": "lora",
        "adapter.lora.alpha": 8.0,
        "general.license": "mit",
        "lorid.role": "ir",
        "lorid.prompt": "terse-1",
        "lorid.base_sha256": sha256(gqa_base),
        "lorid.version": "0.1.0",
        "lorid.base_fingerprint": fingerprint(read_header(gqa_base)),
        "lorid.source_sha256": sha256(weights),
    }
    assert len(tensors) == 2 * 7 * 2
    assert tensors["blk.1.attn_k.weight.lora_a"].shape == (4, 64)
    assert tensors["blk.1.attn_k.weight.lora_b"].shape == (32, 4)


def test_tensors_are_pefts_own(adapter: Path, gqa_base: Path, tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    pipeline.convert(adapter, gqa_base, tmp_path / "a.gguf", "f32")
    _, tensors = read(tmp_path / "a.gguf")
    own = load_file(adapter / "adapter_model.safetensors")
    prefix = "base_model.model.model.layers.0"
    for module, tensor in (("mlp.down_proj", "ffn_down"), ("self_attn.v_proj", "attn_v")):
        for side in "AB":
            found = tensors[f"blk.0.{tensor}.weight.lora_{side.lower()}"]
            np.testing.assert_array_equal(found, own[f"{prefix}.{module}.lora_{side}.weight"])


def test_one_alpha_is_kept_and_the_rest_folded(
    make_adapter: Callable[..., Path], gqa_base: Path
) -> None:
    folder = make_adapter(gqa_base, alpha_pattern={"q_proj": 2})
    plan = pipeline.plan(folder, gqa_base, "f32")
    assert (plan.alpha, plan.folded) == (8.0, 2)
    assert {p.factors[0] for p in plan.placed if "attn_q" in p.tensor} == {0.25}


def test_alpha_0_for_most_modules_switches_only_those_off(
    make_adapter: Callable[..., Path], gqa_base: Path, tmp_path: Path
) -> None:
    # an alpha of 0 in the file would be taken by llama.cpp for none, at full strength
    folder = make_adapter(gqa_base, alpha_pattern={"[kvo]_proj|up_proj|down_proj": 0})
    report = pipeline.convert(folder, gqa_base, tmp_path / "a.gguf", "f32")
    assert (report.plan.alpha, report.plan.folded) == (8.0, 10)
    assert difference(gqa_base, folder, report.outfile) <= PARITY


def test_patterns_match_as_in_peft() -> None:
    other = pytest.importorskip("peft.utils.other")
    modules = ["model.layers.1.mlp.up_proj", "model.layers.11.mlp.up_proj", "model.xup_proj"]
    keys = ["up_proj", "proj", "layers.1", "1.mlp.up_proj", "^model.layers.1.mlp.up_proj",
            "down_proj|up_proj", "model", ".*"]  # fmt: skip
    for key in keys:
        for module in modules:
            expected = other.get_pattern_key([key], module)
            assert peft_config._matching({key: 1}, module) == expected, (key, module)


def test_q8_0_where_rows_are_whole_blocks(
    make_adapter: Callable[..., Path], gqa_base: Path, tmp_path: Path
) -> None:
    folder = make_adapter(gqa_base, r=32, rank_pattern={"v_proj": 4})
    pipeline.convert(folder, gqa_base, tmp_path / "f32.gguf", "f32")
    pipeline.convert(folder, gqa_base, tmp_path / "q8.gguf", "auto")
    _, exact = read(tmp_path / "f32.gguf")
    _, stored = read(tmp_path / "q8.gguf")
    for name, tensor in exact.items():
        # half a step of the coarsest block, and 127 times the rounding of its float16 step
        bound = np.abs(tensor).max() / 127 * (0.5 + 127 * 2**-11)
        assert np.abs(tensor - stored[name]).max() <= bound, name
    kinds = {t.name: t.type for t in read_header(tmp_path / "q8.gguf").tensors.values()}
    assert kinds["blk.0.attn_q.weight.lora_b"] == gguf.GGMLQuantizationType.Q8_0
    assert kinds["blk.0.attn_v.weight.lora_a"] == gguf.GGMLQuantizationType.Q8_0
    assert kinds["blk.0.attn_v.weight.lora_b"] == gguf.GGMLQuantizationType.F16
    assert difference(gqa_base, folder, tmp_path / "q8.gguf") < 0.1


def test_outtypes_differ_only_in_type(adapter: Path, gqa_base: Path) -> None:
    plans = {t: pipeline.plan(adapter, gqa_base, t).rows for t in pipeline.OUTTYPES}
    assert plans["auto"] == plans["q8_0"]
    assert {row.type for row in plans["f16"]} == {"f16"}
    assert {row.type for row in plans["bf16"]} == {"bf16"}
    assert {row.type for row in plans["q8_0"]} == {"f16", "q8_0"}
    assert len({tuple((r.tensor, r.shape) for r in rows) for rows in plans.values()}) == 1


def test_fingerprint_is_of_shape_not_of_type(gqa_base: Path, tmp_path: Path) -> None:
    same = tiny_llama_gguf(tmp_path / "same.gguf", seed=5, dtype="q8_0")
    other = tiny_llama_gguf(tmp_path / "other.gguf", kv_heads=4)
    ours = fingerprint(read_header(gqa_base))
    assert ours == fingerprint(read_header(same)) != fingerprint(read_header(other))
    assert len(ours) == 64


@pytest.mark.parametrize(
    "key",
    ["block_count", "embedding_length", "feed_forward_length", "attention.head_count",
     "attention.head_count_kv", "attention.layer_norm_rms_epsilon", "rope.dimension_count",
     "rope.freq_base"],
)  # fmt: skip
def test_fingerprint_covers_each_number(key: str, gqa_base: Path) -> None:
    header = read_header(gqa_base)
    changed = replace(header, metadata=header.metadata | {f"llama.{key}": 7})
    assert fingerprint(changed) != fingerprint(header)


def test_fingerprint_takes_tensors_in_any_order(gqa_base: Path) -> None:
    header = read_header(gqa_base)
    turned = replace(header, tensors=dict(reversed(header.tensors.items())))
    assert fingerprint(turned) == fingerprint(header)


def test_a_q8_0_base_takes_the_same_adapter(adapter: Path, gqa_base: Path, tmp_path: Path) -> None:
    base = tiny_llama_gguf(tmp_path / "q8.gguf", dtype="q8_0")
    report = pipeline.convert(adapter, base, tmp_path / "a.gguf")
    assert np.isfinite(llama_cpp_logits(base, report.outfile)).all()


def test_bfloat16_is_read_as_torch_reads_it() -> None:
    raw = np.array([0x3F80, 0xC000, 0x0001, 0x7F80], "<u2").tobytes()
    read_as = safetensors_file._as_float32(raw, "BF16")
    assert read_as.tolist() == [1.0, -2.0, 2.0**-133, np.inf]


def run(*arguments: object, **environment: str) -> Any:
    return CliRunner().invoke(command, [str(a) for a in arguments], env=environment)


def test_command_prints_the_path_on_stdout(adapter: Path, gqa_base: Path, tmp_path: Path) -> None:
    result = run(adapter, "--base", gqa_base, "--outfile", tmp_path / "a.gguf", "--role", "kg")
    assert result.exit_code == 0
    assert result.stdout == f"{tmp_path}/a.gguf\n"
    assert re.fullmatch(
        r"14 modules, alpha 8, f16, q8_0; 0\.0 MB; products within 0\.0\d+ of PEFT's; acts in "
        r"llama\.cpp\n",
        result.stderr,
    )
    assert read(tmp_path / "a.gguf")[0]["lorid.role"] == "kg"


def test_command_dry_run_writes_nothing(adapter: Path, gqa_base: Path, tmp_path: Path) -> None:
    result = run(adapter, "--dry-run", LORID_BASE=str(gqa_base), LORID_OUTTYPE="f32")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert len(lines) == 1 + 28
    assert lines[0].split() == ["tensor", "shape", "rank", "type", "bytes"]
    assert ["blk.0.attn_k.weight.lora_b", "32x4", "4", "f32", "512"] in map(str.split, lines)
    assert result.stderr == (
        "ranks 4; by vLLM: --max-lora-rank 8\n14 modules, alpha 8, f32; nothing was written\n"
    )
    assert [p.name for p in tmp_path.iterdir()] == ["adapter"]


def test_command_lets_errors_through(tmp_path: Path, gqa_base: Path) -> None:
    result = run(tmp_path / "none", "--base", gqa_base)
    assert isinstance(result.exception, LoridError)


def test_command_help() -> None:
    for flag in ("-h", "--help"):
        assert "lorid convert runs/ir/adapter --base BASE.gguf" in run(flag).output


def test_config_is_readable_by_peft(adapter: Path) -> None:
    # the keys that PEFT itself writes are all known here: none is refused as unknown
    problems: list[str] = []
    peft_config.read(adapter, problems)
    assert not problems
    keys = json.loads((adapter / "adapter_config.json").read_text()).keys()
    known = peft_config.WITHOUT_EFFECT | peft_config.READ_HERE | peft_config.REFUSED.keys()
    assert keys <= known
