"""Medians, and between which values of a sample the true median lies. Pure.

No distribution is assumed: each value is above the median or below it by the toss of a coin, so the k-th
least and the k-th most of n values hold it between them unless fewer than k fell on one side. We take the
narrowest such interval that holds it in at least 95 of 100 samples, and say in how many: of seven
values, the least and the most (98.4 %). Of fewer than six none is that sure; the widest says how sure it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb
from statistics import median
from typing import Final

_WANTED: Final = 0.95


@dataclass(frozen=True, slots=True)
class Spread:
    """A median, its interval, and in what share of samples such an interval holds the true median."""

    median: float
    low: float
    high: float
    confidence: float


def spread(values: Sequence[float]) -> Spread:
    """Return the median of some values, with its interval."""
    ordered = sorted(values)
    rank = max([1, *(k for k in range(1, len(ordered) // 2 + 1) if confidence(len(ordered), k) >= _WANTED)])
    return Spread(median(ordered), ordered[rank - 1], ordered[-rank], confidence(len(ordered), rank))


def confidence(many: int, rank: int) -> float:
    """Return how surely the rank-th least and the rank-th most of so many values hold the median."""
    outside = sum(comb(many, below) for below in range(rank)) / float(2**many)
    return max(0.0, 1 - 2 * outside)


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the value that so many percent of some values do not exceed (the nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, min(len(ordered) - 1, -int(-percent * len(ordered) // 100) - 1))]
