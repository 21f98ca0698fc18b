"""Calls that block, each on a thread of its own, so many at once and no more.

The threads are daemons, and nobody joins them at the end of the program: one that hangs keeps neither the
channel from closing nor the interpreter from ending (those of `concurrent.futures` do). A thread costs less
than a tenth of a millisecond, which is nothing beside the network call that it is for; so none is kept idle.
"""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

_T = TypeVar("_T")


class DaemonThreads:
    """Runs functions on threads, at most `size` at once; for one event loop."""

    def __init__(self, size: int, name: str) -> None:
        """Take how many, and what they are called."""
        self._name = name
        self._places = asyncio.Semaphore(size)
        self._busy = 0
        self._idle = asyncio.Event()
        self._idle.set()

    async def take(self) -> None:
        """Wait for a place, and take it; `run` gives it back when its thread has ended."""
        await self._places.acquire()

    async def run(self, work: Callable[[], _T]) -> _T:
        """Run a function, on the place that was taken.

        Whoever is cancelled meanwhile no longer waits; the place stays taken until the thread ends.
        """
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[_T] = loop.create_future()

        def ended(give: Callable[[], None]) -> None:
            self._give_back()
            if not answer.done():
                give()

        def tell(give: Callable[[], None]) -> None:
            with suppress(RuntimeError):  # the loop has ended; nobody waits any more
                loop.call_soon_threadsafe(ended, give)

        def body() -> None:
            try:
                result = work()
            except BaseException as error:  # noqa: BLE001  (whoever waits is told)
                raised = error
                tell(lambda: answer.set_exception(raised))
            else:
                tell(lambda: answer.set_result(result))

        self._busy += 1
        self._idle.clear()
        try:
            threading.Thread(target=body, name=self._name, daemon=True).start()
        except BaseException:
            self._give_back()
            raise
        return await answer

    async def leave(self, within_s: float) -> bool:
        """Wait until all threads have ended, but not for ever; say whether they have."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._idle.wait()
        return self._idle.is_set()

    def _give_back(self) -> None:
        self._busy -= 1
        self._places.release()
        if not self._busy:
            self._idle.set()
