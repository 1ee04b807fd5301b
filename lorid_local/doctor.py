"""`lorid doctor`: looks at everything a solve needs, and says what to do where it is not well.

Each check is one line. A model that cannot be used leaves the later checks untried.
"""

import json
import locale
import os
import platform
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lorid_local import __version__, installed, tables
from lorid_local import bundle as bundles
from lorid_local.base_type import cache_folder, proven
from lorid_local.checks import Check, Status, problem, tried
from lorid_local.cores import usable_cores
from lorid_local.engine import Completion, Part, Request, Role
from lorid_local.errors import EXIT_MODEL, EngineError, LoridError, ModelError
from lorid_local.gguf_check import check_adapter, check_base
from lorid_local.gguf_header import Header, read_header
from lorid_local.models.shelf import located
from lorid_local.solving import Flags, base_file, interruptible
from lorid_local.trial import crash

if TYPE_CHECKING:
    from lorid_local.llama import LlamaEngine
    from lorid_local.memory_plan import Memory

SCHEMA = "lorid-doctor/1"
SAID = "A box holds 12 eggs."
SAID_TOKENS = 8


def run(flags: Flags, *, as_json: bool) -> int:
    """Print what was found for the bundle, model and adapters of `flags`; return the exit code."""
    checks: list[Check] = []
    memory: Memory | None = None
    with interruptible() as interrupted:
        for item in examine(flags):
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


def examine(flags: Flags) -> Iterator["Check | Memory"]:
    """Yield what is found, in the order in which a solve needs it."""
    yield Check("Python", "ok", f"{platform.python_version()}, {platform.platform()}")
    yield from map(installed.package, installed.PACKAGES)
    yield Check("cores", "ok", f"{usable_cores()} used of {os.cpu_count()} present")
    yield installed.terminal(sys.stdout.encoding or "ascii", locale.setlocale(locale.LC_CTYPE))
    able = True
    for found in installed.native():
        able = able and found.status != "problem"
        yield found
    chosen, check = tried("bundle", partial(_bundle, flags.bundle or bundles.DEFAULT))
    yield check
    if chosen:
        if flags.prompted:
            chosen = chosen.only()
        if not flags.model and chosen.contents.base_type != "as-shipped":
            yield cache()
        yield from _model(chosen, flags, able=able)


def cache() -> Check:
    """Look at whether the base can be kept in another representation; it only makes it faster."""
    try:
        folder = cache_folder()
        there = next(path for path in (folder, *folder.parents) if path.exists())
        with tempfile.TemporaryFile(dir=there):  # permissions do not tell of a read-only disk
            return Check("cache", "ok", f"{folder} can be written")
    except LoridError as error:
        return Check("cache", "note", error.message, error.hint)
    except OSError as error:
        return Check("cache", "note", f"{folder} cannot be written ({error.strerror}), so the "
                     "base stays as it was shipped, which is slower",
                     "set XDG_CACHE_HOME to another folder")  # fmt: skip


def _model(chosen: bundles.Bundle, flags: Flags, *, able: bool) -> Iterator["Check | Memory"]:
    """Check the files from their headers, then let llama.cpp load them and plan the memory."""
    found, check = tried("base", partial(_shipped, chosen, flags))
    yield check
    if not found:
        return
    flags, shipped = found
    adapters: dict[Role, Path] = {}
    whole = True
    for role in (r for r in Role if chosen.contents.roles.of(r).adapter):
        looked_at = partial(_adapter, chosen, role, shipped, flags)
        header, check = tried(f"{role} adapter", looked_at)
        yield check
        whole = whole and header is not None
        if header:
            adapters[role] = header.path
    if not (whole and able):
        yield Check("llama.cpp", "note", "not tried, because of what is wrong above")
        return
    yield from _loaded(chosen, flags, shipped, adapters)


def _bundle(name: str) -> tuple[bundles.Bundle, str]:
    chosen = replace(bundles.find(name), thorough=True)
    others = [known for known in bundles.installed() if known != chosen.contents.name]
    more = f"; also installed: {', '.join(others)} (--bundle)" if others else ""
    return chosen, f"{chosen.contents.name} in {chosen.folder}{more}"


