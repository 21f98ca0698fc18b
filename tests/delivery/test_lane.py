"""Lanes: a channel that is full refuses, is named and passed over, and has its deliveries when it can."""

import asyncio
from uuid import UUID

import pytest

from chimeway.delivery.lane import Lane
from chimeway.store.due import Pages
from kit.home import workflow
from kit.machine import Provider, Running, running_machine
from kit.waiting import Gate, wait_for

CALLS, QUEUE = 2, 4
SENT = "select count(*) from chimeway.deliveries where channel = $1 and status = 'succeeded'"


@pytest.fixture(autouse=True)
def _narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make lanes of two places, with four waiting before them."""
    monkeypatch.setattr("chimeway.delivery.lane.CHANNEL_CALLS", CALLS)
    monkeypatch.setattr("chimeway.delivery.lane.CHANNEL_QUEUE", QUEUE)


def _one(channel: str) -> dict[str, object]:
    """Return a workflow that sends one message, named like its channel."""
    action = {"type": "notify", "channel": channel, "render_key": "mention"}
    return workflow({"id": channel, "action": action}, key=channel)


async def _due(on: Running) -> set[UUID]:
    """Return what the next look at the due deliveries would bring."""
    full = on.machine._dispatcher.full_channels
    pages = Pages(on.node.database, "delivery", range(256), 16, full)
    return {due.id for due in await pages.next(on.node.clock.now())}


async def _fill(on: Running, push: Provider, people: list[str]) -> None:
    """Start more journeys than a hanging channel has room for."""
    for person in people:
        await on.start(person, "push")
    await wait_for(lambda: len(push.messages) == CALLS, "all places are taken")
    await wait_for(lambda: on.machine._dispatcher.full_channels() == ["push"], "the channel is full")


async def test_a_lane_sends_in_order_and_has_room_when_half_empty() -> None:
    """A full lane refuses until half its queue is sent, says then that it has room, and keeps the order."""
    gates = [Gate() for _ in range(CALLS + QUEUE)]
    begun: list[int] = []
    told = asyncio.Event()

    async def send(number: int) -> None:
        begun.append(number)
        await gates[number].passes()

    async with asyncio.TaskGroup() as group:
        lane = Lane("push", send, group, told.set)
        assert all(lane.put(number) for number in range(CALLS + QUEUE))
        assert not lane.full
        assert not lane.put(99)
        assert (lane.full, told.is_set()) == (True, False)
        await wait_for(lambda: begun == [0, 1], "the places are taken")
        gates[0].release()
        await wait_for(lambda: begun == [0, 1, 2], "the first of the queue is sent")
        assert (lane.full, told.is_set()) == (True, False)
        gates[2].release()
        await asyncio.wait_for(told.wait(), 5)
        assert not lane.full
        assert lane.put(1)
        for gate in gates:
            gate.release()
    assert begun == [*range(CALLS + QUEUE), 1]


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


async def test_a_full_channel_costs_no_other_its_intake(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where little may be loaded at once, what a full channel refuses leaves the way in to others."""
    monkeypatch.setattr("chimeway.delivery.dispatcher.INTAKE", 2)
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
