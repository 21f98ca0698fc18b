"""Finds what no wake found: after crashes, lost answers and rolling deploys. Idle cost: five queries.

Each thing it looks for is also found by its own wake when all goes well:
- mail that no decision has seen: its router died between routing and waking, or was not told whom it had
  routed to (then it asks for a look at once), or its run's shard has changed hands in between, or it had to
  make room for others in the line for places, or its workflow was paused when it was woken;
- runs that waited for a node that understands them: this one may, and plays them whatever their shard, for
  whoever has that may not;
- runs that fell due while their workflow was paused.
What is late by a lost hint is not its matter; the lookout looks every second.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final
from uuid import UUID

from chimeway.clock import Clock, jittered
from chimeway.limits import IDLE_LOOK_S, REMEMBERED, SWEEP_EVERY_S, SWEEP_PAGE, SWEEP_SELDOM_S
from chimeway.log import Events
from chimeway.store import runs
from chimeway.store.catalogue import Catalogue
from chimeway.store.pool import Database, persistently
from chimeway.store.share import EVERYTHING, Share
from chimeway.store.sparing import TIMES

_log = Events()
_REMEMBER_S: Final = 600.0


class Sweeper:
    """Sweeps every few seconds, page by page."""

    def __init__(
        self,
        database: Database,
        catalogue: Catalogue,
        clock: Clock,
        admit: Callable[[UUID, str | None], Awaitable[None]],
        offer: Callable[[UUID, str | None], None],
        share: Share = EVERYTHING,
    ) -> None:
        """Take our share, and where what is found goes: `admit` may wait, `offer` may take nothing."""
        self._database = database
        self._catalogue = catalogue
        self._clock = clock
        self._admit = admit
        self._offer = offer
        self._asked = asyncio.Event()
        self._share = share
        self._shown: dict[UUID, tuple[int, int]] = {}
        self._aside: set[UUID] = set()
        self._aside_asked = asyncio.Event()
        self._remember_until = 0.0

    async def serve(self, told: Callable[[], bool] = lambda: False) -> None:
        """Work until cancelled; `told` says that somebody else looks whether a pause is over (`unpark`)."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._sweep(), name="sweep")
            group.create_task(self._unpark(told), name="unpark")
            group.create_task(self._when_asked(), name="sweep-when-asked")
            group.create_task(self._put_aside(), name="put-aside")

    def look(self) -> None:
        """Have it look for mail that no decision has seen, as soon as the database answers."""
        self._asked.set()

    def show_again(self, run_id: UUID) -> None:
        """Have this run be shown its mail, also what it was shown before: it was taken up, and fell out."""
        self._shown.pop(run_id, None)
        self.look()

    def put_aside(self, run_id: UUID) -> None:
        """Have this run, which has mail and may not act on it, come back when the pause is over."""
        self._aside.add(run_id)
        self._aside_asked.set()

    def forget(self, gone: Callable[[UUID], bool]) -> None:
        """Forget to have shown what is another's now: if it comes back, it is shown again."""
        for run_id in [run_id for run_id in self._shown if gone(run_id)]:
            del self._shown[run_id]

    async def _put_aside(self) -> None:
        while True:
            await self._aside_asked.wait()
            self._aside_asked.clear()
            while self._aside:
                some = [self._aside.pop() for _ in range(min(SWEEP_PAGE, len(self._aside)))]
                await persistently(runs.park, self._database, some)

    async def _when_asked(self) -> None:
        while True:
            await self._asked.wait()
            self._asked.clear()
            await self._unread()
            await self._clock.sleep(SWEEP_EVERY_S)  # what was not answered may be committed a moment later
            await self._unread()

    async def _sweep(self) -> None:
        pause_s = SWEEP_EVERY_S
        while True:
            began = self._clock.monotonic()
            found = await self._unread()
            for run_id, tenant in await persistently(runs.reclaim_capable, self._database, self._catalogue):
                found += 1
                self._share.borrow(run_id)
                await self._admit(run_id, tenant)
            took_s = self._clock.monotonic() - began
            if found:
                _log.info("sweep.finished", runs=found, seconds=round(took_s, 3))
            pause_s = SWEEP_EVERY_S if found else min(2 * pause_s, SWEEP_SELDOM_S)
            pause_s = min(max(pause_s, TIMES * took_s), SWEEP_SELDOM_S)  # (see sparing)
            await self._clock.sleep(jittered(pause_s))

    async def _unread(self) -> int:
        """Show runs their mail, each state of a mailbox once: what fits nothing stays unread.

        Who may not move, for his workflow is paused, is put aside: nothing else would show him his mail when
        the pause is over, if he is not due.
        """
        if self._clock.monotonic() > self._remember_until:
            self._shown.clear()
            self._remember_until = self._clock.monotonic() + _REMEMBER_S
        after, found = runs.NO_ID, 0
        while page := await persistently(
            runs.unread, self._database, after, SWEEP_PAGE, self._share.shards()
        ):
            if paused := [run.id for run in page if run.paused]:
                await persistently(runs.park, self._database, paused)
            for run in page:
                if not run.paused and self._shown.get(run.id) != run.state:
                    if len(self._shown) < REMEMBERED or run.id in self._shown:
                        self._shown[run.id] = run.state
                    found += 1
                    await self._admit(run.id, None)
            after = page[-1].id
        return found

    async def unpark(self) -> None:
        """Put runs back that fell due, or got mail, while they were kept by a pause or held.

        Who finds no room is found again, for he is due or has mail: nobody's many keep another's few parked.
        """
        while page := await persistently(runs.unpark, self._database, SWEEP_PAGE):
            for run_id, tenant in page:
                self._offer(run_id, tenant)

    async def _unpark(self, told: Callable[[], bool]) -> None:
        while True:
            if not told():
                await self.unpark()
            await self._clock.sleep(IDLE_LOOK_S)
