"""Places of a channel: so many sends at once, and no longer wait for one than is good."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from chimeway.delivery.channel import TransientFailure


@asynccontextmanager
async def a_place(places: asyncio.Semaphore, within_s: float) -> AsyncIterator[None]:
    """Have a place while the block lasts.

    Raises:
        TransientFailure: none was free in time. Whoever waits until the node gives up the call would be told
            a timeout, as if something might have been sent, and no other provider would be asked.
    """
    try:
        async with asyncio.timeout(within_s):
            await places.acquire()
    except TimeoutError:
        raise TransientFailure("no connection was free in time") from None
    try:
        yield
    finally:
        places.release()
