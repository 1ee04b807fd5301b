"""Where `lorid convert` takes adapters from: shards, pickles, the cache, folders of several.

The folders are written by hand; only the pickled one needs torch.
"""

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from lorid_convert import finding, peft_folder, pipeline
from lorid_local import converting
from lorid_local.commands.convert import command
from lorid_local.converting import Flags
from lorid_local.engine import Role
from lorid_local.errors import InputError, LoridError, MissingExtra, ModelError, OutputError
from lorid_local.gguf_header import read_header
from tests.test_convert_refusals import K, Q, folder, pair, write_safetensors
from tests.tiny import tiny_llama_gguf

WEIGHTS, INDEX = peft_folder.FILE, peft_folder.INDEX
SHARDS = ("adapter_model-00001-of-00002.safetensors", "adapter_model-00002-of-00002.safetensors")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama_gguf(tmp_path_factory.mktemp("base") / "base.gguf")


def adapter(parent: Path, name: str) -> Path:
    """Write the usual adapter as the folder `name` below `parent`."""
    (parent / name).parent.mkdir(parents=True, exist_ok=True)
    return folder(parent).rename(parent / name)


def sharded(tmp_path: Path, **changed: str) -> Path:
    """Write the usual adapter in two files; `changed` goes into the index."""
    made = folder(tmp_path)
    (made / WEIGHTS).unlink()
    parts = dict(zip(SHARDS, (pair(Q), pair(K, rows=32)), strict=True))
    for name, tensors in parts.items():
        write_safetensors(made / name, tensors)
    index = {tensor: name for name, tensors in parts.items() for tensor in tensors}
    (made / INDEX).write_text(json.dumps({"weight_map": index | changed}))
    return made


def said(error: pytest.ExceptionInfo[LoridError]) -> tuple[str, str]:
    return error.value.message, error.value.hint


def test_shards_are_one_adapter(tmp_path: Path, base: Path) -> None:
    whole = pipeline.convert(folder(tmp_path), base, tmp_path / "whole.gguf")
    shutil.rmtree(tmp_path / "adapter")
    parts = pipeline.convert(sharded(tmp_path), base, tmp_path / "parts.gguf")
    assert [p.name for p in parts.plan.adapter.files] == [*SHARDS]
    one, two = read_header(whole.outfile), read_header(parts.outfile)
    assert one.tensors.keys() == two.tensors.keys()
    data = [p.outfile.read_bytes()[h.data_start :] for p, h in ((whole, one), (parts, two))]
    assert data[0] == data[1]
    assert one.metadata["lorid.source_sha256"] != two.metadata["lorid.source_sha256"]


INDEX_FAULTS: list[tuple[dict[str, str], str]] = [
    ({"extra": SHARDS[0]}, "{index}: 1 of its tensors are in no file, the first is 'extra'"),
    ({"extra": "../adapter_model.safetensors"},
     "{index}: not a list of safetensors files, or damaged: '../adapter_model.safetensors' is not "
     "a file name"),
    ({"extra": "/etc/passwd"},
     "{index}: not a list of safetensors files, or damaged: '/etc/passwd' is not a file name"),
    ({f"base_model.model.{Q}.lora_A.weight": SHARDS[1]},
     f"{{folder}}/{SHARDS[0]}: holds a tensor 'base_model.model.{Q}.lora_A.weight' that {INDEX} "
     "does not say is there"),
]  # fmt: skip


@pytest.mark.parametrize(("changed", "message"), INDEX_FAULTS)
def test_faults_of_shards(
    changed: dict[str, str], message: str, tmp_path: Path, base: Path
) -> None:
    made = sharded(tmp_path, **changed)
    with pytest.raises(ModelError) as caught:
        pipeline.plan(made, base)
    assert said(caught) == (
        message.format(index=made / INDEX, folder=made),
        "copy or download the adapter again",
    )


