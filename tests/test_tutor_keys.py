"""What a pupil types while the tutor thinks."""

import os
import pty
import subprocess
import sys
import time
from pathlib import Path

PATIENCE = 60.0  # seconds; the machine may be busy
WAITING = """
import sys, time
from pathlib import Path
from lorid_local.tutor.screen import screen
shown = screen(plain=False)
with shown.waiting():
    print("ready", flush=True)
    while not Path(sys.argv[1]).exists():
        time.sleep(0.05)
print("got", input("> "))
"""


def read_until(terminal: int, wanted: bytes) -> bytes:
    shown, end = b"", time.monotonic() + PATIENCE
    while wanted not in shown and time.monotonic() < end:
        shown += os.read(terminal, 4096)
    assert wanted in shown, shown
    return shown


def test_keys_pressed_while_the_tutor_thinks_are_not_shown_and_not_lost(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", WAITING, str(tmp_path / "over")]
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, env=environment)
    try:
        read_until(ours, b"ready")
        os.write(ours, b"forty")
        time.sleep(0.5)  # time for an echo
        (tmp_path / "over").touch()
        shown = read_until(ours, b"> ")
        assert b"forty" not in shown.partition(b"> ")[0]
        os.write(ours, b"-two\n")
        assert b"got forty-two" in read_until(ours, b"got forty-two")
        assert process.wait(PATIENCE) == 0
    finally:
        process.kill()
        process.wait()
    os.close(ours)
    os.close(theirs)
