"""`--verify` finds what is wrong in a written file; `--inspect` says what a file is.

The products are proved without torch or llama.cpp; the logits with both.
"""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from lorid_convert import architectures, inspecting, lora_file, peft_config, pipeline, verifying
from lorid_local import converting
from lorid_local.converting import Flags
from lorid_local.errors import ConvertError, LoridError, MissingExtra, ModelError
from lorid_local.gguf_header import read_header
from tests.test_convert_places import copy_of, embedding, header
from tests.test_convert_refusals import K, Q, folder, pair, write_safetensors
from tests.tiny import tiny_llama_gguf, tiny_peft_adapter

V = "model.layers.0.self_attn.v_proj"
TYPES = ["f32", "f16", "bf16", "q8_0"]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama_gguf(tmp_path_factory.mktemp("base") / "base.gguf")


def random_pairs(tensors: dict[str, Any], size: float = 1) -> dict[str, Any]:
    random = np.random.default_rng(5)
    return {k: size * random.standard_normal(v.shape, np.float32) for k, v in tensors.items()}


def usual(tmp_path: Path, size: float = 1, **config: Any) -> Path:
    rank = config.get("r", 4)
    tensors = pair(Q, rank) | pair(K, rank, rows=32) | pair(V, rank, rows=32)
    return folder(tmp_path, random_pairs(tensors, size), **config)


def said(error: pytest.ExceptionInfo[LoridError]) -> tuple[str, str]:
    return error.value.message, error.value.hint


@pytest.mark.parametrize("outtype", TYPES)
@pytest.mark.parametrize("rslora", [False, True])
def test_what_is_right_passes(outtype: str, rslora: bool, tmp_path: Path, base: Path) -> None:
    made = usual(tmp_path, use_rslora=rslora, alpha_pattern={"v_proj": 3, "k_proj": 0})
    report = pipeline.convert(made, base, tmp_path / "a.gguf", outtype)
    assert report.error is not None
    assert 0 <= report.error < verifying.TOLERANCE[outtype]


def test_experts_and_embeddings_are_proved_too(tmp_path: Path) -> None:
    expert = "model.layers.0.block_sparse_moe.experts"
    tensors = pair(f"{expert}.2.w3", 4, rows=96) | pair(f"{expert}.0.w3", 2, rows=96)
    made = folder(tmp_path, random_pairs(tensors), rank_pattern={"0.w3": 2})
    report = pipeline.convert(made, header(tmp_path, "llama"), tmp_path / "a.gguf", "f32")
    assert report.error is not None and report.error < 1e-6
    (tmp_path / "adapter").rename(tmp_path / "experts")
    made = folder(tmp_path, random_pairs(embedding("model.embed_tokens"))
                  | copy_of("model.embed_tokens", 288, 64))  # fmt: skip
    report = pipeline.convert(made, header(tmp_path, "qwen2"), tmp_path / "b.gguf", "f32")
    assert report.error is not None and report.error < 1e-6


FAULTS = {
    "no permutation": (architectures, "permute", lambda rows, heads: rows),
    "permuted by twice the heads": (
        architectures, "permute", lambda rows, heads, right=architectures.permute:
        right(rows, 2 * heads)
    ),
    "no square root": (
        peft_config.LoraConfig, "scale_times_rank", lambda self, module, rank: self.alpha_of(module)
    ),
    "values a tenth larger": (
        lora_file, "encode", lambda tensor, type_, right=lora_file.encode:
        right(1.1 * tensor, type_)
    ),
}  # fmt: skip


