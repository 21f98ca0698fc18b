"""The feed of an inbox: pages that hold still, filters, where items came from, and plans on many items."""

import base64
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from chimeway import InvalidInput
from chimeway.store.pool import connect
from store.inboxes import FILL, Place, place_on
from store.plain_sql import put_into_inbox
from store.plans import EXPLAIN, Plans


@pytest.fixture
async def place(database_url: str) -> AsyncIterator[Place]:
    """A client on a database where MENTION is registered."""
    async with place_on(database_url) as place:
        yield place


async def _all(place: Place, **filters: Any) -> list[UUID]:
    return [item.id for item in await place.inbox.list(**filters)]


async def test_items_of_one_instant_come_in_the_order_in_which_they_were_planned(place: Place) -> None:
    """The last one first, in pages of any size, also while new ones arrive between two pages."""
    items = [await place.put() for _ in range(7)]
    await place.sql.execute("update chimeway.inbox_items set created_at = '2026-01-01T00:00:00Z'")
    for size in (1, 2, 3, 7):
        found: list[UUID] = []
        page = await place.inbox.list(limit=size)
        while True:
            found += [item.id for item in page]
            if page.cursor is None:
                break
            late = await place.put()
            page = await place.inbox.list(page.cursor, limit=size)
            assert late not in {item.id for item in page}
        assert [item for item in found if item in items] == items[::-1]
        await place.inbox.mark_archived([item for item in await _all(place) if item not in items])


async def test_an_item_says_where_it_came_from(place: Place) -> None:
    """Workflow, step, run and the trigger's data are there; data that is long or forgotten is not."""
    item = await place.put(data='{"document_id": "doc_789"}')
    await place.put(data=f'{{"long": "{"x" * 17_000}"}}')
    forgotten = await place.put(data='{"secret": 1}')
    await place.sql.execute("delete from chimeway.events e where e.data ? 'secret'")
    third, second, first = await place.inbox.list()
    assert (first.id, first.workflow_key, first.workflow_version) == (item, "mention_escalation", 1)
    assert (first.step_id, first.data) == ("step_in_app", {"document_id": "doc_789"})
    assert (await place.client.get_run(first.run_id)).recipient_id == "ada"
    assert (second.data, third.id, third.data) == (None, forgotten, None)
    assert len({first, second, third}) == 3, "items can be put into sets"


async def test_filters_narrow_the_feed(place: Place) -> None:
    """By marks, by what is put away, by where items came from and when; together all must hold."""
    await place.sql.execute(
        """select chimeway.register_workflow('{"key": "other", "version": 1, "steps": [{"id": "n", "action":
           {"type": "notify", "channel": "in_app", "render_key": "r"}}]}', 'd')"""
    )
    seen, read, clicked, away = [await place.put() for _ in range(4)]
    fresh = await put_into_inbox(
        place.sql, await place.sql.fetchval("select chimeway.trigger('other', recipient_id => 'ada')")
    )
    await place.sql.execute("update chimeway.inbox_items set render_key = 'r' where id = $1", fresh)
    await place.sql.execute("update chimeway.deliveries set step_id = 'n' where id = $1", fresh)
    box = place.inbox
    await box.mark_seen(seen), await box.mark_read(read)
    await box.mark_interacted(clicked), await box.mark_archived(away)
    assert await _all(place) == [fresh, clicked, read, seen]
    assert await _all(place, archived="with") == await _all(place, archived=True)
    assert await _all(place, archived=True) == [fresh, away, clicked, read, seen]
    assert await _all(place, archived="only") == [away]
    assert await _all(place, unseen=True) == [fresh]
    assert await _all(place, unseen=True, archived="with") == [fresh, away]
    assert await _all(place, unread=True) == [fresh, seen]
    assert await _all(place, uninteracted=True) == [fresh, read, seen]
    assert await _all(place, workflow="other") == await _all(place, render_key="r") == [fresh]
    assert await _all(place, workflow="mention_escalation", step="step_in_app", unread=True) == [seen]
    assert await _all(place, step="n") == [fresh]
    (middle,) = [item for item in await box.list() if item.id == read]
    assert await _all(place, since=middle.created_at) == [fresh, clicked, read]
    assert await _all(place, before=middle.created_at) == [seen]
    assert await _all(place, since=middle.created_at, before=middle.created_at) == []


async def test_nothing_of_others_is_listed(place: Place) -> None:
    """Another recipient, and the same one in another tenant, have inboxes of their own."""
    mine, theirs = await place.put(), await place.put("bob")
    elsewhere = await place.put(tenant_id="org")
    assert await _all(place) == [mine]
    assert [item.id for item in await place.client.inbox("bob").list()] == [theirs]
    assert [item.id for item in await place.client.inbox("ada", tenant="org").list()] == [elsewhere]
    page = await place.inbox.list(limit=1)
    assert page.cursor is None
    assert await place.client.for_tenant("org").inbox("nobody").list() == type(page)(())


