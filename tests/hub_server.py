"""A real HTTP server on the loopback that speaks the Hugging Face Hub's protocol, or misbehaves."""

import hashlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

COMMIT = "a" * 40
PIECE = 1 << 20  # bytes sent at once


@dataclass
class Hub:
    """Repositories by name, files by name; faults are switched on by a test while it runs."""

    repos: dict[str, dict[str, bytes]]
    url: str = ""
    gets: list[str] = field(default_factory=list)  # the Range of each GET of a file, or ''
    keys: set[str] = field(default_factory=set)
    cut_after: list[int] = field(default_factory=list)  # bytes after which the next GETs break off
    pause: float = 0.0  # seconds between pieces
    short: bool = False  # sends a byte less than it told
    wrong_sum: bool = False
    no_sum: bool = False
    refuse: tuple[int, str] | None = None  # status and X-Error-Code of everything


class Handler(BaseHTTPRequestHandler):
    """Answers for the repositories of its server, with the faults that are switched on."""

    protocol_version = "HTTP/1.1"
    server: "Server"

    def log_message(self, *_: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        with suppress(BrokenPipeError, ConnectionResetError):
            self.answer(body=True)

    def answer(self, *, body: bool) -> None:
        self.server.held.keys.add(self.headers.get("Authorization", ""))
        path = self.path.split("?")[0].strip("/")
        if self.server.held.refuse:
            return self.say(
                self.server.held.refuse[0], {"X-Error-Code": self.server.held.refuse[1]}
            )
        if path.startswith("api/models/"):
            return self.listing(path.removeprefix("api/models/"))
        repo, _, file = path.partition("/resolve/main/")
        if not file:  # by its commit
            repo, _, file = path.partition(f"/resolve/{COMMIT}/")
        if repo not in self.server.held.repos:
            return self.say(404, {"X-Error-Code": "RepoNotFound"})
        if file not in self.server.held.repos[repo]:
            return self.say(404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT})
        self.file(self.server.held.repos[repo][file], body=body)

    def listing(self, repo: str) -> None:
        if repo not in self.server.held.repos:
            return self.say(404, {"X-Error-Code": "RepoNotFound"})
        names = [{"rfilename": name} for name in self.server.held.repos[repo]]
        told = {"id": repo, "modelId": repo, "sha": COMMIT, "siblings": names, "tags": []}
        self.say(200, {"Content-Type": "application/json"}, json.dumps(told).encode())

    def file(self, data: bytes, *, body: bool) -> None:
        digest = hashlib.sha256(b"other" if self.server.held.wrong_sum else data).hexdigest()
        headers = {"X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        headers |= {} if self.server.held.no_sum else {"ETag": f'"{digest}"'}
        if not body:
            return self.say(200, headers, length=len(data))
        asked = self.headers.get("Range", "")
        self.server.held.gets.append(asked)
        start = int(asked.removeprefix("bytes=").rstrip("-") or 0)
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        sent = data[start : -1 if self.server.held.short else None]
        cut = self.server.held.cut_after.pop(0) if self.server.held.cut_after else None
        self.say(206 if start else 200, headers, sent, cut=cut,
                 length=len(sent) if self.server.held.short else len(data) - start)  # fmt: skip

    def say(self, status: int, headers: dict[str, str], data: bytes = b"", *,
            cut: int | None = None, length: int | None = None) -> None:  # fmt: skip
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data) if length is None else length))
        self.end_headers()
        for at in range(0, len(data[:cut]), PIECE):
            self.wfile.write(data[:cut][at : at + PIECE])
            time.sleep(self.server.held.pause)
        self.close_connection = self.close_connection or cut is not None


class Server(ThreadingHTTPServer):
    daemon_threads = True
    held: Hub


@contextmanager
def hub(repos: dict[str, dict[str, bytes]]) -> Iterator[Hub]:
    """Run a hub that holds these repositories."""
    server = Server(("127.0.0.1", 0), Handler)
    server.held = Hub(repos)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    server.held.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield server.held
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
