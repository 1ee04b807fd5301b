"""What a person sees of a solve: a growing view on a terminal, plain lines elsewhere.

Only the answer goes to standard output. Model text is shown without control characters.
"""

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from lorid_local.calibration import Sureness
from lorid_local.engine import Role
from lorid_local.loop import Drawn, Event, Judged
from lorid_local.prompts import printable
from lorid_local.trace import Round, Trace

TITLES = {
    Role.KG: "What one must know",
    Role.IR: "System 1, at once",
    Role.DR: "System 2, by the rules",
}
GUESS = "Best guess, not settled:"
_STEP_LINE = re.compile(r"<<([^<>]*)>>")
_OPEN_STEP = re.compile(r"(?:<<(?P<step>[^<>\n]*)>?|<)\Z")  # where a text still grows
_MARKER = re.compile(r"^#### *", re.M)


class Screen(Protocol):
    """Where a solve is shown."""

    def on_text(self, role: Role, number: int, text: str) -> None: ...
    def on_event(self, event: Event) -> None: ...
    def report(self, trace: Trace, sure: Sureness | None, *, quiet: bool) -> None: ...


@contextmanager
def screen(*, silent: bool) -> Iterator[Screen]:
    """Yield the screen that suits standard error: growing, plain or silent."""
    if silent:
        yield Silent()
    elif sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb":
        with Growing() as view:
            yield view
    else:
        yield Plain()


def readable(text: str, role: Role) -> str:
    """Return a chain as a person reads it: `<<48/2=24>>` is 48/2=24, or only the mark of 24."""
    text = printable(text)
    if role is Role.IR:
        text = _STEP_LINE.sub(lambda m: m[1].replace("=", " = "), text)
        text = _OPEN_STEP.sub(lambda m: (m["step"] or "").replace("=", " = "), text)
    else:
        text = _OPEN_STEP.sub("", _STEP_LINE.sub("", text))
    return _MARKER.sub("Answer: ", text).strip()


def outcome(trace: Trace) -> str:
    """Return in words what became of the rounds."""
    rounds = len(trace.rounds)
    if trace.status == "agreed":
        return f"Both systems agree in round {trace.agreed_round}."
    if trace.status == "no-agreement":
        return f"No agreement in {rounds} round{'s' * (rounds != 1)}."
    why = "Time is up" if trace.status == "timeout" else "Interrupted"
    return f"{why} in round {max(1, rounds)}, before the systems agreed."


class Silent:
    """Shows nothing but the answer."""

    def on_text(self, role: Role, number: int, text: str) -> None:
        pass

    def on_event(self, event: Event) -> None:
        pass

    def report(self, trace: Trace, sure: Sureness | None, *, quiet: bool) -> None:
        if not quiet:
            for line in self.lines(trace, sure):
                self.say(line)
        elif trace.answer and trace.status != "agreed":
            self.say(GUESS)
        if trace.answer:
            print(trace.answer.shown)
        elif quiet:
            self.say("No answer: " + outcome(trace))

    def say(self, line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    def lines(self, trace: Trace, sure: Sureness | None) -> Iterator[str]:
        """Yield the whole report but for the answer itself."""
        if trace.shown_round:
            yield from sections(trace.shown_round)
        yield outcome(trace)
        if trace.answer:
            said = f"{sure.sentence()}." if sure else "not measured for this case."
            yield f"How sure: {said}"
        if sure and sure.probability is not None:
            yield f"Such cases: {sure.case}."
        if trace.status == "agreed":
            yield "Answer:"
        else:
            yield GUESS if trace.answer else "No answer."


def sections(shown: Round) -> Iterator[str]:
    """Yield a round's rules and chains as lines of plain text."""
    if shown.rules:
        yield TITLES[Role.KG]
        yield from (f"  - {rule}" for rule in shown.rules)
        yield ""
    for sample in (shown.ir, shown.dr):
        if sample and (text := readable(sample.text, sample.role)):  # cut short: nothing yet
            yield TITLES[sample.role]
            yield from ("  " + line for line in text.splitlines())
            yield ""


class Plain(Silent):
    """Lines for a pipe, a log or a screen reader: one a round, then the report."""

    def on_event(self, event: Event) -> None:
        if isinstance(event, Judged) and not event.round.agreed:
            self.say(f"Round {event.round.number}: {event.round.why}")


class Growing(Plain):
    """A view on a terminal in which rules and chains grow; the report takes its place."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live

        # no highlighting and no markup: model text is shown as it is
        self.console = Console(stderr=True, highlight=False, markup=False, emoji=False)
        self.live = Live(console=self.console, transient=True, refresh_per_second=12)
        self.texts: dict[tuple[int, Role], str] = {}
        self.number = 1  # the round that is judged next; later ones may grow beside it
        self.shown: set[tuple[int, Role]] = set()

    def __enter__(self) -> "Growing":
        self.live.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self.live.stop()

    def on_text(self, role: Role, number: int, text: str) -> None:
        self.texts[number, role] = self.texts.get((number, role), "") + text
        self._draw()

    def on_event(self, event: Event) -> None:
        if isinstance(event, Drawn):
            self.texts[event.sample.round, event.sample.role] = event.sample.text
            self._draw()
        else:
            self.number = event.round.number + 1
        super().on_event(event)

    def say(self, line: str) -> None:
        style = "bold" if line in TITLES.values() else None
        self.console.print(line, style=style, soft_wrap=False)

    def _draw(self) -> None:
        from rich.text import Text

        last = max((number for number, _ in self.texts), default=self.number)
        several = f" (rounds {self.number}-{last} at once)" if last > self.number else ""
        body = Text(f"Round {self.number}{several}\n", style="dim")
        known = len(self.shown)
        for role, title in TITLES.items():
            if told := readable(self.texts.get((self.number, role), ""), role):
                body.append(f"{title}\n", style="bold")
                body.append(f"{told}\n\n", style="not dim")
                self.shown.add((self.number, role))
        # the first words at once; what follows them 12 times a second
        self.live.update(body, refresh=len(self.shown) > known)
