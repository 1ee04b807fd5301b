"""How sure an outcome makes us: counts from the dev split, never a feeling.

A calibration holds for the bundle's own settings only; with others lorid says nothing.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lorid_local.trace import Trace

Z95 = 1.959964  # the normal distribution's 97.5% point


@dataclass(frozen=True)
class Bin:
    """Of `n` cases, to which System 1 gave a probability of `least` or more, `right` were right.

    The cases of the bin before it, whose `least` is larger, are not among them.
    """

    least: float
    right: int
    n: int

    def __post_init__(self) -> None:
        _check(self.right, self.n)
        if not 0 <= self.least <= 1:
            raise ValueError(f"least must lie in 0 to 1, got {self.least}")


@dataclass(frozen=True)
class Band:
    """Of `n` problems that agreed in rounds `first` to `last`, `right` were right.

    `bins`, if any, are the same by System 1's probability, from the largest down to 0.
    """

    first: int
    last: int
    right: int
    n: int
    bins: tuple[Bin, ...] = ()

    def __post_init__(self) -> None:
        _check(self.right, self.n)


@dataclass(frozen=True)
class Counts:
    """Of `n` cases `right` were right; `bins` as in Band."""

    right: int
    n: int
    bins: tuple[Bin, ...] = ()

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
    """P(right) as counted: right of n, with a 95% Wilson interval in percent.

    `probability` is what System 1 gave its text (trace.probability), where the counts are by it.
    """

    right: int
    n: int
    low: int
    high: int
    data: str
    case: str
    probability: float | None = None

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
    if calibration is None or calibration.protocol != trace.protocol or trace.answer is None:
        return None
    if trace.status == "agreed" and trace.agreed_round is not None:
        for band in calibration.agreed:
            if band.first <= trace.agreed_round <= band.last:
                return _sure(band, trace.probability, calibration.data, named(band))
        return None
    if trace.status == "no-agreement" and trace.max_rounds == calibration.rounds:
        return _sure(calibration.no_agreement, trace.probability, calibration.data, "no agreement")
    return None


def named(band: Band) -> str:
    """Return a band's case in words."""
    if band.first == band.last:
        return f"agreed in round {band.first}"
    return f"agreed in rounds {band.first}-{band.last}"


def place(bins: Sequence[Bin], probability: float) -> int:
    """Return which of the bins a probability falls into."""
    return next(i for i, one in enumerate(bins) if probability >= one.least or i == len(bins) - 1)


def span(bins: Sequence[Bin], at: int) -> str:
    """Return in words what System 1's probabilities in a bin are: '93% or more', '12-93%'."""
    low, high = f"{100 * bins[at].least:.3g}%", f"{100 * bins[at - 1].least:.3g}%"
    if at == 0:
        return f"{low} or more"
    return f"less than {high}" if at == len(bins) - 1 else f"{low[:-1]}-{high}"


def _sure(found: Band | Counts, probability: float | None, data: str, case: str) -> Sureness | None:
    counts: Band | Counts | Bin = found
    if not found.bins or probability is None:
        probability = None
    else:
        at = place(found.bins, probability)
        counts, case = found.bins[at], f"{case}, System 1's text at {span(found.bins, at)}"
    if counts.n == 0:
        return None
    low, high = (round(100 * share) for share in wilson(counts.right, counts.n))
    return Sureness(counts.right, counts.n, low, high, data, case, probability)
