"""Group calls: who asks for one thing is answered, and the call was made for many (`lanes`).

Results are handed out a few at a time, with the loop's other business in between: what callers do with each
takes its time, and whoever has one result waits for no other owner's many.
"""

import asyncio
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from chimeway.fair import Company, FairQueue
from chimeway.store.faults import LeaseLost
from chimeway.store.halves import Call, each_in_call
from chimeway.store.lanes import Lanes

Item = TypeVar("Item")
Result = TypeVar("Result")
_AT_ONCE: Final = 3
_AT_ONCE_ALONE: Final = 25
"""Results handed out in one turn of the loop: what callers do with each takes a fifth of a millisecond."""


@dataclass(frozen=True, slots=True)
class _Asked(Generic[Item, Result]):
    """An item, whose it is, and who waits for its result."""

    item: Item
    owner: Hashable
    future: "asyncio.Future[Result]"

    def give(self, result: Result | Exception) -> None:
        if self.future.done():
            return
        if isinstance(result, Exception):
            self.future.set_exception(result)
        else:
            self.future.set_result(result)


class Batcher(Generic[Item, Result]):
    """Turns single calls into batches of at most `limit`; of `lanes`, `share` and `company` see `Lanes`."""

    def __init__(
        self,
        call: Call[Item, Result],
        *,
        told: str,
        limit: int,
        lanes: int = 1,
        share: int | None = None,
        company: Company | None = None,
        again: Call[Item, Result] | None = None,
    ) -> None:
        """Take the call that does a batch; of `told` and `again` see `each_in_call`."""
        self._call = call
        self._again = again
        self._told = told
        self._lanes: Lanes[_Asked[Item, Result]] = Lanes(
            self._do, _cancel, told=told, limit=limit, lanes=lanes, share=share, company=company
        )
        self._done: FairQueue[tuple[_Asked[Item, Result], Result | Exception]] = FairQueue()
        self._handing_out = asyncio.Event()

    async def __call__(self, item: Item, owner: Hashable = None) -> Result:
        """Do one item, in company of others; `owner` is between whom batches are shared.

        Raises:
            LeaseLost: another node has taken over.
            Exception: what the call raised for this item alone.
        """
        asked: _Asked[Item, Result] = _Asked(item, owner, asyncio.get_running_loop().create_future())
        self._lanes.put(asked)
        return await asked.future

    @property
    def begun(self) -> int:
        """How many batches were begun."""
        return self._lanes.begun

    def moved(self) -> int | None:
        """As `Lanes.moved`."""
        return self._lanes.moved()

    async def serve(self) -> None:
        """Work until cancelled; items of a cancelled call are cancelled too."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._lanes.serve(), name=f"{self._told}-lanes")
                await self._hand_out()
        finally:
            _cancel([asked for asked, _ in self._done])

    async def _do(self, batch: Sequence[_Asked[Item, Result]]) -> None:
        items = [asked.item for asked in batch]
        results: Sequence[Result | Exception]
        try:
            results = await each_in_call(self._call, items, told=self._told, again=self._again)
        except LeaseLost as lost:
            results = [lost] * len(batch)
        pairs = zip(batch, results, strict=True)
        if len(batch) <= _AT_ONCE:
            for asked, result in pairs:
                asked.give(result)
            return
        for asked, result in pairs:
            self._done.put(asked.owner, (asked, result))
        self._handing_out.set()

    async def _hand_out(self) -> None:
        """Give many results to their callers, a few in each turn of the loop."""
        while True:
            await self._handing_out.wait()
            of_many = self._lanes.alone() or self._done.many_owners() > _AT_ONCE_ALONE
            for _ in range(_AT_ONCE_ALONE if of_many else _AT_ONCE):
                if (done := self._done.take()) is not None:
                    done[0].give(done[1])
            if self._done:
                await asyncio.sleep(0)
            else:
                self._handing_out.clear()


def _cancel(batch: Sequence[_Asked[Item, Result]]) -> None:
    """Cancel items that nobody will do any more."""
    for asked in batch:
        asked.future.cancel()
