"""Hears signals: wakes the runs that they are for, and sees that they come into these runs' mailboxes.

Routing is for latency: a decision routes for its own runs what was not routed before (the ledger's
second statement), so a signal counts from its commit, whoever is how late. A decision may even be made on
mail that it only then puts into the mailbox (`store.runs.Loaded.foretold`): its guard says whether it was
put there as was foretold. So nothing need be written between a signal and the decision that it brings:

1. look which unrouted signals there are, and which runs they are for (`heed`: it writes nothing), but for
   those that were heard already; wake the runs;
2. a little later, when nearly all of these have been decided on, route what was heard: many at once, for
   most of which there is nothing left to do but to mark them. This finds what 1 did not bring about (a run
   that was locked, or that a decision did not move), so a signal that was heard and forgotten (by a crash, or
   a node that lost its shards) costs nothing but time: it is unrouted, and heard again.

Where much waits it is routed at once, in big batches: then a decision finds it in the mailbox.

Where the answer to a batch was lost, its signals may lie in mailboxes, and nobody knows in whose: the sweeper
is asked to look for mail that no decision has seen.

Where looking at all that waits is costly (`store.sparing`), most looks begin behind what was seen to arrive
some seconds ago (`marks`). Nobody's backlog is ever behind that, for it was not seen; what was locked may be.

Signals are heard, and routed, as they came. While there are more than one batch of them, turns are taken
beside it: some of tenant after tenant are routed, so that nobody's stand behind another tenant's thousands.
"""

import asyncio
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Final
from uuid import UUID

from chimeway.clock import Clock, set_within
from chimeway.engine.marks import Marks
from chimeway.engine.taker import Taker
from chimeway.limits import HEED_BATCH, TURN_EVERY_S
from chimeway.store import mailbox
from chimeway.store.faults import fault_of
from chimeway.store.ids import every_shard
from chimeway.store.pool import Database, persistently

_HEARD_S: Final = 0.1
"""How long signals that were heard are left to the decisions that they bring, before the rest is routed."""
_SHORT: Final = 100
"""Of a batch: it is handed on so soon that nobody who comes meanwhile would notice."""


class Router:
    """Hears batch after batch whenever it is asked to look."""

    def __init__(
        self,
        database: Database,
        taker: Taker,
        crowded: Callable[[], Collection[str | None]],
        unheard: Callable[[], None],
        clock: Clock,
        shards: Callable[[], Collection[int]] = every_shard,
    ) -> None:
        """Take where woken runs go, who names tenants that have runs enough waiting there, whom to tell that
        there may be mail of which nobody was told, what measures looks, and who names our shards.
        """
        self._database = database
        self._unheard = unheard
        self._shards = shards
        self._taker = taker
        self._crowded = crowded
        self._turns = mailbox.SignalsInTurn(database, shards)
        self._marks = Marks(clock)
        self._asked = asyncio.Event()
        self._asked_for_turn = asyncio.Event()
        self._backlog = asyncio.Event()
        self._heard: set[UUID] = set()
        self._heard_before: set[UUID] = set()
        self._to_mark = asyncio.Event()
        self._looking = False
        self._handed_on = 0
        self.found = 0

    def moved(self) -> int | None:
        """Return a number that is another one whenever this has got on; None: nobody asked it to look."""
        return self._handed_on if self._looking else None

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
            group.create_task(self._hear(), name="as-they-came")
            group.create_task(self._mark_heard(), name="marking")
            group.create_task(self._take_turns(), name="turns")

    async def _hear(self) -> None:
        while True:
            await self._asked.wait()
            self._asked.clear()
            self._looking = True
            await self._hear_all()
            self._looking = False
            self._handed_on += 1  # to have looked in vain is to have got on, too
            self._backlog.clear()

    async def _hear_all(self) -> None:
        """Wake the runs of what waits; where that is much, route it: in big batches that costs no more."""
        after = self._marks.begin(self._shards())
        heard = await persistently(self._heed, after)
        self._marks.saw(heard.last)
        if not heard.signals:
            return
        if len(heard.signals) >= HEED_BATCH:
            await self._route_all(after)
            return
        self.found += len(heard.signals)
        self._handed_on += 1
        self._heard.update(heard.signals)
        if len(heard.runs) > _SHORT:
            self._backlog.set()
        await self._admit(heard.runs)
        if heard.wide:
            await self._route_whole(heard.wide)
        self._to_mark.set()

    async def _heed(self, after: int) -> mailbox.Heard:
        known = [*self._heard, *self._heard_before]
        with self._marks.looking(after):
            return await mailbox.heed(self._database, known, self._shards(), after)

    async def _mark_heard(self) -> None:
        """Route what was heard, a while later: at once it would be routed before it is decided on."""
        while True:
            await self._to_mark.wait()
            await asyncio.sleep(_HEARD_S)
            if self._heard_before:
                await self._route_whole(self._heard_before)
            self._heard_before, self._heard = self._heard, set()
            if not self._heard_before:
                self._to_mark.clear()

    async def _route_whole(self, signals: Collection[UUID]) -> None:
        """Route signals for all the runs that they are for."""
        more = True
        while more:
            woken, more = await persistently(self._route_named, signals)
            await self._admit(woken)

    async def _admit(self, found: Collection[tuple[UUID, str]]) -> None:
        for run_id, tenant in found:
            await self._taker.admit(run_id, tenant)
            self._handed_on += 1

    async def _route_named(self, signals: Collection[UUID]) -> tuple[list[tuple[UUID, str]], bool]:
        with self._answered():
            return await mailbox.route_named(self._database, signals)

    async def _route_all(self, behind: int = 0) -> None:
        """Route all behind an arrival number, batch after batch."""
        after: int | None = behind
        while after is not None:
            before = after
            found, after = await persistently(self._route_batch, after)
            self._marks.saw(after or 0)
            self.found += after is not None
            if before > behind or len(found) > _SHORT:
                self._backlog.set()
            await self._admit(found)

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
