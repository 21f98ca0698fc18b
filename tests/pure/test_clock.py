"""The clocks: following the database from below, and time that is moved by hand."""

import asyncio
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from chimeway.clock import Clock, ManualClock, SystemClock

NOON = datetime(2026, 3, 29, 12, 0, tzinfo=UTC)


async def settle() -> None:
    """Let every task that can run do so, to its next await on the clock."""
    for _ in range(5):
        await asyncio.sleep(0)


def test_wall_clock_before_the_first_measure() -> None:
    """Until a database was asked, the machine's clock is what we have."""
    before = datetime.now(UTC)
    assert before <= SystemClock().now() <= datetime.now(UTC)


def test_follows_the_database_from_below() -> None:
    """The answer counts as read at its receipt: we may be late by the round trip, never early."""
    clock = SystemClock()
    received_at = clock.monotonic()
    clock.synchronise(NOON, received_at - 0.2, received_at)
    elapsed = clock.now() - NOON
    ceiling = timedelta(seconds=clock.monotonic() - received_at)
    assert timedelta(0) <= elapsed <= ceiling


def test_zone_of_the_measure_does_not_matter() -> None:
    """Whatever the zone of the database's answer, now is UTC."""
    clock = SystemClock()
    asked = clock.monotonic()
    clock.synchronise(NOON.astimezone(timezone(timedelta(hours=2))), asked, asked)
    assert clock.now().tzinfo is UTC
    assert clock.now() - NOON < timedelta(seconds=30)


def test_slow_answer_that_agrees_is_passed_over() -> None:
    """A measure behind a stall does not put the clock back."""
    clock = SystemClock()
    heard = clock.monotonic()
    clock.synchronise(NOON, heard - 0.001, heard)
    clock.synchronise(NOON, heard, heard + 2.0)
    assert clock.now() >= NOON


def test_measure_that_disagrees_is_taken() -> None:
    """When the database's clock was set, ours follows, forwards and back."""
    clock = SystemClock()
    heard = clock.monotonic()
    clock.synchronise(NOON, heard - 0.001, heard)
    clock.synchronise(NOON + timedelta(hours=1), heard - 0.5, heard)
    assert clock.now() >= NOON + timedelta(hours=1)
    clock.synchronise(NOON - timedelta(hours=1), heard - 0.5, heard)
    assert clock.now() < NOON


async def test_system_sleep_is_never_short() -> None:
    """Sleeping until an instant returns when now has reached it, at once when it is past."""
    clock = SystemClock()
    instant = clock.now() + timedelta(milliseconds=20)
    await clock.sleep_until(instant)
    assert clock.now() >= instant
    await clock.sleep_until(instant)
    await clock.sleep(0)


async def test_both_are_clocks() -> None:
    """The two satisfy the one protocol."""
    clocks: list[Clock] = [SystemClock(), ManualClock(NOON)]
    assert all(clock.now().tzinfo is UTC for clock in clocks)


class Sleepers:
    """Tasks that sleep and write down when they woke."""

    def __init__(self, clock: ManualClock, tasks: asyncio.TaskGroup) -> None:
        """Share one clock and one group."""
        self.clock = clock
        self.tasks = tasks
        self.woke: list[tuple[str, float]] = []

    def add(self, name: str, *naps: float) -> asyncio.Task[None]:
        """Start one that takes several naps."""
        return self.tasks.create_task(self._nap(name, naps))

    async def _nap(self, name: str, naps: tuple[float, ...]) -> None:
        for seconds in naps:
            await self.clock.sleep(seconds)
            self.woke.append((name, self.clock.monotonic()))


async def with_sleepers(play: Any) -> list[tuple[str, float]]:
    """Play with a clock and sleepers on it; whoever still sleeps is cancelled at the end."""
    clock = ManualClock(NOON)
    async with asyncio.TaskGroup() as tasks:
        sleepers = Sleepers(clock, tasks)
        script: Coroutine[Any, Any, None] = play(clock, sleepers)
        await script
    return sleepers.woke


async def test_stands_still() -> None:
    """Nothing wakes unless the clock is moved."""
    clock = ManualClock(NOON)
    await settle()
    assert (clock.now(), clock.monotonic(), clock.next_wake()) == (NOON, 0.0, None)


async def test_leap_wakes_in_deadline_order() -> None:
    """One leap wakes everybody due by then, by deadline and then by who fell asleep first."""

    async def play(clock: ManualClock, sleepers: Sleepers) -> None:
        for name, seconds in [("c", 30), ("a", 10), ("b", 10), ("d", 61)]:
            sleepers.add(name, seconds)
        await settle()
        clock.advance(60)
        await settle()
        assert [name for name, _ in sleepers.woke] == ["a", "b", "c"]
        clock.advance(timedelta(seconds=1))

    assert (await with_sleepers(play))[-1] == ("d", 61.0)


async def test_next_stop_runs_who_wakes() -> None:
    """Advancing to the next sleeper moves there, lets it run, and says where that is."""

    async def play(clock: ManualClock, sleepers: Sleepers) -> None:
        sleepers.add("a", 5, 5)
        sleepers.add("b", 7)
        await settle()
        stops = [await clock.advance_to_next() for _ in range(4)]
        assert stops == [NOON + timedelta(seconds=s) for s in (5, 7, 10)] + [None]

    assert await with_sleepers(play) == [("a", 5.0), ("b", 7.0), ("a", 10.0)]


async def test_walk_stops_at_every_deadline() -> None:
    """Advancing through wakes each at its own instant, and those who fall asleep on the way."""

    async def play(clock: ManualClock, sleepers: Sleepers) -> None:
        sleepers.add("tick", 1, 1, 1)
        await clock.advance_through(10)
        assert clock.now() == NOON + timedelta(seconds=10)

    assert await with_sleepers(play) == [("tick", 1.0), ("tick", 2.0), ("tick", 3.0)]


async def test_cancelled_sleepers_are_forgotten() -> None:
    """A sleeper that was cancelled is no stop, and wakes nobody."""

    async def play(clock: ManualClock, sleepers: Sleepers) -> None:
        task = sleepers.add("gone", 5)
        await settle()
        task.cancel()
        await settle()
        assert clock.next_wake() is None
        clock.advance(10)

    assert await with_sleepers(play) == []


async def test_past_instant_only_lets_others_run() -> None:
    """Sleeping for nothing, or until the past, returns without the clock being moved."""
    clock = ManualClock(NOON)
    await clock.sleep(-3)
    await clock.sleep(0)
    await clock.sleep_until(NOON - timedelta(days=1))
    assert clock.now() == NOON


async def test_never_moved_back() -> None:
    """Moving time back is an assertion, and leaves the clock where it was."""
    clock = ManualClock(NOON)
    with pytest.raises(AssertionError, match="time went back"):
        clock.advance(-1)
    assert clock.now() == NOON
