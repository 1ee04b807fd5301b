"""Shares and exact tests on counts, by the standard library alone."""

from collections.abc import Iterable
from math import comb, sqrt
from typing import Any

from lorid_local.calibration import wilson


def share(right: int, n: int) -> dict[str, Any]:
    """Return right of n with its share and 95% Wilson interval, in 0 to 1; share None of none."""
    low, high = wilson(right, n)
    return {"right": right, "n": n, "share": right / n if n else None, "low": low, "high": high}


def mcnemar(only_first: int, only_second: int) -> float:
    """Return the two-sided exact p of McNemar's test (1947): a sign test on the pairs that differ.

    `only_first` problems were right by the first method alone, `only_second` by the second.
    """
    n, k = only_first + only_second, min(only_first, only_second)
    tail: float = 2 * sum(comb(n, i) for i in range(k + 1)) / 2**n
    return min(1.0, tail)


def leads(first: int, second: int) -> float:
    """Return P(the first answer is the more likely one) after so many votes for the two leaders.

    1 - I_1/2(first + 1, second + 1), the Beta test of Adaptive-Consistency (arXiv 2305.11860).
    """
    n = first + second + 1
    share: float = sum(comb(n, i) for i in range(first + 1)) / 2**n
    return share


def calibration_error(bins: Iterable[tuple[float, int, int]]) -> float:
    """Return the expected calibration error of (foretold share, right, n): mean |gap|, by n.

    0.0 where there are no cases (Naeini et al., AAAI 2015).
    """
    used = [(share, right, n) for share, right, n in bins if n]
    total = sum(n for _, _, n in used)
    return sum(n * abs(right / n - share) for share, right, n in used) / total if total else 0.0


def brier(bins: Iterable[tuple[float, int, int]]) -> float:
    """Return the Brier score (1950) of (foretold share, right, n): mean squared error of P(right).

    0.0 where there are no cases; smaller is better.
    """
    used = list(bins)
    total = sum(n for _, _, n in used)
    lost = sum(right * (1 - share) ** 2 + (n - right) * share**2 for share, right, n in used)
    return lost / total if total else 0.0


def phi(both: int, first: int, second: int, neither: int) -> float | None:
    """Return the correlation of two yes-no outcomes from their 2x2 table; None if one is constant.

    `first` and `second` count where only the first or the second is yes.
    """
    rows: int = (both + first) * (second + neither) * (both + second) * (first + neither)
    return (both * neither - first * second) / sqrt(rows) if rows else None
