"""Databases of a moment, cloned from a template: one a test, so that tests cannot meet.

A clone is a copy of files: fifty milliseconds, whatever the schema grows to. All databases of one
maker bear its number; a session lock under that number shows that it lives. What a killed maker left
behind on a server that outlived it is dropped by the next one.
"""

import asyncio
import re
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

import asyncpg

from chimeway.errors import DatabaseUnavailable
from chimeway.store.makers import Makers
from chimeway.store.pool import Connection, connect
from chimeway.store.pooler import close
from chimeway.store.schema import TEST_CLOCK, schema_sql
from chimeway.store.words import in_our_words

_PREFIX: Final = "chimeway_test"
_NAME: Final = re.compile(rf"{_PREFIX}_(\d+)_\w+")
_LOCK_CLASS: Final = 0x0C41_3E3A
"""Beside it, the number of a maker."""
_COPIED: Final = "strategy file_copy"
"""Whole files, and a checkpoint: half the work of `wal_log`, which writes each page into the log, too, and
leaves its copy in the server's buffers, through which the end of the database goes once more."""


class Clones:
    """Makes databases on one server: with the real clock, or with one that tests move."""

    def __init__(self, url: str, admin: Connection) -> None:
        """Take an open connection to the server; use `on`."""
        self._url = url
        self._admin = admin
        self._makers = Makers(admin, _LOCK_CLASS)
        self._turn = asyncio.Lock()  # one connection, one statement at a time
        self._number = 0
        self._count = 0
        self._templates: dict[bool, str] = {}

    @classmethod
    @asynccontextmanager
    async def on(cls, url: str, *, tidy: bool = True) -> AsyncIterator["Clones"]:
        """Make databases on a server while the block lasts.

        Args:
            url: the server's.
            tidy: drop at the end what is left, and before the start what killed ones left; not worth
                the time on a server that ends as well.

        Raises:
            DatabaseUnavailable: nothing answers there, or it lets this role not in.
        """
        with in_our_words():
            admin = await connect(url, "chimeway-test")
        clones = cls(url, admin)
        try:
            await clones._take_number()
            if tidy:
                await clones._sweep()
            yield clones
            if tidy:
                await clones._drop_own()
        finally:
            await close(admin)

    async def make(self, *, test_clock: bool) -> str:
        """Clone a database and return its URL.

        Raises:
            DatabaseUnavailable: the role may not create databases.
        """
        async with self._turn:
            if test_clock not in self._templates:
                self._templates[test_clock] = await self._template(test_clock=test_clock)
            name = self._named("db")
            await self._create(name, f'template "{self._templates[test_clock]}" {_COPIED}')
            return on_database(self._url, name)

    async def drop(self, url: str) -> None:
        """Drop a database that `make` made, whoever is still connected to it."""
        async with self._turn:
            await self._drop(name_of(url))

    async def _template(self, *, test_clock: bool) -> str:
        name = self._named("template")
        await self._create(name)
        connection = await connect(on_database(self._url, name), "chimeway-test")
        try:
            await connection.execute(schema_sql() + (TEST_CLOCK if test_clock else ""))
        finally:
            await connection.close()
        return name

    def _named(self, kind: str) -> str:
        self._count += 1
        return f"{_PREFIX}_{self._number}_{kind}{self._count}"

    async def _create(self, name: str, how: str = "") -> None:
        try:
            await self._admin.execute(f'create database "{name}" {how}')
        except asyncpg.InsufficientPrivilegeError as fault:
            hint = "give it the right (alter role ... createdb), or name another server"
            raise DatabaseUnavailable(
                f"the role of the test server's URL may not create databases: {hint}", hint=hint
            ) from fault

    async def _take_number(self) -> None:
        while True:
            self._number = secrets.randbelow(2**31)
            if await self._makers.take(self._number):
                return

    async def _sweep(self) -> None:
        """Drop what makers have left that live no more."""
        others = {found for found, _ in await self._present()} - {self._number}
        async for number in self._makers.dead(others):
            await self._drop_of(number)

    async def _drop_own(self) -> None:
        async with self._turn:
            await self._drop_of(self._number)

    async def _drop_of(self, number: int) -> None:
        """Drop what a maker made; what this role may not drop (another role's) is left to who may."""
        for owner, name in await self._present():
            if owner == number:
                with suppress(asyncpg.InsufficientPrivilegeError, asyncpg.ObjectInUseError):
                    await self._drop(name)

    async def _drop(self, name: str) -> None:
        await self._admin.execute(f'drop database if exists "{name}" with (force)')

    async def _present(self) -> list[tuple[int, str]]:
        """Return (number of its maker, name) of each database that a maker has made."""
        rows = await self._admin.fetch("select datname from pg_database")
        found = ((_NAME.fullmatch(row["datname"]), row["datname"]) for row in rows)
        return [(int(match[1]), name) for match, name in found if match]


def on_database(url: str, name: str) -> str:
    """Return a server's URL with another database."""
    moved = re.sub(r"^([a-z]+://[^/?]*)(/[^?]*)?", rf"\1/{name}", url)
    return re.sub(r"(?<=[?&]dbname=)[^&]*", name, moved)


def name_of(url: str) -> str:
    """Return the database of a URL that `on_database` made."""
    return url.partition("?")[0].rpartition("/")[2]
