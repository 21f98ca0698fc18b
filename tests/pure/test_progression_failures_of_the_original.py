"""Six ways in which the engine that this one comes from failed, each as a journey on paper."""

from dataclasses import replace
from typing import Any

import pytest

from chimeway.progression.decide import decide
from chimeway.progression.decision import Birth, Decision, Noop
from chimeway.progression.paper import Paper, attempted, signalled, triggered, under_way, written_down
from chimeway.progression.rehearse import Rehearsal, rehearse
from chimeway.workflow.parse import parse
from pure.progression_rows import HOUR, NOW, born
from pure.workflow_forms import MENTION, notify, on, wait, workflow

READ = {"type": "signal_received", "signal_type": "notification_read"}
OF_ONE_DOCUMENT = {**READ, "match": {"document_id": {"data": "document_id"}}}


def mention(condition: Any = READ) -> Any:
    """Return the guide's journey, with this stop condition."""
    first, second, third = MENTION["steps"]
    listening = {**second, "action": {**second["action"], "stop_conditions": [condition]}}
    return parse({**MENTION, "steps": [first, listening, third]})


def sent(rehearsal: Rehearsal) -> list[tuple[str, str, str | None]]:
    """Return what became of each delivery."""
    return [(row.step_id, row.status, row.suppression_reason) for row in rehearsal.deliveries]


def evaluated(paper: Paper, now: Any = NOW) -> Paper:
    """Return the rows after an evaluation that decides something."""
    decision = decide(paper.snapshot, now, born)
    assert isinstance(decision, Decision), decision
    return written_down(paper, decision)


def test_the_promise_of_the_guide() -> None:
    """Read in time: no e-mail. Not read: an e-mail at two hours, to the microsecond."""
    read = rehearse(mention(), [{"at": "PT1H59M59.999999S", "signal": "notification_read"}])
    assert (read.run.state, sent(read)) == ("stopped", [("step_in_app", "succeeded", None)])
    unread = rehearse(mention(), [{"at": "PT2H0.000001S", "signal": "notification_read"}])
    assert (unread.run.state, unread.run.visit) == ("completed", 3)
    assert [row.terminal_at - read.deliveries[0].terminal_at for row in unread.deliveries][1] == 2 * HOUR
    assert unread.timeline[-1].detail == "notification_read (arrived_after_end)"


def test_at_the_very_moment_the_signal_wins() -> None:
    """Signal before time: at exactly two hours, nothing is sent."""
    both = rehearse(mention(), [{"at": "PT2H", "signal": "notification_read"}])
    assert (both.run.state, sent(both)) == ("stopped", [("step_in_app", "succeeded", None)])


def test_1_a_signal_before_the_wait_is_entered_counts() -> None:
    """The person reads before the run has entered its first step, or while a delivery is under way."""
    paper = signalled(triggered(mention(), NOW, data={}), "notification_read", {}, NOW)
    after = evaluated(paper)
    assert (after.run.state, sorted(after.deliveries)) == ("stopped", [1])
    definition = parse(workflow(notify("push"), wait("gate", READ), notify("mail")))
    during = rehearse(
        definition,
        {
            "deliveries": {"push": {"outcome": "delivered", "after": "PT10S"}},
            "events": [{"at": "PT5S", "signal": "notification_read"}],
        },
    )
    assert (during.run.state, sent(during)) == ("stopped", [("push", "succeeded", None)])


@pytest.mark.parametrize(
    ("read", "states"), [("doc_1", ("stopped", "completed")), ("doc_2", ("completed", "stopped"))]
)
def test_2_reading_one_of_two_documents_stops_only_its_journey(read: str, states: Any) -> None:
    """Two mentions of one person: the signal reaches both runs, and fits one."""
    definition = mention(OF_ONE_DOCUMENT)
    event = {"at": "PT1H", "signal": "notification_read", "payload": {"document_id": read}}
    ends = [
        rehearse(definition, {"data": {"document_id": doc}, "events": [event]}) for doc in ("doc_1", "doc_2")
    ]
    assert tuple(end.run.state for end in ends) == states
    assert [len(end.deliveries) for end in ends] == [1 if state == "stopped" else 2 for state in states]


def test_3_two_e_mail_steps_are_two_e_mails() -> None:
    """Deliveries belong to visits, not to channels; so does a step that is visited again."""
    reminders = parse(workflow(notify("first"), wait("gate"), notify("second")))
    twice = rehearse(reminders)
    assert [(row.visit, row.step_id) for row in twice.deliveries] == [(1, "first"), (3, "second")]
    round_and_round = parse(workflow(notify("mail"), wait("gate", READ, next="mail")))
    again = rehearse(round_and_round, [{"at": "PT5H", "signal": "notification_read"}])
    assert [(row.visit, row.step_id) for row in again.deliveries] == [(1, "mail"), (3, "mail"), (5, "mail")]
    assert len({row.id for row in again.deliveries}) == 3


