"""A glance: one statement that sees whether there is anything to look for, of each kind."""

from datetime import timedelta

import pytest

from chimeway.store.glances import Seen, glance
from chimeway.store.ids import SHARDS, shard_of_id
from chimeway.store.pool import Database
from store.door import Door, opened


@pytest.fixture
async def world(clock_database: Database) -> Door:
    """Ada's run, triggered and not decided about."""
    world = await opened(clock_database)
    await world.trigger("ada")
    return world


async def _seen(world: Door, *, ahead_s: float = 0, shards: frozenset[int] = SHARDS) -> Seen:
    now = await world.sql("select chimeway.clock()")
    return await glance(world.database, now + timedelta(seconds=ahead_s), shards)


async def test_a_run_is_seen_when_it_is_due_and_in_its_shard_alone(world: Door) -> None:
    """Due now: work; decided, and due in two hours: none until then. Another's shards are not looked at."""
    shard = shard_of_id(world.runs["ada"])
    assert (await _seen(world)).work
    assert (await _seen(world, shards=frozenset({shard}))).work
    assert not (await _seen(world, shards=SHARDS - {shard})).work
    assert (await _seen(world)).now == await world.sql("select chimeway.clock()")
    await world.sql("update chimeway.workflow_runs set wake_at = chimeway.clock() + interval '2 hours'")
    seen = await _seen(world)
    assert (seen.work, seen.parked, seen.calls) == (False, False, False)
    assert (await _seen(world, ahead_s=7_200)).work


async def test_a_signal_is_seen_until_it_is_routed(world: Door) -> None:
    """Whoever it is for."""
    await world.sql("update chimeway.workflow_runs set wake_at = null")
    assert not (await _seen(world)).work
    await world.sql("select chimeway.signal('read', actor_id => 'nobody')")
    assert (await _seen(world)).work
    await world.sql("update chimeway.signals set routed_at = chimeway.clock()")
    assert not (await _seen(world)).work


async def test_a_delivery_is_seen_when_it_is_due_and_while_it_is_under_way(world: Door) -> None:
    """Planned: work. Begun: a call that somebody may have to give up. Waiting for a node: likewise."""
    await world.commit(await world.entry("ada"))
    await world.sql("update chimeway.workflow_runs set wake_at = null")
    await world.sql(
        "update chimeway.deliveries set status = 'pending', terminal_at = null, last_outcome = null,"
        " attempt_count = 0, next_attempt_at = chimeway.clock()"
    )
    seen = await _seen(world)
    assert (seen.work, seen.calls) == (True, False)
    await world.sql("update chimeway.deliveries set waiting_for_node = 'channel sms'")
    seen = await _seen(world)
    assert (seen.work, seen.calls) == (False, True)
    await world.sql(
        "update chimeway.deliveries set waiting_for_node = null, next_attempt_at = null,"
        " status = 'dispatched'"
    )
    seen = await _seen(world)
    assert (seen.work, seen.calls) == (False, True)


async def test_a_run_that_was_put_aside_is_seen_when_the_pause_is_over(world: Door) -> None:
    """Not before: it is no work, and nobody can put it back."""
    await world.sql("update chimeway.workflow_runs set parked = true")
    await world.sql("update chimeway.workflow_definitions set paused_at = chimeway.clock()")
    seen = await _seen(world)
    assert (seen.work, seen.parked) == (False, False)
    await world.sql("update chimeway.workflow_definitions set paused_at = null")
    seen = await _seen(world)
    assert (seen.work, seen.parked) == (False, True)
