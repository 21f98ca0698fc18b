"""A notify step: its delivery, and where the run goes once something became of it.

Rows 7 and 11 to 16 of semantics §5. Outcomes come from the delivery row only (T-25-04).
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, assert_never

from chimeway.progression.decision import Births, CancelledDelivery, NoopReason, PlannedDelivery
from chimeway.progression.instants import written
from chimeway.progression.outcome import is_terminal
from chimeway.progression.repeats import counted, onward
from chimeway.progression.working import CurrentDelivery, Leave, Move, Rest, Working
from chimeway.workflow.definition import (
    END,
    NotifyAction,
    OnOutcome,
    Outcome,
    Step,
    StopOn,
    WaitUntil,
)
from chimeway.workflow.durations import parse_duration, seconds_after


def enter_notify(draft: Working, step: Step, action: NotifyAction, births: Births) -> Working:
    """Plan the delivery of the visit that has just begun: one a visit, whatever comes of it (I2).

    The step's latest delivery is now one whose id nobody outside can know yet, so a condition that
    names it matches nothing in the rest of this decision.
    """
    birth = births(step, draft.visit)
    delivery = CurrentDelivery.born(draft.visit, birth, draft.now)
    planned = PlannedDelivery(
        visit=draft.visit,
        step_id=step.id,
        channel=action.channel,
        render_key=action.render_key,
        birth=birth,
        terminal_at=delivery.terminal_at,
    )
    draft.delivery = delivery
    draft.delivery_ids = {k: v for k, v in draft.delivery_ids.items() if k != step.id}
    draft.planned = (*draft.planned, planned)
    draft.births = {**draft.births, draft.visit: birth}
    return draft


def progress(working: Working, step: Step) -> Move:
    """Rows 11 to 16: the run is active on a notify step."""
    delivery = working.delivery
    fitting = matching_rule(step, delivery.outcome if delivery else None)
    if delivery is not None and fitting is not None:
        return _follow(working, delivery, fitting)  # row 11
    if delivery is None:
        return Rest(working, "no_active_step_delivery")  # row 12
    if not is_terminal(delivery.status):
        return Rest(working, _why_nothing_follows(step))  # row 13
    for rule in step.progress:
        if isinstance(rule, WaitUntil):
            return _wait_after(working, delivery, rule)  # row 14
    return _go_on(working, delivery, step)  # rows 15 and 16


def corrected(working: Working, step: Step) -> Move | None:
    """Row 7: waiting on `wait_until`, and something else became of the anchor delivery since.

    None where the row does not fit. What it had become stands in the waiting context. A wait is left
    here as by time, so its `cancel_signals` stay armed (row 5a).
    """
    delivery = working.delivery
    if delivery is None:
        return None
    before = (
        working.context.get("anchor_delivery_status"),
        working.context.get("workflow_outcome"),
    )
    if before == (delivery.status, delivery.outcome):
        return None
    rule = matching_rule(step, delivery.outcome)
    return None if rule is None else _follow(working, delivery, rule, armed=True)


def matching_rule(step: Step, outcome: Outcome | None) -> OnOutcome | StopOn | None:
    """Return the first on_outcome or stop rule, as declared, for this outcome; None if none."""
    for rule in step.progress:
        if isinstance(rule, OnOutcome | StopOn) and rule.outcome == outcome:
            return rule
    return None


def _follow(
    working: Working, delivery: CurrentDelivery, rule: OnOutcome | StopOn, *, armed: bool = False
) -> Move:
    match rule:
        case StopOn():
            context = _reason_to_leave(working, delivery, "stop", END)
            left = working.draft().write("progressed_on_delivery_outcome", "active", context)
            return left.write("workflow_stopped", "stopped", context)
        case OnOutcome(to_step=to, keep_retrying=keep_retrying):
            context = _reason_to_leave(working, delivery, "on_outcome", to)
            left = working.draft().write("progressed_on_delivery_outcome", "active", context)
            if not is_terminal(delivery.status) and not keep_retrying:
                _supersede(left, delivery)
            return Leave(left, to, context, armed=armed)
        case _:
            assert_never(rule)


def _supersede(draft: Working, delivery: CurrentDelivery) -> None:
    """One message is the point of escalation: what is left behind unsent is not sent (§4)."""
    draft.delivery = replace(
        delivery,
        status="cancelled",
        suppression_reason="superseded",
        terminal_at=draft.now,
    )
    draft.cancelled = (*draft.cancelled, CancelledDelivery(delivery.visit, "superseded"))


def _why_nothing_follows(step: Step) -> NoopReason:
    if not step.progress:
        return "no_progress_rules"
    if any(isinstance(rule, WaitUntil) for rule in step.progress):
        return "prior_delivery_not_converged"
    return "no_matching_progress_rule"


def _wait_after(working: Working, delivery: CurrentDelivery, rule: WaitUntil) -> Working:
    anchor = _terminal_moment(delivery)
    if rule.delay is not None:
        due_at = parse_duration(rule.delay).after(anchor, working.snapshot.zone)
    else:
        due_at = seconds_after(anchor, rule.delay_seconds or 0)
    context = {
        "rule_kind": "wait_until",
        "anchor": rule.anchor,
        "anchor_delivery_id": delivery.id,
        "anchor_delivery_visit": delivery.visit,
        "anchor_delivery_status": delivery.status,
        "anchor_timestamp": written(anchor),
        "due_at": written(due_at),
        "from_step": working.step_id,
        "to_step": rule.to_step,
        "zone": working.snapshot.zone,
        "entered_at": None if working.entered_at is None else written(working.entered_at),
        "workflow_outcome": delivery.outcome,
    }
    return working.draft().write("waiting_for_step_progression", "waiting", context)


def _terminal_moment(delivery: CurrentDelivery) -> datetime:
    if delivery.terminal_at is None:
        raise AssertionError(f"delivery {delivery.id} is {delivery.status} and never ended")
    return delivery.terminal_at


def _go_on(working: Working, delivery: CurrentDelivery, step: Step) -> Leave:
    to, left = onward(working, step), working.draft()
    context = _reason_to_leave(working, delivery, "next", to)
    if to != END:
        left.write("progressed_on_delivery_outcome", "active", context)
    context = {**context, **counted(left, step)}
    if to == END and step.progress:
        return Leave(left, to, context, "implicit_completion")
    return Leave(left, to, context)


def _reason_to_leave(
    working: Working, delivery: CurrentDelivery, rule_kind: str, to: str
) -> Mapping[str, Any]:
    return {
        "rule_kind": rule_kind,
        "workflow_outcome": delivery.outcome,
        "anchor_delivery_id": delivery.id,
        "anchor_delivery_visit": delivery.visit,
        "evidence": delivery.evidence,
        "from_step": working.step_id,
        "to_step": to,
    }
