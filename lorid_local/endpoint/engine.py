"""EndpointEngine: draws samples from a server over HTTP, many requests in flight.

Samples of one call go out at once, and calls may come from many threads. Stop strings, the last
line and the calculator are minded here, while an answer streams in: a stream that is left ends
the sample on the server. Knows no server's words (dialect) and no HTTP (wire).
"""

import asyncio
import queue
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from lorid_local.chat_template import Template
from lorid_local.endpoint import greeting
from lorid_local.endpoint.background import Background
from lorid_local.endpoint.dialect import Prompt
from lorid_local.endpoint.greeting import Found, Wanted
from lorid_local.endpoint.patience import Health, Patience, Trouble
from lorid_local.endpoint.sampling import Draft, Prompts, draw
from lorid_local.endpoint.wire import Times, Wire
from lorid_local.engine import Cancelled, Completion, OnDone, OnToken, Request, never
from lorid_local.errors import EngineError, LoridError

POLL = 0.1  # seconds between two questions whether the call is cancelled
MORE_CONNECTIONS = 8  # than requests in flight: for /tokenize


@dataclass(frozen=True)
class Options:
    """How to ask: requests in flight at most, the key, and how patiently."""

    in_flight: int = 64
    key: str | None = None
    patience: Patience = field(default_factory=Patience)
    times: Times = field(default_factory=Times)


class EndpointEngine:
    """Implements `lorid_local.engine.Engine` on the server at `url`; threads may share it.

    Raises InputError, ModelError or EngineError at construction if no server that can serve
    `wanted` answers. Close it, or use it as a context manager.
    """

    def __init__(self, url: str, wanted: Wanted, options: Options | None = None) -> None:
        self.options = options or Options()
        self._wire = Wire(
            url,
            self.options.key,
            self.options.in_flight + MORE_CONNECTIONS,
            self.options.times,
        )
        self._health = Health()
        self._background = Background()
        self._places = asyncio.Semaphore(self.options.in_flight)
        try:
            self.found: Found = self._background.start(self._greet(wanted)).result()
        except BaseException:
            self.close()
            raise
        self._prompts = Prompts(self._wire, self.found)

    def __enter__(self) -> "EndpointEngine":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End what is in flight and close every connection."""
        if not self._background.closed:
            self._background.close(self._wire.close())

    @property
    def template(self) -> Template | None:
        """The base's chat template, or one that leaves the format to the server."""
        return self.found.template if self.found.template.text else None

    @property
    def room(self) -> int:
        """Tokens that one sequence may hold, prompt and answer."""
        return self.found.room

    def prompt(self, request: Request) -> Prompt:
        """Return a request's prompt as the server is sent it: token ids, or a text."""
        return self._background.start(self._prompts.of(request)).result()

    def generate(
        self,
        requests: Sequence[Request],
        on_token: OnToken | None = None,
        cancelled: Cancelled = never,
        on_done: OnDone | None = None,
    ) -> list[Completion]:
        """Return one completion a request, in order; a sample that is given up is 'failed'.

        Raises ContextOverflow if a prompt is too long, ModelError or EngineError if the server
        refuses, or if it failed so often that it is given up.
        """
        if self._background.closed:
            raise EngineError("the engine is closed")
        if len({request.role for request in requests}) > 1:
            raise EngineError("one call draws samples of one role")
        call = _Call(self, requests)
        try:
            return call.finish(on_token, cancelled, on_done)
        finally:
            call.end()

    async def sample(self, draft: Draft) -> Completion:
        """Draw one sample, with as many tries as patience allows."""
        tried = 0
        while True:
            await asyncio.sleep(self._health.wait)
            try:
                async with self._places:
                    done = await draw(draft, self._wire, self.found.dialect, self._prompts)
            except Trouble as trouble:
                tried += 1
                if tried >= self.options.patience.tries:
                    return self._give_up(trouble, tried)
                await self._rest(trouble, tried)
            else:
                self._health.answered()
                return done

    def _give_up(self, trouble: Trouble, tried: int) -> Completion:
        if self._health.lost():
            raise self._gone(trouble, tried)
        return Completion("", "failed", 0)

    def _gone(self, trouble: Trouble, tried: int) -> EngineError:
        times = f" ({tried} tries)" if tried > 1 else ""
        return EngineError(
            f"{self._wire.url}: the server {trouble.why}{times}",
            hint="see whether it runs and what its log says; lorid solve --file goes on with -o",
        )

    async def _rest(self, trouble: Trouble, tried: int) -> None:
        delay = self.options.patience.delay(tried, trouble.after)
        if trouble.after is not None:
            self._health.pause(trouble.after)
        await asyncio.sleep(delay)

    async def _greet(self, wanted: Wanted) -> Found:
        tried = 0
        while True:
            try:
                return await greeting.greet(self._wire, wanted)
            except Trouble as trouble:
                tried += 1
                # one that loads its model says 503; one that is not there will not come
                if tried >= self.options.patience.tries or "reached" in trouble.why:
                    raise self._gone(trouble, tried) from None
                await self._rest(trouble, tried)

    def submit(self, draft: Draft) -> Any:
        """Start a sample; returns its concurrent Future."""
        return self._background.start(self.sample(draft))


class _Call:
    """One call of `generate`: what its samples tell comes to the calling thread by a queue."""

    def __init__(self, engine: EndpointEngine, requests: Sequence[Request]) -> None:
        self.inbox: queue.SimpleQueue[tuple[int, Any]] = queue.SimpleQueue()
        self.drafts = [Draft(request) for request in requests]
        self.done: dict[int, Completion] = {}
        for i, draft in enumerate(self.drafts):
            draft.tell = lambda text, i=i: self.inbox.put((i, text))
        self.running = {i: engine.submit(draft) for i, draft in enumerate(self.drafts)}
        for i, future in self.running.items():
            future.add_done_callback(lambda future, i=i: self.inbox.put((i, future)))

    def finish(
        self, on_token: OnToken | None, cancelled: Cancelled, on_done: OnDone | None
    ) -> list[Completion]:
        while len(self.done) < len(self.drafts):
            if cancelled():
                self._drop(range(len(self.drafts)))
                break
            try:
                index, news = self.inbox.get(timeout=POLL)
            except queue.Empty:
                continue
            if index in self.done:
                continue  # dropped while this was on its way
            if isinstance(news, str):
                if on_token:
                    on_token(index, news)
                continue
            self.done[index] = _result(news)
            if on_done:
                self._drop(on_done(index, self.done[index]))
        return [self.done[i] for i in range(len(self.drafts))]

    def end(self) -> None:
        """Cancel what still runs, as after an exception."""
        for future in self.running.values():
            future.cancel()

    def _drop(self, needless: Any) -> None:
        for i in set(needless) - self.done.keys():
            self.running[i].cancel()
            draft = self.drafts[i]
            self.done[i] = Completion(draft.text, "cancelled", draft.tokens)


def _result(future: Any) -> Completion:
    """Return what a sample came to; raises what it raised."""
    if future.cancelled():
        raise EngineError("the engine was closed while it worked")
    error = future.exception()
    if isinstance(error, LoridError):
        # a copy: many threads may raise the same one
        raise type(error)(error.message, hint=error.hint)
    if error:
        raise error
    completion: Completion = future.result()
    return completion
