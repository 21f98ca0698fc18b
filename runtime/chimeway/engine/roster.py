"""Who is at work: one actor for each run that has something to do, and a bound on how many.

An actor is a plain task under one supervising group; it lives while its run has work and passivates
when the run waits: ten million waiting runs cost rows, not tasks. A wake for a run that is at work
marks it, and it looks once more before it rests. Whoever brings wakes waits for room: so a storm
raises the queue, which stands in the database, and not the memory.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final
from uuid import UUID

from chimeway.clock import Clock, set_within
from chimeway.limits import LIVE_ACTORS

_FIRST_ACTORS: Final = 100
_DOUBLING_S: Final = 0.25


class Roster:
    """Maps runs to their actors."""

    def __init__(
        self, play: Callable[[UUID], Awaitable[None]], group: asyncio.TaskGroup, clock: Clock
    ) -> None:
        """Take what an actor does; it must not raise but for what ends the engine."""
        self._play = play
        self._group = group
        self._clock = clock
        self._started = clock.monotonic()
        self._dirty: dict[UUID, bool] = {}
        self._left = asyncio.Event()
        self._closed = False

    def __len__(self) -> int:
        """Return how many runs are at work."""
        return len(self._dirty)

    def __contains__(self, run_id: object) -> bool:
        """Say whether this run is at work."""
        return run_id in self._dirty

    async def admit(self, run_id: UUID) -> None:
        """See that this run is evaluated after this call, as soon as there is room."""
        while run_id not in self._dirty and len(self._dirty) >= self._room():
            self._left.clear()
            await set_within(self._left, _DOUBLING_S)
        self.nudge(run_id)

    def nudge(self, run_id: UUID) -> None:
        """See that this run is evaluated after this call, room or not: for one's own follow-ups."""
        if self._closed:
            return
        if run_id in self._dirty:
            self._dirty[run_id] = True
            return
        self._dirty[run_id] = True
        self._group.create_task(self._live(run_id), name=f"run-{run_id}")

    async def settle(self, run_id: UUID) -> None:
        """See that this run is evaluated, and wait until it rests."""
        self.nudge(run_id)
        while run_id in self._dirty:
            self._left.clear()
            await self._left.wait()

    def close(self) -> None:
        """Take nobody in any more."""
        self._closed = True

    async def emptied(self) -> None:
        """Wait until nobody is at work."""
        while self._dirty:
            self._left.clear()
            await self._left.wait()

    async def _live(self, run_id: UUID) -> None:
        try:
            while self._dirty[run_id]:
                self._dirty[run_id] = False
                await self._play(run_id)
        finally:
            del self._dirty[run_id]
            self._left.set()

    def _room(self) -> int:
        """A slow start: after an outage what is overdue must not all stand at the door at once."""
        doublings = min(16, int((self._clock.monotonic() - self._started) / _DOUBLING_S))
        return min(LIVE_ACTORS, _FIRST_ACTORS << doublings)
