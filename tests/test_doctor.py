"""`lorid doctor` on a tiny bundle: what it finds when all is well, and for each fault."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lorid_local import bundle, doctor, trial
from lorid_local.checks import Check
from lorid_local.engine import Request, Role
from lorid_local.errors import EXIT_FAILURE, EXIT_MODEL
from lorid_local.installed import REBUILD
from lorid_local.llama import LlamaEngine
from lorid_local.llama_native import Context
from lorid_local.solving import Flags
from tests.test_cli import lorid
from tests.test_engine_loading import write_lora
from tests.tiny import tiny_llama_gguf

BUNDLE = """\
name = "mine"
description = "a test"
licence = "Apache-2.0"
trained = "never"
base_type = "{base_type}"

[base]
path = "{base}"
"""
ROLE = """
[roles.{role}]
adapter = "{role}.gguf"
prompt = "terse-1"
max_tokens = 40
"""
MODEL_CHECKS = ["base", "ir adapter", "kg adapter", "dr adapter", "llama.cpp", "KV cache"]
SHARED_HINT = "pip install --upgrade llama-cpp-python"


def write_bundle(folder: Path, base_type: str = "as-shipped") -> Path:
    """Write a bundle with a tiny base and an adapter a role."""
    base = tiny_llama_gguf(folder / "base.gguf")
    for seed, role in enumerate(Role):
        write_lora(folder / f"{role}.gguf", seed=seed)
    roles = "".join(ROLE.format(role=role) for role in Role)
    text = BUNDLE.format(base=base, base_type=base_type) + roles
    (folder / bundle.FILE).write_text(text, encoding="utf-8")
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_bundle(tmp_path)


def report(capsys: pytest.CaptureFixture[str], **flags: Any) -> tuple[int, dict[str, Any]]:
    """Return the exit code and the JSON record of a run."""
    code = doctor.run(Flags(**flags), as_json=True)
    return code, json.loads(capsys.readouterr().out)


def checks(capsys: pytest.CaptureFixture[str], **flags: Any) -> dict[str, Any]:
    """Return the checks of a run by name."""
    return {check["name"]: check for check in report(capsys, **flags)[1]["checks"]}


# --- all is well


def test_a_machine_that_can_solve(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, record = report(capsys, bundle=str(folder))
    assert (code, record["ok"], record["exit_code"]) == (0, True, 0)
    assert record["schema"] == "lorid-doctor/1"
    assert "problem" not in {check["status"] for check in record["checks"]}
    names = [check["name"] for check in record["checks"]]
    assert names[:2] == ["Python", "llama-cpp-python"]
    assert names[-8:] == ["bundle", *MODEL_CHECKS, "memory"]
    found = {check["name"]: check["found"] for check in record["checks"]}
    assert found["bundle"] == f"mine in {folder}; also installed: smollm2-135m (--bundle)"
    assert found["ir adapter"] == f"{folder}/ir.gguf (llama, 0.0 MB)"
    assert found["llama.cpp"] == "loads the base, and each of the 3 adapters acts on it"
    assert found["KV cache"] == (
        "clean: each role says the same before and after the others, with --low-memory too"
    )
    assert record["memory"]["enough"] is True


def test_the_report_for_a_person(folder: Path) -> None:
    ran = lorid("doctor", "--bundle", folder, "--width", "2")
    text = ran.stdout.decode()
    assert (ran.returncode, ran.stderr) == (0, b"")
    assert text.startswith(f"ok       Python: {sys.version.split()[0]}, ")
    assert "\nMemory in MiB, for problems of 120 tokens\n\n" in text
    assert "one problem, 2 at once  --file, 16 at once\nPython and libraries" in text
    assert text.endswith("\n\nThis machine can solve.\n")


def test_the_plan_is_for_as_many_rounds_as_a_solve_draws(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def width(**flags: Any) -> int:
        memory = report(capsys, bundle=str(folder), no_adapters=True, **flags)[1]["memory"]
        drawn: int = memory["one_problem"]["width"]
        return drawn

    assert width() == 4  # of 8 rounds: 1, 2, 4 and the last one
    assert width(width=0) == 4
    assert width(width=7) == 7


def test_a_base_that_is_derived_is_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_bundle(tmp_path, "q8_0")
    found = checks(capsys, bundle=str(tmp_path))
    cache = tmp_path / "home" / "cache" / "lorid" / "bases"
    assert found["cache"]["found"] == f"{cache} can be written"
    assert found["base"]["found"].startswith(f"{tmp_path}/base.gguf (llama, ")
    assert found["base used"]["found"].startswith(f"{cache}/")
    assert found["base used"]["found"].endswith(", SHA-256 right)")


def test_a_derived_base_that_was_damaged_is_a_problem(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_bundle(tmp_path, "q8_0")
    checks(capsys, bundle=str(tmp_path))
    (path,) = (tmp_path / "home" / "cache" / "lorid" / "bases").glob("*.gguf")
    path.write_bytes(path.read_bytes()[:-64] + bytes(64))
    found = checks(capsys, bundle=str(tmp_path))
    assert found["base used"]["status"] == "problem"
    assert found["base used"]["found"].startswith(f"{path}: damaged: its SHA-256 begins with ")
    assert "llama.cpp" not in found


def test_without_adapters_the_base_alone_is_tried(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = checks(capsys, model=folder / "base.gguf", no_adapters=True)
    assert found["llama.cpp"]["found"] == "loads the base"
    assert not [name for name in found if "adapter" in name]


def test_a_known_checksum_is_said_to_be_right(capsys: pytest.CaptureFixture[str]) -> None:
    found = doctor._shipped(bundle.find(), Flags())[1]
    assert found.endswith("SmolLM2-135M-Instruct.Q4_1.gguf (llama, 98.4 MB, SHA-256 right)")


# --- faults


def only_problem(capsys: pytest.CaptureFixture[str], **flags: Any) -> tuple[int, dict[str, Any]]:
    """Return the exit code and the one check that is a problem, after which nothing was tried."""
    code, record = report(capsys, **flags)
    assert record["ok"] is False
    (found,) = (check for check in record["checks"] if check["status"] == "problem")
    assert record["memory"] is None
    return code, found


def test_a_bundle_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert only_problem(capsys, bundle="nine") == (
        EXIT_MODEL,
        {
            "name": "bundle",
            "status": "problem",
            "found": "no bundle 'nine': neither a folder nor an installed bundle",
            "hint": "installed: smollm2-135m",
        },
    )


def test_a_base_that_is_no_model(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "base.gguf").write_bytes(b"no model")
    code, found = only_problem(capsys, bundle=str(folder))
    assert (code, found["name"]) == (EXIT_MODEL, "base")


def test_an_adapter_that_is_missing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "kg.gguf").unlink()
    code, record = report(capsys, bundle=str(folder))
    assert code == EXIT_MODEL
    found = {check["name"]: check for check in record["checks"]}
    assert found["kg adapter"]["found"] == f"{folder}/kg.gguf: no such file"
    assert found["kg adapter"]["hint"] == bundle.REINSTALL
    assert found["dr adapter"]["status"] == "ok"  # looked at all the same
    assert found["llama.cpp"] == {
        "name": "llama.cpp",
        "status": "note",
        "found": "not tried, because of what is wrong above",
        "hint": "",
    }


def test_adapters_that_do_not_fit_another_base(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tiny_llama_gguf(tmp_path / "other.gguf", hidden=96)
    found = checks(capsys, bundle=str(folder), model=other)
    assert found["ir adapter"]["status"] == found["dr adapter"]["status"] == "problem"
    assert found["ir adapter"]["hint"] == f"lorid doctor --no-adapters -m {other}"


def test_an_adapter_that_does_not_act(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_lora(folder / "dr.gguf", scale=0.0)
    code, found = only_problem(capsys, bundle=str(folder))
    assert (code, found["name"]) == (EXIT_MODEL, "llama.cpp")
    assert found["found"] == (
        f"{folder}/dr.gguf: the adapter does not act: the logits are the same without it"
    )


def test_a_cache_that_cannot_be_written_is_no_problem(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_bundle(tmp_path, "q8_0")
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", f"{tmp_path}/file")
    found = checks(capsys, bundle=str(tmp_path))
    assert found["cache"] == {
        "name": "cache",
        "status": "note",
        "found": f"{tmp_path}/file/lorid/bases cannot be written (Not a directory), so the base "
        "stays as it was shipped, which is slower",
        "hint": "set XDG_CACHE_HOME to another folder",
    }
    assert found["memory"]["status"] == "ok"
    assert "base used" not in found


def test_without_a_home_the_cache_is_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pathlib.Path.home", lambda: Path("~nobody-at-all").expanduser())
    assert doctor.cache() == Check(
        "cache",
        "note",
        "no home folder is known, so there is no cache for the base",
        "set XDG_CACHE_HOME to a folder, or run with --base-type as-shipped",
    )


def test_keys_and_values_of_another_adapter_are_noticed(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As llama.cpp's own server does (ggml-org/llama.cpp issue 26207)."""
    real, clear = LlamaEngine._state, Context.clear

    def stale(engine: LlamaEngine, requests: list[Request], prompts: Any) -> Any:
        engine.prove()  # which needs a clear context
        before = engine._states.get(None)
        kept = before.kept if before else []
        Context.clear = lambda context: None  # type: ignore[method-assign]
        try:
            state = real(engine, requests, prompts)
        finally:
            Context.clear = clear  # type: ignore[method-assign]
        if state is before:
            state.kept = kept
        return state

    monkeypatch.setattr(LlamaEngine, "_state", stale)
    code, record = report(capsys, bundle=str(folder))
    found = next(check for check in record["checks"] if check["name"] == "KV cache")
    assert code == EXIT_FAILURE
    assert found["status"] == "problem" and found["hint"] == SHARED_HINT
    assert found["found"].startswith("after the other roles ran, ")
    assert found["found"].endswith(" said something else than before")


