"""Progress on disk: migrations, two sessions at once, a kill, forgetting, what comes back when."""

import os
import signal
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lorid_local.practice.families import load
from lorid_local.tutor import report, schedule, store
from lorid_local.tutor.choosing import Chooser
from lorid_local.tutor.state import Result
from lorid_local.tutor.store import Done, ProgressError, Store, Tally

NOW = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)  # a Wednesday
ROOT = str(Path(store.__file__).parents[2])


def done(result: Result = "shown", family: str = "T10-02", seed: int = 1, topic: str = "a") -> Done:
    return Done(family, seed, topic, 4, result, 1, 2)


def test_results_are_kept_and_counted(tmp_path: Path) -> None:
    kept = Store.open(tmp_path)
    for result, topic in (("first", "b"), ("right", "b"), ("shown", "a"), ("skipped", "b")):
        kept.record(done(result, topic=topic), schedule.reviewed, NOW)  # type: ignore[arg-type]
    kept.record(done("first", topic="a"), schedule.reviewed, NOW + timedelta(days=5))
    kept.close()
    kept = Store.open(tmp_path)
    assert kept.by_topic() == [Tally("a", 1, 0, 1, 0), Tally("b", 1, 1, 0, 1)]
    assert kept.by_week() == [Tally("2026-03-02", 1, 1, 1, 1), Tally("2026-03-09", 1, 0, 0, 0)]
    assert kept.last_seed("T10-02") == 1 and kept.last_seed("none") is None
    kept.close()


def test_a_file_of_the_first_version_is_brought_up_and_keeps_its_rows(tmp_path: Path) -> None:
    old = sqlite3.connect(tmp_path / store.FILE)
    for statement in store.MIGRATIONS[0]:
        old.execute(statement)
    old.execute(
        "INSERT INTO result VALUES (1, '2026-03-04 12:00:00', 'f', 7, 't', 4, 'first', 0, 0)"
    )
    old.execute("PRAGMA user_version = 1")
    old.commit()
    old.close()
    kept = Store.open(tmp_path)
    assert kept.by_topic() == [Tally("t", 1, 0, 0, 0)]
    assert kept.take_slot() is None
    kept.save("{}")
    kept.close()
    again = sqlite3.connect(tmp_path / store.FILE)
    assert again.execute("PRAGMA user_version").fetchone() == (2,)
    assert again.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    again.close()


def test_what_cannot_be_kept_is_refused_with_the_way_out(tmp_path: Path) -> None:
    hint = "start anew: lorid tutor --forget"
    (tmp_path / store.FILE).write_bytes(b"no database at all" * 100)
    with pytest.raises(ProgressError) as caught:
        Store.open(tmp_path)
    message = f"{tmp_path}: the progress cannot be kept (file is not a database)"
    assert (caught.value.message, caught.value.hint) == (message, hint)
    assert store.erase(tmp_path) and list(tmp_path.iterdir()) == []
    blocked = tmp_path / "file" / "folder"
    blocked.parent.write_text("")
    with pytest.raises(ProgressError, match="cannot be kept \\(Not a directory\\)") as caught:
        Store.open(blocked)
    assert caught.value.hint == "set XDG_DATA_HOME to a folder that you may write to"
    newer = sqlite3.connect(tmp_path / store.FILE)
    newer.execute("PRAGMA user_version = 9")
    newer.close()
    with pytest.raises(ProgressError) as caught:
        Store.open(tmp_path)
    assert caught.value.message == (
        f"{tmp_path / store.FILE}: made by a newer lorid (version 9, this one knows 2)"
    )
    assert caught.value.hint == "pip install --upgrade lorid-local"


def test_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert store.folder({"XDG_DATA_HOME": str(tmp_path)}) == tmp_path / "lorid"
    monkeypatch.setenv("HOME", "/home/x")
    assert store.folder({"XDG_DATA_HOME": "here"}) == Path("/home/x/.local/share/lorid")
    assert store.folder({}, "darwin") == Path("/home/x/Library/Application Support/lorid")
    assert store.folder({"LOCALAPPDATA": "/l"}, "win32") == Path("/l/lorid")
    monkeypatch.setattr(Path, "home", classmethod(_homeless))
    with pytest.raises(ProgressError) as caught:
        store.folder({})
    assert caught.value.message == "no home folder is known, so progress cannot be kept"
    assert caught.value.hint == "set XDG_DATA_HOME to a folder"


def _homeless(_: type[Path]) -> Path:
    raise RuntimeError


def test_each_session_has_a_slot_and_a_dead_ones_state_is_taken_up(tmp_path: Path) -> None:
    first, second = Store.open(tmp_path), Store.open(tmp_path)
    assert first.take_slot() is None and second.take_slot() is None
    first.save("one")
    second.save("two")
    first.record(done(), schedule.reviewed)
    second.record(done(), schedule.reviewed)  # the same kind, in both
    assert second.by_topic() == [Tally("a", 0, 0, 2, 0)]
    second.close()
    third = Store.open(tmp_path)
    assert third.take_slot() == "two"  # the first still runs
    assert third.newest() in ("one", "two")
    first.close()
    third.close()


