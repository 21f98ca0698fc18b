"""Opening a client's pool, and knowing which clients are open: the seed's forms name none."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TypeVar

from chimeway.client import checks
from chimeway.errors import DatabaseUnavailable, InvalidInput
from chimeway.store.pool import Database, open_database
from chimeway.store.words import in_our_words

_Client = TypeVar("_Client")
_open: list[tuple[asyncio.AbstractEventLoop, object]] = []


@asynccontextmanager
async def pool(dsn: str, size: int, direct_dsn: str | None = None) -> AsyncIterator[Database]:
    """Open a pool.

    Raises:
        DatabaseUnavailable: nothing answers there, or it lets this role not in.
        InvalidInput: a dsn cannot be read, or `size` is no number of connections.
    """
    checks.opening(dsn, size, direct_dsn)
    opened = open_database(dsn, name="chimeway-client", size=size, direct_url=direct_dsn)
    try:
        with in_our_words():
            database = await opened.__aenter__()
    except ValueError as fault:  # the driver's; it quotes no password
        raise InvalidInput(f"dsn cannot be read ({fault})", field="dsn") from None
    try:
        yield database
    finally:
        await opened.__aexit__(None, None, None)


@contextmanager
def as_newest(client: object) -> Iterator[None]:
    """Make a client the one that the seed's forms use on this event loop, while it is open."""
    entry = (asyncio.get_running_loop(), client)
    _open.append(entry)
    try:
        yield
    finally:
        _open.remove(entry)


def newest(kind: type[_Client]) -> _Client:
    """Return the client that was opened last on this event loop and is open.

    Raises:
        DatabaseUnavailable: none is.
    """
    loop = asyncio.get_running_loop()
    for where, client in reversed(_open):
        if where is loop and isinstance(client, kind):
            return client
    hint = "open one: async with Chimeway.connect(dsn)"
    raise DatabaseUnavailable(f"no client is open on this event loop: {hint}", hint=hint)
