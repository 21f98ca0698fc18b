"""One run kept on paper: the rows of one journey as frozen values, with no database.

What the ledger, the router and the dispatcher do to a run's rows, in its simplest form, so that
journeys can be rehearsed and the core be driven by tests. It decides nothing: that is `decide`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, assert_never
from uuid import UUID

from chimeway.progression.decision import Birth, Decision, PlannedDelivery, Transition
from chimeway.progression.outcome import is_terminal
from chimeway.progression.snapshot import Delivery, Mail, Run, Snapshot
from chimeway.workflow.calendar import USUAL_DAYS, WorkingCalendar
from chimeway.workflow.definition import Definition, Json, Outcome

STARTED = Transition(
    reason="workflow_started",
    from_state="active",
    to_state="active",
    from_step=None,
    to_step=None,
    visit=0,
    status_reason="workflow_started",
    context={},
)
"""What the trigger writes, in SQL."""


@dataclass(frozen=True, slots=True)
class Paper:
    """The rows of one run. `mail` is what is unconsumed; `deliveries` are by visit."""

    definition: Definition
    run: Run
    data: Mapping[str, Any] = field(default_factory=dict)
    zone: str = "UTC"
    transitions: tuple[Transition, ...] = (STARTED,)
    mail: tuple[Mail, ...] = ()
    deliveries: Mapping[int, Delivery] = field(default_factory=dict)
    paused: bool = False
    working: WorkingCalendar = USUAL_DAYS

    @property
    def snapshot(self) -> Snapshot:
        """What a decision looks at, as the store would load it."""
        latest = {row.step_id: str(row.id) for _, row in sorted(self.deliveries.items())}
        return Snapshot(
            run=self.run,
            definition=self.definition,
            data=self.data,
            zone=self.zone,
            mail=self.mail,
            delivery=self.deliveries.get(self.run.visit),
            delivery_ids=latest,
            workflow_paused=self.paused,
            working=self.working,
        )

    def latest_delivery(self, step_id: str) -> Delivery | None:
        """Return the delivery of the latest visit to this step, or None."""
        of_step = [row for row in self.deliveries.values() if row.step_id == step_id]
        return max(of_step, key=lambda row: row.visit, default=None)


def triggered(
    definition: Definition,
    now: datetime,
    *,
    data: Mapping[str, Any],
    zone: str = "UTC",
    working: WorkingCalendar | None = None,
) -> Paper:
    """Return the rows that a trigger writes for one recipient."""
    run = Run(
        id=UUID(int=1),
        tenant_id="default",
        recipient_id="recipient",
        state="active",
        step=None,
        visit=0,
        revision=0,
        mailbox_count=0,
        status_reason="workflow_started",
        status_context={},
        wake_at=now,
    )
    calendar = USUAL_DAYS if working is None else working
    return Paper(definition=definition, run=run, data=data, zone=zone, working=calendar)


def signalled(paper: Paper, signal_type: str, payload: Json, at: datetime) -> Paper:
    """Return the rows after a signal was routed into the run's mailbox."""
    number = paper.run.mailbox_count + 1
    mail = Mail(number, UUID(int=(2 << 64) + number), signal_type, payload, at)
    return replace(paper, run=replace(paper.run, mailbox_count=number), mail=(*paper.mail, mail))


def attempted(paper: Paper, visit: int, outcome: Outcome, at: datetime) -> Paper:
    """Return the rows after one attempt, or one feedback, gave the delivery of a visit an outcome.

    A delivery that has ended stays as it is, but for a success that is found to have bounced. One
    that was under way when its run stopped is not tried again: any failure ends it as `run_stopped`.
    """
    row = paper.deliveries[visit]
    if is_terminal(row.status) and not (row.status == "succeeded" and outcome == "bounced"):
        return paper
    changed = _with_outcome(row, outcome, at)
    if paper.run.state == "stopped" and row.status == "dispatched" and changed.status != "succeeded":
        changed = replace(changed, status="cancelled", suppression_reason="run_stopped", terminal_at=at)
    return _changed(paper, changed)


def let_go(paper: Paper, visit: int) -> Paper:
    """Return the rows after the time of a deferred delivery has come, and policy has let it go."""
    return _changed(paper, replace(paper.deliveries[visit], status="pending"))


def suppressed(paper: Paper, visit: int, reason: str, at: datetime) -> Paper:
    """Return the rows after policy has ended a delivery unsent."""
    row = paper.deliveries[visit]
    return _changed(paper, replace(row, status="suppressed", suppression_reason=reason, terminal_at=at))


