"""How often all of an index is looked through, where that is costly: of the time a twentieth at most.

What is dealt with leaves the indexes of what is due and of signals that wait, but its entries stay until
vacuum takes them, and vacuum takes none that an older snapshot might see: of a dump that lasts an hour, of a
transaction that somebody forgot. Looks begin where the oldest is, so each would go through all of these: a
tenth of a second each after forty thousand journeys (docs/benchmarks/log.md), and many a second. So who has
found that costly begins, most times, behind a mark: behind what was dealt with when he looked last.

On a machine that is too busy all looks take long, and then nothing is won by a mark. So those that begin
there are measured as well, and unless they take a third of the time at most, all are looked at as ever.

What can be behind the mark: a row that was committed late (its transaction was open for longer than
`LATE_S`), or that comes back with its old time (a run that is resumed, or no longer paused). Looking at all
finds these, at its next time. Nothing is lost, and where looking is cheap all are always looked at.
"""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Final

from chimeway.clock import Clock

LATE_S: Final = 3.0
LATE: Final = timedelta(seconds=LATE_S)
"""How far a mark stays behind the present: for longer few transactions are open."""

_CHEAP_S: Final = 0.002
"""So long a look may take that goes through all, and be repeated at once."""
TIMES: Final = 20
"""How many times as long as it took nobody looks at all again."""
_LONGEST_S: Final = 10.0
_COUNTED: Final = 3
"""Of so many looks the shortest counts: one that a busy machine, or a lock, kept waiting says nothing."""
_WORTH: Final = 3
"""So many times less each of some looks must take to be worth it that not all is looked at."""


class Sparing:
    """Says when to look at all again, by what that took of late."""

    def __init__(self, clock: Clock, times: int | None = None) -> None:
        """Take whose seconds count, and how many times as long as it took nobody looks at all again (20)."""
        self._clock = clock
        self._times = times or TIMES
        self._whole: deque[float] = deque(maxlen=_COUNTED)
        self._spared: deque[float] = deque(maxlen=_COUNTED)
        self._again_at = float("-inf")
        self._not_worth_until = float("-inf")

    def may(self) -> bool:
        """Say whether to look at all now."""
        return self.pause_s() <= 0

    def pause_s(self) -> float:
        """Return in how many seconds to look at all again; nought or less: now."""
        return self._again_at - self._clock.monotonic()

    @contextmanager
    def looking(self, *, whole: bool = True) -> Iterator[None]:
        """Measure a look, at all or behind a mark; one that fails is none."""
        began = self._clock.monotonic()
        yield
        now = self._clock.monotonic()
        (self._whole if whole else self._spared).append(now - began)
        cost = min(self._whole) if len(self._whole) == _COUNTED else 0.0
        for_now = now + min(self._times * cost, _LONGEST_S)
        if self._spared and _WORTH * max(self._spared) > cost:
            self._spared.clear()
            self._not_worth_until = for_now
        if cost <= _CHEAP_S or now < self._not_worth_until:
            self._again_at = float("-inf")
        elif whole:
            self._again_at = for_now
