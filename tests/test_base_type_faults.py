"""Deriving a base while disks fill, processes die and users interrupt: with real ones of each.

The line that is said before the writing is the place at which a test steps in.
"""

import errno
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest

from lorid_local import base_type
from lorid_local.base import sha256
from lorid_local.base_type import BaseType, cache_folder, derived
from lorid_local.errors import EXIT_FAILURE, OutputError
from lorid_local.llama import LlamaEngine, Options
from tests.tiny import tiny_llama_gguf

AS_SHIPPED = "run with --base-type as-shipped"
MAKE_ROOM = f"free some space, set XDG_CACHE_HOME to another folder, or {AS_SHIPPED}"
NEEDED = 0.1  # MB of the tiny base as q8_0


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama_gguf(tmp_path_factory.mktemp("faults") / "base.gguf")


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base that takes llama.cpp seconds as iq4_nl."""
    path = tmp_path_factory.mktemp("slow") / "slow.gguf"
    return tiny_llama_gguf(path, layers=6, hidden=512, heads=8, kv_heads=8, ffn=1536)


def in_cache() -> list[str]:
    return sorted(p.name for p in cache_folder().iterdir()) if cache_folder().exists() else []


def started(script: str, *arguments: object) -> "subprocess.Popen[str]":
    """Run `derived` in another process: `script` defines `say(line)` and may do more."""
    code = f"import os, sys, time\nfrom lorid_local import base_type\n{script}\nrun()"
    head = (
        "import sys\nfrom pathlib import Path\nfrom lorid_local.base_type import derived\n"
        "def run():\n    print(derived(Path(sys.argv[1]), sys.argv[2], say=say), flush=True)\n"
    )
    return subprocess.Popen(
        [sys.executable, "-c", head + code, *map(str, arguments)], text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip


def until(true: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.005)


def being_written() -> bool:
    return any(p.stat().st_size for p in cache_folder().glob(".*.part"))


MEET = """
def say(line):
    folder = sys.argv[3]
    open(f"{folder}/{os.getpid()}", "w").close()
    while len(os.listdir(folder)) < 3:
        time.sleep(0.001)
"""


def test_processes_that_start_at_once_all_get_the_base(base: Path, tmp_path: Path) -> None:
    (tmp_path / "met").mkdir()
    processes = [started(MEET, base, "q4_0", tmp_path / "met") for _ in range(3)]
    told = [process.communicate(timeout=60) for process in processes]
    assert [errors for _, errors in told] == [""] * 3
    (path,) = {Path(out.strip()) for out, _ in told}
    assert in_cache() == [path.name]
    with LlamaEngine(path, options=Options(threads=1)):
        assert derived(base, "q4_0") == path


KILL_BEFORE_RENAME = """
import signal
def say(line): pass
def kill(*_): os.kill(os.getpid(), signal.SIGKILL)
base_type._put_in_place = kill
"""


def test_a_process_killed_before_the_rename_leaves_no_base(base: Path) -> None:
    process = started(KILL_BEFORE_RENAME, base, "q8_0")
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    (left,) = in_cache()
    assert left.startswith(f".{sha256(base)[:16]}-q8_0-v1.") and left.endswith(".part")
    path = derived(base, "q8_0")
    assert in_cache() == [left, path.name]
    os.utime(path.with_name(left), (time.time() - 4000,) * 2)
    assert in_cache() == [left, path.name]
    other = derived(base, "q4_0")
    assert in_cache() == sorted([path.name, other.name])


QUIET = "def say(line): pass"
# one core for time to step in; a shell that runs the tests in the background ignores Ctrl-C
ON_ONE_CORE = f"""
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
os.sched_setaffinity(0, {{min(os.sched_getaffinity(0))}})
{QUIET}
"""


def test_a_process_killed_at_any_time_harms_no_later_one(base: Path) -> None:
    dice, expected = Random(0), None
    for _ in range(8):
        process = started(QUIET, base, "q8_0")
        time.sleep(dice.uniform(0, 0.9))
        process.kill()
        process.communicate(timeout=60)
        path = derived(base, "q8_0")
        expected = expected or path.read_bytes()
        assert path.read_bytes() == expected
        path.unlink()


def test_llama_cpp_ends_with_the_process_that_asked(slow: Path) -> None:
    process = started(ON_ONE_CORE, slow, "iq4_nl")
    until(being_written)
    process.kill()
    process.communicate(timeout=60)
    until(lambda: in_cache() == [], 2)


def test_an_interrupted_process_leaves_nothing(slow: Path) -> None:
    process = started(ON_ONE_CORE, slow, "iq4_nl")
    until(being_written)
    os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C in a terminal
    asked = time.monotonic()
    _, errors = process.communicate(timeout=60)
    assert time.monotonic() - asked < 2
    assert errors.endswith("KeyboardInterrupt\n")
    assert in_cache() == []
    time.sleep(0.2)
    assert in_cache() == []  # llama.cpp's process is gone too


def llama_cpp_runs() -> bool:
    """True once the process is there that writes into this test's cache."""
    marks = b"lorid_local.base_type", os.fsencode(cache_folder()) + b"/.", b"-P"
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # that process has ended
            line = path.read_bytes()
            if all(mark in line for mark in marks):
                return True
    return False


