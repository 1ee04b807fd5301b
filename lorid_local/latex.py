"""Are two LaTeX expressions the same? Asked of math-verify in a process of its own.

math-verify (sympy behind it) may take forever on an odd expression, and its own time limit is a
signal that only a main thread can have. A process can be ended: what is not decided in time counts
as not the same, because a doubt must not become an agreement.
"""

import atexit
import importlib.util
import json
import queue
import subprocess
import sys
import threading
from functools import lru_cache
from typing import Any

from lorid_local.errors import MissingExtra

SECONDS = 5.0  # for one comparison
START_SECONDS = 60.0  # sympy takes seconds to import, on a busy machine many


class Comparer:
    """Compares in a process that is started at the first question, and again after it was ended."""

    def __init__(self, seconds: float = SECONDS) -> None:
        self.seconds = seconds
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._said: queue.SimpleQueue[str] = queue.SimpleQueue()

    def same(self, a: str, b: str) -> bool | None:
        """Return whether they are the same; None if that was not decided in time."""
        with self._lock:
            process = self._process or self._start()
            try:
                print(json.dumps([a, b]), file=process.stdin, flush=True)
                said = json.loads(self._said.get(timeout=self.seconds))
                return said if isinstance(said, bool) else None
            except (queue.Empty, OSError, ValueError):
                self.close()
                return None

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process:
            process.kill()
            process.communicate()

    def _start(self) -> "subprocess.Popen[str]":
        if importlib.util.find_spec("math_verify") is None:
            raise MissingExtra(
                "LaTeX answers need the package math-verify",
                hint="pip install 'lorid-local[math]'",
            )
        process = subprocess.Popen(
            [sys.executable, "-m", "lorid_local.latex_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._process, self._said = process, queue.SimpleQueue()
        threading.Thread(target=_pass_on, args=(process, self._said), daemon=True).start()
        self._said.get(timeout=START_SECONDS)
        return process


def _pass_on(process: "subprocess.Popen[str]", said: Any) -> None:
    for line in process.stdout or ():
        said.put(line)
    said.put("null")  # it ended


_COMPARER = Comparer()
atexit.register(_COMPARER.close)


@lru_cache(maxsize=4096)
def same(a: str, b: str) -> bool:
    """True if both expressions are the same, by their text or by mathematics."""
    return plain(a) == plain(b) or _COMPARER.same(a, b) is True


def plain(text: str) -> str:
    """Return `text` without what does not change its meaning: spaces, sizes, styles, dollars."""
    for useless in ("\\left", "\\right", "\\!", "\\,", "\\;", "\\ ", "$", " "):
        text = text.replace(useless, "")
    return text.replace("\\dfrac", "\\frac").replace("\\tfrac", "\\frac").rstrip(".")
