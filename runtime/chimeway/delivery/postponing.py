"""When those come again to whom alone the way is shut: their endpoint fails, or their one provider does.

Others of their channel may be called, so they cannot keep their turn in its lane. They come again one after
the other, a little apart, however many they are: a customer whose server is dead for a day costs a few looks
a second. Where that is not soon it is written down, so that no sweep goes through them meanwhile.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple
from uuid import UUID

from chimeway.clock import Clock
from chimeway.limits import GATE_ENDPOINTS, LEDGER_BATCH
from chimeway.store import deliveries
from chimeway.store.batching import Batcher
from chimeway.store.pool import Database

_APART_S: Final = 0.05
_SOON_S: Final = 5.0


class Postponed(NamedTuple):
    """A delivery and when it comes again."""

    id: UUID
    at: datetime


class Postponer:
    """Gives each who is turned away a time of his own, and sees that he comes then."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        put_off: Callable[[UUID, float], None],
        arm: Callable[[UUID, datetime | None], None],
    ) -> None:
        """Take what brings a delivery again: after a pause in memory, or when its row says so."""
        self._clock = clock
        self._put_off = put_off
        self._arm = arm
        self._last: OrderedDict[Hashable, float] = OrderedDict()

        async def write(rows: Sequence[Postponed]) -> Sequence[bool]:
            return await deliveries.postpone(database, rows)

        self._write: Batcher[Postponed, bool] = Batcher(write, told="postpone_deliveries", limit=LEDGER_BATCH)

    async def serve(self) -> None:
        """Work until cancelled."""
        await self._write.serve()

    async def turn_away(self, delivery_id: UUID, owner: Hashable, seconds: float) -> None:
        """Have a delivery come again in so many seconds, or as much later as others of its owner need."""
        pause_s = self._pause(owner, seconds)
        if pause_s > _SOON_S:
            at = self._clock.now() + timedelta(seconds=pause_s)
            if await self._write(Postponed(delivery_id, at)):
                self._arm(delivery_id, at)
                return
        self._put_off(delivery_id, pause_s)

    def _pause(self, owner: Hashable, seconds: float) -> float:
        now = self._clock.monotonic()
        while self._last and (len(self._last) > GATE_ENDPOINTS or next(iter(self._last.values())) < now):
            self._last.popitem(last=False)
        at = max(now + seconds, self._last.get(owner, now) + _APART_S)
        self._last[owner] = at
        self._last.move_to_end(owner)
        return at - now
