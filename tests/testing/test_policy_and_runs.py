"""Runs whose messages are put off: what ends them, leads them on, or keeps them (semantics 4, 5 and 7)."""

from datetime import UTC, datetime
from typing import Any

import pytest

from chimeway import (
    Notify,
    TransientFailure,
    Wait,
    Workflow,
    hours,
    on_outcome,
    repeat,
    signal_received,
)
from chimeway.progression.retry import RetryPolicy
from chimeway.store.verify import verify
from chimeway.testing import Harness
from chimeway.testing.journey import Journey

EVENING = datetime(2026, 3, 2, 22, 30, tzinfo=UTC)
SEVEN = datetime(2026, 3, 3, 7, tzinfo=UTC)
NIGHT: dict[str, Any] = {"quiet_hours": [{"from": "22:00", "to": "07:00"}]}
LATE = datetime(2026, 3, 2, 21, 59, 59, tzinfo=UTC)
MAIL = Notify("mail", channel="email", render_key="hello")
PATIENT = RetryPolicy(base_s=1200.0)


def one(**more: Any) -> Workflow:
    """Return a workflow that sends one mail."""
    return Workflow(key="w", version=1, steps=[MAIL], **more)


def end(journey: Journey, place: int = 0) -> tuple[str, str | None]:
    """Return how a delivery ended."""
    return journey.deliveries[place].status, journey.deliveries[place].suppression_reason


async def sound(journey: Journey) -> None:
    """Nothing is sent any more, nothing waits, and every invariant holds."""
    sent = len(journey.sent)
    await journey.advance("P3D")
    assert len(journey.sent) == sent
    assert {row.deferred_reason for row in journey.deliveries} == {None}
    assert await verify(journey.client.database) == []


async def test_cancel_ends_what_is_put_off() -> None:
    """No provider was asked for it, so it is cancelled with its run."""
    async with Harness(one(), start=EVENING) as journey:
        await journey.identify("ada", preferences=NIGHT)
        await journey.trigger(recipients="ada")
        assert journey.deliveries[0].status == "deferred"
        await journey.cancel()
        assert end(journey) == ("cancelled", "run_stopped")
        await sound(journey)


@pytest.mark.parametrize("failed", [False, True], ids=["planned", "to be tried again"])
async def test_the_workflows_own_condition_holds_while_a_message_waits(failed: bool) -> None:
    """For what is put off, and for what was tried and put off then."""
    workflow = one(stop_conditions=[signal_received("account_closed")])
    async with Harness(workflow, start=LATE if failed else EVENING, retry=PATIENT) as journey:
        await journey.identify("ada", preferences=NIGHT)
        if failed:
            journey.fail_next("email", TransientFailure())
        await journey.trigger(recipients="ada")
        await journey.advance("PT2H")
        assert (journey.deliveries[0].status, journey.deliveries[0].attempt_count) == (
            "deferred",
            int(failed),
        )
        await journey.signal("account_closed", actor="ada")
        assert journey.run.state == "stopped"
        assert end(journey) == ("cancelled", "run_stopped")
        await sound(journey)


async def test_to_be_put_off_is_no_outcome() -> None:
    """No rule is about it, and the run waits for what becomes of it; a repeat comes round after it."""
    rule = on_outcome("temporary_failure", to_step="other")
    other = Notify("other", channel="sms", render_key="hello")
    workflow = Workflow(
        key="w", version=1,
        steps=[Notify("mail", channel="email", render_key="hello", progress=[rule], next="end"), other],
    )  # fmt: skip
    async with Harness(workflow, start=EVENING) as journey:
        await journey.identify("ada", preferences=NIGHT)
        await journey.trigger(recipients="ada")
        await journey.advance("PT1H")
        assert (journey.run.state, journey.run.step, len(journey.deliveries)) == ("active", "mail", 1)
        await journey.advance_to(SEVEN)
        assert journey.run.state == "completed"
        await sound(journey)


async def test_a_message_that_is_kept_is_sent_after_its_run() -> None:
    """`keep_retrying`: put off in the night, sent in the morning, though its run has completed."""
    rule = on_outcome("temporary_failure", to_step="other", keep_retrying=True)
    workflow = Workflow(
        key="w", version=1,
        steps=[
            Notify("mail", channel="email", render_key="hello", progress=[rule]),
            Notify("other", channel="in_app", render_key="hello"),
        ],
    )  # fmt: skip
    async with Harness(workflow, start=LATE, retry=PATIENT) as journey:
        await journey.identify("ada", preferences=NIGHT)
        journey.fail_next("email", TransientFailure())
        await journey.trigger(recipients="ada")
        await journey.advance("PT2H")
        assert (journey.run.state, journey.deliveries[0].status) == ("completed", "deferred")
        assert await verify(journey.client.database) == []
        await journey.advance_to(SEVEN)
        assert [message.at for message in journey.sent] == [SEVEN]
        await sound(journey)


