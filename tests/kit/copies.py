"""A database that begins as another ended: what takes long to make is made once, and copied for each test."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from chimeway.store.clones import name_of, on_database
from chimeway.store.pool import Database, open_database
from chimeway.testing.server import server_url


@asynccontextmanager
async def copy_of(url: str) -> AsyncIterator[Database]:
    """Open a copy of a database that nobody is connected to; it is gone with the block."""
    name = f"{name_of(url)}_{secrets.token_hex(4)}"
    admin = await asyncpg.connect(server_url())
    try:
        await admin.execute(f'create database "{name}" template "{name_of(url)}"')
        async with open_database(on_database(url, name)) as database:
            yield database
    finally:
        await admin.execute(f'drop database if exists "{name}" with (force)')
        await admin.close()
