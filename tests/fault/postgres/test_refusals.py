"""The server is there and says no: deadlocks, stricter isolation, time limits, no connection left, no room.

None of them is a run's own fault: nothing is held, split off or given up for it. The call is made again until
the server lets it, and whoever operates it is told what it said, and what to do.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import asyncpg
import pytest

from chimeway.store import roles
from fault.postgres.story import Node, Story, make_home, node, telling
from kit.clusters import Cluster, own_cluster
from kit.logins import as_role
from kit.waiting import wait_for

QUARRELSOME = """
create sequence quarrels;
create function quarrel() returns trigger language plpgsql as $$
begin
    if nextval('public.quarrels') % 7 = 0 then
        raise exception 'could not serialize access' using errcode = '40001';
    end if;
    return null;
end $$;"""
"""Another's trigger on our table: the transaction of every seventh statement did not happen."""


@asynccontextmanager
async def world(folder: Path, *settings: str) -> AsyncIterator[tuple[Cluster, Story, Node]]:
    """Run a cluster and a daemon that works on it; afterwards all went as written, and nothing was held."""
    async with (
        own_cluster(*settings) as cluster,
        telling(cluster.url) as story,
        node(cluster.url, make_home(folder), story) as one,
    ):
        yield cluster, story, one
        print(f"\n{await story.ends_as_written()}")
        assert not one.said("run.held")
        assert not one.said("ledger.batch_split")
        assert not one.said("database.lost")
        await one.until_ready(200, "working")


async def _refused(one: Node, code: str) -> None:
    """Wait until the log says so, with a hint."""
    line = await one.daemon.event("database.refused", code=code)
    assert line["hint"]


async def _serialization(cluster: Cluster, story: Story, one: Node) -> None:
    """Statements that end with 40001 are made again: whatever trigger or isolation brought it about."""
    await cluster.sql(
        "alter database postgres set default_transaction_isolation = 'serializable'"
    )  # ours is ours all the same
    await cluster.run(QUARRELSOME)
    await cluster.sql(
        "create trigger quarrel after insert on chimeway.workflow_transitions execute function quarrel()"
    )
    await story.tell("serialization")
    await _refused(one, "40001")
    await cluster.sql("drop trigger quarrel on chimeway.workflow_transitions")
    await cluster.sql("alter database postgres reset default_transaction_isolation")


async def _deadlock(cluster: Cluster, story: Story, one: Node) -> None:
    """A stranger who locks our tables in another order is no reason to lose anything."""
    stranger = await asyncpg.connect(cluster.socket_url)
    try:
        await stranger.execute("set deadlock_timeout = '60s'")  # so the other side finds it out, and is ended
        async with asyncio.timeout(60):
            for number in range(100):
                if one.said("database.refused", code="40P01"):
                    return
                with suppress(asyncpg.DeadlockDetectedError):
                    await _cross(stranger, story, number)
        pytest.fail("there was no deadlock")
    finally:
        await stranger.close()


async def _cross(stranger: "asyncpg.Connection[asyncpg.Record]", story: Story, number: int) -> None:
    waits = """select exists (select from pg_locks
                               where not granted and relation = 'chimeway.deliveries'::regclass)"""
    async with stranger.transaction():
        await stranger.execute("lock table chimeway.deliveries in access exclusive mode")
        telling_on = asyncio.ensure_future(story.tell(f"deadlock_{number}", 4))
        try:
            await wait_for(lambda: stranger.fetchval(waits), "the daemon waits for it", every_s=0.005)
            await stranger.execute("lock table chimeway.workflow_runs in access exclusive mode")
        finally:
            await asyncio.wait({telling_on}, timeout=0)
    await telling_on


async def _time_limit(cluster: Cluster, story: Story, one: Node) -> None:
    """A statement that is ended by a time limit of the database is made again."""
    stranger = await asyncpg.connect(cluster.socket_url)
    try:
        async with stranger.transaction():
            await stranger.execute("lock table chimeway.workflow_transitions in access exclusive mode")
            telling_on = asyncio.ensure_future(story.tell("time_limit"))
            await _refused(one, "57014")
            await one.until_ready(503, "database refused")
        await telling_on
    finally:
        await stranger.close()


async def test_what_the_server_refuses_is_asked_again(tmp_path: Path) -> None:
    """Deadlocks, serialization errors and time limits cost time, and nothing else."""
    async with world(tmp_path, "statement_timeout=1s", "deadlock_timeout=300ms") as (cluster, story, one):
        await _serialization(cluster, story, one)
        await _deadlock(cluster, story, one)
        await _time_limit(cluster, story, one)


async def test_no_connection_is_left(tmp_path: Path) -> None:
    """The node works with those that it gets, and says that it would have more."""
    async with own_cluster() as cluster, telling(cluster.url) as story:
        # One for the lease, one that listens, and one for all work; its door asks by a fourth.
        login = "create role few login in role chimeway_daemon connection limit 3;"
        await cluster.run(roles.script().rpartition("select")[0] + login + "select chimeway.grant_roles()")
        async with node(as_role(cluster.url, "few"), make_home(tmp_path), story) as one:
            await story.tell("crowded", 40)
            await _refused(one, "53300")
            print(f"\n{await story.ends_as_written()}")
            await cluster.sql("alter role few connection limit 18")
            await one.until_ready(200, "working")
            assert not one.said("run.held")
