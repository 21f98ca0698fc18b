"""The client's verbs: what producers type, and what it gives back."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from pydantic import BaseModel

from chimeway import (
    Chimeway,
    DatabaseUnavailable,
    InvalidDataReference,
    InvalidInput,
    Recipient,
    Signal,
    Trigger,
    WorkflowRunNotFound,
    rehearse,
)
from store.mention import DATA, mention
from store.plain_sql import plain


@pytest.fixture
async def chimeway(database_url: str) -> AsyncIterator[Chimeway]:
    """A client on this test's database."""
    async with Chimeway.connect(database_url) as client:
        yield client


async def test_the_guides_producer_works(chimeway: Chimeway) -> None:
    """Identify, trigger, signal, read and cancel, as the documentation shows them."""
    await chimeway.identify("user_123", tenant="org_456", email="ada@example.org", timezone="Europe/London")
    receipt = await chimeway.trigger(
        mention(), recipients=["user_123"], tenant="org_456", data=DATA, idempotency_key="mention-789-123"
    )
    assert (len(receipt.run_ids), receipt.recipients, receipt.duplicate) == (1, ("user_123",), False)
    again = await chimeway.trigger(
        mention(), recipients=["user_123"], tenant="org_456", data=DATA, idempotency_key="mention-789-123"
    )
    assert (again.run_ids, again.duplicate, again.runs) == (receipt.run_ids, True, receipt.runs)
    signal_id = await chimeway.signal("notification_read", actor="user_123", tenant="org_456", payload=DATA)
    assert isinstance(signal_id, UUID)
    run = await chimeway.get_run(receipt.run_ids[0], tenant="org_456")
    assert (run.state, run.step, run.recipient_id) == ("active", None, "user_123")
    stopped = await chimeway.cancel(receipt.run_ids[0], tenant="org_456", note="done by hand")
    assert [(one.run_id, one.step) for one in stopped.stopped] == [(receipt.run_ids[0], None)]
    explained = await chimeway.explain(str(receipt.run_ids[0]), tenant="org_456")
    assert (explained.state, explained.transitions[-1].note) == ("stopped", "done by hand")
    assert explained.why


class MentionJourney:
    """The seed's form of a workflow."""

    def workflow(self, args: dict[str, Any]) -> dict[str, Any]:
        """Return the definition, as a dict."""
        assert args["document_id"] == "doc_789"
        return mention().as_dict()


@pytest.mark.parametrize(
    "form", [mention(), mention().as_dict(), mention().definition, MentionJourney, MentionJourney()]
)
async def test_each_form_of_a_workflow_is_registered_and_started(chimeway: Chimeway, form: Any) -> None:
    """A Workflow, a dict, a Definition and a class that writes one are the same thing."""
    receipt = await chimeway.trigger(form, {"actor_id": "ada", **DATA})
    run = await chimeway.get_run(receipt.run_ids[0])
    assert (run.workflow_key, run.workflow_version, run.recipient_id) == ("mention_escalation", 1, "ada")
    assert (await chimeway.trigger("mention_escalation", DATA, recipients="ada")).run_ids
    assert await chimeway.register(mention()) is False


async def test_the_seeds_module_forms_work(database_url: str) -> None:
    """Trigger.trigger and Signal.track use the client that was opened last on this loop."""
    with pytest.raises(DatabaseUnavailable, match="no client is open"):
        await Signal.track("ada", "org", "notification_read", {})
    async with Chimeway.connect(database_url) as chimeway:
        args = {"actor_id": "user_123", "tenant_id": "org_456", **DATA}
        receipt = await Trigger.trigger(MentionJourney, args, tenant_id="org_456")
        run = await chimeway.get_run(receipt.run_ids[0], tenant="org_456")
        assert run.recipient_id == "user_123"
        assert await Signal.track("user_123", "org_456", "notification_read", DATA)
    with pytest.raises(DatabaseUnavailable):
        await Trigger.trigger(mention(), args)


async def test_recipients_with_profiles_are_identified_with_a_new_trigger_only(
    chimeway: Chimeway, database_url: str
) -> None:
    """Profiles are written with the trigger; a repeat of it does not bring an old profile back."""
    people = ["bob", Recipient("ada", email="old@example.org", data={"name": "Ada"}), "ada"]
    first = await chimeway.trigger(mention(), DATA, recipients=people, idempotency_key="k")
    assert first.recipients == ("bob", "ada")
    await chimeway.identify("ada", email="new@example.org", phone=None)
    await chimeway.trigger(mention(), DATA, recipients=people, idempotency_key="k")
    async with plain(database_url) as sql:
        rows = await sql.fetch("select recipient_id, addresses, data from chimeway.recipients")
    assert [tuple(row) for row in rows] == [("ada", '{"email": "new@example.org"}', '{"name": "Ada"}')]


async def test_a_version_can_be_named(chimeway: Chimeway) -> None:
    """By key the current version starts, or the one named; a definition starts its own."""
    await chimeway.register(mention(version=2))
    await chimeway.register(mention())

    async def started(workflow: Any, version: int | None = None) -> int:
        receipt = await chimeway.trigger(workflow, DATA, recipients="ada", workflow_version=version)
        return (await chimeway.get_run(receipt.run_ids[0])).workflow_version

    assert [await started("mention_escalation"), await started("mention_escalation", 1)] == [2, 1]
    assert await started(mention()) == 1
    with pytest.raises(InvalidInput, match="beside a definition"):
        await started(mention(), 2)


