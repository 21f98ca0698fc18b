"""Both clients through PgBouncer in transaction mode, where each transaction may get another session."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from pathlib import Path
from uuid import UUID

import asyncpg
import psycopg
import pytest

import chimeway.sync
from chimeway import Chimeway, Notify, UnknownWorkflow, Workflow
from chimeway.client import watching
from chimeway.store.pool import open_database
from kit.pooler import needs_pgbouncer, pooler_to
from kit.waiting import DEADLINE_S, wait_for
from store.inboxes import place_on
from store.plain_sql import plain

pytestmark = needs_pgbouncer
HELLO = Workflow(key="hello", version=1, steps=[Notify("greet", channel="in_app", render_key="hello")])
ISOLATION = "select current_setting('transaction_isolation')"


@pytest.fixture
def pooled_url(database_url: str, tmp_path: Path) -> Iterator[str]:
    """This test's database through a pooler that has two sessions of it."""
    with pooler_to(database_url, tmp_path) as pooler:
        yield pooler.url


async def test_the_client_with_a_loop_needs_no_session(pooled_url: str) -> None:
    """Many calls of several clients at once are each answered, whichever session serves them."""
    async with Chimeway.connect(pooled_url) as one, Chimeway.connect(pooled_url) as other:

        async def work(number: int) -> None:
            client = (one, other)[number % 2]
            receipt = await client.trigger(HELLO, {"n": number}, recipients=f"u{number}")
            assert (await other.explain(receipt.run_ids[0])).run.recipient_id == f"u{number}"
            with pytest.raises(UnknownWorkflow):
                await one.trigger("nobody", recipients="a")
            await client.signal("read", actor=f"u{number}")

        await asyncio.gather(*(work(number) for number in range(24)))
        assert len(await one.list_runs(limit=100)) == 24


def test_the_client_without_one_needs_none_either(pooled_url: str) -> None:
    """Threads through a pooler are each answered, whichever session serves them."""
    with chimeway.sync.Chimeway.connect(pooled_url) as client, ThreadPoolExecutor(8) as threads:

        def work(number: int) -> None:
            receipt = client.trigger(HELLO, {"n": number}, recipients=f"u{number}")
            assert client.explain(receipt.run_ids[0]).run.recipient_id == f"u{number}"

        list(threads.map(work, range(24)))
        assert len(client.list_runs(limit=100)) == 24


async def test_lent_connections_work_through_it(pooled_url: str) -> None:
    """A caller's transaction is one session of the server, with the driver's cache off as it must be."""
    lent = await asyncpg.connect(pooled_url, statement_cache_size=0)
    async with Chimeway.connect(pooled_url) as client, lent.transaction():
        receipt = await client.trigger(HELLO, recipients="ada", connection=lent)
        assert (await client.get_run(receipt.run_ids[0], connection=lent)).recipient_id == "ada"
    await lent.close()
    with (
        chimeway.sync.Chimeway.connect(pooled_url) as without,
        psycopg.connect(pooled_url, prepare_threshold=None) as own,
    ):
        assert len(without.list_runs(connection=own)) == 1


async def test_nothing_is_left_behind_in_its_sessions(database_url: str, pooled_url: str) -> None:
    """What its other users find in the sessions is as the server set it, and ours read committed still."""
    with psycopg.connect(database_url, autocommit=True) as admin:
        admin.execute(
            f"alter database \"{admin.info.dbname}\" set default_transaction_isolation = 'serializable'"
        )
    async with open_database(pooled_url) as database, database.acquire() as own, own.transaction():
        assert await own.fetchval(ISOLATION) == "read committed"
    with chimeway.sync.Chimeway.connect(pooled_url) as without:
        without.list_runs()
    with psycopg.connect(pooled_url) as one, psycopg.connect(pooled_url) as other:
        for each in (one, other):  # a session each, as both are in a transaction
            assert each.execute(ISOLATION).fetchone() == ("serializable",)


async def test_live_changes_come_through_a_pooler_and_faster_past_it(
    pooled_url: str, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind it the client polls and listens on nobody's session; with a direct way it is told."""
    monkeypatch.setattr(watching, "INBOX_POLL_S", 0.05)
    async with (
        Chimeway.connect(pooled_url) as behind,
        Chimeway.connect(pooled_url, direct_dsn=database_url) as past,
    ):
        item = await _item(database_url)
        for client, mode, mark in ((behind, "polling", "mark_seen"), (past, "hinted", "mark_unseen")):
            inbox = client.inbox("ada")
            async with aclosing(inbox.changes()) as changes, asyncio.timeout(DEADLINE_S):
                before = (await anext(changes)).unseen
                await getattr(inbox, mark)(item)
                async for change in changes:
                    if change.unseen != before and change.mode == mode:
                        break
                    await getattr(inbox, mark)(item)
    async with plain(database_url) as sql:
        sql_text = """select count(*) = 0 from pg_stat_activity
                       where datname = current_database() and query ilike 'listen%' and state = 'idle'"""
        await wait_for(lambda: sql.fetchval(sql_text), "no session listens")


async def _item(url: str) -> UUID:
    async with place_on(url) as place:
        return await place.put()
