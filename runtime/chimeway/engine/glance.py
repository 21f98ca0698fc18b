"""What a node asks that sleeps and was not hinted: is there anything to look for? One statement asks for all.

Once a second the lookout looks unasked, for what a lost hint should have told. There is nothing nearly
always, and each kind of work (signals, due runs, due deliveries, runs whose pause is over, calls that nobody
answered) would need a statement of its own to find that out. A glance asks all of it at once, and only if
there is something does whoever looks for it look. Its answer also bears the database's time, which the
follower would else ask for. A busy node does not glance: everybody looks for himself, as if there were none;
so it is where a glance is costly, since those who look may begin behind what was dealt with (`sparing`).
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from typing import Final

from chimeway.clock import Clock
from chimeway.engine.follower import Follower
from chimeway.limits import IDLE_LOOK_S
from chimeway.store import glances
from chimeway.store.pool import Database, persistently
from chimeway.store.sparing import Sparing

_FRESH_S: Final = 1.5 * IDLE_LOOK_S


class Glance:
    """Glances whenever it is asked to; `work` is called if there is some, `unpark` if a pause is over."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        follower: Follower,
        shards: Callable[[], Collection[int]],
        work: Callable[[], None],
        unpark: Callable[[], Awaitable[None]],
    ) -> None:
        """Take whom to ask, who names our shards, and whom to tell what."""
        self._database = database
        self._clock = clock
        self._follower = follower
        self._shards = shards
        self._work = work
        self._unpark = unpark
        self._asked = asyncio.Event()
        self._sparing = Sparing(clock)
        self._seen_at = float("-inf")
        self._calls = True

    def look(self) -> None:
        """Have it glance, soon."""
        self._asked.set()

    def watches(self) -> bool:
        """Say whether it has glanced of late: who is told by it need not look."""
        return self._clock.monotonic() - self._seen_at < _FRESH_S

    def no_calls(self) -> bool:
        """Say whether it has seen of late that no call to a provider is unanswered, or waits for a node."""
        return self.watches() and not self._calls

    async def serve(self) -> None:
        """Work until cancelled."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            if not self._sparing.may():
                self._work()
                continue
            seen = await persistently(self._glance)
            if seen.work:
                self._work()
            if seen.parked:
                await self._unpark()

    async def _glance(self) -> glances.Seen:
        sent_at = self._clock.monotonic()
        with self._sparing.looking():
            seen = await glances.glance(self._database, self._clock.now(), self._shards())
        self._follower.told(seen.now, sent_at)
        self._seen_at, self._calls = self._clock.monotonic(), seen.calls
        return seen
