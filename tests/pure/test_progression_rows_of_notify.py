"""Each row of semantics §5 by its number: 11 to 18, notify steps and what they lead to."""

from dataclasses import replace
from typing import Any

import pytest

from chimeway.progression.decision import CancelledDelivery
from chimeway.progression.instants import written
from chimeway.workflow.definition import (
    NotifyAction,
    OnOutcome,
    Step,
)
from pure.progression_rows import (
    DELIVERY_ID,
    EVERYTHING,
    HOUR,
    NOW,
    decided,
    delivery,
    mail,
    noop,
    reasons,
    run,
    snapshot,
    waiting,
)

DONE = delivery("succeeded")
OPEN = delivery("pending")


def test_row_11_the_first_matching_rule_is_followed_with_its_evidence() -> None:
    """The transitions bear what was seen, and the next delivery is planned."""
    bounced = delivery(
        "cancelled", "bounced", last_outcome="failed", last_error_class="bounced", failed_attempts=1
    )
    decision = decided(snapshot(run("active", "ruled"), delivery=bounced))
    assert reasons(decision) == ["progressed_on_delivery_outcome", "step_activated"]
    for transition in decision.transitions:
        assert transition.context == {
            "rule_kind": "on_outcome",
            "workflow_outcome": "bounced",
            "anchor_delivery_id": str(DELIVERY_ID),
            "anchor_delivery_visit": 3,
            "evidence": {
                "delivery_status": "cancelled",
                "suppression_reason": "bounced",
                "attempt_outcome": "failed",
                "error_class": "bounced",
            },
            "from_step": "ruled",
            "to_step": "target",
        }
    assert decision.cancelled == ()


def test_row_11_a_stop_rule() -> None:
    """It writes the outcome, then the stop."""
    rows = snapshot(run("active", "ruled"), delivery=delivery("cancelled", "permanent_failure"))
    decision = decided(rows)
    assert reasons(decision) == ["progressed_on_delivery_outcome", "workflow_stopped"]
    assert decision.kind == "stopped"


@pytest.mark.parametrize("status", ["failed", "dispatched", "pending", "deferred"])
def test_row_11_a_temporary_failure_is_left_behind_and_superseded(status: str) -> None:
    """It holds from the first failed attempt, whatever the status in between."""
    rows = snapshot(run("active", "ruled"), delivery=delivery(status, failed_attempts=1))
    decision = decided(rows)
    assert decision.after.step == "target"
    assert decision.cancelled == (CancelledDelivery(3, "superseded"),)


def test_row_11_a_wait_after_what_was_superseded_counts_from_its_end() -> None:
    """The delivery left behind has ended, now, and the wait says so."""
    steps = (
        Step("ruled", NotifyAction("email", "x"), (OnOutcome("temporary_failure", "wait"),)),
        *EVERYTHING.steps[1:3],
    )
    rows = snapshot(
        run("active", "ruled"),
        delivery=delivery("failed", failed_attempts=1),
        definition=replace(EVERYTHING, steps=steps),
    )
    context = decided(rows).after.status_context
    assert (context["anchor_delivery_id"], context["anchor_delivery_status"]) == (
        str(DELIVERY_ID),
        "cancelled",
    )
    assert context["anchor_timestamp"] == written(NOW)


def test_row_11_keep_retrying_leaves_the_delivery_alone() -> None:
    """Then both messages may arrive, and a wait that follows counts from its entry."""
    steps = (
        Step(
            "ruled",
            NotifyAction("email", "x"),
            (OnOutcome("temporary_failure", "wait", keep_retrying=True),),
        ),
        EVERYTHING.steps[1],
        EVERYTHING.steps[2],
    )
    retried = delivery("failed", failed_attempts=1)
    rows = snapshot(
        run("active", "ruled"),
        delivery=retried,
        definition=replace(EVERYTHING, steps=steps),
    )
    decision = decided(rows)
    assert decision.cancelled == ()
    context = decision.after.status_context
    assert context["anchor_delivery_id"] is None
    assert context["anchor_delivery_status"] is None
    assert decision.after.wake_at == NOW + 2 * HOUR


def test_row_12_no_delivery_row() -> None:
    """A notify step without its delivery is stuck."""
    assert noop(snapshot(run("active", "ruled"))) == "no_active_step_delivery"


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        ("plain", "no_progress_rules"),
        ("until", "prior_delivery_not_converged"),
        ("ruled", "no_matching_progress_rule"),
    ],
)
def test_row_13_nothing_is_known_yet(step: str, expected: str) -> None:
    """An open delivery that no rule speaks of changes nothing; the reason says why."""
    assert noop(snapshot(run("active", step), delivery=OPEN)) == expected


