"""Every test starts with a clean environment and without a network."""

import os
import socket
from pathlib import Path
from typing import Any, NoReturn

import pytest


@pytest.fixture(autouse=True)
def _hermetic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No LORID_* of the person who runs the tests, no home folder of theirs, no sockets."""
    for name in [n for n in os.environ if n.startswith(("LORID_", "XDG_", "HF_"))]:
        monkeypatch.delenv(name)
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("CACHE", "CONFIG", "DATA", "STATE"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / "home" / name.lower()))
    monkeypatch.setattr(socket.socket, "connect", _refuse)
    monkeypatch.setattr(socket.socket, "connect_ex", _refuse)


@pytest.fixture
def loopback(_hermetic: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a test reach a server of its own on 127.0.0.1, past any proxy, and nothing else."""

    def connect(self: socket.socket, address: Any) -> None:
        if address[0] != "127.0.0.1":
            _refuse(self, address)
        _CONNECT(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect)
    for name in [n for n in os.environ if n.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)


_CONNECT = socket.socket.connect


def _refuse(_: socket.socket, address: Any) -> NoReturn:
    raise AssertionError(f"a test tried to connect to {address!r}")