def test_4_retries_exhausted_is_reached() -> None:
    """Failures on the way move nothing; the last one is an outcome, and a rule follows it."""
    definition = parse(
        workflow(
            notify("mail", on("retries_exhausted", "sms"), {"kind": "stop", "outcome": "bounced"}),
            notify("sms"),
        )
    )
    failures = [{"at": f"PT{i}M", "outcome": "temporary_failure", "step": "mail"} for i in range(1, 8)]
    last = {"at": "PT9M", "outcome": "retries_exhausted", "step": "mail"}
    played = rehearse(definition, {"deliveries": {"mail": "pending"}, "events": [*failures, last]})
    assert sent(played) == [("mail", "cancelled", "retries_exhausted"), ("sms", "succeeded", None)]
    assert (played.run.state, played.deliveries[0].failed_attempts) == ("completed", 8)
    [moved] = [t for t in played.transitions if t.reason == "progressed_on_delivery_outcome"]
    assert moved.context["workflow_outcome"] == "retries_exhausted"
    still = rehearse(definition, {"deliveries": {"mail": "pending"}, "events": failures})
    assert (still.run.state, still.noop) == ("active", "no_matching_progress_rule")


@pytest.mark.parametrize("state", ["stopped", "failed", "completed"])
def test_5_for_a_cancelled_run_the_due_time_does_nothing(state: Any) -> None:
    """Whoever ended it: a timer that fires late finds a run that is not active, and nothing is sent."""
    waiting = evaluated(triggered(mention(), NOW, data={}))
    assert waiting.run.wake_at == NOW + 2 * HOUR
    cancelled = replace(waiting, run=replace(waiting.run, state=state, status_reason="cancelled_by_request"))
    for later in (NOW, NOW + 2 * HOUR, NOW + 9 * HOUR):
        assert decide(cancelled.snapshot, later, born) == Noop("run_not_active")


def test_6_what_was_planned_is_not_sent_when_the_signal_comes_before_the_first_attempt() -> None:
    """Row 5a: the stop condition of the wait holds until the e-mail's first attempt row exists."""
    held_back = {"step_email_escalation": {"outcome": "delivered", "after": "PT10S"}}
    event = {"at": "PT2H5S", "signal": "notification_read"}
    stopped = rehearse(mention(), {"deliveries": held_back, "events": [event]})
    assert (stopped.run.state, stopped.run.status_reason) == ("stopped", "workflow_stopped")
    assert sent(stopped)[1] == ("step_email_escalation", "cancelled", "stopped_before_send")
    assert stopped.deliveries[1].attempts == 0


def test_6_after_the_first_attempt_row_it_is_too_late() -> None:
    """The signal is recorded; the message goes, is retried, and the run completes."""
    planned = evaluated(evaluated(triggered(mention(), NOW, data={})), NOW + 2 * HOUR)
    assert planned.run.pending_signals == ("notification_read",)
    going = signalled(under_way(planned, 3), "notification_read", {}, NOW + 2 * HOUR)
    assert decide(going.snapshot, NOW + 2 * HOUR, born) == Noop("no_progress_rules")
    failed = attempted(going, 3, "temporary_failure", NOW + 2 * HOUR)
    assert decide(failed.snapshot, NOW + 2 * HOUR, born) == Noop("no_progress_rules")
    done = evaluated(attempted(failed, 3, "delivered", NOW + 3 * HOUR), NOW + 3 * HOUR)
    assert (done.run.state, done.deliveries[3].attempts, len(done.mail)) == ("completed", 2, 1)


def test_6_in_app_has_no_attempt() -> None:
    """An item that is written with the decision is there; only what its guard saw could stop it."""
    definition = parse(workflow(wait("gate", READ), {**MENTION["steps"][0], "id": "item"}))
    paper = evaluated(evaluated(triggered(definition, NOW, data={})), NOW + 2 * HOUR)
    assert paper.run.state == "completed"
    assert paper.deliveries[2].status == "succeeded"


def test_6_a_stop_heard_together_with_what_leaves_the_wait() -> None:
    """`continue` first, `stop` second, one evaluation: the message is born unsent."""
    conditions = ({**READ, "signal_type": "skip", "then": "continue"}, READ)
    definition = parse(workflow(wait("gate", *conditions), notify("mail")))
    paper = evaluated(triggered(definition, NOW, data={}))
    paper = signalled(signalled(paper, "skip", {}, NOW), "notification_read", {}, NOW)
    decision = decide(paper.snapshot, NOW, born)
    assert isinstance(decision, Decision)
    assert [plan.birth for plan in decision.planned] == [Birth("cancelled", "stopped_before_send")]
    after = written_down(paper, decision)
    assert (after.run.state, after.deliveries[2].suppression_reason) == ("stopped", "stopped_before_send")
