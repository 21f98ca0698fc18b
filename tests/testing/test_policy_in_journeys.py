"""Policy in journeys on the real store: what is held back, until when, and that it goes on from there."""

from datetime import UTC, datetime
from typing import Any

import pytest

from chimeway import Notify, TransientFailure, Wait, Workflow, hours, signal_received
from chimeway.progression.retry import RetryPolicy
from chimeway.store import acting
from chimeway.store.acting import Operator
from chimeway.store.retrying import list_failed
from chimeway.store.verify import verify
from chimeway.testing import Harness
from chimeway.testing.journey import Journey
from kit.wishes import tenant_wishes, wishes

EVENING = datetime(2026, 3, 2, 22, 30, tzinfo=UTC)  # Monday, winter time in London
MAIL = Workflow(
    key="mail", version=1, category="news", steps=[Notify("m", channel="email", render_key="hello")]
)
NIGHT = {"quiet_hours": [{"from": "22:00", "to": "07:00"}]}


def said(journey: Journey, place: int = 0) -> tuple[Any, ...]:
    """Return what became of a delivery."""
    row = journey.deliveries[place]
    return row.status, row.suppression_reason, row.deferred_reason, row.next_attempt_at


async def sound(journey: Journey) -> None:
    """Look at every invariant, and that each decision is made again."""
    assert await verify(journey.client.database) == []


async def test_quiet_hours_defer_to_their_end_and_then_it_is_sent() -> None:
    """By the recipient's clock, at the very instant; the run waits for it."""
    async with Harness(MAIL, start=EVENING) as journey:
        await wishes(journey, "ada", NIGHT, zone="Europe/London")
        await journey.trigger(recipients="ada")
        seven = datetime(2026, 3, 3, 7, tzinfo=UTC)
        assert said(journey) == ("deferred", None, "quiet_hours", seven)
        assert journey.run.state == "active"
        await journey.advance_to(datetime(2026, 3, 3, 6, 59, 59, tzinfo=UTC))
        assert not journey.sent
        await journey.advance("PT1S")
        assert [mail.at for mail in journey.sent] == [seven]
        assert journey.run.state == "completed"
        assert said(journey) == ("succeeded", None, None, None)
        await sound(journey)


async def test_who_has_no_zone_has_his_tenants() -> None:
    """For quiet hours, for waits, and for what is rendered."""
    async with Harness(MAIL, start=EVENING) as journey:
        await tenant_wishes(journey, NIGHT, zone="Asia/Tokyo")  # half past seven in the morning there
        await wishes(journey, "ben", {}, zone="Europe/London")
        await journey.trigger(recipients=["ada", "ben"])
        assert [sent.recipient_id for sent in journey.sent] == ["ada"]
        await sound(journey)


async def test_a_no_suppresses_and_the_run_goes_on() -> None:
    """No provider is called; a rule about `suppressed` may be there for it."""
    async with Harness(MAIL, start=EVENING) as journey:
        await wishes(journey, "ada", {"categories": {"news": False}})
        await journey.trigger(recipients="ada")
        assert said(journey) == ("suppressed", "preference", None, None)
        assert (len(journey.sent), journey.run.state) == (0, "completed")
        await sound(journey)


async def test_a_no_keeps_the_inbox_empty() -> None:
    """An in-app message that is not wanted is not written."""
    workflow = Workflow(key="w", version=1, steps=[Notify("i", channel="in_app", render_key="hello")])
    async with Harness(workflow) as journey:
        await wishes(journey, "ada", {"channels": {"in_app": False}, **NIGHT})
        await journey.trigger(recipients=["ada", "ben"])
        assert [row.suppression_reason for row in journey.deliveries] == ["preference", None]
        assert len(await journey.inbox("ada").list()) == 0
        assert len(await journey.inbox("ben").list()) == 1
        await sound(journey)


