"""`connection=`: the verbs take part in the caller's transaction, and leave it to the caller."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from chimeway import (
    Chimeway,
    ChimewayError,
    DatabaseUnavailable,
    IdempotencyConflict,
    Notify,
    NotPermitted,
    Recipient,
    UnknownWorkflow,
    Workflow,
)
from store.plain_sql import contents, plain, put_into_inbox

HELLO = Workflow(key="hello", version=1, steps=[Notify("greet", channel="in_app", render_key="hello")])


@dataclass(frozen=True, slots=True)
class Shop:
    """A client, and a connection of the caller with a table of its own; a run and its inbox item."""

    client: Chimeway
    sql: "asyncpg.Connection[Any]"
    run: UUID
    item: UUID


@pytest.fixture
async def shop(database_url: str) -> AsyncIterator[Shop]:
    """A client beside a program with tables of its own."""
    async with Chimeway.connect(database_url) as client, plain(database_url) as sql:
        await sql.execute("create table orders (id int)")
        run = (await client.trigger(HELLO, recipients="ada", cancellation_key="old")).run_ids[0]
        yield Shop(client, sql, run, await put_into_inbox(sql, run))


Verb = Callable[[Shop], Awaitable[object]]
VERBS: dict[str, Verb] = {
    "trigger": lambda s: s.client.trigger(HELLO, recipients=["a", "b"], connection=s.sql),
    "trigger_identified": lambda s: s.client.trigger(
        "hello", recipients=[Recipient("zoe", email="z@example.org")], connection=s.sql
    ),
    "trigger_many": lambda s: s.client.trigger_many(HELLO, [{"recipients": ["a"]}], connection=s.sql),
    "signal": lambda s: s.client.signal("read", actor="ada", connection=s.sql),
    "signal_many": lambda s: s.client.signal_many([{"type": "read", "actor": "ada"}], connection=s.sql),
    "identify": lambda s: s.client.identify("ada", email="a@example.org", connection=s.sql),
    "cancel": lambda s: s.client.cancel(s.run, connection=s.sql),
    "cancel_by_key": lambda s: s.client.cancel(cancellation_key="old", connection=s.sql),
    "mark_all_seen": lambda s: s.client.inbox("ada").mark_all_seen(connection=s.sql),
    "mark_read": lambda s: s.client.inbox("ada").mark_read(s.item, connection=s.sql),
}


async def test_rollbacks_take_the_verbs_with_them(shop: Shop) -> None:
    """After the caller's rollback nothing of a verb is left."""
    before = await contents(shop.sql)
    for name, verb in VERBS.items():
        transaction = shop.sql.transaction()
        await transaction.start()
        await verb(shop)
        assert shop.sql.is_in_transaction(), name
        await transaction.rollback()
        assert await contents(shop.sql) == before, name


async def test_savepoints_take_only_the_verbs(shop: Shop) -> None:
    """After a rollback to a savepoint the verb is gone, and the caller's own work is committed."""
    before = await contents(shop.sql)
    for name, verb in VERBS.items():
        async with shop.sql.transaction():
            await shop.sql.execute("insert into orders values (1)")
            savepoint = shop.sql.transaction()
            await savepoint.start()
            await verb(shop)
            await savepoint.rollback()
        assert await contents(shop.sql) == before, name
    assert await shop.sql.fetchval("select count(*) from orders") == len(VERBS)


@pytest.mark.parametrize("name", ["trigger", "cancel"])
async def test_nothing_is_there_before_the_callers_commit(shop: Shop, database_url: str, name: str) -> None:
    """Another connection sees a verb's work when, and only when, the caller has committed."""
    async with plain(database_url) as other:
        before = await contents(other)
        async with shop.sql.transaction():
            await shop.sql.execute("insert into orders values (1)")
            await VERBS[name](shop)
            assert await contents(other) == before
        assert await contents(other) != before
        assert await other.fetchval("select count(*) from orders") == 1


