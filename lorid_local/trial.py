"""llama.cpp tried in a process of its own: what would end this process ends that one.

Errors that it tells of are not looked at here: whoever asks will meet them, with their words.
"""

import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from lorid_local import child
from lorid_local.engine import Part, Request, Role

TEXT = "2 + 2 ="
TOKENS = 4


def crash(base: Path | None = None, adapters: Mapping[Role, Path] | None = None) -> str:
    """Return how a process ended that llama.cpp brought down; '' if none was.

    Without a base llama.cpp is only loaded; with one, each role draws a few tokens.
    """
    pairs = [f"{role}={path}" for role, path in (adapters or {}).items()]
    arguments = [str(base), *pairs] if base else []
    ran = subprocess.run(
        child.command("lorid_local.trial", *arguments), stdin=subprocess.DEVNULL,
        capture_output=True, env=child.environment(), check=False,
    )  # fmt: skip
    if 0 <= ran.returncode < 256:  # Windows tells of a crash by a code beyond that
        return ""
    last = (ran.stderr.decode("utf-8", "replace").strip().splitlines() or [""])[-1]
    return _named(ran.returncode) + (f": {last}" if last else "")


def _named(code: int) -> str:
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"code {code:#x}"


def _use(base: str = "", *pairs: str) -> None:
    from lorid_local.llama_native import build  # these imports are part of what is tried

    build()
    if not base:
        return
    from lorid_local.llama import LlamaEngine, Options

    named = (pair.partition("=") for pair in pairs)
    adapters = {Role(role): Path(path) for role, _, path in named}
    with LlamaEngine(Path(base), adapters, Options(threads=1)) as engine:
        for role in Role:
            engine.generate([Request(role, (Part(TEXT),), TOKENS)])


if __name__ == "__main__":
    _use(*sys.argv[1:])
