"""One channel's way out: so many calls at once, and a queue before them."""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from chimeway.limits import CHANNEL_CALLS, CHANNEL_QUEUE

Item = TypeVar("Item")


class Lane(Generic[Item]):
    """Sends what it is given, in order of arrival; a lane that hangs takes no other's places."""

    def __init__(
        self,
        name: str,
        send: Callable[[Item], Coroutine[Any, Any, None]],
        group: asyncio.TaskGroup,
        has_room: Callable[[], None],
    ) -> None:
        """Take how one is sent, and whom to tell when a full lane has room again.

        `send` must not raise but for what ends the dispatcher.
        """
        self._name = name
        self._send = send
        self._group = group
        self._has_room = has_room
        self._queue: deque[Item] = deque()
        self._under_way = 0
        self.full = False

    def put(self, item: Item) -> bool:
        """Take an item, or say that there is no room."""
        if self._under_way < CHANNEL_CALLS:
            self._under_way += 1
            self._group.create_task(self._work(item), name=f"send-{self._name}")
            return True
        if len(self._queue) < CHANNEL_QUEUE:
            self._queue.append(item)
            return True
        self.full = True
        return False

    def clear(self) -> list[Item]:
        """Give back what nobody has begun to send."""
        left = list(self._queue)
        self._queue.clear()
        return left

    async def _work(self, item: Item) -> None:
        try:
            await self._send(item)
            while self._queue:
                following = self._queue.popleft()
                self._note_room()
                await self._send(following)
        finally:
            self._under_way -= 1

    def _note_room(self) -> None:
        """A full lane counts as full until it is half empty: else each place would be asked for alone."""
        if self.full and len(self._queue) <= CHANNEL_QUEUE // 2:
            self.full = False
            self._has_room()
