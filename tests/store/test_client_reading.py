"""What the client reads: pages and their cursors, the waiting room, what is late or stuck, inboxes."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from chimeway import Chimeway, InvalidInput
from store.plain_sql import plain, put_into_inbox, register, trigger


@dataclass(frozen=True, slots=True)
class Place:
    """A client and a plain connection on the same database."""

    client: Chimeway
    sql: "asyncpg.Connection[Any]"


@pytest.fixture
async def place(database_url: str) -> AsyncIterator[Place]:
    """A client on a database where MENTION is registered."""
    async with Chimeway.connect(database_url) as client, plain(database_url) as sql:
        await register(sql)
        yield Place(client, sql)


async def test_runs_are_listed_newest_first_in_pages(place: Place) -> None:
    """Cursors lead through all runs once, also when new ones are started meanwhile."""
    runs = [await trigger(place.sql, f"u{n}") for n in range(7)]
    found: list[UUID] = []
    page = await place.client.list_runs(limit=3)
    while True:
        found += [run.id for run in page]
        if page.cursor is None:
            break
        await trigger(place.sql, "later")
        page = await place.client.list_runs(limit=3, cursor=page.cursor)
    assert found == runs[::-1]
    exact = await place.client.list_runs(limit=9)
    assert (len(exact), exact.cursor) == (9, None)
    assert exact[0].recipient_id == "later"


async def test_runs_are_listed_by_filters(place: Place) -> None:
    """State, workflow and recipient narrow the list; tenants are apart."""
    ada, bob = await trigger(place.sql, "ada"), await trigger(place.sql, "bob")
    await trigger(place.sql, "ada", tenant_id="org")
    await place.client.cancel(bob)

    async def ids(**filters: Any) -> list[UUID]:
        return [run.id for run in await place.client.list_runs(**filters)]

    assert await ids(state="stopped") == [bob]
    assert await ids(recipient="ada") == [ada]
    assert await ids(workflow="mention_escalation") == [bob, ada]
    assert await ids(workflow="other") == []
    assert await ids(state="active", recipient="bob") == []


async def test_a_recipients_runs_come_newest_first_whether_live_or_ended(place: Place) -> None:
    """Pages lead through both kinds as they follow each other; filters narrow them."""
    runs = [await trigger(place.sql, "ada") for _ in range(8)]
    for run_id in (runs[0], runs[2], runs[3], runs[7]):
        await place.client.cancel(run_id)
    await trigger(place.sql, "bob")

    async def paged(**filters: Any) -> list[UUID]:
        found: list[UUID] = []
        page = await place.client.list_runs(recipient="ada", limit=2, **filters)
        while page:
            found += [run.id for run in page]
            if page.cursor is None:
                break
            page = await place.client.list_runs(recipient="ada", limit=2, cursor=page.cursor, **filters)
        return found

    assert await paged() == runs[::-1]
    assert await paged(state="stopped") == [runs[n] for n in (7, 3, 2, 0)]
    assert await paged(state="active") == [runs[n] for n in (6, 5, 4, 1)]
    assert await paged(workflow="other") == []


WAIT = """update chimeway.workflow_runs set state = 'waiting', step = 'step_wait', visit = 2, wake_at = $2,
    entered_at = created_at, pending_signals = '{notification_read}', status_context = $3 where id = $1"""
CONTEXT = '{"due_at": "2026-01-05T09:00:00Z", "rule_kind": "wait", "to_step": "step_email"}'


async def test_the_waiting_room_is_in_the_order_of_going_on(place: Place) -> None:
    """Who goes on first comes first; equal times and pages of one do not lose or repeat anybody."""
    at = datetime(2030, 1, 1, tzinfo=UTC)
    runs = [await trigger(place.sql, f"u{n}") for n in range(5)]
    for run_id, hours in zip(runs, (3, 1, 1, 1, 2), strict=True):
        await place.sql.execute(WAIT, run_id, at + timedelta(hours=hours), CONTEXT)
    await trigger(place.sql, "active")
    found: list[Any] = []
    cursor = None
    for _ in range(5):
        page = await place.client.waiting(limit=1, cursor=cursor)
        found += page.items
        cursor = page.cursor
    assert cursor is None
    assert [run.run_id for run in found] == [*sorted(runs[1:4]), runs[4], runs[0]]
    first = found[0]
    assert (first.step, first.signals, first.until, first.then) == (
        "step_wait", ("notification_read",), at + timedelta(hours=1), "step_email",
    )  # fmt: skip


async def test_overdue_and_stuck_are_told_apart(place: Place) -> None:
    """Late runs are overdue; held, incapable and broken ones are stuck, each with its kind; paused none."""
    late, held, broken, incapable = [await trigger(place.sql, f"u{n}") for n in range(4)]
    past = datetime.now(UTC) - timedelta(minutes=1)
    await place.sql.execute("update chimeway.workflow_runs set wake_at = $1", past)
    await place.sql.fetchval("select chimeway.hold_run($1, 'held_by_request')", held)
    await place.sql.execute(WAIT, broken, past, "{}")
    await place.sql.execute(
        "update chimeway.workflow_runs set waiting_for_node = 'definition_format' where id = $1", incapable
    )
    assert [(run.run_id, run.kind) for run in await place.client.overdue()] == [(late, "overdue")]
    assert await place.client.overdue(max_lateness=timedelta(hours=1)) == []
    assert {run.run_id: (run.kind, run.reason) for run in await place.client.stuck()} == {
        held: ("held", "held_by_request"),
        broken: ("stuck", "workflow_started"),
        incapable: ("waiting_for_node", "definition_format"),
    }
    await place.sql.fetchval("select chimeway.pause_workflow('mention_escalation', true)")
    assert await place.client.overdue() == []


async def test_an_inbox_lists_counts_and_marks(place: Place) -> None:
    """Items come newest first in pages; marks are told once and change the count; archived ones hide."""
    items = [await put_into_inbox(place.sql, await trigger(place.sql, "ada")) for _ in range(4)]
    await put_into_inbox(place.sql, await trigger(place.sql, "bob"))
    inbox = place.client.inbox("ada")
    first = await inbox.list(limit=3)
    rest = await inbox.list(first.cursor, limit=3)
    assert [item.id for item in (*first, *rest)] == items[::-1]
    assert (rest.cursor, await inbox.unseen_count()) == (None, 4)
    assert await inbox.mark_seen([items[0], str(items[1])]) == tuple(sorted(items[:2]))
    assert await inbox.mark_seen(items[0]) == ()
    assert await inbox.mark_read(items[2]) == (items[2],)
    assert await inbox.unseen_count() == 1
    assert await inbox.mark_archived(items[3]) == (items[3],)
    assert (await inbox.unseen_count(), len(await inbox.list())) == (0, 3)
    archived = await inbox.list(archived=True)
    assert archived[0].archived_at is not None
    assert len(archived) == 4
    assert await place.client.inbox("bob", tenant="other").unseen_count() == 0
    with pytest.raises(InvalidInput):
        await inbox.mark_seen("no id")
    with pytest.raises(InvalidInput, match="at most 1000"):
        await inbox.mark_seen([uuid4()] * 1001)
