"""Each row of semantics §5, by its number."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from chimeway.progression.decide import decide
from chimeway.progression.decision import Birth, CancelledDelivery, Decision
from chimeway.progression.instants import written
from chimeway.workflow.definition import (
    Condition,
    DataRef,
    Definition,
    DeliveryRef,
    NotifyAction,
    OnOutcome,
    Step,
    StopOn,
    WaitAction,
    WaitUntil,
)
from pure.progression_rows import (
    DELIVERY_ID,
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


def test_which_one_by_number_then_the_steps_conditions_then_the_workflows() -> None:
    """Only the row that fits first is consumed; the others stay."""
    rows = waiting(mail=(mail(2, "skip"), mail(1, "other"), mail(3, "read")))
    decision = decided(replace(rows, run=rows.run))
    assert decision.consumed == (2, 3)  # the second by row 5a, before anything was sent
    [stillborn] = decision.planned
    assert (stillborn.birth, stillborn.terminal_at) == (Birth("cancelled", "stopped_before_send"), NOW)
    assert decision.cancelled == ()
    assert [row["fit"] for row in decision.inputs["mailbox"]] != []
    both = replace(EVERYTHING, stop_conditions=(Condition("skip"),))
    assert decided(waiting(mail=(mail(1, "skip"),), definition=both)).kind == "advanced"


def test_since_entered_hears_only_what_came_after_the_step_was_entered() -> None:
    """A signal of that very moment is not after it."""
    conditions = (Condition("read", since="entered"),)
    steps = (Step("wait", WaitAction("PT2H", stop_conditions=conditions)), EVERYTHING.steps[2])
    definition = Definition("k", 1, steps)
    for ago, heard in ((2 * HOUR, False), (2 * HOUR - timedelta(microseconds=1), True)):
        rows = waiting(definition=definition, mail=(mail(1, "read", ago=ago),))
        assert isinstance(decide(rows, NOW, born), Decision) is heard


def test_a_delivery_that_is_born_now_has_no_id_that_a_signal_could_name() -> None:
    """A condition on the step's latest delivery does not match the one of the visit before."""
    seen = Condition("seen", (("delivery_id", DeliveryRef("again")),))
    steps = (
        Step("again", NotifyAction("in_app", "x")),
        Step("wait", WaitAction("PT1H", stop_conditions=(seen,)), next="again"),
    )
    rows = waiting(
        due=timedelta(0),
        definition=Definition("k", 1, steps),
        mail=(mail(1, "other"),),
        delivery_ids={"again": "old"},
    )
    rows = but(rows, status_context=waiting_context(NOW, to_step="again"))
    assert decided(replace(rows, mail=(mail(1, "seen", {"delivery_id": "old"}),))).kind == "stopped"
    late = replace(rows, run=replace(rows.run, state="active", step=None, visit=0))
    later = replace(late, mail=(mail(1, "seen", {"delivery_id": "old"}),))
    assert decided(later).kind == "waiting"


@pytest.mark.parametrize(
    ("data", "due_at"),
    [
        ({"starts": "2026-03-02T10:00:00+00:00"}, "2026-03-02T10:00:00.000000Z"),
        ({"starts": "soon"}, None),
        ({}, None),
    ],
)
def test_until_takes_an_instant_from_the_data(data: Any, due_at: str | None) -> None:
    """Without one the run waits, stuck with a reason, and still hears signals."""
    steps = (Step("wait", WaitAction(until=DataRef("starts"))), EVERYTHING.steps[2])
    rows = snapshot(run("active", None), definition=Definition("k", 1, steps), data=data)
    decision = decided(rows)
    assert (decision.kind, decision.after.status_context["due_at"]) == ("waiting", due_at)
    assert decision.inputs["instants"] == {"starts": due_at}


def test_until_in_the_past_goes_on_at_once() -> None:
    """Entering, waiting and leaving are one decision."""
    steps = (Step("wait", WaitAction(until=NOW - HOUR)), Step("mail", NotifyAction("email", "x")))
    decision = decided(snapshot(run("active", None), definition=Definition("k", 1, steps)))
    assert reasons(decision) == [
        "step_activated",
        "waiting_for_step_progression",
        "reactivated_from_wait",
        "step_activated",
    ]


def test_calendar_durations_are_counted_in_the_recipients_zone() -> None:
    """A day over the change of clocks has 23 hours; the zone used is kept."""
    steps = (Step("wait", WaitAction("P1D")), EVERYTHING.steps[2])
    before = datetime(2026, 3, 28, 20, tzinfo=UTC)
    rows = snapshot(run("active", None), definition=Definition("k", 1, steps), zone="Europe/London")
    decision = decided(rows, before)
    assert decision.after.wake_at == before + timedelta(hours=23)
    assert decision.after.status_context["zone"] == "Europe/London"


def test_delay_seconds_are_exact() -> None:
    """A wait_until may be given in seconds."""
    steps = (
        Step("until", NotifyAction("email", "x"), (WaitUntil("last", delay_seconds=5400.5),)),
        Step("last", NotifyAction("email", "x")),
    )
    rows = snapshot(run("active", "until"), delivery=DONE, definition=Definition("k", 1, steps))
    assert decided(rows).after.wake_at == NOW - HOUR + timedelta(seconds=5400.5)


def test_stop_on_a_temporary_failure_leaves_the_cancelling_to_the_stop() -> None:
    """The stop ends all open deliveries, so the decision names none."""
    steps = (Step("mail", NotifyAction("email", "x"), (StopOn("temporary_failure"),)),)
    rows = snapshot(
        run("active", "mail"),
        delivery=delivery("failed", failed_attempts=1),
        definition=Definition("k", 1, steps),
    )
    assert (decided(rows).kind, decided(rows).cancelled) == ("stopped", ())


def test_births_that_end_at_once_let_the_evaluation_go_on() -> None:
    """Suppressed and faulty messages have an outcome in the decision that plans them."""
    steps = (
        Step("sms", NotifyAction("sms", "x"), (OnOutcome("suppressed", "email"),)),
        Step("email", NotifyAction("email", "x"), (OnOutcome("permanent_failure", "push"),)),
        Step("push", NotifyAction("push", "x")),
    )
    births = {
        "sms": Birth("suppressed", "no_address"),
        "email": Birth("cancelled", "permanent_failure", "configuration", "note"),
        "push": Birth("pending"),
    }
    rows = snapshot(run("active", None), definition=Definition("k", 1, steps))
    decision = decide(rows, NOW, lambda step, _visit: births[step.id])
    assert isinstance(decision, Decision)
    assert [plan.birth.status for plan in decision.planned] == [
        "suppressed",
        "cancelled",
        "pending",
    ]
    last = decision.after.status_context
    assert (last["anchor_delivery_id"], last["anchor_delivery_visit"]) == ("visit:2", 2)
    assert last["evidence"]["error_class"] == "configuration"
    assert "note" not in repr(decision.inputs)


@pytest.mark.parametrize("now", [datetime(2026, 3, 2), NOW.astimezone().replace(tzinfo=None)])  # noqa: DTZ001
def test_a_naive_now_is_our_mistake(now: datetime) -> None:
    """It is asserted, not guessed."""
    with pytest.raises(AssertionError, match="UTC"):
        decide(waiting(), now, born)


def test_contradicting_rows_are_our_mistake() -> None:
    """A delivery of another visit, or one that ended at no time, is asserted."""
    for wrong in (replace(DONE, visit=2), replace(DONE, terminal_at=None)):
        with pytest.raises(AssertionError):
            decide(snapshot(run("active", "plain"), delivery=wrong), NOW, born)
