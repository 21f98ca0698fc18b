"""The only reader of time: what it is now, and sleeping until later.

Two clocks. `SystemClock` follows the database's time and counts with the monotonic clock between
measures, so that all nodes of one database agree whatever their own clocks say, and a wall clock
that jumps moves nothing. `ManualClock` stands still until a test moves it.

Ownership of shards does not use this `now`: leases count on the monotonic clock alone. And nothing
here decides what is due: the database refuses a `now` that is too far ahead of its own.
"""

import asyncio
import heapq
import random
import time
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Final, NamedTuple, Protocol

_LOOK_AGAIN_S: Final = 1.0
"""Longest sleep in one piece: a measure taken meanwhile may have moved the awaited instant."""


def jittered(seconds: float) -> float:
    """Return a pause about so long, from half to one and a half of it: who failed together comes apart."""
    return seconds * (0.5 + random.random())  # noqa: S311  (no secret)


async def set_within(event: asyncio.Event, seconds: float) -> bool:
    """Wait until an event is set, but no longer than so many seconds; say whether it is.

    Not by `asyncio.wait_for`: before Python 3.12 that swallows a cancellation which comes in the same
    turn of the loop as the event, and who was told to end goes on, and is waited for, for ever.
    """
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True


class Clock(Protocol):
    """What everything else asks for the time."""

    def now(self) -> datetime:
        """Return the present instant, in UTC."""
        ...

    def monotonic(self) -> float:
        """Return seconds on a clock that never goes back; its zero means nothing."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Sleep so long; never shorter."""
        ...

    async def sleep_until(self, instant: datetime) -> None:
        """Sleep until `now()` has reached the instant; return at once when it has."""
        ...


class _Measure(NamedTuple):
    """What is known of the database's time: `database_now` had been reached at `received_at`."""

    database_now: datetime
    received_at: float
    round_trip: float

    def at(self, monotonic: float) -> datetime:
        """Carry the measure to another moment."""
        return self.database_now + timedelta(seconds=monotonic - self.received_at)


class SystemClock:
    """The database's time, estimated from below; the machine's wall clock until a first measure.

    The database read its clock somewhere between the sending of the question and the receipt of the
    answer. Taking it for the moment of receipt makes our `now` late by at most the round trip and
    never early: a timer that looks due here is due there.

    A measure with a longer round trip than the one we go by, which does not contradict it, says
    nothing new and is passed over: a stall of two seconds would else put `now` back by two seconds.
    """

    def __init__(self) -> None:
        """Begin with the wall clock."""
        # One reference, replaced whole: the renewal thread may measure while the loop reads.
        self._measure: _Measure | None = None

    def now(self) -> datetime:
        """Return the estimate of the database's clock."""
        measure = self._measure
        return datetime.now(UTC) if measure is None else measure.at(time.monotonic())

    def monotonic(self) -> float:
        """Return the machine's monotonic clock."""
        return time.monotonic()

    def synchronise(self, database_now: datetime, sent_at: float, received_at: float) -> None:
        """Take a measure: the database's `now`, and when it was asked and heard (monotonic)."""
        assert database_now.tzinfo is not None, "the database's time needs a zone"
        assert sent_at <= received_at, (sent_at, received_at)
        found = _Measure(database_now.astimezone(UTC), received_at, received_at - sent_at)
        known = self._measure
        if known is not None and known.round_trip < found.round_trip:
            ours = known.at(received_at)
            if found.database_now <= ours <= found.at(received_at + found.round_trip):
                return
        self._measure = found

    async def sleep(self, seconds: float) -> None:
        """Sleep by the monotonic clock."""
        await asyncio.sleep(seconds)

    async def sleep_until(self, instant: datetime) -> None:
        """Sleep until the estimate has reached the instant, looking again after each measure."""
        while (remaining := (instant - self.now()).total_seconds()) > 0:  # noqa: ASYNC110  (time is no event)
            await asyncio.sleep(min(remaining, _LOOK_AGAIN_S))


class ManualClock:
    """Time that a test moves by hand; sleepers wake in the order of their deadlines.

    For one event loop. Sleepers of one instant wake in the order in which they fell asleep.
    """

    def __init__(self, start: datetime) -> None:
        """Stand at `start`, which must bear a zone."""
        assert start.tzinfo is not None, "a clock starts at an instant with a zone"
        self._start = self._now = start.astimezone(UTC)
        self._sleepers: list[tuple[datetime, int, asyncio.Future[None]]] = []
        self._order = count()

    def now(self) -> datetime:
        """Return where the clock was moved to."""
        return self._now

    def monotonic(self) -> float:
        """Return the seconds since the start."""
        return (self._now - self._start).total_seconds()

    async def sleep(self, seconds: float) -> None:
        """Sleep until the clock has been moved so far; zero or less only lets others run."""
        await self.sleep_until(self._now + timedelta(seconds=max(0.0, seconds)))

    async def sleep_until(self, instant: datetime) -> None:
        """Sleep until the clock has been moved to the instant."""
        if instant <= self._now:
            await asyncio.sleep(0)
            return
        waker: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (instant.astimezone(UTC), next(self._order), waker))
        await waker

    def next_wake(self) -> datetime | None:
        """Return the earliest instant anybody sleeps for."""
        while self._sleepers and self._sleepers[0][2].done():  # cancelled
            heapq.heappop(self._sleepers)
        return self._sleepers[0][0] if self._sleepers else None

    def advance(self, by: timedelta | float) -> None:
        """Move the clock (a number counts seconds) in one leap; whoever is due by then wakes.

        They run when the caller next awaits, and all see the new time.
        """
        self.move_to(self._now + _as_timedelta(by))

    def move_to(self, instant: datetime) -> None:
        """Move the clock to an instant, in one leap. Time never goes back."""
        assert instant >= self._now, f"time went back, from {self._now} to {instant}"
        self._now = instant.astimezone(UTC)
        while (wake := self.next_wake()) is not None and wake <= self._now:
            heapq.heappop(self._sleepers)[2].set_result(None)

    async def advance_to_next(self) -> datetime | None:
        """Move to the next sleeper's instant and let it run to its next await.

        Return that instant, or None, without moving, when nobody sleeps.
        """
        wake = self.next_wake()
        if wake is not None:
            self.move_to(wake)
        await asyncio.sleep(0)
        return wake

    async def advance_through(self, by: timedelta | float) -> None:
        """Move stop by stop: every sleeper on the way wakes, and runs, at its own instant."""
        end = self._now + _as_timedelta(by)
        await asyncio.sleep(0)  # who is about to fall asleep does so now
        while (wake := self.next_wake()) is not None and wake <= end:
            await self.advance_to_next()
        self.move_to(end)


def _as_timedelta(by: timedelta | float) -> timedelta:
    """Read a bare number as seconds."""
    return by if isinstance(by, timedelta) else timedelta(seconds=by)
