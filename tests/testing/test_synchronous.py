"""The harness without an event loop: plain functions, unittest, and beside another loop."""

import unittest
from typing import Any

import pytest

from chimeway import InboxCounts, PermanentFailure
from chimeway.errors import InvalidInput
from chimeway.testing import SyncHarness
from kit.guide import mention_escalation

DATA = {"document_id": "doc_789"}


def test_the_guides_journey() -> None:
    """The verbs are the same, without `await`."""
    with SyncHarness(mention_escalation) as journey:
        journey.trigger(recipients=["ada", "ben"], data=DATA)
        (item,) = journey.inbox("ada").list()
        journey.inbox("ada").mark_seen(item.id)
        assert journey.inbox("ada").counts() == InboxCounts(unseen=0, unread=1)
        assert journey.inbox("ada").mark_interacted(item) == (item.id,)
        assert journey.inbox("ada").mark_unread([item]) == (item.id,)
        assert len(journey.inbox("ada").list(unread=True, archived="with")) == 1
        journey.signal("notification_read", actor="ada", payload=DATA)
        journey.advance("PT2H")
        assert [sent.recipient_id for sent in journey.sent] == ["ben"]
        assert [run.state for run in journey.runs] == ["stopped", "completed"]
        assert journey.explain(journey.run_of("ben").id).state == "completed"


def test_its_own_client_and_failures() -> None:
    """The client has no event loop either; failures and held sends are as in `Harness`."""
    with SyncHarness(mention_escalation, tenant="org_1") as journey:
        journey.client.trigger(mention_escalation, DATA, recipients=["ada"])
        journey.settle()
        assert journey.run.tenant_id == "org_1"
        journey.fail_next("email", PermanentFailure())
        with journey.hold_sends("email"):
            journey.advance("PT2H")
            assert journey.deliveries[1].status == "pending"
        assert journey.deliveries[1].suppression_reason == "permanent_failure"


async def test_it_works_beside_a_running_loop() -> None:
    """Inside a coroutine it blocks that loop, and works."""
    with SyncHarness(mention_escalation) as journey:
        journey.trigger(data=DATA)
        assert journey.run.state == "waiting"


def test_errors_pass_through() -> None:
    """An error of the block, or of a verb, comes out as it is."""
    with pytest.raises(ZeroDivisionError), SyncHarness(mention_escalation):
        _ = 1 / 0
    with pytest.raises(InvalidInput, match="time goes forward only"), SyncHarness() as journey:
        journey.advance(-1)


class PlainUnittest(unittest.TestCase):
    """A test case of the standard library."""

    def test_unittest(self) -> None:
        """It needs nothing of pytest."""
        journey = self.enterContext(SyncHarness(mention_escalation))
        journey.trigger(data=DATA)
        self.assertEqual(journey.run.state, "waiting")  # noqa: PT009


def test_the_fixture_closes_its_journeys(chimeway_sync_harness: Any) -> None:
    """The fixture gives open journeys, several if need be."""
    first, second = chimeway_sync_harness(mention_escalation), chimeway_sync_harness(mention_escalation)
    first.trigger(data=DATA)
    assert (len(first.runs), second.runs) == (1, ())
