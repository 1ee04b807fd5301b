"""The seam between the loop and whatever generates text. Knows no llama.cpp.

One request is one sample. Requests of one call that carry the same prompt may share its
computation; how is the engine's affair.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, Protocol


class Role(StrEnum):
    """The three adapters of LoRID (arXiv 2508.13037, section 3)."""

    IR = "ir"
    KG = "kg"
    DR = "dr"


FinishReason = Literal["stop", "length", "repeated", "cancelled", "failed"]


@dataclass(frozen=True)
class Part:
    """A piece of a prompt; only `special` pieces may contain the model's special tokens."""

    text: str
    special: bool = False


@dataclass(frozen=True)
class Request:
    """One sample to draw.

    temperature 0 means greedy; otherwise temperature is applied first, then top_k (0: all tokens),
    then top_p, as in Hugging Face and vLLM. `stop` strings end the sample and are not part of its
    text; a whole line that begins with `last_line` and a number ends it too, and stays in its text.
    A text that says the same line, or the same two or three, `repeats` times in a row ends as
    'repeated'; 0: never.
    `calculator` asks for exact results behind `<<48/2=` (see `calculator`). `latex` tells who
    judges the sample that its answer may be any LaTeX; no engine reads it. `logprob` asks for the
    completion's, which costs a pass over the vocabulary a token.
    """

    role: Role
    prompt: tuple[Part, ...]
    max_tokens: int
    seed: int = 0
    temperature: float = 0.0
    top_p: float = 1.0
    stop: tuple[str, ...] = ()
    last_line: str = ""
    repeats: int = 0
    calculator: bool = False
    latex: bool = False
    top_k: int = 0
    logprob: bool = False


@dataclass(frozen=True)
class Completion:
    """What a request produced. `tokens` counts its tokens, computed and end ones included.

    `logprob` is the sum of the natural logarithms of the probabilities, at temperature 1 and of
    the whole vocabulary, that the model gave the tokens it chose itself (those that the calculator
    computed are not); None where it was not asked for, or the engine cannot tell.
    """

    text: str
    finish_reason: FinishReason
    tokens: int
    logprob: float | None = None


OnToken = Callable[[int, str], None]
"""Called with the request's index in the call and the new text."""

OnDone = Callable[[int, Completion], Iterable[int]]
"""Called when a request is complete, with its index in the call. Returns the indexes of requests
that need not go on: they end with finish_reason 'cancelled', and this is not called for them."""

Cancelled = Callable[[], bool]
"""Asked between decoding steps; True ends every sample with finish_reason 'cancelled'."""


def never() -> bool:
    """The `Cancelled` of a run that nobody can cancel."""
    return False


class Engine(Protocol):
    """Draws samples. All requests of one call have the same role."""

    def generate(
        self,
        requests: Sequence[Request],
        on_token: OnToken | None = None,
        cancelled: Cancelled = never,
        on_done: OnDone | None = None,
    ) -> list[Completion]:
        """Return one completion a request, in order; raises EngineError or ModelError."""
        ...
