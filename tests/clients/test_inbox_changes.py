"""Live changes: at once and after every change, made up for what was lost, nothing kept when nobody looks."""

import asyncio
import gc
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any, TypeVar

import pytest

import chimeway.sync
from chimeway import Chimeway, DatabaseUnavailable, InboxChange, InvalidInput, Notify, Workflow
from chimeway.client import watching
from chimeway.testing import Harness
from kit.proxy import proxy_to
from kit.waiting import DEADLINE_S, wait_for
from store.inboxes import Place, place_on
from store.plain_sql import plain

T = TypeVar("T")
Stream = AsyncGenerator[InboxChange, None]


@pytest.fixture
async def place(database_url: str) -> AsyncIterator[Place]:
    """A client on a database where MENTION is registered."""
    async with place_on(database_url) as place:
        yield place


async def _next(stream: Stream) -> InboxChange:
    async with asyncio.timeout(DEADLINE_S):
        return await anext(stream)


async def _until(stream: Stream, unseen: int, mode: str | None = None) -> InboxChange:
    """Return the first state with so many unseen items; states may come twice."""
    async with asyncio.timeout(DEADLINE_S):
        async for change in stream:
            if change.unseen == unseen and mode in (None, change.mode):
                return change
    raise AssertionError("the stream has ended")


async def _listed(place: Place, many: int = 1) -> None:
    """Wait until the database calls for so many inboxes."""
    await wait_for(lambda: _count(place, "inbox_watched", many), f"{many} inboxes are watched")


async def _count(place: Place, table: str, many: int) -> bool:
    return bool(await place.sql.fetchval(f"select count(*) from chimeway.{table}") == many)


async def _lines(place: Place) -> int:
    """Count the connections that listen."""
    found: int = await place.sql.fetchval(
        """select count(*) from pg_stat_activity
            where datname = current_database() and application_name = 'chimeway-inbox'"""
    )
    return found


async def _no_lines(place: Place) -> bool:
    return await _lines(place) == 0


async def test_a_state_comes_at_once_and_after_every_change(place: Place) -> None:
    """A new item, each mark and each undo; also one that no count shows."""
    first = await place.put()
    async with aclosing(place.inbox.changes()) as stream:
        begin = await _next(stream)
        assert (begin.unseen, begin.unread, begin.newest) == (1, 1, first)
        await _listed(place)
        await place.inbox.mark_seen(first)
        seen = await _until(stream, 0)
        assert (seen.unread, seen.mode) == (1, "hinted")
        await place.inbox.mark_unseen(first)
        await _until(stream, 1)
        await place.inbox.mark_interacted(first)
        await _until(stream, 0)
        await place.inbox.mark_archived(first)
        while (await _next(stream)).newest is not None:
            pass  # the state before, once more


async def test_a_decision_that_delivers_calls(place: Place) -> None:
    """Once for a transaction; what it plans at one instant stands in the order in which it was planned."""
    steps = [Notify(f"step_{n}", channel="in_app", render_key="r") for n in range(5)]
    heard: list[Any] = []
    async with (
        Harness(Workflow(key="five", version=1, steps=steps)) as journey,
        plain(journey.url) as listener,
        aclosing(journey.inbox("ada").changes()) as stream,
    ):
        await listener.add_listener("chimeway_inbox", lambda *told: heard.append(told))
        await _next(stream)

        async def watched() -> bool:
            return bool(await listener.fetchval("select count(*) from chimeway.inbox_watched"))

        await wait_for(watched, "the inbox is watched")
        await journey.trigger("five", recipients=["ada", "bob"])
        await _until(stream, 5)
        for who in ("ada", "bob"):
            items = await journey.inbox(who).list()
            assert [item.step_id for item in items] == [f"step_{n}" for n in reversed(range(5))]
            assert len({item.created_at for item in items}) == 1
        await wait_for(lambda: heard, "the call is heard")
        assert len(heard) == 1


async def test_only_those_who_watch_an_inbox_hear_of_it(place: Place) -> None:
    """A commit that touches inboxes of others, or is taken back, calls nobody; what is said is no name."""
    heard: list[str] = []
    async with plain(place.url) as listener, aclosing(place.inbox.changes()) as stream:
        await listener.add_listener("chimeway_inbox", lambda *told: heard.append(str(told[3])))
        mine, theirs = await place.put(), await place.put("bob")
        await _next(stream)
        await _listed(place)
        await place.client.inbox("bob").mark_seen(theirs)
        await place.client.inbox("ada", tenant="org").mark_all_seen()
        transaction = place.sql.transaction()
        await transaction.start()
        await place.inbox.mark_seen(mine, connection=place.sql)
        await transaction.rollback()
        async with place.sql.transaction():
            await place.inbox.mark_seen(mine, connection=place.sql)
            await place.inbox.mark_read(mine, connection=place.sql)
            await place.inbox.mark_archived(mine, connection=place.sql)
        await wait_for(lambda: heard, "the call is heard")
        assert len(heard) == 1, "once for a transaction"
        assert "ada" not in heard[0]
        digest = await place.sql.fetchval("select chimeway.inbox_digest('default', 'ada')")
        assert heard == [digest] != [await place.sql.fetchval("select chimeway.inbox_digest('org', 'ada')")]


