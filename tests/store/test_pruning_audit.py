"""The audit leaves last of all: who did what, and what was held after a restore."""

from collections import Counter
from datetime import timedelta

import pytest

from chimeway.store import restoring
from chimeway.store.acting import Operator
from chimeway.store.pool import Database
from chimeway.store.pruning import Batch, batches
from store.door import Door, opened
from store.pruning import KEPT, prune

DID = "insert into chimeway.operator_actions (who, action, tenant_id) values ('ops', 'pause', $1)"
DAY_H = 24.0


@pytest.fixture
async def world(clock_database: Database) -> Door:
    """An empty database with a workflow."""
    return await opened(clock_database)


async def _audit(world: Door) -> Counter[str]:
    removed = await prune(world.database)
    return Counter({table: many for table, many in removed.items() if table.startswith(("oper", "restor"))})


async def test_who_did_what_leaves_after_its_time(world: Door) -> None:
    """Not before, the oldest first, in batches, of one tenant where one is named; a dry run counts them."""
    for tenant in ("one", "one", "two", None):
        await world.sql(DID, tenant)
    await world.pass_time(DAY_H * 10)
    await world.sql(DID, "young")
    await world.pass_time(DAY_H * 389)
    assert await _audit(world) == {}
    await world.pass_time(DAY_H * 2)
    there = (
        "select string_agg(coalesce(tenant_id, '-'), ',' order by tenant_id) from chimeway.operator_actions"
    )
    assert (await prune(world.database, dry=True))["operator_actions"] == 4
    assert (await prune(world.database, tenant="two"))["operator_actions"] == 1
    assert await world.sql(there) == "one,one,young,-"
    steps: list[Batch] = [step async for step in batches(world.database, "actions", KEPT, at_most=1)]
    assert [(step.removed.get("operator_actions", 0), step.more) for step in steps] == [
        (1, True), (1, True), (1, True), (0, False),
    ]  # fmt: skip
    assert await world.sql(there) == "young"


async def test_what_is_locked_elsewhere_is_not_waited_for(world: Door) -> None:
    """It leaves the next time."""
    await world.sql(DID, "one")
    await world.pass_time(DAY_H * 401)
    async with world.database.acquire() as stranger, stranger.transaction():
        await stranger.execute("select from chimeway.operator_actions for key share")
        assert await _audit(world) == {}
    assert await _audit(world) == {"operator_actions": 1}


async def test_what_a_restore_left_behind_leaves_and_what_is_held_does_not(world: Door) -> None:
    """A decided message, a run that has ended, and last the restore; a message still held keeps it."""
    await world.to_email("ada", "bob")
    now = await world.sql("select chimeway.clock()")
    assert await restoring.begin(world.database, now, "test") == restoring.Begun(False, 2, 2)
    assert await restoring.decide(
        world.database, Operator(None, "eve", None), [await world.delivery("ada")], release=False
    )
    await world.progress("ada")
    await world.pass_time(DAY_H * 399)
    assert await _audit(world) == {}
    await world.pass_time(DAY_H * 2)
    gone = {"restored_deliveries": 1, "restored_runs": 1, "operator_actions": 1}
    assert Counter(await prune(world.database, dry=True)) & Counter(gone) == gone
    assert await _audit(world) == gone
    (held,) = await restoring.held(world.database, restoring.Which(), 10)
    assert held.delivery_id == await world.delivery("bob")
    assert await _audit(world) == {}
    await world.sql("select count(*) from chimeway.cancel($1)", world.runs["bob"])
    assert await _audit(world) == {"restored_deliveries": 1, "restored_runs": 1, "restores": 1}
    assert await restoring.begin(world.database, now + timedelta(hours=1), "test")


async def test_of_one_tenant_restores_are_left_alone(world: Door) -> None:
    """They are noted for all tenants at once."""
    assert [step async for step in batches(world.database, "restored", KEPT, tenant="one")] == []
