"""A hundred thousand runs of all kinds, and a node's way to ask about them."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from chimeway.store.pool import open_database
from chimeway.testing.databases import lent
from kit.multitude import multiply
from store.plain_sql import plain
from store.verify_world import World, played

COPIES: Final = {
    "reader": 31_000, "sender": 24_000, "waiter": 22_000, "quitter": 8_000, "skipper": 6_000, "halted": 4_000,
    "sending": 2_990, "unsure": 1_500, "held": 500,
}  # fmt: skip
"""Copies of each journey; with the ten that were played there are a hundred thousand."""


@contextmanager
def hundred_thousand() -> Iterator[World]:
    """Lend a database with as many runs; nobody is connected to it any more."""

    async def made(url: str) -> World:
        async with open_database(url) as database:
            world = await played(database)
        async with plain(url) as connection, plain(url) as other:
            copies = {world.runs[name]: many for name, many in COPIES.items()}
            await multiply(connection, copies, beside=[other])
        return world

    with lent(test_clock=True) as url:
        yield asyncio.run(made(url))
