"""An event loop on a thread of its own, so that code without one, or with another, can use ours."""

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

from chimeway.errors import InvalidInput

_T = TypeVar("_T")


class LoopThread:
    """Runs coroutines on its loop; whoever calls waits, or gets a future of any thread's.

    The thread is a daemon: a process that forgets to close it ends all the same.
    """

    def __init__(self, name: str) -> None:
        """Start the thread, and return when its loop runs."""
        self._loop: Future[asyncio.AbstractEventLoop] = Future()
        self._over = asyncio.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name=name, daemon=True)
        self._thread.start()
        self._loop.result()

    async def _serve(self) -> None:
        self._loop.set_result(asyncio.get_running_loop())
        await self._over.wait()

    def submit(self, work: Coroutine[Any, Any, _T]) -> Future[_T]:
        """Begin something there."""
        return asyncio.run_coroutine_threadsafe(work, self._loop.result())

    def run(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Do something there, and wait for it. Who is interrupted meanwhile (Ctrl-C) cancels it.

        Raises:
            InvalidInput: it was called from that loop, where waiting would never end.
        """
        if threading.current_thread() is self._thread:
            work.close()
            raise InvalidInput(
                "this verb waits for the loop that it was called from (by a channel's send?), which would "
                "wait for ever: call it before or after, or use a client of its own there"
            )
        future = self.submit(work)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def close(self) -> None:
        """End the loop; what it still does is cancelled."""
        if self._thread.is_alive():
            self._loop.result().call_soon_threadsafe(self._over.set)
            self._thread.join()
