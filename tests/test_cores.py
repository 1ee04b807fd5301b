"""The count of cores on laid-out /sys and /proc folders: real files, as kernels write them."""

import os
import sys
import time
from pathlib import Path

import pytest

from lorid_local.cores import cgroup_quotas, linux_cores, mac_cores, physical_cores, usable_cores

V2 = "sys/fs/cgroup"
CPU = "sys/devices/system/cpu"
OWN = {"proc/self/cgroup": "0::/user.slice/app\n"}


def lay_out(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def siblings(*lists: str) -> dict[str, str]:
    """Files of the sibling lists of cpu0, cpu1 and so on."""
    return {
        f"{CPU}/cpu{i}/topology/thread_siblings_list": f"{text}\n" for i, text in enumerate(lists)
    }


NO_SMT = siblings("0", "1", "2", "3")
PAIRS = siblings("0,4", "1,5", "2,6", "3,7", "0,4", "1,5", "2,6", "3,7")  # as Intel numbers them
NEIGHBOURS = siblings("0-1", "0-1", "2-3", "2-3")  # as AMD and cloud machines number them
FOUR = siblings("0-3", "0-3", "0-3", "0-3", "4-7", "4-7", "4-7", "4-7")  # POWER: 4 a core


@pytest.mark.parametrize(
    ("files", "cpus", "cores"),
    [
        (NO_SMT, range(4), 4),
        (PAIRS, range(8), 4),
        (NEIGHBOURS, range(4), 2),
        (FOUR, range(8), 2),
        (PAIRS, {0, 1, 2, 3}, 4),  # one sibling of each
        (PAIRS, {0, 4}, 1),  # both siblings of one
        (PAIRS, {4, 5, 6}, 3),
        (PAIRS, {3, 4, 7}, 2),
        (NEIGHBOURS, {1, 3}, 2),
        (NEIGHBOURS, {1, 2, 3}, 2),
        (NO_SMT, {2}, 1),
        ({}, range(6), 6),  # nothing to read: each one counts
        (siblings("0-1"), {0, 1, 2, 3}, 3),  # cpu1 told by cpu0; the others have no list
        (siblings("", "x", "0-", "-3", "1-0", "9"), range(6), 6),
        (siblings("0-99999999999999", "1"), range(2), 1),
        (siblings("9" * 5000, "1"), range(2), 2),  # more digits than int() takes
        (PAIRS | {f"{CPU}/smt/active": "1\n"}, range(8), 4),
        (PAIRS | {f"{CPU}/smt/active": "0\n"}, range(8), 8),  # then no list is read
        (PAIRS | {f"{CPU}/smt/active": "odd"}, range(8), 4),
    ],
)
def test_siblings_count_once(
    tmp_path: Path, files: dict[str, str], cpus: set[int], cores: int
) -> None:
    root = lay_out(tmp_path, files)
    assert physical_cores(root, cpus) == cores
    assert linux_cores(root, cpus) == cores


def v2(**levels: str) -> dict[str, str]:
    """Files of cpu.max at the mount ('top'), in user.slice ('slice') and in its app ('own')."""
    folders = {"top": V2, "slice": f"{V2}/user.slice", "own": f"{V2}/user.slice/app"}
    return OWN | {f"{folders[level]}/cpu.max": f"{text}\n" for level, text in levels.items()}


def v1(controllers: str, mount: str, quota: str, period: str = "100000") -> dict[str, str]:
    return {
        "proc/self/cgroup": f"9:name=systemd:/job\n4:cpuset:/\n3:{controllers}:/job\n0::/\n",
        f"{V2}/{mount}/job/cpu.cfs_quota_us": f"{quota}\n",
        f"{V2}/{mount}/job/cpu.cfs_period_us": f"{period}\n",
    }


QUOTAS = [
    (v2(own="150000 100000"), 1),
    (v2(own="200000 100000"), 2),
    (v2(own="299999 100000"), 2),
    (v2(own="50000 100000"), 1),  # half a core is still one thread
    (v2(own="100000 25000"), 4),
    (v2(own="max 100000"), 8),
    (v2(own="max 100000", slice="300000 100000"), 3),
    (v2(own="600000 100000", slice="300000 100000"), 3),  # the parent is tighter
    (v2(own="200000 100000", slice="300000 100000"), 2),
    (v2(own="400000 100000", slice="max 100000", top="200000 100000"), 2),
    (v2(top="200000 100000"), 2),  # a container that sees the host's path
    (v2(own="9900000 100000"), 8),  # more than there is
    (v2(own=""), 8),
    (v2(own="max"), 8),
    (v2(own="200000"), 8),
    (v2(own="200000 0"), 8),
    (v2(own="-1 100000"), 8),
    (v2(own="0 100000"), 8),
    (v2(own="a lot"), 8),
    (v2(own="200000 100000 7"), 8),
    (v2(own="x", slice="200000 100000"), 2),  # one odd file does not hide another
    (OWN, 8),
    ({"proc/self/cgroup": "0::/\n", f"{V2}/cpu.max": "200000 100000\n"}, 2),
    ({"proc/self/cgroup": "0::/../a\n", f"{V2}/cpu.max": "200000 100000\n"}, 2),
    ({"proc/self/cgroup": "0::/../a\n", "sys/fs/a/cpu.max": "200000 100000\n",
      f"{V2}/cpu.max": "max 100000\n"}, 8),
    ({"proc/self/cgroup": "0::/a:b\n", f"{V2}/a:b/cpu.max": "200000 100000\n"}, 2),
    ({"proc/self/cgroup": "0::/a\n", f"{V2}/unified/a/cpu.max": "200000 100000\n"}, 2),
    ({"proc/self/cgroup": "0::/a\n", "a/cpu.max": "200000 100000\n"}, 8),
    ({"proc/self/cgroup": "0::/a\0b\n", f"{V2}/cpu.max": "200000 100000\n"}, 2),
    ({"proc/self/cgroup": "\n:\n::\n0\n0:\n0::\nnonsense", f"{V2}/cpu.max": "200000 100000"}, 2),
    ({"proc/self/cgroup": "nonsense", f"{V2}/cpu.max": "200000 100000"}, 8),
    (v1("cpu", "cpu", "300000"), 3),
    (v1("cpu,cpuacct", "cpu,cpuacct", "250000"), 2),
    (v1("cpuacct,cpu", "cpu", "200000"), 2),
    (v1("cpu", "cpu", "60000", "20000"), 3),
    (v1("cpu", "cpu", "-1"), 8),
    (v1("cpu", "cpu", "200000", "0"), 8),
    (v1("cpu", "cpu", "200000", ""), 8),
    (v1("cpu", "cpu", "x"), 8),
    (v1("cpuacct", "cpuacct", "200000"), 8),  # another controller's folder
    (v1("cpu", "cpu", "-1") | {f"{V2}/cpu/cpu.cfs_quota_us": "200000",
                               f"{V2}/cpu/cpu.cfs_period_us": "100000"}, 2),
]  # fmt: skip


@pytest.mark.parametrize(("files", "cores"), QUOTAS)
def test_quotas_limit(tmp_path: Path, files: dict[str, str], cores: int) -> None:
    root = lay_out(tmp_path, files | siblings(*map(str, range(8))))
    assert linux_cores(root, range(8)) == cores


def test_siblings_are_counted_before_the_quota(tmp_path: Path) -> None:
    root = lay_out(tmp_path, PAIRS | v2(own="600000 100000"))
    assert linux_cores(root, range(8)) == 4
    assert linux_cores(root, {0, 4}) == 1
    lay_out(root, v2(own="200000 100000"))
    assert linux_cores(root, range(8)) == 2


def test_what_cannot_be_read_limits_nothing(tmp_path: Path) -> None:
    assert linux_cores(tmp_path / "none", range(3)) == 3
    assert linux_cores(tmp_path, ()) == 1
    for name in ("proc/self/cgroup", f"{CPU}/cpu0/topology/thread_siblings_list"):
        (tmp_path / name).mkdir(parents=True)  # a folder where a file should be
    assert linux_cores(tmp_path, range(3)) == 3
    (tmp_path / "proc/self/cgroup").rmdir()
    (tmp_path / "proc/self/cgroup").write_bytes(b"0::/\xff\xfe\n\x00\x01")
    assert linux_cores(tmp_path, range(3)) == 3
    lay_out(tmp_path, {f"{V2}/cpu.max": "100000 100000"})
    assert linux_cores(tmp_path, range(3)) == 1  # that file's first line still counts


def test_this_machine() -> None:
    count = usable_cores()
    assert isinstance(count, int)
    assert 1 <= count <= (os.cpu_count() or 1)


@pytest.mark.skipif(sys.platform != "linux", reason="affinity can be set on Linux alone")
def test_affinity_of_this_process_is_honoured() -> None:
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert usable_cores() == 1
    finally:
        os.sched_setaffinity(0, allowed)


def test_a_mac_is_asked_for_its_performance_cores() -> None:
    cores = mac_cores()
    if sys.platform == "darwin":
        assert 1 <= cores <= (os.cpu_count() or 1)
    else:
        assert cores == (os.cpu_count() or 1)  # no such call here


def test_a_mac_without_core_kinds_is_asked_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    for known, cores in (({b"hw.perflevel0.physicalcpu": 5, b"hw.physicalcpu": 9}, 5),
                         ({b"hw.physicalcpu": 9}, 9)):  # fmt: skip
        monkeypatch.setattr("lorid_local.cores._sysctl", lambda name, k=known: k.get(name, 0))
        assert usable_cores() == cores


@pytest.mark.parametrize("platform", ["win32", "freebsd14"])
def test_elsewhere_every_core_counts(monkeypatch: pytest.MonkeyPatch, platform: str) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    for known, cores in ((6, 6), (None, 1)):
        monkeypatch.setattr(os, "cpu_count", lambda known=known: known)
        assert usable_cores() == cores


def test_it_takes_less_than_two_milliseconds(tmp_path: Path) -> None:
    pairs = siblings(*(f"{i % 32},{i % 32 + 32}" for i in range(64)))
    root = lay_out(tmp_path, pairs | v2(own="max 100000"))
    for count in (usable_cores, lambda: linux_cores(root, range(64))):
        times = []
        for _ in range(20):
            started = time.thread_time()  # of this test alone, however busy the machine is
            count()
            times.append(time.thread_time() - started)
        assert min(times) < 0.002


def test_quotas_are_yielded_from_the_own_cgroup_up(tmp_path: Path) -> None:
    levels = v2(own="400000 100000", slice="300000 100000", top="200000 100000")
    assert list(cgroup_quotas(lay_out(tmp_path, levels))) == [sys.maxsize, 4, 3, 2]