KILLED = """
import os, signal, sys
from lorid_local.tutor import schedule
from lorid_local.tutor.store import Done, Store
kept = Store.open(__import__("pathlib").Path(sys.argv[1]))
kept.take_slot()
for seed in range(50):
    kept.record(Done("T10-02", seed, "a", 4, "first", 0, 0), schedule.reviewed)
kept.save("cut off")
kept._database.execute("BEGIN IMMEDIATE")
kept._database.execute("DELETE FROM result")
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_kill_loses_nothing_that_was_recorded(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path)], env={"PYTHONPATH": ROOT}, timeout=60
    )
    assert ran.returncode == -signal.SIGKILL
    kept = Store.open(tmp_path)
    assert kept.by_topic() == [Tally("a", 50, 0, 0, 0)]
    assert kept.take_slot() == "cut off"  # the dead one's slot is free
    kept.close()


WRITER = """
import sys
from pathlib import Path
from lorid_local.tutor import schedule
from lorid_local.tutor.store import Done, Store
kept = Store.open(Path(sys.argv[1]))
kept.take_slot()
for seed in range(40):
    kept.record(Done("T10-02", seed, "a", 4, "shown", 0, 0), schedule.reviewed)
    kept.save(str(seed))
"""


def test_two_processes_write_at_once(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WRITER, str(tmp_path)]
    writers = [subprocess.Popen(command, env={"PYTHONPATH": ROOT}) for _ in range(2)]
    assert [writer.wait(60) for writer in writers] == [0, 0]
    kept = Store.open(tmp_path)
    assert kept.by_topic() == [Tally("a", 0, 0, 80, 0)]
    kept.close()


def test_forgetting_leaves_no_trace(tmp_path: Path) -> None:
    assert not store.erase(tmp_path)
    running = Store.open(tmp_path)
    running.take_slot()
    running.save("a secret")
    running.record(done(family="secret-family"), schedule.reviewed)
    assert store.erase(tmp_path)  # beside a session that runs: the rows go, the files stay
    assert running.by_topic() == [] and running.due(NOW + timedelta(days=9999)) == []
    left = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"secret" not in left
    running.save("more")
    running.close()
    assert store.erase(tmp_path) and list(tmp_path.iterdir()) == []


def test_what_cannot_be_erased_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / store.FILE).write_text("no database at all" * 100)
    monkeypatch.setattr(Path, "unlink", _refused)
    with pytest.raises(ProgressError) as caught:
        store.erase(tmp_path)
    assert caught.value.message == (
        f"{tmp_path}: the progress cannot be erased (Permission denied)"
    )
    assert caught.value.hint == f"rm -r {tmp_path}"


def _refused(*_: object, **__: object) -> None:
    raise PermissionError(13, os.strerror(13))


def test_a_missed_kind_comes_back_later_and_later(tmp_path: Path) -> None:
    kept = Store.open(tmp_path)
    kept.record(done("first", family="known"), schedule.reviewed, NOW)
    kept.record(done("shown"), schedule.reviewed, NOW)
    kept.record(done("skipped"), schedule.reviewed, NOW)
    assert kept.due(NOW + timedelta(minutes=9)) == []
    assert kept.due(NOW + timedelta(minutes=10)) == ["T10-02"]
    waits, now = [], NOW + timedelta(minutes=10)
    for _ in range(4):
        kept.record(done("first"), schedule.reviewed, now)
        day = timedelta(days=1)
        waits.append(next(n for n in range(2000) if kept.due(now + n * day)))
        now += waits[-1] * day
    assert waits == sorted(waits) and waits[0] >= 1 and waits[-1] > 7
    kept.record(done("shown"), schedule.reviewed, now)
    assert kept.due(now + timedelta(minutes=10)) == ["T10-02"]
    kept.close()


def test_a_missed_kind_is_given_again_with_other_numbers(tmp_path: Path) -> None:
    families = load()
    kept = Store.open(None)
    long_ago = datetime.now(UTC) - timedelta(days=1)
    for seed, family in ((4, "T10-02"), (5, "gone-1")):
        kept.record(done(family=family, seed=seed), schedule.reviewed, long_ago)
    chooser = Chooser(families, kept, seed=1)
    given = [chooser.next(None, 4) for _ in range(4)]
    assert [g.again for g in given] == [True, False, True, False]
    for again in (given[0], given[2]):
        assert again.task.source and again.task.source.family == "T10-02"
    last = families.topics()
    assert last and Chooser(families, kept, seed=1).next("pizza", 4).again is False
    same = Chooser(families, kept, seed=1)
    assert [same.next(None, 4).task.question for _ in range(2)] == [
        g.task.question for g in given[:2]
    ]
    kept.close()


def test_the_report_has_numbers_beside_every_bar() -> None:
    topics = [
        Tally("sharing equally among groups of many people", 6, 2, 2, 1),
        Tally("b", 0, 1, 0, 0),
    ]
    weeks = [Tally("2026-03-02", 6, 3, 2, 1)]
    assert list(report.lines(topics, weeks, width=40, blocks=False)) == [
        "       first try  later  shown  skipped",
        "02 Mar         6      3      2        1",
        "all            6      3      2        1",
        "",
        "Bars: # right at the first try, = right",
        "in the end, . answer shown.",
        "",
        "By topic",
        "  sharing equally among groups of many",
        "  people",
        "  ############====.... 8 of 10",
        "  b",
        "  == 1 of 1",
        "",
        "By week",
        "  week of 2 March 2026",
        "  ###########=====.... 9 of 11",
    ]
    blocks = list(report.lines(topics, weeks, width=40, blocks=True))
    assert "  ████████████▒▒▒▒░░░░ 8 of 10" in blocks
    assert max(map(len, blocks)) <= 40
    nothing = ["Nothing yet: type lorid tutor and solve your first problem."]
    assert list(report.lines([], [], width=40, blocks=True)) == nothing
