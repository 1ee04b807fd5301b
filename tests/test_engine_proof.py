"""An adapter is seen to act before its role writes; that is remembered while nothing changes."""

import shutil
from contextlib import nullcontext
from pathlib import Path

import pytest

from lorid_local import llama, verified
from lorid_local.engine import Part, Request, Role
from lorid_local.errors import ModelError
from lorid_local.llama import LlamaEngine, Options
from lorid_local.llama_native import Context, build
from tests.test_engine_loading import Q, greedy, write_lora
from tests.tiny import tiny_llama_gguf


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama_gguf(tmp_path_factory.mktemp("proof") / "base.gguf")


@pytest.mark.parametrize("low_memory", [False, True])
def test_an_adapter_that_changes_nothing_is_refused_before_its_role_writes(
    base: Path, tmp_path: Path, low_memory: bool
) -> None:
    adapters = {Role.IR: write_lora(tmp_path / "ir.gguf"),
                Role.KG: write_lora(tmp_path / "kg.gguf", scale=0)}  # fmt: skip
    asked = Request(Role.KG, (Part("Tom has 3 eggs"),), 12)
    with LlamaEngine(base, adapters, Options(threads=1, low_memory=low_memory)) as engine:
        before = greedy(engine, Role.IR)
        for _ in range(2):  # not proven by having been asked
            with pytest.raises(ModelError) as raised:
                engine.generate([asked], lambda index, text: pytest.fail(f"it wrote {text!r}"))
            assert raised.value.message == (
                f"{adapters[Role.KG]}: the adapter does not act: the logits are the same without it"
            )
            assert raised.value.hint == "train it for at least one step, then convert it again"
            assert raised.value.exit_code == 4
        with pytest.raises(ModelError):
            engine.prove()
        assert greedy(engine, Role.IR) == before
        assert greedy(engine, Role.DR) != before  # the bare base


@pytest.fixture
def proofs(monkeypatch: pytest.MonkeyPatch) -> list[Role]:
    """The roles whose adapters were proven, in turn; files of this test count as old."""
    found: list[Role] = []
    proof = LlamaEngine._prove

    def counted(engine: LlamaEngine, role: Role, context: Context) -> None:
        found.append(role)
        proof(engine, role, context)

    monkeypatch.setattr(LlamaEngine, "_prove", counted)
    monkeypatch.setattr(verified, "SETTLED", -1.0)
    return found


def test_an_adapter_that_was_seen_to_act_is_not_proven_again(
    base: Path, tmp_path: Path, proofs: list[Role]
) -> None:
    path = write_lora(tmp_path / "ir.gguf")
    texts = []
    for _ in range(3):
        with LlamaEngine(base, {Role.IR: path}, Options(threads=1)) as engine:
            texts += [greedy(engine, Role.IR), greedy(engine, Role.KG), greedy(engine, Role.IR)]
    assert proofs == [Role.IR] and len({*texts[::3], *texts[2::3]}) == 1 < len({*texts})
    with LlamaEngine(base, {Role.IR: path}, Options(threads=1)) as engine:
        engine.prove()  # as `lorid doctor` does: in any case
        engine.prove()
    assert proofs == [Role.IR] * 2


@pytest.mark.parametrize("change", ["adapter", "base", "library", "features"])
def test_an_adapter_is_proven_again_behind_a_change(
    change: str, base: Path, tmp_path: Path, proofs: list[Role], monkeypatch: pytest.MonkeyPatch
) -> None:
    library, own = tmp_path / "libllama.so", tmp_path / "base.gguf"
    library.touch()
    shutil.copy(base, own)
    monkeypatch.setattr(llama, "libraries", lambda: [library])
    path = write_lora(tmp_path / "ir.gguf")
    with LlamaEngine(own, {Role.IR: path}, Options(threads=1)) as engine:
        greedy(engine, Role.IR)
    if change == "adapter":
        write_lora(path, scale=0)
    elif change == "base":
        shutil.copy(base, own)
    elif change == "library":
        library.write_text("another build")
    else:
        monkeypatch.setattr(llama, "build", lambda: build()._replace(told=b"no AVX2"))
    refused = pytest.raises(ModelError) if change == "adapter" else nullcontext()
    for _ in range(2):
        with LlamaEngine(own, {Role.IR: path}, Options(threads=1)) as engine, refused:
            greedy(engine, Role.IR)
    assert proofs == [Role.IR] * (3 if change == "adapter" else 2)  # what was refused, each time


def test_an_adapter_that_only_turns_queries_is_proven_by_more_than_one_token(
    base: Path, tmp_path: Path
) -> None:
    """A lone token attends to itself alone, whatever its query is."""
    path = write_lora(tmp_path / "ir.gguf", {Q: (64, 64)})
    with LlamaEngine(base, {Role.IR: path}, Options(threads=1)) as engine:
        engine.prove()
        greedy(engine, Role.IR)
