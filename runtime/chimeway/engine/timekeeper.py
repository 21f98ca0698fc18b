"""What is due: fills a wheel over a bounded look-ahead, and gives out what has come due.

Two sweeps read the due index. The near one takes what is due now, in pages, and hands each row
straight on: it is what a hint asks for, and what finds overdue rows after an outage, oldest first.
The far one arms the wheel for the next seconds; what a commit of our own sets earlier is armed at
once (`arm`). Whoever takes the rows may make the near sweep wait: what is not taken yet stays in the
database. While it waits, or goes through a backlog of many pages, turns are taken beside it: the oldest of
tenant after tenant (`Turns`), so that whoever has little due stands behind nobody's backlog. They wait for
nobody, and neither does the wheel: what finds no room is due in the index.

Nothing depends on the wheel: a key that it lost is due in the index, and the near sweep of the next
second hands it on. So it may be full, and a page may wait for room.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from chimeway.clock import Clock, set_within
from chimeway.engine.taker import Taker
from chimeway.limits import LOOK_AHEAD_MS, SWEEP_ANEW, TURN_EVERY_S, WHEEL_KEYS
from chimeway.log import Events
from chimeway.store.due import Due, Pages
from chimeway.store.pool import persistently
from chimeway.store.sparing import Sparing
from chimeway.store.turns import Turns
from chimeway.wheel import Wheel

_log = Events()
_POLLED_AT_ONCE: Final = 1_000
_LONGEST_SLEEP_S: Final = 5.0
_HANDED_ON_AT_ONCE: Final = 16
_ASKED_TIMES: Final = 4
"""How many times as long as it took nobody asks again for what is new: mostly it takes nothing at all."""
_WITHOUT_S: Final = 0.1
"""How soon the near sweep comes where that would be longer."""
_REST: Final = 2
"""How many times as long as a turn took nobody asks for another: turns take a third of a core at most."""
_SHORT: Final = 100
"""Of a page: it is handed on so soon that nobody who comes meanwhile would notice."""


@dataclass(frozen=True, slots=True)
class Sweeps:
    """Three ways to read the rows of one kind."""

    near: Pages
    far: Pages
    turns: Sequence[Turns] = ()
    any_new: Callable[[], Awaitable[bool]] | None = None
    """Whether anything is due that nobody has decided about yet: costs far less than a sweep."""


class Timekeeper:
    """Wakes runs or deliveries of one kind when their time has come."""

    def __init__(
        self,
        sweeps: Sweeps,
        clock: Clock,
        taker: Taker,
    ) -> None:
        """Take sweeps over the same rows and where what is due goes."""
        self._near, self._far, self._turns = sweeps.near, sweeps.far, sweeps.turns
        self._any_new = sweeps.any_new
        self._asked_for_new = asyncio.Event()
        self._sparing = Sparing(clock, _ASKED_TIMES)
        self._clock = clock
        self._taker = taker
        self._polled_at = _floor(clock.now())
        self._wheel: Wheel[UUID] = Wheel(self._polled_at)
        self._tenants: dict[UUID, str | None] = {}  # of what is in the wheel
        self._put_off: set[UUID] = set()
        self._asked = asyncio.Event()
        self._backlog = asyncio.Event()
        self._armed = asyncio.Event()
        self._oldest: datetime | None = None  # of what is due and nobody has taken up, as the sweep sees it
        self._far_asked = asyncio.Event()
        self.found = 0
        self._sweeping = False
        self._moves = 0

    def moved(self) -> int | None:
        """Return a number that grows as the near sweep gets on; None: nobody has asked it to look."""
        return self._moves if self._sweeping or self._asked.is_set() else None

    def late_s(self) -> float:
        """Return how late the latest is of what is due and nobody has taken up, as the near sweep sees it."""
        oldest = self._oldest
        return 0.0 if oldest is None else max(0.0, (self._clock.now() - oldest).total_seconds())

    def look(self) -> None:
        """Have the near sweep begin anew, soon; and turns be taken at once, should it be in a backlog."""
        self._asked.set()
        for turns in self._turns:
            turns.asked.set()

    def look_for_new(self) -> None:
        """As `look`, if there is anything new: what else is due was armed, or comes by the next look."""
        self._asked_for_new.set()

    def arm(self, key: UUID, at: datetime | None, tenant: str | None = None) -> None:
        """Set or take away a wake; what lies far ahead, or has no room, is left to the sweeps."""
        self._put_off.discard(key)
        horizon = self._clock.now() + timedelta(milliseconds=2 * LOOK_AHEAD_MS)
        if at is not None and at <= horizon and len(self._wheel) < WHEEL_KEYS:
            self._wheel.insert(key, _ceil(at))
            self._tenants[key] = tenant
            self._armed.set()
        else:
            self._wheel.cancel(key)
            self._tenants.pop(key, None)

    def put_off(self, key: UUID, pause_s: float, tenant: str | None = None) -> None:
        """Come again later to what is due by its row: the near sweep passes it over until then."""
        if len(self._wheel) < 2 * WHEEL_KEYS:
            self._wheel.insert(key, _ceil(self._clock.now() + timedelta(seconds=pause_s)))
            self._tenants[key] = tenant
            self._put_off.add(key)
            self._armed.set()

    def begin_anew(self) -> None:
        """Look at all that is due now and soon: more shards are ours."""
        self.look()
        self._far_asked.set()

    def forget(self, gone: Callable[[UUID], bool]) -> None:
        """Take away the wakes of what is another's now."""
        for key in [key for key in self._tenants if gone(key)]:
            self._wheel.cancel(key)
            self._put_off.discard(key)
            del self._tenants[key]

    async def serve(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._turn(), name="wheel")
            group.create_task(self._sweep_near(), name="near-sweep")
            group.create_task(self._look_for_new(), name="look-for-new")
            for turns in self._turns:
                group.create_task(self._take(turns), name=f"turns-{turns.kind}")
            group.create_task(self._sweep_far(), name="far-sweep")

    async def _turn(self) -> None:
        while True:
            self._armed.clear()
            for number, key in enumerate(self._due_keys()):
                self._put_off.discard(key)
                self._hand_on(key, self._tenants.pop(key, None))
                if number % _HANDED_ON_AT_ONCE == 0:
                    await asyncio.sleep(0)
            deadline = self._wheel.next_deadline()
            if deadline is None:
                pause = _LONGEST_SLEEP_S
            else:
                pause = min(_LONGEST_SLEEP_S, deadline / 1000 - self._clock.now().timestamp())
            if pause > 0:
                await set_within(self._armed, pause)

    def _due_keys(self) -> list[UUID]:
        now = _floor(self._clock.now())
        if now < self._polled_at:
            # The database's clock was set back. What was armed is armed anew by the sweeps.
            _log.warning("timekeeper.clock_set_back", by_s=(self._polled_at - now) / 1000)
            self._wheel = Wheel(now)
            self._tenants.clear()
            self._put_off.clear()
        self._polled_at = now
        return self._wheel.poll(now, _POLLED_AT_ONCE)

    def _hand_on(self, key: UUID, tenant: str | None) -> None:
        """Hand on what is due, if there is room for it; if not, the near sweep comes to it."""
        self._taker.offer(key, tenant)
        if not self._taker.at_work(key):
            self._asked.set()

    async def _take(self, turns: Turns) -> None:
        """Hand on what is due tenant by tenant, while the near sweep is in a backlog."""
        while True:
            await self._backlog.wait()
            turns.asked.clear()
            began = self._clock.monotonic()
            for due in await persistently(turns.next, self._clock.now()):
                if self._wanted(due):
                    self.found += 1
                    self._taker.offer(due.id, due.tenant)
            # In a storm somebody asks always; of many tenants a turn costs, and others need the core.
            await asyncio.sleep(min(TURN_EVERY_S, _REST * (self._clock.monotonic() - began)))
            await set_within(turns.asked, TURN_EVERY_S)

    def _wanted(self, due: Due) -> bool:
        return not self._taker.at_work(due.id) and due.id not in self._put_off

    async def _look_for_new(self) -> None:
        while True:
            await self._asked_for_new.wait()
            self._asked_for_new.clear()
            pause_s = self._sparing.pause_s()
            await self._clock.sleep(min(pause_s, _WITHOUT_S))
            sweeping = self._any_new is None or self._asked.is_set() or pause_s > _WITHOUT_S
            if sweeping or await persistently(self._ask_for_new):
                self.look()

    async def _ask_for_new(self) -> bool:
        assert self._any_new is not None
        with self._sparing.looking():
            return await self._any_new()

    async def _sweep_near(self) -> None:
        while True:
            await self._asked.wait()
            self._asked.clear()
            self._sweeping = True
            if not await self._sweep_once():
                self._asked.set()
            self._sweeping = False

    async def _sweep_once(self) -> bool:
        """Hand on what is due; False when it was so much that the sweep must begin anew.

        Rows may be committed behind the cursor: a sweep that followed a backlog to its end would
        leave them there for as long as the backlog lasts.
        """
        self._near.restart()
        handed_on, oldest = 0, None
        while not self._near.ended:
            page = await persistently(self._near.next, self._clock.now())
            if oldest is None and (oldest := next((due.at for due in page if self._wanted(due)), None)):
                self._oldest = oldest
            self._note_backlog(page)
            self._moves += 1
            for due in page:
                if self._wanted(due):
                    handed_on += 1
                    self.found += 1
                    self._moves += 1
                    await self._taker.admit(due.id, due.tenant)
                    if handed_on % _HANDED_ON_AT_ONCE == 0:
                        await asyncio.sleep(0)
            if handed_on > SWEEP_ANEW:
                return False
        self._oldest = None
        if self._near.passing_over:
            self._backlog.set()  # the turns look on, for whom there is room all the same
        else:
            self._backlog.clear()
        return True

    def _note_backlog(self, page: Sequence[Due]) -> None:
        if len(page) > _SHORT or not self._near.ended:
            self._backlog.set()

    async def _sweep_far(self) -> None:
        ahead = timedelta(milliseconds=LOOK_AHEAD_MS)
        while True:
            self._far_asked.clear()
            self._far.restart(self._clock.now())  # what is due by now is the near sweep's
            while not self._far.ended:
                page = await persistently(self._far.next, self._clock.now() + ahead)
                now = self._clock.now()
                for due in page:
                    if due.at > now and due.id not in self._wheel:
                        self.arm(due.id, due.at, due.tenant)
                if len(self._wheel) >= WHEEL_KEYS:
                    break
            await set_within(self._far_asked, LOOK_AHEAD_MS / 2000)


def _ceil(at: datetime) -> int:
    """Deadlines round up: a wake is never early."""
    return math.ceil(at.timestamp() * 1000)


def _floor(now: datetime) -> int:
    return math.floor(now.timestamp() * 1000)
