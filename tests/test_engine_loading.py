"""What LlamaEngine loads, what it refuses and in which words, and that llama.cpp keeps quiet.

Files are made here: a tiny random base, LoRA files written with gguf, and damaged copies.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import gguf
import numpy as np
import pytest

from lorid_local.engine import Part, Request, Role
from lorid_local.errors import EngineError, ModelError
from lorid_local.llama import LlamaEngine, Options
from lorid_local.llama_native import LOG, built_with_amx
from tests.tiny import tiny_llama_gguf

Q, DOWN = "blk.0.attn_q.weight", "blk.1.ffn_down.weight"
SHAPES = {Q: (64, 64), DOWN: (64, 96)}  # rows, columns of the tiny base's tensors
CONVERT = "lorid convert PEFT_DIR --base BASE.gguf --outfile ADAPTER.gguf"
LOG_HINT = "run again with -v to see llama.cpp's own log"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama_gguf(tmp_path_factory.mktemp("loading") / "base.gguf")


def write_lora(
    path: Path,
    shapes: dict[str, tuple[int, int]] = SHAPES,
    *,
    seed: int = 1,
    scale: float = 0.2,
    architecture: str = "llama",
    rank: int = 4,
) -> Path:
    """Write a random rank-4 LoRA as GGUF; scale 0 makes every B zero."""
    random = np.random.default_rng(seed)
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, 2.0 * rank)
    for name, (rows, columns) in shapes.items():
        a, b = random.standard_normal((rank, columns)), random.standard_normal((rows, rank))
        writer.add_tensor(f"{name}.lora_a", a.astype(np.float32))
        writer.add_tensor(f"{name}.lora_b", (scale * b).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def load(base: Path, adapters: dict[Role, Path] | None = None) -> LlamaEngine:
    return LlamaEngine(base, adapters, Options(threads=1))


def greedy(engine: LlamaEngine, role: Role) -> str:
    return engine.generate([Request(role, (Part("Tom has 3 eggs"),), 24)])[0].text


def refusal(base: Path, adapters: dict[Role, Path] | None = None) -> ModelError:
    with pytest.raises(ModelError) as raised:
        load(base, adapters)
    assert raised.value.exit_code == 4
    return raised.value


def damaged(base: Path, path: Path, old: bytes, new: bytes) -> Path:
    """Copy `base` with some bytes of it replaced by as many others."""
    data = base.read_bytes()
    assert old in data and len(old) == len(new)
    path.write_bytes(data.replace(old, new))
    return path


@pytest.fixture
def loras(tmp_path: Path) -> Iterator[dict[Role, Path]]:
    yield {role: write_lora(tmp_path / f"{role}.gguf", seed=i) for i, role in enumerate(Role)}


def test_each_role_speaks_with_its_own_adapter(base: Path, loras: dict[Role, Path]) -> None:
    with load(base) as plain:
        unadapted = {greedy(plain, role) for role in Role}
    alone = {}
    for role, path in loras.items():
        with load(base, {role: path}) as engine:
            alone[role] = greedy(engine, role)
            assert {greedy(engine, other) for other in Role if other is not role} == unadapted
    assert len({*alone.values(), *unadapted}) == 4
    with load(base, loras) as engine:
        for role in (*Role, *reversed(Role)):
            assert greedy(engine, role) == alone[role]


@pytest.mark.parametrize("low_memory", [False, True])
def test_a_role_says_the_same_cold_and_after_the_others(
    base: Path, loras: dict[Role, Path], low_memory: bool
) -> None:
    def fresh() -> LlamaEngine:
        return LlamaEngine(base, loras, Options(threads=1, low_memory=low_memory))

    cold = {}
    for role in Role:
        with fresh() as engine:
            cold[role] = greedy(engine, role)
    assert len(set(cold.values())) == 3
    with fresh() as engine:
        order = [*Role, *reversed(Role), Role.KG, Role.KG, Role.IR, Role.DR]
        assert [greedy(engine, role) for role in order] == [cold[role] for role in order]
        assert len(engine._states) == (1 if low_memory else 3)


def test_low_memory_grows_its_one_context_for_the_role_that_needs_more(
    base: Path, loras: dict[Role, Path]
) -> None:
    long = Request(Role.DR, (Part("x" * 300),), 100)
    with LlamaEngine(base, loras, Options(threads=1)) as apart:
        expected = apart.generate([long])
    with LlamaEngine(base, loras, Options(threads=1, low_memory=True)) as engine:
        before = greedy(engine, Role.IR)
        assert engine.generate([long]) == expected
        assert greedy(engine, Role.IR) == before


def test_a_kv_cache_of_q8_0_takes_about_half(base: Path, tmp_path: Path) -> None:
    with LlamaEngine(base, options=Options(threads=1, kv_type="q8_0")) as engine:
        with pytest.raises(EngineError) as raised:  # its heads of 16 are no blocks of 32
            greedy(engine, Role.IR)
        assert "block size 32 does not divide n_embd_head" in raised.value.message
    base = tiny_llama_gguf(tmp_path / "base.gguf", heads=2, kv_heads=1, layers=16)
    sizes = {}
    for kind in ("f16", "q8_0"):
        LOG.lines.clear()
        with LlamaEngine(base, options=Options(threads=1, kv_type=kind)) as engine:  # type: ignore[arg-type]
            assert greedy(engine, Role.IR)
            lines = [line for line in LOG.lines if "KV buffer size" in line]
            sizes[kind] = float(lines[-1].rpartition("=")[2].split()[0])
    assert 0.5 < sizes["q8_0"] / sizes["f16"] < 0.6


def test_an_adapter_of_another_base_is_refused_with_every_fault(base: Path, tmp_path: Path) -> None:
    path = write_lora(
        tmp_path / "lora.gguf", {Q: (64, 32), "blk.7.attn_q.weight": (64, 64), DOWN: (64, 96)}
    )
    error = refusal(base, {Role.IR: path})
    assert error.message == (
        f"{path}: made for another base than {base}: blk.0.attn_q.weight is 64x32 here and 64x64 "
        "in the base; the base has no tensor blk.7.attn_q.weight"
    )
    assert error.hint == CONVERT


def test_a_long_list_of_faults_is_cut(base: Path, tmp_path: Path) -> None:
    shapes = {f"blk.{i}.attn_q.weight": (64, 64) for i in range(2, 9)}
    path = write_lora(tmp_path / "lora.gguf", shapes)
    named = "; ".join(f"the base has no tensor blk.{i}.attn_q.weight" for i in range(2, 7))
    assert refusal(base, {Role.IR: path}).message == (
        f"{path}: made for another base than {base}: {named} and 2 more"
    )


def test_half_a_pair_is_refused(base: Path, tmp_path: Path) -> None:
    whole = write_lora(tmp_path / "whole.gguf", {Q: (64, 64)})
    path = damaged(whole, tmp_path / "half.gguf", b"weight.lora_b", b"weight.bias_b")
    assert refusal(base, {Role.IR: path}).message == (
        f"{path}: made for another base than {base}: tensor {Q[:-6]}weight.bias_b is no LoRA pair; "
        f"{Q} lacks its lora_b"
    )


def test_an_adapter_without_tensors_is_refused(base: Path, tmp_path: Path) -> None:
    path = write_lora(tmp_path / "empty.gguf", {})
    error = refusal(base, {Role.IR: path})
    assert error.message == f"{path}: made for another base than {base}: it holds no tensors"


def test_an_adapter_of_another_architecture_is_refused(base: Path, tmp_path: Path) -> None:
    path = write_lora(tmp_path / "lora.gguf", architecture="qwen2")
    error = refusal(base, {Role.IR: path})
    assert error.message == f"{path}: made for a 'qwen2' base, but {base} is 'llama'"
    assert error.hint == CONVERT


def test_base_and_adapter_exchanged_are_refused(base: Path, tmp_path: Path) -> None:
    lora = write_lora(tmp_path / "lora.gguf")
    error = refusal(base, {Role.IR: base})
    assert (error.message, error.hint) == (f"{base}: not a GGUF LoRA adapter", CONVERT)
    error = refusal(lora)
    assert error.message == f"{lora}: a GGUF file of type 'adapter', not a model"
    assert error.hint == "give the base model's .gguf (-m or --base), and adapters through a bundle"


def test_a_missing_file_is_refused(base: Path, tmp_path: Path) -> None:
    path = tmp_path / "none.gguf"
    for error in (refusal(path), refusal(base, {Role.DR: path})):
        assert (error.message, error.hint) == (f"{path}: no such file", "check the path")
    assert refusal(tmp_path).message == f"{tmp_path}: cannot be read (Is a directory)"


@pytest.mark.parametrize("part", [0.999, 0.5, 0.05, 0.0001])
def test_a_truncated_file_is_refused(base: Path, tmp_path: Path, part: float) -> None:
    whole, path = base.read_bytes(), tmp_path / "cut.gguf"
    path.write_bytes(whole[: int(len(whole) * part)])
    for error in (refusal(path), refusal(base, {Role.IR: path})):
        assert error.message == (
            f"{path}: the file is truncated or damaged ({path.stat().st_size} bytes do not hold "
            "what its header says)"
        )
        assert error.hint == "download or convert the file again"


@pytest.mark.parametrize("data", [b"", b"GG", b"GGML and more", b"\x80\x02}q\x00."])
def test_what_is_no_gguf_is_refused(base: Path, tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "other.gguf"
    path.write_bytes(data)
    for error in (refusal(path), refusal(base, {Role.IR: path})):
        assert error.message == (
            f"{path}: not a GGUF file (it does not start with the bytes 'GGUF')"
        )
        assert error.hint == "give a .gguf file; `lorid convert` makes one from a PEFT adapter"


def test_another_version_of_gguf_is_refused(base: Path, tmp_path: Path) -> None:
    path = damaged(base, tmp_path / "v9.gguf", b"GGUF\x03", b"GGUF\x09")
    assert refusal(path).message == f"{path}: GGUF version 9; versions 2 and 3 can be read"


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        (b"llama", b"nones", "unknown model architecture: 'nones'"),
        (b"blk.1.ffn_up.weight", b"blk.1.ffn_xx.weight", "tensor 'blk.1.ffn_up.weight' not found"),
        (b"llama.block_count", b"llama.block_cnt__", "key not found in model: llama.block_count"),
        (b"smollm", b"smollX", "unknown pre-tokenizer type: 'smollX'"),
    ],
)
def test_what_llama_cpp_cannot_load_is_refused_with_its_reason(
    base: Path, tmp_path: Path, old: bytes, new: bytes, why: str
) -> None:
    path = damaged(base, tmp_path / "odd.gguf", old, new)
    error = refusal(path)
    pattern = rf"{re.escape(str(path))}: llama\.cpp cannot load this model \(.*{re.escape(why)}.*\)"
    assert re.fullmatch(pattern, error.message)
    assert error.hint == LOG_HINT


def test_a_base_without_embeddings_or_architecture_is_refused(base: Path, tmp_path: Path) -> None:
    path = damaged(base, tmp_path / "odd.gguf", b"token_embd.weight", b"tokenXembd.weight")
    assert refusal(path).message == (
        f"{path}: holds no token embeddings, so it is not a language model"
    )
    path = damaged(base, tmp_path / "none.gguf", b"general.architecture", b"general.architectuXe")
    assert refusal(path).message == (
        f"{path}: names no architecture (general.architecture is missing)"
    )


def test_a_refused_load_keeps_nothing_from_the_next(base: Path, tmp_path: Path) -> None:
    path = tmp_path / "cut.gguf"
    path.write_bytes(base.read_bytes()[:5000])
    refusal(path)
    refusal(base, {Role.IR: write_lora(tmp_path / "small.gguf", {Q: (64, 32)})})
    with load(base) as engine:
        assert greedy(engine, Role.IR)


def test_a_path_that_is_not_utf8_is_opened(base: Path, tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe.gguf"))
    path.write_bytes(base.read_bytes())
    lora = write_lora(tmp_path / "lora.gguf").rename(path.with_suffix(".lora"))
    with load(path, {Role.IR: lora}) as engine:
        assert greedy(engine, Role.IR)


def test_an_engine_that_is_closed_says_so(base: Path) -> None:
    engine = load(base)
    engine.close()
    with pytest.raises(EngineError) as raised:
        greedy(engine, Role.IR)
    assert raised.value.message == "the engine is closed"


SCRIPT = """
import sys
from pathlib import Path
from lorid_local.engine import Part, Request, Role
from lorid_local.errors import ModelError
from lorid_local.llama import LlamaEngine, Options
from lorid_local.llama_native import LOG, built_with_amx

