"""Sends what is planned, straight after the commit that planned it or when it is found to be due.

A delivery's way: offered → loaded (in batches) → its channel's lane → attempt begun (durable) →
provider called → result recorded (durable). It may fall out at any place, for any reason, and nothing
is lost: it stands in the database with `next_attempt_at`, and the timekeeper's sweep brings it again.

No place waits for another channel, tenant or run. Loading never waits for a lane: what finds no room
falls out, and the sweep passes its channel over until there is room. A lane's place is free as soon as
its provider has answered: recording may wait for whoever has the run locked.

Nothing here decides about runs. When the rows say that the run must move first (a signal came, its
wait's stop condition holds), the run is nudged and the delivery comes again later.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from chimeway.clock import jittered
from chimeway.delivery.lane import Lane
from chimeway.delivery.results import Results
from chimeway.delivery.sending import Sender, Sending
from chimeway.limits import INTAKE, LOAD_BATCH, RECORDING
from chimeway.log import Events
from chimeway.store import deliveries
from chimeway.store.batching import Batcher
from chimeway.store.catalogue import Catalogue
from chimeway.store.deliveries import Outcome
from chimeway.store.pool import Database
from chimeway.store.runs import load_runs

_log = Events()
_FAULT_AGAIN_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Wires:
    """What the dispatcher tells others: when to bring a delivery, that there is room, whom to wake."""

    arm: Callable[[UUID, datetime | None], None]
    put_off: Callable[[UUID, float], None]
    has_room: Callable[[], None]
    nudge: Callable[[UUID], None]


class Dispatcher:
    """Knows which deliveries are at work, and brings each to its channel's lane."""

    def __init__(
        self,
        database: Database,
        catalogue: Catalogue,
        sender: Sender,
        results: Results,
        wires: Wires,
        group: asyncio.TaskGroup,
    ) -> None:
        """Take the parts; all tasks run in `group`."""
        self._sender = sender
        self._results = results
        self._wires = wires
        self._group = group
        self._loader: Batcher[UUID, Sending | None] = Batcher(
            lambda ids: _load(database, catalogue, ids), told="load_deliveries", limit=LOAD_BATCH
        )
        self._loading = 0
        self._loaded = asyncio.Event()
        self._recording = asyncio.Semaphore(RECORDING)
        self._idle = asyncio.Event()
        self._at_work: set[UUID] = set()
        self._lanes: dict[str, Lane[Sending]] = {}
        self._closed = False

    def __contains__(self, delivery_id: object) -> bool:
        """Say whether this delivery is at work here."""
        return delivery_id in self._at_work

    def full_channels(self) -> list[str]:
        """Return the channels that have no room."""
        return [channel for channel, lane in self._lanes.items() if lane.full]

    def offer(self, delivery_id: UUID) -> None:
        """Take a delivery if there is room; if not, it is found to be due later."""
        if self._closed or delivery_id in self._at_work or self._loading >= INTAKE:
            return
        self._at_work.add(delivery_id)
        self._loading += 1
        self._group.create_task(self._bring(delivery_id), name=f"bring-{delivery_id}")

    async def admit(self, delivery_id: UUID) -> None:
        """Take a delivery, as soon as there is room to load it."""
        while self._loading >= INTAKE:
            self._loaded.clear()
            await self._loaded.wait()
        self.offer(delivery_id)

    async def serve(self) -> None:
        """Work until cancelled."""
        await self._loader.serve()

    async def load(self, delivery_id: UUID) -> Sending | None:
        """Return a delivery with its run, or None when there is none."""
        return await self._loader(delivery_id)

    def close(self) -> None:
        """Take nothing in any more, and begin nothing: what waits for a place is left to the next node."""
        self._closed = True
        for lane in self._lanes.values():
            for sending in lane.clear():
                self._leave(sending.delivery.id)

    async def emptied(self) -> None:
        """Wait until all that was begun has ended."""
        while self._at_work:
            self._idle.clear()
            await self._idle.wait()

    async def _bring(self, delivery_id: UUID) -> None:
        """Load a delivery with its run, and put it into its lane."""
        taken = False
        try:
            sending = await self._loader(delivery_id)
            if sending is not None and not self._closed and self._sender.wanted(sending):
                taken = self._lane(sending.delivery.channel).put(sending)
        except Exception as error:  # noqa: BLE001  (what one row holds must not end the others)
            _log.error("delivery.failed", delivery_id=str(delivery_id), error=repr(error))
            self._wires.put_off(delivery_id, jittered(_FAULT_AGAIN_S))
        finally:
            self._loading -= 1
            self._loaded.set()
            if not taken:
                self._leave(delivery_id)

    def _lane(self, channel: str) -> Lane[Sending]:
        if channel not in self._lanes:
            self._lanes[channel] = Lane(channel, self._send, self._group, self._wires.has_room)
        return self._lanes[channel]

    async def _send(self, sending: Sending) -> None:
        delivery_id, recorded_by_another = sending.delivery.id, False
        try:
            answer = await self._sender.send(sending, self.load)
            if isinstance(answer, Outcome):
                await self._recording.acquire()
                recorded_by_another = True
                self._group.create_task(self._record(answer), name=f"record-{delivery_id}")
            elif answer is not None:
                self._wires.put_off(delivery_id, answer)
        finally:
            if not recorded_by_another:
                self._leave(delivery_id)

    async def _record(self, outcome: Outcome) -> None:
        """Write a result down, and see that what follows from it is looked at."""
        try:
            recorded = await self._results.record(outcome)
        except Exception as error:  # noqa: BLE001  (a fault of ours; the attempt becomes unknown)
            _log.error("delivery.failed", delivery_id=str(outcome.delivery_id), error=repr(error))
        else:
            if recorded.nudged:
                self._wires.nudge(outcome.run_id)
            if outcome.next_attempt_at is not None:
                self._wires.arm(outcome.delivery_id, outcome.next_attempt_at)
        finally:
            self._recording.release()
            self._leave(outcome.delivery_id)

    def _leave(self, delivery_id: UUID) -> None:
        self._at_work.discard(delivery_id)
        if not self._at_work:
            self._idle.set()


async def _load(database: Database, catalogue: Catalogue, ids: Sequence[UUID]) -> list[Sending | None]:
    """Load deliveries with their runs, in the order of `ids`."""
    rows = await deliveries.load_sendables(database, ids)
    found = list(rows.values())
    loaded = await load_runs(database, catalogue, [row.run_id for row in found])
    sendings = {row.id: Sending(row, run) for row, run in zip(found, loaded, strict=True) if run is not None}
    return [sendings.get(delivery_id) for delivery_id in ids]