async def test_one_connection_listens_and_none_when_nobody_looks(place: Place) -> None:
    """However many look on; whoever leaves, by a break, a cancellation or a close, is forgotten at once."""
    streams = [place.client.inbox(f"user_{n % 60}").changes() for n in range(100)]
    for stream in streams:
        assert (await _next(stream)).unseen == 0
    await _listed(place, 60)
    assert await _lines(place) == 1
    waiting = asyncio.create_task(anext(streams[0]))  # type: ignore[arg-type]
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait({waiting})
    for stream in streams[1:59]:
        await stream.aclose()
    await _listed(place, 60 - 19)
    async for _ in place.client.inbox("user_0").changes():
        break
    for stream in streams[59:]:
        await stream.aclose()
    del stream, streams
    gc.collect()
    await wait_for(lambda: _count(place, "inbox_watchers", 0), "the watcher has left")
    await wait_for(lambda: _no_lines(place), "its connection is closed, and its process gone")
    assert not watching._stages
    async with aclosing(place.inbox.changes()) as again:
        assert (await _next(again)).unseen == 0


async def test_who_is_slow_gets_the_last_state(place: Place) -> None:
    """Many changes while nobody asks are one; another looker on the same inbox misses none of it."""
    items = [await place.put() for _ in range(20)]
    async with aclosing(place.inbox.changes()) as slow, aclosing(place.inbox.changes()) as quick:
        assert (await _next(slow)).unseen == (await _next(quick)).unseen == 20
        await _listed(place)
        for item in items:
            await place.inbox.mark_seen(item)
        await _until(quick, 0)
        assert (await _next(slow)).unseen == 0


async def test_a_lost_connection_is_replaced_and_made_up_for(place: Place) -> None:
    """What happened while nothing was heard is in the next state; the loss and the return are told."""
    item = await place.put()
    kill = """select pg_terminate_backend(pid) from pg_stat_activity
               where application_name = 'chimeway-inbox' and datname = current_database()"""
    async with aclosing(place.inbox.changes()) as stream:
        await _next(stream)
        await _listed(place)
        await place.sql.execute(kill)
        await place.inbox.mark_seen(item)
        assert (await _until(stream, 0)).unread == 1
        await place.inbox.mark_unseen(item)
        await _until(stream, 1)
        await wait_for(lambda: _lines(place), "it listens again")
        await place.inbox.mark_seen(item)
        await _until(stream, 0)