base, lora, bad, verbose = sys.argv[1:]
options = Options(threads=1, verbose=bool(verbose))
try:
    LlamaEngine(Path(bad), options=options)
except ModelError:
    pass
with LlamaEngine(Path(base), {Role.IR: Path(lora)}, options) as engine:
    for role in Role:
        engine.generate([Request(role, (Part("2 + 2"),), 8, s, 1.0) for s in range(3)])
"""


@pytest.mark.parametrize("verbose", [False, True])
def test_llama_cpp_writes_nothing_unless_asked(base: Path, tmp_path: Path, verbose: bool) -> None:
    bad = damaged(base, tmp_path / "odd.gguf", b"llama", b"nones")
    lora = write_lora(tmp_path / "lora.gguf")
    command = [sys.executable, "-c", SCRIPT, base, lora, bad, "yes" if verbose else ""]
    root = Path(__file__).parents[1]
    ran = subprocess.run(command, capture_output=True, cwd=root, check=True, timeout=60)
    assert ran.stdout == b""
    assert (b"llama_model_loader: " in ran.stderr) is verbose
    assert verbose or ran.stderr == b""


def test_a_build_with_amx_is_known_by_what_it_tells() -> None:
    """Its AMX layouts crash (see `built_with_amx`): on such a machine every test here would."""
    assert built_with_amx(b"CPU : AVX512 = 1 | AMX_INT8 = 1 | REPACK = 1 | ")
    assert not built_with_amx(b"CPU : AVX512 = 1 | AMX_INT8 = 0 | REPACK = 1 | ")
    assert not built_with_amx(b"CPU : AVX2 = 1 | ")
