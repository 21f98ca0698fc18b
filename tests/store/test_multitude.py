"""The copies of journeys that the big tests are made of are as if they had been played."""

import pytest

from chimeway.store.pool import Database
from chimeway.store.replaying import Replayed
from chimeway.store.replays import replay_all
from chimeway.store.verify import Scope, verify
from kit.multitude import multiply, person, tenant
from store.plain_sql import plain
from store.verify_world import played


async def test_copies_of_all_kinds_of_journeys_break_no_invariant(
    clock_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is somebody's own, of several tenants, and its decisions come out the same."""
    monkeypatch.setattr("kit.multitude.BULK", 1)  # as a million are made: by several, indexes at the end
    world = await played(clock_database)
    async with plain(clock_database.url) as connection, plain(clock_database.url) as other:
        await multiply(connection, dict.fromkeys(world.runs.values(), 12), beside=[other])
    assert await world.sql("select count(distinct recipient_id) from chimeway.workflow_runs") == 130
    assert await world.sql("select count(distinct tenant_id) from chimeway.workflow_runs") > 10
    assert await verify(clock_database) == []
    found: list[Replayed] = []
    come = await replay_all(clock_database, Scope(), found.append, lambda _: None)
    assert (come.runs, come.decisions["same"], found) == (130, 13 * 21, [])


async def test_copies_bear_names_that_whoever_made_them_can_tell(clock_database: Database) -> None:
    """Numbers go on where they are told to, also while somebody works on these tables."""
    world = await played(clock_database)
    async with plain(clock_database.url) as connection:
        await multiply(connection, {world.runs["waiter"]: 9}, live=True, people=False)
        await multiply(connection, {world.runs["waiter"]: 11}, first=10, live=True)
        found = await connection.fetch(
            "select tenant_id, recipient_id from chimeway.workflow_runs where recipient_id ~ '^waiter_'"
        )
        assert (
            await connection.fetchval("select count(*) from chimeway.recipients where recipient_id ~ '_'")
            == 11
        )
    own = await world.sql("select tenant_id from chimeway.workflow_runs where recipient_id = 'waiter'")
    assert {tuple(row) for row in found} == {(tenant(own, n), person("waiter", n)) for n in range(1, 21)}
    assert await verify(clock_database) == []


async def test_a_copy_that_is_broken_is_found(clock_database: Database) -> None:
    """What names another row was renamed in it, or verify would not go through it as it does."""
    world = await played(clock_database)
    async with plain(clock_database.url) as connection:
        await multiply(connection, {world.runs["reader"]: 2})
        await connection.execute(
            """update chimeway.run_mailbox set consumed_by = null
                where run_id in (select id from chimeway.workflow_runs where recipient_id = 'reader_2')"""
        )
    assert [one.check for one in await verify(clock_database)] == ["decisions"]
