"""What a run's actor is, and what it does when it has been evaluated: once more, or rest.

Save, then do: an evaluation is a decision only when it is durable, and only then is the wheel
armed and the dispatcher nudged. A crash between the two loses nothing: `wake_at` and
`next_attempt_at` stand in the rows, and the next sweep finds them.
"""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, Final, TypeAlias
from uuid import UUID

from chimeway.clock import Clock, jittered
from chimeway.engine.seam import Committed, Evaluation, NotUnderstood, Refused, Rested
from chimeway.log import Events
from chimeway.progression.decision import STUCK_NOOPS, Decision
from chimeway.progression.snapshot import Snapshot
from chimeway.store import runs
from chimeway.store.faults import fault_of, passes
from chimeway.store.pool import Database, unless_broken
from chimeway.store.runs import Loaded
from chimeway.store.text import fault_note
from chimeway.tally import Tally
from chimeway.workflow.definition import NotifyAction
from chimeway.workflow.durations import known_zone

Tenant: TypeAlias = str | None
"""Whose a run is; None where it is not known: these share as one."""

_log = Events()
_STALE_ROUNDS: Final = 50
_BUSY_FIRST_S: Final = 0.05
_BUSY_MOST_S: Final = 2.0
_STUCK_AGAIN_S: Final = 60.0
_DUE_AGAIN_S: Final = 5.0
_FAULT_AGAIN_S: Final = 10.0
_NOTE_CHARS: Final = 900
_NOT_SENT_YET: Final = frozenset({"pending", "failed", "deferred", "digested"})
_RESUMED_BY_HAND: Final = frozenset({"run_held", "workflow_paused"})  # whoever resumes sees to the wake


@dataclass(slots=True, eq=False)
class Actor:
    """A run that has something to do: it is evaluated until it rests."""

    run_id: UUID
    owner: Tenant
    since: float
    """When it was taken up, on the monotonic clock."""
    woken: bool = True
    """Whether somebody has woken it after its last look at the rows began."""
    rounds: int = 0
    """How often it has been evaluated."""


@dataclass(frozen=True, slots=True)
class Wires:
    """What an actor tells others.

    `arm(run, at, tenant)` sets a wake or takes it away, `put_off(run, seconds, tenant)` has a due run wait
    for a while, `offer(delivery, tenant, channel)` nudges the dispatcher, `defer(delivery, at)` sets the wake
    of one that policy lets out only later, `doubt()` has our clock measured, `put_aside(run)` has one with
    mail, that may not act on it, looked at when the pause of its workflow is over.
    """

    arm: Callable[[UUID, datetime | None, Tenant], None]
    put_off: Callable[[UUID, float, Tenant], None]
    offer: Callable[[UUID, str, str], None]
    defer: Callable[[UUID, datetime], None]
    doubt: Callable[[], None]
    put_aside: Callable[[UUID], None]


Slowly: TypeAlias = Coroutine[Any, Any, None]
"""What still is to be done before an actor may rest."""


