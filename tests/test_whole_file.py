"""Files that are written whole or not at all."""

import os
from collections.abc import Iterator
from multiprocessing import get_context
from pathlib import Path

import pytest

from lorid_local import whole_file


def broken() -> Iterator[str]:
    yield "half"
    raise KeyboardInterrupt


def test_a_text_replaces_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("before, and longer")
    whole_file.write(path, ["ab", "ç\n"])
    assert path.read_bytes() == "abç\n".encode()
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_cut_off_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("before")
    with pytest.raises(KeyboardInterrupt):
        whole_file.write(path, broken())
    with pytest.raises(UnicodeEncodeError):
        whole_file.write(path, ["ç"], "ascii")
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    dead = get_context("spawn").Process(target=int)
    dead.start()
    dead.join()
    left = [tmp_path / f".{name}.{dead.pid}.part" for name in ("a", "b", "[a]")]
    others = [tmp_path / f".a.{name}.part" for name in (os.getppid(), "x")]
    for part in (*left, *others):
        part.touch()
    whole_file.write(tmp_path / "a", ["text"])
    assert {*tmp_path.iterdir()} == {tmp_path / "a", *left[1:], *others}
    whole_file.write(tmp_path / "[a]", ["text"])
    assert not left[2].exists()


def test_a_text_is_on_the_disk_before_it_is_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    sync, rename = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda number: (steps.append("sync"), sync(number))[1])
    monkeypatch.setattr(os, "replace", lambda *both: (steps.append("named"), rename(*both))[1])
    whole_file.write(tmp_path / "a", ["text"])
    assert steps == ["sync", "named", "sync"]


def test_a_device_is_written_to() -> None:
    whole_file.write(Path(os.devnull), ["x"])
    assert not Path(os.devnull).is_file()


def test_a_place_is_tried_and_left_as_it_was(tmp_path: Path) -> None:
    whole_file.check(tmp_path / "a")
    assert not list(tmp_path.iterdir())
    with pytest.raises(FileNotFoundError):
        whole_file.check(tmp_path / "none" / "a")


def _write_often(path: Path, letter: str) -> None:
    for _ in range(200):
        whole_file.write(path, [letter] * 5000)


def test_two_processes_at_once_leave_one_whole_text(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("a" * 5000)
    both = [get_context("spawn").Process(target=_write_often, args=(path, x)) for x in "ab"]
    for process in both:
        process.start()
    while any(process.is_alive() for process in both):
        assert path.read_text() in ("a" * 5000, "b" * 5000)
    assert [process.exitcode for process in both] == [0, 0]
    assert list(tmp_path.iterdir()) == [path]
