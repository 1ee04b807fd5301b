"""A real HTTP server on loopback that speaks as much of OpenAI's protocol as a teacher needs."""

import json
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = tuple[int, dict[str, str], bytes]
"""(status, headers, body)"""


def completion(text: str, finish: str = "stop") -> Answer:
    """Return a chat completion of 7 prompt and 5 reply tokens."""
    body = {
        "choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": finish}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 5},
    }
    return 200, {}, json.dumps(body).encode()


def ruled(*rules: str) -> Answer:
    """Return a completion that holds `rules` as it should."""
    return completion(json.dumps({"output": rules}))


def failure(status: int, message: str = "", **headers: str) -> Answer:
    """Return an error as OpenAI writes it; 'Retry_After' names the header Retry-After."""
    body = json.dumps({"error": {"message": message}}).encode()
    return status, {name.replace("_", "-"): value for name, value in headers.items()}, body


class TeacherServer:
    """Answers from `script`, then by `otherwise`; `asked` holds the bodies, `headers` and
    `times` go with them. A scripted None breaks the connection off.
    """

    def __init__(self, script: list[Answer | None], otherwise: Callable[[str], Answer]) -> None:
        self.script, self.otherwise = deque(script), otherwise
        self.asked: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.times: list[float] = []
        self.delay = 0.0
        self.lock = threading.Lock()
        self.at_once = self.most_at_once = 0
        self.url = ""

    def next(self, body: dict[str, Any], headers: dict[str, str]) -> Answer | None:
        with self.lock:
            self.asked.append(body)
            self.headers.append(headers)
            self.times.append(time.monotonic())
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
            answer = self.script.popleft() if self.script else self.otherwise(_user(body))
        time.sleep(self.delay)
        with self.lock:
            self.at_once -= 1
        return answer

    def questions(self) -> list[str]:
        """Return the first line of each user turn."""
        return [_user(body).splitlines()[0] for body in self.asked]


def _user(body: dict[str, Any]) -> str:
    return str(body["messages"][1]["content"])


@contextmanager
def serving(
    *script: Answer | None, otherwise: Callable[[str], Answer] = lambda user: ruled("Add.")
) -> Iterator[TeacherServer]:
    """Run a server on a free port of 127.0.0.1."""
    server = TeacherServer(list(script), otherwise)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.path != "/v1/chat/completions":
                body, answer = {}, failure(404, f"no {self.path}")
            else:
                answer = server.next(body, dict(self.headers))
            if answer is None:
                self.close_connection = True
                return
            status, headers, content = answer
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    server.url = f"http://127.0.0.1:{http.server_port}/v1"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()
