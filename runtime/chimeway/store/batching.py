"""Group calls: while one is under way the next gathers. No timer, and no added latency when idle.

A call that fails because of what one item holds is split until that item stands alone; only it gets
the error. Faults of the connection are retried with the same items, so a call must recognise what it
has done before.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from chimeway.log import Events
from chimeway.store.faults import LeaseLost
from chimeway.store.pool import persistently

Item = TypeVar("Item")
Result = TypeVar("Result")
_log = Events()


class Batcher(Generic[Item, Result]):
    """Turns single calls into batches of at most `limit`, with at most `lanes` under way."""

    def __init__(
        self,
        call: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]],
        *,
        told: str,
        limit: int,
        lanes: int = 1,
    ) -> None:
        """Take the call that does a batch and returns its results in order; `told` is for the log."""

        async def named(items: Sequence[Item]) -> Sequence[Result]:
            return await call(items)

        named.__qualname__ = told  # what the log calls it when the database is lost
        self._call = named
        self._told = told
        self._limit = limit
        self._lanes = lanes
        self._waiting: deque[tuple[Item, asyncio.Future[Result]]] = deque()
        self._arrived = asyncio.Event()

    async def __call__(self, item: Item) -> Result:
        """Do one item, in company of others.

        Raises:
            LeaseLost: another node has taken over.
            Exception: what the call raised for this item alone.
        """
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        self._arrived.set()
        return await future

    async def serve(self) -> None:
        """Work until cancelled; items of a cancelled call are cancelled too."""
        try:
            async with asyncio.TaskGroup() as group:
                for lane in range(self._lanes):
                    group.create_task(self._lane(), name=f"{self._told}-{lane}")
        finally:
            for _, future in self._waiting:
                future.cancel()

    async def _lane(self) -> None:
        while True:
            await self._arrived.wait()
            batch = [self._waiting.popleft() for _ in range(min(self._limit, len(self._waiting)))]
            if not self._waiting:
                self._arrived.clear()
            if batch:
                try:
                    await self._settle(batch)
                except asyncio.CancelledError:
                    for _, future in batch:
                        future.cancel()
                    raise

    async def _settle(self, batch: list[tuple[Item, asyncio.Future[Result]]]) -> None:
        items = [item for item, _ in batch]
        try:
            results = await persistently(self._call, items)
        except LeaseLost as lost:
            for _, future in batch:
                if not future.done():
                    future.set_exception(lost)
        except Exception as error:  # noqa: BLE001  (an item's own fault; it is handed to its caller)
            await self._split(batch, error)
        else:
            for (_, future), result in zip(batch, results, strict=True):
                if not future.done():
                    future.set_result(result)

    async def _split(self, batch: list[tuple[Item, asyncio.Future[Result]]], error: Exception) -> None:
        if len(batch) == 1:
            if not batch[0][1].done():
                batch[0][1].set_exception(error)
            return
        _log.warning("ledger.batch_split", operation=self._told, decisions=len(batch), error=str(error))
        middle = len(batch) // 2
        await self._settle(batch[:middle])
        await self._settle(batch[middle:])
