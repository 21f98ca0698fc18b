"""The way in: deliveries that wait to be loaded, fair between tenants.

Much can be planned at once, and all of it is offered. What finds no room is found again in the database, but
behind all that is older; so the flood of one tenant must not turn another's offer away. So many are loaded at
once as fill two batches.
"""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Final
from uuid import UUID

from chimeway.fair import BoundedQueue
from chimeway.groups import begin
from chimeway.limits import INTAKE, LOAD_BATCH

_LOADING: Final = 2 * LOAD_BATCH


class Intake:
    """Brings deliveries in, tenant by tenant in turn."""

    def __init__(
        self, bring: Callable[[UUID, Hashable], Coroutine[Any, Any, None]], group: asyncio.TaskGroup
    ) -> None:
        """Take what loads one and sees to it; it must not raise but for what ends the dispatcher."""
        self._bring = bring
        self._group = group
        self._waiting: BoundedQueue[tuple[UUID, Hashable]] = BoundedQueue(INTAKE)
        self._loading = 0
        self._moved = asyncio.Event()

    def put(self, tenant: Hashable, delivery_id: UUID) -> UUID | None:
        """Take a delivery; return the one that found no room, which is it or another in its stead."""
        out = self._waiting.put(tenant, (delivery_id, tenant))
        self._begin()
        return None if out is None else out[0]

    async def room(self, tenant: Hashable) -> None:
        """Wait until a delivery of this tenant would be taken."""
        while not self._waiting.would_take(tenant):
            self._moved.clear()
            await self._moved.wait()

    def clear(self) -> list[UUID]:
        """Give back what is not being loaded yet."""
        return [delivery_id for delivery_id, _ in self._waiting.clear()]

    def _begin(self) -> None:
        while self._loading < _LOADING and (taken := self._waiting.take()) is not None:
            self._loading += 1
            if not begin(self._group, self._work(*taken), f"bring-{taken[0]}"):
                return
            self._moved.set()

    async def _work(self, delivery_id: UUID, tenant: Hashable) -> None:
        try:
            await self._bring(delivery_id, tenant)
        finally:
            self._loading -= 1
        self._begin()
