"""Calls cut short, clients used where or when they cannot be: what is told, and that the next call works."""

import asyncio
import gc
import pickle
from contextlib import suppress
from typing import Any

import asyncpg
import psycopg
import pytest
from psycopg.pq import TransactionStatus

import chimeway.sync
from chimeway import (
    Chimeway,
    ChimewayError,
    DatabaseUnavailable,
    InvalidInput,
    Notify,
    UnknownWorkflow,
    Wait,
    Workflow,
)
from chimeway.store import pool, sync_pool
from kit.waiting import wait_for

HELLO = Workflow(
    key="hello",
    version=1,
    steps=[Notify("greet", channel="in_app", render_key="hello"), Wait("rest", duration="PT1H")],
)
LOCK = "lock table chimeway.signals in access exclusive mode"
BLOCKED = """
select count(*) from pg_locks l join pg_database d on d.oid = l.database
 where not l.granted and d.datname = current_database()
"""


def test_an_interrupt_at_any_moment_costs_no_place(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a Ctrl-C cuts short in the pool itself, there is room for the next call."""
    monkeypatch.setattr(sync_pool, "_LEND_TIMEOUT_S", 2.0)

    def interrupted(*_: object) -> Any:
        raise KeyboardInterrupt

    with chimeway.sync.Chimeway.connect(database_url, pool_size=1) as client:
        for name in ("_end_transaction", "_is_silent"):
            with monkeypatch.context() as patch, suppress(KeyboardInterrupt):
                patch.setattr(sync_pool, name, interrupted)
                client.signal("read", actor="a")
            gc.collect()
            assert client.signal("read", actor="a"), name


async def test_a_cancelled_call_leaves_its_connection_usable(database_url: str) -> None:
    """A verb whose task is cancelled writes nothing; the pool's one connection and a lent one go on."""
    lock, lent = await asyncpg.connect(database_url), await asyncpg.connect(database_url)
    async with Chimeway.connect(database_url, pool_size=1) as client:
        for connection in (None, lent):
            async with lock.transaction():
                await lock.execute(LOCK)
                task = asyncio.create_task(client.signal("read", actor="cut", connection=connection))
                await wait_for(lambda: lock.fetchval(f"select ({BLOCKED}) = 1"), "the signal waits")
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                await wait_for(lambda: lock.fetchval(f"select ({BLOCKED}) = 0"), "it is given up")
            assert await client.signal("read", actor="whole", connection=connection)
            assert not lent.is_in_transaction()
        assert await lock.fetchval("select count(*) from chimeway.signals where actor_id = 'cut'") == 0
    await lock.close()
    await lent.close()


async def test_another_event_loop_is_refused(database_url: str) -> None:
    """A client belongs to the loop that opened it; another one is told so, and spoils nothing."""
    async with Chimeway.connect(database_url, pool_size=1) as client:
        with pytest.raises(RuntimeError, match="opened on another event loop: open one in each loop"):
            await asyncio.to_thread(asyncio.run, client.signal("read", actor="a"))
        assert await client.signal("read", actor="a")


async def test_a_client_with_a_loop_says_that_it_is_closed(database_url: str) -> None:
    """After its block a client, and those of its tenants, say so in the words of the other client."""
    async with Chimeway.connect(database_url) as client:
        bound = client.for_tenant("org")
    for each in (client, bound):
        with pytest.raises(DatabaseUnavailable, match="the client is closed"):
            await each.list_runs()


async def test_a_client_closed_in_use_says_so_to_all(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Calls under way, and those that wait for a connection, end with database_unavailable."""
    monkeypatch.setattr(pool, "_CLOSE_S", 0.1)
    lock = await asyncpg.connect(database_url)
    async with lock.transaction():
        await lock.execute(LOCK)
        async with Chimeway.connect(database_url, pool_size=1) as client:
            tasks = [asyncio.create_task(client.signal("read", actor="a")) for _ in range(3)]
            await wait_for(lambda: lock.fetchval(f"select ({BLOCKED}) = 1"), "one of them waits")
        answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(each) for each in answers] == [DatabaseUnavailable] * 3
    await lock.close()


def test_a_refusal_in_a_pipeline_is_no_lost_database(database_url: str) -> None:
    """In psycopg's pipeline verbs work; what stands behind a refusal is the driver's PipelineAborted."""
    with (
        chimeway.sync.Chimeway.connect(database_url) as client,
        psycopg.connect(database_url) as own,
    ):
        with own.pipeline():
            own.execute("select 1")
            run = client.trigger(HELLO, recipients="ada", connection=own).run_ids[0]
            assert client.get_run(run, connection=own).recipient_id == "ada"
        own.commit()
        with suppress(psycopg.errors.PipelineAborted), own.pipeline():
            with pytest.raises(UnknownWorkflow):
                client.trigger("nobody", recipients="ada", connection=own)
            with pytest.raises(psycopg.errors.PipelineAborted):
                client.signal("read", actor="ada", connection=own)
        own.rollback()
        client.signal("read", actor="ada", connection=own)
        assert own.info.transaction_status is TransactionStatus.INTRANS


async def test_a_connection_given_back_is_no_lost_database(database_url: str) -> None:
    """A connection that its pool has taken back is its caller's mistake, and not worth a retry."""
    async with (
        Chimeway.connect(database_url) as client,
        asyncpg.create_pool(database_url, min_size=1) as theirs,
    ):
        async with theirs.acquire() as lent:
            await client.signal("read", actor="a", connection=lent)
        with pytest.raises(asyncpg.InterfaceError, match="released back to the pool"):
            await client.signal("read", actor="a", connection=lent)


def test_a_transaction_that_the_server_ended_is_a_lost_connection(database_url: str) -> None:
    """Who sat idle in a transaction for longer than the server allows is told database_unavailable."""
    with chimeway.sync.Chimeway.connect(database_url) as client, psycopg.connect(database_url) as own:
        own.autocommit = True
        own.execute("set idle_in_transaction_session_timeout = '300ms'")
        own.autocommit = False
        own.execute("select 1")
        with psycopg.connect(database_url, autocommit=True) as admin:
            pid = own.info.backend_pid
            while admin.execute("select from pg_stat_activity where pid = %s", (pid,)).fetchone() is not None:
                pass
        with pytest.raises(DatabaseUnavailable, match="idle-in-transaction timeout"):
            client.signal("read", actor="a", connection=own)


async def test_a_snapshot_older_than_the_registration_is_told(database_url: str) -> None:
    """In a REPEATABLE READ transaction begun before it, the first trigger of a definition says what to do."""
    lent = await asyncpg.connect(database_url)
    async with Chimeway.connect(database_url) as client:
        with chimeway.sync.Chimeway.connect(database_url) as without, psycopg.connect(database_url) as own:
            own.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            own.execute("select 1 from chimeway.signals")
            with pytest.raises(UnknownWorkflow) as caught:
                without.trigger(HELLO, recipients="a", connection=own)
        told = [caught.value.message]
        other = Workflow(key="hello", version=2, steps=HELLO.as_dict()["steps"])  # type: ignore[arg-type]  # JSON
        async with lent.transaction(isolation="repeatable_read"):
            await lent.fetchval("select 1 from chimeway.signals")
            with pytest.raises(UnknownWorkflow) as caught:
                await client.trigger(other, recipients="a", connection=lent)
        told.append(caught.value.message)
        assert await client.trigger(other, recipients="a", connection=lent)
    await lent.close()
    assert told == [
        f'workflow "hello" version {version} is not registered, as this connection sees it, but it is: the '
        "transaction (REPEATABLE READ or stricter) began before, or it is another database's: register it "
        "where the program starts, or do the transaction again"
        for version in (1, 2)
    ]


def test_a_client_of_one_tenant_serves_the_seeds_forms(database_url: str) -> None:
    """`connect(...).for_tenant(...)` in one line is an open client; closing it closes all of it."""
    bound = chimeway.sync.Chimeway.connect(database_url).for_tenant("org")
    gc.collect()
    assert chimeway.sync.Signal.track("ada", "org", "read")
    bound.close()
    with pytest.raises(DatabaseUnavailable, match="no client is open"):
        chimeway.sync.Signal.track("ada", "org", "read")


async def test_results_and_errors_go_between_processes(database_url: str) -> None:
    """What a verb returns or raises can be pickled and is the same after, so that workers may hand it on."""
    async with Chimeway.connect(database_url) as client:
        receipt = await client.trigger(HELLO, recipients="ada")
        run = receipt.run_ids[0]
        results = [
            receipt,
            await client.get_run(run),
            await client.list_runs(),
            await client.explain(run),
            await client.overdue(),
            await client.cancel(run),
        ]
        for one in results:
            assert pickle.loads(pickle.dumps(one)) == one  # noqa: S301  (our own)
        with pytest.raises(UnknownWorkflow) as caught:
            await client.trigger("nobody", recipients="a")
    for error in (caught.value, InvalidInput("x", field="f", hint="h"), ChimewayError()):
        copy = pickle.loads(pickle.dumps(error))  # noqa: S301  (our own)
        assert (type(copy), str(copy), copy.details) == (type(error), str(error), error.details)
        assert "ada" not in repr(client.database)


def test_no_password_is_shown(database_url: str) -> None:
    """Neither a client nor what it works on shows the password of its URL."""
    client = chimeway.sync.Chimeway.connect("postgresql://ada:hunter2@127.0.0.1:1/app")
    with pytest.raises(DatabaseUnavailable) as caught:
        client.list_runs()
    for shown in (repr(client), repr(client.database), str(caught.value), repr(caught.value)):
        assert "hunter2" not in shown
