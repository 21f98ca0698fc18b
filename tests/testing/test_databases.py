"""Databases for tests: cloned, never met by another, and gone, also on a server that outlives the run."""

import secrets
from collections.abc import Iterator

import asyncpg
import psycopg
import pytest

from chimeway.errors import DatabaseUnavailable
from chimeway.store.clones import Clones, name_of, on_database
from chimeway.testing.databases import databases

_TURN = 7_206_420
"""The advisory lock of these tests."""


@pytest.fixture(autouse=True)
def _one_at_a_time(server_url: str) -> Iterator[None]:
    """Hold off the others of these tests that another worker runs: each of them tidies the whole server."""
    with psycopg.connect(server_url, autocommit=True) as turn:
        turn.execute("select pg_advisory_lock(%s::bigint)", (_TURN,))
        yield


async def _names(url: str) -> set[str]:
    admin = await asyncpg.connect(url)
    try:
        return {row["datname"] for row in await admin.fetch("select datname from pg_database")}
    finally:
        await admin.close()


async def test_a_clone_has_the_schema_and_nothing_else(server_url: str) -> None:
    """Two clones do not see each other, and are gone when their maker ends."""
    async with Clones.on(server_url) as clones:
        one, two = await clones.make(test_clock=True), await clones.make(test_clock=True)
        first, second = await asyncpg.connect(one), await asyncpg.connect(two)
        await first.execute("select chimeway.signal('read', actor_id => 'ada')")
        assert await second.fetchval("select count(*) from chimeway.signals") == 0
        await first.close()
        await second.close()
        made = {name_of(url) for url in (one, two)}
        assert made < await _names(server_url)
        number = one.partition("chimeway_test_")[2].partition("_")[0]
    assert not [name for name in await _names(server_url) if f"_{number}_" in name]


async def test_what_a_killed_run_left_is_dropped_by_the_next(server_url: str) -> None:
    """On a server that outlives a killed run, the next run drops its databases, none of others'."""
    alive = databases().lend(test_clock=False).result()
    async with Clones.on(server_url, tidy=False) as killed:
        left = await killed.make(test_clock=False)
    assert {name_of(alive), name_of(left)} < await _names(server_url)
    async with Clones.on(server_url):
        pass
    there = await _names(server_url)
    assert (name_of(alive) in there, name_of(left) in there) == (True, False)
    databases().give_back(alive).result()


async def test_who_lives_by_another_database_is_left_alone(server_url: str) -> None:
    """Two runs name two databases of one server: the start of one drops nothing of the other's."""
    async with Clones.on(server_url) as one:
        other = await one.make(test_clock=False)
        async with Clones.on(other):
            pass
        alive = await one.make(test_clock=False)
        assert {name_of(alive), name_of(other)} < await _names(server_url)


async def test_a_role_with_createdb_and_no_more(server_url: str) -> None:
    """It makes and drops its own; what another role's killed run left is passed over."""
    role = f"cw_maker_{secrets.token_hex(4)}"
    admin = await asyncpg.connect(server_url)
    await admin.execute(f"create role {role} login createdb")
    try:
        async with Clones.on(server_url, tidy=False) as killed:
            left = await killed.make(test_clock=False)
        async with Clones.on(server_url.replace("postgres@", f"{role}@", 1)) as clones:
            made = await clones.make(test_clock=True)
            held = await asyncpg.connect(on_database(server_url, name_of(made)))  # by another role
            await held.close()
        there = await _names(server_url)
        assert (name_of(left) in there, name_of(made) in there) == (True, False)
        async with Clones.on(server_url):
            pass
        assert name_of(left) not in await _names(server_url)
    finally:
        await admin.execute(f"drop role {role}")
        await admin.close()


async def test_a_role_that_may_not_create_databases_is_told_so(server_url: str) -> None:
    """The error says which right is missing, and what else would do."""
    role = f"cw_poor_{secrets.token_hex(4)}"
    admin = await asyncpg.connect(server_url)
    await admin.execute(f"create role {role} login")
    try:
        url = server_url.replace("postgres@", f"{role}@", 1)
        with pytest.raises(DatabaseUnavailable, match=r"may not create databases: give it the right \(alter"):
            async with Clones.on(url, tidy=False) as clones:
                await clones.make(test_clock=False)
    finally:
        await admin.execute(f"drop role {role}")
        await admin.close()


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://postgres@/postgres?host=/run/x&port=1", "postgresql://postgres@/n?host=/run/x&port=1"),
        (
            "postgresql://u:p@h:5432,i:5433/db?sslmode=require",
            "postgresql://u:p@h:5432,i:5433/n?sslmode=require",
        ),
        ("postgresql:///db?host=/run", "postgresql:///n?host=/run"),
        ("postgresql://h", "postgresql://h/n"),
        ("postgresql://h/?dbname=db&user=u", "postgresql://h/n?dbname=n&user=u"),
    ],
)
def test_another_database_of_a_server(url: str, expected: str) -> None:
    """Only the name of the database changes, in every form of a URL."""
    assert on_database(url, "n") == expected