async def test_committed_verbs_stay(shop: Shop) -> None:
    """What each verb wrote is there after the caller's commit."""
    for name, verb in VERBS.items():
        if name == "cancel_by_key":  # the run has ended by then
            continue
        before = await contents(shop.sql)
        async with shop.sql.transaction():
            await verb(shop)
        assert await contents(shop.sql) != before, name


async def test_an_error_inside_leaves_the_transaction_to_the_caller(shop: Shop) -> None:
    """A refusal in the caller's savepoint is ours by code; the caller goes on and commits the rest."""
    async with shop.sql.transaction():
        first = await shop.client.trigger(
            HELLO, {"n": 1}, recipients="a", idempotency_key="k", connection=shop.sql
        )
        with pytest.raises(IdempotencyConflict):
            async with shop.sql.transaction():
                await shop.client.trigger(
                    HELLO, {"n": 2}, recipients="a", idempotency_key="k", connection=shop.sql
                )
        with pytest.raises(UnknownWorkflow):
            async with shop.sql.transaction():
                await shop.client.trigger("nobody", recipients="a", connection=shop.sql)
    assert (await shop.client.get_run(first.run_ids[0])).state == "active"


async def test_an_error_without_savepoint_aborts_as_the_database_says(shop: Shop) -> None:
    """Without a savepoint the transaction is aborted; nothing here rolls it back in secret."""
    transaction = shop.sql.transaction()
    await transaction.start()
    with pytest.raises(UnknownWorkflow):
        await shop.client.trigger("nobody", recipients="a", connection=shop.sql)
    with pytest.raises(asyncpg.InFailedSQLTransactionError):
        await shop.client.signal("read", actor="ada", connection=shop.sql)
    await transaction.rollback()
    assert await shop.client.signal("read", actor="ada", connection=shop.sql)


async def test_a_rollback_leaves_an_inline_definition_and_nothing_else(shop: Shop) -> None:
    """The definition is committed on a connection of its own, before the trigger."""
    other = Workflow(key="other", version=1, steps=[Notify("n", channel="in_app", render_key="r")])
    before = await contents(shop.sql)
    transaction = shop.sql.transaction()
    await transaction.start()
    await shop.client.trigger(other, recipients="a", connection=shop.sql)
    await transaction.rollback()
    after = await contents(shop.sql)
    assert {table for table in after if after[table] != before[table]} == {"workflow_definitions"}
    assert await shop.client.trigger("other", recipients="a")


async def test_a_cancel_by_key_reaches_the_same_transaction(shop: Shop) -> None:
    """What the caller has just triggered and regrets is stopped before anybody saw it."""
    async with shop.sql.transaction():
        receipt = await shop.client.trigger(
            HELLO, recipients="a", cancellation_key="new", connection=shop.sql
        )
        done = await shop.client.cancel(cancellation_key="new", connection=shop.sql)
    assert [run.run_id for run in done.stopped] == list(receipt.run_ids)
    assert (await shop.client.get_run(receipt.run_ids[0])).state == "stopped"


async def test_connections_of_a_pool_and_foreign_codecs_serve(shop: Shop, database_url: str) -> None:
    """A pool's proxy is taken, and what the caller taught its connection about JSON does not matter."""
    async with asyncpg.create_pool(database_url, min_size=1, max_size=1) as pool, pool.acquire() as lent:
        await lent.set_type_codec(
            "jsonb", schema="pg_catalog", encoder=lambda _: "[]", decoder=lambda _: "mine"
        )
        await lent.set_type_codec("uuid", schema="pg_catalog", encoder=str, decoder=str)
        async with lent.transaction():
            await shop.client.trigger(HELLO, {"n": 1}, recipients="eve", connection=lent)
            signal_id = await shop.client.signal("read", actor="eve", payload={"n": 1}, connection=lent)
    assert isinstance(signal_id, UUID)
    data = await shop.sql.fetchval("select e.data from chimeway.events e where e.recipient_ids = '{eve}'")
    assert json.loads(data) == {"n": 1}


