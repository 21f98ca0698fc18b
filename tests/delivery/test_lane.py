"""Lanes: a channel that is full refuses, is named and passed over, and has its deliveries when it can."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import pytest

from chimeway.clock import SystemClock
from chimeway.daemon.machine import Machine
from chimeway.delivery.lane import Lane
from chimeway.delivery.pacing import ChannelLimits
from chimeway.store.due import Pages
from chimeway.store.ids import every_shard
from kit.home import workflow
from kit.machine import Provider, Running, running_machine
from kit.waiting import Gate, wait_for

CALLS, QUEUE = 2, 4
SENT = "select count(*) from chimeway.deliveries where channel = $1 and status = 'succeeded'"


@pytest.fixture(autouse=True)
def _narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make lanes of two places, with four waiting before them."""
    monkeypatch.setattr(Provider, "limits", ChannelLimits(concurrency=CALLS))
    monkeypatch.setattr("chimeway.delivery.lane.CHANNEL_QUEUE", QUEUE)


def _one(channel: str) -> dict[str, object]:
    """Return a workflow that sends one message, named like its channel."""
    action = {"type": "notify", "channel": channel, "render_key": "mention"}
    return workflow({"id": channel, "action": action}, key=channel)


async def _due(on: Running) -> set[UUID]:
    """Return what the next look at the due deliveries would bring."""
    full = on.machine._dispatcher.full_channels
    pages = Pages(on.node.database, "delivery", every_shard, 16, SystemClock(), full)
    return {due.id for due in await pages.next(on.node.clock.now())}


async def _fill(on: Running, push: Provider, people: list[str]) -> None:
    """Start more journeys than a hanging channel has room for."""
    for person in people:
        await on.start(person, "push")
    await wait_for(lambda: len(push.messages) == CALLS, "all places are taken")
    await wait_for(lambda: on.machine._dispatcher.full_channels() == ["push"], "the channel is full")


class Gates:
    """A way that the test shuts; let through one by one, it has so many calls to give."""

    def __init__(self) -> None:
        self.shut_s = 0.0
        self.asked = 0
        self.tokens: int | None = None
        self.looks_open = 0
        """Looks that find it open, whatever it is."""

    @property
    def one_by_one(self) -> bool:
        return self.tokens is not None

    def closed_for(self) -> float:
        self.asked += 1
        if self.looks_open:
            self.looks_open -= 1
            return 0.0
        return self.shut_s if self.tokens != 0 else 60.0

    def take(self) -> bool:
        if self.closed_for() > 0:
            return False
        if self.tokens is not None:
            self.tokens -= 1
        return True


class Calls:
    """What a lane sends by: each call hangs until the test ends it."""

    def __init__(self, way: Gates) -> None:
        self.way = way
        self.begun: list[str] = []
        self.in_vain: list[str] = []
        self._ends: dict[str, Gate] = {}

    async def send(self, item: str) -> bool:
        if not self.way.take():
            self.in_vain.append(item)
            return False
        self.begun.append(item)
        await self._ends.setdefault(item, Gate()).passes()
        return True

    def end(self, *items: str) -> None:
        """End calls, also such as have not begun."""
        for item in items:
            self._ends.setdefault(item, Gate()).release()

    async def are(self, *items: str) -> None:
        """Wait until just these have begun, in this order; and no other, as far as the loop knows."""
        await wait_for(lambda: len(self.begun) >= len(items), f"{items} are begun, not {self.begun}")
        for _ in range(5):
            await asyncio.sleep(0)
        assert self.begun == list(items)


@asynccontextmanager
async def _lane(places: int = CALLS) -> AsyncIterator[tuple[Lane[str], Calls, asyncio.Event]]:
    """Run a lane whose items are called `a0`, by owner and number."""
    told = asyncio.Event()
    calls = Calls(Gates())
    try:
        async with asyncio.TaskGroup() as group:
            yield Lane("push", calls.way, places, calls.send, group, told.set), calls, told
            raise _Over
    except* _Over:
        pass


class _Over(Exception):  # noqa: N818  (no error: the way out of a task group)
    """The test has ended."""


def _put(lane: Lane[str], *items: str) -> list[str | None]:
    return [lane.put(item[0], item) for item in items]


