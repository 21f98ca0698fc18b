"""Forgetting, in SQL, and every row that there is: for the tests of it."""

import re
from typing import Any, Final, TypeAlias
from uuid import UUID

import asyncpg

Connection: TypeAlias = "asyncpg.Connection[Any]"
_DIGITS: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{32,}")
FORGET = "select * from chimeway.forget_recipient(recipient_id => $1)"


async def forget(connection: Connection, person: str = "ada", tenant: str = "default") -> dict[str, Any]:
    """Forget somebody, and return what was answered."""
    row = await connection.fetchrow("select * from chimeway.forget_recipient($1, $2)", tenant, person)
    assert row is not None
    return dict(row)


async def every_row(connection: Connection) -> set[tuple[str, str]]:
    """Return every row there is, as (table, its text)."""
    tables = [
        row["relname"]
        for row in await connection.fetch(
            "select relname from pg_class where relnamespace = 'chimeway'::regnamespace and relkind = 'r'"
        )
    ]
    return {
        (table, row["row"])
        for table in tables
        for row in await connection.fetch(f"select t::text as row from chimeway.{table} t")
    }


async def texts(connection: Connection) -> str:
    """Return all rows of all tables as one text; but for ids and digests: their digits may say "ada"."""
    return _DIGITS.sub("#", " ".join(row for _, row in await every_row(connection)))


async def again(
    connection: Connection,
    *people: str,
    data: str = "{}",
    key: str = "ada's key",
    workflow: str = "mention_escalation",
) -> list[tuple[str, UUID, bool]]:
    rows = await connection.fetch(
        "select * from chimeway.trigger_many($1, 'default', $2, $3, $4)", workflow, list(people), data, key
    )
    return [tuple(row) for row in rows]
