"""chimeway.signal, identify and mark_inbox: facts, profiles and marks, each written once."""

import asyncio
import json
import random
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from store.plain_sql import blocked, contents, plain, put_into_inbox, refused, register, trigger


@pytest.fixture
async def sql(database_url: str) -> AsyncIterator["asyncpg.Connection[Any]"]:
    """A plain connection on a database where MENTION is registered."""
    async with plain(database_url) as connection:
        await register(connection)
        yield connection


SIGNAL = "select chimeway.signal('notification_read', 'org', $1, $2, $3)"


async def test_a_signal_is_recorded_unrouted(sql: "asyncpg.Connection[Any]") -> None:
    """A signal is one row without a mark of routing, and no run is touched by it."""
    run_id = await trigger(sql, "ada", tenant_id="org")
    before = await contents(sql)
    signal_id = await sql.fetchval(SIGNAL, "ada", '{"document_id": "d"}', None)
    row = await sql.fetchrow("select * from chimeway.signals where id = $1", signal_id)
    assert row is not None
    assert (row["type"], row["tenant_id"], row["actor_id"]) == ("notification_read", "org", "ada")
    assert (json.loads(row["payload"]), row["routed_at"], row["run_id"]) == ({"document_id": "d"}, None, None)
    assert row["shard"] == signal_id.bytes[15] == run_id.bytes[15]
    after = await contents(sql)
    assert {table for table in after if after[table] != before[table]} == {"signals"}


async def test_a_signal_does_not_wait_for_a_locked_run(
    sql: "asyncpg.Connection[Any]", database_url: str
) -> None:
    """A signal never blocks on runs, nor they on it."""
    run_id = await trigger(sql, "ada", tenant_id="org")
    async with plain(database_url) as other, other.transaction():
        await other.execute("select 1 from chimeway.workflow_runs where id = $1 for update", run_id)
        await sql.execute("set lock_timeout = '2s'")
        assert await sql.fetchval(SIGNAL, "ada", "{}", None)


async def test_arrival_numbers_order_runs_and_signals(sql: "asyncpg.Connection[Any]") -> None:
    """One sequence numbers runs and signals in the order in which they were written."""
    run = await trigger(sql, "ada")
    await sql.fetchval(SIGNAL, "ada", "{}", None)
    later = await trigger(sql, "ada")
    numbers = await sql.fetch(
        """select arrival from chimeway.workflow_runs where id = $1 union all
           select arrival from chimeway.signals union all
           select arrival from chimeway.workflow_runs where id = $2""",
        run, later,
    )  # fmt: skip
    arrivals = [row["arrival"] for row in numbers]
    assert arrivals == sorted(arrivals)


async def test_the_same_dedupe_key_returns_the_first_signal(sql: "asyncpg.Connection[Any]") -> None:
    """A known (tenant, actor, dedupe key) returns the first id and writes nothing, whatever it brings."""
    first = await sql.fetchval(SIGNAL, "ada", '{"n": 1}', "k")
    before = await contents(sql)
    assert await sql.fetchval(SIGNAL, "ada", '{"n": 2}', "k") == first
    assert await contents(sql) == before
    assert await sql.fetchval(SIGNAL, "bob", "{}", "k") != first
    assert await sql.fetchval("select chimeway.signal('t', 'other', 'ada', dedupe_key => 'k')") != first
    assert await sql.fetchval(SIGNAL, "ada", "{}", None) != await sql.fetchval(SIGNAL, "ada", "{}", None)


KNOWN = {
    "signal": "select chimeway.signal('notification_read', actor_id => 'ada', dedupe_key => 'k')",
    "trigger": "select chimeway.trigger('mention_escalation', recipient_id => 'ada', idempotency_key => 'k')",
}