def _shipped(chosen: bundles.Bundle, flags: Flags) -> tuple[tuple[Flags, Header], str]:
    """Return the flags with the model's path for its name, and the header of the base."""
    flags = replace(flags, model=located(flags.model))
    header = read_header(flags.model or chosen.base())
    check_base(header)
    told = not flags.model and bool(chosen.contents.base.sha256)
    return (flags, header), _described(header, proven=told)


def _used(chosen: bundles.Bundle, flags: Flags) -> tuple[Header, str]:
    header = read_header(base_file(chosen, flags))
    return header, _described(header, proven=proven(header.path))


def _adapter(chosen: bundles.Bundle, role: Role, base: Header, flags: Flags) -> tuple[Header, str]:
    header = read_header(chosen.only(role).adapters()[role])
    try:
        check_adapter(header, base)
    except ModelError as error:
        if flags.model:
            error.hint = f"lorid doctor --no-adapters -m {flags.model}"
        raise
    return header, _described(header, proven=bool(chosen.contents.roles.of(role).sha256))


def _described(header: Header, *, proven: bool) -> str:
    size = header.path.stat().st_size / 1e6
    right = ", SHA-256 right" if proven else ""
    return f"{header.path} ({header.architecture}, {size:.1f} MB{right})"


def _loaded(
    chosen: bundles.Bundle, flags: Flags, shipped: Header, adapters: Mapping[Role, Path]
) -> Iterator["Check | Memory"]:
    from lorid_local import memory_plan

    own = memory_plan.peak()  # before the model is loaded: Python, numpy and llama.cpp
    used, check = tried("base used", partial(_used, chosen, flags))
    if not used or used.path != shipped.path:
        yield check
    if not used:
        return
    if how := crash(used.path, adapters):
        found = f"crashes when it uses these files ({how})"
        yield replace(problem("llama.cpp", found, installed.REBUILD), exit_code=EXIT_MODEL)
        return
    engine, check = tried("llama.cpp", partial(_engine, used.path, adapters))
    yield check
    if not engine:
        return
    tokens = {role: chosen.contents.roles.of(role).max_tokens for role in Role}
    with engine:
        yield tried("KV cache", partial(_clean, engine, used.path, adapters))[1]
        width = flags.width or chosen.contents.loop.most_at_once
        memory = memory_plan.look(engine, used, adapters.values(), tokens, width, own)
    yield memory
    yield _enough(memory)


def _enough(memory: "Memory") -> Check:
    told = memory.verdict()
    if told.enough is False:
        return problem("memory", told.found, told.hint)
    status: Status = "ok" if told.enough and not told.hint else "note"
    return Check("memory", status, told.found, told.hint)


def _engine(base: Path, adapters: Mapping[Role, Path]) -> tuple["LlamaEngine", str]:
    from lorid_local.llama import LlamaEngine, Options

    # one thread: beside a busy process more would take a minute, and the buffers are the same
    engine = LlamaEngine(base, adapters, Options(threads=1))
    try:
        engine.prove()
    except BaseException:
        engine.close()
        raise
    acts = f", and each of the {len(adapters)} adapters acts on it" if adapters else ""
    return engine, f"loads the base{acts}"


def _clean(engine: "LlamaEngine", base: Path, adapters: Mapping[Role, Path]) -> tuple[bool, str]:
    """Compare what a role says in a context of its own and in one that all roles share.

    Raises EngineError if it differs: then keys and values that another adapter computed were
    used (ggml-org/llama.cpp issue 26207).
    """
    from lorid_local.llama import LlamaEngine

    alone = {role: _said(engine, role) for role in Role}
    with LlamaEngine(base, adapters, replace(engine.options, low_memory=True)) as shared:
        turns = [(one, role) for one in (shared, shared, engine) for role in Role]
        wrong = {role: 0 for one, role in turns if _said(one, role) != alone[role]}
    if wrong:
        raise EngineError(
            f"after the other roles ran, {' and '.join(wrong)} said something else than before",
            hint="pip install --upgrade llama-cpp-python",
        )
    return True, "clean: each role says the same before and after the others, with --low-memory too"


def _said(engine: "LlamaEngine", role: Role) -> Completion:
    return engine.generate([Request(role, (Part(SAID),), SAID_TOKENS)])[0]