async def test_at_and_cancellation_key_reach_the_run(chimeway: Chimeway) -> None:
    """`at` is the first wake; `cancellation_key` finds all runs that bear it."""
    at = datetime.now(UTC) + timedelta(days=1)
    receipt = await chimeway.trigger(mention(), DATA, recipients=["a", "b"], at=at, cancellation_key="k")
    runs = [await chimeway.get_run(run_id) for run_id in receipt.run_ids]
    assert {(run.wake_at, run.cancellation_key) for run in runs} == {(at, "k")}
    done = await chimeway.cancel(cancellation_key="k")
    assert {run.run_id for run in done.stopped} == set(receipt.run_ids)
    again = await chimeway.cancel(cancellation_key="k")
    assert ({run.run_id for run in again.already_ended}, again.stopped) == (set(receipt.run_ids), ())
    assert (again.cancelled, again.on_their_way) == ((), ())


class MentionData(BaseModel):
    """What a mention is about."""

    document_id: str
    page: int = 1


async def test_data_models_are_checked(chimeway: Chimeway) -> None:
    """Data is checked by the workflow's model; an instance of a model is taken as its JSON."""
    journey = mention(data=MentionData)
    with pytest.raises(InvalidInput) as caught:
        await chimeway.trigger(journey, {"document_id": 1}, recipients="ada")
    assert caught.value.details["problems"]
    assert (await chimeway.trigger(journey, MentionData(document_id="d"), recipients="ada")).run_ids


async def test_bulk_triggers_answer_in_order(chimeway: Chimeway) -> None:
    """trigger_many returns a receipt for each order in its place, whatever the order of their keys."""
    orders = [
        {"recipients": ["a"], "data": DATA, "idempotency_key": "z"},
        {"recipients": ["b", "c"], "data": DATA, "cancellation_key": "k"},
        {"recipients": "a", "data": DATA, "idempotency_key": "a", "at": datetime.now(UTC) + timedelta(1)},
        {"recipients": ["a"], "data": DATA, "idempotency_key": "z"},
    ]
    receipts = await chimeway.trigger_many(mention(), orders)
    assert [one.recipients for one in receipts] == [("a",), ("b", "c"), ("a",), ("a",)]
    assert [one.duplicate for one in receipts] == [False, False, False, True]
    assert receipts[3].run_ids == receipts[0].run_ids
    assert (await chimeway.get_run(receipts[1].run_ids[0])).cancellation_key == "k"
    assert await chimeway.trigger_many("mention_escalation", []) == []
    assert len(await chimeway.trigger_many("mention_escalation", orders)) == 4


async def test_bulk_is_all_or_nothing(chimeway: Chimeway) -> None:
    """One order or signal that is refused takes the others with it, and its place is named."""
    await chimeway.register(mention())
    good = {"recipients": ["a"], "data": DATA}
    with pytest.raises(InvalidDataReference):
        await chimeway.trigger_many("mention_escalation", [good, {"recipients": ["b"]}])
    with pytest.raises(InvalidInput, match=r"orders\[1\]"):
        await chimeway.trigger_many("mention_escalation", [good, {"data": DATA}])
    with pytest.raises(InvalidInput, match=r"orders\[0\] has the unknown key 'recipient'"):
        await chimeway.trigger_many("mention_escalation", [{"recipient": "a"}])
    with pytest.raises(InvalidInput, match="at most 1000"):
        await chimeway.trigger_many("mention_escalation", [good] * 1001)
    with pytest.raises(InvalidInput, match=r"signals\[1\].actor"):
        await chimeway.signal_many([{"type": "t", "actor": "a"}, {"type": "t"}])
    assert len(await chimeway.list_runs()) == 0


async def test_bulk_signals_answer_in_order(chimeway: Chimeway) -> None:
    """signal_many returns an id for each signal in its place; dedupe holds within the call too."""
    facts = [
        {"type": "read", "actor": "zoe", "dedupe_key": "2"},
        {"type": "read", "actor": "ada", "payload": {"n": 1}},
        {"type": "read", "actor": "zoe", "dedupe_key": "1"},
        {"type": "read", "actor": "zoe", "dedupe_key": "2"},
    ]
    ids = await chimeway.signal_many(facts, tenant="org")
    assert ids[0] == ids[3]
    assert len(set(ids)) == 3
    assert await chimeway.signal("read", actor="zoe", tenant="org", dedupe_key="1") == ids[2]
    assert await chimeway.signal_many([]) == []


async def test_a_bound_tenant_is_the_default(chimeway: Chimeway) -> None:
    """for_tenant binds; a named tenant wins; tenants do not see each other."""
    org = chimeway.for_tenant("org_456")
    receipt = await org.trigger(mention(), DATA, recipients="ada")
    assert (await org.get_run(receipt.run_ids[0])).tenant_id == "org_456"
    assert len(await org.list_runs()) == 1
    assert len(await org.list_runs(tenant="default")) == 0
    for verb in (chimeway.get_run, chimeway.explain, chimeway.cancel):
        with pytest.raises(WorkflowRunNotFound) as caught:
            await verb(receipt.run_ids[0])
        assert caught.value.code == "workflow_run_not_found"
    assert await chimeway.overdue(max_lateness=timedelta(0)) == await org.overdue(max_lateness=timedelta(0))
    assert await chimeway.for_tenant("other").overdue(max_lateness=timedelta(0)) == []


async def test_rehearse_takes_every_form() -> None:
    """A journey can be played on paper in the forms that trigger takes."""
    assert rehearse(mention(), {"data": DATA}).run.state == "completed"
    assert rehearse(mention().as_dict(), {"data": DATA}).run.state == "completed"
