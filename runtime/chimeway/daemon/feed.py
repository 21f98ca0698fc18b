"""Which shards this node looks through for work, while they come and go. (`engine.ownership` has the theory.)

    gained, clean    → looked through at once: what is due now, and soon
    gained, suspect  → as above, but for the runs that may have killed their former owner: they are tried out
    to be given away → looked through no more; what is being decided there may come to its end

What was on its way when a shard went is dropped where it comes by next: it stands in its row, and is the
new owner's. Only calls to providers go on to their end.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from chimeway.engine.tenure import Tenure
from chimeway.store.ids import shard_of_id
from chimeway.store.share import Share

_SETTLE_S: Final = 0.25
"""How long decisions may take to come to rest: what is not done then is refused as stale, or done by us."""
_BORROWED: Final = 2_000
"""Of others' shards, what only this node can do: as many as two sweeps bring."""


@dataclass(frozen=True, slots=True)
class Wires:
    """What the feed has others do."""

    look: Callable[[], None]
    """Look at all that is due, for more shards are ours."""
    forget: Callable[[Callable[[UUID], bool]], None]
    """Forget what is no longer ours: it is told which that is."""
    look_through: Callable[[frozenset[int], Callable[[], None]], Awaitable[None]]
    """Deal with what a dead node left behind in these shards: tell when all else in them may go on."""
    at_rest: Callable[[Callable[[UUID], bool]], Awaitable[None]]
    """Wait until no run of these is being decided about."""


class Feed:
    """Says what is ours, and follows the tenure when that changes."""

    def __init__(self, tenure: Tenure) -> None:
        """Take the tenure; `wire` before anything runs."""
        self._tenure = tenure
        self._wires: Wires | None = None
        self.share = Share(self.shards, self.borrow)
        self._known: frozenset[int] = frozenset()
        self._inherited = asyncio.Event()
        self._looked_through: frozenset[int] = frozenset()
        """Shards under suspicion that somebody is at, and nothing else may go on in yet."""
        self._borrowed: dict[UUID, None] = {}
        self._aside: set[UUID] = set()

    def wire(self, wires: Wires) -> None:
        """Take what is to be done when shards come and go."""
        self._wires = wires
        self._tenure.settle = self._settle

    def shards(self) -> frozenset[int]:
        """Return the shards that are looked through now."""
        return self._tenure.shards - self._tenure.suspect

    def ours(self, id_: UUID) -> bool:
        """Say whether a run or delivery is ours to work on, now."""
        return (shard_of_id(id_) in self._tenure.shards and id_ not in self._aside) or id_ in self._borrowed

    def set_aside(self, ids: Collection[UUID]) -> None:
        """Have nobody work on runs until they are released."""
        self._aside.update(ids)

    def release(self, ids: Sequence[UUID]) -> list[UUID]:
        """Let runs that stood aside be worked on; return those that are still ours."""
        self._aside.difference_update(ids)
        return [id_ for id_ in ids if self.ours(id_)]

    def borrow(self, id_: UUID) -> None:
        """Have something be ours for now though its shard is not: whoever has that lacks what it needs."""
        self._borrowed[id_] = None
        if len(self._borrowed) > _BORROWED:
            del self._borrowed[next(iter(self._borrowed))]

    def begin(self) -> None:
        """Take what the tenure begins with."""
        self._adjust()

    async def serve(self) -> None:
        """Follow the tenure until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow(), name="follow")
            group.create_task(self._inherit(), name="inherit")

    async def _follow(self) -> None:
        while True:
            await self._tenure.changed.wait()
            self._tenure.changed.clear()
            self._adjust()

    async def _inherit(self) -> None:
        """Look through what comes from the dead; who dies next is not kept waiting by it."""
        async with asyncio.TaskGroup() as group:
            while True:
                await self._inherited.wait()
                self._inherited.clear()
                if fresh := self._tenure.suspect - self._looked_through:
                    self._looked_through |= fresh
                    group.create_task(self._look_through(fresh), name="look-through")

    async def _look_through(self, shards: frozenset[int]) -> None:
        assert self._wires is not None, "wired before anything runs"

        def go_on() -> None:
            self._tenure.absolve(shards)
            self._looked_through -= shards
            self._adjust()

        await self._wires.look_through(shards, go_on)

    def _adjust(self) -> None:
        assert self._wires is not None, "wired before anything runs"
        known, self._known = self._known, self.shards()
        if known - self._known:
            self._wires.forget(lambda id_: not self.ours(id_))
        if self._known - known:
            self._wires.look()
        if self._tenure.suspect:
            self._inherited.set()

    async def _settle(self, shards: frozenset[int]) -> None:
        """Let what is being decided in shards that go come to its end, if that is soon."""
        assert self._wires is not None, "wired before anything runs"
        self._adjust()
        try:
            async with asyncio.timeout(_SETTLE_S):
                await self._wires.at_rest(lambda id_: shard_of_id(id_) in shards)
        except TimeoutError:
            return
