"""Sends what is planned, straight after the commit that planned it or when it is found to be due.

A delivery's way: offered → loaded (in batches) → its channel's lane → attempt begun (durable) →
provider called → result recorded (durable). It may fall out at any place, for any reason, and nothing
is lost: it stands in the database with `next_attempt_at`, and the timekeeper's sweep brings it again.

Nothing here decides about runs. When the rows say that the run must move first (a signal came, its
wait's stop condition holds), the run is nudged and the delivery comes again later.
"""

import asyncio
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from chimeway.delivery.lane import Lane
from chimeway.delivery.sending import Sender, Sending
from chimeway.limits import INTAKE, LOAD_BATCH
from chimeway.store import deliveries
from chimeway.store.catalogue import Catalogue
from chimeway.store.pool import Database, persistently
from chimeway.store.runs import load_runs

_FULL_AGAIN_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Wires:
    """What the dispatcher tells others: when to bring a delivery (again), and to look at a run."""

    arm: Callable[[UUID, datetime | None], None]
    put_off: Callable[[UUID, float], None]
    nudge: Callable[[UUID], None]


class Dispatcher:
    """Knows which deliveries are at work, and brings each to its channel's lane."""

    def __init__(
        self,
        database: Database,
        catalogue: Catalogue,
        sender: Sender,
        wires: Wires,
        group: asyncio.TaskGroup,
    ) -> None:
        """Take the parts; lanes run in `group`."""
        self._database = database
        self._catalogue = catalogue
        self._sender = sender
        self._wires = wires
        self._group = group
        self._intake: deque[UUID] = deque()
        self._arrived = asyncio.Event()
        self._room = asyncio.Event()
        self._idle = asyncio.Event()
        self._at_work: set[UUID] = set()
        self._lanes: dict[str, Lane[Sending]] = {}
        self._closed = False

    def __contains__(self, delivery_id: object) -> bool:
        """Say whether this delivery is at work here."""
        return delivery_id in self._at_work

    def offer(self, delivery_id: UUID) -> None:
        """Take a delivery if there is room; if not, it is found to be due later."""
        if self._closed or delivery_id in self._at_work or len(self._intake) >= INTAKE:
            return
        self._at_work.add(delivery_id)
        self._intake.append(delivery_id)
        self._arrived.set()

    async def admit(self, delivery_id: UUID) -> None:
        """Take a delivery, as soon as there is room."""
        while len(self._intake) >= INTAKE:
            self._room.clear()
            await self._room.wait()
        self.offer(delivery_id)

    async def serve(self) -> None:
        """Work until cancelled."""
        while True:
            await self._arrived.wait()
            many = min(LOAD_BATCH, len(self._intake))
            batch = [self._intake.popleft() for _ in range(many)]
            if not self._intake:
                self._arrived.clear()
            self._room.set()
            await self._bring(batch)

    async def drain(self) -> None:
        """Take nothing in any more, and wait until all that was begun has ended."""
        self._closed = True
        for delivery_id in self._intake:
            self._leave(delivery_id)
        self._intake.clear()
        for lane in self._lanes.values():
            for sending in lane.clear():
                self._leave(sending.delivery.id)
        while self._at_work:
            self._idle.clear()
            await self._idle.wait()

    async def _bring(self, ids: Sequence[UUID]) -> None:
        """Load deliveries with their runs, and put each into its lane."""
        loaded = {sending.delivery.id: sending for sending in await self.load(ids)}
        for delivery_id in ids:
            sending = loaded.get(delivery_id)
            if sending is None or self._closed or not self._sender.wanted(sending):
                self._leave(delivery_id)
            elif not self._lane(sending.delivery.channel).put(sending):
                self._come_again(delivery_id, _FULL_AGAIN_S)

    async def load(self, ids: Sequence[UUID]) -> list[Sending]:
        """Return those of these deliveries that exist, each with its run."""
        found = await persistently(deliveries.load_sendables, self._database, ids)
        rows = list(found.values())
        loaded = await persistently(load_runs, self._database, self._catalogue, [row.run_id for row in rows])
        return [Sending(row, run) for row, run in zip(rows, loaded, strict=True) if run is not None]

    def _lane(self, channel: str) -> Lane[Sending]:
        if channel not in self._lanes:
            self._lanes[channel] = Lane(channel, self._send, self._group)
        return self._lanes[channel]

    async def _send(self, sending: Sending) -> None:
        again = await self._sender.send(sending, self.load)
        self._leave(sending.delivery.id)
        if isinstance(again, datetime):
            self._wires.arm(sending.delivery.id, again)
        elif again is not None:
            self._wires.put_off(sending.delivery.id, again)

    def _come_again(self, delivery_id: UUID, pause_s: float) -> None:
        self._leave(delivery_id)
        self._wires.put_off(delivery_id, pause_s * (0.5 + random.random()))  # noqa: S311  (jitter)

    def _leave(self, delivery_id: UUID) -> None:
        self._at_work.discard(delivery_id)
        if not self._at_work:
            self._idle.set()
