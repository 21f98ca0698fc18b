"""Attempts that nobody will record: their sender died, or lost the answer to having begun them.

Who has a delivery's shard looks whether the lease of its attempt's sender has ended; whose lease goes on
is still waiting for his provider, even if he has given the shard away. He alone knows whether he lost the
answer to having begun one, and looks for those of his own wherever they are.

Each becomes `unknown`: the provider may or may not have been asked. It counts as an attempt, and the
delivery is tried again under the same idempotency key, as the rules of retrying say.
"""

import asyncio
from collections.abc import Callable, Collection
from functools import partial
from typing import Final
from uuid import UUID

from chimeway.clock import Clock, jittered
from chimeway.delivery.dispatcher import Dispatcher
from chimeway.delivery.results import Results
from chimeway.limits import SWEEP_EVERY_S, SWEEP_PAGE
from chimeway.log import Events
from chimeway.store import deliveries
from chimeway.store.pool import Database, persistently
from chimeway.store.runs import NO_ID
from chimeway.store.share import EVERYTHING, Share

_log = Events()
_AT_ONCE: Final = 32
"""Of what a dead node had under way: loaded and recorded in company."""


class Foundling:
    """Sweeps for abandoned attempts, and for deliveries that waited for a channel that is here."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        node: UUID,
        dispatcher: Dispatcher,
        results: Results,
        nudge: Callable[[UUID, str], None],
        share: Share = EVERYTHING,
    ) -> None:
        """Take the parts, and what names our shards."""
        self._database = database
        self._clock = clock
        self._node = node
        self._dispatcher = dispatcher
        self._results = results
        self._nudge = nudge
        self._share = share

    async def serve(self, channels: list[str], none_seen: Callable[[], bool] = lambda: False) -> None:
        """Work until cancelled; `none_seen` says that there was nothing to find just now."""
        while True:
            if not none_seen():
                await self.sweep()
                await self._give_back(channels)
            await self._clock.sleep(jittered(SWEEP_EVERY_S))

    async def _give_back(self, channels: list[str]) -> None:
        """Take up deliveries that waited for a channel that is here."""
        given_back = await persistently(deliveries.reclaim_capable, self._database, channels)
        for delivery_id in given_back:
            self._share.borrow(delivery_id)  # whoever has its shard may lack the channel
            await self._dispatcher.admit(delivery_id)

    async def sweep(self, shards: Collection[int] | None = None) -> None:
        """Record all abandoned attempts as unknown, also those of deliveries that a provider ended.

        `shards`: those just taken from a dead node; None: all of ours.
        """
        for ended in (False, True):
            await self._sweep(self._share.shards() if shards is None else shards, ended=ended)

    async def _sweep(self, shards: Collection[int], *, ended: bool) -> None:
        find = partial(deliveries.abandoned, shards=shards, ended=ended)
        after = NO_ID
        while True:
            page = await persistently(find, self._database, self._node, after, SWEEP_PAGE)
            lost = {delivery: attempt for delivery, _, attempt in page if delivery not in self._dispatcher}
            ids = list(lost)
            for first in range(0, len(ids), _AT_ONCE):
                async with asyncio.TaskGroup() as group:
                    for delivery_id in ids[first : first + _AT_ONCE]:
                        giving_up = self._try_to_give_up(delivery_id, lost[delivery_id])
                        group.create_task(giving_up, name=f"give-up-{delivery_id}")
            if len(page) < SWEEP_PAGE:
                return
            after = page[-1][0]

    async def _try_to_give_up(self, delivery_id: UUID, attempt: int) -> None:
        try:
            await self._give_up(delivery_id, attempt)
        except Exception as fault:  # noqa: BLE001  (what one row holds must not end the others)
            _log.error("delivery.failed", delivery_id=str(delivery_id), error=repr(fault))

    async def _give_up(self, delivery_id: UUID, attempt: int) -> None:
        """Record one; what somebody else has locked is left to the next sweep."""
        sending = await self._dispatcher.load(delivery_id)
        if sending is None:
            return
        delivery = sending.delivery
        outcome = self._results.abandoned(delivery, sending.run, attempt)
        recorded = await self._results.try_record(outcome)
        if recorded.answer == "applied":
            tally = self._dispatcher.tally
            tally.attempts[delivery.channel, "", "unknown"] += 1
            tally.deliveries[delivery.channel, outcome.status, outcome.reason] += 1
            _log.warning(
                "delivery.unknown", delivery_id=str(delivery.id), run_id=str(delivery.run_id),
                channel=delivery.channel, attempt=attempt,
            )  # fmt: skip
        if recorded.nudged:
            self._nudge(delivery.run_id, delivery.tenant_id)
