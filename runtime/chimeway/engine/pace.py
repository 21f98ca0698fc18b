"""How many may be at work at once, for none to wait longer than is wanted: by what was done of late. Pure.

By Little's law who is taken up waits, in the mean, as many seconds as there are at work divided by how many a
second come to their end. So no more are let in than have ended in as long as may be waited; but never fewer
than fill the batches, for with nothing to gather a slow node would become slower still.

It finds its height by itself: whoever has little to do ends little, and has the least number, which is
enough for as long as there is little; in a storm the number limits, each wait is then shorter than is wanted,
more ends in a second than before, and the number rises, until the node does not get faster by it. When the
database stands still it falls, and rises again as soon as something ends.
"""

from collections import deque
from typing import Final

_REMEMBERED_S: Final = 2.0
_GRAIN_S: Final = 0.25


class Pace:
    """Told when something ends; times are in seconds on a clock that never goes back."""

    def __init__(self, now: float, *, wait_s: float, least: int, most: int) -> None:
        """Take when it begins, how long may be waited, and between which numbers it moves."""
        self._began = now
        self._wait_s = wait_s
        self._least = least
        self._most = most
        self._ended: deque[tuple[float, int]] = deque()
        """When something ended, to a grain, and how much did."""
        self._many = 0

    def note(self, now: float) -> None:
        """One has ended."""
        self._many += 1
        if self._ended and now - self._ended[-1][0] < _GRAIN_S:
            self._ended[-1] = (self._ended[-1][0], self._ended[-1][1] + 1)
        else:
            self._ended.append((now, 1))

    def per_second(self, now: float) -> float:
        """Return how many ended in a second, in the last two."""
        while self._ended and self._ended[0][0] <= now - _REMEMBERED_S:
            self._many -= self._ended.popleft()[1]
        return self._many / min(_REMEMBERED_S, max(_GRAIN_S, now - self._began))

    def places(self, now: float) -> int:
        """Return how many may be at work now."""
        return min(self._most, max(self._least, int(self.per_second(now) * self._wait_s)))
