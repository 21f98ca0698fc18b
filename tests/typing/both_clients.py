"""What a type checker says of both clients: arguments, results, and what is wrong. Read by mypy, not run."""

from datetime import datetime
from typing import Any, assert_type
from uuid import UUID

from chimeway import (
    Cancellation,
    Chimeway,
    Explanation,
    Forgotten,
    Inbox,
    InboxChange,
    InboxCounts,
    InboxItem,
    ListedRun,
    Page,
    Receipt,
    Recipient,
    RecipientView,
    RunView,
    Signal,
    StoppedRun,
    TenantView,
    Trigger,
    WaitingRun,
    Workflow,
)
from chimeway import sync as blocking


class Author:
    """The seed's form."""

    def workflow(self, args: object) -> dict[str, object]:
        """Return the workflow."""
        return {"args": args}


async def with_a_loop(workflow: Workflow, run_id: UUID, at: datetime, connection: object) -> None:
    """Results of the client with an event loop, and calls that are wrong."""
    async with Chimeway.connect("postgresql://db/app", tenant="org") as client:
        assert_type(client, Chimeway)
        receipt = await client.trigger(
            workflow, {"a": 1}, recipients=[Recipient("ada", email=None), "bob"], connection=connection, at=at
        )
        assert_type(receipt, Receipt)
        assert_type(receipt.run_ids, tuple[UUID, ...])
        assert_type(receipt.duplicate, bool)
        for form in ("key", {"key": "k"}, Author, Author()):
            await client.trigger(form, recipients="ada")
        assert_type(await client.trigger_many("key", [{"recipients": ["a"]}]), list[Receipt])
        assert_type(await client.signal("read", actor="ada", payload={"a": 1}), UUID)
        assert_type(await client.signal_many([{"type": "t", "actor": "a"}]), list[UUID])
        stopped = await client.cancel(str(run_id), note="n")
        assert_type(stopped, Cancellation)
        assert_type(stopped.stopped, tuple[StoppedRun, ...])
        assert_type(await client.register(workflow), bool)
        assert_type(await client.forget("ada", connection=connection), Forgotten)
        assert_type([document["part"] async for document in client.export("ada")], list[Any])
        assert_type(await client.get_run(run_id), RunView)
        assert_type(await client.list_runs(state="waiting"), Page[RunView])
        assert_type((await client.list_runs())[0], RunView)
        assert_type([item.subject for item in await client.inbox("ada").list()], list[str])
        assert_type(await client.explain(run_id, connection=connection), Explanation)
        assert_type(await client.waiting(), Page[WaitingRun])
        assert_type(await client.overdue(), list[ListedRun])
        assert_type(client.for_tenant("org"), Chimeway)
        inbox = client.inbox("ada")
        assert_type(inbox, Inbox)
        assert_type(await inbox.list(), Page[InboxItem])
        assert_type(await inbox.unseen_count(), int)
        assert_type(await inbox.counts(), InboxCounts)
        assert_type(await inbox.mark_interacted((await inbox.list(archived="only")).items), tuple[UUID, ...])
        assert_type(await inbox.mark_all_read(through=run_id, before=at), tuple[UUID, ...])
        assert_type([change async for change in inbox.changes()], list[InboxChange])
        await inbox.list(archived="maybe")  # type: ignore[arg-type]  # no, only, with
        assert_type(await inbox.mark_read([run_id, "id"]), tuple[UUID, ...])
        assert_type(await Signal.track("ada", "org", "read", {"a": 1}), UUID)
        assert_type(await Trigger.trigger(Author, {"actor_id": "ada"}, tenant_id="org"), Receipt)
        await client.signal("read", "ada")  # type: ignore[call-arg]  # actor goes by name
        await client.signal("read")  # type: ignore[call-arg]  # an actor is needed
        await client.trigger(7, recipients="ada")  # type: ignore[arg-type]  # no workflow
        await client.trigger("key", recipients=[7])  # type: ignore[list-item]  # no recipient
        await client.trigger("key", recipient="ada")  # type: ignore[call-arg]  # misspelt
        await client.trigger("key", at="tomorrow")  # type: ignore[arg-type]  # no instant
        await client.list_runs(state="gone")  # type: ignore[arg-type]  # no state
        await client.cancel(7)  # type: ignore[arg-type]  # no id
        receipt.run_ids = ()  # type: ignore[misc]  # results are frozen
        receipt.runs_ids  # type: ignore[attr-defined]  # noqa: B018  # misspelt


