"""Asking, with an event loop: on our pool, or on a connection that a caller lends.

A lent connection is never begun, committed or rolled back here. Our errors carry our codes, on
whichever connection; what the database says beyond them stays the driver's.
"""

from typing import Any, TypeVar

import asyncpg

from chimeway.store.call import Call, Row, Statement
from chimeway.store.lent import async_kind_of, check_async_dialect, speaks_dollars
from chimeway.store.places import named
from chimeway.store.pool import Connection, Database
from chimeway.store.words import AGAIN, TRIES, in_our_words

_T = TypeVar("_T")


def check_lent(connection: object | None) -> None:
    """Raise TypeError, with the list of those supported, for a connection that cannot be used here."""
    if connection is not None:
        async_kind_of(connection)


async def run(database: Database, call: Call[_T], connection: object | None = None) -> _T:
    """Ask on the caller's connection, else on one of the pool in a transaction of its own.

    Raises:
        ChimewayError: one of our functions refused, or the database cannot be reached.
        TypeError: `connection` is of a kind that is not supported.
    """
    with in_our_words():
        if connection is None:
            return await ask(database, call)
        check_lent(connection)
        found: list[list[Row]] = []
        for each in call.statements:
            found.append(await _ask_lent(connection, each) if call.asks(found) else [])
        return call.read(found)


async def ask(database: Database, call: Call[_T]) -> _T:
    """Ask on the pool; what the database refuses is raised as the driver's."""
    for left in reversed(range(TRIES)):
        try:
            return call.read(await _ask_alone(database, call))
        except asyncpg.PostgresError as error:
            if error.sqlstate not in AGAIN or not left:
                raise
    raise AssertionError("the last try returns or raises")


async def _ask_alone(database: Database, call: Call[_T]) -> list[list[Row]]:
    statements, found = call.statements, list[list[Row]]()
    if not statements:
        return found
    async with database.acquire() as own:
        if len(statements) == 1:
            return [await _fetch(own, statements[0])]
        async with own.transaction(isolation="repeatable_read", readonly=True):
            for each in statements:
                found.append(await _fetch(own, each) if call.asks(found) else [])
            return found


async def _fetch(connection: Connection, statement: Statement) -> list[Row]:
    records = await connection.fetch(statement.sql, *statement.args, record_class=asyncpg.Record)
    return statement.rows(record[0] for record in records)


async def _ask_lent(connection: Any, statement: Statement) -> list[Row]:
    match async_kind_of(connection):
        case "asyncpg":
            return await _fetch(connection, statement)
        case "psycopg async":
            return await _fetch_by_psycopg(connection, statement)
        case "sqlalchemy async":
            return await _fetch_by_sqlalchemy(connection, statement)
        case "sqlalchemy async session":
            return await _fetch_by_sqlalchemy(await connection.connection(), statement)
        case "sqlalchemy async scoped":
            return await _ask_lent(connection(), statement)
        case never:
            raise AssertionError(never)


async def _fetch_by_psycopg(connection: Any, statement: Statement) -> list[Row]:
    from psycopg import AsyncRawCursor  # noqa: PLC0415  (the caller has it, others need not)
    from psycopg.rows import tuple_row  # noqa: PLC0415
    from psycopg.types.string import StrDumperUnknown, TextLoader  # noqa: PLC0415

    async with AsyncRawCursor(connection, row_factory=tuple_row) as cursor:
        cursor.adapters.register_dumper(str, StrDumperUnknown)  # of this cursor alone
        cursor.adapters.register_loader("text", TextLoader)
        await cursor.execute(statement.sql, statement.args)
        return statement.rows([row[0] for row in await cursor.fetchall()])


async def _fetch_by_sqlalchemy(connection: Any, statement: Statement) -> list[Row]:
    check_async_dialect(connection)
    sql, args = statement if speaks_dollars(connection) else named(statement)
    result = await connection.exec_driver_sql(sql, args, execution_options={"stream_results": False})
    return statement.rows([row[0] for row in result])
