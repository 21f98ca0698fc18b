"""Group calls: while one is under way the next gathers. No timer, and no added latency when idle.

A call that fails because of what one item holds is split until that item stands alone; only it gets
the error; so too where the server failed by itself, which may be for one item's rows alone. Faults of the
connection are retried with the same items, so a call must recognise what it has done before.

Fair between owners (tenants): whoever has thousands waiting shares each batch with all others who wait,
turn by turn. And nobody new waits for a place in a batch: an owner of whom nothing is under way goes into
a line of its own kind, which all lanes serve before the others' second items, and one lane nothing else.
So a single item waits for no batch of somebody else's.

It shares the machine with it, though. So while anybody else has been there of late (`Company`) batches
are small and go one at a time, and after each its lane rests for as long as it worked; and results are handed
out a few at a time, with the loop's other business in between. Who is alone is carried in big batches, by all
lanes, without rest; and so are so many owners that they fill the batches: none of them is anybody's burden.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass
from itertools import chain, repeat
from typing import Final, Generic, TypeVar

from chimeway.fair import Company, FairQueue
from chimeway.groups import begin
from chimeway.limits import LANE_REST_MAX_S
from chimeway.log import Events
from chimeway.store.faults import LeaseLost
from chimeway.store.pool import unless_broken

Item = TypeVar("Item")
Result = TypeVar("Result")
_log = Events()
_UNBOUND: Final = 1 << 40  # callers wait for each item, and are bounded themselves
_AT_ONCE: Final = 3
_AT_ONCE_ALONE: Final = 25
"""Results handed out in one turn of the loop: what callers do with each takes a fifth of a millisecond."""


@dataclass(frozen=True, slots=True)
class _Asked(Generic[Item, Result]):
    """An item, whose it is, and who waits for its result."""

    item: Item
    owner: Hashable
    future: "asyncio.Future[Result]"

    def give(self, result: Result) -> None:
        if not self.future.done():
            self.future.set_result(result)

    def fail(self, error: Exception) -> None:
        if not self.future.done():
            self.future.set_exception(error)


class Batcher(Generic[Item, Result]):
    """Turns single calls into batches of at most `limit`.

    At most `lanes` are under way. Where there is `company` it is one, with `share` items for each owner that
    waits; and one more of owners of whom nothing else is under way.
    """

    def __init__(
        self,
        call: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]],
        *,
        told: str,
        limit: int,
        lanes: int = 1,
        share: int | None = None,
        company: Company | None = None,
        again: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]] | None = None,
    ) -> None:
        """Take the call that does a batch and returns its results in order; `told` is for the log.

        `again` is called instead where a call has failed for a moment and is made again: it may know of items
        for which that came too late.
        """
        self._call = call
        self._again = call if again is None else again
        self._told = told
        self._limit = limit
        self._lanes = lanes
        self._share = limit if share is None else share
        self._company = Company() if company is None else company
        self._waiting: FairQueue[_Asked[Item, Result]] = FairQueue(_UNBOUND)
        self._new: deque[_Asked[Item, Result]] = deque()
        self._of_owner: Counter[Hashable] = Counter()  # what is new or under way
        self._busy = 0  # lanes with a batch under way
        self._busy_with_new = False
        self._group: asyncio.TaskGroup | None = None
        self._rung = False
        self._done: FairQueue[tuple[_Asked[Item, Result], Result]] = FairQueue(_UNBOUND)
        self._handing_out = asyncio.Event()

    async def __call__(self, item: Item, owner: Hashable = None) -> Result:
        """Do one item, in company of others; `owner` is between whom batches are shared.

        Raises:
            LeaseLost: another node has taken over.
            Exception: what the call raised for this item alone.
        """
        loop = asyncio.get_running_loop()
        asked: _Asked[Item, Result] = _Asked(item, owner, loop.create_future())
        if owner is not None:
            self._company.meet(owner, loop.time())
        if self._of_owner[owner] or self._waiting.waiting(owner) or self._has_lane():
            self._waiting.put(owner, asked)
        else:
            self._of_owner[owner] += 1
            self._new.append(asked)
            self._begin_new()
        self._ring()
        return await asked.future

    async def serve(self) -> None:
        """Work until cancelled; items of a cancelled call are cancelled too."""
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                self._ring()
                try:
                    await self._hand_out()
                finally:
                    self._group = None  # a lane that ends while all are cancelled begins nothing more
        finally:
            _cancel([*self._waiting, *self._new, *(asked for asked, _ in self._done)])

    def _alone(self) -> bool:
        return self._company.alone(asyncio.get_running_loop().time())

    def _unburdened(self) -> bool:
        """Whether nobody need be considerate: one is alone, or so many wait that they fill a batch."""
        return self._alone() or self._shared() >= self._limit

    def _has_lane(self) -> bool:
        return self._busy < (self._lanes if self._unburdened() else 1)

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
                _cancel(batch)
                return
            self._busy += 1
        self._begin_new()

    def _begin_new(self) -> None:
        if self._new and not self._busy_with_new and self._group is not None:
            batch = [self._new.popleft() for _ in range(min(self._limit, len(self._new)))]
            if not begin(self._group, self._carry_new(batch), f"{self._told}-new"):
                _cancel(batch)
                return
            self._busy_with_new = True

    async def _carry(self, batch: list[_Asked[Item, Result]]) -> None:
        began = asyncio.get_running_loop().time()
        try:
            await self._do(batch)
            if not self._unburdened():
                await asyncio.sleep(min(asyncio.get_running_loop().time() - began, LANE_REST_MAX_S))
        finally:
            self._busy -= 1
            self._ring()

    async def _carry_new(self, batch: list[_Asked[Item, Result]]) -> None:
        try:
            await self._do(batch)
        finally:
            self._busy_with_new = False
            self._ring()

    def _gathered(self) -> list[_Asked[Item, Result]]:
        """Take a batch: turn by turn one that is new and one of those who had their turn before."""
        most = self._limit
        if not self._alone():
            most = min(most, self._shared())
        batch: list[_Asked[Item, Result]] = []
        while len(batch) < most and (self._new or self._waiting):
            if self._new:
                batch.append(self._new.popleft())
            if len(batch) < most and (asked := self._waiting.take()) is not None:
                self._of_owner[asked.owner] += 1
                batch.append(asked)
        return batch

    async def _do(self, batch: list[_Asked[Item, Result]]) -> None:
        try:
            await self._settle(batch)
        except asyncio.CancelledError:
            _cancel(batch)
            raise
        finally:
            self._of_owner.subtract(asked.owner for asked in batch)
            for asked in batch:
                if not self._of_owner[asked.owner]:
                    del self._of_owner[asked.owner]

    async def _settle(self, batch: list[_Asked[Item, Result]]) -> None:
        try:
            results = await unless_broken(self._calling(), [asked.item for asked in batch])
        except LeaseLost as lost:
            for asked in batch:
                asked.fail(lost)
        except Exception as error:  # noqa: BLE001  (an item's own fault; it is handed to its caller)
            await self._split(batch, error)
        else:
            pairs = zip(batch, results, strict=True)
            if len(batch) <= _AT_ONCE:
                for asked, result in pairs:
                    asked.give(result)
            else:
                for asked, result in pairs:
                    self._done.put(asked.owner, (asked, result))
                self._handing_out.set()

    def _calling(self) -> Callable[[Sequence[Item]], Awaitable[Sequence[Result]]]:
        """Return what makes a call, and what makes it again from the second time on."""
        calls = chain([self._call], repeat(self._again))

        async def named(items: Sequence[Item]) -> Sequence[Result]:
            return await next(calls)(items)

        named.__qualname__ = self._told  # what the log calls it when the database is lost
        return named

    async def _hand_out(self) -> None:
        """Give many results to their callers, a few in each turn of the loop."""
        while True:
            await self._handing_out.wait()
            of_many = self._alone() or self._done.many_owners() > _AT_ONCE_ALONE
            for _ in range(_AT_ONCE_ALONE if of_many else _AT_ONCE):
                if (done := self._done.take()) is not None:
                    done[0].give(done[1])
            if self._done:
                await asyncio.sleep(0)
            else:
                self._handing_out.clear()

    async def _split(self, batch: list[_Asked[Item, Result]], error: Exception) -> None:
        if len(batch) == 1:
            batch[0].fail(error)
            return
        _log.warning("ledger.batch_split", operation=self._told, decisions=len(batch), error=str(error))
        middle = len(batch) // 2
        await self._settle(batch[:middle])
        await self._settle(batch[middle:])


def _cancel(batch: Sequence[_Asked[Item, Result]]) -> None:
    """Cancel items that nobody will do any more."""
    for asked in batch:
        asked.future.cancel()
