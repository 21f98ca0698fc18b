"""From options to an open client, and back to no event loop."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Final, TypeVar

from chimeway.client.chimeway import Chimeway
from chimeway.errors import DatabaseUnavailable
from chimeway.settings import Settings
from chimeway.store import acting
from chimeway.store.meant import database_meant
from chimeway.store.pool import Connection
from chimeway.store.words import for_people

_T = TypeVar("_T")
_CONNECT_S: Final = 10.0
"""How long a person waits for a server that says nothing at all."""
PATIENCE_S: Final = 10.0
"""How long he waits for whoever has locked what he asked for."""


def run(database_url: str | None, act: Callable[[Chimeway], Awaitable[_T]]) -> _T:
    """Open a client on the database that is meant, do one thing with it, and close it.

    Args:
        database_url: what the command line said; None: what the settings say.
        act: what is to be done.

    Returns:
        what `act` returned.

    Raises:
        InvalidSettings: a setting is wrong.
        DatabaseUnavailable: nothing answers there.
        ChimewayError: what `act` raised.
    """
    settings = Settings(database_url=database_url)
    # What the settings name beside another database is no way to this one.
    direct = settings.direct_database_url if database_url is None else None
    past = None if direct is None else direct.get_secret_value()
    return asyncio.run(_with_client(settings, past, act))


async def _with_client(
    settings: Settings, direct_url: str | None, act: Callable[[Chimeway], Awaitable[_T]]
) -> _T:
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(database_meant(settings))
        try:
            async with asyncio.timeout(_CONNECT_S):
                client = await stack.enter_async_context(
                    Chimeway.connect(url, pool_size=4, direct_dsn=direct_url)
                )
        except TimeoutError:
            raise DatabaseUnavailable(f"nothing answered within {_CONNECT_S:g} s") from None
        with for_people():
            return await act(client)


async def alone(client: Chimeway, act: Callable[[Connection], Awaitable[_T]]) -> _T:
    """Do something in a transaction of its own, as `acting.alone` does, as long as a person's patience lasts.

    Raises:
        RunBusy: another session has it locked, and for longer; nothing was done.
    """
    return await acting.alone(client.database, act, patience_s=PATIENCE_S)
