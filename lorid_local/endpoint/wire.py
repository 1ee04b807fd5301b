"""JSON and event streams over HTTP. The only importer of httpx2; maps its failures.

httpx2 is what became of httpx (Pydantic keeps it). It is the library that openai and
huggingface_hub stand on: asynchronous, with proxies, TLS and limits, and a stream that is left
closes its connection, which is how a server learns that a sample is not wanted any more.
"""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, NoReturn

from lorid_local.endpoint.patience import Trouble
from lorid_local.errors import (
    ContextOverflow,
    EngineError,
    InputError,
    LoridError,
    MissingExtra,
    ModelError,
)

try:
    import httpx2
except ImportError:
    raise MissingExtra(
        "--endpoint needs the package httpx2", hint="pip install 'lorid-local[endpoint]'"
    ) from None

AGAIN = {408, 425, 429, *range(500, 600)}  # statuses that another try may not have
LONGEST_WAIT = 60.0  # seconds of a Retry-After that are believed
SHOWN = 200  # characters of a server's own words in a message


@dataclass(frozen=True)
class Times:
    """Seconds: to connect, and of silence within an answer before it counts as lost."""

    connect: float = 10.0
    silence: float = 120.0


def root(url: str) -> str:
    """Return a server's address without '/v1' at its end; raises InputError if it is none."""
    try:
        parsed = httpx2.URL(url)
    except httpx2.InvalidURL as error:
        raise _no_url(url, str(error)) from None
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise _no_url(url, "expected http:// or https:// and a host")
    return url.rstrip("/").removesuffix("/v1").rstrip("/")


def _no_url(url: str, why: str) -> InputError:
    return InputError(f"--endpoint {url}: {why}", hint="--endpoint http://127.0.0.1:8080")


class Wire:
    """A server at `url`. Its methods raise Trouble, or a LoridError where trying again is vain."""

    def __init__(self, url: str, key: str | None, connections: int, times: Times) -> None:
        self.url = root(url)
        self._client = httpx2.AsyncClient(
            headers={"Authorization": f"Bearer {key}"} if key else {},
            limits=httpx2.Limits(
                max_connections=connections, max_keepalive_connections=connections
            ),
            timeout=httpx2.Timeout(times.silence, connect=times.connect, pool=None),
        )

    async def close(self) -> None:
        """Close every connection."""
        await self._client.aclose()

    async def get(self, path: str) -> Any:
        """Return the JSON at `path`; None if there is no such path."""
        try:
            response = await self._client.get(self.url + path)
        except httpx2.RequestError as error:
            raise _trouble(error) from None
        if response.status_code in (404, 405, 501):
            return None
        self._check(response.status_code, response.headers, response.text)
        return _parsed(response.text)

    async def post(self, path: str, body: dict[str, Any]) -> Any:
        """Return the JSON that answers `body`."""
        try:
            response = await self._client.post(self.url + path, json=body)
        except httpx2.RequestError as error:
            raise _trouble(error) from None
        self._check(response.status_code, response.headers, response.text)
        return _parsed(response.text)

    async def events(self, path: str, body: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """Yield the objects of the event stream that answers `body`, until it ends."""
        try:
            async with self._client.stream("POST", self.url + path, json=body) as response:
                if response.status_code != 200:
                    told = (await response.aread()).decode("utf-8", "replace")
                    self._check(response.status_code, response.headers, told)
                async for line in response.aiter_lines():
                    data = line.removeprefix("data:").strip()
                    if line.startswith("data:") and data and data != "[DONE]":
                        yield self._event(data)
        except httpx2.RequestError as error:
            raise _trouble(error) from None

    def _event(self, data: str) -> dict[str, Any]:
        event = _parsed(data)
        if not isinstance(event, dict):
            raise Trouble(f"sent {_short(data)!r} where an object was expected")
        if "error" in event:
            code = event["error"].get("code") if isinstance(event["error"], dict) else None
            self._check(code if isinstance(code, int) else 500, {}, data)
        return event

    def _check(self, status: int, headers: Any, text: str) -> None:
        """Raise what a status other than 200 means."""
        if status == 200:
            return
        told = _told(text)
        if status in AGAIN:
            raise Trouble(f"answered {status} ({told})", _seconds(headers.get("retry-after")))
        _refuse(self.url, status, told)


def _refuse(url: str, status: int, told: str) -> NoReturn:
    if status in (401, 403):
        raise EngineError(
            f"{url}: the server refuses the key ({status}: {told})",
            hint="put the key into the environment as LORID_API_KEY",
        )
    if status == 404:
        raise ModelError(
            f"{url}: the server does not know what was asked for ({told})",
            hint="lorid solve --endpoint URL --server-models NAME ...",
        )
    if "context" in told.lower() and ("length" in told.lower() or "size" in told.lower()):
        raise ContextOverflow(
            f"the server's context is too small ({told})",
            hint="shorten the problem or lower -n/--n-predict",
        )
    raise EngineError(
        f"{url}: the server refuses the request ({status}: {told})",
        hint="check --endpoint and --server-models",
    )


def _trouble(error: "httpx2.RequestError") -> Trouble | LoridError:
    if isinstance(error, httpx2.TooManyRedirects | httpx2.UnsupportedProtocol):
        return EngineError(f"{error.request.url}: {error}", hint="--endpoint http://HOST:PORT/v1")
    if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.ProxyError):
        return Trouble(f"cannot be reached ({_short(str(error)) or type(error).__name__})")
    if isinstance(error, httpx2.TimeoutException):
        return Trouble("said nothing for too long")
    return Trouble(f"broke off ({_short(str(error)) or type(error).__name__})")


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise Trouble(f"sent {_short(text)!r}, which is not JSON") from None


def _told(text: str) -> str:
    """Return a server's own words in an error body (OpenAI's, vLLM's and llama-server's form)."""
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        return _short(text) or "no reason"
    for part in ("error", "detail", "message"):
        if isinstance(body, dict) and part in body:
            body = body[part]
    return _short(str(body)) or "no reason"


def _short(text: str) -> str:
    return " ".join(text[: 4 * SHOWN].split())[:SHOWN]


def _seconds(value: str | None) -> float | None:
    """Return a Retry-After in seconds; a date, or nothing, is None."""
    try:
        return min(LONGEST_WAIT, max(0.0, float(value or "")))
    except ValueError:
        return None