def _cursor(arrival: int) -> str:
    place = f"2026-01-01T00:00:00+00:00 {arrival} 019b0a4e-52cd-7f3a-9d05-3f0e6a1f8c21"
    return base64.urlsafe_b64encode(place.encode()).decode()


async def test_a_filter_that_is_none_is_refused_before_it_is_asked(place: Place) -> None:
    """It is told which, and what would be right; so are cursors that no page has given."""
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"archived": "maybe"}, "archived"), ({"workflow": ""}, "workflow"), ({"step": 7}, "step"),
        ({"since": "yesterday"}, "since"), ({"before": 7}, "before"),
        ({"render_key": "x" * 256}, "render_key"), ({"limit": 0}, "limit"),
        ({"cursor": "MjAyNi0wMS0wMSAxIDIgMw"}, "cursor"), ({"cursor": _cursor(2**63)}, "cursor"),
    ]  # fmt: skip
    for given, field in wrong:
        with pytest.raises(InvalidInput) as caught:
            await place.inbox.list(**given)
        assert caught.value.details["field"] == field


@pytest.mark.parametrize("many", [10_000, pytest.param(100_000, marks=pytest.mark.big)])
async def test_who_has_many_items_pays_for_a_page(place: Place, many: int) -> None:
    """Of thousands of items each list reads little more than its page, each count what it counts."""
    await place.sql.execute(FILL.format(many=many, others=many // 4))
    await place.sql.execute("analyze")
    plans, connection = Plans(), await connect(place.url, "plans")
    try:
        await connection.execute(EXPLAIN)
        connection.add_log_listener(plans.hear)
        box = place.inbox
        first = await box.list(archived="with", connection=connection)
        for filters in (
            {}, {"archived": "only"}, {"archived": "with"}, {"unseen": True}, {"unread": True},
            {"workflow": "mention_escalation"}, {"before": first[9].created_at, "archived": "with"},
        ):  # fmt: skip
            page = await box.list(**filters, connection=connection)  # type: ignore[arg-type]
            assert len(page) == {"unseen": 10, "unread": 20}.get(next(iter(filters), ""), 50)
            if page.cursor is not None:
                assert len(await box.list(page.cursor, **filters, connection=connection)) == 50  # type: ignore[arg-type]
        counts = await box.counts(connection=connection)
        assert (counts.unseen, counts.unread) == (10, 20)
        assert await box.unread_count(connection=connection) == 20
        assert await box.unseen_count(connection=connection) == 10
        await connection.fetch("select * from chimeway.inbox_states('{default}', '{ada}', 10000)")
        await connection.fetch(
            "select * from chimeway.mark_all_inbox('default', 'ada', 'read', p_limit => 50)"
        )
    finally:
        await connection.close()
    assert len(plans.texts) > 30
    costly = [text for text in plans.costly(1_000) if "inbox_conditions" not in text]
    assert not costly, costly[0]


async def test_marks_read_what_they_mark_however_often(place: Place) -> None:
    """Also by the plan for any inbox, which a connection makes after five times."""
    await place.sql.execute(FILL.format(many=10_000, others=2_500))
    await place.sql.execute("update chimeway.inbox_items set read_at = null, archived_at = null")
    await place.sql.execute("vacuum analyze chimeway.inbox_items")
    plans, connection = Plans(), await connect(place.url, "plans")
    try:
        await connection.execute(EXPLAIN)
        connection.add_log_listener(plans.hear)
        for _ in range(9):
            await connection.fetch(
                "select * from chimeway.mark_all_inbox('default', 'ada', 'read', p_limit => 50)"
            )
    finally:
        await connection.close()
    assert len(plans.texts) > 30
    costly = [text for text in plans.costly(1_000) if "inbox_conditions" not in text]
    assert not costly, costly[0]


async def test_an_item_that_somebody_else_commits_late_is_found_by_who_looks_again(place: Place) -> None:
    """It stands where its instant says, maybe behind a cursor; the first page and the counts know it."""
    await place.put()
    page, late = await place.inbox.list(), (await place.put())
    await place.sql.execute(
        "update chimeway.inbox_items set created_at = $2 where id = $1", late,
        page[0].created_at - timedelta(seconds=1),
    )  # fmt: skip
    assert await _all(place) == [page[0].id, late]
    assert (await place.inbox.counts()).unseen == 2
