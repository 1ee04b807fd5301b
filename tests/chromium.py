"""A headless Chromium, spoken to over two pipes (the DevTools protocol): no sockets, no driver."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PROGRAM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-extensions",
         "--disable-background-networking", "--disable-dev-shm-usage",
         "--remote-debugging-pipe")  # fmt: skip


class Page:
    """One page. `requests` are the addresses it asked for, `errors` what its script threw."""

    def __init__(self, write: int, read: int) -> None:
        self._write, self._read, self._last, self._left = write, read, 0, b""
        self.requests: list[str] = []
        self.errors: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session: str | None = None
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)[
            "sessionId"
        ]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Return the result of one command."""
        self._last += 1
        message: dict[str, Any] = {"id": self._last, "method": method, "params": params}
        if session := getattr(self, "_session", None):
            message["sessionId"] = session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != self._last:
            self._note(answer)
        if "error" in answer:
            raise AssertionError(answer["error"])
        result: dict[str, Any] = answer["result"]
        return result

    def open(self, path: Path) -> None:
        self.call("Page.navigate", url=path.as_uri())
        self.wait("document.readyState === 'complete'")

    def value(self, expression: str) -> Any:
        """Return what a JavaScript expression evaluates to."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        if "exceptionDetails" in found:
            raise AssertionError(found["exceptionDetails"])
        return found["result"].get("value")

    def wait(self, expression: str, seconds: float = 60) -> None:
        """Return once an expression is true."""
        end = time.monotonic() + seconds
        while not self.value(expression):
            if time.monotonic() > end:
                raise AssertionError(f"never true: {expression}; {self.errors}")
            time.sleep(0.05)

    def press(self, key: str, text: str = "") -> None:
        """Press a key as a person does."""
        codes = {"Enter": 13, "Tab": 9, "ArrowDown": 40}
        code: dict[str, Any] = {"windowsVirtualKeyCode": codes[key]} if key in codes else {}
        text = text or ("\r" if key == "Enter" else "" if key in codes else key)
        self.call("Input.dispatchKeyEvent", type="keyDown", key=key, text=text, **code)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key, **code)

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._left:
            data = os.read(self._read, 1 << 16)
            if not data:
                raise AssertionError("Chromium has ended")
            self._left += data
        message, _, self._left = self._left.partition(b"\0")
        parsed: dict[str, Any] = json.loads(message)
        return parsed

    def _note(self, event: dict[str, Any]) -> None:
        params = event.get("params", {})
        match event.get("method"):
            case "Network.requestWillBeSent":
                self.requests.append(params["request"]["url"])
            case "Runtime.exceptionThrown":
                self.errors.append(str(params["exceptionDetails"]))
            case "Log.entryAdded" if params["entry"]["level"] == "error":
                self.errors.append(params["entry"]["text"])


@contextmanager
def page(profile: Path) -> Iterator[Page]:
    """Yield a page of a Chromium that lives as long."""
    ours_read, its_write = os.pipe()
    its_read, ours_write = os.pipe()
    command = [str(PROGRAM), *FLAGS, f"--user-data-dir={profile}", "about:blank"]
    # it reads commands from 3 and writes to 4
    shell = ["bash", "-c", f'exec "$@" 3<&{its_read} 4>&{its_write}', "bash", *command]
    process = subprocess.Popen(shell, pass_fds=(its_read, its_write), stdin=subprocess.DEVNULL,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    os.close(its_read)
    os.close(its_write)
    try:
        yield Page(ours_write, ours_read)
    finally:
        process.terminate()
        process.wait(30)
        os.close(ours_write)
        os.close(ours_read)
