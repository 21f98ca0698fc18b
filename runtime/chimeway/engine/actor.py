"""What a run's actor does when it is woken: evaluate until nothing follows, then rest.

Save, then do: `Seam.evaluate` returns a decision only when it is durable, and only then is the wheel
armed and the dispatcher nudged. A crash between the two loses nothing: `wake_at` and
`next_attempt_at` stand in the rows, and the next sweep finds them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Final
from uuid import UUID

from chimeway.clock import Clock, jittered
from chimeway.engine.roster import Tenant
from chimeway.engine.seam import Committed, NotUnderstood, Refused, Rested, Seam
from chimeway.log import Events
from chimeway.progression.decision import STUCK_NOOPS
from chimeway.store import runs
from chimeway.store.faults import LeaseLost, fault_of, passes
from chimeway.store.pool import Database, unless_broken
from chimeway.store.runs import Loaded
from chimeway.store.text import fault_note
from chimeway.workflow.durations import known_zone

_log = Events()
_STALE_ROUNDS: Final = 50
_BUSY_FIRST_S: Final = 0.05
_BUSY_MOST_S: Final = 2.0
_STUCK_AGAIN_S: Final = 60.0
_DUE_AGAIN_S: Final = 5.0
_FAULT_AGAIN_S: Final = 10.0
_NOTE_CHARS: Final = 900
_RESUMED_BY_HAND: Final = frozenset({"run_held", "workflow_paused"})  # whoever resumes sees to the wake


@dataclass(frozen=True, slots=True)
class Wires:
    """What an actor tells others.

    `arm(run, at, tenant)` sets a wake or takes it away, `put_off(run, seconds, tenant)` has a due run wait
    for a while, `offer(delivery, tenant, channel)` nudges the dispatcher, `defer(delivery, at)` sets the wake
    of one that policy lets out only later, `doubt()` has our clock measured.
    """

    arm: Callable[[UUID, datetime | None, Tenant], None]
    put_off: Callable[[UUID, float, Tenant], None]
    offer: Callable[[UUID, str, str], None]
    defer: Callable[[UUID, datetime], None]
    doubt: Callable[[], None]


class Actor:
    """Plays runs."""

    def __init__(self, seam: Seam, database: Database, clock: Clock, wires: Wires) -> None:
        """Take the seam and the wires out."""
        self._seam = seam
        self._database = database
        self._clock = clock
        self._wires = wires
        self._busy: dict[UUID, float] = {}

    async def play(self, run_id: UUID, tenant: Tenant) -> None:
        """Evaluate a run until it rests; `tenant`: whose it is, as far as is known.

        Raises:
            LeaseLost: another node has taken over; the engine ends.
        """
        try:
            for _ in range(_STALE_ROUNDS):
                if not await self._once(run_id, tenant):
                    return
            self._later(run_id, _BUSY_MOST_S, tenant)
        except LeaseLost:
            raise
        except Exception as error:  # noqa: BLE001  (a run's own fault must not end its neighbours)
            await self._hold(run_id, error, tenant)

    async def _once(self, run_id: UUID, tenant: Tenant) -> bool:
        """Evaluate once; say whether to do so again at once."""
        match await self._seam.evaluate(run_id, self._clock.now, tenant):
            case Committed() as done:
                self._busy.pop(run_id, None)
                return self._act(run_id, done)
            case Rested() as rest:
                self._busy.pop(run_id, None)
                self._rest(run_id, rest)
                return False
            case Refused("stale"):
                _log.debug("decision.stale", run_id=str(run_id))
                return True
            case Refused("busy" | "refused" as answer):
                _log.debug("decision.put_off", run_id=str(run_id), answer=answer)
                if answer == "refused":
                    self._wires.doubt()
                pause = self._busy[run_id] = min(_BUSY_MOST_S, 2 * self._busy.get(run_id, _BUSY_FIRST_S / 2))
                self._later(run_id, pause, tenant)
                return False
            case Refused():
                self._busy.pop(run_id, None)
                return False
            case NotUnderstood(loaded):
                await self._not_understood(loaded)
                return False

    def _act(self, run_id: UUID, done: Committed) -> bool:
        """Do what the committed decision wants; say whether the run goes on at once."""
        decision, after = done.entry.decision, done.entry.decision.after
        _tell_of_zone(done.loaded.recipient.timezone or "UTC")
        _log.info(
            "decision.committed", run_id=str(run_id), workflow=done.loaded.workflow[0],
            kind=decision.kind, reason=after.status_reason, step=after.step,
        )  # fmt: skip
        tenant = done.loaded.recipient.tenant_id
        for plan in decision.planned:
            delivery_id, until = done.entry.delivery_ids[plan.visit], plan.birth.until
            if plan.birth.status == "pending":
                self._wires.offer(delivery_id, tenant, plan.channel)
            elif until is not None:
                self._wires.defer(delivery_id, until)
        if after.held_reason is not None:
            _log.warning("run.held", run_id=str(run_id), reason=after.held_reason)
            return False
        if after.wake_at is not None and after.wake_at <= self._clock.now():
            return True
        self._wires.arm(run_id, after.wake_at, tenant)
        return False

    def _rest(self, run_id: UUID, rest: Rested) -> None:
        """A noop writes nothing; what is due all the same must not be looked at in a circle."""
        wake_at, reason, tenant = rest.loaded.wake_at, rest.noop.reason, rest.loaded.recipient.tenant_id
        if reason in STUCK_NOOPS:
            _log.warning("run.stuck", run_id=str(run_id), reason=reason)
        if wake_at is None or reason in _RESUMED_BY_HAND:
            return
        if wake_at > self._clock.now():
            self._wires.arm(run_id, wake_at, tenant)
        else:
            self._later(run_id, _STUCK_AGAIN_S if reason in STUCK_NOOPS else _DUE_AGAIN_S, tenant)

    async def _not_understood(self, loaded: Loaded) -> None:
        """Leave the run to a node that can read its definition."""
        run_id, workflow = loaded.id, loaded.workflow[0]
        if not await runs.mark_incapable(self._database, run_id, "definition_format"):
            self._later(run_id, _BUSY_MOST_S, loaded.recipient.tenant_id)
            return
        _log.warning(
            "run.waiting_for_capable_node", run_id=str(run_id), workflow=workflow, needs="definition_format"
        )

    def _later(self, run_id: UUID, pause_s: float, tenant: Tenant) -> None:
        self._wires.put_off(run_id, jittered(pause_s), tenant)

    async def _hold(self, run_id: UUID, error: Exception, tenant: Tenant) -> None:
        """A decision that cannot be made or written is poison: hold its run, alone.

        Where the server fails by itself no run is to blame. And what cannot even be held is tried again.
        """
        note = fault_note(error)
        if passes(error):
            self._pass_over(run_id, note if fault_of(error) == "broken" else None, tenant)
            return
        try:
            held = await unless_broken(
                runs.hold, self._database, run_id, "poison_decision", note[:_NOTE_CHARS], patient=False
            )
        except Exception as worse:  # noqa: BLE001  (one run's row must not end the node)
            self._pass_over(run_id, f"{note}; not held: {fault_note(worse)}", tenant)
            return
        if held:
            _log.error("run.held", run_id=str(run_id), reason="poison_decision", error=note)
        else:
            self._later(run_id, _BUSY_MOST_S, tenant)

    def _pass_over(self, run_id: UUID, note: str | None, tenant: Tenant) -> None:
        if note is not None:
            _log.error("run.put_off", run_id=str(run_id), error=note)
        self._later(run_id, _BUSY_MOST_S if note is None else _FAULT_AGAIN_S, tenant)


@lru_cache(maxsize=1_000)
def _tell_of_zone(zone: str) -> None:
    """Say once that this machine lacks a zone that the database let in; it counts as UTC (`decide`)."""
    if not known_zone(zone):
        _log.warning("zone.unknown", zone=zone)
