"""The rows of some runs, and the transactions that change them: what `schema.sql` does, in plain Python.

A model of the database's behaviour, not a database: tables are dictionaries of frozen rows, and whoever
simulates calls one verb at a time. What matters of PostgreSQL is kept. Nobody sees what is written until its
transaction commits. The door of decisions and attempts is taken in the steps that `commit_decisions` and
`begin_attempts` have, and the world may move between them:

    called    its first statement begins
    locked    it has the run's lock: nobody else changes the run or its deliveries (else: `busy`)
    looked    a later statement, whose snapshot is younger than the lock, has looked for signals
    written   guards checked, rows written, committed, lock given back

Signals are committed without any lock, so some are between `looked` and `written`: these come too late for
this door, and only these. Each guard can be taken away (`Guards`), to see that it is missed.

Each verb leaves in `told` what became durable, in the words of the reference model.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, Final, Literal, TypeAlias
from uuid import UUID

from chimeway.progression.decision import Decision, PlannedDelivery, Transition
from chimeway.progression.listens import outcome_moves
from chimeway.progression.outcome import outcome_of
from chimeway.progression.snapshot import LIVE, TERMINAL, Delivery, Mail, Snapshot
from chimeway.testing.simulation.facts import Born, Decided, Fact, Ordered, Routed, Said
from chimeway.testing.simulation.tables import (
    IN_FORCE,
    Broken,
    Entry,
    Guards,
    Letter,
    MessageRow,
    RunRow,
    SignalRow,
    message_id,
)  # fmt: skip
from chimeway.workflow.definition import Definition
from chimeway.workflow.encode import signal_types

Answer: TypeAlias = Literal["applied", "begun", "stale", "unseen", "busy", "refused", "repeat"]
AHEAD: Final = timedelta(milliseconds=50)
OPEN: Final = ("pending", "failed", "deferred", "digested")


@dataclass(slots=True)
class Rows:
    """All tables. `signals` are in the order of their commits; `locks` says who has a run's lock."""

    definition: Definition
    clock: datetime
    guards: Guards = IN_FORCE
    paused: bool = False
    arrival: int = 0
    signals: dict[int, SignalRow] = field(default_factory=dict)
    routed: frozenset[int] = frozenset()
    runs: dict[UUID, RunRow] = field(default_factory=dict)
    messages: dict[UUID, dict[int, MessageRow]] = field(default_factory=dict)
    locks: dict[UUID, int] = field(default_factory=dict)
    told: list[tuple[UUID | None, Fact]] = field(default_factory=list)
    types: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        """See what the definition listens to."""
        self.types = frozenset(signal_types(self.definition))

    def copy(self) -> "Rows":
        """Return rows that may go another way; `told` is not taken along."""
        return replace(
            self,
            signals=dict(self.signals),
            runs=dict(self.runs),
            messages={run_id: dict(rows) for run_id, rows in self.messages.items()},
            locks=dict(self.locks),
            told=[],
        )

    @property
    def key(self) -> tuple[object, ...]:
        """All of the rows that the future depends on; hashable."""
        runs = tuple((_run_key(row), _message_key(self.messages[row.run.id])) for row in self.runs.values())
        return (runs, tuple(self.signals), self.routed, self.clock, self.paused)

    def next_arrival(self) -> int:
        """Return the next number of the one sequence: taken when something is written, not when committed."""
        self.arrival += 1
        return self.arrival

    # What producers do: the commit of what they have written.

    def begin(self, row: RunRow) -> None:
        """Commit a run."""
        self.runs[row.run.id], self.messages[row.run.id] = row, {}

    def say(self, row: SignalRow) -> None:
        """Commit a signal."""
        self.signals[row.arrival] = row
        said = Said(
            signal=str(row.id), type=row.type, arrival=row.arrival, at=row.created_at, actor=row.actor,
            payload=row.payload, tenant=row.tenant, run=None if row.run_id is None else str(row.run_id),
        )  # fmt: skip
        self.told.append((None, said))

    # What is read.

    def snapshot(self, run_id: UUID) -> Snapshot:
        """Return what a decision looks at."""
        row, messages = self.runs[run_id], self.messages[run_id]
        return Snapshot(
            run=row.run,
            definition=self.definition,
            data=row.data,
            zone="Europe/Berlin",
            mail=tuple(
                Mail(letter.number, letter.signal.id, letter.signal.type, letter.signal.payload,
                     letter.signal.created_at)
                for letter in row.letters if letter.consumed_by is None
            ),
            delivery=messages[row.run.visit].delivery if row.run.visit in messages else None,
            delivery_ids={d.delivery.step_id: str(d.delivery.id) for _, d in sorted(messages.items())},
            workflow_paused=self.paused,
        )  # fmt: skip

    def wakes(self, run_id: UUID) -> bool:
        """Say whether some wake finds this run now: its time, unseen mail, or a signal to route (I9)."""
        row = self.runs[run_id]
        if row.run.state not in LIVE or row.run.held_reason is not None or self.paused:
            return False
        at = row.run.wake_at
        return (
            (at is not None and at <= self.clock)
            or row.run.mailbox_count > row.mailbox_seen
            or any(signal.arrival not in self.routed for signal in self.look(run_id))
        )

    # The door.

    def lock(self, run_id: UUID, who: int) -> bool:
        """Lock a run; False where somebody else has."""
        if self.guards.lock and run_id in self.locks:
            return False
        self.locks[run_id] = who
        return True

    def unlock(self, run_id: UUID, who: int) -> None:
        """Give a lock back."""
        if self.locks.get(run_id) == who:
            del self.locks[run_id]

    def look(self, run_id: UUID, up_to: int | None = None) -> tuple[SignalRow, ...]:
        """Return the signals that the run's mailbox still lacks, in their order: `route_for_runs`.

        `up_to`: of those only that were committed so early; None: of all.
        """
        row = self.runs[run_id]
        run, guards = row.run, self.guards
        if run.state not in LIVE:
            return ()
        has, types = {letter.signal.arrival for letter in row.letters}, signal_types(self.definition)
        found = [
            signal
            for signal in (
                list(self.signals.values()) if up_to is None else list(self.signals.values())[:up_to]
            )
            if signal.arrival not in has
            and (signal.actor == run.recipient_id or not guards.whose)
            and (signal.tenant == run.tenant_id or not guards.whose)
            and (signal.arrival > row.arrival or not guards.arrival)
            and signal.run_id in (None, run.id)
            and signal.type in (types if guards.ahead else run.pending_signals)
            and (signal.arrival not in self.routed or (run.visit == 0 and guards.early))
        ]
        return tuple(sorted(found, key=lambda signal: signal.arrival))

    def put(self, run_id: UUID, found: tuple[SignalRow, ...]) -> RunRow:
        """Number signals into the mailbox; the caller has the run's lock."""
        row = self.runs[run_id]
        for signal in found:
            number = row.run.mailbox_count + 1
            row = replace(
                row,
                run=replace(row.run, mailbox_count=number),
                letters=(*row.letters, Letter(number, signal)),
            )
            self.told.append((run_id, Routed(number, str(signal.id))))
        self.runs[run_id] = row
        return row

    def unseen(self, looked: int) -> frozenset[str]:
        return frozenset(str(signal.id) for signal in islice(self.signals.values(), looked, None))

    def commit_decision(
        self, run_id: UUID, entry: Entry, found: tuple[SignalRow, ...], looked: int
    ) -> Answer:
        """Guard, write and commit. `found` is what was looked up when there were `looked` signals."""
        row, decision = self.put(run_id, found), entry.decision
        if self._holds(row, decision):
            self._write(row, entry)
            births = {
                plan.visit: Born(
                    str(message_id(run_id, plan.visit)), plan.birth.status, plan.birth.suppression_reason
                )
                for plan in decision.planned
            }
            self.told.append((run_id, Decided(decision.now, self.clock, births, self.unseen(looked))))
            return "applied"
        if decision.now > self.clock + AHEAD:
            return "refused"
        return "applied" if entry.id in row.decisions else "stale"

    def _holds(self, row: RunRow, decision: Decision) -> bool:
        run, seen, guards = row.run, decision.seen, self.guards
        current = self.messages[run.id].get(run.visit)
        delivery = (current.delivery.id, current.delivery.revision) if current else (None, None)
        return (
            (run.state in LIVE or not guards.live)
            and (run.held_reason is None or not guards.held)
            and not (self.paused and guards.paused)
            and (run.revision == seen.revision or not guards.revision)
            and (run.mailbox_count == seen.mailbox or not guards.mailbox)
            and (delivery == (seen.delivery_id, seen.delivery_revision) or not guards.delivery)
            and (decision.now <= self.clock + AHEAD or not guards.clock)
        )

    def _write(self, row: RunRow, entry: Entry) -> None:
        decision, after, run = entry.decision, entry.decision.after, row.run
        consumed = decision.consumed if self.guards.consumed else ()
        rows = self.messages[run.id]
        for cancelled in decision.cancelled:
            if cancelled.reason == "superseded" and not self.guards.supersedes:
                continue
            each = rows[cancelled.visit]
            if each.delivery.status not in TERMINAL:
                self.change(run.id, cancelled.visit, _ended(each, cancelled.reason, self.clock))
        for plan in decision.planned:
            if plan.visit in rows:
                raise Broken(f"I2: two deliveries of visit {plan.visit} of one run")
            rows[plan.visit] = self._inserted(run.id, plan)
        if decision.kind == "stopped":
            self._stop_messages(run.id)
        letters = tuple(
            replace(letter, consumed_by=entry.id) if letter.number in consumed else letter
            for letter in row.letters
        )
        self.runs[run.id] = replace(
            row,
            run=replace(
                run, state=after.state, step=after.step, visit=after.visit, revision=run.revision + 1,
                status_reason=after.status_reason, status_context=_named(run.id, after.status_context),
                pending_signals=after.pending_signals, wake_at=after.wake_at, entered_at=after.entered_at,
                armed_step=after.armed_step, armed_entered_at=after.armed_entered_at,
                held_reason=after.held_reason,
            ),
            letters=letters,
            mailbox_seen=decision.seen.mailbox,
            transitions=(*row.transitions, *((entry.id, _with_ids(run.id, t)) for t in decision.transitions)),
            decisions=row.decisions | {entry.id},
        )  # fmt: skip

    def _inserted(self, run_id: UUID, plan: PlannedDelivery) -> MessageRow:
        birth = plan.birth
        due = {"pending": self.clock, "deferred": birth.until}.get(birth.status)
        delivery = Delivery(
            id=message_id(run_id, plan.visit), visit=plan.visit, step_id=plan.step_id, status=birth.status,
            revision=0, suppression_reason=birth.suppression_reason, terminal_at=plan.terminal_at,
            last_error_class=birth.error_class,
        )  # fmt: skip
        return MessageRow(delivery, due)

    def change(self, run_id: UUID, visit: int, row: MessageRow) -> None:
        delivery = replace(row.delivery, revision=self.messages[run_id][visit].delivery.revision + 1)
        self.messages[run_id][visit] = replace(row, delivery=delivery)

    def _stop_messages(self, run_id: UUID) -> None:
        for visit, each in list(self.messages[run_id].items()):
            if each.delivery.status == "dispatched":
                stops = self.guards.no_repeat
                self.change(run_id, visit, replace(each, stop_requested=stops, next_attempt_at=None))
            elif each.delivery.status in OPEN and self.guards.cancels:
                self.change(run_id, visit, _ended(each, "run_stopped", self.clock))

    def nudge(self, run_id: UUID, visit: int) -> None:
        """Wake a run that stands at this message, where that may move it."""
        row, delivery = self.runs[run_id], self.messages[run_id][visit].delivery
        ended = delivery.status in TERMINAL
        outcome = outcome_of(delivery.status, delivery.suppression_reason, delivery.failed_attempts)
        moves = outcome_moves(self.definition, delivery.step_id, outcome, terminal=ended)
        if self.guards.wakes and row.run.visit == visit and row.run.state == "active" and moves:
            self.wake(row, self.clock)

    def wake(self, row: RunRow, at: datetime | None) -> None:
        """Have a run be looked at by then."""
        before = row.run.wake_at
        at = at if before is None or at is None else min(before, at)
        self.runs[row.run.id] = replace(row, run=replace(row.run, wake_at=at))

    # What operators do; the run's lock is free.

    def cancel(self, run_id: UUID) -> None:
        """Stop a live run."""
        row = self.runs[run_id]
        self._stop_messages(run_id)
        row = _said(row, "cancelled_by_request", "stopped", "cancelled_by_request", {})
        run = replace(row.run, pending_signals=(), wake_at=None, armed_step=None, held_reason=None)
        self.runs[run_id] = replace(row, run=replace(run, armed_entered_at=None))
        self.told.append((run_id, Ordered("cancel")))

    def hold(self, run_id: UUID, *, held: bool) -> None:
        """Hold a live run, or let it go on."""
        row = self.runs[run_id]
        run = row.run
        row = _said(
            row, "run_held" if held else "run_resumed", run.state, run.status_reason, run.status_context
        )
        run = replace(row.run, held_reason="held_by_request" if held else None)
        self.runs[run_id] = replace(row, run=run)
        if not held and run.state == "active" and run.wake_at is None and run.visit in self.messages[run_id]:
            self.nudge(run_id, run.visit)
        self.told.append((run_id, Ordered("hold" if held else "resume")))

    def pause(self, *, paused: bool) -> None:
        """Pause the workflow, or let it go on."""
        self.paused = paused
        self.told.append((None, Ordered("pause" if paused else "unpause")))

    # What the router does.

    def route(self) -> bool:
        """Route all signals to all runs that nobody has locked; say whether anything was written."""
        before = self.routed
        many = len(self.told)
        for run_id in self.runs:
            if run_id not in self.locks:
                self.put(run_id, self.look(run_id))
        waited_for = {signal.arrival for run_id in self.runs for signal in self.look(run_id)}
        self.routed = frozenset(self.signals) - waited_for if self.guards.ahead else frozenset(self.signals)
        return self.routed != before or len(self.told) > many