async def people_with_a_loop(client: Chimeway, at: datetime, connection: object) -> None:
    """Profiles and tenants, of the client with an event loop."""
    assert_type(await client.get_recipient("ada", connection=connection), RecipientView)
    assert_type(await client.list_recipients(), Page[RecipientView])
    assert_type(await client.get_tenant(tenant="org"), TenantView)
    assert_type(await client.list_tenants(), Page[TenantView])
    assert_type(await client.identify_many([Recipient("ada", phone="+44 20")]), int)
    await client.identify("ada", locale=None, preferences={"channels": {"email": None}})
    await client.configure_tenant(working_days=["mon"], holidays=[at.date(), "2026-12-25"], timezone=None)
    await client.configure_tenant(working_days=7)  # type: ignore[arg-type]  # no days
    await client.identify_many(["ada"])  # type: ignore[list-item]  # no profile


def without_a_loop(workflow: Workflow, run_id: UUID, at: datetime, connection: object) -> None:
    """The same of the client without one: the same results, none of them awaited."""
    with blocking.Chimeway.connect("postgresql://db/app", tenant="org") as client:
        assert_type(client, blocking.Chimeway)
        receipt = client.trigger(
            workflow, {"a": 1}, recipients=[Recipient("ada", email=None), "bob"], connection=connection, at=at
        )
        assert_type(receipt, Receipt)
        for form in ("key", {"key": "k"}, Author, Author()):
            client.trigger(form, recipients="ada")
        assert_type(client.trigger_many("key", [{"recipients": ["a"]}]), list[Receipt])
        assert_type(client.signal("read", actor="ada", payload={"a": 1}), UUID)
        assert_type(client.signal_many([{"type": "t", "actor": "a"}]), list[UUID])
        assert_type(client.cancel(str(run_id), note="n"), Cancellation)
        assert_type(client.register(workflow), bool)
        assert_type(client.forget("ada", connection=connection), Forgotten)
        assert_type([document["part"] for document in client.export("ada")], list[Any])
        assert_type(client.get_run(run_id), RunView)
        assert_type(client.list_runs(state="waiting"), Page[RunView])
        assert_type(client.explain(run_id, connection=connection), Explanation)
        assert_type(client.waiting(), Page[WaitingRun])
        assert_type(client.overdue(), list[ListedRun])
        assert_type(client.for_tenant("org"), blocking.Chimeway)
        inbox = client.inbox("ada")
        assert_type(inbox, blocking.Inbox)
        assert_type(inbox.list(), Page[InboxItem])
        assert_type(inbox.unseen_count(), int)
        assert_type(inbox.counts(), InboxCounts)
        assert_type(list(inbox.changes(timeout=1)), list[InboxChange])
        assert_type(inbox.mark_read([run_id, "id"]), tuple[UUID, ...])
        assert_type(blocking.Signal.track("ada", "org", "read", {"a": 1}), UUID)
        assert_type(blocking.Trigger.trigger(Author, {"actor_id": "ada"}, tenant_id="org"), Receipt)
        client.signal("read")  # type: ignore[call-arg]  # an actor is needed
        client.trigger(7, recipients="ada")  # type: ignore[arg-type]  # no workflow
        client.list_runs(state="gone")  # type: ignore[arg-type]  # no state
    client.close()


def people_without_a_loop(client: blocking.Chimeway, connection: object) -> None:
    """The same of the client without one."""
    assert_type(client.get_recipient("ada", connection=connection), RecipientView)
    assert_type(client.list_recipients(), Page[RecipientView])
    assert_type(client.get_tenant(tenant="org"), TenantView)
    assert_type(client.list_tenants(), Page[TenantView])
    assert_type(client.identify_many([Recipient("ada")]), int)
    client.configure_tenant(working_days=["mon"], holidays=None, preferences={})
    client.identify_many(["ada"])  # type: ignore[list-item]  # no profile


def a_loop_is_not_entered_without_one() -> None:
    """The client with a loop is entered with `async with`, the other with `with`."""
    with Chimeway.connect("postgresql://db/app"):  # type: ignore[attr-defined]  # wants async with
        pass