@pytest.mark.parametrize("call", KNOWN)
async def test_a_repeated_call_waits_for_the_log_as_its_first_one_did(
    sql: "asyncpg.Connection[Any]", call: str
) -> None:
    """It writes into the log, if only a word: a commit that wrote nothing waits for no standby."""
    await sql.fetchval(KNOWN[call])
    for _ in range(2):  # (a sequence writes, too, but not at every call)
        async with sql.transaction():
            await sql.fetchval(KNOWN[call])
            assert await sql.fetchval("select pg_current_xact_id_if_assigned() is not null")


@pytest.mark.parametrize("commits", [True, False])
async def test_a_second_signal_waits_for_the_first(
    sql: "asyncpg.Connection[Any]", database_url: str, commits: bool
) -> None:
    """The same dedupe key at the same time: one signal remains, whether the first commits or not."""
    async with plain(database_url) as one, plain(database_url) as two, asyncio.TaskGroup() as group:
        transaction = one.transaction()
        await transaction.start()
        first = await one.fetchval(SIGNAL, "ada", "{}", "k")
        waiting = group.create_task(two.fetchval(SIGNAL, "ada", "{}", "k"))
        await blocked(sql, two)
        await (transaction.commit() if commits else transaction.rollback())
        assert (await waiting == first) is commits
    assert await sql.fetchval("select count(*) from chimeway.signals") == 1


async def test_producers_notify_only_when_a_node_sleeps(
    sql: "asyncpg.Connection[Any]", database_url: str
) -> None:
    """Triggers and signals notify at commit when a node is asleep, and not when all are awake."""
    heard: asyncio.Queue[str] = asyncio.Queue()
    async with plain(database_url) as listener:
        await listener.add_listener("chimeway", lambda *args: heard.put_nowait(args[3]))
        await sql.execute(
            "insert into chimeway.nodes (id, name, version) values (gen_random_uuid(), 'n', '1')"
        )
        await sql.fetchval(SIGNAL, "ada", "{}", None)
        await sql.execute("update chimeway.nodes set asleep = true")
        await trigger(sql, "ada")
        async with asyncio.timeout(30):
            assert await heard.get() == ""
        await sql.fetchval(SIGNAL, "ada", "{}", None)
        async with asyncio.timeout(30):
            assert await heard.get() == ""
    assert heard.empty()


IDENTIFY = "select chimeway.identify('org', 'ada', $1)"


async def _profile(sql: "asyncpg.Connection[Any]") -> dict[str, Any]:
    row = await sql.fetchrow("select * from chimeway.recipients where recipient_id = 'ada'")
    assert row is not None
    return {
        "timezone": row["timezone"],
        "locale": row["locale"],
        **{name: json.loads(row[name]) for name in ("addresses", "preferences", "data")},
    }


async def test_identify_merges_and_null_removes(sql: "asyncpg.Connection[Any]") -> None:
    """Keys that are left out stay, those given are merged, null removes; phone serves sms too."""
    await sql.execute(
        IDENTIFY,
        json.dumps(
            {
                "email": "ada@example.org",
                "phone": "+44",
                "addresses": {"chat": "@ada"},
                "timezone": "Europe/London",
                "locale": "en-GB",
                "preferences": {"channels": {"sms": True, "email": True}},
                "data": {"name": "Ada", "age": 36},
            }
        ),
    )
    await sql.execute(
        IDENTIFY, json.dumps({"preferences": {"channels": {"email": False}}, "data": {"name": "A."}})
    )
    assert await _profile(sql) == {
        "addresses": {"email": "ada@example.org", "phone": "+44", "sms": "+44", "chat": "@ada"},
        "timezone": "Europe/London",
        "locale": "en-GB",
        "preferences": {"channels": {"sms": True, "email": False}},
        "data": {"name": "A.", "age": 36},
    }
    gone = {"email": None, "phone": None, "timezone": None, "locale": None, "addresses": {"chat": None}}
    await sql.execute(IDENTIFY, json.dumps(gone))
    assert await _profile(sql) == {
        "addresses": {},
        "timezone": None,
        "locale": None,
        "preferences": {"channels": {"sms": True, "email": False}},
        "data": {"name": "A.", "age": 36},
    }


