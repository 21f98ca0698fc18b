"""Who is at work: one actor for each run that has something to do, and a bound on how many.

An actor is a small object, played in company (`rounds`); it lives while its run has work and passivates
when the run waits: ten million waiting runs cost rows, not actors. A wake for a run that is at work
marks it, and it looks once more before it rests.

Places are fair between tenants (`chimeway.fair`): none may hold more than three times what is left free,
so a flood leaves room for whoever comes. How many places there are follows from how fast the node is
(`pace`): who has been taken up is to wait for some seconds, on a slow machine, too.

Who finds no place waits in a short line of his tenant's; what finds no room there either falls out, and is
found again, for it stands in the database: it is due, or it has mail, and who looks for mail is told. Only
who reads a backlog in order (`admit`) waits, for the line of the tenant whose run he holds: so a storm raises
the queue, which stands in the database, and not the memory.
"""

import asyncio
from collections.abc import Callable
from typing import Final, cast
from uuid import UUID

from chimeway.clock import Clock, set_within
from chimeway.engine.actor import Actor, Tenant
from chimeway.engine.lately import Lately
from chimeway.engine.pace import Pace
from chimeway.fair import WeighedQueue, burden_of
from chimeway.limits import LIVE_ACTORS, LIVE_LEAST, LIVE_S, WAITING_RUNS

_FIRST_ACTORS: Final = 100
_DOUBLING_S: Final = 0.25
_FULL: Final = 0.75
_LINE: Final = 50
"""Of one tenant's runs that wait for places: more, and who brings them waits."""


class Roster:
    """Maps runs to their actors."""

    def __init__(
        self,
        play: Callable[[Actor], bool],
        clock: Clock,
        ours: Callable[[UUID], bool] = lambda _: True,
        fell_out: Callable[[UUID], None] = lambda _: None,
    ) -> None:
        """Take who plays an actor until it rests, and then calls `rest`; False: all is ending, nobody will.

        `ours` says whether a run is ours to play, now: shards come and go. `fell_out` is told of one that had
        been taken into the line, and had to make room: it may not be due.
        """
        self._fell_out = fell_out
        self._play = play
        self._ours = ours
        self._clock = clock
        self._started = clock.monotonic()
        self._pace = Pace(self._started, wait_s=LIVE_S, least=LIVE_LEAST, most=LIVE_ACTORS)
        self._actors: dict[UUID, Actor] = {}
        self._line: WeighedQueue[UUID] = WeighedQueue(WAITING_RUNS)
        self._in_line: dict[UUID, float] = {}  # and since when
        self.lately = Lately()
        """What it took from taking a run up until it rested."""
        self.rests = 0
        """How often a run has come to rest, or was to be looked at once more."""
        self._left = asyncio.Event()
        self._closed = False

    def __len__(self) -> int:
        """Return how many runs are at work."""
        return len(self._actors)

    def __contains__(self, run_id: object) -> bool:
        """Say whether this run is at work, or waits in line."""
        return run_id in self._actors or run_id in self._in_line

    def oldest_s(self) -> float:
        """Return how long ago he was taken up, in line or at work, who has been here for longest."""
        now = self._clock.monotonic()
        at_work = min((actor.since for actor in self._actors.values()), default=now)
        return now - min(at_work, min(self._in_line.values(), default=now))

    def crowded(self) -> list[Tenant]:
        """Return the tenants that have runs enough waiting here: no more need be brought now.

        In a line that is full, or nearly, those have enough whose own is no shorter than the others'.
        """
        owners, enough = cast("list[Tenant]", self._line.owners()), _LINE // 2
        if len(self._line) >= self._line.bound * _FULL:
            enough = min(enough, self._line.longest() - 1)
        return [tenant for tenant in owners if self._line.waiting(tenant) >= enough]

    def offer(self, run_id: UUID, tenant: Tenant) -> None:
        """See that this run is evaluated after this call; without room it, or another, falls out."""
        if not self._ours(run_id):
            return
        if self._closed or run_id in self._actors or self._burden(tenant) is not None:
            self.nudge(run_id, tenant)
        elif run_id not in self._in_line and self._room_in_line(tenant):
            self._in_line[run_id] = self._clock.monotonic()
            out = self._line.put(tenant, run_id)
            if out is not None:
                self._in_line.pop(out, None)
                self._fell_out(out)

    async def admit(self, run_id: UUID, tenant: Tenant) -> None:
        """As `offer`, as soon as there is room."""
        while self._ours(run_id) and not (
            self._closed or run_id in self or self._burden(tenant) is not None or self._room_in_line(tenant)
        ):
            self._left.clear()
            await set_within(self._left, _DOUBLING_S)
            self._fill()
        self.offer(run_id, tenant)

    def nudge(self, run_id: UUID, tenant: Tenant) -> None:
        """See that this run is evaluated after this call, room or not: for one's own follow-ups."""
        if self._closed or not self._ours(run_id):
            return
        actor = self._actors.get(run_id)
        if actor is not None:
            actor.woken = True
            return
        actor = Actor(run_id, tenant, self._in_line.get(run_id) or self._clock.monotonic())
        if not self._play(actor):
            self.close()  # who brings this has not heard of the end: it stays due
            return
        self._actors[run_id] = actor
        self._line.weigh(tenant, self._line.held(tenant) + 1)

    async def settle(self, run_id: UUID, tenant: Tenant = None) -> None:
        """See that this run is evaluated, and wait until it rests."""
        self.nudge(run_id, tenant)
        while run_id in self._actors:
            self._left.clear()
            await self._left.wait()

    def close(self) -> None:
        """Take nobody in any more; who waits in line is left to the next node."""
        self._closed = True
        self._line.clear()
        self._in_line.clear()

    async def emptied(self, of: Callable[[UUID], bool] = lambda _: True) -> None:
        """Wait until nobody is at work on such runs."""
        while any(of(run_id) for run_id in self._actors):
            self._left.clear()
            await self._left.wait()

    def rest(self, actor: Actor) -> bool:
        """Let an actor rest; True: somebody has woken it meanwhile, and it is to be played again."""
        self.rests += 1
        if actor.woken and self._ours(actor.run_id):
            actor.rounds = 0
            return True
        del self._actors[actor.run_id]
        now = self._clock.monotonic()
        self.lately.add(now - actor.since)
        self._pace.note(now)
        tenant = actor.owner
        self._line.weigh(tenant, self._line.held(tenant) - 1)
        self._fill()
        self._left.set()
        return False

    def _fill(self) -> None:
        """Give free places to those in line, first to whose tenant holds least."""
        while (free := self._free()) > 0 and (found := self._line.take_least(free)) is not None:
            tenant, run_id = found
            self.nudge(run_id, cast("Tenant", tenant))
            self._in_line.pop(run_id, None)

    def _burden(self, tenant: Tenant) -> int | None:
        """Return how many places a tenant holds; None: it may have no more for now."""
        return burden_of(self._line.held(tenant), self._free())

    def _free(self) -> int:
        return self._room() - len(self._actors)

    def _room_in_line(self, tenant: Tenant) -> bool:
        room = self._room()
        self._line.bound = min(WAITING_RUNS, max(_LINE, room, 1))
        return self._line.waiting(tenant) < min(_LINE, room) and self._line.would_take(tenant)

    def _room(self) -> int:
        """A slow start: after an outage what is overdue must not all stand at the door at once."""
        now = self._clock.monotonic()
        doublings = min(16, int((now - self._started) / _DOUBLING_S))
        return min(self._pace.places(now), _FIRST_ACTORS << doublings)
