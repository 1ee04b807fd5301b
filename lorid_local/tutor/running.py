"""`lorid tutor` from flags to exit code: joins the session with screen, store, bank and thinker."""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from random import SystemRandom
from typing import TYPE_CHECKING

from lorid_local.errors import EXIT_INTERRUPTED, InputError
from lorid_local.practice import families as practice
from lorid_local.practice.bank import SEEDS
from lorid_local.practice.families import Families
from lorid_local.prompts import tidy
from lorid_local.tutor import report, saved, store, wording
from lorid_local.tutor.choosing import Chooser
from lorid_local.tutor.screen import Plain, screen
from lorid_local.tutor.session import Session
from lorid_local.tutor.state import (
    Asked,
    Effect,
    End,
    Event,
    Given,
    Impatient,
    Line,
    Next,
    Record,
    Say,
    ShowProgress,
    Thought,
    Wait,
)
from lorid_local.tutor.store import Done, ProgressError, Store

if TYPE_CHECKING:
    from lorid_local.tutor.thinking import Thinker


@dataclass(frozen=True)
class Flags:
    """The command line."""

    problem: str | None = None
    level: int | None = None
    topic: str | None = None
    seed: int | None = None
    plain: bool = False
    bundle: str | None = None
    threads: int | None = None
    progress: bool = False
    forget: bool = False


def run(flags: Flags) -> int:
    """Do what the flags ask for; return the exit code. Raises LoridError."""
    _check(flags)
    if flags.forget:
        return _forget()
    if flags.progress:
        kept = Store.open(store.folder())
        try:
            _show_progress(kept, screen(plain=flags.plain))
        finally:
            kept.close()
        return 0
    running = _Running(flags)
    try:
        return running.run()
    finally:
        running.close()


def _check(flags: Flags) -> None:
    """Raise InputError for flags that contradict each other."""
    given = {"--forget": flags.forget, "--progress": flags.progress,
             "a problem": flags.problem is not None}  # fmt: skip
    alone, *others = [name for name, there in given.items() if there] or [""]
    if others:
        raise InputError(f"{alone} was given with {others[-1]}", hint=f"lorid tutor {alone}")


def _forget() -> int:
    place = store.folder()
    if sys.stdin.isatty():
        sure = input(f"Erase all progress in {place}? [y/N] ").strip().lower()
        if sure not in ("y", "yes"):
            print("Nothing was erased.")
            return 0
    print("All progress is erased." if store.erase(place) else "There was no progress to erase.")
    return 0


def _show_progress(kept: Store, seen: Plain) -> None:
    lines = report.lines(kept.by_topic(), kept.by_week(), width=seen.width, blocks=seen.blocks)
    seen.lines(lines)


class _Running:
    """A session under way: its state, and what it is joined with."""

    def __init__(self, flags: Flags) -> None:
        families = practice.load()
        self._session = Session(families)
        self._state = self._session.start(flags.level, flags.topic)
        self._thinker = _thinker(flags)
        self._screen = screen(plain=flags.plain)
        self._store = self._open_store()
        seed = SystemRandom().randrange(SEEDS) if flags.seed is None else flags.seed
        self._chooser = Chooser(families, self._store, seed)
        self._saved = ""
        self._ended = False
        self._go_on(flags, families)

    def run(self) -> int:
        """Talk until the pupil ends; return the exit code."""
        if self._thinker:
            self._feed(Asked(self._thinker.question))
        elif self._state.task:
            self._feed(Given(self._state.task, resumed=True))
        else:
            self._do(Say("about", wording.WELCOME))
            self._do(Next())
        pressed = False  # Ctrl-C, at the last prompt
        while not self._ended:
            try:
                line = self._screen.ask()
            except EOFError:
                self._do(Say("about", f"\n{wording.BYE}"))
                return 0
            except KeyboardInterrupt:
                self._do(Say("about", f"\n{wording.BYE if pressed else wording.INTERRUPTED}"))
                if pressed:
                    return EXIT_INTERRUPTED
                pressed = True
                continue
            pressed = False
            self._feed(Line(line))
        return 0

    def close(self) -> None:
        """End the thread and close the store."""
        if self._thinker:
            self._thinker.stop()
        self._store.close()

    def _feed(self, event: Event) -> None:
        """Let an event happen, with what follows from it, and keep where the session stands."""
        own = self._state.own
        if self._thinker and own and own.status == "thinking" and not isinstance(event, Thought):
            self._feed(self._thinker.news())
        self._state, effects = self._session.step(self._state, event)
        for effect in effects:
            self._do(effect)
        self._save()

    def _do(self, effect: Effect) -> None:
        match effect:
            case Say():
                self._screen.say(effect)
            case Next():
                grade = self._session.grade(self._state.topic, self._state.level)
                self._feed(self._chooser.next(self._state.topic, grade))
            case Record():
                self._record(effect)
            case Wait():
                self._feed(self._waited(effect))
            case ShowProgress():
                _show_progress(self._store, self._screen)
            case End():
                self._ended = True

    def _waited(self, wait: Wait) -> Event:
        """Wait for the thinker; return the line to try again, or that the pupil will not wait."""
        assert self._thinker is not None
        try:
            with self._screen.waiting():
                self._thinker.wait(wait.rules)
        except KeyboardInterrupt:
            return Impatient()
        return wait.line

    def _record(self, ended: Record) -> None:
        from lorid_local.tutor import schedule  # fsrs is not needed to show the first problem

        source = ended.task.source
        assert source is not None
        done = Done(source.family, source.seed, source.topic, source.grade, ended.result,
                    ended.tries, ended.hints)  # fmt: skip
        self._keeping(lambda kept: kept.record(done, schedule.reviewed))

    def _save(self) -> None:
        text = saved.to_json(self._state)
        if text != self._saved and self._state.own is None:
            self._saved = text
            self._keeping(lambda kept: kept.save(text))

    def _keeping(self, keep: Callable[[Store], None]) -> None:
        """Do what writes; where that fails the session goes on, and says so once."""
        try:
            keep(self._store)
        except ProgressError as error:
            self._store.close()
            self._store = self._chooser.store = Store.open(None)
            self._screen.say(Say("about", wording.not_kept(error.message, error.hint)))

    def _open_store(self) -> Store:
        try:
            return Store.open(store.folder())
        except ProgressError as error:
            self._screen.say(Say("about", wording.not_kept(error.message, error.hint)))
            return Store.open(None)

    def _go_on(self, flags: Flags, families: Families) -> None:
        """Take up what the last session left; flags count more."""
        mine = self._store.take_slot()
        text = mine or self._store.newest()
        if text is None or (flags.level is not None and flags.topic is not None):
            return
        before = saved.from_json(text, self._state, families)
        if flags.level is not None or flags.topic is not None or self._thinker:
            level = before.level if flags.level is None else self._state.level
            self._state = replace(self._state, level=level)
        elif mine:
            self._state = before
        else:  # of a session that still runs: its problem is its own
            self._state = replace(self._state, level=before.level, topic=before.topic)


def _thinker(flags: Flags) -> "Thinker | None":
    if flags.problem is None:
        return None
    from lorid_local import problems, solving  # not needed to practise
    from lorid_local.tutor import thinking

    question = tidy(problems.checked(os.fsencode(flags.problem), "the problem"))
    if not question:
        raise InputError("no problem text was given", hint=f"lorid tutor {problems.EXAMPLE[12:]}")
    asked = solving.Flags(bundle=flags.bundle, threads=flags.threads, seed=flags.seed or 0)
    solving.check(asked)
    return thinking.Thinker(question, thinking.with_bundle(asked))