# --- a llama.cpp that crashes

CRASHING = "import os, signal, sys\nsys.stderr.write('illegal\\n')\nsys.stderr.flush()\n" + (
    "os.kill(os.getpid(), signal.{name})\n"
)


@pytest.fixture
def crashing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A llama_cpp that brings down the process that imports it; this one has its own already."""
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "llama_cpp.py").write_text(CRASHING.format(name="SIGILL"))
    monkeypatch.syspath_prepend(tmp_path / "broken")
    return tmp_path / "broken" / "llama_cpp.py"


def test_a_crash_of_llama_cpp_is_told_of_and_not_shared(
    folder: Path, crashing: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, found = only_problem(capsys, bundle=str(folder))
    assert code == EXIT_FAILURE
    assert found == {
        "name": "llama.cpp build",
        "status": "problem",
        "found": "crashes as soon as it is loaded (SIGILL: illegal)",
        "hint": REBUILD,
    }


def test_a_crash_with_these_files_is_told_of(
    folder: Path, crashing: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = Flags(bundle=str(folder))
    chosen = bundle.find(str(folder))
    (*_, last) = doctor._model(chosen, flags, able=True)
    found = "crashes when it uses these files (SIGILL: illegal)"
    assert last == Check("llama.cpp", "problem", found, REBUILD, EXIT_MODEL)


def test_no_crash_is_no_words(folder: Path) -> None:
    adapters = {role: folder / f"{role}.gguf" for role in Role}
    assert trial.crash() == trial.crash(folder / "base.gguf", adapters) == ""
    assert trial.crash(folder / "none.gguf") == ""  # an error is not a crash


def test_a_crash_without_a_signal_is_named_by_its_code() -> None:
    assert trial._named(0xC0000005) == "code 0xc0000005"  # Windows: access violation


def test_ctrl_c_ends_it_without_a_word_of_a_crash(folder: Path) -> None:
    code = (
        "import os, signal\n"
        "from lorid_local import doctor\nfrom lorid_local.solving import Flags\n"
        "real = doctor.crash\n"
        "def pressed(*given):\n    os.kill(os.getpid(), signal.SIGINT)\n    return 'SIGINT'\n"
        "doctor.crash = pressed\n"
        f"doctor.run(Flags(bundle={str(folder)!r}), as_json=False)\n"
    )
    environ = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                         env=environ, timeout=60)  # fmt: skip
    assert ran.stderr.strip().endswith("KeyboardInterrupt")
    assert "SIGINT" not in ran.stdout and "dr adapter" in ran.stdout
