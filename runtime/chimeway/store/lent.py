"""Which connections callers may lend, told apart by name: no package is imported to look at an object.

A lent connection is never begun, committed or rolled back here. Some begin by themselves at the first
statement (SQLAlchemy's, psycopg's without autocommit, and Django's in `atomic`): that is their callers' mode.
"""

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Any, Final, Literal, TypeAlias

AsyncKind: TypeAlias = Literal[
    "asyncpg", "psycopg async", "sqlalchemy async", "sqlalchemy async session", "sqlalchemy async scoped"
]
SyncKind: TypeAlias = Literal["psycopg", "sqlalchemy", "sqlalchemy session", "sqlalchemy scoped", "django"]
Kind: TypeAlias = AsyncKind | SyncKind

_KINDS: Final[Mapping[tuple[str, str], Kind]] = MappingProxyType(
    {
        ("asyncpg", "Connection"): "asyncpg",
        ("asyncpg", "PoolConnectionProxy"): "asyncpg",
        ("psycopg", "AsyncConnection"): "psycopg async",
        ("psycopg", "Connection"): "psycopg",
        ("sqlalchemy", "AsyncConnection"): "sqlalchemy async",
        ("sqlalchemy", "AsyncSession"): "sqlalchemy async session",
        ("sqlalchemy", "async_scoped_session"): "sqlalchemy async scoped",
        ("sqlalchemy", "Connection"): "sqlalchemy",
        ("sqlalchemy", "Session"): "sqlalchemy session",
        ("sqlalchemy", "scoped_session"): "sqlalchemy scoped",
        ("django", "BaseDatabaseWrapper"): "django",
        ("django", "ConnectionProxy"): "django",
    }
)
"""Package and class (its own, or one it is made from) → kind."""

_ASYNC_DRIVERS: Final = frozenset({"asyncpg", "psycopg", "psycopg_async"})
_SYNC_DRIVERS: Final = frozenset({"psycopg", "psycopg2"})

SUPPORTED_ASYNC: Final = (
    "an asyncpg connection (asyncpg.Connection, or one that an asyncpg pool lent), "
    "a psycopg AsyncConnection, an SQLAlchemy AsyncConnection or AsyncSession (on asyncpg or psycopg)"
)
SUPPORTED_SYNC: Final = (
    "a psycopg Connection (psycopg 3), an SQLAlchemy Connection or Session (on psycopg or psycopg2), "
    "Django's connection (PostgreSQL)"
)


def async_kind_of(connection: object) -> AsyncKind:
    """Return what kind of connection a caller lends to the client with an event loop.

    Raises:
        TypeError: it is none that this client takes; the message lists those.
    """
    match _found(connection):
        case None:
            raise _refused(connection, "", SUPPORTED_ASYNC)
        case "psycopg" | "sqlalchemy" | "sqlalchemy session" | "sqlalchemy scoped" | "django":
            hint = ", which is synchronous: give it to chimeway.sync.Chimeway"
            raise _refused(connection, hint, SUPPORTED_ASYNC)
        case kind:
            if kind == "sqlalchemy async":
                check_async_dialect(connection)
            return kind


def sync_kind_of(connection: object) -> SyncKind:
    """Return what kind of connection a caller lends to the client without an event loop.

    Raises:
        TypeError: it is none that this client takes; the message lists those.
    """
    match _found(connection):
        case None:
            raise _refused(connection, "", SUPPORTED_SYNC)
        case (
            "asyncpg"
            | "psycopg async"
            | "sqlalchemy async"
            | "sqlalchemy async session"
            | "sqlalchemy async scoped"
        ):
            hint = ", which needs an event loop: give it to chimeway.Chimeway"
            raise _refused(connection, hint, SUPPORTED_SYNC)
        case kind:
            if kind == "sqlalchemy":
                check_sync_dialect(connection)
            if kind == "django":
                _check_vendor(connection)
            return kind


def check_async_dialect(connection: Any) -> None:
    """Raise TypeError where an SQLAlchemy connection is on no driver that fits."""
    _check_dialect(connection, _ASYNC_DRIVERS, SUPPORTED_ASYNC)


def check_sync_dialect(connection: Any) -> None:
    """Raise TypeError where an SQLAlchemy connection is on no driver that fits."""
    _check_dialect(connection, _SYNC_DRIVERS, SUPPORTED_SYNC)


def _check_dialect(connection: Any, drivers: Collection[str], supported: str) -> None:
    dialect = connection.dialect
    if dialect.name != "postgresql" or dialect.driver not in drivers:
        raise _refused(connection, f" on {dialect.name}+{dialect.driver}", supported)


def _check_vendor(connection: Any) -> None:
    if connection.vendor != "postgresql":
        raise _refused(connection, f" on {connection.vendor}", SUPPORTED_SYNC)


def speaks_dollars(connection: Any) -> bool:
    """Say whether the driver under an SQLAlchemy connection writes places as `$1`."""
    return str(connection.dialect.driver) == "asyncpg"


def _found(connection: object) -> Kind | None:
    for each in type(connection).__mro__:
        kind = _KINDS.get((each.__module__.partition(".")[0], each.__name__))
        if kind is not None:
            return kind
    return None


def _refused(connection: object, more: str, supported: str) -> TypeError:
    kind = f"{type(connection).__module__}.{type(connection).__qualname__}"
    return TypeError(f"connection= is a {kind}{more}; supported: {supported}")
