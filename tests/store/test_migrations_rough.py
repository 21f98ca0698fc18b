"""Migrations on rough ground: who runs them, what a role or a database has set, what is cut short."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

import asyncpg
import pytest

from chimeway import DatabaseUnavailable, NotPermitted
from chimeway.store import migrating, migrations, roles, schema
from chimeway.store.migrations import VERSION
from chimeway.store.pool import open_database
from kit.bare import bare_database, run, schema_of
from kit.catalog import catalogue
from kit.logins import as_role, logins
from store.plain_sql import plain

ALL = list(range(2, VERSION + 1))


@pytest.fixture(scope="module")
def names(server_url: str) -> Iterator[Mapping[str, str]]:
    """A login for each role, and `plain`, which owns the schemas here."""
    with logins(server_url) as made:
        yield made


@pytest.fixture
async def owned(server_url: str, names: Mapping[str, str]) -> AsyncIterator[str]:
    """A database with schema version 1, which belongs to `plain`, who is no superuser."""
    async with bare_database(server_url) as url:
        name = url.partition("?")[0].rpartition("/")[2]
        await run(url, f'grant create on database "{name}" to {names["plain"]}')
        await run(as_role(url, names["plain"]), schema_of(1))
        yield url
        await run(url, f"alter role {names['plain']} reset all; drop owned by {names['plain']}")


WAITER = """
select pid from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()
"""
BUILDER = WAITER + " and query like 'create index concurrently%'"


async def _some(eye: "asyncpg.Connection[Any]", which: str) -> int:
    """Return the server process that does this, as soon as there is one."""
    async with asyncio.timeout(30):
        while (pid := await eye.fetchval(which)) is None:  # noqa: ASYNC110  (a row is no event)
            await asyncio.sleep(0.01)
    return int(pid)


OWNERS = """
select distinct r.rolname::text from pg_roles r where r.oid in (
    select p.proowner from pg_proc p where p.pronamespace = 'chimeway'::regnamespace union
    select c.relowner from pg_class c where c.relnamespace = 'chimeway'::regnamespace)
"""


@pytest.mark.parametrize("way", ["migrate", "text"])
async def test_what_a_superuser_migrates_stays_its_owners(
    owned: str, names: Mapping[str, str], way: str
) -> None:
    """Nothing new runs with a superuser's rights, the owner can grant it, and roles are as they were."""
    if way == "migrate":
        assert await migrating.migrate(owned) == ALL
    else:
        async with plain(owned) as connection, connection.transaction():
            for step in migrations.pending(1):
                await connection.execute(step.script("7.8.9"))
            assert await connection.fetchval("select current_user = session_user")
            assert await connection.fetchval("show role") == "none"
    async with plain(owned) as connection:
        assert [row[0] for row in await connection.fetch(OWNERS)] == [names["plain"]]
    async with open_database(as_role(owned, names["plain"]), size=1) as database:
        assert set((await roles.make(database)).granted) == set(roles.ROLES)


async def test_who_does_not_own_the_schema_is_told_who_must_migrate(
    owned: str, names: Mapping[str, str]
) -> None:
    """Without a right, with that of reading, and with that of a node: refused, and nothing has changed."""
    before = await catalogue(owned)
    for role in ("producer", "daemon"):
        if role == "daemon":
            await run(owned, "grant usage on schema chimeway to chimeway_daemon;"
                             "grant select on all tables in schema chimeway to chimeway_daemon")  # fmt: skip
            before = await catalogue(owned)
        with pytest.raises(NotPermitted) as caught:
            await migrating.migrate(as_role(owned, names[role]))
        assert str(caught.value).startswith("not_permitted: this role may not migrate (")
        assert caught.value.details["hint"] == (
            "let the schema's owner do it: `chimeway db sql --from N` prints what is to be run"
        )
    assert await catalogue(owned) == before


SETTINGS = (
    "statement_timeout = '20ms'", "lock_timeout = '1ms'", "default_transaction_isolation = 'serializable'",
    "default_transaction_read_only = on", "standard_conforming_strings = off",
    "search_path = evil, pg_catalog",
)  # fmt: skip
EVIL = """
create schema evil;
create function evil.max(int) returns int language sql as 'select 9';
create function evil.format(text, text) returns text language sql as 'select ''evil''';
create function evil.to_regclass(text) returns regclass language sql as 'select null::regclass';
grant usage on schema evil to public;
"""