class Acting:
    """Does what follows from evaluations."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        wires: Wires,
        tally: Tally | None = None,
        traced: Callable[[Committed], None] | None = None,
    ) -> None:
        """Take the wires out, where it is counted what was done, and who makes traces of it, if any."""
        self._traced = traced
        self._database = database
        self._clock = clock
        self._wires = wires
        self._tally = Tally() if tally is None else tally
        self._busy: dict[UUID, float] = {}

    def follow(self, actor: Actor, found: Evaluation | Exception) -> bool | Slowly:
        """Do what follows from an evaluation.

        Returns:
            whether the run is to be evaluated again at once; or what must be done before it rests.
        """
        actor.rounds += 1
        try:
            again = self._followed(actor, found)
        except Exception as error:  # noqa: BLE001  (a run's own fault must not end its neighbours)
            return self._hold(actor, error)
        if again is True and actor.rounds >= _STALE_ROUNDS:
            self._later(actor, _BUSY_MOST_S)
            return False
        return again

    def _followed(self, actor: Actor, found: Evaluation | Exception) -> bool | Slowly:
        match found:
            case Committed() as done:
                self._busy.pop(actor.run_id, None)
                return self._act(actor, done)
            case Rested() as rest:
                self._busy.pop(actor.run_id, None)
                self._rest(actor, rest)
                return False
            case Refused("stale"):
                _log.debug("decision.stale", run_id=str(actor.run_id))
                return True
            case Refused("busy" | "refused" as answer):
                self._refused(actor, answer)
                return False
            case Refused():
                self._busy.pop(actor.run_id, None)
                return False
            case NotUnderstood(loaded):
                return self._not_understood(actor, loaded)
            case error:
                return self._hold(actor, error)

    def _act(self, actor: Actor, done: Committed) -> bool:
        """Do what the committed decision wants; say whether the run goes on at once."""
        run_id, decision, after = actor.run_id, done.entry.decision, done.entry.decision.after
        _tell_of_zone(done.loaded.recipient.timezone or "UTC")
        _log.info(
            "decision.committed", run_id=str(run_id), workflow=done.loaded.workflow[0],
            kind=decision.kind, reason=after.status_reason, step=after.step,
        )  # fmt: skip
        tenant = done.loaded.recipient.tenant_id
        self._count(done)
        if self._traced is not None:
            self._traced(done)
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

    def _count(self, done: Committed) -> None:
        """Count a decision that is durable, how late it is, and what was born with it and has ended."""
        decision, due, tally = done.entry.decision, done.loaded.wake_at, self._tally
        tally.decisions[decision.kind] += 1
        snapshot = done.loaded.snapshot
        assert snapshot is not None, "what is decided about was understood"
        if due is not None and due <= decision.now:
            late_s = (self._clock.now() - due).total_seconds()
            (tally.late_waits if snapshot.run.visit else tally.late_starts).add(late_s)
        tally.mailboxes.add(len(snapshot.mail))
        for plan in decision.planned:
            if plan.birth.status != "pending":
                tally.deliveries[plan.channel, plan.birth.status, plan.birth.reason] += 1
        if (ended := _unsent(snapshot, decision)) is not None:
            tally.deliveries[ended[0], "cancelled", ended[1]] += 1

    def _refused(self, actor: Actor, answer: str) -> None:
        _log.debug("decision.put_off", run_id=str(actor.run_id), answer=answer)
        if answer == "refused":
            self._wires.doubt()
        pause = min(_BUSY_MOST_S, 2 * self._busy.get(actor.run_id, _BUSY_FIRST_S / 2))
        self._busy[actor.run_id] = pause
        self._later(actor, pause)

    def _rest(self, actor: Actor, rest: Rested) -> None:
        """A noop writes nothing; what is due all the same must not be looked at in a circle."""
        wake_at, reason = rest.loaded.wake_at, rest.noop.reason
        self._tally.noops[reason] += 1
        if reason in STUCK_NOOPS:
            _log.warning("run.stuck", run_id=str(actor.run_id), reason=reason)
        if reason == "workflow_paused" and _has_mail(rest.loaded):
            self._wires.put_aside(actor.run_id)
        if wake_at is None or reason in _RESUMED_BY_HAND:
            return
        if wake_at > self._clock.now():
            self._wires.arm(actor.run_id, wake_at, rest.loaded.recipient.tenant_id)
        else:
            self._later(actor, _STUCK_AGAIN_S if reason in STUCK_NOOPS else _DUE_AGAIN_S)

    async def _not_understood(self, actor: Actor, loaded: Loaded) -> None:
        """Leave the run to a node that can read its definition."""
        try:
            marked = await runs.mark_incapable(self._database, actor.run_id, "definition_format")
        except Exception as error:  # noqa: BLE001  (a run's own fault must not end its neighbours)
            await self._hold(actor, error)
            return
        if not marked:
            self._later(actor, _BUSY_MOST_S)
            return
        _log.warning(
            "run.waiting_for_capable_node", run_id=str(actor.run_id), workflow=loaded.workflow[0],
            needs="definition_format",
        )  # fmt: skip

    def _later(self, actor: Actor, pause_s: float) -> None:
        self._wires.put_off(actor.run_id, jittered(pause_s), actor.owner)

    async def _hold(self, actor: Actor, error: Exception) -> None:
        """A decision that cannot be made or written is poison: hold its run, alone.

        Where the server fails by itself no run is to blame. And what cannot even be held is tried again.
        """
        note = fault_note(error)
        if passes(error):
            self._pass_over(actor, note if fault_of(error) == "broken" else None)
            return
        try:
            held = await unless_broken(
                runs.hold, self._database, actor.run_id, "poison_decision", note[:_NOTE_CHARS]
            )
        except Exception as worse:  # noqa: BLE001  (one run's row must not end the node)
            self._pass_over(actor, f"{note}; not held: {fault_note(worse)}")
            return
        if held:
            _log.error("run.held", run_id=str(actor.run_id), reason="poison_decision", error=note)
        else:
            self._later(actor, _BUSY_MOST_S)

    def _pass_over(self, actor: Actor, note: str | None) -> None:
        if note is not None:
            _log.error("run.put_off", run_id=str(actor.run_id), error=note)
        self._later(actor, _BUSY_MOST_S if note is None else _FAULT_AGAIN_S)


def _has_mail(loaded: Loaded) -> bool:
    """Say whether there is mail in the mailbox that no written decision has seen."""
    if loaded.snapshot is None:
        return False
    return loaded.snapshot.run.mailbox_count - len(loaded.foretold) > loaded.mailbox_seen


@lru_cache(maxsize=1_000)
def _tell_of_zone(zone: str) -> None:
    """Say once that this machine lacks a zone that the database let in; it counts as UTC (`decide`)."""
    if not known_zone(zone):
        _log.warning("zone.unknown", zone=zone)


def _unsent(snapshot: Snapshot, decision: Decision) -> tuple[str, str] | None:
    """Return channel and reason of the message that a decision takes back: a stop, or a step left behind."""
    delivery = snapshot.delivery
    if delivery is None or delivery.status not in _NOT_SENT_YET:
        return None
    step = snapshot.definition.step(delivery.step_id)
    by_ledger = "run_stopped" if decision.kind == "stopped" else None  # in the same transaction
    reason = next((one.reason for one in decision.cancelled if one.visit == delivery.visit), by_ledger)
    if reason is None or step is None or not isinstance(step.action, NotifyAction):
        return None
    return step.action.channel, reason
