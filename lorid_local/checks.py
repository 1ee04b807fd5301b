"""What `lorid doctor` says of one thing: a check."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, TypeVar

from lorid_local.errors import EXIT_FAILURE, EXIT_MODEL, LoridError, ModelError, SettingsError

Status = Literal["ok", "note", "problem"]
T = TypeVar("T")


@dataclass(frozen=True)
class Check:
    """One thing looked at. A note does not keep a solve from working; a problem does or may."""

    name: str
    status: Status
    found: str
    hint: str = ""
    exit_code: int = 0

    def lines(self) -> Iterator[str]:
        """Yield it as text."""
        yield f"{self.status:<7}  {self.name}: {self.found}"
        if self.hint:
            yield f"         -> {self.hint}"


def problem(name: str, found: str, hint: str) -> Check:
    """Return the check of something that keeps a solve from working."""
    return Check(name, "problem", found, hint, EXIT_FAILURE)


def tried(name: str, call: Callable[[], tuple[T, str]]) -> tuple[T | None, Check]:
    """Return what `call` gives, or None, and the check that tells of it in call's words."""
    try:
        value, words = call()
    except LoridError as error:
        code = EXIT_MODEL if isinstance(error, ModelError | SettingsError) else EXIT_FAILURE
        return None, Check(name, "problem", error.message, error.hint, code)
    return value, Check(name, "ok", words)