def test_a_missing_shard(tmp_path: Path, base: Path) -> None:
    made = sharded(tmp_path)
    (made / SHARDS[1]).unlink()
    with pytest.raises(ModelError) as caught:
        pipeline.plan(made, base)
    assert caught.value.message == (
        f"{made}/{SHARDS[1]}: cannot be read (No such file or directory)"
    )


@pytest.mark.parametrize("file", ["adapter_config.json", WEIGHTS, INDEX])
def test_a_pipe_is_not_waited_for(file: str, tmp_path: Path, base: Path) -> None:
    made = sharded(tmp_path) if file == INDEX else folder(tmp_path)
    (made / file).unlink()
    os.mkfifo(made / file)
    with pytest.raises(ModelError) as caught:
        pipeline.plan(made, base)
    assert said(caught) == (f"{made / file}: is not a regular file", "check the path")


def pickled(tmp_path: Path, tensors: Any) -> Path:
    torch = pytest.importorskip("torch")
    made = folder(tmp_path)
    (made / WEIGHTS).unlink()
    torch.save(tensors, made / "adapter_model.bin")
    return made


def test_a_pickle_is_read_by_torch(tmp_path: Path, base: Path) -> None:
    torch = pytest.importorskip("torch")
    tensors = {k: torch.from_numpy(v) for k, v in (pair(Q) | pair(K, rows=32)).items()}
    made = pickled(tmp_path, tensors)
    converting.run(Flags(str(made), base, tmp_path / "a.gguf", outtype="f32"))
    found = read_header(tmp_path / "a.gguf")
    assert len(found.tensors) == 4
    source = pipeline.notes.sha256(made / "adapter_model.bin")
    assert found.metadata["lorid.source_sha256"] == source


class Evil:
    """A pickle that would run a command."""

    def __reduce__(self) -> Any:
        return os.mkdir, ("was-run",)


