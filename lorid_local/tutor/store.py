"""The pupil's progress in SQLite: results, what comes back when, and sessions to go on with.

Keeps families, seeds, counts and the wrong numbers tried on the problem at hand; no word that the
pupil typed. Write-ahead logging lets two sessions run at once, and a killed one loses nothing that
was recorded.
"""

import os
import sqlite3
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from lorid_local.errors import LoridError
from lorid_local.tutor.state import Result
from lorid_local.user_folders import user_folder

FILE = "tutor.sqlite3"
PATIENCE = 5.0  # seconds to wait for another session's write
SLOTS = 32  # sessions at once
FORGET = "lorid tutor --forget"

# each entry brings a file from the version before to its own; never change one that was released
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        "CREATE TABLE result (id INTEGER PRIMARY KEY, at TEXT NOT NULL, family TEXT NOT NULL,"
        " seed INTEGER NOT NULL, topic TEXT NOT NULL, grade INTEGER NOT NULL,"
        " result TEXT NOT NULL, tries INTEGER NOT NULL, hints INTEGER NOT NULL)",
        "CREATE TABLE card (family TEXT PRIMARY KEY, card TEXT NOT NULL, due TEXT NOT NULL)",
    ),
    ("CREATE TABLE session (slot INTEGER PRIMARY KEY, at TEXT NOT NULL, state TEXT NOT NULL)",),
)


class ProgressError(LoridError):
    """The pupil's progress cannot be read or kept."""


@dataclass(frozen=True)
class Done:
    """A practice problem that ended."""

    family: str
    seed: int
    topic: str
    grade: int
    result: Result
    tries: int
    hints: int


@dataclass(frozen=True)
class Tally:
    """How many problems ended in which way, of a topic or of the week from a Monday."""

    name: str
    first: int
    right: int
    shown: int
    skipped: int

    @property
    def solved(self) -> int:
        """Those that the pupil solved."""
        return self.first + self.right

    @property
    def done(self) -> int:
        """Those that count: all but the skipped."""
        return self.solved + self.shown


Review = Callable[[str | None, Result, datetime], tuple[str, datetime] | None]


def folder(environ: Mapping[str, str] = os.environ, platform: str = sys.platform) -> Path:
    """Return the folder of the tutor's data; raises ProgressError if no home folder is known.

    By XDG_DATA_HOME, where it is an absolute path.
    """
    inside = "Library/Application Support" if platform == "darwin" else ".local/share"
    found = user_folder("XDG_DATA_HOME", inside, environ=environ, platform=platform)
    if found is None:
        raise ProgressError(
            "no home folder is known, so progress cannot be kept",
            hint="set XDG_DATA_HOME to a folder",
        )
    return found


