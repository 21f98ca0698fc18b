"""Finds what no wake found: after crashes, lost answers and rolling deploys. Idle cost: five queries.

Each thing it looks for is also found by its own wake when all goes well:
- mail that no decision has seen: its router died between routing and waking;
- runs that waited for a node that understands them: this one may.
What is late by a lost hint is not its matter; the lookout looks every second.
"""

import random
from collections.abc import Awaitable, Callable
from uuid import UUID

import structlog

from chimeway.clock import Clock, SystemClock
from chimeway.limits import SWEEP_EVERY_S, SWEEP_PAGE
from chimeway.store import nodes, runs
from chimeway.store.catalogue import Catalogue
from chimeway.store.pool import Database, persistently

_log = structlog.get_logger()


class Sweeper:
    """Sweeps every few seconds, page by page."""

    def __init__(
        self,
        database: Database,
        catalogue: Catalogue,
        clock: Clock,
        admit: Callable[[UUID], Awaitable[None]],
    ) -> None:
        """Take where what is found goes; it may make us wait."""
        self._database = database
        self._catalogue = catalogue
        self._clock = clock
        self._admit = admit

    async def serve(self) -> None:
        """Work until cancelled."""
        while True:
            began = self._clock.monotonic()
            found = await self._unread()
            reclaimed = await persistently(runs.reclaim_capable, self._database, self._catalogue)
            await self._tell_time()
            if found or reclaimed:
                seconds = round(self._clock.monotonic() - began, 3)
                _log.info("sweep.finished", unread=found, reclaimed=reclaimed, seconds=seconds)
            await self._clock.sleep(SWEEP_EVERY_S * (0.5 + random.random()))  # noqa: S311  (jitter)

    async def _unread(self) -> int:
        after, found = runs.NO_ID, 0
        while True:
            behind = after
            page = await persistently(runs.unread, self._database, behind, SWEEP_PAGE)
            for run_id in page:
                await self._admit(run_id)
            found += len(page)
            if len(page) < SWEEP_PAGE:
                return found
            after = page[-1]

    async def _tell_time(self) -> None:
        """Follow the database's clock."""
        if isinstance(self._clock, SystemClock):
            await persistently(nodes.synchronise, self._database, self._clock)
