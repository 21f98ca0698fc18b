"""Actors take their turns in company: loaded together, decided on one after the other, committed together.

An actor is no task of its own. A task for each run, with a future for its rows and one for its answer, cost
as much as what it decided (docs/benchmarks/log.md); so a lane's task plays a whole batch, and gives a run a
task of its own only where it must wait for something that its neighbours need not wait for. Which run comes
next, and how big a batch may be, is the lanes' matter: they are fair between tenants.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from chimeway.clock import Clock
from chimeway.engine.actor import Acting, Actor, Slowly
from chimeway.engine.seam import Seam
from chimeway.fair import Company
from chimeway.groups import begin
from chimeway.limits import LEDGER_BATCH, SHARED_BATCH
from chimeway.store.lanes import Lanes

_LANES: Final = 3
"""While one is being decided on, one is being loaded and one is being written."""


class Rounds:
    """Plays actors until they rest."""

    def __init__(
        self,
        seam: Seam,
        acting: Acting,
        clock: Clock,
        group: asyncio.TaskGroup,
        company: Company,
        rests: Callable[[Actor], bool],
    ) -> None:
        """Take how runs are evaluated and what follows, and who is told of an actor that rests.

        `rests` says whether it is to be evaluated once more: somebody has woken it meanwhile.
        """
        self._seam = seam
        self._acting = acting
        self._clock = clock
        self._group = group
        self._rests = rests
        self._ended = False
        self._lanes: Lanes[Actor] = Lanes(
            self._round, lambda _: None, told="round", limit=LEDGER_BATCH, lanes=_LANES, share=SHARED_BATCH,
            company=company,
        )  # fmt: skip

    def play(self, actor: Actor) -> bool:
        """Have an actor evaluated until it rests; False: all is ending, and nobody will."""
        if self._ended:
            return False
        self._lanes.put(actor)
        return True

    def moved(self) -> int | None:
        """As `Lanes.moved`."""
        return self._lanes.moved()

    async def serve(self) -> None:
        """Work until cancelled.

        Raises:
            LeaseLost: another node has taken over.
        """
        try:
            await self._lanes.serve()
        finally:
            self._ended = True

    async def _round(self, actors: Sequence[Actor]) -> None:
        for actor in actors:
            actor.woken = False  # who wakes it from here on may have written what is not loaded now
        found = await self._seam.evaluate_all([actor.run_id for actor in actors], self._clock.now)
        for actor, each in zip(actors, found, strict=True):
            follows = self._acting.follow(actor, each)
            if follows is True:
                self._lanes.put(actor)
            elif follows is False:
                self._rest(actor)
            elif not begin(self._group, self._slowly(actor, follows), f"run-{actor.run_id}"):
                self._ended = True

    async def _slowly(self, actor: Actor, follows: Slowly) -> None:
        await follows
        self._rest(actor)

    def _rest(self, actor: Actor) -> None:
        if self._rests(actor):
            self._lanes.put(actor)
