"""Migrations: one schema on both ways, safe to repeat and in parallel, short waits, who works on what."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest

from chimeway.errors import SchemaMismatch
from chimeway.store import migrating, migrations, roles, schema
from chimeway.store.migrations import VERSION, Migration
from chimeway.store.pool import open_database
from kit.bare import bare_database, run, schema_of
from kit.catalog import catalogue
from kit.waiting import wait_for
from store.plain_sql import MENTION, plain, refused, register


@pytest.fixture
async def cluster(server_url: str) -> str:
    """A server whose cluster has our roles: from now on grants are the same in each new database."""
    await run(server_url, roles.script().rpartition("select")[0])
    return server_url


@pytest.fixture
async def old_url(cluster: str) -> AsyncIterator[str]:
    """A database with schema version 1."""
    async with bare_database(cluster, version=1) as url:
        yield url


@pytest.fixture
async def before_url(cluster: str) -> AsyncIterator[str]:
    """A database with the schema version before this one."""
    async with bare_database(cluster, version=VERSION - 1) as url:
        yield url


@asynccontextmanager
async def _fresh(cluster: str) -> AsyncIterator[str]:
    async with bare_database(cluster) as url:
        async with open_database(url, size=2) as database:
            assert await schema.install(database)
        yield url


async def _alone(url: str, sql: str) -> None:
    async with plain(url) as connection:
        await connection.execute(sql)


async def _versions(url: str) -> list[tuple[Any, ...]]:
    async with plain(url) as connection:
        rows = await connection.fetch(
            "select version, serves_from, program from chimeway.schema_version order by version"
        )
        return [tuple(row) for row in rows]


async def test_both_ways_give_the_same_schema(cluster: str, old_url: str) -> None:
    """Version 1 and its migrations end where schema.sql begins: in every fact of the catalogue."""
    assert await migrating.migrate(old_url) == list(range(2, VERSION + 1))
    async with _fresh(cluster) as new_url:
        assert await catalogue(old_url) == await catalogue(new_url)
        assert (await _versions(new_url)) == (await _versions(old_url))[-1:]


async def test_the_printed_text_does_the_same(cluster: str, old_url: str) -> None:
    """What `db sql` prints, run by a stranger in one transaction, gives the same schema as `migrate`."""
    for step in migrations.pending(1):
        await run(old_url, step.script("7.8.9"))
    async with bare_database(cluster) as new_url:
        await run(new_url, migrations.whole("7.8.9"))
        assert await catalogue(old_url) == await catalogue(new_url)
        assert (
            (await _versions(old_url))[-1:] == await _versions(new_url) == [(VERSION, VERSION - 1, "7.8.9")]
        )


async def test_migrating_again_does_nothing(old_url: str) -> None:
    """The second time nothing is left to do, and nothing is written."""
    await migrating.migrate(old_url)
    before = await _versions(old_url)
    assert await migrating.migrate(old_url) == []
    assert await _versions(old_url) == before


async def test_many_migrate_at_once(old_url: str) -> None:
    """Six that begin together: one does it, the others find it done."""
    done = await asyncio.gather(*(migrating.migrate(old_url) for _ in range(6)))
    assert max(done, key=len) == list(range(2, VERSION + 1))
    assert sum(map(len, done)) == VERSION - 1


async def test_migrating_needs_a_schema(cluster: str) -> None:
    """Where there is none, the error names the command that installs it."""
    async with bare_database(cluster) as url:
        with pytest.raises(SchemaMismatch, match="no chimeway schema; install it: chimeway db init"):
            await migrating.migrate(url)


async def test_a_strangers_transaction_does_not_hold_up_readers(
    old_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a migration waits for a lock it gives way every second, and is done when the lock is free."""
    monkeypatch.setattr(migrating, "_PAUSE_S", 0.2)
    heard: list[str] = []
    async with plain(old_url) as stranger, plain(old_url) as reader:
        transaction = stranger.transaction()
        await transaction.start()
        await stranger.execute("select * from chimeway.schema_version")
        migration = asyncio.ensure_future(migrating.migrate(old_url, told=heard.append))
        while not heard or "lock" not in heard[-1]:
            await reader.fetch("select * from chimeway.schema_version", timeout=20)
        assert any("another session holds a lock; 19 more tries" in told for told in heard)
        await transaction.rollback()
        assert await migration == list(range(2, VERSION + 1))


