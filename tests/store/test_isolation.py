"""The isolation that the ledger's guards need, whatever a database or a caller has set."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Literal

import asyncpg
import pytest

import chimeway.sync
from chimeway import Chimeway, InvalidInput
from chimeway.store.deliveries import begin_attempts
from chimeway.store.ledger import arrays_of, commit_decisions
from chimeway.store.pool import Database, connect, open_database
from chimeway.store.queries import SQL
from kit.home import workflow
from kit.machine import Provider, running_machine
from kit.rows import Row
from kit.waiting import wait_for
from store.door import Door, opened
from store.plain_sql import plain

Level = Literal["repeatable_read", "serializable"]
IN_FORCE = "select current_setting('transaction_isolation')"


class Strict(Database):
    """A pool as another program might use it: every statement in a transaction of this level."""

    level: Level = "repeatable_read"

    async def fetch(self, name: str, *args: Any) -> list[asyncpg.Record]:
        """Run a named statement."""
        async with self.acquire() as connection, connection.transaction(isolation=self.level):
            return list(await connection.fetch(SQL[name], *args))


@asynccontextmanager
async def _refused(world: Door, level: str) -> AsyncIterator[None]:
    """Assert that the block is refused for its isolation, and that it writes nothing."""
    before = await world.contents()
    with pytest.raises(asyncpg.PostgresError) as caught:
        yield
    assert (caught.value.sqlstate, level.replace("_", " ") in str(caught.value)) == ("CW001", True)
    assert "READ COMMITTED" in str(caught.value.hint)  # type: ignore[attr-defined]
    assert await world.contents() == before


@pytest.mark.parametrize("level", ["repeatable_read", "serializable"])
async def test_the_ledger_refuses_another_isolation(clock_database: Database, level: Level) -> None:
    """A decision or attempt whose snapshot may be older than its locks is refused; nothing is written."""
    world = await opened(clock_database)
    strict = Strict(clock_database.url, clock_database._pool)
    strict.level = level
    await world.trigger("ada")
    entry = await world.entry("ada")
    async with _refused(world, level):
        await commit_decisions(strict, None, [entry])
    assert await world.commit(entry) == ["applied"]
    await world.pass_time(2)
    await world.progress("ada")
    row = await world.beginning("ada")
    async with _refused(world, level):
        await begin_attempts(strict, None, row.run_id, [row])
    assert [begun.answer for begun in await world.begin(row)] == ["begun"]


async def test_the_isolation_is_refused_before_a_lock_can_fail(clock_database: Database) -> None:
    """A snapshot older than a change to the run would fail its lock: that says nothing of what is wrong."""
    world = await opened(clock_database)
    await world.trigger("ada")
    entry = await world.entry("ada")
    async with (
        _refused(world, "repeatable_read"),
        clock_database.acquire() as sql,
        sql.transaction(isolation="repeatable_read"),
    ):
        await sql.execute("select from chimeway.workflow_runs")
        async with plain(clock_database.url) as other:
            await other.execute("update chimeway.workflow_runs set strikes = strikes")
        await sql.fetch(SQL["commit_decisions"], None, None, *arrays_of([entry]))


@pytest.fixture
async def strict_url(database_url: str) -> str:
    """A database whose default isolation is REPEATABLE READ."""
    async with plain(database_url) as sql:
        name = await sql.fetchval("select current_database()")
        await sql.execute(f"alter database \"{name}\" set default_transaction_isolation = 'repeatable read'")
    async with plain(database_url) as sql:
        assert await sql.fetchval(IN_FORCE) == "repeatable read"
    return database_url


async def test_a_connection_of_its_own_is_read_committed(strict_url: str) -> None:
    """Whatever the database's default, a connection outside the pool is READ COMMITTED."""
    alone = await connect(strict_url, "test")
    try:
        assert await alone.fetchval(IN_FORCE) == "read committed"
    finally:
        await alone.close()


RESET = "a connection that comes back to the pool is reset (RESET ALL), also what was set when it was opened"


async def test_a_pooled_connection_stays_read_committed(strict_url: str) -> None:
    """Whatever the database's default, a connection of the pool is READ COMMITTED each time it is lent."""
    async with open_database(strict_url, size=1) as database:
        seen = []
        for _ in range(3):
            async with database.acquire() as connection:
                seen.append(await connection.fetchval(IN_FORCE))
        assert seen == ["read committed"] * 3


async def test_an_engine_works_on_a_strict_database(strict_url: str) -> None:
    """Where the database's default is REPEATABLE READ a journey is played as anywhere, and no run is held."""
    step = {"id": "push", "action": {"type": "notify", "channel": "push", "render_key": "mention"}}
    async with running_machine(strict_url, Provider(), definitions=(workflow(step),)) as on:
        run_id = await on.start()

        async def settled() -> Row | None:
            run = await on.rows.run(run_id)
            return run if run["held_reason"] or run["ended_at"] else None

        run = await wait_for(settled, "the run has ended or is held")
        assert (run["state"], run["held_reason"]) == ("completed", None)


async def test_forgetting_works_on_a_strict_database(strict_url: str) -> None:
    """Both clients forget on connections of their own, whatever the default; a lent one is the caller's."""
    async with Chimeway.connect(strict_url) as client:
        await client.identify("ada", locale="en")
        assert (await client.forget("ada")).known
        async with plain(strict_url) as lent, lent.transaction():
            with pytest.raises(InvalidInput, match="repeatable read"):
                await client.forget("ada", connection=lent)

    def without_a_loop() -> bool:
        with chimeway.sync.Chimeway.connect(strict_url) as client:
            client.identify("bob", locale="en")
            return client.forget("bob").known

    assert await asyncio.to_thread(without_a_loop)
