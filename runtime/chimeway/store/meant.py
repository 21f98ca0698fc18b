"""The database that is meant: the one that is named, else the one of our own in the data folder."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

from chimeway.settings import Settings
from chimeway.store import schema
from chimeway.store.embedded import running
from chimeway.store.pool import open_database


@asynccontextmanager
async def database_meant(settings: Settings) -> AsyncIterator[str]:
    """Yield the URL of the database that these settings mean, while the block lasts.

    Where none is named, the embedded server of `settings.data_dir` runs meanwhile, with our schema in it,
    brought up if it is older: nobody else would install it there. Nothing is done to one that is named.

    Raises:
        InvalidSettings: the data folder cannot be used.
        DatabaseUnavailable: there is no server that could run, or it did not start.
        SchemaMismatch: the data folder's schema is too new for this program.
    """
    if settings.database_url is not None:
        yield settings.database_url.get_secret_value()
        return
    stack = ExitStack()
    # In threads, not to hold up a host's loop.
    entering = asyncio.ensure_future(asyncio.to_thread(_entered, stack, settings.data_dir))
    try:
        url = await asyncio.shield(entering)
        async with open_database(url, name="chimeway schema", size=2) as database:
            await schema.ensure(database)
        yield url
    finally:
        await asyncio.wait({entering})  # a thread cannot be cancelled
        await asyncio.to_thread(stack.close)


def _entered(stack: ExitStack, data_dir: Path) -> str:
    return stack.enter_context(running(data_dir)).url
