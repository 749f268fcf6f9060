"""Median differences of paired rounds with distribution-free intervals."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from math import comb

#: The least confidence of an interval.
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Difference:
    """Relative difference of the new build, with its interval."""

    median: float
    low: float
    high: float

    @property
    def includes_zero(self) -> bool:
        """Whether no difference is compatible with the rounds."""
        return self.low <= 0 <= self.high


def relative_difference(pairs: list[tuple[float, float]]) -> Difference:
    """Return the median of (new - base) / base with its interval.

    Each pair is (base, new).

    The interval lies between two order statistics of the differences (the sign test turned around; see W. J. Conover,
    Practical Nonparametric Statistics, section 3.2). Raises ValueError for fewer than six pairs, which allow none.
    """
    differences = sorted((new - base) / base for base, new in pairs)
    rank = interval_rank(len(differences))
    return Difference(statistics.median(differences), differences[rank], differences[-1 - rank])


def interval_rank(count: int) -> int:
    """Return the largest number of values that may lie outside each end.

    Raises ValueError when even the whole range falls short of the confidence.
    """
    rank = -1
    outside = 0.0
    while True:
        outside += 2 * comb(count, rank + 1) / 2**count
        if outside > 1 - CONFIDENCE:
            break
        rank += 1
    if rank < 0:
        raise ValueError(f"{count} rounds are too few for an interval: at least 6")
    return rank
