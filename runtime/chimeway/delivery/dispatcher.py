"""Sends what is planned, straight after the commit that planned it or when it is found to be due.

A delivery's way: offered → loaded (in batches) → its channel's lane → attempt begun (durable) →
provider called → result recorded (durable). It may fall out at any place, for any reason, and nothing
is lost: it stands in the database with `next_attempt_at`, and the timekeeper's sweep brings it again.

No place waits for another channel, tenant or run. Loading never waits for a lane: what finds no room
falls out, and the sweep passes its channel over until there is room. A lane's place is free as soon as
its provider has answered: recording may wait for whoever has the run locked. Wherever there is a queue
or a bound on the way, each tenant has a share of it (`chimeway.fair`).

Nothing here decides about runs. When the rows say that the run must move first (a signal came, its
wait's stop condition holds), the run is nudged and the delivery comes again later.
"""

import asyncio
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, cast
from uuid import UUID

from chimeway.clock import Clock, jittered
from chimeway.delivery.composing import Sending
from chimeway.delivery.intake import Intake
from chimeway.delivery.lane import Lane, Way
from chimeway.delivery.postponing import Postponer
from chimeway.delivery.results import Results
from chimeway.delivery.sending import Sender, Shut
from chimeway.fair import Places
from chimeway.groups import begin
from chimeway.limits import LOAD_BATCH, RECORDING, SHARED_BATCH
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
    """What the dispatcher tells others, and asks them.

    When to bring a delivery, that there is room, whom to wake; whether a delivery is ours to send, now; and
    of a channel, also of one that is not here, where its lane leads and how many calls it may have under way.
    """

    arm: Callable[[UUID, datetime | None], None]
    put_off: Callable[[UUID, float], None]
    has_room: Callable[[], None]
    nudge: Callable[[UUID, str], None]
    way: Callable[[str], tuple[Way, int]]
    ours: Callable[[UUID], bool] = lambda _: True


