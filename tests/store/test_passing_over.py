"""Batches pass over what somebody else has locked; who asks for one run by name may wait for it."""

import asyncio
from uuid import UUID

import pytest

from chimeway.clock import SystemClock
from chimeway.store import acting, runs
from chimeway.store.catalogue import Catalogue
from chimeway.store.due import Pages
from chimeway.store.ids import every_shard
from chimeway.store.pool import Database
from kit.waiting import wait_for
from store.door import BLOCKED, Door, locked, opened

SOON_S = 20.0
"""Much longer than any statement takes: who waits for a lock does not come back within it."""


@pytest.fixture
async def world(clock_database: Database) -> Door:
    """Ada's run and Bob's, due."""
    world = await opened(clock_database)
    for person in ("ada", "bob"):
        await world.trigger(person)
    return world


async def _column(world: Door, name: str) -> list[object]:
    return [(await world.row(person))[name] for person in ("ada", "bob")]


async def test_the_engines_hold_passes_over_a_locked_run(world: Door) -> None:
    """While a client has the run locked the engine's hold is false and writes nothing; then it holds."""
    ada = world.runs["ada"]
    async with locked(world.database, ada), asyncio.timeout(SOON_S):
        assert await runs.hold(world.database, ada, "poison_decision") is False
    assert (await _column(world, "held_reason"), await world.reasons("ada")) == (
        [None, None],
        ["workflow_started"],
    )
    assert await runs.hold(world.database, ada, "poison_decision") is True
    assert await _column(world, "held_reason") == ["poison_decision", None]


async def _held_by_hand(world: Door, run_id: UUID) -> None:
    who = acting.Operator(None, "ops", "default")
    await acting.alone(world.database, lambda connection: acting.hold(connection, who, run_id, None))


async def test_a_patient_hold_waits_for_a_locked_run(world: Door) -> None:
    """A person's hold waits for the client that has the run locked, and then holds."""
    ada = world.runs["ada"]
    async with locked(world.database, ada):
        held = asyncio.ensure_future(_held_by_hand(world, ada))
        await wait_for(lambda: world.sql(BLOCKED), "the hold waits")
        assert not held.done()
    await asyncio.wait_for(held, SOON_S)
    assert await world.reasons("ada") == ["workflow_started", "run_held"]


async def test_a_patient_hold_finds_what_ended_meanwhile(world: Door) -> None:
    """A hold that waited for a cancel finds the run ended, and holds nothing."""
    ada = world.runs["ada"]
    async with locked(world.database, ada) as client:
        held = asyncio.ensure_future(_held_by_hand(world, ada))
        await wait_for(lambda: world.sql(BLOCKED), "the hold waits")
        await client.fetch("select * from chimeway.cancel(run_id => $1)", ada)
    with pytest.raises(acting.RunNotHoldable):
        await asyncio.wait_for(held, SOON_S)
    assert await world.reasons("ada") == ["workflow_started", "cancelled_by_request"]


async def test_strikes_pass_over_a_locked_run(world: Door) -> None:
    """A locked run gets no strike and loses none, and those beside it do."""
    ids = list(world.runs.values())
    async with locked(world.database, world.runs["ada"]), asyncio.timeout(SOON_S):
        await runs.strike(world.database, ids)
    assert await _column(world, "strikes") == [0, 1]
    await runs.strike(world.database, ids)
    async with locked(world.database, world.runs["bob"]), asyncio.timeout(SOON_S):
        await runs.clear_strikes(world.database, ids)
    assert await _column(world, "strikes") == [0, 2]


async def test_a_locked_run_is_not_said_to_wait_for_a_node(world: Door) -> None:
    """What a node lacks cannot be written on a locked run, nor be taken away from it; nobody waits for it."""
    ada, bob = world.runs["ada"], world.runs["bob"]
    async with locked(world.database, ada), asyncio.timeout(SOON_S):
        assert await runs.mark_incapable(world.database, ada, "definition_format") is False
        assert await runs.mark_incapable(world.database, bob, "definition_format") is True
    assert await _column(world, "waiting_for_node") == [None, "definition_format"]
    assert await runs.mark_incapable(world.database, ada, "definition_format") is True
    async with locked(world.database, ada), asyncio.timeout(SOON_S):
        await runs.reclaim_capable(world.database, Catalogue(world.database))
    assert await _column(world, "waiting_for_node") == ["definition_format", None]


async def test_parking_passes_over_a_locked_run(world: Door) -> None:
    """Of the due runs of a paused workflow a locked one is parked at the next look, and unparked likewise."""
    pages = Pages(world.database, "run", every_shard, 16, SystemClock())
    now = await world.sql("select chimeway.clock()")

    async def look() -> list[object]:
        pages.restart()
        assert await pages.next(now) == []
        return await _column(world, "parked")

    await world.sql("select chimeway.pause_workflow('escalation', true)")
    async with locked(world.database, world.runs["ada"]), asyncio.timeout(SOON_S):
        assert await look() == [False, True]
    assert await look() == [True, True]
    await world.sql("select chimeway.pause_workflow('escalation', false)")
    async with locked(world.database, world.runs["bob"]), asyncio.timeout(SOON_S):
        assert await runs.unpark(world.database, 10) == [(world.runs["ada"], "default")]
    assert await runs.unpark(world.database, 10) == [(world.runs["bob"], "default")]
    assert await _column(world, "parked") == [False, False]
