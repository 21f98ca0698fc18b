"""Marks on in-app items: what each implies, undo, told once, all at once, and counts under many hands."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from chimeway import Chimeway, InboxCounts, InvalidInput
from chimeway.limits import INBOX_MARKED_AT_ONCE
from kit.waiting import DEADLINE_S
from store.inboxes import FILL, Place, place_on
from store.plain_sql import blocked, contents, plain

UNDO = {"seen": "unseen", "read": "unread", "archived": "unarchived"}


@pytest.fixture
async def place(database_url: str) -> AsyncIterator[Place]:
    """A client on a database where MENTION is registered."""
    async with place_on(database_url) as place:
        yield place


async def _marks(place: Place, item: UUID) -> set[str]:
    (found,) = [each for each in await place.inbox.list(archived="with") if each.id == item]
    return {name for name in ("seen", "read", "interacted", "archived") if getattr(found, f"{name}_at")}


async def _mark(place: Place, mark: str, items: Any) -> tuple[UUID, ...]:
    marked: tuple[UUID, ...] = await getattr(place.inbox, f"mark_{mark}")(items)
    return marked


@pytest.mark.parametrize("mark", UNDO)
async def test_undo_is_told_to_nobody_and_the_same_mark_again_neither(place: Place, mark: str) -> None:
    """The item is as it was, the counts are; who marks, takes away and marks anew told its run once."""
    item = await place.put()
    before = await place.inbox.counts()
    assert await _mark(place, UNDO[mark], item) == ()
    assert await _mark(place, mark, item) == (item,)
    told = await place.told()
    assert await _mark(place, UNDO[mark], [item]) == (item,)
    assert await _mark(place, UNDO[mark], [item]) == ()
    assert await _marks(place, item) == ({"seen"} if mark == "read" else set())
    assert (await place.inbox.counts()).unread == before.unread
    assert await _mark(place, mark, item) == (item,)
    assert await place.told() == told


async def test_marks_imply_the_weaker_ones_and_undo_takes_the_stronger(place: Place) -> None:
    """Who interacted has read and seen; what is unseen is not read; that somebody interacted stays a fact."""
    item = await place.put()
    assert await _mark(place, "seen", item) == (item,)
    assert await _mark(place, "interacted", item) == (item,)
    assert await _marks(place, item) == {"seen", "read", "interacted"}
    assert await place.told() == ["seen", "interacted", "read"]
    assert await _mark(place, "unseen", item) == (item,)
    assert await _marks(place, item) == {"interacted"}
    assert await place.inbox.counts() == InboxCounts(1, 1)
    assert await _mark(place, "interacted", item) == (item,), "it is read once more"
    assert await _mark(place, "archived", item) == (item,)
    assert await _marks(place, item) == {"seen", "read", "interacted", "archived"}
    assert await place.told() == ["seen", "interacted", "read", "archived"]


async def test_items_are_marked_by_id_by_text_and_as_a_list_gave_them(place: Place) -> None:
    """One or many, in any form; the answer names those that were changed, in the order of their ids."""
    items = [await place.put() for _ in range(5)]
    page = await place.inbox.list()
    assert await place.inbox.mark_seen(page[0]) == (items[4],)
    assert await place.inbox.mark_seen([page[1], str(items[2]), items[1], uuid4()]) == tuple(items[1:4])
    assert await place.inbox.mark_seen([]) == ()
    assert await place.inbox.mark_seen(page) == (items[0],)
    for wrong in (7, b"x", {"id": 1}, ["x"]):
        with pytest.raises(InvalidInput):
            await place.inbox.mark_seen(wrong)  # type: ignore[arg-type]


async def test_all_are_marked_and_nothing_newer_than_what_was_looked_at(place: Place) -> None:
    """Through an item, before an instant, of one kind; what is put away is left as it is."""
    away, *items = [await place.put() for _ in range(6)]
    await place.inbox.mark_archived(away)
    shown = await place.inbox.list(limit=3)  # items[4], [3], [2]
    late = await place.put()
    assert set(await place.inbox.mark_all_seen(through=shown[0])) == set(items)
    assert await place.inbox.mark_all_seen(through=shown[0].id) == ()
    assert await place.inbox.mark_all_read(before=shown[1].created_at) == tuple(items[i] for i in range(3))
    assert await place.inbox.mark_all_read(since=shown[0].created_at, through=str(items[4])) == (items[4],)
    assert await place.inbox.mark_all_read(workflow="nobody") == ()
    assert await place.inbox.mark_all_read(render_key="mention", step="step_in_app") == (items[3], late)
    assert await place.inbox.counts() == InboxCounts(0, 0)
    assert await place.inbox.mark_all_archived() == (*items, late)
    assert await place.inbox.mark_unarchived(items) == tuple(items)
    assert await place.client.inbox("bob").mark_all_seen(through=items[0]) == (), "it is not bob's"
    assert await _marks(place, away) == {"archived"}


async def test_all_of_many_are_marked_in_short_transactions(place: Place) -> None:
    """Each page by itself; on a lent connection all in the caller's one, and gone with its rollback."""
    many = 2 * INBOX_MARKED_AT_ONCE + 1
    await place.sql.execute(FILL.format(many=2 * many, others=0))
    await place.sql.execute("update chimeway.inbox_items set seen_at = null, read_at = null")
    await place.sql.execute("update chimeway.inbox_items set created_at = now() where archived_at is null")
    async with plain(place.url) as lent:
        transaction = lent.transaction()
        await transaction.start()
        assert len(await place.inbox.mark_all_read(connection=lent)) == many
        await transaction.rollback()
    assert (await place.inbox.counts(), await place.told()) == (InboxCounts(many, many), [])
    marked = await place.inbox.mark_all_read()
    assert len(set(marked)) == len(marked) == many
    told = await place.sql.fetch(
        "select count(*) as many, count(distinct xid::text) as transactions from chimeway.signals"
    )
    assert [tuple(row) for row in told] == [(2 * many, 3)]