HANDLES_CTRL_C = """
import signal
signal.signal(signal.SIGINT, lambda *_: None)
def say(line): pass
"""


def test_a_process_that_does_not_end_at_ctrl_c_gets_its_base(base: Path) -> None:
    process = started(HANDLES_CTRL_C, base, "q4_0")
    until(llama_cpp_runs)
    while process.poll() is None:
        os.killpg(process.pid, signal.SIGINT)
        time.sleep(0.01)
    out, errors = process.communicate(timeout=60)
    assert (in_cache(), errors) == ([Path(out.strip()).name], "")


def refused(source: Path, say: Callable[[str], None] | None = None) -> OutputError:
    with pytest.raises(OutputError) as raised:
        derived(source, "q8_0", say=say)
    assert raised.value.exit_code == EXIT_FAILURE
    return raised.value


def test_a_folder_that_cannot_be_made(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file" / "cache"))
    error = refused(base)
    assert error.message == (
        f"{tmp_path}/file/cache/lorid/bases: cannot hold the base as q8_0 (Not a directory): "
        f"{NEEDED} MB are needed"
    )
    assert error.hint == MAKE_ROOM


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_to(base: Path) -> None:
    cache_folder().mkdir(parents=True)
    cache_folder().chmod(0o500)
    assert "cannot hold the base as q8_0 (Permission denied): " in refused(base).message


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A cache folder on a disk of 256 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no disk may be mounted here")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def fill(disk: Path, left: int) -> None:
    status = os.statvfs(disk)
    (disk / "filler").write_bytes(bytes(max(0, status.f_bavail * status.f_frsize - left)))


def test_a_disk_that_is_too_small_is_told_of_before_anything_is_written(
    base: Path, disk: Path
) -> None:
    fill(disk, 80 << 10)
    told: list[str] = []
    error = refused(base, told.append)
    assert error.message == (
        f"{disk}/lorid/bases: cannot hold the base as q8_0 (too little room): "
        f"{NEEDED} MB are needed, 0.1 MB are free"
    )
    assert error.hint == MAKE_ROOM
    assert (told, in_cache()) == ([], [])


@pytest.mark.parametrize("left", [0, 20 << 10, 88 << 10])  # bytes; 93 kB would be needed
def test_a_disk_that_fills_meanwhile(base: Path, disk: Path, left: int) -> None:
    error = refused(base, lambda line: fill(disk, left))
    assert error.message == (
        f"{disk}/lorid/bases: cannot hold the base as q8_0 (No space left on device): "
        f"{NEEDED} MB are needed, {left / 1e6:.1f} MB are free"
    )
    assert error.hint == MAKE_ROOM
    assert in_cache() == []
    (disk / "filler").unlink()
    path = derived(base, "q8_0")
    assert in_cache() == [path.name]


def test_a_read_only_disk(base: Path, disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    error = refused(base)
    assert error.message == (
        f"{disk}/lorid/bases: cannot hold the base as q8_0 (Read-only file system): "
        f"{NEEDED} MB are needed"
    )
    assert error.hint == MAKE_ROOM


LIMITED = """
import resource
from lorid_local.errors import LoridError
def say(line): resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]),) * 2)
inner = run
def run():
    try:
        inner()
    except LoridError as error:
        print(type(error).__name__, error.message, sep="|")
"""


@pytest.mark.parametrize("limit", [1, 30_000, 92_000])
def test_a_limit_on_the_length_of_files(base: Path, limit: int) -> None:
    out, errors = started(LIMITED, base, "q8_0", limit).communicate(timeout=60)
    assert errors == ""
    kind, _, message = out.strip().partition("|")
    assert kind == "OutputError"
    assert message.startswith(
        f"{cache_folder()}: cannot hold the base as q8_0 ({os.strerror(errno.EFBIG)}): "
        f"{NEEDED} MB are needed, "
    )
    assert in_cache() == []


def cut(part: Path) -> None:
    os.truncate(part, part.stat().st_size - 1)


def lengthen(part: Path) -> None:
    with open(part, "ab") as file:
        file.write(bytes(32))


def call_q4_0(part: Path) -> None:
    """Let the header say of one matrix that it is coarser than the others."""
    row = b"blk.0.attn_k.weight" + struct.pack("<IQQ", 2, 64, 32)
    q8_0, q4_0 = (row + struct.pack("<I", kind) for kind in (8, 2))
    data = part.read_bytes()
    assert q8_0 in data
    part.write_bytes(data.replace(q8_0, q4_0))


FAULTS: dict[str, tuple[Callable[[Path, Path], object], str]] = {
    "cut": (lambda source, part: cut(part), "its header cannot be read back"),
    "empty": (lambda source, part: os.truncate(part, 0), "its header cannot be read back"),
    "long": (lambda source, part: lengthen(part), "it has 92992 bytes, expected 92960"),
    "kept": (
        lambda source, part: part.write_bytes(source.read_bytes()),
        "its weights are not of type q8_0",
    ),
    "other": (
        lambda source, part: tiny_llama_gguf(part, dtype="q8_0", ffn=128),
        "its tensors are not the source's",
    ),
    "mixed": (lambda source, part: call_q4_0(part), "its weights are not of type q8_0"),
    "coarser": (
        lambda source, part: part.write_bytes(derived(source, "q4_0").read_bytes()),
        "its weights are not of type q8_0",
    ),
}


def test_a_disk_that_fills_without_a_word(
    base: Path, disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = base_type._requantize

    def write_and_lose(source: Path, part: Path, chosen: BaseType) -> None:
        write(source, part, chosen)
        cut(part)
        fill(disk, 0)

    monkeypatch.setattr(base_type, "_requantize", write_and_lose)
    assert "as q8_0 (No space left on device): " in refused(base).message


def test_a_base_is_on_the_disk_before_it_has_its_name(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[tuple[str, int]] = []
    sync, rename = os.fsync, os.replace

    def told_sync(descriptor: int) -> None:
        sync(descriptor)
        steps.append(("synced", os.fstat(descriptor).st_ino))

    def told_rename(old: Path, new: Path) -> None:
        rename(old, new)
        steps.append(("named", new.stat().st_ino))

    monkeypatch.setattr(os, "fsync", told_sync)
    monkeypatch.setattr(os, "replace", told_rename)
    path = derived(base, "q8_0")
    file, folder = path.stat().st_ino, path.parent.stat().st_ino
    assert steps == [("synced", file), ("named", file), ("synced", folder)]


@pytest.mark.parametrize("fault", FAULTS)
def test_what_was_not_written_rightly_is_not_used(
    base: Path, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil, reason = FAULTS[fault]
    write = base_type._requantize

    def write_and_spoil(source: Path, part: Path, chosen: BaseType) -> None:
        write(source, part, chosen)
        if chosen == "q8_0":
            spoil(source, part)

    monkeypatch.setattr(base_type, "_requantize", write_and_spoil)
    error = refused(base)
    assert error.message == (
        f"{cache_folder()}: the base as q8_0 was not written rightly, so it was removed: {reason}"
    )
    assert error.hint == f"check the disk and run again, or {AS_SHIPPED}"
    assert [name for name in in_cache() if "q8_0" in name] == []
