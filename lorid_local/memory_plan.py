"""What memory a solve takes, role by role, and what the machine has. All sizes in MiB.

Keys, values and compute buffers are llama.cpp's own figures, from a context made as a solve
makes it; where there is no room to make one, keys and values are computed from the header.
Counts a GPU's memory as the machine's, and knows no limit that a container sets.
"""

import math
import os
import sys
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lorid_local.engine import Request, Role
from lorid_local.errors import EngineError
from lorid_local.gguf_header import Header
from lorid_local.kv_cache import MIB, Layout, Need, kv_bytes, need

if TYPE_CHECKING:
    from lorid_local.llama import LlamaEngine

PROBLEM_TOKENS = 120  # of a typical word problem and its instruction
SAFE_SHARE = 0.5  # of the free memory: a larger context is not made just to measure it
MEMINFO = Path("/proc/meminfo")


@dataclass(frozen=True)
class Room:
    """A role's context: its cells (tokens) and the MiB of its buffers, None if not known."""

    role: Role
    cells: int
    kv: float | None
    compute: float | None

    @property
    def total(self) -> float:
        """What is known of it, in MiB."""
        return (self.kv or 0.0) + (self.compute or 0.0)


@dataclass(frozen=True)
class Plan:
    """What a process takes that draws `width` samples at once, in MiB.

    `own` is Python with its libraries, `base` the file that is mapped, `copied` what llama.cpp
    holds of it in another layout or on a GPU; `single` the one context that --low-memory makes,
    None if it is the largest role's.
    """

    width: int
    own: float | None
    base: float
    copied: float
    adapters: float
    rooms: tuple[Room, ...]
    single: float | None = None

    @property
    def shared(self) -> float:
        """What all roles share."""
        return (self.own or 0.0) + self.base + self.copied + self.adapters

    @property
    def total(self) -> float:
        """What a context a role makes of it."""
        return self.shared + sum(room.total for room in self.rooms)

    @property
    def low_memory(self) -> float:
        """What --low-memory makes of it: one context, large enough for every role."""
        largest = max(room.total for room in self.rooms)
        return self.shared + (largest if self.single is None else self.single)

    def as_dict(self) -> dict[str, Any]:
        return {
            "width": self.width,
            "own_mib": _rounded(self.own),
            "base_mib": _rounded(self.base),
            "copied_mib": _rounded(self.copied),
            "adapters_mib": _rounded(self.adapters),
            "roles": {
                room.role.value: {
                    "cells": room.cells,
                    "kv_mib": _rounded(room.kv),
                    "compute_mib": _rounded(room.compute),
                }
                for room in self.rooms
            },
            "total_mib": _rounded(self.total),
            "low_memory_mib": _rounded(self.low_memory),
        }


@dataclass(frozen=True)
class Machine:
    """The memory of this machine in MiB; `free` is what new processes can have. None: unknown."""

    total: float | None
    free: float | None


@dataclass(frozen=True)
class Verdict:
    """Whether the memory is enough for rounds of one problem, in words too; None: not known."""

    enough: bool | None
    found: str
    hint: str = ""


@dataclass(frozen=True)
class Memory:
    """The plans for rounds of one problem and for a file of problems, and what there is."""

    one: Plan
    many: Plan
    has: Machine

    def verdict(self) -> Verdict:
        """Compare what is needed with what the machine has."""
        one, many, has = self.one, self.many, self.has
        needed = f"{_whole(one.total)} needed, {_whole(many.total)} for a file of problems"
        room = has.free
        if room is None:
            if has.total is None or one.total <= has.total:
                there = "" if has.total is None else f" of {_whole(has.total)}"
                return Verdict(None, f"{needed}; how much{there} is free is not known here")
            room = has.total
        found = f"{needed}, {_whole(room)} {'in all' if has.free is None else 'free'}"
        if one.total > room:
            if one.low_memory <= room:
                hint = f"lorid solve --low-memory takes {_whole(one.low_memory)}"
            else:
                hint = "end other programs, or give a smaller base with -m"
            return Verdict(False, f"not enough: {found}", hint)
        if many.total > room:
            hint = f"lorid solve --low-memory --file takes {_whole(many.low_memory)}"
            return Verdict(True, f"enough, but not for a file of problems: {found}", hint)
        return Verdict(True, f"enough: {found}")

    def rows(self) -> Iterator[tuple[str, ...]]:
        """Yield heads and rows of a table: what it is, MiB for one problem, MiB for a file."""
        one, many = self.one, self.many
        yield "", f"one problem, {one.width} at once", f"--file, {many.width} at once"
        if one.own is not None and many.own is not None:
            yield _row("Python and libraries", one.own, many.own)
        yield _row("base, memory-mapped", one.base, many.base)
        if one.copied:
            yield _row("base, copied by llama.cpp", one.copied, many.copied)
        yield _row("adapters", one.adapters, many.adapters)
        for a, b in zip(one.rooms, many.rooms, strict=True):
            yield _row(f"{a.role}: KV cache of {a.cells} / {b.cells} tokens", a.kv, b.kv)
            yield _row(f"{a.role}: compute buffers", a.compute, b.compute)
        yield _row("sum", one.total, many.total)
        yield _row("sum with --low-memory", one.low_memory, many.low_memory)

    def as_dict(self) -> dict[str, Any]:
        return {
            "problem_tokens": PROBLEM_TOKENS,
            "total_mib": _rounded(self.has.total),
            "free_mib": _rounded(self.has.free),
            "enough": self.verdict().enough,
            "one_problem": self.one.as_dict(),
            "file": self.many.as_dict(),
        }


