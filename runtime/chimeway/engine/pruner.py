"""Prunes by itself, so that nobody who never heard of `chimeway prune` finds a full disk.

A node looks once a minute, in seven statements that find nothing when all is well; one node at a time (a
row's lock says who). A batch is some thousand rows, a transaction of some fifty milliseconds, and waits for
nobody. Behind each the pruner rests for a multiple of what the batch took, longer while the node is
overloaded: work goes first, and a day has enough hours that are not its busiest. Only where what should
have left long ago piles up does it rest for as long as it works, and no longer: a full disk stops all work.
"""

from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Final

from chimeway.clock import Clock, jittered
from chimeway.limits import PRUNE_EVERY_S
from chimeway.log import Events
from chimeway.store.pool import Database, persistently
from chimeway.store.pruning import PARTS, Part, Retention, Turn, turn

_log = Events()
_RESTS: Final = 4.0
"""For one of work: a fifth of one connection's time, in which some five hundred runs a second leave."""
_RESTS_BEHIND: Final = 1.0
_RESTS_OVERLOADED: Final = 20.0
_BEHIND: Final = timedelta(hours=1)
_AT_LEAST_S: Final = 0.02
_SAY_EVERY_S: Final = 3600.0


class Pruner:
    """Removes what has ended long ago while the node lives; it needs no lease."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        retention: Retention,
        *,
        overloaded: Callable[[], bool],
        behind: timedelta = _BEHIND,
    ) -> None:
        """Take for how long what is kept, who says whether work is late, and when pruning itself is."""
        self._database = database
        self._clock = clock
        self._retention = retention
        self._overloaded = overloaded
        self._behind = behind
        self._removed: Counter[str] = Counter()
        self._said_at = clock.monotonic()
        self._failed_at: dict[Part, float] = {}

    async def serve(self) -> None:
        """Work until cancelled."""
        while True:
            await self._clock.sleep(jittered(PRUNE_EVERY_S))
            for part in PARTS:
                await self._try(part)
            self._say()

    async def _try(self, part: Part) -> None:
        """Prune; whatever keeps it from that (a stranger's foreign key, say) keeps nobody from his work."""
        try:
            await self.prune(part)
        except Exception as error:  # noqa: BLE001  (said, and tried again)
            now = self._clock.monotonic()
            if part not in self._failed_at or now - self._failed_at[part] > _SAY_EVERY_S:
                self._failed_at[part] = now
                _log.error("prune.failed", part=part, error=repr(error))

    async def prune(self, part: Part) -> None:
        """Remove all of a part that may leave, unless another node is at it."""
        while True:
            began = self._clock.monotonic()
            done = await persistently(turn, self._database, part, self._retention)
            self._removed.update(done.removed)
            if not done.more:
                return
            await self._clock.sleep(self._rest_s(done, self._clock.monotonic() - began))

    def _rest_s(self, done: Turn, took_s: float) -> float:
        rests = _RESTS_OVERLOADED if self._overloaded() else _RESTS
        if done.behind > self._behind:
            rests = _RESTS_BEHIND
        return max(_AT_LEAST_S, rests * took_s)

    def _say(self) -> None:
        now = self._clock.monotonic()
        if self._removed and now - self._said_at > _SAY_EVERY_S:
            _log.info("prune.removed", seconds=round(now - self._said_at), rows=dict(self._removed))
            self._removed.clear()
            self._said_at = now
