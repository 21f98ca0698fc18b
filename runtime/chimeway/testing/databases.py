"""A database for each test, ready before it is asked for.

One maker a process, on a thread with a loop of its own: tests on whichever loop, or on none, get a URL
of it. While one test runs, the next one's database is cloned already; what a test gives back is dropped
behind its back.
"""

import asyncio
import atexit
import os
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import AsyncExitStack, contextmanager
from typing import Final

from chimeway.store.clones import Clones
from chimeway.testing.server import is_temporary, server_url
from chimeway.testing.threads import LoopThread

_AT_ONCE_S: Final = 30.0


class Databases:
    """Lends databases of one server."""

    def __init__(self, url: str, *, tidy: bool) -> None:
        """Connect; `tidy` as for `Clones.on`."""
        self._pid = os.getpid()
        self._thread = LoopThread("chimeway-test-databases")
        self._stack = AsyncExitStack()
        self._spare: dict[bool, asyncio.Task[str]] = {}
        try:
            self._clones = self._thread.run(self._stack.enter_async_context(Clones.on(url, tidy=tidy)))
        except BaseException:
            self._thread.close()
            raise

    @property
    def usable(self) -> bool:
        """Whether this process may use it: threads do not outlive a fork."""
        return self._pid == os.getpid()

    def lend(self, *, test_clock: bool) -> Future[str]:
        """Return the URL of a database that nobody has used; see `chimeway.store.schema.TEST_CLOCK`."""
        return self._thread.submit(self._lend(test_clock=test_clock))

    def give_back(self, url: str) -> Future[None]:
        """Drop a database, whoever is still connected to it."""
        return self._thread.submit(self._clones.drop(url))

    def close(self) -> None:
        """Let go of the server."""
        if not self.usable:
            return
        self._thread.run(self._close())
        self._thread.close()

    async def _lend(self, *, test_clock: bool) -> str:
        task = self._spare.pop(test_clock, None) or self._make(test_clock=test_clock)
        url = await task
        self._spare[test_clock] = self._make(test_clock=test_clock)
        return url

    def _make(self, *, test_clock: bool) -> "asyncio.Task[str]":
        return asyncio.ensure_future(self._clones.make(test_clock=test_clock))

    async def _close(self) -> None:
        for task in self._spare.values():
            task.cancel()
        await asyncio.gather(*self._spare.values(), return_exceptions=True)
        async with asyncio.timeout(_AT_ONCE_S):
            await self._stack.aclose()


_by_url: dict[str, Databases] = {}
_lock = threading.Lock()


def databases() -> Databases:
    """Return this process's maker of databases; the first call starts it, and the server if need be.

    Raises:
        DatabaseUnavailable: there is no server, none can be started, or it lets nobody in.
    """
    url = server_url()
    with _lock:
        found = _by_url.get(url)
        if found is None or not found.usable:
            found = _by_url[url] = Databases(url, tidy=not is_temporary())
    return found


@contextmanager
def lent(*, test_clock: bool) -> Iterator[str]:
    """Lend a database while the block lasts."""
    maker = databases()
    url = maker.lend(test_clock=test_clock).result()
    try:
        yield url
    finally:
        maker.give_back(url)


@atexit.register
def close_databases() -> None:
    """Let go of all servers; registered after, and so done before, the end of a server of ours."""
    while _by_url:
        _by_url.popitem()[1].close()
