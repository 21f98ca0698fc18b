"""One channel's way out: a queue that is fair between tenants, and so many calls at once behind it.

Nothing is begun while the way is shut (no provider may be called): what waits, waits here, where its run can
still call it back, and the lane wakes when the way opens. While the way is let through one by one (a rate,
a breaker on trial) the lane looks at it before each item.

**Within the lane.** The addresses of one tenant may hang while those of others work (webhooks of one
customer). So a free place goes to the waiting tenant with the fewest calls under way, and a tenant holds no
more places than three times those left free (`chimeway.fair`): one who hangs leaves a quarter to the others.
"""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Final, Generic, Protocol, TypeVar

from chimeway.clock import set_within
from chimeway.fair import Places, WeighedQueue
from chimeway.groups import begin
from chimeway.limits import CHANNEL_QUEUE
from chimeway.log import Events

_log = Events()
Item = TypeVar("Item")
_NEWCOMER: Final = object()
_ENOUGH: Final = 50
"""Of one tenant that wait for places: the turns bring more when there are fewer."""
_LONG_S: Final = 1.0
"""A way that is shut for longer is passed over by the sweep: a rate's pauses are shorter."""


class Way(Protocol):
    """What a lane leads to: the providers of a channel, or rather their gates."""

    def closed_for(self) -> float:
        """Return the seconds until any call may be made; 0.0: now."""
        ...

    @property
    def one_by_one(self) -> bool:
        """Whether it must be looked at before each call."""
        ...


class OpenWay:
    """The way to nowhere: of a channel that is not here its deliveries must only be looked at."""

    one_by_one = False

    def closed_for(self) -> float:
        """Return 0.0."""
        return 0.0


class Lane(Generic[Item]):
    """Sends what it is given; one that hangs takes no other's places."""

    def __init__(
        self,
        name: str,
        way: Way,
        places: int,
        send: Callable[[Item], Coroutine[Any, Any, bool]],
        group: asyncio.TaskGroup,
        has_room: Callable[[], None],
    ) -> None:
        """Take the way and how many calls may be under way, how one is sent, and whom to tell of room.

        `send` says whether the item was sent, or came in vain: the way was shut when it got there. It
        must not raise but for what ends the dispatcher. All tasks run in `group`.
        """
        self._name = name
        self._way = way
        self._send = send
        self._group = group
        self._has_room = has_room
        self._queue: WeighedQueue[Item] = WeighedQueue(CHANNEL_QUEUE)
        self._places = Places(places)
        self._full = self._told_full = False
        self._bell = asyncio.Event()
        begin(group, self._serve(), f"lane-{name}")

    @property
    def passed_over(self) -> bool:
        """Whether more is not wanted now: there is no room, or what is here must wait for long."""
        return self._full or (len(self._queue) > 0 and self._way.closed_for() > _LONG_S)

    def full_lines(self) -> list[Hashable]:
        """Return whose line has enough, or no room for more; [None]: nobody's is wanted now."""
        shut = len(self._queue) > 0 and self._way.closed_for() > _LONG_S
        if shut or not self._queue.would_take(_NEWCOMER):
            return [None]
        return [owner for owner in self._queue.owners() if self._queue.waiting(owner) >= self._enough()]

    def _enough(self) -> int:
        """How many of one tenant's wait here before more would be brought in vain."""
        return min(_ENOUGH, self._queue.longest() - 1) if self._full else _ENOUGH

    def would_take(self, owner: Hashable) -> bool:
        """Say whether an item of this owner would find room now; if not, the lane counts as full."""
        if self._queue.would_take(owner):
            return True
        self._note_full()
        return False

    def put(self, owner: Hashable, item: Item) -> Item | None:
        """Take an item; return what found no room, which is it or another in its stead."""
        out = self._queue.put(owner, item)
        if out is not None:
            self._note_full()
        self._bell.set()
        return out

    def clear(self) -> list[Item]:
        """Give back what nobody has begun to send."""
        return self._queue.clear()

    async def _serve(self) -> None:
        """Begin what may be begun; then wait for a change, or until the way is said to open."""
        while True:
            self._bell.clear()
            shut_s = await self._begin()
            self._note_room()
            if shut_s > 0.0:
                await set_within(self._bell, shut_s)
            else:
                await self._bell.wait()

    async def _begin(self) -> float:
        """Begin what may be begun now; return how long the way is shut where that keeps something back."""
        while self._places.free and len(self._queue):
            if (shut_s := self._way.closed_for()) > 0.0:
                return shut_s
            if (found := self._queue.take_least(self._places.free)) is None:
                break
            owner, item = found
            if not begin(self._group, self._work(owner, item), f"send-{self._name}"):
                break
            self._places.take(owner)
            self._queue.weigh(owner, self._places.held(owner))
            if self._way.one_by_one:
                await asyncio.sleep(0)  # until it stands at the gate
        return 0.0

    async def _work(self, owner: Hashable, item: Item) -> None:
        in_vain = False
        try:
            in_vain = not await self._send(item)
        finally:
            self._places.leave(owner)
            self._queue.weigh(owner, self._places.held(owner))
        if in_vain:
            self._queue.put_back(owner, item)
        self._bell.set()

    def _note_room(self) -> None:
        """A full lane counts as full until it is half empty: else each place would be asked for alone."""
        if self._full and len(self._queue) <= CHANNEL_QUEUE // 2:
            self._full = False
            self._has_room()
        if self._told_full and not len(self._queue):
            self._told_full = False
            _log.info("channel.caught_up", channel=self._name)

    def _note_full(self) -> None:
        """Say it once, until nothing waits any more."""
        self._full = True
        if not self._told_full:
            self._told_full = True
            _log.warning(
                "channel.full", channel=self._name, waiting=len(self._queue),
                under_way=self._places.taken, shut_s=round(self._way.closed_for(), 3),
            )  # fmt: skip
