"""Where a session is seen: lines for everybody, colours and a footer that goes away on a terminal.

Plain: nothing is redrawn and every line says in words what it is, for screen readers, dumb
terminals and pipes. Colours only repeat what the words say.
"""

import os
import shutil
import sys
import textwrap
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress

from lorid_local.prompts import printable
from lorid_local.tutor import wording
from lorid_local.tutor.keys import unseen
from lorid_local.tutor.state import Say, Tone

WIDTH = 78  # columns of text at most
PROMPT = "> "
TITLES: dict[Tone, str] = {"hint": "Hint: "}
STYLES: dict[Tone, str] = {
    "heading": "bold", "problem": "", "about": "dim", "good": "bold green", "retry": "yellow",
    "hint": "cyan", "answer": "bold", "plain": "",
}  # fmt: skip


def screen(*, plain: bool) -> "Plain":
    """Return the screen that suits the terminal, or the plain one where that is asked for."""
    terminal = sys.stdin.isatty() and sys.stdout.isatty()
    if plain or not terminal or os.environ.get("TERM", "dumb") == "dumb":
        return Plain()
    return Coloured()


class Plain:
    """Lines, one after the other; into a pipe a text stays on one line."""

    def __init__(self) -> None:
        self._footer_shown = False

    @property
    def width(self) -> int:
        """Columns of text; so wide that nothing wraps where there is no terminal."""
        if not sys.stdout.isatty():
            return 10**6
        return max(20, min(shutil.get_terminal_size().columns - 1, WIDTH))

    @property
    def blocks(self) -> bool:
        """True if the terminal can show block characters, and no screen reader has to."""
        return False

    def say(self, said: Say) -> None:
        """Show a text."""
        if said.tone in ("heading", "problem"):
            print()
        for line in self._wrapped(said):
            self._line(line, said.tone)

    def lines(self, lines: Iterator[str]) -> None:
        """Show lines as they are."""
        for line in lines:
            print(line)

    def ask(self) -> str:
        """Return the next line; raises EOFError and KeyboardInterrupt."""
        if not self._footer_shown:  # once: a screen reader would read it out each time
            self._footer_shown = True
            self.lines(iter(self._footer()))
        return input(PROMPT if sys.stdin.isatty() else "")

    def waiting(self) -> AbstractContextManager[None]:
        """Return a context in which it can be seen that something goes on."""
        print("One moment. Ctrl-C: do not wait.", flush=True)
        return nullcontext()

    def _line(self, line: str, tone: Tone) -> None:
        print(line)

    def _wrapped(self, said: Say) -> list[str]:
        text = printable(TITLES.get(said.tone, "") + said.text)
        return [
            line
            for paragraph in text.split("\n")
            for line in textwrap.wrap(
                paragraph,
                self.width,
                break_long_words=False,
                subsequent_indent="  " if paragraph.startswith(("- ", "/")) else "",
            )
            or [""]
        ]

    def _footer(self) -> list[str]:
        return textwrap.wrap(wording.FOOTER, self.width, break_on_hyphens=False)


class Coloured(Plain):
    """For a terminal: colours, the signs of school, and the commands below all that was said.

    The footer is cleared when a line was typed, so that the talk stays readable.
    """

    def __init__(self) -> None:
        from rich.console import Console

        super().__init__()
        # no highlighting and no markup: a text is shown as it is
        self._console = Console(highlight=False, markup=False, emoji=False)
        with suppress(ImportError):  # where Python was built without it, input() does without
            import readline  # noqa: F401 - input() then edits lines and keeps a history

    @property
    def blocks(self) -> bool:
        return _encodes("█▒░")

    def ask(self) -> str:
        footer = self._footer()
        print()
        for line in footer:
            self._console.print(line, style="dim", soft_wrap=True)
        typed = input(PROMPT)
        self._clear(len(footer) + 1, typed)
        return typed

    @contextmanager
    def waiting(self) -> Iterator[None]:
        with (
            unseen(sys.stdin.fileno()),
            self._console.status("One moment ... (Ctrl-C: do not wait)"),
        ):
            yield

    def _clear(self, footer: int, typed: str) -> None:
        """Take the footer back and put what was typed in its place."""
        from rich.cells import cell_len

        columns = max(1, shutil.get_terminal_size().columns)
        up = footer + cell_len(PROMPT + typed) // columns + 1
        sys.stdout.write(f"\x1b[{up}A\x1b[J")
        self._console.print(f"\n{PROMPT}{printable(typed)}", style="bold", soft_wrap=True)

    def _line(self, line: str, tone: Tone) -> None:
        self._console.print(line, style=STYLES[tone] or None, soft_wrap=True)

    def _wrapped(self, said: Say) -> list[str]:
        text = said.text
        if _encodes("×÷"):
            text = text.replace(" * ", " × ").replace(" / ", " ÷ ")
        return super()._wrapped(Say(said.tone, text))


def _encodes(text: str) -> bool:
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True
