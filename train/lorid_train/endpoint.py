"""A teacher behind HTTP: any endpoint that speaks OpenAI's chat completions.

On urllib, which does all that is needed here (a POST a thread, no streaming, no redirects), so
that the install needs no HTTP library. Knows the protocol and when to try again, not the rules.
"""

import email.utils
import http.client
import json
import random
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any, NoReturn
from urllib.parse import urlsplit

from lorid_local import __version__
from lorid_local.errors import InputError, TrainError
from lorid_train.teacher import TEMPERATURE, Ask, Cancelled, Reply

AGAIN = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
LONGEST = 60.0  # seconds between two tries, but for a longer Retry-After
MOST_BYTES = 1 << 24
POLL = 0.2  # seconds


@dataclass(frozen=True)
class Access:
    """Where and how to ask. `url` ends where /chat/completions begins: https://host/v1."""

    url: str
    model: str
    key: str = ""
    jobs: int = 4
    tries: int = 8
    timeout: float = 120.0
    first_wait: float = 1.0
    max_tokens: int = 1024

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise InputError(
                f"--url {self.url}: expected http:// or https:// and a host",
                hint="for example --url http://localhost:8080/v1",
            )


class _Unmoved(urllib.request.HTTPRedirectHandler):
    """Follows nothing: a redirect would carry the key to another host."""

    def redirect_request(self, *_: Any) -> None:
        return None


class Endpoint:
    """Implements `teacher.Teacher`. Counts `requests`, also those that failed."""

    def __init__(self, access: Access) -> None:
        self.access = access
        self.requests = 0
        self._json_mode = True
        self._stopped = threading.Event()
        self._opener = urllib.request.build_opener(_Unmoved)

    def answers(self, asks: Iterable[Ask], cancelled: Cancelled) -> Iterator[tuple[Ask, Reply]]:
        """Yield replies as they come, `jobs` at once; raises TrainError.

        Replies that were under way when another request failed for good are yielded first:
        they are paid for.
        """
        self._stopped.clear()
        todo, waiting = iter(asks), set[Future[tuple[Ask, Reply]]]()
        failure: TrainError | None = None
        with ThreadPoolExecutor(self.access.jobs) as pool:
            while True:
                if cancelled():
                    self._stopped.set()
                while not self._stopped.is_set() and len(waiting) < self.access.jobs:
                    if (ask := next(todo, None)) is None:
                        break
                    waiting.add(pool.submit(self._answer, ask))
                if not waiting:
                    break
                done, waiting = wait(waiting, POLL, FIRST_COMPLETED)
                for future in done:
                    error = future.exception()
                    if error is None:
                        yield future.result()
                    elif isinstance(error, TrainError):
                        self._stopped.set()
                        failure = failure or error
                    elif not isinstance(error, _Stopped):
                        raise error
        if failure:
            raise failure

    def _answer(self, ask: Ask) -> tuple[Ask, Reply]:
        """Ask until there is a reply; raises TrainError, _Stopped."""
        pause, rng = self.access.first_wait, random.Random()
        for left in reversed(range(self.access.tries)):
            try:
                return ask, self._post(ask)
            except _Again as reason:
                if not left:
                    raise TrainError(
                        f"{self.access.url}: {reason.why}, after {self.access.tries} tries",
                        hint="start again later with the same -o/--output: it goes on",
                    ) from None
                # not all threads at once, and never sooner than the server says
                seconds = max(reason.after, min(pause, LONGEST) * rng.uniform(0.5, 1.0))
            if self._stopped.wait(seconds):
                break
            pause *= 2
        raise _Stopped

    def _post(self, ask: Ask) -> Reply:
        self.requests += 1
        request = urllib.request.Request(
            self.access.url.rstrip("/") + "/chat/completions",
            json.dumps(self._body(ask)).encode(),
            self._headers(),
        )
        try:
            with self._opener.open(request, timeout=self.access.timeout) as answer:
                content = answer.read(MOST_BYTES)
        except urllib.error.HTTPError as error:
            with error:
                self._refused(error.code, error.read(MOST_BYTES), error.headers.get("Retry-After"))
        except (OSError, http.client.HTTPException) as error:  # URLError and time-outs are OSErrors
            raise _Again(
                str(getattr(error, "reason", "") or error or type(error).__name__)
            ) from None
        return _reply(content)

    def _body(self, ask: Ask) -> dict[str, Any]:
        body = {
            "model": self.access.model,
            "messages": [
                {"role": "system", "content": ask.system},
                {"role": "user", "content": ask.user},
            ],
            "temperature": TEMPERATURE,
            "max_tokens": self.access.max_tokens,
            "seed": ask.attempt,
        }
        return {**body, "response_format": {"type": "json_object"}} if self._json_mode else body

    def _headers(self) -> dict[str, str]:
        headers = {"Content-Type": "application/json", "User-Agent": f"lorid/{__version__}"}
        return (
            {**headers, "Authorization": f"Bearer {self.access.key}"}
            if self.access.key
            else headers
        )

    def _refused(self, code: int, content: bytes, after: str | None) -> NoReturn:
        said = _said(content)
        if code == 400 and self._json_mode and "response_format" in said:
            self._json_mode = False  # not every server knows it
            raise _Again(said)
        if code in AGAIN:
            raise _Again(f"HTTP {code} {said}".rstrip(), _seconds(after))
        hint = "check --url and --model"
        if code in (401, 403):
            hint = "set LORID_API_KEY or OPENAI_API_KEY in the environment"
        raise TrainError(f"{self.access.url}: HTTP {code} {said}".rstrip(), hint=hint)


class _Again(Exception):
    """This try failed, another may not; not before `after` seconds."""

    def __init__(self, why: str, after: float = 0.0) -> None:
        super().__init__(why)
        self.why, self.after = why, after


class _Stopped(Exception):
    """Nobody waits for this reply any more."""


def _reply(content: bytes) -> Reply:
    try:
        data = json.loads(content)
        choice = data["choices"][0]
        text, usage = choice["message"]["content"] or "", data.get("usage") or {}
        return Reply(
            str(text),
            choice.get("finish_reason") != "length",
            int(usage.get("prompt_tokens") or 0),
            int(usage.get("completion_tokens") or 0),
        )
    except (ValueError, TypeError, KeyError, IndexError, AttributeError):
        raise _Again("the reply is no chat completion") from None


def _said(content: bytes) -> str:
    """Return the server's own words, from OpenAI's error format or as they are, shortened."""
    text = content.decode(errors="replace")
    try:
        error = json.loads(text)["error"]
        text = error["message"] if isinstance(error, dict) else str(error)
    except (ValueError, TypeError, KeyError):
        pass
    return " ".join(text.split())[:300]


def _seconds(after: str | None) -> float:
    """Return what a Retry-After header asks for: seconds, or a date."""
    if not after:
        return 0.0
    try:
        return max(0.0, float(after))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(after).timestamp() - time.time())
    except ValueError:
        return 0.0
