"""Rehearsals know policy: by preferences in the script, by hours of a step, or by verdicts that it names."""

from typing import Any

import pytest

from chimeway import Notify, Wait, Workflow, hours, rehearse, signal_received
from chimeway.errors import InvalidInput

NIGHT = {"quiet_hours": {"from": "22:00", "to": "07:00"}}


def mail(**more: Any) -> Workflow:
    """Return a workflow of one mail."""
    return Workflow(key="w", version=1, steps=[Notify("mail", channel="email", render_key="m", **more)])


def told(workflow: Workflow, **script: Any) -> list[str]:
    """Return what becomes of deliveries in a rehearsal, each with its time."""
    played = rehearse(workflow, {"start": "2026-03-02T22:30:00Z", **script})
    lines = [line for line in played.timeline if line.what.startswith("delivery") or line.what == "outcome"]
    return [f"{line.at:%d %H:%M} {line.what} {line.detail}" for line in lines]


def test_quiet_hours_defer_and_then_it_is_sent() -> None:
    """In the script's zone, until their end."""
    assert told(mail(), preferences=NIGHT, zone="Europe/London") == [
        "02 22:30 delivery_planned email m: deferred (quiet_hours) until 2026-03-03T07:00:00Z",
        "03 07:00 delivery_let_go email",
        "03 07:00 outcome delivered",
    ]


def test_the_hours_of_a_step_hold_without_any_preferences() -> None:
    """They are in the definition."""
    assert told(mail(send_window=hours("09:00", "17:00")))[0].endswith(
        "(send_window) until 2026-03-03T09:00:00Z"
    )


def test_caps_count_what_the_journey_sends() -> None:
    """A second message of a day is dropped."""
    workflow = Workflow(
        key="w", version=1, steps=[Notify(f"m{n}", channel="email", render_key="m") for n in range(2)]
    )
    cap = {"caps": {"channel": "email", "limit": 1, "per": "P1D", "then": "drop"}}
    assert told(workflow, preferences=cap)[-1].endswith("email m: suppressed (cap)")


def test_a_script_may_name_the_verdict() -> None:
    """Whatever policy would say."""
    assert told(mail(), deliveries={"mail": {"verdict": "suppress", "reason": "preference"}}) == [
        "02 22:30 delivery_planned email m: suppressed (preference)"
    ]
    assert told(mail(), deliveries={"mail": {"verdict": "defer", "until": "PT1H", "outcome": "bounced"}}) == [
        "02 22:30 delivery_planned email m: deferred (quiet_hours) until 2026-03-02T23:30:00Z",
        "02 23:30 delivery_let_go email",
        "02 23:30 outcome bounced",
    ]
    assert "pending" in told(mail(), preferences=NIGHT, deliveries={"mail": {"verdict": "send"}})[0]


def test_a_signal_stops_what_is_deferred() -> None:
    """The conditions of the wait before it are armed until the first attempt."""
    workflow = Workflow(
        key="w", version=1,
        steps=[Wait("w", duration="PT1H", stop_conditions=[signal_received("read")]),
               Notify("mail", channel="email", render_key="m")],
    )  # fmt: skip
    played = rehearse(
        workflow,
        {"start": "2026-03-02T22:30:00Z", "preferences": NIGHT, "events": [{"at": "PT2H", "signal": "read"}]},
    )
    assert played.run.state == "stopped"
    assert [row.suppression_reason for row in played.deliveries] == ["stopped_before_send"]


@pytest.mark.parametrize(
    ("deliveries", "field"),
    [
        ({"verdict": "later"}, "deliveries.mail.verdict"),
        ({"verdict": "defer"}, "deliveries.mail.until"),
        ({"verdict": "send", "until": "PT1H"}, "deliveries.mail.until"),
        ({"verdict": "defer", "until": "PT1H", "reason": "preference"}, "deliveries.mail.reason"),
        ({"verdict": "suppress", "reason": "no"}, "deliveries.mail.reason"),
        ({"reason": "cap"}, "deliveries.mail.reason"),
        ({"verdict": "defer", "until": "soon"}, "deliveries.mail.until"),
    ],
)
def test_a_fault_is_named(deliveries: dict[str, Any], field: str) -> None:
    """With its place in the script."""
    with pytest.raises(InvalidInput) as refused:
        rehearse(mail(), {"deliveries": {"mail": deliveries}})
    assert refused.value.details["field"] == field


def test_preferences_are_judged_as_everywhere() -> None:
    """With their path."""
    with pytest.raises(InvalidInput, match=r"preferences\.channels\.email"):
        rehearse(mail(), {"preferences": {"channels": {"email": "no"}}})