async def test_what_a_role_has_set_does_not_stand_in_the_way(
    owned: str, names: Mapping[str, str], server_url: str
) -> None:
    """Short timeouts, another isolation, read only, a path full of traps: migrated and installed as ever."""
    await run(owned, EVIL + "".join(f"alter role {names['plain']} set {each};" for each in SETTINGS))
    await run(owned, f"alter role {names['plain']} set search_path = evil, pg_catalog")
    assert await migrating.migrate(as_role(owned, names["plain"])) == ALL
    await run(owned, f"alter role {names['plain']} reset default_transaction_read_only")
    async with bare_database(server_url) as url:
        name = url.partition("?")[0].rpartition("/")[2]
        await run(url, f'{EVIL} grant create on database "{name}" to {names["plain"]}')
        async with open_database(as_role(url, names["plain"]), size=1) as database:
            assert await schema.install(database)
        assert await catalogue(url) == await catalogue(owned)
        await run(url, f"drop owned by {names['plain']}")


async def test_who_installs_by_hand_in_the_same_moment_comes_first(server_url: str) -> None:
    """The printed text, not yet committed, and `db init` beside it: the second finds it installed."""
    async with (
        bare_database(server_url) as url,
        plain(url) as eye,
        plain(url) as by_hand,
        open_database(url, size=1) as database,
    ):
        transaction = by_hand.transaction()
        await transaction.start()
        await by_hand.execute(migrations.whole("7.8.9"))
        init = asyncio.ensure_future(schema.install(database))
        await _some(eye, WAITER)
        await transaction.commit()
        assert await init is False


async def test_a_database_that_only_lets_itself_be_read_says_so(server_url: str) -> None:
    """A standby, or a database set to be read only: told as one that cannot be worked on, with what to do."""
    async with bare_database(server_url) as url:
        name = url.partition("?")[0].rpartition("/")[2]
        await run(url, f'alter database "{name}" set default_transaction_read_only = on')
        async with open_database(url, size=1) as database:
            with pytest.raises(DatabaseUnavailable, match=r"only lets itself be read .*name the primary"):
                await schema.install(database)


async def test_indexes_built_before_cost_the_transaction_no_lock(owned: str) -> None:
    """The text asks whether they are there: it waits for nobody who writes to their table."""
    # The fourth gives that table a column, for which it must wait, indexes or not.
    steps = [step for step in migrations.pending(1) if step.version < 4]
    for step in steps:
        for _, index in step.indexes:
            async with plain(owned) as connection:
                await connection.execute(index)
    async with plain(owned) as writer, writer.transaction(), plain(owned) as connection:
        await writer.execute("lock table chimeway.workflow_runs in row exclusive mode")
        async with connection.transaction():
            for step in steps:
                await connection.execute(step.script("7.8.9"))


@contextlib.asynccontextmanager
async def _in_the_way(url: str) -> AsyncIterator["asyncpg.Connection[Any]"]:
    """A transaction that has written to the table of runs, and sits there while the block lasts."""
    async with plain(url) as stranger:
        transaction = stranger.transaction()
        await transaction.start()
        await stranger.execute("delete from chimeway.workflow_runs")
        await stranger.execute("select pg_current_xact_id()")
        yield stranger
        with contextlib.suppress(asyncpg.PostgresError):
            await transaction.rollback()


async def test_a_migrator_killed_while_it_builds_leaves_work_for_the_next(owned: str) -> None:
    """Its half-built index is found, dropped and built anew; the version is the old one until then."""
    async with plain(owned) as eye:
        async with _in_the_way(owned):
            killed = asyncio.ensure_future(migrating.migrate(owned))
            await eye.execute("select pg_terminate_backend($1)", await _some(eye, BUILDER))
            with pytest.raises(DatabaseUnavailable):
                await killed
        invalid = "select count(*) from pg_index where not indisvalid"
        assert (await eye.fetchval(invalid), await migrating.version_there(eye)) == (1, 1)
        assert await migrating.migrate(owned) == ALL
        assert await eye.fetchval(invalid) == 0


async def test_a_deadlock_while_an_index_is_built_is_survived(
    owned: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who builds waits for all that are older; one of them that wants the table breaks it off: once more."""
    monkeypatch.setattr(migrating, "_PAUSE_S", 0.1)
    name = owned.partition("?")[0].rpartition("/")[2]
    await run(owned, f"alter database \"{name}\" set deadlock_timeout = '300ms'")
    heard: list[str] = []
    async with plain(owned) as eye, _in_the_way(owned) as stranger:
        await stranger.execute("set deadlock_timeout = '1h'")
        migration = asyncio.ensure_future(migrating.migrate(owned, told=heard.append))
        await _some(eye, BUILDER)
        await stranger.execute("lock table chimeway.workflow_runs in share update exclusive mode", timeout=30)
        await stranger.execute("rollback")
        assert await migration == ALL
    assert any("another session holds a lock" in each for each in heard)