async def test_a_critical_workflow_goes_through_all_of_it() -> None:
    """Preferences, quiet hours and caps do not hold for it."""
    alarm = Workflow(
        key="alarm", version=1, critical=True, steps=[Notify("m", channel="email", render_key="hello")]
    )
    caps = [{"channel": "email", "limit": 1, "per": "P1D", "then": "drop"}]
    async with Harness(alarm, MAIL, start=EVENING) as journey:
        await wishes(journey, "ada", {"channels": {"email": False}, **NIGHT, "caps": caps}, zone="UTC")
        await journey.trigger(alarm, recipients="ada")
        await journey.trigger(alarm, recipients="ada")
        assert len(journey.sent) == 2
        await sound(journey)


async def test_a_no_between_two_attempts_ends_it() -> None:
    """A retry asks again; what was tried before is told."""
    async with Harness(MAIL) as journey:
        journey.fail_next("email", TransientFailure())
        await journey.trigger(recipients="ada")
        assert journey.deliveries[0].status == "failed"
        await wishes(journey, "ada", {"channels": {"email": False}})
        await journey.advance("PT1H")
        assert said(journey) == ("suppressed", "preference", None, None)
        assert (journey.deliveries[0].attempt_count, len(journey.sent)) == (1, 0)
        assert journey.run.state == "completed"
        await sound(journey)


async def test_quiet_hours_hold_for_retries() -> None:
    """What failed at five to ten is tried again at seven; all night it is a failed one."""
    pause = RetryPolicy(base_s=1200.0)
    late = datetime(2026, 3, 2, 21, 59, 59, tzinfo=UTC)
    async with Harness(MAIL, start=late, retry=pause) as journey:
        await wishes(journey, "ada", NIGHT)
        journey.fail_next("email", TransientFailure())
        await journey.trigger(recipients="ada")
        await journey.advance("PT1H")
        assert said(journey) == ("deferred", None, "quiet_hours", datetime(2026, 3, 3, 7, tzinfo=UTC))
        assert journey.deliveries[0].attempt_count == 1
        await journey.advance("P1D")
        assert len(journey.sent) == 1
        await sound(journey)


@pytest.mark.parametrize("then", ["delay", "drop"])
async def test_a_cap_holds(then: str) -> None:
    """Three in a day; what is beyond goes when a place is free, the oldest first, or never."""
    cap = {"channel": "email", "limit": 3, "per": "PT24H", "then": then}
    async with Harness(MAIL) as journey:
        await wishes(journey, "ada", {"caps": [cap]})
        for number in range(5):
            await journey.trigger(recipients="ada", data={"number": number})
            await journey.advance("PT1H")
        assert [mail.data["number"] for mail in journey.sent] == [0, 1, 2]
        await journey.advance("P2D")
        if then == "delay":
            assert [mail.data["number"] for mail in journey.sent] == [0, 1, 2, 3, 4]
            assert all(
                (b - a).total_seconds() >= 86_400
                for a, b in zip([m.at for m in journey.sent], [m.at for m in journey.sent[3:]], strict=False)
            )
        else:
            assert [row.suppression_reason for row in journey.deliveries][3:] == ["cap", "cap"]
        await sound(journey)


async def test_a_retry_is_not_counted_again() -> None:
    """One message that fails twice has taken one place."""
    cap = {"channel": "email", "limit": 2, "per": "PT24H", "then": "drop"}
    async with Harness(MAIL) as journey:
        await wishes(journey, "ada", {"caps": [cap]})
        journey.fail_next("email", TransientFailure(), TransientFailure())
        await journey.trigger(recipients="ada")
        await journey.advance("PT1H")
        await journey.trigger(recipients="ada")
        assert [row.status for row in journey.deliveries] == ["succeeded", "succeeded"]
        await sound(journey)


async def test_the_inbox_has_caps_that_drop() -> None:
    """Counted by the decision that writes it, also where one decision writes two."""
    workflow = Workflow(
        key="w", version=1,
        steps=[Notify(f"i{n}", channel="in_app", render_key="hello") for n in range(2)],
    )  # fmt: skip
    cap = {"channel": "in_app", "limit": 3, "per": "PT24H", "then": "drop"}
    async with Harness(workflow) as journey:
        await wishes(journey, "ada", {"caps": [cap]})
        await journey.trigger(recipients="ada")
        await journey.trigger(recipients="ada")
        assert [row.status for row in journey.deliveries] == ["succeeded"] * 3 + ["suppressed"]
        await journey.advance("P2D")
        await journey.trigger(recipients="ada")
        assert [row.status for row in journey.deliveries][4:] == ["succeeded"] * 2
        await sound(journey)


