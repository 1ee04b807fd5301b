"""One request under way in the engine: its text, its tokens to decode, how it ended."""

import codecs
from typing import Any

from lorid_local import ending
from lorid_local.engine import Completion, FinishReason, Request
from lorid_local.sampler import Sampler


class Sample:
    """A request in a sequence of the KV cache.

    `tokens_pending` are drawn or computed, but not yet decoded; the first of them belongs at
    `position`. At the start that is the prompt's last token.
    """

    def __init__(self, index: int, request: Request, sequence: int, prompt: list[int]) -> None:
        self.index, self.request, self.sequence, self.prompt = index, request, sequence, prompt
        self.sampler = Sampler(
            temperature=request.temperature,
            top_p=request.top_p,
            seed=request.seed,
            top_k=request.top_k,
        )
        self.position = len(prompt) - 1
        self.tokens_pending = prompt[-1:]
        self.tokens = 0
        self.text = ""
        self.logprob = 0.0
        self.finish: FinishReason | None = None
        self._shown = 0
        self._decoder: Any = codecs.getincrementaldecoder("utf-8")("replace")

    def pending(self, count: int) -> list[tuple[int, int]]:
        """Return (position, token) of what is to be decoded next, at most `count`."""
        return list(enumerate(self.tokens_pending[:count], self.position))

    def decoded(self, count: int) -> None:
        """Note that the first `count` of what was pending are in the KV cache now."""
        self.position += len(self.tokens_pending[:count])
        del self.tokens_pending[:count]

    def take(self, token: int, piece: bytes) -> None:
        """Add a token; end where the request says so (`ending`) or max_tokens are reached."""
        if self.finish:
            return
        self.tokens += 1
        self.tokens_pending.append(token)
        old = len(self.text)
        self.text += self._decoder.decode(piece)
        ended = ending.end(self.text, self.request, old)
        if ended:
            self.text, self.finish = ended
        elif self.tokens >= self.request.max_tokens:
            self.finish = "length"

    def end(self) -> None:
        """Take a token with which the model ends its turn."""
        self.tokens += 1
        self.finish = "stop"

    def fresh_text(self) -> str:
        """Return text not shown yet, without what may still become a stop string."""
        longest = max(map(len, self.request.stop), default=1)
        held = 0 if self.finish else longest - 1
        end = max(self._shown, len(self.text) - held)
        fresh, self._shown = self.text[self._shown : end], end
        return fresh

    def completion(self) -> Completion:
        logprob = self.logprob if self.request.logprob else None
        return Completion(self.text, self.finish or "cancelled", self.tokens, logprob)
