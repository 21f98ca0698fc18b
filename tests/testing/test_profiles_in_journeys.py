"""When a journey sees what is said of its recipient: addresses, zones, and none at all."""

from collections.abc import Mapping
from datetime import UTC, datetime

import pytest

from chimeway import Notify, QuietHours, TransientFailure, Wait, Workflow, on_outcome
from chimeway.testing import Harness, SyncHarness
from store.plain_sql import plain

MAIL = Workflow(key="mail", version=1, steps=[Notify("mail", channel="email", render_key="hello")])
TEMPLATES: Mapping[str, str] = {
    "hello.email.j2": "{% block subject %}Hello{% endblock %}"
    "{% block body %}{{ recipient.data.team }}{% endblock %}",
    "hello.push.j2": "{% block body %}hello{% endblock %}",
}


@pytest.mark.parametrize("known", ["never identified", "without an address", "address removed"])
async def test_who_has_no_address_is_sent_nothing_and_nothing_fails(known: str) -> None:
    """Suppressed with the reason no_address, an outcome that the journey can go on by."""
    fallback = Workflow(
        key="fallback",
        version=1,
        steps=[
            Notify(
                "mail",
                channel="email",
                render_key="hello",
                progress=[on_outcome("suppressed", to_step="push")],
            ),
            Notify("push", channel="push", render_key="hello"),
        ],
    )
    async with Harness(fallback, templates=TEMPLATES, strict=True) as journey:
        if known != "never identified":
            await journey.identify("ada", addresses={"pager": "4711"}, data={"team": "blue"})
        if known == "address removed":
            await journey.identify("ada", email="ada@example.org")
            await journey.identify("ada", email=None)
        await journey.trigger(recipients=["ada"])
        assert [(each.status, each.suppression_reason) for each in journey.deliveries] == [
            ("suppressed", "no_address"),
            ("suppressed", "no_address"),
        ]
        assert not journey.deliveries[0].attempts
        assert (journey.run.state, journey.sent) == ("completed", [])


async def test_who_is_identified_between_plan_and_attempt() -> None:
    """The first attempt goes to the address of that moment; gone by then: no_address, and nothing is sent."""
    async with Harness(MAIL, templates=TEMPLATES, strict=True) as journey:
        for who in ("ada", "ben"):
            await journey.identify(who, email="old@example.org", data={"team": "blue"})
        async with journey.hold_sends("email"):
            await journey.trigger(recipients=["ada", "ben", "cem"])
            assert [each.status for each in journey.deliveries] == ["pending", "pending", "suppressed"]
            await journey.identify("ada", email="new@example.org", data={"team": "red"})
            await journey.identify("ben", email=None)
            await journey.identify("cem", email="late@example.org", data={"team": "green"})
        assert [(sent.address, sent.body) for sent in journey.sent] == [("new@example.org", "red")]
        for who in ("ben", "cem"):
            (delivery,) = journey.deliveries_of(who)
            assert (delivery.suppression_reason, delivery.attempts) == ("no_address", ())
        await journey.trigger(recipients=["cem"])
        assert journey.sent[-1].address == "late@example.org"


async def test_all_attempts_of_a_message_go_to_the_address_of_the_first() -> None:
    """An address that changes in between holds for the next message."""
    twice = Workflow(
        key="twice",
        version=1,
        steps=[
            Notify("first", channel="email", render_key="hello"),
            Notify("second", channel="email", render_key="hello"),
        ],
    )
    async with Harness(twice) as journey:
        await journey.identify("ada", email="old@example.org")
        journey.fail_next("email", TransientFailure())
        await journey.trigger(recipients=["ada"])
        await journey.identify("ada", email="new@example.org")
        assert journey.sent == []
        await journey.advance("PT1H")
        assert [sent.address for sent in journey.sent] == ["old@example.org", "new@example.org"]


async def test_who_moves_while_a_wait_lasts_goes_on_when_it_was_to_end() -> None:
    """The computed instant stays; the next wait is counted in the new zone."""
    days = Workflow(
        key="days",
        version=1,
        steps=[
            Wait("first", duration="P1D"),
            Notify("one", channel="email", render_key="hello"),
            Wait("second", duration="P1D"),
            Notify("two", channel="email", render_key="hello"),
        ],
    )
    # Clocks change in London on 29 March, in New York they did on 8 March: 23 hours there, 24 here.
    async with Harness(days, start="2026-03-28T12:00:00Z") as journey:
        await journey.identify("ada", timezone="Europe/London")
        await journey.trigger(recipients=["ada"])
        await journey.identify("ada", timezone="America/New_York")
        assert journey.run.wake_at == datetime(2026, 3, 29, 11, tzinfo=UTC)
        await journey.advance_to("2026-03-29T11:00:00Z")
        assert len(journey.sent) == 1
        assert journey.run.wake_at == datetime(2026, 3, 30, 11, tzinfo=UTC)


