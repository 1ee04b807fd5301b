"""How many cores this process may use: the physical ones within its affinity and its quota.

A sibling of a core that is already busy with the same matrix adds little, and a thread over
the quota is paused with the work half done: so neither is counted. Nothing here raises; what
cannot be read does not limit. Control groups are looked for where systemd mounts them.
"""

import os
import sys
from collections.abc import Collection, Iterator
from pathlib import Path

CGROUPS = "sys/fs/cgroup"
MOST_BYTES = 1 << 16  # of a file under /sys or /proc that is read


def usable_cores() -> int:
    """Return the number of threads that serve best by default; at least 1."""
    if sys.platform == "darwin":
        return mac_cores()
    if sys.platform == "linux":
        return linux_cores(Path("/"), _affinity())
    return os.cpu_count() or 1


def linux_cores(root: Path, cpus: Collection[int]) -> int:
    """Return the physical cores behind `cpus`, or fewer where a cgroup's quota grants fewer.

    `root` holds proc/ and sys/. A quota of 1.5 cores grants 1; at least 1 is returned.
    """
    return max(1, min(physical_cores(root, cpus), *cgroup_quotas(root)))


def mac_cores() -> int:
    """Return the performance cores of a Mac, or its physical cores where all are alike."""
    for name in (b"hw.perflevel0.physicalcpu", b"hw.physicalcpu"):
        count = _sysctl(name)
        if count > 0:
            return count
    return os.cpu_count() or 1


def physical_cores(root: Path, cpus: Collection[int]) -> int:
    """Return how many cores the logical `cpus` lie on, by the kernel's sibling lists."""
    devices = root / "sys/devices/system/cpu"
    if _read(devices / "smt/active").strip() == "0":  # spares a file for each of 256 cores
        return len(cpus)
    cores, seen = 0, set[int]()
    for cpu in sorted(cpus):
        if cpu not in seen:
            cores += 1
            seen |= _listed(_read(f"{devices}/cpu{cpu}/topology/thread_siblings_list"), cpus)
    return cores


def cgroup_quotas(root: Path) -> Iterator[int]:
    """Yield the whole cores that each limited cgroup, from the process's own up, grants."""
    yield sys.maxsize
    for line in _read(root / "proc/self/cgroup").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            for mount in (CGROUPS, f"{CGROUPS}/unified"):
                for folder in _upwards(root / mount, path):
                    yield from _quota(*_pair(_read(folder / "cpu.max")))
        elif "cpu" in controllers.split(","):
            for mount in dict.fromkeys((f"{CGROUPS}/{controllers}", f"{CGROUPS}/cpu")):
                for folder in _upwards(root / mount, path):
                    quota = _read(folder / "cpu.cfs_quota_us")
                    yield from _quota(quota, _read(folder / "cpu.cfs_period_us"))


def _upwards(mount: Path, path: str) -> Iterator[Path]:
    """Yield the cgroup's folder and those above it, up to the mount.

    Inside a container the path may be the host's, so that only the mount itself is there.
    """
    parts = [part for part in path.split("/") if part]
    if ".." in parts:  # a cgroup outside of this namespace: its folder cannot be seen
        parts = []
    for length in range(len(parts), -1, -1):
        yield mount.joinpath(*parts[:length])


def _pair(text: str) -> tuple[str, str]:
    quota, _, period = text.strip().partition(" ")
    return quota, period


def _quota(quota: str, period: str) -> Iterator[int]:
    """Yield quota / period rounded down, both in microseconds; nothing where there is no limit."""
    try:
        granted, of = int(quota), int(period)
    except ValueError:  # 'max', an empty text of an unread file, or anything else
        return
    if granted > 0 and of > 0:
        yield granted // of


def _listed(text: str, cpus: Collection[int]) -> set[int]:
    """Return those of `cpus` that a list such as '0-1,64' names."""
    found: set[int] = set()
    for item in text.strip().split(","):
        first, _, last = item.partition("-")
        try:
            low, high = int(first), int(last or first)
        except ValueError:
            return set()
        found |= {cpu for cpu in cpus if low <= cpu <= high}
    return found


def _read(path: Path | str) -> str:
    try:
        with open(path, "rb", buffering=0) as file:  # half the time of an open text file
            return file.read(MOST_BYTES).decode("utf-8", "surrogateescape")
    except (OSError, ValueError):  # ValueError: a path with a zero byte
        return ""


def _affinity() -> Collection[int]:
    try:
        return os.sched_getaffinity(0)
    except (AttributeError, OSError):
        return range(os.cpu_count() or 1)


def _sysctl(name: bytes) -> int:
    """Return a whole number that macOS's sysctlbyname(3) knows; 0 if it does not."""
    import ctypes  # on a Mac alone: the command `sysctl` would take longer

    value, size = ctypes.c_int(0), ctypes.c_size_t(ctypes.sizeof(ctypes.c_int))
    try:
        call = ctypes.CDLL(None).sysctlbyname
        failed = call(name, ctypes.byref(value), ctypes.byref(size), None, ctypes.c_size_t(0))
    except (AttributeError, OSError, TypeError):  # not a Mac
        return 0
    return 0 if failed else value.value