def _whole(size: float) -> str:
    return f"{math.ceil(size)} MiB"


def _row(what: str, *sizes: float | None) -> tuple[str, ...]:
    return (what, *("not measured" if size is None else f"{size:.1f}" for size in sizes))


def _rounded(size: float | None) -> float | None:
    return None if size is None else round(size, 2)


def needed(role: Role, max_tokens: Mapping[Role, int], width: int, *, one_problem: bool) -> Need:
    """Return what a role's context must have room for, for problems of PROBLEM_TOKENS.

    Rounds of one problem share IR's and KG's prompt. DR's holds the rules, here as many as KG
    may write, and each round's are others.
    """
    length = PROBLEM_TOKENS + (max_tokens[Role.KG] if role is Role.DR else 0)
    alike = one_problem and role is not Role.DR
    prompts = [[0 if alike else i] * length for i in range(width)]
    return need([Request(role, (), max_tokens[role])] * width, prompts, width)


def look(
    engine: "LlamaEngine",
    header: Header,
    adapters: Collection[Path],
    max_tokens: Mapping[Role, int],
    width: int,
    own: float | None,
) -> Memory:
    """Return what `engine` takes, whose base has this header, and what the machine has.

    `width` rounds of one problem at once, `own` MiB for Python and its libraries. Makes contexts
    and frees them, one after the other.
    """
    has = machine()
    widest = engine.options.width
    mapped = sum(size for device, size in engine.weights.items() if device.endswith("_Mapped"))

    def plan(at_once: int, one_problem: bool) -> Plan:
        needs = {r: needed(r, max_tokens, at_once, one_problem=one_problem) for r in Role}
        layouts = {r: engine.layout(n) for r, n in needs.items()}
        most = max(needs, key=lambda r: needs[r].together)
        single = needs[most].layout(stream_cells=0)  # --low-memory has no streams
        streams = any(layout.streams for layout in layouts.values())
        return Plan(
            at_once,
            own,
            header.path.stat().st_size / MIB,
            sum(engine.weights.values()) - mapped,
            sum(path.stat().st_size for path in adapters) / MIB,
            tuple(_room(engine, header, r, layout, has) for r, layout in layouts.items()),
            _room(engine, header, most, single, has).total if streams else None,
        )

    return Memory(plan(min(width, widest), True), plan(widest, False), has)


def _room(engine: "LlamaEngine", header: Header, role: Role, layout: Layout, has: Machine) -> Room:
    size = kv_bytes(header, layout.total)
    computed = None if size is None else size / MIB
    if computed is not None and has.free is not None and computed > SAFE_SHARE * has.free:
        return Room(role, layout.total, computed, None)
    try:
        found = engine.buffers(layout)
    except EngineError:
        return Room(role, layout.total, computed, None)
    return Room(
        role,
        layout.total,
        found.get("KV", computed),
        found.get("compute", 0.0) + found.get("output", 0.0),
    )


def machine(meminfo: Path = MEMINFO) -> Machine:
    """Return what this machine has; reads /proc/meminfo, elsewhere the total from sysconf."""
    try:
        lines = dict(
            line.split(":", 1) for line in meminfo.read_text(encoding="ascii").splitlines()
        )
        total, free = (int(lines[key].split()[0]) / 1024 for key in ("MemTotal", "MemAvailable"))
        return Machine(total, free)
    except (OSError, ValueError, KeyError, IndexError):
        return Machine(_physical(), None)


def _physical() -> float | None:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / MIB
    except (AttributeError, ValueError, OSError):  # Windows; a system without these names
        return None


def peak() -> float | None:
    """Return the most memory in MiB that this process ever held; None where nothing tells."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / MIB if sys.platform == "darwin" else most / 1024  # getrusage(2): bytes, KiB