def test_row_14_the_wait_after_a_delivery_counts_from_its_end() -> None:
    """The context has all that ESC asks for, and `wake_at` is its due time."""
    decision = decided(snapshot(run("active", "until"), delivery=DONE))
    assert reasons(decision) == ["waiting_for_step_progression", *reasons(decision)[1:]]
    first = decision.transitions[0]
    assert first.context == {
        "rule_kind": "wait_until",
        "anchor": "prior_delivery_terminal_at",
        "anchor_delivery_id": str(DELIVERY_ID),
        "anchor_delivery_visit": 3,
        "anchor_delivery_status": "succeeded",
        "anchor_timestamp": written(NOW - HOUR),
        "due_at": written(NOW),
        "from_step": "until",
        "to_step": "target",
        "zone": "UTC",
        "entered_at": written(NOW - 2 * HOUR),
        "workflow_outcome": "delivered",
    }
    waits = decided(snapshot(run("active", "until"), delivery=replace(DONE, terminal_at=NOW - HOUR / 2)))
    assert (waits.kind, waits.after.wake_at) == ("waiting", NOW + HOUR / 2)
    assert waits.after.pending_signals == ("halt", "read")


@pytest.mark.parametrize("reason", [None, "superseded", "run_stopped", "stopped_before_send"])
def test_row_14_to_16_an_end_without_outcome_counts_as_an_end(reason: str | None) -> None:
    """It matches no rule, and the run goes on as after any other end."""
    ended = delivery("cancelled", reason)
    assert decided(snapshot(run("active", "until"), delivery=ended)).transitions[0].reason == (
        "waiting_for_step_progression"
    )
    assert decided(snapshot(run("active", "ruled"), delivery=ended)).after.status_reason == (
        "implicit_completion"
    )


def test_row_15_rules_of_which_none_matches() -> None:
    """The run goes to `next`, or is completed by implication."""
    decision = decided(snapshot(run("active", "routed"), delivery=DONE))
    assert reasons(decision) == ["progressed_on_delivery_outcome", "step_activated"]
    assert decision.transitions[0].context["rule_kind"] == "next"
    ended = decided(snapshot(run("active", "ruled"), delivery=DONE))
    assert reasons(ended) == ["workflow_completed"]
    assert (ended.kind, ended.after.status_reason) == ("completed", "implicit_completion")


def test_row_16_no_rules() -> None:
    """The run goes to the following step, or is completed after the last."""
    decision = decided(snapshot(run("active", "plain"), delivery=delivery("suppressed", "x")))
    assert reasons(decision)[:2] == ["progressed_on_delivery_outcome", "step_activated"]
    ended = decided(snapshot(run("active", "last"), delivery=DONE))
    assert reasons(ended) == ["workflow_completed"]
    assert ended.after.status_reason == "workflow_completed"


def test_row_17_a_wait_is_entered_and_begun_together() -> None:
    """Its anchor is the end of the delivery of the step before."""
    decision = decided(snapshot(run("active", "plain"), delivery=DONE))
    assert reasons(decision)[1:] == ["step_activated", "waiting_for_step_progression"]
    context = decision.after.status_context
    assert context["anchor_delivery_id"] == str(DELIVERY_ID)
    assert context["anchor_delivery_status"] == "succeeded"
    assert context["anchor_timestamp"] == written(NOW - HOUR)
    assert (context["from_step"], context["to_step"]) == ("wait", "target")
    assert (decision.kind, decision.after.wake_at) == ("waiting", NOW + HOUR)
    assert decision.after.pending_signals == ("halt", "jump", "lost", "read", "skip")


def test_row_17_an_active_run_on_a_wait_begins_it() -> None:
    """Where only the step had been entered, the wait counts from that moment."""
    decision = decided(snapshot(run("active", "wait", entered_at=NOW - HOUR)))
    assert reasons(decision) == ["waiting_for_step_progression"]
    assert decision.after.wake_at == NOW + HOUR


@pytest.mark.parametrize(
    "rows",
    [
        snapshot(run("active", "stray"), delivery=delivery("cancelled", "bounced")),
        waiting(mail=(mail(1, "lost"),)),
    ],
    ids=["rule", "goto"],
)
def test_row_18_where_the_definition_lacks_the_step(rows: Any) -> None:
    """Nothing is written, and no signal is consumed."""
    assert noop(rows) == "unknown_to_step"


def test_an_unknown_current_step_is_stuck() -> None:
    """A run whose step is not in its definition says so."""
    assert noop(snapshot(run("active", "gone"))) == "unknown_step"
    assert noop(waiting("gone")) == "unknown_step"