def under_way(paper: Paper, visit: int) -> Paper:
    """Return the rows after the first attempt row of a visit's delivery was written."""
    row = paper.deliveries[visit]
    if is_terminal(row.status):
        return paper
    return _changed(paper, replace(row, status="dispatched", attempts=row.attempts + 1))


def _with_outcome(row: Delivery, outcome: Outcome, at: datetime) -> Delivery:
    attempts = row.attempts if row.status == "dispatched" else row.attempts + 1
    match outcome:
        case "delivered":
            ended = replace(row, status="succeeded", attempts=attempts, terminal_at=at)
            return replace(ended, last_outcome="succeeded", last_error_class=None)
        case "suppressed":
            return replace(row, status="suppressed", suppression_reason="no_address", terminal_at=at)
        case "temporary_failure":
            failed = replace(row, status="failed", attempts=attempts)
            return _failed(failed, "transient")
        case "retries_exhausted" | "permanent_failure" | "bounced":
            ended = replace(row, status="cancelled", suppression_reason=outcome, terminal_at=at)
            error_class = "transient" if outcome == "retries_exhausted" else outcome
            return _failed(replace(ended, attempts=attempts), error_class)
        case _:
            assert_never(outcome)


def _failed(row: Delivery, error_class: str) -> Delivery:
    return replace(
        row,
        failed_attempts=row.failed_attempts + 1,
        last_outcome="failed",
        last_error_class=error_class.removesuffix("_failure"),
    )


def _changed(paper: Paper, row: Delivery) -> Paper:
    row = replace(row, revision=row.revision + 1)
    return replace(paper, deliveries={**paper.deliveries, row.visit: row})


def written_down(paper: Paper, decision: Decision) -> Paper:
    """Return the rows after a decision was written, as the ledger does in one transaction.

    Raises:
        AssertionError: the decision breaks a rule that the ledger's guards and keys enforce.
    """
    if decision.seen.revision != paper.run.revision or paper.run.state not in ("active", "waiting"):
        raise AssertionError("a decision was made on other rows than these")
    deliveries = dict(paper.deliveries)
    for plan in decision.planned:
        if plan.visit in deliveries:
            raise AssertionError(f"two deliveries for visit {plan.visit}")
        deliveries[plan.visit] = _inserted(plan)
    for cancelled in decision.cancelled:
        row = deliveries[cancelled.visit]
        deliveries[cancelled.visit] = _cancelled(row, cancelled.reason, decision.now)
    if decision.kind == "stopped":
        deliveries = {
            visit: row
            if is_terminal(row.status) or row.status == "dispatched"
            else _cancelled(row, "run_stopped", decision.now)
            for visit, row in deliveries.items()
        }
    return replace(
        paper,
        run=_run_after(paper.run, decision),
        transitions=paper.transitions + tuple(_with_ids(t) for t in decision.transitions),
        mail=tuple(mail for mail in paper.mail if mail.number not in decision.consumed),
        deliveries=deliveries,
    )


def _run_after(run: Run, decision: Decision) -> Run:
    after = decision.after
    return replace(
        run,
        state=after.state,
        step=after.step,
        visit=after.visit,
        revision=run.revision + 1,
        status_reason=after.status_reason,
        status_context=_context_with_id(after.status_context),
        pending_signals=after.pending_signals,
        wake_at=after.wake_at,
        entered_at=after.entered_at,
        armed_step=after.armed_step,
        armed_entered_at=after.armed_entered_at,
        held_reason=after.held_reason,
    )


def delivery_id(visit: int) -> UUID:
    """Return the id that the delivery of a visit has on paper."""
    return UUID(int=(1 << 64) + visit)


def _with_ids(transition: Transition) -> Transition:
    return replace(transition, context=_context_with_id(transition.context))


def _context_with_id(context: Mapping[str, Any]) -> Mapping[str, Any]:
    visit = context.get("anchor_delivery_visit")
    if visit is None or context.get("anchor_delivery_id") != f"visit:{visit}":
        return context
    return {**context, "anchor_delivery_id": str(delivery_id(visit))}


def _inserted(plan: PlannedDelivery) -> Delivery:
    birth: Birth = plan.birth
    return Delivery(
        id=delivery_id(plan.visit),
        visit=plan.visit,
        step_id=plan.step_id,
        status=birth.status,
        revision=0,
        suppression_reason=birth.suppression_reason,
        terminal_at=plan.terminal_at,
        last_error_class=birth.error_class,
    )


def _cancelled(row: Delivery, reason: str, at: datetime) -> Delivery:
    if is_terminal(row.status):
        raise AssertionError(f"the delivery of visit {row.visit} has ended already")
    return replace(
        row,
        status="cancelled",
        suppression_reason=reason,
        terminal_at=at,
        revision=row.revision + 1,
    )
