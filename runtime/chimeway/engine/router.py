"""Puts waiting signals into the mailboxes of runs, and wakes those that got mail.

Routing is for latency: a decision routes for its own runs what was not routed before (the ledger's
second statement), so a signal counts from its commit, whoever is how late.
"""

import asyncio
from collections.abc import Awaitable, Callable
from uuid import UUID

from chimeway.store import mailbox
from chimeway.store.pool import Database, persistently


class Router:
    """Routes batch after batch whenever it is asked to look."""

    def __init__(self, database: Database, admit: Callable[[UUID], Awaitable[None]]) -> None:
        """Take where woken runs go; it may make us wait."""
        self._database = database
        self._admit = admit
        self._asked = asyncio.Event()
        self.found = 0

    def look(self) -> None:
        """Have it look for signals, soon."""
        self._asked.set()

    async def serve(self) -> None:
        """Work until cancelled."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            await self._route_all()

    async def _route_all(self) -> None:
        after: int | None = 0
        while after is not None:
            runs, after = await persistently(mailbox.route, self._database, after)
            self.found += after is not None
            for run_id in runs:
                await self._admit(run_id)
