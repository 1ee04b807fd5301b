"""`lorid bundle`: what it writes is a bundle that is found, checked and solved with."""

import os
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from lorid_convert import pipeline
from lorid_convert.notes import Notes
from lorid_local import bundle, bundling, prompts
from lorid_local.bundling import Parts
from lorid_local.commands.bundle import command
from lorid_local.engine import Part, Role
from lorid_local.errors import InputError, LoridError, ModelError, OutputError, SettingsError
from lorid_local.llama import LlamaEngine
from lorid_local.llama_native import Model
from lorid_local.loop import request
from tests.test_convert_refusals import K, Q, folder, pair
from tests.test_convert_verify import random_pairs
from tests.tiny import tiny_llama_gguf


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama_gguf(tmp_path_factory.mktemp("base") / "tiny.gguf")


@pytest.fixture
def adapters(tmp_path: Path, base: Path) -> dict[Role, Path]:
    peft = folder(tmp_path, random_pairs(pair(Q) | pair(K, rows=32)))
    found = {}
    for role in Role:
        said = Notes(role.value, "terse-1", "mit")
        found[role] = tmp_path / f"my-{role}.gguf"
        pipeline.convert(peft, base, found[role], said=said)
    return found


def test_it_is_found_and_solved_with(
    adapters: dict[Role, Path], base: Path, tmp_path: Path
) -> None:
    arguments = [str(tmp_path / "mine"), "--base", str(base)]
    for role, path in adapters.items():
        arguments += [f"--{role}", str(path)]
    result = CliRunner().invoke(command, arguments)
    assert result.stdout == f"{tmp_path}/mine\n"
    assert result.stderr == (
        f"Note: prompts terse-1.\nNote: the base stays at {base}; --copy-base makes a folder that "
        "can move.\n"
    )
    made = bundle.find(str(tmp_path / "mine"))
    assert (made.contents.name, made.contents.licence) == ("mine", "mit")
    assert made.contents.description == "tiny.gguf with three adapters"
    roles = made.contents.roles
    assert [roles.of(r).max_tokens for r in Role] == [128, 160, 320]
    assert [roles.of(r).calculator for r in Role] == [True, False, True]
    with LlamaEngine(made.base(), made.adapters()) as engine:
        asked = request(roles, Role.IR, "1 + 1?", (), 1, 0)
        assert engine.generate([asked])[0].tokens > 0


def test_plain_frames_are_tokenized_as_the_authors_do(base: Path) -> None:
    # LLaMA-Factory encodes frame and text in one; ' a' is one token here, ' ' and 'a' are two
    question = "<|im_end|> a cat and a hat"
    with closing(Model(base, 0)) as model:
        for name in ("llama2", "mistral", "deepseek"):
            parts = prompts.profile(name).parts(Role.DR, question, ("a rule",))
            whole = "".join(part.text for part in parts)
            assert prompts.encode(parts, model.tokenize) == model.tokenize(whole, False)
        frame = (Part("User: ", special=True), Part("a"))
        assert len(model.tokenize(" ", False) + model.tokenize("a", False)) == 2
        assert prompts.encode(frame, model.tokenize)[-1:] == model.tokenize(" a", False)
        parts = prompts.profile("qwen").parts(Role.IR, question)
        tokens = prompts.encode(parts, model.tokenize)
        assert tokens == [t for part in parts for t in model.tokenize(part.text, part.special)]
        assert tokens.count(2) == 2  # <|im_end|> of the frame, and none of the question's


@pytest.mark.parametrize("profile", prompts.AUTHORS)
def test_the_authors_settings(
    profile: str, adapters: dict[Role, Path], base: Path, tmp_path: Path
) -> None:
    bundling.make(Parts(base, adapters, profile), tmp_path / "theirs")
    contents = bundle.find(str(tmp_path / "theirs")).contents
    assert (contents.loop.rounds, contents.loop.protocol) == (20, "pooled")
    for role in Role:
        chosen = contents.roles.of(role)
        assert (chosen.prompt, chosen.max_tokens) == (profile, 1024)
        assert (chosen.temperature, chosen.top_p, chosen.top_k) == (1.5, 0.9, 50)
        assert not chosen.greedy_first and not chosen.calculator


def test_a_folder_that_can_move(adapters: dict[Role, Path], base: Path, tmp_path: Path) -> None:
    told = bundling.make(Parts(base, adapters, copy_base=True), tmp_path / "mine")
    assert told == ["prompts terse-1"]
    moved = (tmp_path / "mine").rename(tmp_path / "moved")
    made = bundle.find(str(moved))
    assert made.base() == moved / "base.gguf"
    assert made.adapters() == {role: moved / f"{role}.gguf" for role in Role}


def test_a_role_may_go_without(adapters: dict[Role, Path], base: Path, tmp_path: Path) -> None:
    given = {Role.IR: adapters[Role.IR]}
    told = bundling.make(Parts(base, given, name='a "b"\n\x7f', licence="x"), tmp_path / "mine")
    assert told[1:3] == [
        "no adapter for kg: the bare base answers there",
        "no adapter for dr: the bare base answers there",
    ]
    made = bundle.find(str(tmp_path / "mine"))
    assert (made.contents.name, made.contents.licence) == ('a "b"\n\x7f', "x")
    assert [*made.adapters()] == [Role.IR]


def test_refusals(adapters: dict[Role, Path], base: Path, tmp_path: Path) -> None:
    def refused(kind: type[LoridError], out: str = "new", **changes: Any) -> tuple[str, str]:
        given = {"base": base, "adapters": adapters} | changes
        with pytest.raises(kind) as caught:
            bundling.make(Parts(**given), tmp_path / out)
        assert not (tmp_path / "new").exists()
        return caught.value.message, caught.value.hint

    assert refused(OutputError, "adapter") == (
        f"{tmp_path}/adapter: is there already", "give the name of a new folder"
    )  # fmt: skip
    assert refused(OutputError, "no/new") == (
        f"{tmp_path}/no/new: lies in no folder", "give the name of a new folder"
    )  # fmt: skip
    turned = {Role.IR: adapters[Role.KG]}
    assert refused(ModelError, adapters=turned) == (
        f"{adapters[Role.KG]}: is the adapter of kg, given as that of ir", "give it as --kg"
    )  # fmt: skip
    known = "terse-1, plain-1, llama2, llama3, mistral, qwen, deepseek"
    assert refused(InputError, adapters={}) == (
        "no --prompt was given, and the adapters name none", f"--prompt with one of {known}"
    )  # fmt: skip
    assert refused(SettingsError, prompt="llama1")[0] == (
        "unknown prompt profile 'llama1' (did you mean llama3?)"
    )
    other = tiny_llama_gguf(tmp_path / "other.gguf", hidden=128)
    assert "made for another base than" in refused(ModelError, base=other)[0]


def test_a_full_disk_leaves_nothing(
    adapters: dict[Role, Path], base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    before = sorted(tmp_path.iterdir())
    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OutputError) as caught:
        bundling.make(Parts(base, adapters), tmp_path / "mine")
    assert caught.value.message == (f"{tmp_path}/mine: cannot be written (No space left on device)")
    assert caught.value.hint == "free some space or give another folder"
    assert sorted(tmp_path.iterdir()) == before
