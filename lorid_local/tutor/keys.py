"""Keys that are pressed while nothing is asked."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

try:
    import termios
except ImportError:  # Windows
    termios = None  # type: ignore[assignment]


@contextmanager
def unseen(terminal: int) -> Iterator[None]:
    """Keep what is typed meanwhile off the screen of `terminal`, a file descriptor.

    It is not lost: the next line that is read begins with it. Ctrl-C still interrupts. Does nothing
    to what is no terminal.
    """
    if termios is None or not os.isatty(terminal):
        yield
        return
    before = termios.tcgetattr(terminal)
    without_echo = [*before]
    without_echo[3] &= ~termios.ECHO
    termios.tcsetattr(terminal, termios.TCSANOW, without_echo)
    try:
        yield
    finally:
        termios.tcsetattr(terminal, termios.TCSANOW, before)
