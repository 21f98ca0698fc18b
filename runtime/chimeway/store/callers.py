"""Running the producers' statements: on our pool, or on a connection that a caller lends.

A lent connection is never begun, committed or rolled back here. Our errors carry our codes, on
whichever connection; what the database says beyond them stays the driver's.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, cast

import asyncpg
import asyncpg.pool

from chimeway.errors import ChimewayError, DatabaseUnavailable, SchemaMismatch
from chimeway.store.faults import translate
from chimeway.store.pool import Connection, Database
from chimeway.store.statements import Statement

_SUPPORTED: Final = "an asyncpg connection (asyncpg.Connection, or one that an asyncpg pool lent)"
# Schema, table, function: what a database without ours answers.
_ABSENT: Final = frozenset({"3F000", "42P01", "42883"})
# A wrong password, role or database name, too many connections, a database closed for maintenance: the
# server is there, and lets nobody in. No statement of ours gives one of these by itself.
_NO_ENTRY: Final = ("28", "3D000", "53300", "55000")
# The transaction did not happen: under a strict isolation that the database sets, it is done again.
_AGAIN: Final = ("40001", "40P01")
_TRIES: Final = 5


def borrowed(connection: object) -> Connection:
    """Return a caller's connection, or raise TypeError with the list of those supported."""
    if isinstance(connection, asyncpg.Connection | asyncpg.pool.PoolConnectionProxy):
        return connection  # type: ignore[return-value]  # a proxy has the same verbs
    kind = f"{type(connection).__module__}.{type(connection).__qualname__}"
    raise TypeError(f"connection= is a {kind}; supported: {_SUPPORTED}")


@contextmanager
def in_our_words() -> Iterator[None]:
    """Turn the database's refusals into our errors; what is not ours is raised as it is."""
    try:
        yield
    except ChimewayError:
        raise
    except Exception as error:
        ours = translate(error) or _absent(error) or _no_entry(error)
        if ours is None:
            raise
        raise ours from error


def _absent(error: Exception) -> ChimewayError | None:
    if isinstance(error, asyncpg.PostgresError) and error.sqlstate in _ABSENT:
        if "chimeway" not in str(error):
            return None
        return SchemaMismatch(
            f"the database has no chimeway schema that fits ({error})",
            hint="install it: chimeway db init",
        )
    return None


def _no_entry(error: Exception) -> ChimewayError | None:
    if isinstance(error, asyncpg.PostgresError) and (error.sqlstate or "").startswith(_NO_ENTRY):
        hint = "look at the database URL: its user, password and database name"
        return DatabaseUnavailable(f"the database lets nobody in ({error}): {hint}", hint=hint)
    return None


async def run(
    database: Database, statement: Statement, connection: object | None = None
) -> Sequence[Mapping[str, Any]]:
    """Run a statement on the caller's connection, else on one of the pool in a transaction of its own.

    Raises:
        ChimewayError: one of our functions refused, or the database cannot be reached.
        TypeError: `connection` is of a kind that is not supported.
    """
    with in_our_words():
        if connection is not None:
            return _rows(await borrowed(connection).fetch(statement.sql, *statement.args))
        return _rows(await _run_alone(database, statement))


async def _run_alone(database: Database, statement: Statement) -> list[asyncpg.Record]:
    for left in reversed(range(_TRIES)):
        try:
            async with database.acquire() as own:
                return await own.fetch(statement.sql, *statement.args)
        except asyncpg.PostgresError as error:
            if error.sqlstate not in _AGAIN or not left:
                raise
    raise AssertionError("the last try returns or raises")


def _rows(records: Sequence[asyncpg.Record]) -> Sequence[Mapping[str, Any]]:
    return cast("Sequence[Mapping[str, Any]]", records)  # a Record is one, but for its type
