"""Puts waiting signals into the mailboxes of runs, and wakes those that got mail.

Routing is for latency: a decision routes for its own runs what was not routed before (the ledger's
second statement), so a signal counts from its commit, whoever is how late.

Where the answer to a batch was lost, its signals may lie in mailboxes, and nobody knows in whose: the sweeper
is asked to look for mail that no decision has seen.

Signals are routed as they came. While there are more than one batch of them, turns are taken beside it: some
of tenant after tenant, so that nobody's signal stands behind another tenant's thousands.
"""

import asyncio
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Final
from uuid import UUID

from chimeway.clock import set_within
from chimeway.engine.taker import Taker
from chimeway.limits import TURN_EVERY_S
from chimeway.store import mailbox
from chimeway.store.faults import fault_of
from chimeway.store.ids import every_shard
from chimeway.store.pool import Database, persistently

_SHORT: Final = 100
"""Of a batch: it is handed on so soon that nobody who comes meanwhile would notice."""


class Router:
    """Routes batch after batch whenever it is asked to look."""

    def __init__(
        self,
        database: Database,
        taker: Taker,
        crowded: Callable[[], Collection[str | None]],
        unheard: Callable[[], None],
        shards: Callable[[], Collection[int]] = every_shard,
    ) -> None:
        """Take where woken runs go, who names tenants that have runs enough waiting there, whom to tell that
        there may be mail of which nobody was told, and who names our shards.
        """
        self._database = database
        self._unheard = unheard
        self._shards = shards
        self._taker = taker
        self._crowded = crowded
        self._turns = mailbox.SignalsInTurn(database, shards)
        self._asked = asyncio.Event()
        self._asked_for_turn = asyncio.Event()
        self._backlog = asyncio.Event()
        self.found = 0

    @property
    def in_backlog(self) -> bool:
        """Whether more signals wait than one batch."""
        return self._backlog.is_set()

    def look(self) -> None:
        """Have it look for signals, soon."""
        self._asked.set()
        self._asked_for_turn.set()

    async def serve(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._route(), name="as-they-came")
            group.create_task(self._take_turns(), name="turns")

    async def _route(self) -> None:
        while True:
            await self._asked.wait()
            self._asked.clear()
            await self._route_all()
            self._backlog.clear()

    async def _route_all(self) -> None:
        after: int | None = 0
        while after is not None:
            before = after
            runs, after = await persistently(self._route_batch, after)
            self.found += after is not None
            if before or len(runs) > _SHORT:
                self._backlog.set()
            for run_id, tenant in runs:
                await self._taker.admit(run_id, tenant)

    async def _route_batch(self, after: int) -> tuple[list[tuple[UUID, str]], int | None]:
        with self._answered():
            return await mailbox.route(self._database, after, self._shards())

    async def _route_turn(self, passed_over: Collection[str]) -> list[tuple[UUID, str]]:
        with self._answered():
            return await self._turns.next(passed_over)

    @contextmanager
    def _answered(self) -> Iterator[None]:
        """See that an answer that is lost leaves nobody's mail lying."""
        try:
            yield
        except Exception as error:
            if fault_of(error) == "connection":
                self._unheard()
            raise

    async def _take_turns(self) -> None:
        """Route tenant by tenant, while there is a backlog.

        A run that found no room is offered again: it has mail, but need not be due, so no sweep would bring
        it soon. Its tenant is passed over until then.
        """
        again: dict[UUID, str | None] = {}
        while True:
            if not again:
                await self._backlog.wait()
            self._asked_for_turn.clear()
            if self._backlog.is_set():
                waiting = {tenant for tenant in (*self._crowded(), *again.values()) if tenant is not None}
                woken = await persistently(self._route_turn, waiting)
                self.found += len(woken)
                again |= dict(woken)
                if woken:
                    self._asked.set()  # what a turn has locked the other passes over, and it may be the rest
            for run_id, tenant in again.items():
                self._taker.offer(run_id, tenant)
            again = {run: tenant for run, tenant in again.items() if not self._taker.at_work(run)}
            await set_within(self._asked_for_turn, TURN_EVERY_S)