@pytest.mark.parametrize("outtype", TYPES)
@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_wrong_is_found(
    fault: str, outtype: str, tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = usual(tmp_path, use_rslora=True)
    monkeypatch.setattr(*FAULTS[fault])
    with pytest.raises(ConvertError, match=r"^\d of 3 products differ from PEFT's, so nothing was"):
        pipeline.convert(made, base, tmp_path / "a.gguf", outtype)
    assert not [*tmp_path.glob("*a.gguf*")]
    report = pipeline.convert(made, base, tmp_path / "a.gguf", outtype, verify=False)
    assert report.error is None


def test_what_a_type_cannot_hold_is_found(tmp_path: Path, base: Path) -> None:
    made = usual(tmp_path, size=1e-9)  # f16 knows nothing below 6e-8
    with pytest.raises(ConvertError) as caught:
        pipeline.convert(made, base, tmp_path / "a.gguf", "f16")
    assert said(caught) == (
        f"3 of 3 products differ from PEFT's, so nothing was written: {Q} by 1 (f16); {K} by 1 "
        f"(f16); {V} by 1 (f16)",
        "use --outtype f32: the values may be too small or too uneven for the type; if it happens "
        "there too, report it",
    )
    assert pipeline.convert(made, base, tmp_path / "a.gguf", "f32").error == 0


def test_an_adapter_that_does_nothing_is_told(tmp_path: Path, base: Path) -> None:
    tensors = {k: v * ("lora_A" in k) for k, v in pair(Q).items()}
    made = folder(tmp_path, tensors)
    with pytest.raises(ModelError) as caught:
        converting.run(Flags(str(made), base, tmp_path / "a.gguf"))
    message, hint = said(caught)
    assert re.fullmatch(
        r"\.a\.gguf\.\d+\.part: the adapter does not act: llama\.cpp's logits are the same at "
        r"scale 0 and 1",
        message,
    )
    assert hint == ("train it for at least one step, or convert it all the same with --verify=off")
    assert not [*tmp_path.glob("*a.gguf*")]
    converting.run(Flags(str(made), base, tmp_path / "a.gguf", verify="off"))
    assert (tmp_path / "a.gguf").is_file()


@pytest.mark.parametrize("dtype", ["f32", "q8_0"])
def test_full_compares_with_pefts_logits(
    dtype: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("peft")
    base = tiny_llama_gguf(tmp_path / "base.gguf", dtype=dtype)
    made = tiny_peft_adapter(tmp_path / "adapter", base, r=16, use_rslora=True)
    converting.run(Flags(str(made), base, tmp_path / "a.gguf", outtype="f16", verify="full"))
    assert re.search(r"; effect within \d+\.\d% of PEFT's$", capsys.readouterr().err, re.M)


def test_full_finds_another_adapter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("peft")
    base = tiny_llama_gguf(tmp_path / "base.gguf")
    made = tiny_peft_adapter(tmp_path / "adapter", base, r=16, use_rslora=True)
    right = peft_config.LoraConfig.scale_times_rank
    monkeypatch.setattr(
        peft_config.LoraConfig, "scale_times_rank",
        lambda self, module, rank: right(replace(self, rslora=False), module, rank),
    )  # fmt: skip
    monkeypatch.setattr(verifying, "check", lambda *_: 0.0)  # which would find it first
    with pytest.raises(ConvertError) as caught:
        converting.run(Flags(str(made), base, tmp_path / "a.gguf", verify="full"))
    message, hint = said(caught)
    assert re.fullmatch(
        r"llama\.cpp's effect of the adapter differs from PEFT's by \d+\.\d% of its size; expected "
        r"at most 2%, so nothing was written",
        message,
    )
    assert hint == (
        "check that --base is the model that the adapter was trained on; of one hardly trained the "
        "effect drowns in llama.cpp's rounding: take --verify=on"
    )


def test_full_without_peft(tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = usual(tmp_path)
    monkeypatch.setitem(__import__("sys").modules, "lorid_train.peft_logits", None)
    monkeypatch.delattr("lorid_train.peft_logits", raising=False)
    with pytest.raises(MissingExtra) as caught:
        converting.run(Flags(str(made), base, tmp_path / "a.gguf", verify="full"))
    assert said(caught) == (
        "--verify=full compares with PEFT, which is missing",
        "pip install 'lorid-local[train]'",
    )


def test_a_large_base_is_not_run(
    tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(converting, "QUICK", 10)
    made = usual(tmp_path)
    for verify, told in (("auto", ""), ("on", "; acts in llama.cpp")):
        converting.run(Flags(str(made), base, tmp_path / "a.gguf", verify=verify))
        assert capsys.readouterr().err.endswith(f" of PEFT's{told}\n")


# --- inspect


def test_inspect_says_what_a_file_is(
    tmp_path: Path, base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pipeline.convert(usual(tmp_path), base, tmp_path / "a.gguf", "f16")
    converting.run(Flags(inspect=tmp_path / "a.gguf", base=base))
    out, err = capsys.readouterr()
    for line in ("name: a", "architecture: llama", "alpha: 8.0", "ranks: 4", "types: f16",
                 "trained on: tiny/model"):  # fmt: skip
        assert line in out.splitlines()
    rows = [line.split() for line in out.splitlines()]
    assert ["blk.0.attn_q.weight", "4x64", "64x4", "4", "2", "f16", "1024"] in rows
    assert err == ""


def written(path: Path, tensors: dict[str, Any], **metadata: Any) -> Path:
    """Write a GGUF LoRA of these tensors: arrays, or shapes of ones."""
    writer = gguf.GGUFWriter(path, metadata.pop("architecture", "llama"))
    writer.add_type(metadata.pop("type", "adapter"))
    writer.add_string("adapter.type", "lora")
    for key, value in metadata.items():
        writer.add_float32(key.replace("__", "."), value)
    for name, given in tensors.items():
        ones = isinstance(given, tuple)
        writer.add_tensor(name, np.ones(given, np.float32) if ones else given)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_inspect_warns(tmp_path: Path) -> None:
    tensors = {"blk.0.attn_q.weight.lora_a": (600, 64), "blk.0.attn_q.weight.lora_b": (64, 600),
               "blk.0.attn_norm.weight": (64,)}  # fmt: skip
    found = inspecting.inspect(written(tmp_path / "a.gguf", tensors, architecture="mamba"))
    assert found.warnings == (
        "has no alpha, so llama.cpp applies it at scale 1, whatever its rank",
        "1 tensors are no LoRA pair, the first is blk.0.attn_norm.weight",
        "its architecture 'mamba' is none that lorid converts",
        "rank 600 is more than vLLM takes (512)",
        "1 pairs have a rank above that of what they adapt, the first is blk.0.attn_q.weight: a "
        "smaller rank says the same",
        "does not say which base it was made for",
    )
    assert found.pairs[0].scale == 1


def test_inspect_tells_another_base(tmp_path: Path, base: Path) -> None:
    pipeline.convert(usual(tmp_path), base, tmp_path / "a.gguf")
    other = tiny_llama_gguf(tmp_path / "other.gguf", ffn=128)
    found = inspecting.inspect(tmp_path / "a.gguf", other)
    assert found.warnings == (f"made for a base of another fingerprint than {other}",)
    with pytest.raises(ModelError, match="made for another base than"):
        inspecting.inspect(tmp_path / "a.gguf", tiny_llama_gguf(tmp_path / "b.gguf", hidden=128))


def test_inspect_refuses_what_is_no_adapter(base: Path) -> None:
    with pytest.raises(ModelError) as caught:
        inspecting.inspect(base)
    assert said(caught) == (
        f"{base}: not a GGUF LoRA adapter (general.type is 'model', adapter.type is None)",
        "lorid convert PEFT_DIR --base BASE.gguf --outfile ADAPTER.gguf",
    )


def test_a_written_file_is_read_by_its_types(tmp_path: Path, base: Path) -> None:
    made = usual(tmp_path)
    write_safetensors(made / "adapter_model.safetensors", random_pairs(pair(Q, 32)))
    (made / "adapter_config.json").write_text(
        (made / "adapter_config.json").read_text().replace('"r": 4', '"r": 32')
    )
    for outtype in TYPES:
        report = pipeline.convert(made, base, tmp_path / f"{outtype}.gguf", outtype)
        found = read_header(report.outfile)
        name = "blk.0.attn_q.weight.lora_a"
        theirs = next(t for t in gguf.GGUFReader(report.outfile).tensors if t.name == name)
        expected = gguf.quants.dequantize(theirs.data, theirs.tensor_type)
        np.testing.assert_array_equal(lora_file.read_tensor(found, name), expected)
