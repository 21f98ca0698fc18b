"""A node inside somebody else's event loop: begun and ended with a block, and heard when it dies.

Why no task group: a block may be entered in one task and left in another (the cells of a notebook, the
fixtures of some test runners), which a task group forbids. So the node is one task, and what a task
group does is done here by hand: the death of the node cancels the task that entered the block, and its
error takes the place of that cancellation.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from chimeway.daemon.machine import Node
from chimeway.daemon.node import live
from chimeway.delivery.declared import Declared
from chimeway.settings import Settings


@asynccontextmanager
async def inside(settings: Settings, declared: Declared) -> AsyncIterator[Node]:
    """Run a node while the block lasts; inside, it works or stands by. It is drained at the end.

    Raises:
        as `chimeway.daemon.node.live`, at the beginning or, for a node that died, at the end.
    """
    guest = _Guest(settings, declared)
    try:
        yield await guest.settled()
    except BaseException as error:
        await guest.leave()
        if guest.is_why(error):
            guest.fail()
        raise
    await guest.leave()
    guest.fail()


class _Guest:
    """The node's task, and its host: the task that is cancelled if the node dies."""

    def __init__(self, settings: Settings, declared: Declared) -> None:
        self._rang = False
        self._cut = False
        self._host = asyncio.current_task()
        self._stop = asyncio.Event()
        self._settled: asyncio.Future[Node] = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(live(settings, declared, self._stop, self._settle), name="chimeway")

    async def settled(self) -> Node:
        """Wait until the node works or stands by; raise what keeps it from that."""
        either: set[asyncio.Future[Any]] = {self._task, self._settled}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            # Nothing is under way yet that a drain would wait for, and a connection may take a minute.
            self._cut = not self._settled.done() and self._task.cancel()
            raise
        if not self._settled.done():
            self.fail()
            raise AssertionError("a node ended before it began, and nobody had asked it to")
        self._task.add_done_callback(self._ring)
        return self._settled.result()

    async def leave(self) -> None:
        """Drain the node and wait for its end; cut it off if that is cancelled, or its beginning was."""
        self._task.remove_done_callback(self._ring)
        self._stop.set()
        while not self._task.done():
            try:
                await asyncio.wait({self._task})
            except asyncio.CancelledError:
                # Once, at the most: a second time would cut off its own closing.
                self._cut = self._cut or self._task.cancel()
        if self._cut:
            raise asyncio.CancelledError
        if self._rang and self._host is asyncio.current_task():
            await self._take_back()

    def is_why(self, error: BaseException) -> bool:
        """Say whether the block was cancelled by the node's death, and by nothing else."""
        others = self._host is not None and self._host.cancelling()
        return isinstance(error, asyncio.CancelledError) and self._rang and not others

    def fail(self) -> None:
        """Raise what the node died of, if it did."""
        self._task.result()

    async def _take_back(self) -> None:
        """Take back our own cancellation, also one that has not arrived yet."""
        if self._host is None or self._host.uncancel():
            return  # others have cancelled it too: that stays
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(0)

    def _ring(self, task: asyncio.Task[None]) -> None:
        if self._host is not None:
            self._rang = self._host.cancel(f"the node has died: {task!r}")

    def _settle(self, node: Node) -> None:
        if not self._settled.done():
            self._settled.set_result(node)
