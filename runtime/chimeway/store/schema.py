"""Install the schema and say which version a database has."""

from importlib import resources
from pathlib import Path
from typing import Final

import asyncpg

from chimeway.errors import SchemaMismatch
from chimeway.store.faults import translate
from chimeway.store.pool import Database

VERSION: Final = 1
"""The schema version that this package works on."""

_INSTALL_LOCK: Final = 0x0C41_3E3A_7001

TEST_CLOCK: Final = """
create table chimeway.test_clock (at timestamptz not null);
insert into chimeway.test_clock values ('2026-01-05T09:00:00Z');
create or replace function chimeway.clock() returns timestamptz
language sql volatile as $$ select at from chimeway.test_clock $$;
"""
"""Makes chimeway.clock() read a row that tests move; `serve` refuses such a database."""


def schema_sql() -> str:
    """Return the text of `schema.sql`: from the package, or from the checkout it runs in."""
    packed = resources.files("chimeway.store").joinpath("schema.sql")
    if packed.is_file():
        return packed.read_text(encoding="utf-8")
    return (Path(__file__).parents[3] / "schema.sql").read_text(encoding="utf-8")


async def installed_version(database: Database) -> int | None:
    """Return the version of the schema there, or None where there is none."""
    async with database.acquire() as connection:
        if await connection.fetchval("select to_regclass('chimeway.schema_version')") is None:
            return None
        version: int = await connection.fetchval("select max(version) from chimeway.schema_version")
        return version


async def install(database: Database, *, test_clock: bool = False) -> bool:
    """Install the schema where there is none, safely also from several processes at once.

    Returns:
        Whether it was installed now.

    Raises:
        SchemaMismatch: another version is there.
        DatabaseUnavailable: the connection was lost.
    """
    try:
        async with database.acquire() as connection, connection.transaction():
            await connection.execute("select pg_advisory_xact_lock($1)", _INSTALL_LOCK)
            if await connection.fetchval("select to_regclass('chimeway.schema_version')") is None:
                await connection.execute(schema_sql() + (TEST_CLOCK if test_clock else ""))
                return True
    except asyncpg.PostgresError as error:
        raise (translate(error) or error) from error
    await require(database)
    return False


async def require(database: Database) -> None:
    """Raise SchemaMismatch unless this package can work on the schema that is there."""
    version = await installed_version(database)
    if version is None:
        raise SchemaMismatch("the database has no chimeway schema; install it: chimeway db init")
    if version > VERSION:
        msg = f"the schema has version {version}, this program knows up to {VERSION}: upgrade it"
        raise SchemaMismatch(msg, found=version, known=VERSION)


async def has_test_clock(database: Database) -> bool:
    """Say whether time stands in a row there, as in tests."""
    async with database.acquire() as connection:
        found = await connection.fetchval("select to_regclass('chimeway.test_clock')")
        return found is not None
