"""Python in a process of its own, for what llama.cpp may end without a word."""

import os
import sys


def command(module: str, *arguments: str) -> list[str]:
    """Return the command that runs a module of ours; modules of the current folder are not run."""
    return [sys.executable, "-P", "-m", module, *arguments]


def environment() -> dict[str, str]:
    """Return its environment: it finds packages where this process does, and starts no debugger."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "GGML_NO_BACKTRACE": "1"}
