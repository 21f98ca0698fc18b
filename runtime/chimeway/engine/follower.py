"""Follows the database's clock: our estimate of it is measured again and again, and at once when in doubt.

Between measures the estimate goes on by the monotonic clock. So a database's clock that is put forward or
back is noticed at the next measure only; until then whatever is decided here bears a wrong `now`. One too
late does no harm. One too early is refused by the database, and who is refused says so (`doubt`): without
that every timer of the next minutes would be tried in vain for seconds.
"""

import asyncio
from datetime import datetime
from typing import Final

from chimeway.clock import Clock, SystemClock, set_within
from chimeway.limits import CLOCK_EVERY_S
from chimeway.log import Events
from chimeway.store import nodes
from chimeway.store.pool import Database, persistently

_log = Events()
_STEP_S: Final = 1.0
"""A move of the estimate that is told: measures differ by milliseconds, clocks that are put right by more."""
_AT_MOST_EVERY_S: Final = 0.2


class Follower:
    """Keeps a clock right; one that tests move needs nobody."""

    def __init__(self, database: Database, clock: Clock) -> None:
        """Take whose clock is followed, and by whom."""
        self._database = database
        self._clock = clock
        self._doubted = asyncio.Event()
        self._measured_at = float("-inf")

    def doubt(self) -> None:
        """Have it measured at once: the database has refused our time."""
        self._doubted.set()

    async def measure(self) -> None:
        """Measure once, and say when the database's clock was set."""
        clock = self._clock
        if not isinstance(clock, SystemClock):
            return
        was, asked_at = clock.now(), clock.monotonic()
        await persistently(nodes.synchronise, self._database, clock)
        self._note(clock, was, clock.monotonic() - asked_at)

    def told(self, database_now: datetime, sent_at: float) -> None:
        """Take a measure that came with the answer to something else, asked then (monotonic)."""
        clock = self._clock
        if isinstance(clock, SystemClock):
            was = clock.now()
            clock.synchronise(database_now, sent_at, clock.monotonic())
            self._note(clock, was, 0.0)

    async def serve(self) -> None:
        """Work until cancelled."""
        while isinstance(self._clock, SystemClock):
            if self._doubted.is_set() or self._fresh_s() <= 0:
                self._doubted.clear()
                await self.measure()
            await asyncio.sleep(_AT_MOST_EVERY_S)
            await set_within(self._doubted, max(0.0, self._fresh_s()))

    def _fresh_s(self) -> float:
        """Return for how long the newest measure is good."""
        return self._measured_at + CLOCK_EVERY_S - self._clock.monotonic()

    def _note(self, clock: SystemClock, was: datetime, took_s: float) -> None:
        self._measured_at = clock.monotonic()
        by_s = (clock.now() - was).total_seconds() - took_s
        if abs(by_s) > _STEP_S + took_s:
            _log.warning("clock.stepped", by_s=round(by_s, 3))
