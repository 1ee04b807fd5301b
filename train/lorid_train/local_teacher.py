"""A teacher on this machine: a GGUF model behind lorid's engine, in batches.

The prompt is framed as ChatML; a model with another chat template is asked all the same, and
writes worse JSON for it.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager

from lorid_local.engine import Engine, Part, Request, Role
from lorid_train.teacher import TEMPERATURE, Ask, Cancelled, Reply

WIDTH = 8  # asks at once
FRAME = ("<|im_start|>system\n", "<|im_end|>\n<|im_start|>user\n",
         "<|im_end|>\n<|im_start|>assistant\n")  # fmt: skip


class LocalTeacher:
    """Implements `teacher.Teacher` on an engine without adapters, which is opened on entering."""

    def __init__(
        self, engine: Callable[[], AbstractContextManager[Engine]], max_tokens: int
    ) -> None:
        self._opening, self.max_tokens = engine, max_tokens

    def __enter__(self) -> "LocalTeacher":
        self._opened = self._opening()
        self.engine = self._opened.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.__exit__(None, None, None)

    def answers(self, asks: Iterable[Ask], cancelled: Cancelled) -> Iterator[tuple[Ask, Reply]]:
        """Yield replies a batch at a time; raises EngineError."""
        todo = iter(asks)
        while batch := list(itertools.islice(todo, WIDTH)):
            if cancelled():
                return
            written = self.engine.generate([self._request(a) for a in batch], cancelled=cancelled)
            for ask, completion in zip(batch, written, strict=True):
                if completion.finish_reason != "cancelled":
                    complete = completion.finish_reason == "stop"
                    yield ask, Reply(completion.text, complete, 0, completion.tokens)

    def _request(self, ask: Ask) -> Request:
        first, second, last = (Part(text, special=True) for text in FRAME)
        prompt = (first, Part(ask.system), second, Part(ask.user), last)
        return Request(Role.KG, prompt, self.max_tokens, ask.attempt, TEMPERATURE)
