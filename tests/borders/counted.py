"""How many rows there are: of every table of the schema, whichever it has."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from chimeway.store.pool import Connection, connect

_TABLES = "select tablename from pg_tables where schemaname = 'chimeway' order by tablename"
FEWEST = 14
"""Tables that must be there to be counted: a count of nothing proves nothing."""


async def rows_of_all_tables(connection: Connection) -> dict[str, int]:
    """Return the number of rows of each table of schema chimeway."""
    names = [row["tablename"] for row in await connection.fetch(_TABLES)]
    assert len(names) >= FEWEST, names
    each = (f"select '{name}' as name, count(*) as rows from chimeway.{name}" for name in names)
    return {row["name"]: row["rows"] for row in await connection.fetch(" union all ".join(each))}


@asynccontextmanager
async def nothing_written(url: str) -> AsyncIterator[None]:
    """See that the block leaves the number of rows of every table as it was."""
    connection = await connect(url, "count")
    try:
        before = await rows_of_all_tables(connection)
        yield
        assert await rows_of_all_tables(connection) == before
    finally:
        await connection.close()
