"""The timekeeper: in due order, never early, and whatever the wheel loses the next sweep finds."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from structlog.testing import capture_logs

from chimeway.clock import ManualClock, SystemClock
from chimeway.engine.taker import Taker
from chimeway.engine.timekeeper import Sweeps, Timekeeper
from chimeway.store import nodes
from chimeway.store import runs as runs_of
from chimeway.store.due import Pages
from chimeway.store.ids import every_shard
from chimeway.store.pool import Database
from kit.home import email, workflow
from kit.machine import Provider, install, running_machine
from kit.rows import Rows, rows_of
from kit.slow_clock import SlowClock
from kit.waiting import DEADLINE_S, wait_for

SOON = timedelta(milliseconds=250)
START = "select chimeway.trigger('mention_escalation', recipient_id => $1)"
SET_BACK = """create or replace function chimeway.clock() returns timestamptz
language sql volatile as $$ select clock_timestamp() - interval '1 hour' $$"""
DUE = "update chimeway.workflow_runs set wake_at = chimeway.clock() + $2 where id = $1 returning wake_at"


@dataclass
class Hands:
    """What a timekeeper gives out, and what becomes of it."""

    rows: Rows
    clock: SystemClock
    taken: list[tuple[UUID, datetime]] = field(default_factory=list)
    at_work: set[UUID] = field(default_factory=set)
    on_taking: Callable[[UUID], Awaitable[None]] | None = None

    async def take(self, run_id: UUID, _tenant: str | None) -> None:
        """Take a run that is due, and be at work on it."""
        if self.on_taking is not None:
            await self.on_taking(run_id)
        self.at_work.add(run_id)
        self.taken.append((run_id, self.clock.now()))

    def offer(self, run_id: UUID, _tenant: str | None) -> None:
        """Take a run that is due, at once."""
        self.at_work.add(run_id)
        self.taken.append((run_id, self.clock.now()))

    def order(self) -> list[UUID]:
        """Return who was taken, in order."""
        return [run_id for run_id, _ in self.taken]

    async def run(self, recipient: str, due: timedelta) -> UUID:
        """Start a run whose wake is so far from now."""
        run_id: UUID = await self.rows.value(START, recipient)
        await self.rows.value(DUE, run_id, due)
        return run_id

    async def has(self, many: int) -> None:
        """Wait until so many were taken."""
        await wait_for(lambda: len(self.taken) >= many, f"{many} are taken", every_s=0.005)


@pytest.fixture
async def hands(database: Database) -> AsyncIterator[Hands]:
    """Hands on a database where a workflow is registered."""
    await install(database, workflow(email()))
    clock = SystemClock()
    for _ in range(3):
        await nodes.synchronise(database, clock)
    async with rows_of(database.url) as rows:
        yield Hands(rows, clock)


@asynccontextmanager
async def keeping(database: Database, hands: Hands, page: int = 16) -> AsyncIterator[Timekeeper]:
    """Keep the time of runs while the block lasts."""
    near, far = (Pages(database, "run", every_shard, page, SystemClock()) for _ in range(2))
    taker = Taker(hands.offer, hands.take, hands.at_work.__contains__)
    keeper = Timekeeper(Sweeps(near, far), hands.clock, taker)
    serving = asyncio.ensure_future(keeper.serve())
    try:
        yield keeper
        assert not serving.done()
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)


async def test_the_overdue_come_once_and_oldest_first(database: Database, hands: Hands) -> None:
    """What fell due while nothing ran is given out in due order over all shards, once each."""
    ages = [5, 60, 1, 3600, 30, 0, 86400]
    runs = {age: await hands.run(f"user_{age}", timedelta(seconds=-age)) for age in ages}
    await hands.run("later", timedelta(hours=1))
    async with keeping(database, hands) as keeper:
        keeper.look()
        await hands.has(len(ages))
        keeper.look()
        await asyncio.sleep(0.05)
    assert hands.order() == [runs[age] for age in sorted(ages, reverse=True)]
    assert keeper.found == len(ages)


async def test_who_looks_for_what_is_new_leaves_the_rest_to_the_next_look(
    database: Database, hands: Hands
) -> None:
    """A run in which no step was entered is found; one that is due with a step is not looked for."""
    asked = asyncio.Semaphore(0)

    async def any_new() -> bool:
        asked.release()
        return await runs_of.any_new(database)

    near, far = (Pages(database, "run", every_shard, 16, SystemClock()) for _ in range(2))
    taker = Taker(hands.offer, hands.take, hands.at_work.__contains__)
    keeper = Timekeeper(Sweeps(near, far, any_new=any_new), hands.clock, taker)
    serving = asyncio.ensure_future(keeper.serve())
    due = await hands.run("due", timedelta())
    await hands.rows.all("update chimeway.workflow_runs set visit = 1 where id = $1", due)
    for _ in range(2):  # once the second look has begun, the first has found nothing
        keeper.look_for_new()
        await asyncio.wait_for(asked.acquire(), DEADLINE_S)
    assert hands.order() == []
    new = await hands.run("new", timedelta())
    keeper.look_for_new()
    await hands.has(2)
    assert set(hands.order()) == {due, new}
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)


async def test_what_is_new_is_found_where_to_ask_for_it_is_costly(database: Database, hands: Hands) -> None:
    """After three costly questions nobody asks any more for a while: the sweep finds what is new."""
    asked: list[bool] = []

    async def any_new() -> bool:
        asked.append(await runs_of.any_new(database))
        return asked[-1]

    slow = SlowClock()
    near, far = (Pages(database, "run", every_shard, 16, slow) for _ in range(2))
    taker = Taker(hands.offer, hands.take, hands.at_work.__contains__)
    keeper = Timekeeper(Sweeps(near, far, any_new=any_new), slow, taker)
    serving = asyncio.ensure_future(keeper.serve())
    for number in range(1, 4):
        keeper.look_for_new()
        await wait_for(lambda many=number: len(asked) >= many, "it asks", every_s=0.005)
    new = await hands.run("new", timedelta())
    keeper.look_for_new()
    await hands.has(1)
    assert (hands.order(), asked) == ([new], [False] * 3)
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)


async def test_nothing_comes_early(database: Database, hands: Hands) -> None:
    """A run is given out at its instant, not before it, whether it was armed or found ahead."""
    found = await hands.run("found", 4 * SOON)  # the sweep must find it ahead: nobody looks again
    async with keeping(database, hands) as keeper:
        armed = await hands.run("armed", 5 * SOON)
        at = (await hands.rows.run(armed))["wake_at"]
        keeper.arm(armed, at)
        await hands.has(2)
    due = {run: (await hands.rows.run(run))["wake_at"] for run in (found, armed)}
    assert hands.order() == [found, armed]
    for run, taken_at in hands.taken:
        assert timedelta() <= taken_at - due[run] < timedelta(seconds=4)  # a wheel sleeps for five at most


async def test_nothing_comes_early_by_a_part_of_a_millisecond(database: Database, hands: Hands) -> None:
    """The wheel counts whole milliseconds; what is due within one comes after it."""
    near, far = (Pages(database, "run", every_shard, 16, SystemClock()) for _ in range(2))
    clock = ManualClock(datetime(2026, 3, 2, 9, tzinfo=UTC))
    taker = Taker(hands.offer, hands.take, hands.at_work.__contains__)
    keeper = Timekeeper(Sweeps(near, far), clock, taker)
    key = UUID(int=1)
    keeper.arm(key, clock.now() + timedelta(microseconds=400))
    assert keeper._due_keys() == []
    clock.advance(timedelta(microseconds=399))
    assert keeper._due_keys() == []
    clock.advance(timedelta(microseconds=601))
    assert keeper._due_keys() == [key]


async def test_a_wake_taken_away_does_not_come(database: Database, hands: Hands) -> None:
    """Armed anew, a run comes at the last instant given; disarmed, it does not come."""
    async with keeping(database, hands) as keeper:
        moved, dropped = UUID(int=1), UUID(int=2)
        now = hands.clock.now()
        for run in (moved, dropped):
            keeper.arm(run, now + SOON)
        keeper.arm(moved, now + 2 * SOON)
        keeper.arm(dropped, None)
        await hands.has(1)
        ((run, taken_at),) = hands.taken
        assert run == moved
        assert taken_at >= now + 2 * SOON - timedelta(milliseconds=50)


async def test_what_is_put_off_comes_later(database: Database, hands: Hands) -> None:
    """A due run that is put off is passed over by the sweeps until its pause is over, and then comes."""
    run = await hands.run("busy", timedelta(seconds=-1))
    async with keeping(database, hands) as keeper:
        keeper.look()
        await hands.has(1)
        hands.at_work.clear()
        since = hands.clock.now()
        keeper.put_off(run, SOON.total_seconds())
        while len(hands.taken) == 1:
            keeper.look()
            await asyncio.sleep(0.01)
        assert hands.taken[1][1] - since >= SOON
        hands.at_work.clear()
        keeper.look()
        await hands.has(3)


async def test_a_full_wheel_loses_nothing(
    database: Database, hands: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What had no room in the wheel is due in the index, and comes by the next look."""
    monkeypatch.setattr("chimeway.engine.timekeeper.WHEEL_KEYS", 2)
    runs = [await hands.run(f"user_{number}", SOON) for number in range(6)]
    wakes = {run: (await hands.rows.run(run))["wake_at"] for run in runs}
    async with keeping(database, hands) as keeper:
        for run, at in wakes.items():  # all of them before its next turn
            keeper.arm(run, at)
        assert len(keeper._wheel) == 2
        await hands.has(2)

        async def all_came() -> bool:
            keeper.look()
            return len(hands.taken) >= 6

        await wait_for(all_came, "all came")
        assert sorted(hands.order()) == sorted(runs)


