"""Behind what to look for signals, where looking at all is costly. (`store.sparing` has the theory.)"""

from collections import deque
from collections.abc import Collection
from contextlib import AbstractContextManager

from chimeway.clock import Clock
from chimeway.store.sparing import LATE_S, Sparing


class Marks:
    """Says behind which arrival number to look for signals."""

    def __init__(self, clock: Clock) -> None:
        """Begin with nothing seen."""
        self._clock = clock
        self._sparing = Sparing(clock)
        self._shards: frozenset[int] = frozenset()  # in which all was looked at
        self._seen: deque[tuple[float, int]] = deque()
        self._mark = 0

    def begin(self, shards: Collection[int]) -> int:
        """Return behind what to look in these shards; 0: at all."""
        mine = frozenset(shards)
        self._move()
        if self._sparing.may() or not mine <= self._shards:
            self._shards = mine
            return 0
        self._shards &= mine  # what is given away now may come back from another, with what he has left
        return self._mark

    def saw(self, arrival: int) -> None:
        """Note the highest of what a look has found."""
        if arrival > (self._seen[-1][1] if self._seen else self._mark):
            self._seen.append((self._clock.monotonic(), arrival))

    def looking(self, after: int) -> AbstractContextManager[None]:
        """Measure a look, at all or behind a number."""
        return self._sparing.looking(whole=not after)

    def _move(self) -> None:
        """Move the mark, needed or not: what was seen is remembered for some seconds, and no longer."""
        before = self._clock.monotonic() - LATE_S
        while self._seen and self._seen[0][0] <= before:
            self._mark = self._seen.popleft()[1]