async def test_a_lane_sends_in_order_and_has_room_when_half_empty() -> None:
    """A full lane refuses until half its queue is sent, says then that it has room, and keeps the order."""
    items = [f"a{number}" for number in range(CALLS + QUEUE)]
    async with _lane() as (lane, calls, told):
        assert _put(lane, *items[:CALLS]) == [None] * CALLS
        await calls.are(*items[:2])
        assert _put(lane, *items[CALLS:]) == [None] * QUEUE
        assert not lane.passed_over
        assert _put(lane, "a9") == ["a9"]
        assert (lane.passed_over, told.is_set()) == (True, False)
        calls.end("a0")
        await calls.are(*items[:3])
        assert (lane.passed_over, told.is_set()) == (True, False)
        calls.end("a2")
        await calls.are(*items[:4])
        assert (lane.passed_over, told.is_set()) == (False, True)
        assert _put(lane, "a9") == [None]
        calls.end(*items, "a9")
        await calls.are(*items, "a9")


async def test_a_flood_makes_room_for_another_tenant() -> None:
    """The newest of the longest line is pushed out; it is not lost but left, and the lane counts as full."""
    async with _lane() as (lane, calls, _):
        _put(lane, "a0", "a1")
        await calls.are("a0", "a1")
        assert _put(lane, "a2", "a3", "a4", "a5", "b0") == [None] * QUEUE + ["a5"]
        assert (lane.passed_over, lane.would_take("b"), lane.would_take("a")) == (True, True, False)
        calls.end("a0", "a1")
        await calls.are("a0", "a1", "a2", "b0")


async def test_what_hangs_of_one_tenant_leaves_places_to_others() -> None:
    """Of four places one tenant's hanging calls take three; others go by the fourth, one after the other."""
    async with _lane(places=4) as (lane, calls, _):
        _put(lane, "a0", "a1", "a2", "a3")
        await calls.are("a0", "a1", "a2")
        calls.end("b0", "c0", "b1")
        _put(lane, "b0", "c0", "b1")
        await calls.are("a0", "a1", "a2", "b0", "c0", "b1")
        calls.end("a0")
        await calls.are("a0", "a1", "a2", "b0", "c0", "b1", "a3")


async def test_a_free_place_goes_to_who_has_fewest_calls_under_way() -> None:
    """Turns alone would give each tenant as much: who hangs, once more in each round."""
    async with _lane(places=3) as (lane, calls, _):
        _put(lane, "a0", "a1", "b0")
        await calls.are("a0", "b0", "a1")
        _put(lane, "a2", "b1", "b2")
        calls.end("b0", "b1", "b2")
        await calls.are("a0", "b0", "a1", "b1", "b2", "a2")


