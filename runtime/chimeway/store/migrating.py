"""Run migrations: one migrator at a time, each version in one transaction, short waits, tries again.

The rules and their reasons stand at the top of `migrations/__init__.py`.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from importlib.metadata import version as version_of
from typing import Final, Literal, TypeAlias, TypeVar

import asyncpg

from chimeway.clock import jittered
from chimeway.errors import ChimewayError, NotPermitted, SchemaMismatch
from chimeway.store.migrations import LOCK_TIMEOUT, Migration, pending
from chimeway.store.pool import Connection, connect
from chimeway.store.words import in_our_words

_T = TypeVar("_T")
Told: TypeAlias = Callable[[str], None]
"""Hears, in a sentence, what is being done or waited for."""

_ONE_AT_A_TIME: Final = 0x0C41_3E3A_7001
_ASK_AGAIN_S: Final = 0.1
# What a role or a database has set must not cut this short, nor lead a name astray: who may create functions
# in a schema that is searched would have them called with a migrator's rights. (Some settings are younger
# than PostgreSQL 15.)
_UNDISTURBED: Final = """
set {scope} statement_timeout = 0;
set {scope} search_path = pg_catalog, pg_temp;
select set_config(s.name, w.value, '{scope}' = 'local')
  from (values ('lock_timeout', '0'), ('transaction_timeout', '0'),
               ('idle_session_timeout', '0'), ('idle_in_transaction_session_timeout', '0'),
               ('default_transaction_read_only', 'off')) w(name, value)
  join pg_settings s on s.name = w.name
"""
PATIENCE_S: Final = 24 * 3600.0
"""How long a statement may take: an index on a big table takes as long as it takes."""
_TRIES: Final = 20
_PAUSE_S: Final = 2.0


class MigrationBlocked(ChimewayError):  # noqa: N818  (the code is the name, as in the docs)
    """A migration did not get its locks, and was taken back."""

    code = "migration_blocked"


def program() -> str:
    """Return the version of this package, as it is written down beside a schema version."""
    return version_of("chimeway")


async def migrate(url: str, *, told: Told = lambda _: None) -> list[int]:
    """Bring an older schema to this package's version; safe to repeat, and in parallel.

    Args:
        url: the database; directly, not through a pooler.
        told: hears what goes on, for who watches.

    Returns:
        The versions that this call brought it to, in order; none when nothing was left to do.

    Raises:
        SchemaMismatch: there is no schema.
        MigrationBlocked: somebody's transaction held the locks all the time.
        NotPermitted: the schema is not this role's.
        DatabaseUnavailable: nothing answers there, or the connection was lost.
    """
    with in_our_words():
        connection = await connect(url, "chimeway migrate")
        try:
            await undisturbed(connection, "session")
            async with alone(connection, told):
                return await _migrate(connection, told)
        except asyncpg.InsufficientPrivilegeError as error:
            hint = "let the schema's owner do it: `chimeway db sql --from N` prints what is to be run"
            raise NotPermitted(f"this role may not migrate ({error}); {hint}", hint=hint) from error
        finally:
            await connection.close()


async def _migrate(connection: Connection, told: Told) -> list[int]:
    there = await version_there(connection)
    if there is None:
        hint = "install it: chimeway db init"
        raise SchemaMismatch(f"the database has no chimeway schema; {hint}", hint=hint)
    done = []
    for migration in pending(there):
        what = f"building the indexes of version {migration.version}"
        await while_locked(partial(_build_indexes, connection, migration, told), what, told)
        if await _take(connection, migration, told):
            done.append(migration.version)
    return done


async def undisturbed(connection: Connection, scope: Literal["session", "local"]) -> None:
    """Set aside what a role or a database has set, for the session or for the transaction."""
    await connection.execute(_UNDISTURBED.format(scope=scope))


async def version_there(connection: Connection) -> int | None:
    """Return the version of the schema there, or None where there is none."""
    if await connection.fetchval("select to_regclass('chimeway.schema_version')") is None:
        return None
    version: int = await connection.fetchval("select max(v.version) from chimeway.schema_version v")
    return version


@asynccontextmanager
async def alone(connection: Connection, told: Told = lambda _: None) -> AsyncIterator[None]:
    """Be the only one who installs, migrates or grants in this database while the block lasts.

    Asks again and again rather than wait in a statement: that would hold up whoever builds an index.
    """
    waiting = False
    while not await connection.fetchval("select pg_try_advisory_lock($1)", _ONE_AT_A_TIME):
        if not waiting:
            told("another program installs or migrates here: waiting for it")
            waiting = True
        await asyncio.sleep(_ASK_AGAIN_S)
    try:
        yield
    finally:
        if not connection.is_closed():
            await connection.execute("select pg_advisory_unlock($1)", _ONE_AT_A_TIME)


async def _build_indexes(connection: Connection, migration: Migration, told: Told) -> None:
    """Build a migration's indexes while everybody works on; one left broken is built anew."""
    for name, sql in migration.indexes:
        broken = await connection.fetchval(
            "select not i.indisvalid from pg_index i where i.indexrelid = to_regclass($1)", f"chimeway.{name}"
        )
        if broken:
            await connection.execute(f"drop index concurrently chimeway.{name}", timeout=PATIENCE_S)
        if broken is not False:
            told(f"building the index {name}")
            await connection.execute(sql, timeout=PATIENCE_S)


async def _take(connection: Connection, migration: Migration, told: Told) -> bool:
    """Run one migration; False when another had done it."""
    what = f"the migration to version {migration.version}"
    return await while_locked(lambda: _try(connection, migration), what, told)


async def while_locked(act: Callable[[], Awaitable[_T]], what: str, told: Told = lambda _: None) -> _T:
    """Do what is all or nothing, again while another session is in its way.

    Raises:
        MigrationBlocked: it was so all the time.
    """
    for left in reversed(range(_TRIES)):
        try:
            return await act()
        except asyncpg.PostgresError as error:
            if not _passes(error):
                raise
            told(f"{what}: another session holds a lock; {left} more tries")
            await asyncio.sleep(jittered(_PAUSE_S))
    hint = "look for long transactions in pg_stat_activity, and run it again"
    msg = f"{what} did not get its locks in {_TRIES} tries and was taken back: {hint}"
    raise MigrationBlocked(msg, hint=hint)


async def _try(connection: Connection, migration: Migration) -> bool:
    async with connection.transaction():
        await connection.execute(
            f"set local lock_timeout = '{LOCK_TIMEOUT}';"
            "lock table chimeway.schema_version in share row exclusive mode"
        )
        there = await version_there(connection)
        if there is None or there >= migration.version:
            return False
        await connection.execute(migration.script(program()), timeout=PATIENCE_S)
    return True


def _passes(error: asyncpg.PostgresError) -> bool:
    """Say whether it is a matter of waiting: a lock, a deadlock, one row of the catalogue changed twice."""
    return error.sqlstate in {"55P03", "40P01"} or "concurrently updated" in str(error)