async def test_a_marking_of_all_does_not_touch_what_arrives_meanwhile(place: Place) -> None:
    """Each of its pages keeps to what lay there when it began."""
    items = [await place.put() for _ in range(3)]
    call = "select * from chimeway.mark_all_inbox('default', 'ada', 'seen', '{}', $1, $2, 2)"
    first = await place.sql.fetchrow(call, None, None)
    assert first is not None
    await place.put()
    rest = await place.sql.fetchrow(call, first["further"], first["upto"])
    assert rest is not None
    assert ({*first["marked"], *rest["marked"]}, rest["further"]) == (set(items), None)
    assert (await place.inbox.counts()).unseen == 1


async def test_a_rollback_leaves_nothing_of_a_mark(place: Place) -> None:
    """No mark, no signal, and nothing remembered as told."""
    item = await place.put()
    before = await contents(place.sql)
    for verb in ("interacted", "archived", "unseen"):
        async with plain(place.url) as lent:
            transaction = lent.transaction()
            await transaction.start()
            await getattr(place.inbox, f"mark_{verb}")(item, connection=lent)
            await transaction.rollback()
        assert await contents(place.sql) == before


async def test_markers_wait_for_each_other_and_do_not_meet_head_on(place: Place) -> None:
    """Two that mark the same items in opposite orders wait in the order of ids: one after the other."""
    items = [await place.put() for _ in range(20)]
    async with plain(place.url) as one, plain(place.url) as two:
        sql = "select id from chimeway.mark_inbox('default', 'ada', $1, $2)"
        transaction = one.transaction()
        await transaction.start()
        await one.fetch(sql, items[10:][::-1], "read")
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(two.fetch(sql, items[::-1], "read"))
            await blocked(place.sql, two)
            await one.fetch(sql, items[10:], "unread")
            await transaction.commit()
        assert [row["id"] for row in await waiting] == items, "ten of them once more"
    assert (await place.told()).count("read") == 20


WRITERS = 16


async def test_counts_are_right_whoever_writes(place: Place) -> None:
    """Sixteen at once mark, take away, mark all: counts are those of the rows, each mark is told once."""
    items = [await place.put() for _ in range(24)]
    async with Chimeway.connect(place.url, pool_size=WRITERS) as client:

        async def write(seed: int) -> None:
            chance, box = random.Random(seed), client.inbox("ada")
            for _ in range(12):
                some = chance.sample(items, chance.randint(1, 8))
                verb = chance.choice(
                    ("seen", "read", "interacted", "archived", "unseen", "unread", "unarchived", "all")
                )
                if verb == "all":
                    await chance.choice((box.mark_all_seen, box.mark_all_read, box.mark_all_archived))()
                else:
                    await getattr(box, f"mark_{verb}")(some)
                counts = await box.counts()
                assert 0 <= counts.unseen <= counts.unread <= len(items)

        async with aclosing(client.inbox("ada").changes()) as changes:
            await anext(changes)
            async with asyncio.TaskGroup() as group:
                for seed in range(WRITERS):
                    group.create_task(write(seed))
            await place.inbox.mark_unarchived(items[0]), await place.inbox.mark_unseen(items[0])
            last = await place.inbox.counts()
            async with asyncio.timeout(DEADLINE_S):
                while (change := await anext(changes)).unread != last.unread or change.unseen != last.unseen:
                    pass
    rows = (await place.inbox.list(limit=1_000)).items
    counts = await place.inbox.counts()
    assert counts.unseen == sum(item.seen_at is None for item in rows)
    assert counts.unread == sum(item.read_at is None for item in rows)
    assert (counts.unseen, counts.unread) == (
        await place.inbox.unseen_count(), await place.inbox.unread_count()
    )  # fmt: skip
    wrong = await place.sql.fetch(
        """select i.id from chimeway.inbox_items i
            where (i.read_at is not null and i.seen_at is null)
               or i.told <> coalesce((select array_agg(split_part(s.type, '.', 3) order by s.type)
                    from chimeway.signals s where s.payload ->> 'notification_id' = i.id::text), '{}')"""
    )
    assert wrong == []


async def test_a_time_that_is_none_is_refused(place: Place) -> None:
    """Also an item that is none, before anything is asked."""
    naive = (await place.client.list_runs()).cursor or "x"
    for given in ({"before": naive}, {"through": "x"}, {"since": timedelta(1)}):
        with pytest.raises(InvalidInput):
            await place.inbox.mark_all_seen(**given)  # type: ignore[arg-type]