async def test_widened_preferences_let_it_go_at_once() -> None:
    """Where quiet hours are taken away, what waited for their end does not."""
    async with Harness(MAIL, start=EVENING) as journey:
        await wishes(journey, "ada", NIGHT)
        await journey.trigger(recipients="ada")
        await wishes(journey, "ada", {"quiet_hours": []}, wake=True)
        await journey.advance("PT1S")
        assert len(journey.sent) == 1
        await sound(journey)


async def test_who_unsubscribes_is_heard_at_once() -> None:
    """As with any other no: what was put off until seven ends now, and its run goes on."""
    async with Harness(MAIL, start=EVENING) as journey:
        await wishes(journey, "ada", NIGHT)
        await journey.trigger(recipients="ada")
        await journey.client.unsubscribe("ada", workflow="mail", channel="email")
        await journey.settle()
        assert said(journey) == ("suppressed", "preference", None, None)
        assert journey.run.state == "completed"
        await sound(journey)


async def test_hours_that_come_to_exclude_each_other_are_told_by_the_one_that_held() -> None:
    """The trace names the send window, when planned and before sending; the row knows quiet hours."""
    step = Notify("m", channel="email", render_key="hello", send_window=hours("09:00", "17:00"))
    async with Harness(Workflow(key="w", version=1, steps=[step]), start=EVENING) as journey:
        await journey.trigger(recipients="ada")
        await wishes(journey, "ada", {"quiet_hours": {"from": "08:00", "to": "18:00"}}, wake=True)
        await journey.settle()
        await journey.trigger(recipients="ada")
        assert [said(journey, n) for n in (0, 1)] == [("suppressed", "quiet_hours", None, None)] * 2
        for run in journey.runs:
            told = await journey.explain(run.id)
            assert told.deliveries[0].verdicts[-1].reason == "send_window"
            assert any("the step sends only in the hours 09:00 to 17:00 in UTC" in one for one in told.why)
            assert any("no hour allows it" in one for one in told.why)
        await sound(journey)


async def test_a_signal_stops_what_is_deferred() -> None:
    """The stop conditions of the wait stay armed while no attempt was made: semantics 5, row 5a."""
    workflow = Workflow(
        key="w", version=1,
        steps=[
            Wait("w", duration="PT1H", stop_conditions=[signal_received("read")]),
            Notify("m", channel="email", render_key="hello"),
        ],
    )  # fmt: skip
    async with Harness(workflow, start=EVENING) as journey:
        await wishes(journey, "ada", NIGHT)
        await journey.trigger(recipients="ada")
        await journey.advance("PT2H")
        assert journey.deliveries[0].status == "deferred"
        await journey.signal("read", actor="ada")
        assert journey.run.state == "stopped"
        assert said(journey) == ("cancelled", "stopped_before_send", None, None)
        await journey.advance("P1D")
        assert not journey.sent
        await sound(journey)


async def test_what_is_put_off_is_told_and_listed() -> None:
    """By `explain`, in the timeline, and among what waits to be sent; an operator does not hurry it."""
    async with Harness(MAIL, start=EVENING) as journey:
        await wishes(journey, "ada", NIGHT)
        receipt = await journey.trigger(recipients="ada")
        told = await journey.explain(receipt.run_ids[0])
        assert ("verdict", "defer", "email: quiet_hours, until 2026-03-03T07:00:00Z") in {
            (each.kind, each.what, each.detail) for each in told.timeline
        }
        database, seven = journey.client.database, datetime(2026, 3, 3, 7, tzinfo=UTC)
        (row,) = await list_failed(database, None, None, 10)
        assert (row.status, row.deferred_reason, row.next_attempt_at) == ("deferred", "quiet_hours", seven)
        ops = Operator(None, "ops", "default")
        found = await acting.alone(database, lambda on: acting.try_again(on, ops, row.delivery_id, None))
        assert found is not None
        assert (found.retried, found.status) == (False, "deferred")
