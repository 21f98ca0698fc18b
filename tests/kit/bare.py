"""Databases without our schema, or with an older version of it, as an upgrade meets them."""

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg

from chimeway.store.clones import on_database

_VERSIONS = Path(__file__).parents[1] / "store" / "versions"


def schema_of(version: int) -> str:
    """Return the text of `schema.sql` as that version had it."""
    return (_VERSIONS / f"schema_{version}.sql").read_text("utf-8")


@asynccontextmanager
async def bare_database(server_url: str, *, version: int | None = None) -> AsyncIterator[str]:
    """Make an empty database, or one with an older schema, while the block lasts; yield its URL."""
    name = f"cw_bare_{uuid.uuid4().hex[:12]}"
    admin = await asyncpg.connect(server_url)
    try:
        await admin.execute(f'create database "{name}"')
        try:
            url = on_database(server_url, name)
            if version is not None:
                await run(url, schema_of(version))
            yield url
        finally:
            await admin.execute(f'drop database "{name}" with (force)')
    finally:
        await admin.close()


async def run(url: str, sql: str) -> None:
    """Run a text as one transaction."""
    connection = await asyncpg.connect(url)
    try:
        async with connection.transaction():
            await connection.execute(sql)
    finally:
        await connection.close()