@pytest.mark.parametrize("wrong", [object(), "postgresql:///", 7])
async def test_other_kinds_of_connection_are_refused(shop: Shop, wrong: object) -> None:
    """What is no supported connection is a TypeError that lists what is; nothing is registered first."""
    other = Workflow(key="other", version=1, steps=[Notify("n", channel="in_app", render_key="r")])
    before = await contents(shop.sql)
    with pytest.raises(TypeError, match="supported: an asyncpg connection"):
        await shop.client.trigger(other, recipients="a", connection=wrong)
    with pytest.raises(TypeError, match="supported: an asyncpg connection"):
        await shop.client.signal("read", actor="ada", connection=wrong)
    assert await contents(shop.sql) == before


async def test_a_lost_database_is_our_error(shop: Shop, database_url: str, server_url: str) -> None:
    """A closed connection, and a database that is gone, are database_unavailable."""
    async with plain(database_url) as closed:
        await closed.close()
        with pytest.raises(DatabaseUnavailable):
            await shop.client.signal("read", actor="ada", connection=closed)
    name = await shop.sql.fetchval("select current_database()")
    async with plain(server_url) as admin:
        await admin.execute(f'alter database "{name}" with allow_connections false')
        await admin.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = $1", name)
        for _ in range(3):
            with pytest.raises(DatabaseUnavailable) as caught:
                await shop.client.list_runs()
            assert caught.value.code == "database_unavailable"
        await admin.execute(f'alter database "{name}" with allow_connections true')
    assert await shop.client.list_runs()


async def test_a_strict_database_is_asked_again(database_url: str) -> None:
    """Where the database defaults to a strict isolation, 40001 is retried and the repeat is answered."""
    async with plain(database_url) as sql:
        name = await sql.fetchval("select current_database()")
        await sql.execute(f"alter database \"{name}\" set default_transaction_isolation = 'serializable'")
    async with Chimeway.connect(database_url) as client:
        await client.register(HELLO)
        receipts = await asyncio.gather(
            *(client.trigger("hello", recipients="a", idempotency_key="k") for _ in range(8))
        )
    assert len({receipt.run_ids for receipt in receipts}) == 1
    assert [receipt.duplicate for receipt in receipts].count(False) == 1


GRANTS = """
create role "{0}" login;
grant usage on schema chimeway to "{0}";
grant execute on function chimeway.trigger(text, text, text, jsonb, text, int, text, timestamptz),
    chimeway.trigger_many(text, text, text[], jsonb, text, int, text, timestamptz),
    chimeway.signal(text, text, text, jsonb, text), chimeway.identify(text, text, jsonb),
    chimeway.cancel(uuid, text, text, text) to "{0}"
"""


async def test_a_producer_needs_four_functions_and_no_more(database_url: str) -> None:
    """With EXECUTE on trigger, signal, identify and cancel alone a producer works; it sees no row."""
    role = f"cw_producer_{uuid4().hex[:8]}"
    async with plain(database_url) as sql:
        await sql.execute(GRANTS.format(role))
        try:
            async with Chimeway.connect(database_url.replace("postgres@", f"{role}@")) as client:
                with pytest.raises(UnknownWorkflow):
                    await client.trigger(HELLO, recipients="a")
                async with Chimeway.connect(database_url) as deployer:
                    await deployer.register(HELLO)
                people = [Recipient("a", email="a@example.org")]
                receipt = await client.trigger(HELLO, recipients=people, cancellation_key="k")
                await client.trigger_many(HELLO, [{"recipients": ["b"]}])
                await client.signal_many([{"type": "read", "actor": "a"}])
                await client.identify("a", locale="en")
                done = await client.cancel(cancellation_key="k")
                assert [run.run_id for run in done.stopped] == list(receipt.run_ids)
                with pytest.raises(NotPermitted, match=r"may not do this \(permission denied for"):
                    await client.list_runs()
                with pytest.raises(ChimewayError) as caught:
                    await client.register(HELLO)
                assert caught.value.code == "may_not_register"
        finally:
            await sql.execute(f'drop owned by "{role}"; drop role "{role}"')
