"""Asking, without an event loop: on our pool, or on a connection that a caller lends. The twin of `callers`.

A lent connection is never begun, committed or rolled back here. Our errors carry our codes, on
whichever connection; what the database says beyond them stays the driver's.
"""

from typing import Any, Final, TypeVar

import psycopg
from psycopg import RawCursor
from psycopg.rows import tuple_row
from psycopg.types.string import StrDumperUnknown, TextLoader

from chimeway.store.call import Call, Row, Statement
from chimeway.store.lent import check_sync_dialect, sync_kind_of
from chimeway.store.places import named
from chimeway.store.sync_pool import SyncDatabase
from chimeway.store.words import AGAIN, TRIES, in_our_words

_T = TypeVar("_T")
_SNAPSHOT: Final = "repeatable read read only"


def check_lent(connection: object | None) -> None:
    """Raise TypeError, with the list of those supported, for a connection that cannot be used here."""
    if connection is not None:
        sync_kind_of(connection)


def run(database: SyncDatabase, call: Call[_T], connection: object | None = None) -> _T:
    """Ask on the caller's connection, else on one of the pool in a transaction of its own.

    Raises:
        ChimewayError: one of our functions refused, or the database cannot be reached.
        TypeError: `connection` is of a kind that is not supported.
    """
    with in_our_words():
        if connection is None:
            return _ask(database, call)
        check_lent(connection)
        found: list[list[Row]] = []
        for each in call.statements:
            found.append(_ask_lent(connection, each) if call.asks(found) else [])
        return call.read(found)


def reach(database: SyncDatabase) -> None:
    """See that the database lets us in.

    Raises:
        DatabaseUnavailable: it does not.
    """
    with in_our_words(), database.lend():
        pass


def _ask(database: SyncDatabase, call: Call[_T]) -> _T:
    for left in reversed(range(TRIES)):
        try:
            return call.read(_ask_alone(database, call))
        except psycopg.Error as error:
            if error.sqlstate not in AGAIN or not left:
                raise
    raise AssertionError("the last try returns or raises")


def _ask_alone(database: SyncDatabase, call: Call[_T]) -> list[list[Row]]:
    statements, found = call.statements, list[list[Row]]()
    if not statements:
        return found
    with database.lend() as own:
        if len(statements) == 1 and not call.read_committed:
            return [_fetch_by_psycopg(own, statements[0])]
        own.execute(f"begin isolation level {'read committed' if call.read_committed else _SNAPSHOT}")
        for each in statements:
            found.append(_fetch_by_psycopg(own, each) if call.asks(found) else [])
        own.execute("commit")
        return found


def _ask_lent(connection: Any, statement: Statement) -> list[Row]:
    match sync_kind_of(connection):
        case "psycopg":
            return _fetch_by_psycopg(connection, statement)
        case "sqlalchemy":
            return _fetch_by_sqlalchemy(connection, statement)
        case "sqlalchemy session":
            return _fetch_by_sqlalchemy(connection.connection(), statement)
        case "sqlalchemy scoped":
            return _ask_lent(connection(), statement)
        case "django":
            return _fetch_by_django(connection, statement)
        case never:
            raise AssertionError(never)


def _fetch_by_psycopg(connection: Any, statement: Statement) -> list[Row]:
    with RawCursor(connection, row_factory=tuple_row) as cursor:
        cursor.adapters.register_dumper(str, StrDumperUnknown)  # of this cursor alone
        cursor.adapters.register_loader("text", TextLoader)
        cursor.execute(statement.sql, statement.args)
        return statement.rows([row[0] for row in cursor.fetchall()])


def _fetch_by_sqlalchemy(connection: Any, statement: Statement) -> list[Row]:
    check_sync_dialect(connection)
    sql, args = named(statement)
    result = connection.exec_driver_sql(sql, args, execution_options={"stream_results": False})
    return statement.rows([row[0] for row in result])


def _fetch_by_django(connection: Any, statement: Statement) -> list[Row]:
    sql, args = named(statement)
    with connection.cursor() as cursor:
        cursor.execute(sql, args)
        return statement.rows([row[0] for row in cursor.fetchall()])
