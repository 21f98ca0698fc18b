"""Lanes: what comes singly is carried in batches. No added latency when idle.

While one batch is under way the next gathers: for some milliseconds at most, then a free lane takes it.

Fair between owners (tenants): whoever has thousands waiting shares each batch with all others who wait,
turn by turn. And nobody new waits for a place in a batch: an owner of whom nothing is under way goes into
a line of its own kind, which all lanes serve before the others' second items, and one lane nothing else.
So a single item waits for no batch of somebody else's.

It shares the machine with it, though. So while anybody else has been there of late (`Company`) batches
are small and go one at a time, and after each its lane rests for as long as it worked. Who is alone is
carried in big batches, by all lanes, without rest; and so are so many owners that they fill the batches,
and all where little waits: none of them is anybody's burden.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Final, Generic, Protocol, TypeVar

from chimeway.fair import Company, FairQueue
from chimeway.groups import begin
from chimeway.limits import LANE_REST_MAX_S

_GATHER_S: Final = 0.008
"""How long few things wait for more to go with, while others are under way: few cost nearly as much."""
_WORTH_A_LANE: Final = 8
"""How much must wait until a lane is begun beside another at once: a call for eight costs three for one."""


class Owned(Protocol):
    """What can be carried: it says whose it is, between whom batches are shared."""

    @property
    def owner(self) -> Hashable:
        """Whose it is."""


Item = TypeVar("Item", bound=Owned)


class Lanes(Generic[Item]):
    """Carry items in batches of at most `limit`.

    At most `lanes` are under way. Where much waits in `company` it is one, with `share` items for each owner
    that waits; and one more of owners of whom nothing else is under way.
    """

    def __init__(
        self,
        carry: Callable[[Sequence[Item]], Awaitable[None]],
        drop: Callable[[Sequence[Item]], None],
        *,
        told: str,
        limit: int,
        lanes: int = 1,
        share: int | None = None,
        company: Company | None = None,
    ) -> None:
        """Take what carries a batch, and what is done with items that nobody will carry any more.

        What `carry` raises ends all lanes, and whoever serves them. `told` is how their tasks are called.
        """
        self._carry_batch = carry
        self._drop = drop
        self._told = told
        self._limit = limit
        self._lanes = lanes
        self._share = limit if share is None else share
        self._company = Company() if company is None else company
        self._waiting: FairQueue[Item] = FairQueue()
        self._new: deque[Item] = deque()
        self._of_owner: Counter[Hashable] = Counter()  # what is new or under way
        self._busy = 0  # lanes with a batch under way
        self._busy_with_new = False
        self._group: asyncio.TaskGroup | None = None
        self._rung = False
        self._last = 0.0  # when a batch was begun
        self._gathering: asyncio.TimerHandle | None = None
        self.begun = 0
        """How many batches were begun."""
        self._under_way: set[int] = set()

    def moved(self) -> int | None:
        """Return a number that is another one whenever this has got somewhere; None: it has nothing to do."""
        if self._under_way:
            return min(self._under_way)
        return -self.begun if self._waiting or self._new else None

    def put(self, item: Item) -> None:
        """Have an item carried with the next batch that has room for its owner."""
        owner = item.owner
        if owner is not None:
            self._company.meet(owner, asyncio.get_running_loop().time())
        if owner in self._of_owner or self._waiting.waiting(owner) or self._free_lane():
            self._waiting.put(owner, item)
        else:
            self._of_owner[owner] = 1
            self._new.append(item)
            self._begin_new()
        self._ring()

    async def serve(self) -> None:
        """Work until cancelled; what is left then is dropped."""
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                self._ring()
                try:
                    await asyncio.Event().wait()
                finally:
                    self._group = None  # a lane that ends while all are cancelled begins nothing more
        finally:
            self._drop([*self._waiting, *self._new])

    def alone(self) -> bool:
        """Say whether nobody but one owner has been here of late."""
        return self._company.alone(asyncio.get_running_loop().time())

    def _unburdened(self) -> bool:
        """Whether nobody need be considerate: one is alone, little waits, or so many as fill a batch."""
        return self.alone() or len(self._waiting) <= self._limit or self._shared() >= self._limit

    def _has_lane(self) -> bool:
        return not self._busy or (self._free_lane() and self._gathers_s() <= 0)

    def _gathers_s(self) -> float:
        """Return for how long what waits had better gather, beside what is under way."""
        if len(self._waiting) + len(self._new) >= min(_WORTH_A_LANE, self._limit):
            return 0.0
        return self._last + _GATHER_S - asyncio.get_running_loop().time()

    def _free_lane(self) -> bool:
        return self._busy < (self._lanes if self._unburdened() else 1)

    def _gathered_enough(self) -> None:
        self._gathering = None
        self._ring()

    def _shared(self) -> int:
        return self._share * (len(self._new) + self._waiting.many_owners())

    def _ring(self) -> None:
        """Begin in the next turn of the loop: what comes in this one goes together."""
        if self._group is not None and not self._rung:
            self._rung = True
            asyncio.get_running_loop().call_soon(self._begin)

    def _begin(self) -> None:
        self._rung = False
        if self._group is None:
            return
        while (self._waiting or self._new) and self._has_lane():
            batch = self._gathered()
            if not begin(self._group, self._carry(batch), self._told):
                self._drop(batch)
                return
            self._busy += 1
            self._last = asyncio.get_running_loop().time()
        if (self._waiting or self._new) and self._free_lane() and self._gathering is None:
            self._gathering = asyncio.get_running_loop().call_later(self._gathers_s(), self._gathered_enough)
        self._begin_new()

    def _begin_new(self) -> None:
        if self._new and not self._busy_with_new and self._group is not None:
            batch = [self._new.popleft() for _ in range(min(self._limit, len(self._new)))]
            if not begin(self._group, self._carry_new(batch), f"{self._told}-new"):
                self._drop(batch)
                return
            self._busy_with_new = True

    async def _carry(self, batch: list[Item]) -> None:
        began = asyncio.get_running_loop().time()
        try:
            await self._do(batch)
            if not self._unburdened():
                await asyncio.sleep(min(asyncio.get_running_loop().time() - began, LANE_REST_MAX_S))
        finally:
            self._busy -= 1
            self._ring()

    async def _carry_new(self, batch: list[Item]) -> None:
        try:
            await self._do(batch)
        finally:
            self._busy_with_new = False
            self._ring()

    def _gathered(self) -> list[Item]:
        """Take a batch: turn by turn one that is new and one of those who had their turn before."""
        most = self._limit
        if not self.alone():
            most = min(most, self._shared())
        batch: list[Item] = []
        while self._new and len(batch) < most:
            batch.append(self._new.popleft())
            if len(batch) < most and (item := self._waiting.take()) is not None:
                self._of_owner[item.owner] += 1
                batch.append(item)
        for item in self._waiting.take_many(most - len(batch)):
            self._of_owner[item.owner] += 1
            batch.append(item)
        return batch

    async def _do(self, batch: list[Item]) -> None:
        self.begun = number = self.begun + 1
        self._under_way.add(number)
        try:
            await self._carry_batch(batch)
        except asyncio.CancelledError:
            self._drop(batch)
            raise
        finally:
            self._under_way.discard(number)
            for owner, many in Counter(item.owner for item in batch).items():
                self._of_owner[owner] -= many
                if not self._of_owner[owner]:
                    del self._of_owner[owner]
