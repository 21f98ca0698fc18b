"""Journeys on paper: the script, the timeline, and where a rehearsal ends."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from chimeway.errors import InvalidInput
from chimeway.limits import MAX_VISITS
from chimeway.progression.rehearse import rehearse
from chimeway.progression.script import START, Fate, OutcomeEvent, Script, SignalEvent, parse_script
from chimeway.workflow.parse import parse
from pure.workflow_forms import MENTION, later, notify, on, signal, wait, workflow

GUIDE = parse(MENTION)
TWO = parse(workflow(notify("mail", on("bounced", "sms")), notify("sms")))

YEARS = later("a", delay_seconds=300_000_000)


def timeline(definition: Any, script: Any = None) -> list[str]:
    """Return what a rehearsal says, one text a line."""
    lines = rehearse(definition, script).timeline
    return [f"{line.at - START} {line.what} {line.step or '-'} {line.detail}".rstrip() for line in lines]


def test_the_guides_journey_unread() -> None:
    """All that happens, in its order, at its time."""
    assert timeline(GUIDE) == [
        "0:00:00 workflow_started -",
        "0:00:00 step_activated step_in_app",
        "0:00:00 delivery_planned step_in_app in_app mention_notification: succeeded",
        "0:00:00 progressed_on_delivery_outcome step_in_app delivered, on to step_wait_for_read",
        "0:00:00 step_activated step_wait_for_read",
        "0:00:00 waiting_for_step_progression step_wait_for_read until 2026-01-01T02:00:00.000000Z",
        "2:00:00 reactivated_from_wait step_wait_for_read",
        "2:00:00 step_activated step_email_escalation",
        "2:00:00 delivery_planned step_email_escalation email mention_email: pending",
        "2:00:00 outcome step_email_escalation delivered",
        "2:00:00 workflow_completed step_email_escalation workflow_completed",
    ]


def test_the_guides_journey_read() -> None:
    """It ends with the signal; one that comes later is told of, and does nothing."""
    events = [{"at": "PT1H", "signal": "notification_read"}, {"at": "PT3H", "signal": "notification_read"}]
    condition = "steps[1].action.stop_conditions[0]"
    assert timeline(GUIDE, events)[6:] == [
        "1:00:00 signal step_wait_for_read notification_read",
        f"1:00:00 signal_received step_wait_for_read notification_read meets {condition}",
        "1:00:00 workflow_stopped step_wait_for_read",
        "3:00:00 signal step_wait_for_read notification_read (arrived_after_end)",
    ]


def test_fates_and_feedback() -> None:
    """A message's fate comes at once or later; what is told of no open delivery is ignored."""
    script = {
        "deliveries": {"mail": {"outcome": "temporary_failure", "after": "PT1M"}, "sms": "suppressed"},
        "events": [
            {"at": "PT30S", "outcome": "bounced", "step": "sms"},
            {"at": "PT2M", "outcome": "bounced", "step": "mail"},
        ],
    }
    assert timeline(TWO, script)[3:] == [
        "0:00:30 outcome sms bounced (no open delivery)",
        "0:01:00 outcome mail temporary_failure",
        "0:02:00 outcome mail bounced",
        "0:02:00 progressed_on_delivery_outcome mail bounced, on to sms",
        "0:02:00 step_activated sms",
        "0:02:00 delivery_planned sms email hello: suppressed (no_address)",
        "0:02:00 workflow_completed sms workflow_completed",
    ]


def test_a_bounce_after_success_is_followed_while_waiting() -> None:
    """Row 7, with the cancelling of what was planned by a signal that was awaited there."""
    rules = (on("bounced", "sms"), later("sms", delay="P1D", cancel_signals=[signal()]))
    definition = parse(workflow(notify("mail", *rules), notify("sms")))
    events: list[Any] = [{"at": "PT5M", "outcome": "bounced", "step": "mail"}]
    bounced = rehearse(definition, events)
    assert [(row.step_id, row.status) for row in bounced.deliveries] == [
        ("mail", "cancelled"),
        ("sms", "succeeded"),
    ]
    events.append({"at": "PT6M", "signal": "read"})
    held_back = {"events": events, "deliveries": {"sms": {"after": "PT10M"}}}
    stopped = rehearse(definition, held_back)
    assert (stopped.run.state, stopped.deliveries[1].suppression_reason) == ("stopped", "stopped_before_send")


def test_in_app_items_are_written_or_faulty_or_suppressed() -> None:
    """An item has no attempt: its fate is how it is born."""
    for fate, status in (
        ("delivered", "succeeded"),
        ("permanent_failure", "cancelled"),
        ("suppressed", "suppressed"),
        ("pending", "succeeded"),
    ):
        first = rehearse(GUIDE, {"deliveries": {"step_in_app": fate}}).deliveries[0]
        assert (first.status, first.attempts) == (status, 0)


def test_a_rehearsal_ends_where_nothing_more_comes() -> None:
    """A run that waits for something unscripted says why it rests."""
    rest = rehearse(TWO, {"deliveries": {"mail": "pending"}})
    assert (rest.run.state, rest.run.step, rest.noop) == ("active", "mail", "no_matching_progress_rule")
    lacking = parse(workflow(wait("w", action={"type": "wait", "until": {"data": "at"}}), notify()))
    assert rehearse(lacking).noop == "wait_missing_due_at"
    assert rehearse(lacking, {"data": {"at": "2020-01-01T00:00:00Z"}}).run.state == "completed"


