"""The guide's journey in the harness, as a user would write it."""

from datetime import timedelta

from chimeway.store.verify import verify
from chimeway.testing import Harness
from kit.guide import mention_escalation

DATA = {"document_id": "doc_789"}


async def test_who_reads_in_time_gets_no_mail() -> None:
    """A document that is read within two hours is the end of the journey."""
    async with Harness(mention_escalation) as journey:
        await journey.trigger(recipients=["user_123"], data=DATA)
        assert await journey.inbox().unseen_count() == 1
        await journey.advance("PT1H59M59S")
        await journey.signal("notification_read", payload=DATA)
        assert journey.run.state == "stopped"
        await journey.advance("P1D")
        assert journey.sent == []


async def test_who_does_not_read_gets_one_mail_at_exactly_two_hours() -> None:
    """The mail leaves two hours after the in-app item, not a moment before, and once."""
    async with Harness(mention_escalation) as journey:
        began = journey.now
        await journey.trigger(recipients=["user_123"], data=DATA)
        await journey.advance("PT1H59M59.999999S")
        assert journey.sent == []
        await journey.advance("P1D")
        assert [mail.at - began for mail in journey.sent] == [timedelta(hours=2)]
        assert journey.sent[0].channel == "email"
        assert journey.sent[0].address == "user_123@example.org"
        assert journey.sent[0].delivery_id == str(journey.deliveries[1].id)
        assert (journey.sent[0].attempt, journey.run.state) == (1, "completed")
        assert await verify(journey.client.database) == []


async def test_reading_another_document_does_not_stop_it() -> None:
    """Two open mentions of one person are two journeys: reading one stops only that one."""
    async with Harness(mention_escalation) as journey:
        await journey.trigger(recipients=["user_123"], data=DATA)
        await journey.trigger(recipients=["user_123"], data={"document_id": "doc_2"})
        await journey.signal("notification_read", payload={"document_id": "doc_2"})
        assert [run.state for run in journey.runs] == ["waiting", "stopped"]
        await journey.advance("PT2H")
        assert [mail.data["document_id"] for mail in journey.sent] == ["doc_789"]
