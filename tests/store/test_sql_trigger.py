"""chimeway.trigger and trigger_many: what a trigger writes, which version starts, who, and how often."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from store.plain_sql import MENTION, blocked, contents, plain, refused, register, run_row, trigger


@pytest.fixture
async def sql(database_url: str) -> AsyncIterator["asyncpg.Connection[Any]"]:
    """A plain connection on a database where MENTION is registered."""
    async with plain(database_url) as connection:
        await register(connection)
        yield connection


async def test_a_trigger_writes_event_run_and_transition(sql: "asyncpg.Connection[Any]") -> None:
    """A run begins active, on no step, due now, with workflow_started as its first transition."""
    run_id = await trigger(sql, "ada", data='{"document_id": "d1"}', cancellation_key="c1", tenant_id="org")
    run = await run_row(sql, run_id)
    assert (run["state"], run["step"], run["visit"], run["wake_at"]) == ("active", None, 0, run["created_at"])
    assert (run["tenant_id"], run["recipient_id"], run["cancellation_key"]) == ("org", "ada", "c1")
    assert run_id.bytes[15] == run["shard"]
    event = await sql.fetchrow("select * from chimeway.events where id = $1", run["event_id"])
    assert event is not None
    assert (json.loads(event["data"]), event["run_ids"]) == ({"document_id": "d1"}, [run_id])
    transitions = await sql.fetch("select * from chimeway.workflow_transitions where run_id = $1", run_id)
    assert [(t["seq"], t["reason"], t["to_state"], t["visit"]) for t in transitions] == [
        (1, "workflow_started", "active", 0)
    ]


async def test_recipients_are_taken_once_in_their_first_place(sql: "asyncpg.Connection[Any]") -> None:
    """Duplicate recipients are removed, and the first place is kept."""
    rows = await sql.fetch(
        "select * from chimeway.trigger_many('mention_escalation', 't', array['b','a','b','c','a'])"
    )
    assert [row["recipient_id"] for row in rows] == ["b", "a", "c"]
    runs = await sql.fetch("select id, recipient_id from chimeway.workflow_runs")
    assert {row["id"]: row["recipient_id"] for row in runs} == {
        row["run_id"]: row["recipient_id"] for row in rows
    }


async def test_a_thousand_recipients_are_the_most(sql: "asyncpg.Connection[Any]") -> None:
    """1,000 recipients are taken (duplicates not counted), 1,001 are refused and nothing is written."""
    call = """select * from chimeway.trigger_many('mention_escalation', 't',
                  array(select 'u' || n from generate_series(1, $1) n) || array['u1', 'u2'])"""
    assert len(await sql.fetch(call, 1000)) == 1000
    before = await contents(sql)
    error = await refused(sql, call, 1001)
    assert "names 1001 recipients" in str(error)
    assert await contents(sql) == before


async def test_a_later_start_sets_the_wake(sql: "asyncpg.Connection[Any]") -> None:
    """`at` in the future is the run's first wake; in the past it is now."""
    now = await sql.fetchval("select chimeway.clock()")
    late = await run_row(sql, await trigger(sql, "ada", at=now + timedelta(days=3)))
    past = await run_row(sql, await trigger(sql, "ada", at=now - timedelta(days=3)))
    assert late["wake_at"] == now + timedelta(days=3)
    assert past["wake_at"] == past["created_at"]


async def test_the_current_version_starts(sql: "asyncpg.Connection[Any]") -> None:
    """The highest version starts, unless one is named or activated; an older registration changes nothing."""

    async def version(**more: Any) -> int:
        found: int = (await run_row(sql, await trigger(sql, "ada", **more)))["workflow_version"]
        return found

    await register(sql, MENTION | {"version": 3})
    assert await version() == 3
    await register(sql, MENTION | {"version": 2})
    assert await version() == 3
    assert await version(workflow_version=1) == 1
    await sql.execute("update chimeway.workflow_definitions set activated = true where version = 2")
    assert await version() == 2
    assert await version(workflow_version=3) == 3


