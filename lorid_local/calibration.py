"""How sure an outcome makes us: counts from the dev split, never a feeling.

A calibration holds for the bundle's own settings only; with others lorid says nothing.
"""

import math
from dataclasses import dataclass

from lorid_local.trace import Trace

Z95 = 1.959964  # the normal distribution's 97.5% point


@dataclass(frozen=True)
class Band:
    """Of `n` problems that agreed in rounds `first` to `last`, `right` were right."""

    first: int
    last: int
    right: int
    n: int

    def __post_init__(self) -> None:
        _check(self.right, self.n)


@dataclass(frozen=True)
class Counts:
    """Of `n` cases `right` were right."""

    right: int
    n: int

    def __post_init__(self) -> None:
        _check(self.right, self.n)


def _check(right: int, n: int) -> None:
    if not 0 <= right <= n:
        raise ValueError(f"right must lie in 0 to n, got {right} of {n}")


@dataclass(frozen=True)
class Calibration:
    """Counts on `data`, drawn with this protocol and t and the bundle's own role settings."""

    data: str
    protocol: str
    rounds: int
    agreed: tuple[Band, ...]
    no_agreement: Counts


@dataclass(frozen=True)
class Sureness:
    """P(right) as counted: right of n, with a 95% Wilson interval in percent."""

    right: int
    n: int
    low: int
    high: int
    data: str
    case: str

    def sentence(self) -> str:
        """Return it in words for the user."""
        return (
            f"right in {self.right} of {self.n} such cases on {self.data} "
            f"(95% interval {self.low}-{self.high}%)"
        )


def wilson(right: int, n: int) -> tuple[float, float]:
    """Return the 95% Wilson score interval of a share, in 0 to 1 (E. B. Wilson, 1927)."""
    if n == 0:
        return 0.0, 1.0
    share, z2 = right / n, Z95**2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z95 / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def sureness(calibration: Calibration | None, trace: Trace) -> Sureness | None:
    """Return how often such an outcome was right; None where nothing was counted for it."""
    if calibration is None or calibration.protocol != trace.protocol:
        return None
    if trace.status == "agreed" and trace.agreed_round is not None:
        for band in calibration.agreed:
            if band.first <= trace.agreed_round <= band.last:
                return _sure(band.right, band.n, calibration.data, _case(band))
        return None
    if trace.status == "no-agreement" and trace.max_rounds == calibration.rounds:
        counts = calibration.no_agreement
        return _sure(counts.right, counts.n, calibration.data, "no agreement")
    return None


def _case(band: Band) -> str:
    if band.first == band.last:
        return f"agreed in round {band.first}"
    return f"agreed in rounds {band.first}-{band.last}"


def _sure(right: int, n: int, data: str, case: str) -> Sureness | None:
    if n == 0:
        return None
    low, high = wilson(right, n)
    return Sureness(right, n, round(100 * low), round(100 * high), data, case)