def test_a_journey_without_end_is_held_after_a_thousand_steps() -> None:
    """A cycle that waits is allowed, and bounded; the run is held, with its reason."""
    held = rehearse(parse(workflow(notify("a"), wait("w", next="a"))))
    assert (held.run.visit, held.run.held_reason) == (MAX_VISITS, "too_many_steps")
    assert held.transitions[-1].reason == "run_held"
    assert len(held.deliveries) == MAX_VISITS // 2


def test_a_journey_beyond_the_calendar_is_refused() -> None:
    """Round and round in years ends where the calendar does, with a word and no crash."""
    for step in (wait("w", action={"type": "wait", "duration": "P10Y"}, next="w"), notify("a", YEARS)):
        with pytest.raises(InvalidInput, match="the journey goes on beyond the year 9999, from 99"):
            rehearse(parse(workflow(step, notify("b"))), {"start": "9990-01-01T00:00:00Z"})


def test_a_long_chain_goes_on_after_25_steps() -> None:
    """The limit of one evaluation ends nothing: it wakes itself, at the same moment."""
    steps = [{**notify(f"s{i}"), "action": {**MENTION["steps"][0]["action"]}} for i in range(60)]
    played = rehearse(parse(workflow(*steps)))
    assert (played.run.state, len(played.deliveries)) == ("completed", 60)
    assert {line.at for line in played.timeline} == {START}


def test_the_zone_of_the_script_counts() -> None:
    """A day over the change of clocks has 23 hours."""
    definition = parse(workflow(wait("w", action={"type": "wait", "duration": "P1D"}), notify()))
    played = rehearse(definition, {"start": "2026-03-28T20:00:00Z", "zone": "Europe/London"})
    assert played.timeline[-1].at - played.timeline[0].at == timedelta(hours=23)


def test_a_script_is_read() -> None:
    """Times are instants or durations after the start; events are put in order; a list is events."""
    raw = {
        "start": "2026-03-02T09:00:00+01:00",
        "data": {"doc": 1},
        "deliveries": {"mail": {"after": "PT5S"}, "sms": "pending"},
        "events": [
            {"at": "PT10M", "signal": "read", "payload": {"x": 1}},
            {"at": datetime(2026, 3, 2, 8, 5, tzinfo=UTC), "outcome": "bounced", "step": "mail"},
            {"at": "PT0S", "signal": "read"},
        ],
    }
    start = datetime(2026, 3, 2, 8, tzinfo=UTC)
    assert parse_script(raw, TWO) == Script(
        start=start,
        data={"doc": 1},
        fates={"mail": Fate("delivered", "PT5S"), "sms": Fate(None)},
        events=(
            SignalEvent(start, "read", {}),
            OutcomeEvent(start + timedelta(minutes=5), "mail", "bounced"),
            SignalEvent(start + timedelta(minutes=10), "read", {"x": 1}),
        ),
    )
    assert parse_script(None, TWO) == parse_script({}, TWO) == parse_script([], TWO) == Script()
    assert parse_script({"deliveries": {"mail": {"after": "PT0S"}}}, TWO).fates["mail"] == Fate()


@pytest.mark.parametrize(
    ("raw", "field", "told"),
    [
        (5, "script", "wanted a mapping"),
        ({"event": []}, "script.event", "one of the keys start, zone"),
        ({"start": "today"}, "start", "an instant like"),
        ({"start": "2026-01-01T00:00:00"}, "start", "an instant like"),
        ({"zone": "Europe"}, "zone", "an IANA zone"),
        ({"zone": 5}, "zone", "an IANA zone"),
        ({"data": [1]}, "data", "a mapping"),
        ({"events": {"at": 1}}, "events", "a list"),
        (["PT1H"], "events[0]", "a mapping"),
        ([{"at": "PT1H"}], "events[0]", "exactly one of `signal` and `outcome`"),
        ([{"at": "PT1H", "signal": "x", "outcome": "bounced"}], "events[0]", "exactly one"),
        ([{"signal": "x"}], "events[0].at", "an instant like"),
        ([{"at": "P", "signal": "x"}], "events[0].at", "a duration after the start"),
        ([{"at": "PT1H", "signal": ""}], "events[0].signal", "a signal type"),
        ([{"at": "PT1H", "signal": "x", "step": "mail"}], "events[0].step", "one of the keys at, signal"),
        ([{"at": "PT1H", "outcome": "bounce", "step": "mail"}], "events[0].outcome", "one of delivered"),
        ([{"at": "PT1H", "outcome": "bounced", "step": "x"}], "events[0].step", "notify steps mail, sms"),
        ([{"at": "PT1H", "outcome": "bounced"}], "events[0].step", "notify steps mail, sms"),
        ({"deliveries": {"x": "bounced"}}, "deliveries.x", "notify steps mail, sms"),
        ({"deliveries": {"mail": "lost"}}, "deliveries.mail.outcome", "one of delivered"),
        ({"deliveries": {"mail": {"when": 1}}}, "deliveries.mail.when", "one of the keys outcome, after"),
        ({"deliveries": {"mail": {"after": "2026-01-01T00:00:00Z"}}}, "deliveries.mail.after", "a duration"),
        ({"deliveries": {"mail": {"after": 5}}}, "deliveries.mail.after", "a duration like PT10S"),
    ],
)
def test_faults_of_a_script(raw: Any, field: str, told: str) -> None:
    """Each names its field, what was given and what would be right."""
    with pytest.raises(InvalidInput, match="wanted") as caught:
        rehearse(TWO, raw)
    assert caught.value.details["field"] == field
    assert caught.value.message.startswith(f"{field}: given ")
    assert told in caught.value.message
