"""A pooler in front of the server (PgBouncer in transaction mode and its kind): noticed, and lived with.

Each transaction may get another session of the server there. So what a session keeps is not to be relied
on, and must not be left behind for others: no prepared statements, no settings. And as asyncpg sends a
statement in two steps, each statement has to stand in a transaction.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import asyncpg

from chimeway.store.faults import DRIVER_FAULTS

_CLOSE_UNUSED_S: Final = 1.0
DIRECT: Final = (
    "select set_config('default_transaction_isolation', 'read committed', false) where pg_backend_pid() = {}"
)
"""Takes the session that the driver was told at the start. No row: it is not the one that answers, and
the setting, which would fall to somebody else, is not made."""


class PooledConnection(asyncpg.Connection):
    """A connection through a pooler; in READ COMMITTED, whatever the database's default."""

    def transaction(self, *, isolation: Any = None, **named: Any) -> Any:
        """Return a transaction, as the driver does."""
        if isolation is None and not self.is_in_transaction():
            isolation = "read_committed"
        return super().transaction(isolation=isolation, **named)

    async def fetch(self, *args: Any, **named: Any) -> Any:
        """Run a statement and return its rows."""
        async with self._whole():
            return await super().fetch(*args, **named)

    async def fetchrow(self, *args: Any, **named: Any) -> Any:
        """Run a statement and return its first row."""
        async with self._whole():
            return await super().fetchrow(*args, **named)

    async def fetchval(self, *args: Any, **named: Any) -> Any:
        """Run a statement and return the first value of its first row."""
        async with self._whole():
            return await super().fetchval(*args, **named)

    async def execute(self, query: str, *args: Any, **named: Any) -> Any:
        """Run a statement; without arguments it is one step, and needs no transaction."""
        if not args:
            return await super().execute(query, **named)
        async with self._whole():
            return await super().execute(query, *args, **named)

    @asynccontextmanager
    async def _whole(self) -> AsyncIterator[None]:
        if self.is_in_transaction():
            yield
        else:
            async with self.transaction():
                yield


async def close(connection: "asyncpg.Connection[Any]", *, within_s: float = 2.0) -> None:
    """Close a connection in order, or at once if it does not close in time, or is lost."""
    try:
        await connection.close(timeout=within_s)
    except DRIVER_FAULTS:
        connection.terminate()


@asynccontextmanager
async def kept(connection: "asyncpg.Connection[Any]") -> AsyncIterator[None]:
    """End a connection that nobody has yet, if what is done to it first fails or is cut short."""
    try:
        yield
    except BaseException:
        await close(connection, within_s=_CLOSE_UNUSED_S)
        raise


async def open_connection(**arguments: Any) -> "asyncpg.Connection[Any]":
    """Connect as `asyncpg.connect` does, in the way that fits what is there; in READ COMMITTED."""
    connection: asyncpg.Connection[Any] = await asyncpg.connect(**arguments)
    async with kept(connection):
        told = await connection.execute(DIRECT.format(connection.get_server_pid()))
    if told == "SELECT 1":
        return connection
    await connection.close()
    through = {**arguments, "connection_class": PooledConnection, "statement_cache_size": 0}
    pooled: PooledConnection = await asyncpg.connect(**through)
    return pooled


def is_pooled(connection: "asyncpg.Connection[Any]") -> bool:
    """Say whether a pooler stands between. (To `isinstance` the driver says yes for any connection.)"""
    return type(connection) is PooledConnection