async def test_what_calls_nobody_is_found_by_looking(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lost call costs time, no change: all who are watched are looked at in one query."""
    monkeypatch.setattr(watching, "INBOX_LOOK_S", 0.2)
    items = {who: await place.put(who) for who in ("ada", "bob")}
    async with (
        aclosing(place.inbox.changes()) as ada,
        aclosing(place.client.inbox("bob").changes()) as bob,
    ):
        await _next(ada), await _next(bob)
        await _listed(place, 2)
        await place.sql.execute("update chimeway.inbox_items set seen_at = now()")
        assert (await _until(ada, 0)).newest == items["ada"]
        assert (await _until(bob, 0)).newest == items["bob"]


async def test_what_was_under_way_when_somebody_came_is_found_soon(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A transaction that saw nobody watch, and commits after the first read, calls nobody."""
    monkeypatch.setattr(watching, "INBOX_POLL_S", 60)  # until it listens
    item = await place.put()
    async with aclosing(place.client.inbox("bob").changes()) as other:
        await _next(other)
        await _listed(place)
        async with plain(place.url) as writer, aclosing(place.inbox.changes()) as stream:
            async with writer.transaction():
                await place.inbox.mark_seen(item, connection=writer)
                assert (await _next(stream)).unseen == 1
                await _listed(place, 2)
            await _until(stream, 0)


async def test_who_was_struck_off_the_list_comes_back_on_it(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that was stopped for minutes has lost its place, and maybe calls, but not its connection."""
    for name in ("INBOX_BEAT_S", "INBOX_CALLED_S"):
        monkeypatch.setattr(watching, name, 0.1)
    monkeypatch.setattr(watching, "INBOX_POLL_S", 60)  # until it listens
    item = await place.put()
    async with aclosing(place.inbox.changes()) as stream:
        await _next(stream)
        await _listed(place)
        await place.sql.execute("delete from chimeway.inbox_watchers")
        await _listed(place)
        await place.inbox.mark_seen(item)
        await _until(stream, 0)


async def test_a_client_that_cannot_listen_polls_and_says_so(
    place: Place, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where no session can be had, changes come all the same; writers are not asked to call for nothing."""
    monkeypatch.setattr(watching, "INBOX_POLL_S", 0.05)
    nowhere = "postgresql://nobody@127.0.0.1:1/nowhere"
    item = await place.put()
    async with (
        Chimeway.connect(place.url, direct_dsn=nowhere) as client,
        aclosing(client.inbox("ada").changes()) as stream,
    ):
        assert (await _next(stream)).mode == "polling"
        await place.inbox.mark_seen(item)
        assert (await _until(stream, 0)).mode == "polling"
        assert await _count(place, "inbox_watchers", 0)
        await wait_for(lambda: [each for each in caplog.records if hasattr(each, "chimeway")], "it is told")
    told = [record.chimeway for record in caplog.records if hasattr(record, "chimeway")]
    assert [each["mode"] for each in told if each["event"] == "inbox.mode"] == ["polling"]


async def test_a_direct_dsn_that_cannot_be_read_is_refused_at_once(place: Place) -> None:
    """And not hours later, when somebody looks on."""
    for wrong in (7, "nonsense", "postgresql://h/db?unknown=1"):
        with pytest.raises(InvalidInput):
            async with Chimeway.connect(place.url, direct_dsn=wrong):  # type: ignore[arg-type]
                pass


async def test_it_ends_with_the_client_and_after_its_timeout(place: Place) -> None:
    """A closed client ends the iteration, and begins none; a timeout counts from the last change."""
    async with Chimeway.connect(place.url) as client:
        stream = client.inbox("ada").changes()
        await _next(stream)
        assert [change.unseen async for change in client.inbox("bob").changes(timeout=0.05)] == [0]
        ending: asyncio.Task[list[Any]] = asyncio.create_task(_rest(stream))
        await asyncio.sleep(0)
    async with asyncio.timeout(DEADLINE_S):
        assert await ending == []
    assert await _count(place, "inbox_watchers", 0)
    with pytest.raises(DatabaseUnavailable, match="closed"):
        await anext(client.inbox("ada").changes())
    with pytest.raises(InvalidInput, match="timeout"):
        place.inbox.changes(timeout=-1)


async def test_who_comes_to_the_same_inbox_does_not_put_off_the_timeout_of_others(place: Place) -> None:
    """Streams that begin anew after each timeout, to be heard of, would keep each other silent."""
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(_rest(place.inbox.changes(timeout=0.5)))
        async with asyncio.timeout(DEADLINE_S):
            while not waiting.done():
                async with aclosing(place.inbox.changes()) as other:
                    await _next(other)
                await asyncio.sleep(0.05)


async def _rest(stream: Stream) -> list[InboxChange]:
    return [change async for change in stream]


async def test_a_database_that_is_away_is_waited_for(place: Place) -> None:
    """Nobody who looks on sees an error; when it is back, they see what it is like now."""
    item = await place.put()
    async with (
        proxy_to(place.url) as proxy,
        Chimeway.connect(proxy.url) as client,
        aclosing(client.inbox("ada").changes()) as stream,
    ):
        await _next(stream)
        await _listed(place)
        for link in proxy._links:
            link.close()
        await place.inbox.mark_seen(item)
        await _until(stream, 0)


async def test_a_silent_watcher_costs_writers_nothing(place: Place) -> None:
    """Without a sign of life for half a minute it is not called, after two it is off the list."""
    async with aclosing(place.inbox.changes()) as stream:
        await _next(stream)
        await _listed(place)
        await place.sql.execute("listen chimeway_inbox")
        heard: list[Any] = []
        await place.sql.add_listener("chimeway_inbox", lambda *told: heard.append(told))
        await place.sql.execute("update chimeway.inbox_watchers set seen_at = now() - interval '31 seconds'")
        await place.put()
        await place.inbox.mark_all_seen()
        await place.sql.execute("update chimeway.inbox_watchers set seen_at = now() - interval '3 minutes'")
        await place.sql.execute("select chimeway.watch_inboxes(gen_random_uuid(), '{default}', '{bob}')")
        rows = await place.sql.fetch("select digest from chimeway.inbox_watched")
        assert [row["digest"] for row in rows] == [
            await place.sql.fetchval("select chimeway.inbox_digest('default', 'bob')")
        ]
        assert heard == []


def test_a_client_without_a_loop_looks_every_second(database_url: str) -> None:
    """It yields at once and when something looks otherwise, holds no connection, and ends in time."""
    with chimeway.sync.Chimeway.connect(database_url, pool_size=1) as client:
        box = client.inbox("ada")
        assert [change.mode for change in box.changes(timeout=0)] == ["polling"]
        stream = box.changes(timeout=0.05)
        assert next(stream).unseen == 0
        assert box.unseen_count() == 0, "the only connection is free"
        assert list(stream) == []
