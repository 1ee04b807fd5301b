"""Prompts that a role has read, with their keys and values, for when they come again.

A context keeps the last prompt only. Where many problems run side by side, each one's prompt is
back in the next round, behind all others'; reading it again is compute, copying it is not. An
entry also serves what begins as it does: the Deep Reasoner reads other rules behind the same
problem. Pure: knows no llama.cpp; a state is whatever has `nbytes`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

WORTH = 32  # tokens: reading fewer takes no longer than copying a state
ALIKE = 4  # prompts that share a quarter of what is theirs alone are about one problem


class Sized(Protocol):
    """A state; `nbytes` is its size in memory."""

    @property
    def nbytes(self) -> int: ...


State = TypeVar("State", bound=Sized)


@dataclass(frozen=True)
class Found(Generic[State]):
    """An entry that begins with `same` tokens of what was looked for."""

    same: int
    state: State


def common(one: Sequence[int], other: Sequence[int]) -> int:
    """Return how many tokens both begin with."""
    pairs = zip(one, other, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


class PromptStore(Generic[State]):
    """States of prompts, `limit` bytes at most; what was longest not asked for goes first."""

    def __init__(self, limit: int) -> None:
        self.limit, self.bytes = limit, 0
        self._entries: dict[tuple[int, ...], State] = {}  # in the order of their last use
        self._frame: int | None = None  # tokens that all prompts of the role begin with

    def nearest(self, prompt: Sequence[int]) -> Found[State] | None:
        """Return the entry that shares the longest beginning with `prompt`, and use it."""
        found = max(self._entries, key=lambda tokens: common(tokens, prompt), default=None)
        if found is None:
            return None
        self._entries[found] = state = self._entries.pop(found)
        return Found(common(found, prompt), state)

    def wants(self, leaving: Sequence[int], coming: Sequence[int]) -> bool:
        """True if a prompt that is about to be replaced in its context is worth an entry.

        It is not if the one that comes is about the same problem.
        """
        if not leaving or not self.limit:
            return False
        shared = common(leaving, coming)
        self._frame = shared if self._frame is None else min(shared, self._frame)
        lost = len(leaving) - shared
        return lost >= WORTH and not self._alike(leaving, coming)

    def keep(self, tokens: Sequence[int], state: State) -> None:
        """Take an entry, for all earlier ones about the same problem."""
        for other in [e for e in self._entries if self._alike(tokens, e)]:
            self._remove(other)
        self._entries[tuple(tokens)] = state
        self.bytes += state.nbytes
        while self.bytes > self.limit:
            self._remove(next(iter(self._entries)))

    def _alike(self, one: Sequence[int], other: Sequence[int]) -> bool:
        frame = self._frame or 0
        own = min(len(one), len(other)) - frame
        return ALIKE * (common(one, other) - frame) >= own

    def _remove(self, tokens: tuple[int, ...]) -> None:
        self.bytes -= self._entries.pop(tokens).nbytes
