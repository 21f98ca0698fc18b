"""Which schema a database has, whether this program works on it, and how it gets there.

Compatibility, in one sentence: a program that brings schema version N works on N and N-1, and on a newer
one that says it still serves N (`schema_version.serves_from`). So nodes and schema may be upgraded in
either order, one version at a time, and a program may be taken back by one. See docs/compatibility.md.
"""

from dataclasses import dataclass
from typing import Final

import asyncpg

from chimeway.errors import SchemaMismatch
from chimeway.store import migrating
from chimeway.store.migrations import OLDEST, VERSION, schema_sql, whole
from chimeway.store.pool import Connection, Database
from chimeway.store.words import in_our_words

__all__ = ["OLDEST", "TEST_CLOCK", "VERSION", "Version", "ensure", "has_test_clock", "install",
           "installed_version", "newest", "require", "schema_sql"]  # fmt: skip

TEST_CLOCK: Final = """
create table chimeway.test_clock (at timestamptz not null);
insert into chimeway.test_clock values ('2026-01-05T09:00:00Z');
grant select on chimeway.test_clock to public;
create or replace function chimeway.clock() returns timestamptz
language sql volatile as $$ select at from chimeway.test_clock $$;
"""
"""Makes chimeway.clock() read a row that tests move; `serve` refuses such a database."""


@dataclass(frozen=True, slots=True)
class Version:
    """A schema version that is there, and the oldest one whose programs may work on it."""

    number: int
    serves_from: int

    @property
    def usable(self) -> bool:
        """Whether this program may work on it."""
        return OLDEST <= self.number <= VERSION or self.serves_from <= VERSION < self.number


async def installed_version(database: Database) -> int | None:
    """Return the version of the schema there, or None where there is none."""
    found = await newest(database)
    return None if found is None else found.number


async def newest(database: Database) -> Version | None:
    """Return the version there, with whom it serves, or None where there is no schema."""
    async with database.acquire() as connection:
        if await migrating.version_there(connection) is None:
            return None
        # As JSON: version 1 knows no `serves_from`.
        row = await connection.fetchval(
            "select to_jsonb(v) from chimeway.schema_version v order by v.version desc limit 1"
        )
    return Version(row["version"], row.get("serves_from", row["version"]))


async def install(database: Database, *, test_clock: bool = False) -> bool:
    """Install the schema where there is none, safely also from several processes at once.

    Returns:
        Whether it was installed now.

    Raises:
        SchemaMismatch: another version is there, on which this program cannot work.
        DatabaseUnavailable: the connection was lost.
    """
    with in_our_words():
        async with database.acquire() as connection, migrating.alone(connection):
            installed = await _install(connection, TEST_CLOCK if test_clock else "")
    if not installed:
        await require(database)
    return installed


async def _install(connection: Connection, more: str) -> bool:
    if await migrating.version_there(connection) is not None:
        return False
    if await connection.fetchval("select to_regnamespace('chimeway')") is not None:
        hint = "name another database, or rename that schema"
        raise SchemaMismatch(f"a schema named chimeway is there that is not ours; {hint}", hint=hint)
    try:
        async with connection.transaction():
            await migrating.undisturbed(connection, "local")
            await connection.execute(whole(migrating.program()) + more)
    except (asyncpg.UniqueViolationError, asyncpg.DuplicateSchemaError):
        if await migrating.version_there(connection) is None:
            raise
        return False  # somebody with the printed text came first
    return True


async def ensure(database: Database) -> None:
    """Install the schema where there is none, and bring an older one up: for a database of our own.

    Raises:
        SchemaMismatch: what is there is too new, or not ours.
        MigrationBlocked: somebody's transaction held the locks all the time.
        DatabaseUnavailable: the connection was lost.
    """
    with in_our_words():
        async with database.acquire() as connection, migrating.alone(connection):
            installed = await _install(connection, "")
    if not installed:
        await migrating.migrate(database.url)
        await require(database)


async def require(database: Database) -> Version:
    """Return the version there, or raise SchemaMismatch unless this program can work on it."""
    found = await newest(database)
    if found is None:
        hint = "install it: chimeway db init"
        raise SchemaMismatch(f"the database has no chimeway schema; {hint}", hint=hint)
    if found.usable:
        return found
    known = {"found": found.number, "known": VERSION}
    if found.number > VERSION:
        msg = f"the schema has version {found.number}, this program knows up to {VERSION}"
        raise SchemaMismatch(msg, **known, hint="install a newer chimeway; a schema is never taken back")
    hint = "bring it up: chimeway db migrate"
    msg = f"the schema has version {found.number}, this program works from {OLDEST} on; {hint}"
    raise SchemaMismatch(msg, **known, hint=hint)


async def has_test_clock(database: Database) -> bool:
    """Say whether time stands in a row there, as in tests."""
    async with database.acquire() as connection:
        found = await connection.fetchval("select to_regclass('chimeway.test_clock')")
        return found is not None
