"""How steady the machine was: the same small work over and over, alone, between the rounds.

A shared machine takes its processors away, for milliseconds or for a tenth of a second, and counts it
nowhere: neither as stolen time nor as waiting. What comes a hundredth of the time is just what a 99th
percentile shows. So a loop that only adds is timed while nothing else of the bench works, and the page says
how far it was from its own best. It is no part of any figure.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from statistics import mean
from typing import Final

from .intervals import percentile

PROBED_S: Final = 0.5
"""Before each round."""
WINDOW_S: Final = 0.01
"""Means over so long are compared: single turns of the loop show each interrupt."""
_WORK: Final = range(500)

Timed = tuple[float, float]
"""When a turn of the loop began, and how long it took, in seconds."""


@dataclass(frozen=True, slots=True)
class Steadiness:
    """How many times as long as at its best the same work took: in the median, at p99, at worst."""

    p50: float
    p99: float
    worst: float


def probe(seconds: float = PROBED_S, clock: Callable[[], float] = time.perf_counter) -> list[float]:
    """Work for so long, and return how long a turn took, in seconds: the mean of each window, in order."""
    turns: list[Timed] = []
    began = now = clock()
    while now - began < seconds:
        since = now
        sum(_WORK)
        now = clock()
        turns.append((since - began, now - since))
    return windows(turns)


def windows(turns: Sequence[Timed]) -> list[float]:
    """Return the means of turns that began within the same window."""
    found = groupby(turns, key=lambda turn: int(turn[0] / WINDOW_S))
    return [mean(took for _, took in each) for _, each in found]


def steadiness(means: Sequence[float]) -> Steadiness:
    """Compare the means of all windows of a bench, at least one, with the least of them."""
    best = min(means)
    p50, p99 = percentile(means, 50), percentile(means, 99)
    return Steadiness(*(round(each / best, 2) for each in (p50, p99, max(means))))