async def test_nothing_is_begun_while_the_way_is_shut(monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits waits in the lane, which does not spin, and begins as soon as the way opens."""
    monkeypatch.setattr("chimeway.delivery.lane.set_within", _rung_only)
    async with _lane() as (lane, calls, _):
        calls.way.shut_s = 30.0
        _put(lane, "a0", "b0")
        for _ in range(100):
            await asyncio.sleep(0)
        assert (calls.begun, calls.way.asked) == ([], 1)
        assert lane.passed_over
        calls.way.shut_s = 0.0
        _put(lane, "c0")
        await calls.are("a0", "b0")


async def _rung_only(event: asyncio.Event, _seconds: float) -> bool:
    return await event.wait()


async def test_a_lane_wakes_when_the_way_opens() -> None:
    """Without anybody ringing."""
    async with _lane() as (lane, calls, _):
        calls.way.shut_s = 0.05
        _put(lane, "a0")
        await wait_for(lambda: calls.way.asked, "it looks")
        calls.way.shut_s = 0.0
        await calls.are("a0")


async def test_a_way_let_through_one_by_one_is_looked_at_before_each() -> None:
    """With one call to be had, one item goes, and no other comes to the gate in vain."""
    async with _lane(places=8) as (lane, calls, _):
        calls.way.tokens = 1
        _put(lane, *(f"a{number}" for number in range(QUEUE)))
        await calls.are("a0")
        calls.way.tokens = 2
        calls.end("a0")
        await calls.are("a0", "a1", "a2")
        assert calls.in_vain == []


async def test_who_comes_to_a_shut_gate_keeps_his_turn() -> None:
    """The way shut between the look and the gate: the item is next again, before its tenant's others."""
    async with _lane() as (lane, calls, _):
        calls.way.looks_open, calls.way.tokens = 1, 0
        _put(lane, "a0", "a1")
        await wait_for(lambda: calls.in_vain, "it comes in vain")
        calls.way.tokens = 2
        _put(lane, "b0")
        await calls.are("a0", "b0")


async def test_a_cleared_lane_begins_nothing() -> None:
    """What nobody began is given back, and what is under way may end."""
    async with _lane() as (lane, calls, _):
        _put(lane, "a0", "a1")
        await calls.are("a0", "a1")
        _put(lane, "a2", "b0")
        assert sorted(lane.clear()) == ["a2", "b0"]
        calls.end("a0", "a1")
        await calls.are("a0", "a1")


async def test_a_full_channel_is_named_and_passed_over(database_url: str) -> None:
    """While all places of a channel hang and its queue is full, it is passed over and another's are sent."""
    hung = [Gate() for _ in range(CALLS)]
    push, sms = Provider("push", *hung), Provider("sms")
    people = [f"user_{number}" for number in range(CALLS + QUEUE + 5)]
    async with running_machine(database_url, push, sms, definitions=(_one("push"), _one("sms"))) as on:
        await _fill(on, push, people)
        for person in people:
            await on.start(person, "sms")
        await wait_for(lambda: on.rows.value(f"select ({SENT}) = $2", "sms", len(people)), "texts are sent")
        assert len(push.messages) == CALLS
        assert on.machine._dispatcher.full_channels() == ["push"]
        assert await _due(on) == set()
        for gate in hung:
            gate.release()
        await on.rows.until_none_live()
        assert sorted(message.recipient_id for message in push.messages) == sorted(people)
        assert on.machine._dispatcher.full_channels() == []
        assert await on.rows.value(SENT, "push") == len(people)


async def test_a_lane_full_of_one_tenants_is_found_by_anothers(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What stands only in the database, as after a restart, does not wait until the lane is half empty."""
    monkeypatch.setattr(Machine, "_offer", lambda *_: None)
    monkeypatch.setattr(Provider, "limits", ChannelLimits(concurrency=CALLS + 2))
    hung = [Gate() for _ in range(CALLS + 1)]
    push = Provider("push", *hung)
    async with running_machine(database_url, push, definitions=(_one("push"),)) as on:
        for number in range(CALLS + QUEUE + 5):
            await on.start(f"user_{number}", "push", "a")
        await wait_for(lambda: len(push.messages) == len(hung), "one may have no more places")
        await wait_for(lambda: on.machine._dispatcher.full_channels() == ["push"], "the channel is full")
        await on.rows.until(await on.start("bob", "push", "b"), "completed", deadline_s=10)
        assert on.machine._dispatcher.full_lines() == [("push", "a")]
        for gate in hung:
            gate.release()
        await on.rows.until_none_live()


async def test_a_full_channel_costs_no_other_its_intake(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where little may be loaded at once, what a full channel refuses leaves the way in to others."""
    monkeypatch.setattr("chimeway.delivery.intake.INTAKE", 2)
    hung = [Gate() for _ in range(CALLS)]
    push, sms = Provider("push", *hung), Provider("sms")
    people = [f"user_{number}" for number in range(CALLS + QUEUE + 20)]
    async with running_machine(database_url, push, sms, definitions=(_one("push"), _one("sms"))) as on:
        await _fill(on, push, people)
        await on.rows.until(await on.start("ada", "sms"), "completed", deadline_s=10)
        for gate in hung:
            gate.release()
        await on.rows.until_none_live()
        assert len(push.messages) == len(people)


async def test_a_locked_run_keeps_no_place(database_url: str) -> None:
    """Results of runs that a client has locked wait to be written, and others are sent in their places."""
    gates = [Gate() for _ in range(CALLS)]
    push = Provider("push", *gates)
    async with running_machine(database_url, push, definitions=(_one("push"),)) as on:
        held = [await on.start(f"held_{number}", "push") for number in range(CALLS)]
        await wait_for(lambda: len(push.messages) == CALLS, "all places are taken")
        async with on.rows.connection.transaction():
            await on.rows.all("select 1 from chimeway.workflow_runs where id = any($1) for update", held)
            for gate in gates:
                gate.release()
            async with on.node.database.acquire() as producer:
                for number in range(QUEUE + 1):
                    start = "select chimeway.trigger('push', recipient_id => $1, data => '{\"document\": 7}')"
                    await producer.fetchval(start, f"user_{number}")
            sent = f"select ({SENT}) = $2"
            await wait_for(lambda: on.rows.value(sent, "push", QUEUE + 1), "others are sent")
            states = [(await on.rows.deliveries(run))[0]["status"] for run in held]
            assert states == ["dispatched"] * CALLS
        for run in held:
            await on.rows.until(run, "completed")
        assert len(push.messages) == CALLS + QUEUE + 1
        assert await on.rows.value(SENT, "push") == CALLS + QUEUE + 1