class Dispatcher:
    """Knows which deliveries are at work, and brings each to its channel's lane."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        catalogue: Catalogue,
        sender: Sender,
        results: Results,
        wires: Wires,
        group: asyncio.TaskGroup,
    ) -> None:
        """Take the parts; all tasks run in `group`."""
        self._clock = clock
        self._sender = sender
        self.tally = sender.tally
        self._results = results
        self._wires = wires
        self._group = group
        self._loader: Batcher[UUID, Sending | None] = Batcher(
            lambda ids: _load(database, catalogue, ids),
            told="load_deliveries", limit=LOAD_BATCH, share=SHARED_BATCH,
        )  # fmt: skip
        self._postponer = Postponer(database, clock, wires.put_off, wires.arm)
        self._intake = Intake(self._bring, group)
        self._recording = Places(RECORDING)
        self._recorded = asyncio.Event()
        self._idle = asyncio.Event()
        self._at_work: dict[UUID, float] = {}  # and since when
        self._lanes: dict[str, Lane[Sending]] = {}
        self._closed = False

    def __contains__(self, delivery_id: object) -> bool:
        """Say whether this delivery is at work here."""
        return delivery_id in self._at_work

    def __len__(self) -> int:
        """Count the deliveries that are at work here, those that wait in lanes included."""
        return len(self._at_work)

    def oldest_s(self) -> float:
        """Return how long ago the one was taken up that has been here for longest."""
        now = self._clock.monotonic()
        return now - next(iter(self._at_work.values()), now)

    def full_channels(self) -> list[str]:
        """Return the channels of which the sweep need bring no more now."""
        return [channel for channel, lane in self._lanes.items() if lane.passed_over]

    def full_lines(self) -> list[tuple[str, str | None]]:
        """Return the channels, and whose lines there (None: all), that want no more from the turns now."""
        return [
            (channel, cast("str | None", tenant))
            for channel, lane in self._lanes.items()
            for tenant in lane.full_lines()
        ]

    def offer(self, delivery_id: UUID, tenant: Hashable, channel: str | None = None) -> None:
        """Take a delivery if there is room; what finds none, this or another, is found to be due later.

        Where its channel is known already, and has no room for it, it need not even be loaded.
        """
        if self._closed or delivery_id in self._at_work or not self._wires.ours(delivery_id):
            return
        lane = None if channel is None else self._lanes.get(channel)
        if lane is not None and not lane.would_take(tenant):
            return
        self._at_work[delivery_id] = self._clock.monotonic()
        out = self._intake.put(tenant, delivery_id)
        if out is not None:
            self._leave(out)

    async def admit(self, delivery_id: UUID, tenant: Hashable = None) -> None:
        """Take a delivery, as soon as there is room to load it; tenant None: the sweeps, as one of many."""
        await self._intake.room(tenant)
        self.offer(delivery_id, tenant)

    async def serve(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._loader.serve(), name="load-deliveries")
            group.create_task(self._postponer.serve(), name="postpone-deliveries")

    @property
    def loads(self) -> int:
        """How many batches of deliveries it has begun to load."""
        return self._loader.begun

    def moved(self) -> int | None:
        """As `Lanes.moved`, of what is being loaded: what providers have under way is theirs."""
        return self._loader.moved()

    async def load(self, delivery_id: UUID) -> Sending | None:
        """Return a delivery with its run, or None when there is none."""
        return await self._loader(delivery_id)

    def close(self) -> None:
        """Take nothing in any more, and begin nothing: what waits for a place is left to the next node."""
        self._closed = True
        for delivery_id in self._intake.clear():
            self._leave(delivery_id)
        for lane in self._lanes.values():
            for sending in lane.clear():
                self._leave(sending.delivery.id)

    async def emptied(self) -> None:
        """Wait until all that was begun has ended."""
        while self._at_work:
            self._idle.clear()
            await self._idle.wait()

    async def _bring(self, delivery_id: UUID, tenant: Hashable) -> None:
        """Load a delivery with its run, and put it into its lane."""
        taken = False
        try:
            sending = await self._loader(delivery_id, tenant)
            if sending is not None and self._goes_on(delivery_id) and self._sender.wanted(sending):
                out = self._lane(sending.delivery.channel).put(sending.delivery.tenant_id, sending)
                taken = out is not sending
                if taken and out is not None:
                    self._leave(out.delivery.id)
        except Exception as error:  # noqa: BLE001  (what one row holds must not end the others)
            _log.error("delivery.failed", delivery_id=str(delivery_id), error=repr(error))
            self._wires.put_off(delivery_id, jittered(_FAULT_AGAIN_S))
        finally:
            if not taken:
                self._leave(delivery_id)

    def _lane(self, channel: str) -> Lane[Sending]:
        if channel not in self._lanes:
            way, places = self._wires.way(channel)
            self._lanes[channel] = Lane(channel, way, places, self._send, self._group, self._wires.has_room)
        return self._lanes[channel]

    async def _load_again(self, delivery_id: UUID) -> Sending | None:
        """Load a delivery whose rows have moved on."""
        return await self._loader(delivery_id) if self._goes_on(delivery_id) else None

    def _goes_on(self, delivery_id: UUID) -> bool:
        """Whether anything may still be begun: nothing once closed, and nothing of what is another's now."""
        return not self._closed and self._wires.ours(delivery_id)

    async def _send(self, sending: Sending) -> bool:
        delivery, kept = sending.delivery, False
        try:
            if not self._wires.ours(delivery.id):
                return True
            answer = await self._sender.send(sending, self._load_again)
            if isinstance(answer, Outcome):
                await self._place_to_record(delivery.tenant_id)
                recording = self._record(answer, delivery.tenant_id, delivery.channel)
                kept = begin(self._group, recording, f"record-{delivery.id}")  # else it becomes unknown
            elif isinstance(answer, Shut):
                kept = not self._closed and self._wires.way(delivery.channel)[0].closed_for() > 0.0
                if not kept:  # the way is open to others: this one must wait by itself
                    owner = (delivery.channel, delivery.tenant_id, answer.whose)
                    await self._postponer.turn_away(delivery.id, owner, answer.for_s)
                return not kept
            elif isinstance(answer, datetime):
                self._wires.arm(delivery.id, answer)
            elif answer is not None:
                self._wires.put_off(delivery.id, answer)
        finally:
            if not kept:
                self._leave(delivery.id)
        return True

    async def _place_to_record(self, tenant: Hashable) -> None:
        """Take a place among the results that wait to be written; a tenant's own may be too many."""
        while self._recording.burden(tenant) is None:
            self._recorded.clear()
            await self._recorded.wait()
        self._recording.take(tenant)

    async def _record(self, outcome: Outcome, tenant: str, channel: str) -> None:
        """Write a result down, and see that what follows from it is looked at."""
        try:
            recorded = await self._results.record(outcome, tenant)
        except Exception as error:  # noqa: BLE001  (a fault of ours; the attempt becomes unknown)
            _log.error("delivery.failed", delivery_id=str(outcome.delivery_id), error=repr(error))
        else:
            if recorded.answer == "applied":
                self.tally.deliveries[channel, outcome.status, outcome.reason] += 1
            if recorded.nudged:
                self._wires.nudge(outcome.run_id, tenant)
            if outcome.next_attempt_at is not None:
                self._wires.arm(outcome.delivery_id, outcome.next_attempt_at)
        finally:
            self._recording.leave(tenant)
            self._recorded.set()
            self._leave(outcome.delivery_id)

    def _leave(self, delivery_id: UUID) -> None:
        self._at_work.pop(delivery_id, None)
        if not self._at_work:
            self._idle.set()


async def _load(database: Database, catalogue: Catalogue, ids: Sequence[UUID]) -> list[Sending | None]:
    """Load deliveries with their runs, in the order of `ids`."""
    rows = await deliveries.load_sendables(database, ids)
    found = list(rows.values())
    loaded = await load_runs(database, catalogue, [row.run_id for row in found])
    sendings = {row.id: Sending(row, run) for row, run in zip(found, loaded, strict=True) if run is not None}
    return [sendings.get(delivery_id) for delivery_id in ids]
