"""Reminders every morning until they are read, five at most, as a user would play them."""

from datetime import UTC, datetime

from chimeway import Notify, Wait, Workflow, local_time, repeat, signal_received
from chimeway.client.why import why
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
