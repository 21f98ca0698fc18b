"""One evaluation: which signal, from when, until when, and what it takes for our mistake."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from chimeway.limits import MAX_STEPS_PER_DECISION
from chimeway.progression.decide import decide
from chimeway.progression.decision import Birth, Decision
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
    EVERYTHING,
    HOUR,
    NOW,
    born,
    but,
    decided,
    delivery,
    mail,
    reasons,
    run,
    snapshot,
    waiting,
    waiting_context,
)

DONE = delivery("succeeded")


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


def test_a_zone_that_this_machine_lacks_counts_as_utc() -> None:
    """The database may know more names than we do: no run is lost to that, and what was used is kept."""
    steps = (Step("wait", WaitAction("P1D")), EVERYTHING.steps[2])
    rows = snapshot(run("active", None), definition=Definition("k", 1, steps), zone="europe/london")
    decision = decided(rows)
    assert decision.after.wake_at == NOW + timedelta(days=1)
    assert (decision.after.status_context["zone"], decision.inputs["zone"]) == ("UTC", "UTC")


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


def test_one_evaluation_enters_at_most_25_steps() -> None:
    """The rest is left for the next, which comes at once."""
    steps = tuple(Step(f"s{n}", NotifyAction("in_app", "x")) for n in range(60))
    rows = snapshot(run("active", None), definition=Definition("k", 1, steps))
    decision = decide(rows, NOW, lambda _step, _visit: Birth("succeeded"))
    assert isinstance(decision, Decision)
    assert len(decision.planned) == MAX_STEPS_PER_DECISION
    assert (decision.after.step, decision.after.wake_at) == ("s24", NOW)


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
