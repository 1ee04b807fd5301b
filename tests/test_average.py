"""`lorid average`: the file's products are the average of the others', as near as its rank can."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray

from lorid_convert import averaging, lora_file, pipeline
from lorid_convert.notes import Notes
from lorid_local.adapter_proof import tokens_and_logits
from lorid_local.commands.average import command
from lorid_local.errors import ConvertError, InputError, ModelError, OutputError
from lorid_local.gguf_header import read_header
from tests.test_convert_places import header
from tests.test_convert_refusals import K, Q, folder, pair
from tests.test_convert_verify import V, written
from tests.tiny import tiny_llama_gguf

TOKEN = "token_embd.weight"
Q_TENSOR, K_TENSOR, V_TENSOR = "blk.0.attn_q.weight", "blk.1.attn_k.weight", "blk.0.attn_v.weight"
Make = Callable[..., Path]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama_gguf(tmp_path_factory.mktemp("base") / "base.gguf")


@pytest.fixture
def make(tmp_path: Path, base: Path) -> Make:
    """Make adapters of random numbers, each other ones."""
    made: list[Path] = []

    def adapter(tensors: dict[str, Any], said: Notes | None = None, **config: Any) -> Path:
        number = len(made)
        place = tmp_path / str(number)
        place.mkdir()
        numbers = np.random.default_rng(number)
        random = {name: 0.3 * numbers.normal(size=t.shape).astype("f4")
                  for name, t in tensors.items()}  # fmt: skip
        peft = folder(place, random, **config)
        made.append(tmp_path / f"{number}.gguf")
        pipeline.convert(peft, base, made[-1], "f32", said)
        return made[-1]

    return adapter


def product(path: Path, tensor: str) -> NDArray[Any]:
    """Return what llama.cpp adds to a tensor: alpha / rank * B A, in float64."""
    found = read_header(path)
    if f"{tensor}.lora_b" not in found.tensors:
        return np.zeros(())
    a, b = (lora_file.read_tensor(found, f"{tensor}.lora_{side}").astype(float) for side in "ab")
    alpha: Any = found.metadata.get("adapter.lora.alpha", 0)
    whole: NDArray[Any] = (alpha / b.shape[-1] if alpha else 1.0) * (
        b @ (a.T if tensor == TOKEN else a)
    )
    return whole


def test_products_are_averaged_whatever_ranks_scales_and_tensors(
    tmp_path: Path, base: Path, make: Make
) -> None:
    one = make(pair(Q, 4) | pair(K, 3, rows=32), rank_pattern={"k_proj": 3}, lora_alpha=16)
    two = make(pair(Q, 2) | pair(V, 2, rows=32), r=2, lora_alpha=5)
    found = averaging.average({one: 0.75, two: -0.5}, base, tmp_path / "o.gguf", 6, "f32")
    assert found.error < 1e-5 and (found.modules, found.rank) == (3, 6)
    for tensor in (Q_TENSOR, K_TENSOR, V_TENSOR):
        expected = 0.75 * product(one, tensor) - 0.5 * product(two, tensor)
        assert np.abs(expected).max() > 1e-3
        assert product(tmp_path / "o.gguf", tensor) == pytest.approx(expected, abs=1e-5)
    assert {t.shape[-1] for name, t in read_header(found.outfile).tensors.items()
            if name.endswith("_b")} == {6}  # fmt: skip
    assert found.alpha == 16 / 4 * 6  # the first one's scale


def test_the_cut_is_the_nearest_of_its_rank(tmp_path: Path, base: Path, make: Make) -> None:
    given = {make(pair(Q)): 0.5, make(pair(Q)): 0.5}
    found = averaging.average(given, base, tmp_path / "o.gguf", 0, "f32")
    whole = sum(0.5 * product(path, Q_TENSOR) for path in given)
    sizes = np.linalg.svd(whole, compute_uv=False)
    lost = np.linalg.norm(sizes[4:]) / np.linalg.norm(sizes)
    assert found.rank == 4 and 0.1 < lost < 1
    assert found.error == pytest.approx(lost, rel=1e-3)
    apart = np.linalg.norm(product(found.outfile, Q_TENSOR) - whole) / np.linalg.norm(whole)
    assert apart == pytest.approx(lost, rel=1e-3)


def test_llama_cpp_runs_it_and_one_with_itself_is_itself(
    tmp_path: Path, base: Path, make: Make
) -> None:
    notes = Notes("ir", "terse-1", "apache-2.0")
    one = make(pair(Q) | pair(K, rows=32), notes)
    (tmp_path / "two.gguf").write_bytes(one.read_bytes())
    given = {one: 0.5, tmp_path / "two.gguf": 0.5}
    assert 1e-5 < averaging.average(given, base, tmp_path / "small.gguf").error < 0.01  # f16
    found = averaging.average(given, base, tmp_path / "o.gguf", outtype="f32")
    _, off, on = tokens_and_logits(base, found.outfile)
    _, _, expected = tokens_and_logits(base, one)
    assert np.abs(on - expected).max() < 0.01 * np.abs(expected - off).max()
    said = read_header(found.outfile).metadata
    assert (said["lorid.role"], said["lorid.prompt"]) == ("ir", "terse-1")
    assert said["general.license"] == "apache-2.0" and "lorid.base_fingerprint" in said
    assert said["lorid.source_sha256"] != read_header(one).metadata["lorid.source_sha256"]


def test_experts_and_turned_embeddings(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    shapes = {"blk.0.ffn_up_exps.weight": ((4, 2, 64), (4, 96, 2)), TOKEN: ((288, 2), (64, 2))}
    paths = [tmp_path / "1.gguf", tmp_path / "2.gguf"]
    for path in paths:  # without an alpha: scale 1
        written(path, {f"{tensor}.lora_{side}": rng.normal(size=shape).astype("f4")
                       for tensor, both in shapes.items()
                       for side, shape in zip("ab", both, strict=True)})  # fmt: skip
    base = header(tmp_path, "llama", experts=4, output=(288, 64))  # so that no tie is in the way
    found = averaging.average(dict.fromkeys(paths, 0.5), base, tmp_path / "o.gguf", 4, "f32")
    assert found.error < 1e-5
    for tensor in shapes:
        expected = (product(paths[0], tensor) + product(paths[1], tensor)) / 2
        assert product(found.outfile, tensor) == pytest.approx(expected, abs=1e-4)


# --- what is refused ---


def test_numbers_that_are_none_or_too_large(tmp_path: Path, base: Path, make: Make) -> None:
    one, bad = make(pair(Q)), make(pair(Q))
    raw = bytearray(bad.read_bytes())
    raw[-4:] = np.float32(np.nan).tobytes()
    bad.write_bytes(raw)
    with pytest.raises(ConvertError) as error:
        averaging.average({one: 0.5, bad: 0.5}, base, tmp_path / "o.gguf")
    assert error.value.message == f"{bad}: {Q_TENSOR} has values that are NaN or infinite"
    assert error.value.hint == "leave this adapter out, or train it again"
    with pytest.raises(ConvertError) as error:
        averaging.average({one: 1e15, make(pair(Q)): 1}, base, tmp_path / "o.gguf", outtype="f16")
    assert error.value.message == f"tensor {Q_TENSOR}.lora_a: exceeds f16"
    assert error.value.hint == "use --outtype f32"
    assert not (tmp_path / "o.gguf").exists()


def test_another_bases_adapter_and_an_input_as_output(
    tmp_path: Path, base: Path, make: Make
) -> None:
    one = make(pair(Q))
    other = written(tmp_path / "other.gguf", {"blk.0.attn_q.weight.lora_a": (4, 8),
                                              "blk.0.attn_q.weight.lora_b": (8, 4)})  # fmt: skip
    with pytest.raises(ModelError, match=r"other\.gguf: made for another base than"):
        averaging.average({one: 0.5, other: 0.5}, base, tmp_path / "o.gguf")
    with pytest.raises(OutputError, match="would overwrite"):
        averaging.average({one: 0.5, make(pair(Q)): 0.5}, base, one)


@pytest.mark.parametrize(
    ("said", "count", "message", "hint"),
    [
        ("", 1, "1 adapter: an average needs two or more", "lorid average A.gguf B.gguf"),
        ("0.5", 2, "--weights '0.5': expected 2 numbers with commas, one for each adapter",
         "--weights 1,1 adds them up; without it they are averaged"),
        ("0.5,a", 2, "--weights '0.5,a': expected 2 numbers with commas, one for each adapter",
         "--weights 1,1 adds them up; without it they are averaged"),
        ("nan,1", 2, "--weights 'nan,1': expected 2 numbers with commas, one for each adapter",
         "--weights 1,1 adds them up; without it they are averaged"),
    ],
)  # fmt: skip
def test_weights_that_are_none(said: str, count: int, message: str, hint: str) -> None:
    with pytest.raises(InputError) as error:
        averaging.weights(said, count)
    assert (error.value.message, error.value.hint) == (message, hint)
    assert averaging.weights("", 4) == [0.25] * 4 and averaging.weights("2,-.5", 2) == [2, -0.5]


def test_the_command(tmp_path: Path, base: Path, make: Make) -> None:
    paths = [str(make(pair(Q))), str(make(pair(Q)))]
    out = tmp_path / "o.gguf"
    ran = CliRunner().invoke(
        command, [*paths, "--base", str(base), "--outfile", str(out), "--rank", "8",
                  "--weights", "0.7,0.3", "--outtype", "f32"],
    )  # fmt: skip
    assert ran.exit_code == 0, ran.output
    assert ran.stdout == f"{out}\n"
    assert ran.stderr.startswith("1 modules, rank 8, alpha 16; 0.0 MB; within ")
    expected = 0.7 * product(Path(paths[0]), Q_TENSOR) + 0.3 * product(Path(paths[1]), Q_TENSOR)
    assert product(out, Q_TENSOR) == pytest.approx(expected, abs=1e-5)
