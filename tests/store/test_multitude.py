"""The copies of journeys that the big tests are made of are as if they had been played."""

from chimeway.store.pool import Database
from chimeway.store.replaying import Replayed
from chimeway.store.replays import replay_all
from chimeway.store.verify import Scope, verify
from kit.multitude import multiply
from store.plain_sql import plain
from store.verify_world import played


async def test_copies_of_all_kinds_of_journeys_break_no_invariant(clock_database: Database) -> None:
    """Each is somebody's own, of several tenants, and its decisions come out the same."""
    world = await played(clock_database)
    async with plain(clock_database.url) as connection:
        await multiply(connection, dict.fromkeys(world.runs.values(), 12))
    assert await world.sql("select count(distinct recipient_id) from chimeway.workflow_runs") == 130
    assert await world.sql("select count(distinct tenant_id) from chimeway.workflow_runs") > 10
    assert await verify(clock_database) == []
    found: list[Replayed] = []
    come = await replay_all(clock_database, Scope(), found.append, lambda _: None)
    assert (come.runs, come.decisions["same"], found) == (130, 13 * 21, [])


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