REFERRING = MENTION | {
    "key": "referring",
    "steps": [
        {"id": "ask", "action": {"type": "notify", "channel": "in_app", "render_key": "r"}},
        {
            "id": "wait",
            "action": {
                "type": "wait",
                "until": {"data": "deadline"},
                "stop_conditions": [
                    {
                        "type": "signal_received",
                        "signal_type": "done",
                        "match": {"id": {"data": "doc"}, "x": {"value": {"data": "not_this"}}, "y": 1},
                    }
                ],
            },
        },
    ],
}


LACKING: list[tuple[dict[str, Any], str]] = [
    ({"deadline": "2026-01-01T00:00:00Z"}, 'data lacks "doc"'),
    ({"doc": 1}, 'data lacks "deadline"'),
    ({"doc": 1, "deadline": "2026-01-01"}, 'data."deadline" is no instant'),
    ({"doc": 1, "deadline": "2026-01-01T00:00:00"}, 'data."deadline" is no instant'),
    ({"doc": 1, "deadline": "2026-13-01T00:00:00Z"}, 'data."deadline" is no instant'),
    ({"doc": 1, "deadline": 1767225600}, 'data."deadline" is no instant'),
    ({"doc": 1, "deadline": None}, 'data."deadline" is no instant'),
]


async def test_required_data_is_required(sql: "asyncpg.Connection[Any]") -> None:
    """Data that lacks what the definition refers to, or whose instant is none, is refused."""
    await register(sql, REFERRING)
    before = await contents(sql)
    call = "select chimeway.trigger('referring', recipient_id => 'ada', data => $1)"
    for data, message in LACKING:
        error = await refused(sql, call, json.dumps(data))
        assert (error.sqlstate, message in str(error)) == ("CW004", True), data
        assert error.hint
    assert await contents(sql) == before
    good = {"doc": None, "deadline": "2026-01-01T00:00:00.5+05:30"}
    assert await sql.fetchval(call, json.dumps(good))


async def test_a_repeated_key_returns_the_first_result(sql: "asyncpg.Connection[Any]") -> None:
    """The same key with the same workflow, recipients (in any order) and data writes nothing."""
    call = "select * from chimeway.trigger_many('mention_escalation', 't', $1, $2, idempotency_key => 'k')"
    first = await sql.fetch(call, ["a", "b"], '{"x": 1, "y": 2}')
    await register(sql, MENTION | {"version": 2})
    before = await contents(sql)
    again = await sql.fetch(call, ["b", "a", "b"], '{"y": 2, "x": 1}')
    assert [(r["recipient_id"], r["run_id"]) for r in again] == [
        (r["recipient_id"], r["run_id"]) for r in first
    ]
    assert [row["known"] for row in (*first, *again)] == [False, False, True, True]
    assert await contents(sql) == before


@pytest.mark.parametrize(
    ("workflow", "recipients", "data"),
    [
        ("other", ["a", "b"], '{"x": 1}'),
        ("mention_escalation", ["a"], '{"x": 1}'),
        ("mention_escalation", ["a", "b", "c"], '{"x": 1}'),
        ("mention_escalation", ["a", "b"], '{"x": 2}'),
    ],
)
async def test_a_key_used_for_another_trigger_is_refused(
    sql: "asyncpg.Connection[Any]", workflow: str, recipients: list[str], data: str
) -> None:
    """Another workflow, set of recipients or data under a known key is idempotency_conflict."""
    await register(sql, MENTION | {"key": "other"})
    call = "select * from chimeway.trigger_many($1, 't', $2, $3, idempotency_key => 'k')"
    await sql.fetch(call, "mention_escalation", ["a", "b"], '{"x": 1}')
    before = await contents(sql)
    error = await refused(sql, call, workflow, recipients, data)
    assert (error.sqlstate, str(error).partition(":")[0]) == ("CW003", "idempotency_conflict")
    assert "one key for one event" in (error.hint or "")
    assert await contents(sql) == before


