"""A tenure: what a node has while its lease lasts, as its event loop sees it. `ownership` has the theory."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

from chimeway.clock import set_within
from chimeway.store.ids import SHARDS
from chimeway.store.ledger import Fence

_LEAVE_S: Final = 2.0
"""How long the way down waits for the hand-over: a database that says nothing must not keep it."""


class Tenure:
    """The time for which this node holds a lease, and the shards that it has meanwhile."""

    def __init__(
        self,
        fence: Fence,
        *,
        clean: bool,
        trusted_until: float,
        shards: frozenset[int] = SHARDS,
        on_leaving: Callable[[], None] | None = None,
    ) -> None:
        """Take what was acquired.

        Args:
            fence: the lease.
            clean: False: all these shards came from a node that died.
            trusted_until: by the monotonic clock.
            shards: what it begins with.
            on_leaving: called when all shards are to be handed over; None: nobody else is there.
        """
        self.fence = fence
        self.lost = asyncio.Event()
        self.shards = shards
        self.suspect = frozenset() if clean else shards
        """Of these shards, those whose former owner died and whose work nobody has looked through yet."""
        self.changed = asyncio.Event()
        """Set when `shards` is another set."""
        self.handed_over = asyncio.Event()
        self.settle: Callable[[frozenset[int]], Awaitable[None]] | None = None
        """Waits, not for long, until nothing is decided any more in shards that are given away."""
        self._leaving = False
        self._on_leaving = on_leaving
        self._trusted_until = trusted_until  # one float: the renewal thread writes, others read

    @property
    def clean(self) -> bool:
        """Whether nothing that it has is under suspicion."""
        return not self.suspect

    def trusted(self) -> bool:
        """Say whether nobody can have ended the lease by now."""
        return time.monotonic() < self._trusted_until and not self.lost.is_set()

    def extend(self, trusted_until: float) -> None:
        """Trust the lease until then (renewal thread)."""
        self._trusted_until = trusted_until

    def hold(self, shards: frozenset[int], suspect: frozenset[int]) -> None:
        """Have these shards from now on, as the rows say; who is leaving takes none."""
        if self._leaving or shards == self.shards:
            return
        self.suspect = (self.suspect & shards) | (suspect & (shards - self.shards))
        self.shards = shards
        self.changed.set()

    def absolve(self, shards: frozenset[int]) -> None:
        """Suspect nothing in these shards any more."""
        self.suspect -= shards

    async def let_go(self, shards: frozenset[int]) -> None:
        """Look for no work in these shards any more; let what is being decided in them come to its end."""
        self.shards -= shards
        self.suspect -= shards
        self.changed.set()
        if self.settle is not None:
            await self.settle(shards)

    async def leave(self) -> None:
        """Hand all shards over to others; the lease stays, for what is under way."""
        self._leaving = True
        await self.let_go(self.shards)
        if self._on_leaving is not None:
            self._on_leaving()
            await set_within(self.handed_over, _LEAVE_S)
