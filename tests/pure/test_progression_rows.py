"""Each row of semantics §5 by its number: 1 to 10, ends, signals and waits."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from chimeway.progression.decide import decide
from chimeway.progression.decision import CancelledDelivery, Decision
from chimeway.progression.instants import written
from chimeway.workflow.definition import (
    Condition,
    Step,
    WaitAction,
)
from pure.progression_rows import (
    EVERYTHING,
    HOUR,
    NOW,
    born,
    but,
    decided,
    delivery,
    mail,
    noop,
    reasons,
    run,
    snapshot,
    waiting,
    waiting_context,
    without,
)

DONE = delivery("succeeded")
OPEN = delivery("pending")


@pytest.mark.parametrize("state", ["completed", "stopped", "failed"])
def test_row_1_an_ended_run_stays_as_it_is(state: str) -> None:
    """Nothing follows for a run that has ended, held or not, whatever is said to it."""
    rows = snapshot(run(state, "wait", held_reason="by_hand"), mail=(mail(1, "halt"),))
    assert noop(rows) == "run_not_active"


def test_row_2_a_held_run_and_a_paused_workflow_rest() -> None:
    """Neither a signal nor a due time moves a held run or one of a paused workflow."""
    rows = waiting(due=-HOUR, mail=(mail(1, "halt"),))
    assert noop(but(rows, held_reason="by_hand")) == "run_held"
    assert noop(replace(rows, workflow_paused=True)) == "workflow_paused"


@pytest.mark.parametrize(
    "rows",
    [
        snapshot(run("active", None)),
        snapshot(run("active", "plain"), delivery=delivery("failed", attempts=3)),
        snapshot(run("active", "plain"), delivery=DONE),
        waiting(),
        snapshot(run("active", "gone")),
    ],
    ids=["no step", "retrying", "delivered", "waiting", "unknown step"],
)
def test_row_3_a_condition_of_the_workflow_stops_at_any_time(rows: Any) -> None:
    """A live run stops before anything else happens, before its first step too."""
    decision = decided(replace(rows, mail=(mail(1, "other"), mail(2, "halt", {"secret": 1}))))
    heard, stopped = decision.transitions
    assert (decision.kind, decision.consumed, decision.planned) == ("stopped", (2,), ())
    assert (heard.reason, heard.from_state, heard.to_state) == (
        "signal_received",
        rows.run.state,
        "active",
    )
    assert heard.signal_type == "halt"
    assert heard.context["condition"] == "stop_conditions[0]"
    assert (stopped.reason, stopped.to_state, stopped.visit) == (
        "workflow_stopped",
        "stopped",
        rows.run.visit,
    )
    assert "secret" not in repr((decision.transitions, decision.inputs))


def test_row_4_the_first_step_is_entered() -> None:
    """A run without step enters the first, and plans its delivery."""
    decision = decided(snapshot(run("active", None)))
    assert reasons(decision) == ["step_activated"]
    assert (decision.after.step, decision.after.visit) == ("plain", 1)
    assert [(plan.visit, plan.step_id, plan.terminal_at) for plan in decision.planned] == [(1, "plain", None)]
    assert decision.after.entered_at == NOW
    assert decision.after.wake_at is None
    assert decision.after.pending_signals == ("halt",)


def test_row_5_a_stop_condition_ends_the_run() -> None:
    """The default of a condition of a wait is to cancel the remainder."""
    decision = decided(waiting(due=-HOUR, mail=(mail(1, "read"),)))
    assert reasons(decision) == ["signal_received", "workflow_stopped"]
    states = [(step.from_state, step.to_state) for step in decision.transitions]
    assert states == [("waiting", "active"), ("active", "stopped")]
    heard = decision.transitions[0].context
    assert (heard["step"], heard["condition"]) == ("wait", "steps[1].action.stop_conditions[0]")
    assert (decision.after.status_reason, decision.after.wake_at) == ("workflow_stopped", None)
    assert decision.after.pending_signals == ()


def test_row_5_cancel_signals_of_a_wait_until() -> None:
    """They are conditions of the wait, with a path of their own."""
    decision = decided(waiting("until", delivery=DONE, mail=(mail(1, "read"),)))
    assert decision.kind == "stopped"
    path = decision.transitions[0].context["condition"]
    assert path == "steps[5].progress[1].cancel_signals[0]"


def armed(**more: Any) -> Any:
    """Return a run that came from the wait to a notify step."""
    at = run("active", "target", armed_step="wait", armed_entered_at=NOW - 2 * HOUR)
    return snapshot(at, **{"delivery": OPEN, "mail": (mail(1, "read"),), **more})


def test_row_5a_the_stop_conditions_of_the_wait_hold_until_the_first_attempt() -> None:
    """The run stops, and the message that was planned is not sent."""
    decision = decided(armed())
    assert reasons(decision) == ["signal_received", "workflow_stopped"]
    assert decision.cancelled == (CancelledDelivery(3, "stopped_before_send"),)
    heard = decision.transitions[0]
    assert (heard.from_state, heard.context["step"]) == ("active", "wait")


@pytest.mark.parametrize(
    "rows",
    [
        armed(delivery=replace(OPEN, attempts=1)),
        armed(delivery=DONE),
        armed(mail=(mail(1, "skip"), mail(2, "jump"))),
        but(armed(), armed_step=None),
    ],
    ids=["attempted", "ended", "not a stop", "not from a wait"],
)
def test_row_5a_not_later_and_not_for_other_conditions(rows: Any) -> None:
    """After the first attempt row it is too late; `continue` and `goto` belong to the wait."""
    answer = decide(rows, NOW, born)
    assert not isinstance(answer, Decision) or answer.kind != "stopped"


def test_row_6_continue_and_goto_go_on() -> None:
    """`continue` leads to the following step, `goto` where it says; the rest stays armed."""
    for signal, to in (("skip", "target"), ("jump", "target")):
        decision = decided(waiting(mail=(mail(1, signal),)))
        assert reasons(decision) == ["signal_received", "step_activated"]
        assert (decision.after.step, decision.after.visit, decision.kind) == (to, 4, "advanced")
        assert decision.after.armed_step == "wait"
        assert decision.after.armed_entered_at == NOW - 2 * HOUR
        assert decision.after.pending_signals == ("halt", "read")
        assert not decision.elapsed


def test_row_6_continue_at_the_last_step_completes() -> None:
    """Where no step follows, the run is completed."""
    skip = Condition("skip", then="continue")
    steps = (*EVERYTHING.steps[:1], Step("wait", WaitAction("PT2H", stop_conditions=(skip,))))
    decision = decided(waiting(mail=(mail(1, "skip"),), definition=replace(EVERYTHING, steps=steps)))
    assert reasons(decision) == ["signal_received", "workflow_completed"]
    assert decision.after.status_reason == "workflow_completed"


def test_row_7_a_bounce_after_success_is_followed() -> None:
    """A wait on a delivery that turned out to have bounced ends by the rule for it."""
    bounced = delivery("cancelled", "bounced", failed_attempts=1, last_error_class="bounced")
    decision = decided(waiting("until", delivery=bounced))
    assert reasons(decision) == ["progressed_on_delivery_outcome", "step_activated"]
    first = decision.transitions[0]
    assert (first.from_state, first.context["workflow_outcome"]) == ("waiting", "bounced")
    assert decision.after.armed_step == "until"


def test_row_7_another_outcome_under_the_same_status() -> None:
    """What counts is the outcome: a failure that turns out to be a bounce is one."""
    rows = waiting("until", delivery=delivery("cancelled", "bounced"))
    before = {"anchor_delivery_status": "cancelled", "workflow_outcome": "permanent_failure"}
    rows = but(rows, status_context={**rows.run.status_context, **before})
    assert decided(rows).after.step == "target"
    assert noop(replace(rows, delivery=delivery("cancelled", "permanent_failure"))) == "wait_not_due"


def test_row_7_not_where_no_rule_names_it() -> None:
    """Another outcome that no rule names leaves the wait as it is."""
    rows = waiting("until", delivery=delivery("cancelled", "permanent_failure"))
    assert noop(rows) == "wait_not_due"


def test_row_8_before_the_time() -> None:
    """A wait is not due a microsecond before."""
    assert noop(waiting(due=timedelta(microseconds=1))) == "wait_not_due"


def test_row_9_a_due_wait_goes_on() -> None:
    """At its time, exactly, the run goes on; its stop conditions stay armed."""
    decision = decided(waiting(due=timedelta(0)))
    assert reasons(decision) == ["reactivated_from_wait", "step_activated"]
    reactivated, entered = decision.transitions
    assert reactivated.context == waiting_context(NOW) | {"reactivated_at": written(NOW)}
    assert entered.context["workflow_outcome"] == "wait_elapsed"
    assert (entered.context["from_step"], entered.context["to_step"]) == ("wait", "target")
    assert decision.elapsed
    assert (decision.after.armed_step, decision.after.wake_at) == ("wait", None)


def test_row_9_to_the_end() -> None:
    """Where no step follows, the run is completed."""
    context = waiting_context(NOW, to_step="end")
    decision = decided(snapshot(run("waiting", "wait", status_context=context)))
    assert reasons(decision) == ["reactivated_from_wait", "workflow_completed"]
    assert decision.after.step == "wait"


@pytest.mark.parametrize(
    ("context", "expected"),
    [
        ({}, "wait_missing_due_at"),
        (waiting_context(NOW) | {"due_at": None}, "wait_missing_due_at"),
        (waiting_context(NOW) | {"due_at": "soon"}, "invalid_due_at"),
        (waiting_context(NOW) | {"due_at": 5}, "invalid_due_at"),
        (waiting_context(NOW) | {"due_at": "2026-03-02T09:00:00"}, "invalid_due_at"),
        (without(waiting_context(NOW), "to_step"), "wait_context_incomplete"),
        (waiting_context(NOW) | {"rule_kind": "?"}, "wait_context_incomplete"),
        (waiting_context(NOW) | {"to_step": "nowhere"}, "unknown_to_step"),
    ],
)
def test_row_10_and_18_a_garbled_wait_is_stuck(context: Any, expected: str) -> None:
    """A context that lacks or garbles what it needs gives a reason, and no guess."""
    rows = snapshot(run("waiting", "wait", status_context=context))
    assert noop(rows) == expected
    assert decided(replace(rows, mail=(mail(1, "read"),))).kind == "stopped"