async def test_a_key_binds_in_its_tenant_only(sql: "asyncpg.Connection[Any]") -> None:
    """The same key in another tenant is another event; without a key every call is a new one."""
    runs = [
        await trigger(sql, "ada", tenant_id=tenant, idempotency_key=key)
        for tenant, key in [("t1", "k"), ("t2", "k"), ("t1", None), ("t1", None)]
    ]
    assert len(set(runs)) == 4


@pytest.mark.parametrize("commits", [True, False])
async def test_a_second_caller_waits_for_the_first(
    sql: "asyncpg.Connection[Any]", database_url: str, commits: bool
) -> None:
    """The same key at the same time: the second waits, and is the repeat or, after a rollback, the first."""
    call = (
        "select * from chimeway.trigger_many('mention_escalation', 't', array['a'], idempotency_key => 'k')"
    )
    async with plain(database_url) as one, plain(database_url) as two, asyncio.TaskGroup() as group:
        transaction = one.transaction()
        await transaction.start()
        first = await one.fetch(call)
        waiting = group.create_task(two.fetch(call))
        await blocked(sql, two)
        await (transaction.commit() if commits else transaction.rollback())
        second = await waiting
    assert second[0]["known"] is commits
    assert (second[0]["run_id"] == first[0]["run_id"]) is commits
    assert await sql.fetchval("select count(*) from chimeway.workflow_runs") == 1
    assert await sql.fetchval("select count(*) from chimeway.events") == 1


async def test_a_second_caller_with_other_data_is_refused_after_the_wait(
    sql: "asyncpg.Connection[Any]", database_url: str
) -> None:
    """A conflict is seen also when the first caller had not committed yet."""
    call = "select chimeway.trigger('mention_escalation', recipient_id => $1, idempotency_key => 'k')"
    async with plain(database_url) as one, plain(database_url) as two, asyncio.TaskGroup() as group:
        transaction = one.transaction()
        await transaction.start()
        await one.fetch(call, "a")
        waiting = group.create_task(refused(two, call, "b"))
        await blocked(sql, two)
        await transaction.commit()
        assert (await waiting).sqlstate == "CW003"


async def test_twenty_callers_at_once_start_one_run(
    sql: "asyncpg.Connection[Any]", database_url: str
) -> None:
    """However many bring the same key at once, there is one event, one run, and one answer."""

    async def call() -> tuple[Any, bool]:
        async with plain(database_url) as own:
            row = await own.fetchrow(
                "select * from chimeway.trigger_many('mention_escalation', 't', array['a'], "
                "idempotency_key => 'k')"
            )
            assert row is not None
            return row["run_id"], row["known"]

    answers = await asyncio.gather(*(call() for _ in range(20)))
    assert len({run_id for run_id, _ in answers}) == 1
    assert [known for _, known in answers].count(False) == 1
    assert await sql.fetchval("select count(*) from chimeway.workflow_runs") == 1
    assert await sql.fetchval("select count(*) from chimeway.workflow_transitions") == 1


async def test_a_strict_snapshot_may_fail_to_serialize(
    sql: "asyncpg.Connection[Any]", database_url: str
) -> None:
    """Under REPEATABLE READ a key committed after the snapshot gives 40001, which may be retried."""
    async with plain(database_url) as strict:
        transaction = strict.transaction(isolation="repeatable_read")
        await transaction.start()
        await strict.fetchval("select 1 from chimeway.events")
        await trigger(sql, "a", idempotency_key="k")
        error = await refused(
            strict,
            "select chimeway.trigger('mention_escalation', recipient_id => 'a', idempotency_key => 'k')",
        )
        assert error.sqlstate == "40001"
        await transaction.rollback()