async def test_a_migration_that_never_gets_its_lock_gives_up(
    old_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After its tries it says so, and nothing is changed."""
    monkeypatch.setattr(migrating, "_PAUSE_S", 0.01)
    monkeypatch.setattr(migrating, "_TRIES", 2)
    monkeypatch.setattr(migrating, "LOCK_TIMEOUT", "50ms")
    for step in migrations.pending(1):
        for _, index in step.indexes:  # these are built before, and stay
            await _alone(old_url, index)
    before = await catalogue(old_url)
    async with plain(old_url) as stranger, stranger.transaction():
        await stranger.execute("lock table chimeway.schema_version in share mode")
        with pytest.raises(migrating.MigrationBlocked) as caught:
            await migrating.migrate(old_url)
    assert str(caught.value) == (
        "migration_blocked: the migration to version 2 did not get its locks in 2 tries "
        "and was taken back: "
        "look for long transactions in pg_stat_activity, and run it again"
    )
    assert await catalogue(old_url) == before


async def test_a_text_for_another_version_is_refused(old_url: str) -> None:
    """The printed text begins with a check of the version that is there."""
    await migrating.migrate(old_url)
    async with plain(old_url) as connection:
        error = await refused(connection, _simple(migrations.pending(1)[0].script("1")))
    assert (error.sqlstate, error.message, error.hint) == (
        "CW011",
        f"schema_mismatch: the schema has version {VERSION}, this text begins at 1",
        "chimeway db status says what is pending",
    )


def _simple(script: str) -> str:
    """Return the first check of a script, as one statement."""
    return script[script.index("do $$") : script.index("end $$;") + len("end $$;")]


INDEXED = Migration(
    VERSION + 1,
    "an_index",
    VERSION,
    (
        (
            "signals_by_type",
            "create index concurrently if not exists signals_by_type on chimeway.signals (type, shard);",
        ),
    ),
    "select 1;",
)


async def _indexes(url: str) -> list[tuple[str, bool]]:
    async with plain(url) as connection:
        rows = await connection.fetch(
            "select i.indexrelid::regclass::text, i.indisvalid from pg_index i join pg_class c"
            " on c.oid = i.indexrelid where c.relname = 'signals_by_type'"
        )
        return [tuple(row) for row in rows]


async def test_an_index_is_built_while_others_write(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Building waits for older transactions and keeps no writer out; a second migrator waits by asking."""
    monkeypatch.setattr(migrations, "MIGRATIONS", (*migrations.MIGRATIONS, INDEXED))
    async with plain(database_url) as stranger, plain(database_url) as writer:
        transaction = stranger.transaction()
        await transaction.start()
        await stranger.fetch("select chimeway.signal('read', actor_id => 'ada')")
        heard: list[str] = []
        both = [asyncio.ensure_future(migrating.migrate(database_url, told=heard.append)) for _ in range(2)]
        await wait_for(lambda: len(heard) == 2, "one builds, one waits")
        assert sorted(heard) == [
            "another program installs or migrates here: waiting for it", "building the index signals_by_type",
        ]  # fmt: skip
        await writer.fetch("select chimeway.signal('read', actor_id => 'ada')", timeout=20)
        await transaction.commit()
        assert sorted(await asyncio.gather(*both)) == [[], [INDEXED.version]]
    assert await _indexes(database_url) == [("chimeway.signals_by_type", True)]


async def test_a_broken_index_is_built_anew(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a building that was cut short left behind is refused by the text, and replaced by `migrate`."""
    monkeypatch.setattr(migrations, "MIGRATIONS", (*migrations.MIGRATIONS, INDEXED))
    async with plain(database_url) as connection:
        await connection.execute(INDEXED.indexes[0][1])
        await connection.execute(
            "update pg_index set indisvalid = false where indexrelid = 'chimeway.signals_by_type'::regclass"
        )
    with pytest.raises(asyncpg.PostgresError, match=r"the index .*signals_by_type is not valid"):
        await run(database_url, INDEXED.script("1"))
    assert await migrating.migrate(database_url) == [INDEXED.version]
    assert await _indexes(database_url) == [("chimeway.signals_by_type", True)]


TOO_NEW = (
    f"the schema has version {VERSION + 1}, this program knows up to {VERSION}: "
    "install a newer chimeway; a schema is never taken back"
)
TOO_OLD = (
    f"the schema has version {VERSION - 2}, this program works from {VERSION - 1} on; "
    "bring it up: chimeway db migrate"
)


WORKS_ON = (
    (VERSION - 1, VERSION - 1, None),
    (VERSION, VERSION - 1, None),
    (VERSION + 1, VERSION, None),
    (VERSION + 1, VERSION + 1, TOO_NEW),
    (VERSION - 2, VERSION - 2, TOO_OLD),
)


async def test_who_works_on_what(database_url: str) -> None:
    """A program works on its schema, the one before, and a newer one that says it serves it."""
    async with plain(database_url) as connection, open_database(database_url, size=1) as database:
        for number, serves_from, message in WORKS_ON:
            await connection.execute(
                f"update chimeway.schema_version set version = {number}, serves_from = {serves_from}"
            )
            if message is None:
                assert (await schema.require(database)).number == number
            else:
                with pytest.raises(SchemaMismatch) as caught:
                    await schema.require(database)
                assert str(caught.value) == f"schema_mismatch: {message}"


async def test_the_version_before_is_worked_on(before_url: str) -> None:
    """This program works on the version before its own."""
    async with open_database(before_url, size=1) as database:
        assert (await schema.require(database)).number == VERSION - 1


async def test_a_strangers_schema_is_not_touched(cluster: str) -> None:
    """A schema of our name that is not ours is refused, and stays as it is."""
    async with bare_database(cluster) as url, open_database(url, size=1) as database:
        await run(url, "create schema chimeway; create table chimeway.mine (n int)")
        with pytest.raises(SchemaMismatch, match="a schema named chimeway is there that is not ours"):
            await schema.install(database)
        assert [line for line in await catalogue(url) if line.startswith("relation")] != []


async def test_ensure_installs_and_brings_up(cluster: str, old_url: str) -> None:
    """For a database of our own: nothing there becomes the newest, an older one too."""
    async with bare_database(cluster) as url:
        for each in (url, old_url, url, old_url):
            async with open_database(each, size=1) as database:
                await schema.ensure(database)
                assert await schema.installed_version(database) == VERSION


CALLS = """
select chimeway.trigger('mention_escalation', 't', 'ada', '{}', 'key', null, 'ck', null);
select chimeway.trigger('mention_escalation', tenant_id => 't', recipient_id => 'ada', data => '{}',
    idempotency_key => 'key', workflow_version => null, cancellation_key => 'ck', at => null);
select recipient_id, run_id, known
  from chimeway.trigger_many('mention_escalation', 't', array['ada'], '{}', 'key', null, 'ck', null);
select chimeway.signal(type => 'read', tenant_id => 't', actor_id => 'ada', payload => '{}',
    dedupe_key => 'k');
select chimeway.identify(tenant_id => 't', recipient_id => 'ada', profile => '{}');
select id from chimeway.mark_inbox('t', 'ada', '{}', 'read');
select stopped_run_id, outcome, state, step, cancelled, on_their_way
  from chimeway.cancel(run_id => null, tenant_id => 't', note => 'n', cancellation_key => 'ck');
select chimeway.pause_workflow('mention_escalation', false)
"""
"""How producers of the version before call, by place and by name."""


async def test_producers_of_the_version_before_are_served(before_url: str) -> None:
    """What they called in it works after the migration, with the same columns and types."""
    calls = CALLS.split(";\n")
    async with plain(before_url) as before:
        await register(before)
        kinds = {call: await before.prepare(call) for call in calls}
        shapes = {call: [(a.name, a.type.name) for a in kinds[call].get_attributes()] for call in calls}
        await migrating.migrate(before_url)
        for call in calls:  # prepared before the migration, and called after it
            await kinds[call].fetch()
    async with plain(before_url) as after:
        for call in calls:
            statement = await after.prepare(call)
            assert [(a.name, a.type.name) for a in statement.get_attributes()] == shapes[call], call


GONE = "chimeway.begin_attempts(uuid,bigint,uuid,uuid[],uuid[],bigint[],integer[],text[],jsonb[]) "


async def test_functions_keep_their_shape(before_url: str) -> None:
    """No function of the version before is gone, or has other arguments or another result; but for what only
    programs of two versions before called.
    """
    ask = """select p.oid::regprocedure::text || ' ' || pg_get_function_arguments(p.oid) || ' '
                    || pg_get_function_result(p.oid) as shape
               from pg_proc p where p.pronamespace = 'chimeway'::regnamespace"""
    async with plain(before_url) as connection:
        before = {row["shape"] for row in await connection.fetch(ask)}
        before = {shape for shape in before if not shape.startswith(GONE)}
        await migrating.migrate(before_url)
        assert before <= {row["shape"] for row in await connection.fetch(ask)}


def test_the_fixture_is_version_1() -> None:
    """The text of version 1 says so itself, and is not the one of today."""
    assert "insert into chimeway.schema_version (version) values (1);" in schema_of(1)
    assert MENTION["key"]
    assert schema_of(1) != migrations.schema_sql()