async def test_a_pause_and_a_hold_keep_what_is_put_off() -> None:
    """It is due at seven, and goes when its workflow, or its run, is given back."""
    async with Harness(one(), start=EVENING) as journey:
        await journey.identify("ada", preferences=NIGHT)
        await journey.trigger(recipients="ada")
        database = journey.client.database
        for keep, free in (
            ("pause_workflow('w', true)", "pause_workflow('w', false)"),
            ("hold_run(id, 'held_by_request')", "resume_run(id)"),
        ):
            async with database.acquire() as connection:
                await connection.execute(f"select chimeway.{keep} from chimeway.workflow_runs")
            await journey.advance("PT10H")
            assert journey.deliveries[0].status == "deferred"
            async with database.acquire() as connection:
                await connection.execute(f"select chimeway.{free} from chimeway.workflow_runs")
            if keep.startswith("pause"):
                await journey.identify("ada", preferences={"quiet_hours": {"from": "06:00", "to": "12:00"}})
        await journey.settle()
        await journey.advance("PT1H")
        assert len(journey.sent) == 1
        await sound(journey)


async def test_reminders_are_put_off_one_by_one() -> None:
    """A cycle through a wait: each visit's message is judged by itself."""
    workflow = Workflow(
        key="w", version=1,
        steps=[
            Notify("mail", channel="email", render_key="hello"),
            Wait("w", duration="PT12H", stop_conditions=[signal_received("read")],
                 next=repeat("mail", times=2, then="end")),
        ],
    )  # fmt: skip
    async with Harness(workflow, start=datetime(2026, 3, 2, 12, tzinfo=UTC)) as journey:
        await journey.identify("ada", preferences=NIGHT, timezone="Asia/Tokyo")
        await journey.trigger(recipients="ada")
        await journey.advance("P3D")
        assert [f"{message.at:%d %H}" for message in journey.sent] == ["02 12", "03 00", "03 12"]
        assert journey.run.state == "completed"
        await sound(journey)


async def test_who_changes_zone_while_a_message_waits_is_judged_by_the_new_one() -> None:
    """At once where it is his own; a tenant's is seen when the message's moment comes."""
    async with Harness(one(), start=EVENING) as journey:
        await journey.identify("ada", preferences=NIGHT)
        await journey.identify("ben", preferences=NIGHT)
        await journey.trigger(recipients=["ada", "ben"])
        await journey.identify("ada", timezone="America/New_York")  # half past five in the afternoon
        await journey.configure_tenant(timezone="Pacific/Auckland")
        assert [message.recipient_id for message in journey.sent] == ["ada"]
        await journey.advance_to(SEVEN)  # eight in the evening
        assert [message.recipient_id for message in journey.sent] == ["ada", "ben"]
        await sound(journey)


async def test_a_retry_that_would_come_too_late_ends_at_once() -> None:
    """Hours that put it off beyond the age of its channel: the rule for it follows now, not on Monday."""
    rule = on_outcome("retries_exhausted", to_step="other")
    workflow = Workflow(
        key="w", version=1,
        steps=[
            Notify("mail", channel="email", render_key="hello", progress=[rule],
                   send_window=hours("09:00", "17:00", on=["mon", "fri"])),
            Notify("other", channel="sms", render_key="hello"),
        ],
    )  # fmt: skip
    friday = datetime(2026, 3, 6, 16, 59, 59, tzinfo=UTC)
    async with Harness(workflow, start=friday, retry=PATIENT) as journey:
        journey.fail_next("email", TransientFailure())
        await journey.trigger(recipients="ada")
        await journey.advance("PT1H")
        assert end(journey) == ("cancelled", "retries_exhausted")
        assert [message.channel for message in journey.sent] == ["sms"]
        await sound(journey)


async def test_an_earlier_address_and_message_stay() -> None:
    """What was put off is rendered and addressed when it is sent, by what holds then."""
    async with Harness(one(), start=EVENING, strict=True, templates={"hello.email.j2": BODY}) as journey:
        await journey.identify("ada", email="old@example.org", preferences=NIGHT, data={"name": "Old"})
        await journey.trigger(recipients="ada", data={})
        await journey.identify("ada", email="new@example.org", data={"name": "New"})
        await journey.advance_to(SEVEN)
        assert [(message.address, message.body) for message in journey.sent] == [("new@example.org", "New")]
        await sound(journey)


BODY = "{% block subject %}s{% endblock %}{% block body %}{{ recipient.data.name }}{% endblock %}"
