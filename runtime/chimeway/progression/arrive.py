"""Arriving where a move leads: at a step of some kind, at the end, or at a limit.

The only place that enters steps, so the only one that counts them. Rows 4, 17 and 18 of semantics
§5 end here, and every other row that moves the run on.
"""

from typing import assert_never

from chimeway.limits import MAX_STEPS_PER_DECISION, MAX_VISITS
from chimeway.progression.decision import Births
from chimeway.progression.notify import enter_notify
from chimeway.progression.wait import enter_wait
from chimeway.progression.working import Leave, Rest, Working
from chimeway.workflow.definition import END, NotifyAction, WaitAction


def arrive(before: Working, leave: Leave, births: Births) -> Working | Rest:
    """Return the state in which the run has arrived, or why it cannot.

    Args:
        before: the state before the row that leaves. A row is written whole or not at all: where
            the run cannot arrive, what the row had written is dropped with it.
        leave: where to, and why.
        births: how a delivery is born.

    Returns:
        the state after arrival, held where the run has entered its last step; or a rest:
        `unknown_to_step` (row 18), `limit`.
    """
    context = {**leave.context, "from_step": before.step_id, "to_step": leave.to}
    if leave.to == END:
        reason = leave.completion
        return leave.working.write("workflow_completed", "completed", context, status_reason=reason)
    step = before.snapshot.definition.step(leave.to)
    if step is None:
        return Rest(before, "unknown_to_step")
    if before.visit >= MAX_VISITS:
        return before.draft().hold("too_many_steps")
    if before.entered >= MAX_STEPS_PER_DECISION:
        return Rest(before, "limit")
    left = leave.working.delivery
    entered = leave.working.activate(step.id, context)
    match step.action:
        case NotifyAction() as action:
            if leave.armed:
                entered.armed_step, entered.armed_entered_at = before.step_id, before.entered_at
            return enter_notify(entered, step, action, births)
        case WaitAction() as action:
            return enter_wait(entered, step, action, left)
        case _:
            assert_never(step.action)
