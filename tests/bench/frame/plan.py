"""What a bench is: sides, the figures that a round of each gives, and what is asked of them. Plain values."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from .stage import Stage

PAIRS: Final = 7
"""The fewest pairs of which a report speaks: with seven, the least and the most hold the median in 98.4 %."""
_QUICK_PAIRS: Final = 2

Better = Literal["lower", "higher", ""]
Side = Callable[["Stage"], Awaitable[Mapping[str, float]]]
"""Plays one round, and returns its figures by name. A figure that cannot be had here is left out."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What whoever runs benches asked for."""

    quick: bool = False
    full: bool = False
    pairs: int | None = None
    seconds: float = 4.0

    def sized(self, whole: int, quick: int) -> int:
        """Return how much of something is wanted: all of it, or as much as shows that the bench works."""
        return quick if self.quick else whole


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure of a round: its name, its unit, and whether lower or higher is better (empty: a fact)."""

    name: str
    unit: str
    better: Better = ""
    plotted: bool = True


@dataclass(frozen=True, slots=True)
class Ratio:
    """A figure of one side to that of another in the same pair.

    `target`: at most that where a lower figure is better, at least that where a higher one is.
    `to_figure`: the other side's figure, where it bears another name.
    """

    figure: str
    of: str
    to: str
    target: float | None = None
    to_figure: str | None = None


@dataclass(frozen=True, slots=True)
class Given:
    """Under which condition a target is asked for: where this median is at most so much."""

    figure: str
    side: str
    at_most: float


@dataclass(frozen=True, slots=True)
class Target:
    """What the median of a figure should be."""

    figure: str
    side: str
    at_most: float | None = None
    at_least: float | None = None
    where: Given | None = None


@dataclass(frozen=True, slots=True)
class Bench:
    """A measurement: what is measured, and how. Without a stage it has a server of its own."""

    code: str
    title: str
    what: str
    sides: Mapping[str, Side]
    figures: Sequence[Figure]
    ratios: Sequence[Ratio] = ()
    targets: Sequence[Target] = ()
    stage: "Callable[[Asked], AbstractAsyncContextManager[Stage]] | None" = None
    pairs: int = PAIRS
    notes: Sequence[str] = field(default=())

    def pairs_asked(self, asked: Asked) -> int:
        """Return how many pairs are played."""
        return asked.pairs or (_QUICK_PAIRS if asked.quick else self.pairs)
