"""`lorid export-peft`: the way back is exact, and PEFT reads what it writes."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from lorid_convert import exporting, pipeline, safetensors_file
from lorid_local.commands.export_peft import command
from lorid_local.errors import ConvertError, LoridError, ModelError, OutputError
from lorid_local.gguf_header import read_header
from tests.test_convert import TOKENS, peft_logits
from tests.test_convert_places import copy_of, embedding, header
from tests.test_convert_refusals import K, Q, folder, pair
from tests.test_convert_verify import V, random_pairs, written
from tests.tiny import tiny_llama_gguf, tiny_peft_adapter

EXPERT = "model.layers.0.block_sparse_moe.experts"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama_gguf(tmp_path_factory.mktemp("base") / "base.gguf")


def tensors_of(adapter: Path) -> dict[str, Any]:
    table = safetensors_file.read_table(adapter / "adapter_model.safetensors")
    return {name: safetensors_file.load(entry) for name, entry in table.items()}


def data(path: Path) -> bytes:
    return path.read_bytes()[read_header(path).data_start :]


def there_and_back(adapter: Path, base: Path, outtype: str) -> tuple[Path, Path, Path]:
    """Return the first GGUF, the PEFT folder made from it, and the GGUF made from that."""
    here = adapter.parent
    first = pipeline.convert(adapter, base, here / "1.gguf", outtype).outfile
    exporting.export(first, base, here / "back")
    second = pipeline.convert(here / "back", base, here / "2.gguf", outtype).outfile
    return first, here / "back", second


@pytest.mark.parametrize("outtype", ["f32", "f16", "bf16"])
def test_the_round_trip_is_exact(outtype: str, tmp_path: Path, base: Path) -> None:
    tensors = random_pairs(pair(Q) | pair(K, 3, rows=32) | pair(V, rows=32))
    if outtype == "f16":
        tensors = {k: v.astype(np.float16) for k, v in tensors.items()}
    dtypes = {"lora": "F16"}.items() if outtype == "f16" else ()
    made = folder(tmp_path, tensors, dtypes, rank_pattern={"k_proj": 3},
                  alpha_pattern={"v_proj": 16, "k_proj": 0.5}, use_rslora=True)  # fmt: skip
    first, back, second = there_and_back(made, base, outtype)
    assert data(first) == data(second)
    assert read_header(first).tensors == read_header(second).tensors
    assert (read_header(first).metadata["adapter.lora.alpha"]
            == read_header(second).metadata["adapter.lora.alpha"])  # fmt: skip
    for name, values in tensors_of(back).items():
        if outtype != "bf16" and (Q in name or "lora_A" in name):  # no scale was folded into these
            np.testing.assert_array_equal(values, tensors[name])


def test_experts_and_embeddings_come_back(tmp_path: Path) -> None:
    tensors = random_pairs(pair(f"{EXPERT}.2.w3", rows=96) | pair(f"{EXPERT}.0.w3", rows=96))
    made = folder(tmp_path, tensors)
    _, back, _ = there_and_back(made, header(tmp_path, "llama", experts=4), "f32")
    assert tensors_of(back).keys() == tensors.keys()  # experts 1 and 3 have no adapter
    for name, values in tensors_of(back).items():
        np.testing.assert_array_equal(values, tensors[name])
    (tmp_path / "two").mkdir()
    tensors = random_pairs(embedding("model.embed_tokens") | pair("lm_head", rows=288))
    made = folder(tmp_path / "two", tensors | copy_of("model.embed_tokens", 288, 64))
    _, back, _ = there_and_back(made, header(tmp_path, "qwen2"), "f32")
    for name, values in tensors_of(back).items():
        np.testing.assert_array_equal(values, tensors[name])


def test_q8_0_becomes_the_values_it_stands_for(tmp_path: Path, base: Path) -> None:
    made = folder(tmp_path, random_pairs(pair(Q, 32)), r=32)
    first, back, second = there_and_back(made, base, "q8_0")
    table = safetensors_file.read_table(back / "adapter_model.safetensors")
    assert {entry.dtype for entry in table.values()} == {"F32"}
    assert data(first) == data(second)


def test_peft_computes_the_same(tmp_path: Path, base: Path) -> None:
    pytest.importorskip("peft")
    made = tiny_peft_adapter(tmp_path / "adapter", base, use_rslora=True,
                             rank_pattern={"o_proj": 6}, alpha_pattern={"k_proj": 2},
                             layers_to_transform=1)  # fmt: skip
    _, back, _ = there_and_back(made, base, "f32")
    theirs, ours = peft_logits(base, made), peft_logits(base, back)
    assert theirs.shape[0] == len(TOKENS)
    assert np.abs(theirs - ours).max() < 1e-4


def test_the_config(tmp_path: Path, base: Path) -> None:
    made = folder(tmp_path, random_pairs(pair(Q) | pair(K, 2, rows=32) | pair(V, rows=32)),
                  rank_pattern={"k_proj": 2}, lora_alpha=0.1)  # fmt: skip
    _, back, _ = there_and_back(made, base, "f32")
    assert json.loads((back / "adapter_config.json").read_text()) == {
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": "tiny/model",
        "inference_mode": True, "bias": "none", "lora_dropout": 0.0, "r": 4, "lora_alpha": 0.1,
        "rank_pattern": {K: 2}, "alpha_pattern": {}, "target_modules": [Q, V, K],
    }  # fmt: skip


def test_a_file_without_alpha_has_scale_1(tmp_path: Path, base: Path) -> None:
    tensors = {f"blk.0.attn_{m}.weight.lora_{s}": shape for m, r in (("q", 4), ("output", 2))
               for s, shape in (("a", (r, 64)), ("b", (64, r)))}  # fmt: skip
    exporting.export(written(tmp_path / "a.gguf", tensors), base, tmp_path / "back")
    config = json.loads((tmp_path / "back" / "adapter_config.json").read_text())
    assert config["r"] == config["lora_alpha"]
    assert [*config["alpha_pattern"].values()] == [*config["rank_pattern"].values()]


def refused(kind: type[LoridError], adapter: Path, base: Path, out: Path) -> tuple[str, str]:
    with pytest.raises(kind) as caught:
        exporting.export(adapter, base, out)
    return caught.value.message, caught.value.hint


def test_refusals(tmp_path: Path, base: Path) -> None:
    adapter = pipeline.convert(folder(tmp_path), base, tmp_path / "a.gguf").outfile
    there = tmp_path / "adapter"
    assert refused(OutputError, adapter, base, there) == (
        f"{there}: is there already", "give another --outdir"
    )  # fmt: skip
    nowhere = tmp_path / "no" / "out"
    assert refused(OutputError, adapter, base, nowhere) == (
        f"{nowhere}: lies in no folder", "give another --outdir"
    )  # fmt: skip
    other = tiny_llama_gguf(tmp_path / "other.gguf", hidden=128)
    message, _ = refused(ModelError, adapter, other, tmp_path / "out")
    assert message.startswith(f"{adapter}: made for another base than {other}: ")
    norm = {"output_norm.weight.lora_a": (1, 64), "output_norm.weight.lora_b": (1, 1)}
    odd = written(tmp_path / "odd.gguf", norm)
    assert refused(ConvertError, odd, base, tmp_path / "out") == (
        f"{odd}: PEFT has no module for output_norm.weight",
        "only what `lorid convert` makes can be turned back",
    )
    assert not (tmp_path / "out").exists()


def test_the_command(tmp_path: Path, base: Path) -> None:
    adapter = pipeline.convert(folder(tmp_path), base, tmp_path / "a.gguf").outfile
    result = CliRunner().invoke(command, [str(adapter), "--base", str(base)])
    assert result.stdout == f"{tmp_path}/a\n"
    assert result.stderr == "2 modules, rank 4; vLLM: --max-lora-rank 8\n"
    assert {path.name for path in (tmp_path / "a").iterdir()} == {
        "adapter_config.json", "adapter_model.safetensors"
    }  # fmt: skip