def test_a_pickle_runs_nothing(tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made = pickled(tmp_path, {"a": Evil()})
    with pytest.raises(ModelError) as caught:
        converting.run(Flags(str(made), base, tmp_path / "a.gguf"))
    assert caught.value.message.startswith(
        f"{made}/adapter_model.bin: not an adapter's tensors, or damaged: "
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["adapter"]


def test_a_pickle_without_torch(
    tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = folder(tmp_path)
    (made / WEIGHTS).rename(made / "adapter_model.bin")
    monkeypatch.setitem(__import__("sys").modules, "lorid_train.peft_logits", None)
    monkeypatch.delattr("lorid_train.peft_logits", raising=False)
    with pytest.raises(MissingExtra) as caught:
        converting.run(Flags(str(made), base, tmp_path / "a.gguf"))
    assert said(caught) == (
        f"{made}/adapter_model.bin: a pickle, which torch alone reads safely",
        "pip install 'lorid-local[train]', or save the adapter with safe_serialization=True",
    )


def cached(cache: Path, name: str, revision: str = "abc123", ref: str = "main") -> Path:
    """Put the usual adapter into a Hugging Face cache, as links to blobs like the real one."""
    home = cache / f"models--{name.replace('/', '--')}"
    made = adapter(home / "snapshots", revision)
    (home / "blobs").mkdir()
    for file in sorted(made.iterdir()):
        blob = file.rename(home / "blobs" / file.name)
        file.symlink_to(Path("..", "..", "blobs", blob.name))
    (home / "refs").mkdir()
    (home / "refs" / ref).write_text(revision)
    return made


def test_a_repository_in_the_cache(
    tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = cached(tmp_path / "hf" / "hub", "ann/mistral-ir")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.chdir(tmp_path)
    for given in ("ann/mistral-ir", "ann/mistral-ir@main", "ann/mistral-ir@abc123"):
        assert finding.find(given) == made
    converting.run(Flags("ann/mistral-ir", base))
    assert read_header(tmp_path / "mistral-ir.gguf").tensors  # beside nothing of the cache's
    with pytest.raises(ModelError) as caught:
        finding.find("ann/other@main")
    assert said(caught) == (
        "ann/other@main: neither a folder nor a repository in the Hugging Face cache "
        f"({tmp_path}/hf/hub)",
        "hf download ann/other",
    )


def test_where_the_cache_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert finding._cache() == tmp_path / "home" / "cache" / "huggingface" / "hub"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert finding._cache() == tmp_path / "home" / ".cache" / "huggingface" / "hub"
    monkeypatch.setenv("HF_HUB_CACHE", "/there")
    assert finding._cache() == Path("/there")


@pytest.mark.parametrize("evil", ["../../../x", "/etc", "..", ""])
def test_a_reference_is_no_path(evil: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cached(tmp_path / "hub", "ann/ir")
    (tmp_path / "hub" / "models--ann--ir" / "refs" / "main").write_text(evil)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(ModelError):
        finding.find("ann/ir")


def test_one_of_several(tmp_path: Path, base: Path) -> None:
    runs = tmp_path / "runs"
    first, second = adapter(runs, "ir"), adapter(runs, "kg")
    assert finding.find(str(runs), "kg") == second
    with pytest.raises(ModelError) as caught:
        finding.find(str(runs))
    assert said(caught) == (
        f"{runs}: holds several adapters: ir, kg",
        f"lorid convert {runs} --adapter ir, or --all for those of the three roles",
    )
    with pytest.raises(ModelError) as caught:
        finding.find(str(runs), "kgg")
    assert said(caught) == (
        f"{runs}: holds no adapter 'kgg' (did you mean kg?)",
        "it holds: ir, kg",
    )
    shutil.rmtree(second)
    assert finding.find(str(runs)) == first


def test_all_three_roles(tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = tmp_path / "runs"
    for name in ("x-ir/adapter", "x_KG", "dr"):
        adapter(runs, name)
    assert finding.roles(str(runs)) == {
        Role.IR: runs / "x-ir" / "adapter", Role.KG: runs / "x_KG", Role.DR: runs / "dr",
    }  # fmt: skip
    arguments = [str(runs), "--all", "--base", str(base), "--outfile", str(tmp_path)]
    result = CliRunner().invoke(command, arguments)
    written = [tmp_path / f"{role}.gguf" for role in Role]
    assert result.stdout.split() == [str(path) for path in written]
    assert [read_header(path).metadata["lorid.role"] for path in written] == ["ir", "kg", "dr"]


def test_all_three_repositories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("Mistral-IR", "Mistral-KG", "Mistral-DR")
    made = [cached(tmp_path / "hub", f"LoRID-Math/{name}") for name in names]
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    assert [*finding.roles("LoRID-Math/Mistral").values()] == made


def test_all_writes_nothing_if_one_is_refused(tmp_path: Path, base: Path) -> None:
    for role in Role:
        made = adapter(tmp_path, role.value)
    config = json.loads((made / "adapter_config.json").read_text())
    (made / "adapter_config.json").write_text(json.dumps(config | {"use_dora": True}))
    with pytest.raises(LoridError, match="use_dora is true"):
        converting.run(Flags(str(tmp_path), base, all_roles=True))
    assert not [*tmp_path.glob("*.gguf")]


def test_faults_of_a_set(tmp_path: Path, base: Path) -> None:
    adapter(tmp_path, "ir")
    with pytest.raises(ModelError) as caught:
        finding.roles(str(tmp_path))
    assert said(caught) == (
        f"{tmp_path}: has no adapter for kg, dr",
        "call the folders ir, kg and dr, or let their names end in -ir, -kg and -dr",
    )
    adapter(tmp_path, "b-ir")
    with pytest.raises(ModelError) as caught:
        finding.roles(str(tmp_path))
    assert said(caught) == (
        f"{tmp_path}: two adapters for ir: {tmp_path}/b-ir and {tmp_path}/ir",
        "convert each by itself, with --role and --outfile",
    )


FLAGS: list[tuple[dict[str, Any], type[LoridError], str, str]] = [
    ({"given": "x", "inspect": Path("y")}, InputError, "PEFT_DIR and --inspect were both given",
     "give one of them"),
    ({}, InputError, "PEFT_DIR is missing", "lorid convert PEFT_DIR --base BASE.gguf"),
    ({"given": "x"}, InputError, "--base is missing", "lorid convert PEFT_DIR --base BASE.gguf"),
    ({"given": "x", "base": Path("b"), "all_roles": True, "adapter": "a"}, InputError,
     "--all was given with --adapter or --role", "give --all alone, or without it both"),
]  # fmt: skip


@pytest.mark.parametrize(("flags", "kind", "message", "hint"), FLAGS)
def test_flags_that_contradict(
    flags: dict[str, Any], kind: type[LoridError], message: str, hint: str
) -> None:
    with pytest.raises(kind) as caught:
        converting.run(Flags(**flags))
    assert said(caught) == (message, hint)


def test_all_into_no_folder(tmp_path: Path, base: Path) -> None:
    for role in Role:
        adapter(tmp_path, role.value)
    with pytest.raises(OutputError) as caught:
        converting.run(Flags(str(tmp_path), base, tmp_path / "no", all_roles=True))
    assert said(caught) == (f"{tmp_path}/no: no such folder", f"mkdir -p {tmp_path}/no")


SLOW = [r"(a+)+", r"(.*\.)*q_proj", r".*.*.*.*q_proj", "x" * 401]


@pytest.mark.parametrize("key", SLOW)
def test_patterns_that_may_take_for_ever_are_refused(key: str, tmp_path: Path, base: Path) -> None:
    made = folder(tmp_path, rank_pattern={key: 4})
    expected = (
        f"  - rank_pattern[{key!r}]: a regular expression that may take for ever; expected at "
        "most 3 repeats and none of a group"
    )
    with pytest.raises(LoridError, match=re.escape(expected)):
        pipeline.plan(made, base)


USUAL = [r"(self_attn\.)?q_proj", r".*\.layers\.[0-9]+\.(q|k)_proj", r"[(+*)]{1}", r"layers\.1\..*"]


@pytest.mark.parametrize("key", USUAL)
def test_usual_patterns_pass(key: str, tmp_path: Path, base: Path) -> None:
    assert pipeline.plan(folder(tmp_path, alpha_pattern={key: 4}), base).rows


def test_too_many_patterns(tmp_path: Path, base: Path) -> None:
    made = folder(tmp_path, rank_pattern={f"m{i}": 4 for i in range(5001)})
    with pytest.raises(LoridError, match=r"  - rank_pattern has 5001 keys: expected at most 5000$"):
        pipeline.plan(made, base)


def test_a_licence_is_read_from_the_card(tmp_path: Path, base: Path) -> None:
    made = folder(tmp_path)
    card = "---\nlibrary_name: peft\nlicense: apache-2.0\n---\nlicense: other\n"
    (made / "README.md").write_text(card)
    report = pipeline.convert(made, base, tmp_path / "a.gguf")
    metadata = read_header(report.outfile).metadata
    assert metadata["general.license"] == "apache-2.0"
    assert metadata["lorid.trained_on"] == "tiny/model"


def test_bfloat16_rounds_as_torch_does(tmp_path: Path, base: Path) -> None:
    torch = pytest.importorskip("torch")
    values = np.random.default_rng(0).standard_normal((4, 64), np.float32)
    tensors = pair("model.layers.0.self_attn.v_proj", rows=32)
    name = next(key for key in tensors if "lora_A" in key)
    made = folder(tmp_path, tensors | {name: values})
    report = pipeline.convert(made, base, tmp_path / "a.gguf", "bf16")
    header = read_header(report.outfile)
    stored = pipeline.lora_file.read_tensor(header, "blk.0.attn_v.weight.lora_a")
    expected = torch.from_numpy(values).bfloat16().float().numpy()
    np.testing.assert_array_equal(stored, expected)