@pytest.mark.parametrize("zone", ["Europe/London", "America/Argentina/Buenos_Aires", "Etc/GMT+5", "UTC"])
async def test_identify_takes_iana_zones(sql: "asyncpg.Connection[Any]", zone: str) -> None:
    """IANA names of every shape are taken."""
    await sql.execute(IDENTIFY, json.dumps({"timezone": zone}))
    assert (await _profile(sql))["timezone"] == zone


MARK = "select id from chimeway.mark_inbox('default', $1, $2, $3)"


IMPLIED = {
    "seen": ["seen"],
    "read": ["read", "seen"],
    "interacted": ["interacted", "read", "seen"],
    "archived": ["archived"],
}


@pytest.mark.parametrize("mark", IMPLIED)
async def test_a_mark_counts_once_and_tells_its_run(sql: "asyncpg.Connection[Any]", mark: str) -> None:
    """The first mark returns the item and tells its run alone, what it implies too; the second is nothing."""
    run_id = await trigger(sql, "ada")
    item = await put_into_inbox(sql, run_id)
    assert [row["id"] for row in await sql.fetch(MARK, "ada", [item], mark)] == [item]
    assert await sql.fetch(MARK, "ada", [item], mark) == []
    signals = await sql.fetch("select * from chimeway.signals order by arrival")
    assert [(s["type"], s["run_id"], json.loads(s["payload"]), s["actor_id"]) for s in signals] == [
        (f"chimeway.notification.{each}", run_id, {"notification_id": str(item)}, "ada")
        for each in IMPLIED[mark]
    ], "the strongest first"
    row = await sql.fetchrow("select * from chimeway.inbox_items where id = $1", item)
    assert row is not None
    assert [name for name in IMPLIED if row[f"{name}_at"]] == sorted(IMPLIED[mark], key=[*IMPLIED].index)


async def test_marks_do_not_reach_the_items_of_others(sql: "asyncpg.Connection[Any]") -> None:
    """Items of another recipient or tenant, and unknown ids, are left as they are."""
    bobs = await put_into_inbox(sql, await trigger(sql, "bob"))
    elsewhere = await put_into_inbox(sql, await trigger(sql, "ada", tenant_id="org"))
    before = await contents(sql)
    unknown = await sql.fetchval("select gen_random_uuid()")
    assert await sql.fetch(MARK, "ada", [bobs, elsewhere, unknown], "read") == []
    assert await contents(sql) == before


async def test_two_marks_at_once_are_one_signal(sql: "asyncpg.Connection[Any]", database_url: str) -> None:
    """The same mark from two places at once tells the run once."""
    items = [await put_into_inbox(sql, await trigger(sql, "ada")) for _ in range(3)]
    async with plain(database_url) as one, plain(database_url) as two, asyncio.TaskGroup() as group:
        transaction = one.transaction()
        await transaction.start()
        await one.fetch(MARK, "ada", items[:2], "read")
        waiting = group.create_task(two.fetch(MARK, "ada", items[::-1], "read"))
        await blocked(sql, two)
        await transaction.commit()
        assert [row["id"] for row in await waiting] == items[2:]
    assert await sql.fetchval("select count(*) from chimeway.signals where type like '%.read'") == 3


async def test_the_longest_names_that_are_taken_can_be_recorded(database_url: str) -> None:
    """Text that no index can make shorter, of as many bytes as are allowed, is recorded, and found again."""
    chance = random.Random(7)
    tenant, actor, key = (
        "".join(chr(chance.randrange(0x10000, 0x2FFFF)) for _ in range(length)) for length in (255, 255, 140)
    )
    say = "select chimeway.signal('read', $1, $2, '{}', $3)"
    async with plain(database_url) as sql:
        first = await sql.fetchval(say, tenant, actor, key)
        assert await sql.fetchval(say, tenant, actor, key) == first
        error = await refused(sql, say, tenant, actor, key + "x")
    assert (error.sqlstate, "are 2601 bytes long" in str(error)) == ("CW001", True)
