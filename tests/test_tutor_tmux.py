"""The tutor in a real terminal, driven by tmux: 80 and 40 columns, Ctrl-C, Ctrl-D, kill, plain."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lorid_local.tutor import running
from tests.test_tutor_cli import FOOTER

TMUX = shutil.which("tmux")
pytestmark = pytest.mark.skipif(
    TMUX is None, reason="tmux is not installed (Debian: apt install tmux)"
)
PATIENCE = 60.0  # seconds; the machine may be busy
LORID = "from lorid_local.cli import main; main()"


class Terminal:
    """A tmux server of its own with one window; the shell tells how a command ended."""

    def __init__(self, folder: Path, columns: int) -> None:
        self.socket, self.folder = str(folder / "tmux"), folder
        environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "TERM": "screen-256color",
                       "PYTHONPATH": str(Path(running.__file__).parents[2]),
                       "LANG": "C.UTF-8", "PS1": "$ "}  # fmt: skip
        self.tmux("-f", "/dev/null", "new-session", "-d", "-x", str(columns), "-y", "48",
                  "env", "-i", *(f"{k}={v}" for k, v in environment.items()), "sh")  # fmt: skip

    def tmux(self, *arguments: str) -> str:
        command = [str(TMUX), "-S", self.socket, *arguments]
        return subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=60
        ).stdout

    def start(self, arguments: str, tail: str = "; echo ended=$?") -> None:
        self.type(f"clear; {shlex.quote(sys.executable)} -c '{LORID}' tutor {arguments}{tail}")

    def type(self, text: str) -> None:
        self.tmux("send-keys", "-l", text)
        self.tmux("send-keys", "Enter")

    def press(self, key: str) -> None:
        self.tmux("send-keys", key)

    def screen(self, *more: str) -> str:
        return self.tmux("capture-pane", "-p", *more)

    def wait(self, pattern: str) -> str:
        """Return the screen as soon as it shows `pattern`."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            if re.search(pattern, shown := self.screen()):
                return shown
            time.sleep(0.1)
        raise AssertionError(f"{pattern!r} was not shown:\n{self.screen()}")

    def close(self) -> None:
        self.tmux("kill-server")


@pytest.fixture
def wide(tmp_path: Path) -> Iterator[Terminal]:
    terminal = Terminal(tmp_path, 80)
    yield terminal
    terminal.close()


@pytest.fixture
def narrow(tmp_path: Path) -> Iterator[Terminal]:
    terminal = Terminal(tmp_path, 40)
    yield terminal
    terminal.close()


def test_a_session_in_80_columns(wide: Terminal) -> None:
    wide.start("--seed 1 --topic pizza")
    assert FOOTER in wide.wait(r"/quit\n>")
    wide.type("/hint")
    wide.wait(r"Hint: [^>]*/quit\n>")  # what is typed before the prompt the terminal echoes itself
    wide.type("cheese")
    shown = wide.wait(r"for a small\s+step[^>]*/quit\n>")
    assert shown.count(FOOTER) == 1  # taken back when a line was typed
    assert "\n> /hint\nHint: " in shown and "\n> cheese\nI understand numbers" in shown
    assert "\x1b[36m" in wide.screen("-e")  # the hint is coloured
    wide.type("/answer")
    wide.type("/answer")
    wide.wait(r"The answer is \d")
    wide.type("/progress")
    assert "░░░ 0 of 1" in wide.wait("By week")
    wide.press("C-d")
    assert "Bye!" in wide.wait("ended=0")


def test_a_session_in_40_columns(narrow: Terminal) -> None:
    narrow.start("--seed 1 --topic pizza")
    shown = narrow.wait(r"/quit\n>")
    assert (
        "/hint /check /steps /answer /read /skip\n/topic /level /progress /help /quit\n>" in shown
    )
    narrow.type("i think it is one thousand two hundred")  # typed over two lines
    shown = narrow.wait(r"Not yet[^>]*/quit\n>")
    assert shown.count("/quit") == 1
    assert "> i think it is one thousand two hundred" in shown.replace("\n", "").replace("  ", " ")
    narrow.type("/help")
    shown = narrow.wait(r"/quit: stop[^>]*>")
    assert "/hint: one hint; ask again for the next\n  one\n" in shown  # words are kept whole
    narrow.type("/quit")
    narrow.wait("ended=0")


def test_ctrl_c_twice_ends(wide: Terminal) -> None:
    wide.start("--seed 1")
    wide.wait(r"/quit\n>")
    wide.press("C-c")
    wide.wait(r"Press Ctrl-C again to stop, or just go on\.")
    wide.type("")  # going on
    wide.wait(r"What do you think[^>]*> *\n(.|\n)*What do you think")
    wide.press("C-c")
    time.sleep(0.5)
    wide.press("C-c")
    shown = wide.wait("ended=130")
    assert "Traceback" not in shown


def test_a_killed_session_goes_on_and_two_run_side_by_side(wide: Terminal) -> None:
    wide.start("--seed 1 --topic pizza")
    wide.wait(r"/quit\n>")
    wide.type("/hint")
    shown = wide.wait("Hint: ")
    question = shown.split("\n\n")[2].strip().splitlines()[0]
    pane = int(wide.tmux("display-message", "-p", "#{pane_pid}"))
    children = Path(f"/proc/{pane}/task/{pane}/children")
    if not children.exists():
        pytest.skip("needs /proc to find the tutor's process")
    os.kill(int(children.read_text().split()[0]), signal.SIGKILL)
    wide.wait("ended=137")
    wide.tmux("send-keys", "-l", "stty sane")  # what readline set; bash does this by itself
    wide.press("C-j")
    wide.start("")
    assert question in wide.wait(r"Welcome back!(.|\n)*/quit\n>")
    (wide.folder / "other").mkdir()
    other = Terminal(wide.folder / "other", 60)
    try:
        other.type(f"export HOME={wide.folder}")
        other.start("--seed 3")
        assert "Hello!" in other.wait(r"/quit\n>")  # not the first one's problem
    finally:
        other.close()


def test_plain_mode_redraws_nothing(wide: Terminal) -> None:
    wide.start("--seed 1 --plain")
    wide.wait(r"/quit\n>")
    wide.type("/hint")
    wide.wait("Hint: ")
    wide.type("77777")
    shown = wide.wait(r"> 77777\n\w")
    assert shown.count(FOOTER) == 1  # read out once
    assert "\x1b[" not in wide.screen("-e").split("clear;")[-1].replace("\x1b[0m", "")


def test_a_dumb_terminal_gets_plain_lines_and_no_color_is_honoured(wide: Terminal) -> None:
    wide.type("export TERM=dumb")
    wide.start("--seed 1", tail=" | cat -v")
    wide.wait("What do you think")
    wide.type("/quit")
    assert "^[" not in wide.wait("Bye!")
    wide.type("export TERM=screen-256color NO_COLOR=1")
    wide.start("--seed 1")
    wide.type("/hint")
    wide.wait("Hint: ")
    assert not re.search(r"\x1b\[[\d;]*3[0-7]m", wide.screen("-e"))
