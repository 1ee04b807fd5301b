"""Others' ways to draw the same samples, as Engines that lorid's own loop can ask.

`StockEngine`: an object of llama-cpp-python's `Llama` a role, one call after the other, as one
does it without lorid. `ServerEngine`: llama.cpp's llama-server with the three adapters loaded and
chosen by each request, its prompt cache off (with it, keys and values of another adapter would be
used again: ggml-org/llama.cpp issue 26207).
"""

import json
import time
import urllib.request
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from lorid_local.engine import Cancelled, Completion, OnDone, OnToken, Request, Role, never
from lorid_local.sampler import Sampler

TIMEOUT = 600  # seconds a request


def text_of(request: Request) -> str:
    """Return the prompt as one text; the peers read special tokens anywhere in it."""
    return "".join(part.text for part in request.prompt)


class _Forced:
    """A logits processor that lets lorid's sampler draw, and leaves nothing else to be drawn."""

    def __init__(self, request: Request) -> None:
        self.sampler = Sampler(
            temperature=request.temperature, top_p=request.top_p, seed=request.seed
        )
        self.seconds = 0.0

    def __call__(self, tokens: Any, scores: Any) -> Any:
        started = time.perf_counter()
        logits = np.ascontiguousarray(scores)
        drawn = np.full_like(logits, -np.inf)
        drawn[self.sampler.draw(logits)] = 0.0
        self.seconds += time.perf_counter() - started
        return drawn


class StockEngine:
    """Three `Llama` objects. `same_samples` lets lorid's sampler draw inside of them.

    `sampling` counts the seconds that lorid's sampler took, to be taken off; `tokens` all tokens.
    """

    def __init__(
        self, base: Path, adapters: Mapping[Role, Path], threads: int, *, same_samples: bool
    ) -> None:
        from llama_cpp import Llama

        self.same_samples, self.sampling, self.tokens = same_samples, 0.0, 0
        self.models = {
            role: Llama(str(base), lora_path=str(path), n_ctx=1024, n_threads=threads,
                        n_threads_batch=threads, verbose=False)
            for role, path in adapters.items()
        }  # fmt: skip

    def generate(
        self,
        requests: Sequence[Request],
        on_token: OnToken | None = None,
        cancelled: Cancelled = never,
        on_done: OnDone | None = None,
    ) -> list[Completion]:
        done: list[Completion] = []
        needless: set[int] = set()
        for i, request in enumerate(requests):
            if i in needless or cancelled():
                done.append(Completion("", "cancelled", 0))
                continue
            done.append(self._draw(request))
            needless |= set(on_done(i, done[-1]) if on_done else ())
        return done

    def _draw(self, request: Request) -> Completion:
        from llama_cpp import LogitsProcessorList

        how: dict[str, Any] = {"temperature": request.temperature, "top_p": request.top_p}
        forced = _Forced(request) if self.same_samples and request.temperature else None
        if forced:
            how = {"temperature": 0.0, "logits_processor": LogitsProcessorList([forced])}
        told: Any = self.models[request.role].create_completion(
            text_of(request), max_tokens=request.max_tokens, seed=request.seed,
            stop=list(request.stop), **how,
        )  # fmt: skip
        if forced:
            self.sampling += forced.seconds
        choice, tokens = told["choices"][0], told["usage"]["completion_tokens"]
        self.tokens += tokens
        return Completion(choice["text"], choice["finish_reason"], tokens)


class ServerEngine:
    """A llama-server whose adapters have the numbers of the roles; requests go out at once.

    Without `adapters` all of them are off.
    """

    def __init__(self, url: str, at_once: int, *, adapters: bool = True) -> None:
        self.url, self.pool, self.adapters = url, ThreadPoolExecutor(at_once), adapters
        # one connection a request, and no proxy between
        self.opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def generate(
        self,
        requests: Sequence[Request],
        on_token: OnToken | None = None,
        cancelled: Cancelled = never,
        on_done: OnDone | None = None,
    ) -> list[Completion]:
        return list(self.pool.map(self._draw, requests))

    def _draw(self, request: Request) -> Completion:
        body = {
            "prompt": text_of(request),
            "n_predict": request.max_tokens,
            "temperature": request.temperature,
            "top_p": request.top_p,
            "samplers": ["temperature", "top_p"],
            "seed": request.seed,
            "stop": list(request.stop),
            "cache_prompt": False,
            "lora": [
                {"id": i, "scale": float(self.adapters and r is request.role)}
                for i, r in enumerate(Role)
            ],
        }
        told = self._post("/completion", body)
        finish = "length" if told["stop_type"] == "limit" else "stop"
        return Completion(told["content"], finish, told["tokens_predicted"])  # type: ignore[arg-type]

    def _post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        sent = urllib.request.Request(
            self.url + path, json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with self.opener.open(sent, timeout=TIMEOUT) as answer:
            told: dict[str, Any] = json.load(answer)
        return told

    def ready(self) -> bool:
        """True once the server has loaded its model."""
        try:
            with self.opener.open(self.url + "/health", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False