async def test_a_zone_that_this_machine_does_not_know_counts_as_utc() -> None:
    """PostgreSQL may know a newer one: nothing fails, and the journey goes on."""
    day = Workflow(
        key="day",
        version=1,
        steps=[Wait("wait", duration="P1D"), Notify("mail", channel="email", render_key="hello")],
    )
    async with Harness(day, start="2026-03-28T12:00:00Z") as journey:
        await journey.identify("ada", timezone="Europe/London")
        async with plain(journey.url) as sql:
            await sql.execute("update chimeway.recipients set timezone = 'Europe/Atlantis'")
        await journey.trigger(recipients=["ada"])
        assert await journey.advance_to_next() == datetime(2026, 3, 29, 12, tzinfo=UTC)
        assert len(journey.sent) == 1


def test_tenants_are_configured_without_a_loop() -> None:
    """`SyncHarness` has the same verbs."""
    with SyncHarness(MAIL, tenant="org") as journey:
        journey.configure_tenant(timezone="Asia/Tokyo", preferences={"channels": {"sms": False}})
        journey.identify("ada", email="ada@example.net", preferences={"channels": {"email": True}})
        found = journey.client.get_tenant()
        assert (found.timezone, found.preferences) == ("Asia/Tokyo", {"channels": {"sms": False}})
        assert journey.client.get_recipient("ada").preferences == {"channels": {"email": True}}
        journey.trigger(recipients=["ada"])
        assert journey.sent[0].address == "ada@example.net"


NIGHT = {"quiet_hours": QuietHours("22:00", "07:00")}
LATE = "2026-03-02T23:00:00Z"


async def test_who_changes_what_he_wants_is_heard_at_once() -> None:
    """What was deferred is judged anew: sent, deferred to another hour, or ended; data moves nothing."""
    async with Harness(MAIL, start=LATE) as journey:
        for who in ("ada", "ben", "cem", "dan"):
            await journey.identify(who, preferences=NIGHT)
        await journey.trigger(recipients=["ada", "ben", "cem", "dan"])
        assert [each.status for each in journey.deliveries] == ["deferred"] * 4
        await journey.identify("ada", preferences={"quiet_hours": None})
        await journey.identify("ben", timezone="Asia/Tokyo")  # where it is eight in the morning
        await journey.identify("cem", preferences={"channels": {"email": False}})
        await journey.identify("dan", data={"team": "blue"}, preferences=NIGHT)
        assert [sent.recipient_id for sent in journey.sent] == ["ada", "ben"]
        (cem,), (dan,) = journey.deliveries_of("cem"), journey.deliveries_of("dan")
        assert (cem.status, cem.suppression_reason) == ("suppressed", "preference")
        assert dan.next_attempt_at == datetime(2026, 3, 3, 7, tzinfo=UTC)
        async with plain(journey.url) as sql:
            said = "select count(*) from chimeway.delivery_verdicts where delivery_id = $1"
            assert await sql.fetchval(said, dan.id) == 1
        assert await journey.advance_to_next() == dan.next_attempt_at
        assert journey.sent[-1].recipient_id == "dan"


async def test_who_is_identified_for_the_first_time_is_heard_too() -> None:
    """A tenant's quiet hours defer for whoever is unknown; his own first words let it go."""
    async with Harness(MAIL, start=LATE) as journey:
        await journey.configure_tenant(preferences=NIGHT)
        await journey.trigger(recipients=["ada", "ben"])
        assert [each.status for each in journey.deliveries] == ["deferred"] * 2
        await journey.identify("ada", preferences={"quiet_hours": []})
        assert [sent.recipient_id for sent in journey.sent] == ["ada"]
        await journey.configure_tenant(preferences={"quiet_hours": None})
        assert len(journey.sent) == 1  # a tenant's word is heard when the message wakes
        await journey.advance("PT8H")
        assert [sent.recipient_id for sent in journey.sent] == ["ada", "ben"]


async def test_identify_waits_for_no_run() -> None:
    """Somebody holds the run of what is deferred: the profile is written all the same."""
    async with Harness(MAIL, start=LATE) as journey:
        await journey.identify("ada", preferences=NIGHT)
        await journey.trigger(recipients=["ada"])
        async with plain(journey.url) as sql, sql.transaction():
            await sql.execute("select 1 from chimeway.workflow_runs for update")
            await journey.client.identify("ada", preferences={"quiet_hours": None})
            assert (await journey.client.get_recipient("ada")).preferences == {}
        assert journey.deliveries[0].status == "deferred"
        await journey.advance("PT8H")
        assert len(journey.sent) == 1


async def test_the_waiting_room_tells_the_zone_that_holds() -> None:
    """His own, else his tenant's, in which his wait was counted, else UTC."""
    day = Workflow(
        key="day",
        version=1,
        steps=[Wait("wait", duration="P1D"), Notify("mail", channel="email", render_key="hello")],
    )
    async with Harness(day) as journey:
        await journey.trigger(recipients=["cem"])
        await journey.configure_tenant(timezone="Asia/Tokyo")
        await journey.identify("ada", timezone="Europe/London")
        await journey.trigger(recipients=["ada", "ben"])
        page = await journey.client.waiting()
        assert {run.recipient_id: run.zone for run in page} == {
            "ada": "Europe/London",
            "ben": "Asia/Tokyo",
            "cem": "UTC",
        }