def _ended(row: MessageRow, reason: str, at: datetime) -> MessageRow:
    delivery = replace(row.delivery, status="cancelled", suppression_reason=reason, terminal_at=at)
    return replace(row, delivery=delivery, next_attempt_at=None)


def _named(run_id: UUID, context: Mapping[str, Any]) -> Mapping[str, Any]:
    visit = context.get("anchor_delivery_visit")
    if visit is None or context.get("anchor_delivery_id") != f"visit:{visit}":
        return context
    return {**context, "anchor_delivery_id": str(message_id(run_id, visit))}


def _with_ids(run_id: UUID, transition: Transition) -> Transition:
    return replace(transition, context=_named(run_id, transition.context))


def _said(row: RunRow, reason: Any, state: Any, status: str, context: Mapping[str, Any]) -> RunRow:
    """Return the run after a transition that people write."""
    run = row.run
    written = Transition(reason, run.state, state, run.step, run.step, run.visit, status, context)
    run = replace(run, state=state, status_reason=status, status_context=context, revision=run.revision + 1)
    return replace(row, run=run, transitions=(*row.transitions, ("by hand", written)))


def _run_key(row: RunRow) -> tuple[object, ...]:
    run, context = row.run, row.run.status_context
    letters = tuple((letter.signal.arrival, letter.consumed_by is None) for letter in row.letters)
    place = (run.state, run.step, run.visit, run.revision, run.wake_at, run.entered_at, run.held_reason)
    counts = (run.mailbox_count, row.mailbox_seen, str(context.get("repeats")), context.get("due_at"))
    return (place, counts, letters, run.armed_step, run.armed_entered_at)


def _message_key(messages: Mapping[int, MessageRow]) -> tuple[object, ...]:
    return tuple(
        (visit, each.delivery, each.next_attempt_at, each.stop_requested, each.attempts, each.told)
        for visit, each in messages.items()
    )
