"""Reminders every morning until they are read, five at most, as a user would play them."""

from datetime import UTC, datetime

from chimeway import Notify, Wait, Workflow, local_time, repeat, signal_received, within, working_days
from chimeway.client.why import why
from chimeway.client.why_listed import waits
from chimeway.store import callers, reads
from chimeway.store.verify import verify
from chimeway.testing import Harness

REMINDERS = Workflow(
    key="reminders",
    version=1,
    steps=[
        Wait("morning", until=local_time("09:00"), stop_conditions=[signal_received("read")]),
        Notify("remind", channel="email", render_key="hello", next=repeat("morning", times=4, then="end")),
    ],
)
WORK = Workflow(
    key="work",
    version=1,
    steps=[
        Wait("morning", until=local_time("09:00", on=working_days)),
        Wait("office", until=within("08:00", "18:00", on=working_days)),
        Notify("remind", channel="email", render_key="hello"),
    ],
)
FRIDAY = datetime(2026, 3, 27, 12, tzinfo=UTC)  # on Sunday clocks in London are put forward


async def test_read_after_the_third() -> None:
    """Three mornings bring three reminders at nine by London's clocks; read, there is no fourth."""
    async with Harness(REMINDERS, start=FRIDAY) as journey:
        await journey.client.identify("ada", email="ada@example.org", timezone="Europe/London")
        run = (await journey.trigger(recipients=["ada"])).run_ids[0]
        await journey.advance_to("2026-03-30T12:00:00Z")
        await journey.signal("read")
        await journey.advance("P10D")
        assert [f"{mail.at:%m-%d %H:%M}" for mail in journey.sent] == [
            "03-28 09:00",
            "03-29 08:00",
            "03-30 08:00",
        ]
        assert journey.run.state == "stopped"
        assert await verify(journey.client.database) == []
        told = why(await callers.run(journey.client.database, reads.read_story("default", run)))
        assert any(
            sentence.startswith(
                "After the message of remind the run went back to morning (3 of at most 4 times)"
            )
            for sentence in told
        ), told


async def test_never_read() -> None:
    """Five mornings, five reminders, and the journey is over; while it waits it says which time it is."""
    async with Harness(REMINDERS, start=FRIDAY) as journey:
        run = (await journey.trigger(recipients=["ada"])).run_ids[0]
        await journey.advance("P2D")
        standing = why(await callers.run(journey.client.database, reads.read_story("default", run)))
        await journey.advance("P30D")
        assert [f"{mail.at:%m-%d %H:%M}" for mail in journey.sent] == [
            f"03-{day} 09:00" for day in (28, 29, 30, 31)
        ] + ["04-01 09:00"]
        assert journey.run.state == "completed"
        assert await verify(journey.client.database) == []
        assert any("the run went back to morning (2 of at most 4 times)" in sentence for sentence in standing)
        assert "remind has led back 2 of at most 4 times." in standing
        told = why(await callers.run(journey.client.database, reads.read_story("default", run)))
        assert told[-1].endswith("it had gone back from remind 4 times, as often as it may.")


async def test_a_tenants_calendar() -> None:
    """Zone and working days are the tenant's; a change moves no wait that was entered; the audit holds."""
    async with Harness(WORK, start=FRIDAY) as journey:
        client = journey.client
        await client.configure_tenant(
            timezone="Asia/Kolkata", working_days=["mon", "wed"], holidays=["2026-03-30"]
        )
        run = (await journey.trigger(recipients=["ada"])).run_ids[0]
        story = await callers.run(client.database, reads.read_story("default", run))
        assert story.run.status_context["due_at"] == "2026-04-01T03:30:00.000000Z"
        await client.configure_tenant(timezone="UTC", working_days=["sun"], holidays=[])
        await journey.advance("P10D")
        story = await callers.run(client.database, reads.read_story("default", run))
        over = [f"{row.at:%m-%d %H:%M}" for row in story.transitions if row.reason == "reactivated_from_wait"]
        assert over == ["04-01 03:30", "04-05 08:00"]  # the second was entered when the new calendar held
        assert await verify(client.database) == []


async def test_the_waiting_room_says_which_time_it_is() -> None:
    """Who waits, until when, and for which of how many reminders."""
    async with Harness(REMINDERS, start=FRIDAY) as journey:
        await journey.trigger(recipients=["ada"])
        await journey.advance("P2D")
        [listed] = await journey.client.waiting()
        assert listed.repeats == {"remind": 2}
        told = list(waits(listed, REMINDERS.definition))
        assert told[1:3] == [
            'At 2026-03-30 09:00:00 UTC the wait is over, and remind sends the email "hello".',
            "remind has led back 2 of at most 4 times.",
        ]