async def test_what_is_committed_behind_the_cursor_is_found(
    database: Database, hands: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a long backlog a sweep begins anew: an older row that appears meanwhile comes before its end."""
    monkeypatch.setattr("chimeway.engine.timekeeper.SWEEP_ANEW", 8)
    backlog = [await hands.run("ada", timedelta(seconds=-100 + number)) for number in range(60)]
    older: list[UUID] = []

    async def on_taking(run_id: UUID) -> None:
        if run_id == backlog[4]:
            older.append(await hands.run("ada", timedelta(hours=-1)))

    hands.on_taking = on_taking
    async with keeping(database, hands, page=4) as keeper:
        keeper.look()
        await hands.has(61)
    place = hands.order().index(older[0])
    assert 4 < place < 30
    assert [run for run in hands.order() if run not in older] == backlog


async def test_a_paused_workflow_is_passed_over(database: Database, hands: Hands) -> None:
    """Due runs of a paused workflow are put aside, and all come when it goes on, oldest first."""
    runs = [await hands.run("ada", timedelta(seconds=-number)) for number in range(5, 0, -1)]
    await hands.rows.value("select chimeway.pause_workflow('mention_escalation', true)")
    async with keeping(database, hands, page=2) as keeper:
        keeper.look()
        aside = "select count(*) = 5 from chimeway.workflow_runs where parked"
        await wait_for(lambda: hands.rows.value(aside), "they are put aside")
        # A sweep that is still under way would go on behind the oldest of them.
        await wait_for(lambda: keeper._near.ended and not keeper._asked.is_set(), "the sweep is over")
        assert await runs_of.unpark(database, 100) == []
        await hands.rows.value("select chimeway.pause_workflow('mention_escalation', false)")
        assert hands.taken == []
        assert sorted(run for run, _ in await runs_of.unpark(database, 100)) == sorted(runs)
        keeper.look()
        await hands.has(5)
    assert hands.order() == runs


async def test_it_knows_how_late_it_is(database: Database, hands: Hands) -> None:
    """As late as the latest that nobody has taken up, while whoever takes makes it wait; then not at all."""
    gate = asyncio.Event()

    async def on_taking(_: UUID) -> None:
        await gate.wait()

    hands.on_taking = on_taking
    hands.at_work.add(await hands.run("bob", timedelta(seconds=-600)))
    for number in range(3):
        await hands.run("ada", timedelta(seconds=-60 - number))
    async with keeping(database, hands) as keeper:
        assert keeper.late_s() == 0.0
        keeper.look()
        await wait_for(lambda: 62 < keeper.late_s() < 500, "it is late by what is not at work")
        gate.set()
        await hands.has(3)
        await wait_for(lambda: keeper.late_s() == 0.0, "it is late no more")


async def test_a_clock_set_back_is_followed(database: Database, hands: Hands) -> None:
    """The database's clock goes back by an hour: it is told once, what is due comes, and nothing early."""
    ahead = await hands.run("ahead", 40 * SOON)
    with capture_logs() as lines:
        async with keeping(database, hands) as keeper:
            await wait_for(lambda: ahead in keeper._wheel, "it is armed")
            keeper.put_off(UUID(int=1), 40 * SOON.total_seconds())
            await hands.rows.all(SET_BACK)
            await nodes.synchronise(database, hands.clock)
            overdue = await hands.run("overdue", -SOON)
            runs = [await hands.run(f"user_{number}", number * SOON) for number in (1, 2, 3)]
            keeper.arm(runs[0], (await hands.rows.run(runs[0]))["wake_at"])

            async def all_came() -> bool:
                keeper.look()
                return len(hands.taken) >= 4

            await wait_for(all_came, "all came")
            assert ahead not in keeper._wheel, "due in an hour now: it is left to the sweeps"
            assert not keeper._put_off
    assert sorted(hands.order()) == sorted([overdue, *runs]), "each once, as soon as somebody looked"
    for run, taken_at in hands.taken:
        assert taken_at >= (await hands.rows.run(run))["wake_at"]
    (told,) = [line for line in lines if line["event"] == "timekeeper.clock_set_back"]
    assert told["by_s"] == pytest.approx(3600, abs=30)


async def test_a_clock_set_back_stops_no_engine(database_url: str) -> None:
    """When the database's clock goes back a running engine plays on, and no wait elapses early."""
    pause = {"id": "pause", "action": {"type": "wait", "duration": "PT0.4S"}}
    message = {"id": "push", "action": {"type": "notify", "channel": "push", "render_key": "mention"}}
    push, told = Provider(), "timekeeper.clock_set_back"
    with capture_logs() as lines:
        async with running_machine(database_url, push, definitions=(workflow(pause, message),)) as on:
            await on.rows.until(await on.start("before"), "completed")
            await on.rows.all(SET_BACK)
            assert isinstance(on.node.clock, SystemClock)
            await nodes.synchronise(on.node.database, on.node.clock)
            run_id = await on.start("after")
            await on.rows.until(run_id, "completed")
            entered, left = [
                row["at"]
                for row in await on.rows.transitions(run_id)
                if row["reason"] in {"waiting_for_step_progression", "reactivated_from_wait"}
            ]
            assert left - entered >= timedelta(seconds=0.4)
            assert len(push.to("after")) == 1
    assert [line for line in lines if line["event"] == told]