class Store:
    """An open file of progress; `open` makes one. Not to be used from two threads."""

    def __init__(self, database: sqlite3.Connection, place: Path | None) -> None:
        self._database = database
        self._place = place
        self._slot: int | None = None
        self._lock: sqlite3.Connection | None = None

    @classmethod
    def open(cls, place: Path | None) -> "Store":
        """Open or make the file in the folder `place`, None for one that is kept nowhere.

        Raises ProgressError for a file that is damaged, newer than this lorid or not to be written.
        """
        try:
            if place:
                place.mkdir(mode=0o700, parents=True, exist_ok=True)
            name = place / FILE if place else ":memory:"
            database = sqlite3.connect(name, timeout=PATIENCE, isolation_level=None)
            with _closed_on_failure(database):
                database.execute("PRAGMA journal_mode = WAL")
                _migrate(database, name)
        except (sqlite3.Error, OSError) as error:
            raise _fault(place, error) from None
        return cls(database, place)

    def close(self) -> None:
        """Close the file and free the slot."""
        self._database.close()
        if self._lock:
            self._lock.close()

    def record(self, done: Done, review: Review, now: datetime | None = None) -> None:
        """Keep a result and when its kind comes back, in one transaction."""
        now = now or datetime.now(UTC)
        values = (_text(now), done.family, done.seed, done.topic, done.grade, done.result,
                  done.tries, done.hints)  # fmt: skip
        with self._writing() as write:
            write(
                "INSERT INTO result (at, family, seed, topic, grade, result, tries, hints)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                values,
            )
            row = write("SELECT card FROM card WHERE family = ?", (done.family,)).fetchone()
            if scheduled := review(row[0] if row else None, done.result, now):
                card, due = scheduled
                write("REPLACE INTO card VALUES (?, ?, ?)", (done.family, card, _text(due)))

    def due(self, now: datetime | None = None) -> list[str]:
        """Return the kinds that are due, those due longest first."""
        rows = self._database.execute(
            "SELECT family FROM card WHERE due <= ? ORDER BY due, family",
            (_text(now or datetime.now(UTC)),),
        )
        return [family for (family,) in rows]

    def last_seed(self, family: str) -> int | None:
        """Return the seed of the newest problem of a kind."""
        row = self._database.execute(
            "SELECT seed FROM result WHERE family = ? ORDER BY id DESC LIMIT 1", (family,)
        ).fetchone()
        return row[0] if row else None

    # --- sessions ---

    def take_slot(self) -> str | None:
        """Take a slot that no running session holds; return the state it was left in.

        A slot whose session was cut off comes first. The lock is a transaction on a file of its
        own, which the system ends with the process, however that dies.
        """
        rows = self._database.execute("SELECT slot, state FROM session ORDER BY at DESC")
        left = dict(rows.fetchall())
        for slot in (*left, *(n for n in range(SLOTS) if n not in left)):
            if self._place is None or (lock := self._locked(slot)):
                self._slot, self._lock = slot, None if self._place is None else lock
                return left.get(slot)
        return None

    def newest(self) -> str | None:
        """Return the state that was saved last, of whatever session."""
        row = self._database.execute("SELECT state FROM session ORDER BY at DESC, slot").fetchone()
        return row[0] if row else None

    def alone(self) -> bool:
        """True if no session holds a slot, this one included."""
        for slot in range(SLOTS):
            if not (lock := self._locked(slot)):
                return False
            lock.close()
        return True

    def save(self, state: str) -> None:
        """Keep the session's state in its slot, for the next session."""
        if self._slot is not None:
            with self._writing() as write:
                values = (self._slot, _text(datetime.now(UTC)), state)
                write("REPLACE INTO session VALUES (?, ?, ?)", values)

    def _locked(self, slot: int) -> sqlite3.Connection | None:
        assert self._place is not None
        lock = sqlite3.connect(
            self._place / f"session-{slot}.lock", timeout=0, isolation_level=None
        )
        try:
            lock.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError:
            lock.close()
            return None
        return lock

    # --- progress ---

    def by_topic(self) -> list[Tally]:
        """Return a tally a topic, those with the most problems first."""
        tallies = self._tallies("topic")
        return sorted(tallies, key=lambda tally: (-tally.done, tally.name))

    def by_week(self) -> list[Tally]:
        """Return a tally a week, named by its Monday ('2026-11-23'), oldest first."""
        return self._tallies("date(at, 'localtime', 'weekday 0', '-6 days')")

    def _tallies(self, name: str) -> list[Tally]:
        counts = ", ".join(
            f"sum(result = '{result}')" for result in ("first", "right", "shown", "skipped")
        )
        rows = self._database.execute(f"SELECT {name}, {counts} FROM result GROUP BY 1 ORDER BY 1")
        return [Tally(*row) for row in rows]

    def forget(self) -> None:
        """Erase every row, and its traces in the file."""
        with self._writing() as write:
            for table in ("result", "card", "session"):
                write(f"DELETE FROM {table}", ())
        self._database.execute("VACUUM")  # deleted rows stay in the file's free pages else
        self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    @contextmanager
    def _writing(self) -> Iterator[Callable[[str, tuple[object, ...]], sqlite3.Cursor]]:
        """A transaction; raises ProgressError where it cannot be written."""
        try:
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield self._database.execute
                self._database.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    self._database.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise _fault(self._place, error) from None


def erase(place: Path) -> bool:
    """Erase all progress in the folder `place`; False if there was none.

    A damaged file is removed as it is. Raises ProgressError for one that cannot be written.
    """
    file = place / FILE
    if not file.exists():
        return False
    try:
        store = Store.open(place)
    except ProgressError:
        _remove(place)
        return True
    try:
        store.forget()
        alone = store.alone()
    finally:
        store.close()
    if alone:
        _remove(place)
    return True


@contextmanager
def _closed_on_failure(database: sqlite3.Connection) -> Iterator[None]:
    """Close `database` if what is done with it fails."""
    try:
        yield
    except BaseException:
        database.close()
        raise


def _remove(place: Path) -> None:
    try:
        for path in (*place.glob(f"{FILE}*"), *place.glob("session-*.lock*")):
            path.unlink(missing_ok=True)
    except OSError as error:
        raise ProgressError(
            f"{place}: the progress cannot be erased ({error.strerror})", hint=f"rm -r {place}"
        ) from None


def _migrate(database: sqlite3.Connection, name: Path | str) -> None:
    database.execute("BEGIN IMMEDIATE")  # two first sessions must not both make the tables
    (version,) = database.execute("PRAGMA user_version").fetchone()
    if version > len(MIGRATIONS):
        raise ProgressError(
            f"{name}: made by a newer lorid (version {version}, this one knows {len(MIGRATIONS)})",
            hint="pip install --upgrade lorid-local",
        )
    for statements in MIGRATIONS[version:]:
        for statement in statements:
            database.execute(statement)
    database.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
    database.execute("COMMIT")


def _fault(place: Path | None, error: Exception) -> ProgressError:
    reason = error.strerror if isinstance(error, OSError) else str(error)
    damaged = getattr(error, "sqlite_errorcode", 0) & 0xFF in (
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_NOTADB,
    )
    return ProgressError(
        f"{place}: the progress cannot be kept ({reason})",
        hint=f"start anew: {FORGET}"
        if damaged
        else "set XDG_DATA_HOME to a folder that you may write to",
    )


def _text(moment: datetime) -> str:
    """UTC, to the second: '2026-11-24 13:43:32', as SQLite's date functions read it."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
