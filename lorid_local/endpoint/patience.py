"""How often and when a server is asked again, and when it is given up. Pure but for the clock."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

IN_A_ROW = 8  # samples lost one after the other, each tried `tries` times


class Trouble(Exception):
    """A failure that another try may not have; `after` is how many seconds the server asks for."""

    def __init__(self, why: str, after: float | None = None) -> None:
        super().__init__(why)
        self.why, self.after = why, after


@dataclass(frozen=True)
class Patience:
    """Tries a sample, and seconds before the second one; they double up to `longest`."""

    tries: int = 6
    first: float = 0.5
    longest: float = 20.0

    def delay(self, tried: int, asked: float | None) -> float:
        """Return the seconds to wait after `tried` tries; half of them by chance.

        Chance keeps many requests that failed together from coming back together. What the
        server asked for (Retry-After) is kept at least.
        """
        most = min(self.longest, self.first * 2.0 ** (tried - 1))
        return max(most * random.uniform(0.5, 1.0), asked or 0.0)


class Health:
    """What a server's requests came to: a pause it asked for, and samples lost in a row."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._not_before = 0.0
        self._ever = False
        self._lost = 0

    def pause(self, seconds: float) -> None:
        """Let nobody ask for so long: the server has too much to do."""
        self._not_before = max(self._not_before, self._clock() + seconds)

    @property
    def wait(self) -> float:
        """Seconds until the next request may be sent."""
        return max(0.0, self._not_before - self._clock())

    def answered(self) -> None:
        """Note a whole answer."""
        self._ever, self._lost = True, 0

    def lost(self) -> bool:
        """Note a sample that is given up; True if the server has to be given up, too."""
        self._lost += 1
        return not self._ever or self._lost >= IN_A_ROW
