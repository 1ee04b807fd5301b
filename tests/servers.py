"""Real HTTP servers on the loopback that speak as llama-server and OpenAI's do, or misbehave.

A test says what a model writes (`say`: the prompt's text and the role's name to a text) and
which of the requests for a sample goes wrong, and how (`fault`: its number to a Reply or None).
"""

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.tiny import CHAT_TEMPLATE, SPECIAL

Say = Callable[[str, str], str]


@dataclass(frozen=True)
class Reply:
    """Status, headers and pieces of a body; `cut` closes before its end, `stall` waits first."""

    status: int = 200
    pieces: tuple[bytes, ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    cut: bool = False
    stall: float = 0.0
    pause: float = 0.0  # seconds between pieces


Fault = Callable[[int], Reply | None]


@dataclass
class Seen:
    """What a server was asked, how many requests at most at once, and streams that were left."""

    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    keys: set[str] = field(default_factory=set)
    most: int = 0
    now: int = 0
    left: int = 0
    connections: int = 0
    url: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def samples(self) -> list[dict[str, Any]]:
        return [body for path, body in self.asked if "completion" in path]


class Handler(BaseHTTPRequestHandler):
    """Asks its server's `answer` for a reply, sends it and notes what it saw."""

    protocol_version = "HTTP/1.1"
    server: "Server"

    def log_message(self, *_: Any) -> None:
        pass

    def handle(self) -> None:
        with self.server.seen.lock:
            self.server.seen.connections += 1
        with suppress(ConnectionResetError):  # a client that left while nothing was sent
            super().handle()

    def do_GET(self) -> None:
        self.reply({})

    def do_POST(self) -> None:
        self.reply(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

    def reply(self, body: dict[str, Any]) -> None:
        seen, sample = self.server.seen, "completion" in self.path
        with seen.lock:
            seen.asked.append((self.path, body))
            seen.keys.add(self.headers.get("Authorization", ""))
            seen.now += sample
            seen.most = max(seen.most, seen.now)
        try:
            self.send(self.server.answer(self.path, body, seen))
        except (BrokenPipeError, ConnectionResetError):
            with seen.lock:
                seen.left += 1
            self.close_connection = True
        finally:
            with seen.lock:
                seen.now -= sample

    def send(self, reply: Reply) -> None:
        time.sleep(reply.stall)
        if reply.cut and not reply.pieces:
            self.close_connection = True
            return
        self.send_response(reply.status)
        for name, value in reply.headers:
            self.send_header(name, value)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for piece in reply.pieces:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            time.sleep(reply.pause)
        if reply.cut:
            self.close_connection = True
        else:
            self.wfile.write(b"0\r\n\r\n")


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256
    answer: Callable[[str, dict[str, Any], Seen], Reply]
    seen: Seen


@contextmanager
def serving(answer: Callable[[str, dict[str, Any], Seen], Reply]) -> Iterator[Seen]:
    """Run a server whose replies `answer` gives; yields what it sees."""
    server = Server(("127.0.0.1", 0), Handler)
    server.answer, server.seen = answer, Seen()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    server.seen.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield server.seen
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def as_json(data: Any, status: int = 200, **headers: str) -> Reply:
    pairs = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return Reply(status, (json.dumps(data).encode(),), pairs)


def events(*data: Any, **more: Any) -> Reply:
    """Return an event stream, each event a piece."""
    return Reply(pieces=tuple(b"data: %s\n\n" % _event(d) for d in data), **more)


def _event(data: Any) -> bytes:
    return data if isinstance(data, bytes) else json.dumps(data).encode()


def encode(text: str, special: bool) -> list[int]:
    """Return made-up tokens: a byte each, and one from 256 on for each special token."""
    found: list[int] = []
    for piece in re.split("(" + "|".join(map(re.escape, SPECIAL)) + ")", text):
        known = special and piece in SPECIAL
        found += [256 + SPECIAL.index(piece)] if known else list(piece.encode())
    return found


def decode(ids: list[int]) -> str:
    return b"".join(SPECIAL[i - 256].encode() if i > 255 else bytes([i]) for i in ids).decode()


@contextmanager
def llama_server(
    say: Say,
    fault: Fault = lambda number: None,
    *,
    adapters: tuple[str, ...] = ("/m/ir.gguf", "/m/kg.gguf", "/m/dr.gguf"),
    template: str = CHAT_TEMPLATE,
    room: int = 4096,
    pause: float = 0.0,
) -> Iterator[Seen]:
    """Run a llama-server (tools/server/README.md of llama.cpp): a token a character."""

    def answer(path: str, body: dict[str, Any], seen: Seen) -> Reply:
        if path == "/props":
            settings = {"default_generation_settings": {"n_ctx": room}}
            return as_json(
                settings | {"chat_template": template, "bos_token": "<s>", "eos_token": "</s>"}
            )
        if path == "/lora-adapters":
            return as_json([{"id": i, "path": p, "scale": 0} for i, p in enumerate(adapters)])
        if path == "/tokenize":
            ids = encode(body["content"], body.get("parse_special", True))
            pieces = [{"id": i, "piece": chr(i)} for i in ids if i < 256]
            return as_json({"tokens": pieces if body.get("with_pieces") else ids})
        return fault(len(seen.samples)) or completion(body)

    def completion(body: dict[str, Any]) -> Reply:
        active = [a["id"] for a in body.get("lora", ()) if a["scale"]]
        role = adapters[active[0]] if active else ""
        text = say(decode(body["prompt"]), role)[: body["n_predict"]]
        whole = len(text) < body["n_predict"]
        end = {"content": "", "tokens": [], "stop": True, "stop_type": "eos" if whole else "limit",
               "tokens_predicted": len(text) + whole}  # fmt: skip
        letters = [{"content": c, "tokens": [ord(c)], "stop": False} for c in text]
        return events(*letters, end, pause=pause)

    with serving(answer) as seen:
        yield seen


@contextmanager
def openai_server(
    say: Say,
    fault: Fault = lambda number: None,
    *,
    models: tuple[str, ...] = ("base", "lorid-ir", "lorid-kg", "lorid-dr"),
    owner: str = "vllm",
    pause: float = 0.0,
) -> Iterator[Seen]:
    """Run a server with OpenAI's interface as vLLM has it: several characters an event."""

    def answer(path: str, body: dict[str, Any], seen: Seen) -> Reply:
        if path == "/v1/models":
            return as_json({"data": [
                {"id": m, "owned_by": owner, "parent": None if i == 0 else models[0],
                 "max_model_len": 4096} for i, m in enumerate(models)]})  # fmt: skip
        if path not in ("/v1/completions", "/v1/chat/completions"):
            return as_json({"detail": "Not Found"}, 404)
        return fault(len(seen.samples)) or completion(path, body)

    def completion(path: str, body: dict[str, Any]) -> Reply:
        chat = "chat" in path
        prompt = body["messages"][0]["content"] if chat else body["prompt"]
        text = say(prompt, body["model"])[: body["max_tokens"]]
        finish = "stop" if len(text) < body["max_tokens"] else "length"
        parts = [text[at : at + 3] for at in range(0, len(text), 3)]
        choices = [{"delta": {"content": p}} if chat else {"text": p} for p in parts]
        last: dict[str, Any] = {"delta": {}} if chat else {"text": ""}
        return events(
            *({"choices": [c | {"finish_reason": None}]} for c in choices),
            {"choices": [last | {"finish_reason": finish}]},
            {"choices": [], "usage": {"completion_tokens": len(text) + (finish == "stop")}},
            b"[DONE]",
            pause=pause,
        )

    with serving(answer) as seen:
        yield seen
