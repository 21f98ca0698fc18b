"""chimeway.cancel: exact and synchronous, by id and by key, whatever happens at the same time."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from store.plain_sql import blocked, contents, deliver, plain, refused, register, run_row, trigger


@pytest.fixture
async def sql(database_url: str) -> AsyncIterator["asyncpg.Connection[Any]"]:
    """A plain connection on a database where MENTION is registered."""
    async with plain(database_url) as connection:
        await register(connection)
        yield connection


BY_ID = "select * from chimeway.cancel(run_id => $1, note => 'not needed')"
BY_KEY = "select * from chimeway.cancel(cancellation_key => $1)"


async def _waiting(sql: "asyncpg.Connection[Any]", run_id: UUID) -> None:
    await sql.execute(
        """update chimeway.workflow_runs set state = 'waiting', step = 'step_wait', visit = 2,
               wake_at = chimeway.clock() + interval '1 hour', pending_signals = '{notification_read}',
               armed_step = 'step_wait', armed_entered_at = chimeway.clock() where id = $1""",
        run_id,
    )


async def test_a_cancelled_run_is_stopped_and_says_so(sql: "asyncpg.Connection[Any]") -> None:
    """A waiting run ends, forgets its wake and signals, and its audit has the reason and the note."""
    run_id = await trigger(sql, "ada")
    await _waiting(sql, run_id)
    rows = [dict(row) for row in await sql.fetch(BY_ID, run_id)]
    assert rows == [
        {
            "stopped_run_id": run_id,
            "outcome": "stopped",
            "state": "stopped",
            "step": "step_wait",
            "cancelled": [],
            "on_their_way": [],
        }
    ]
    run = await run_row(sql, run_id)
    assert (run["state"], run["status_reason"], run["step"]) == (
        "stopped",
        "cancelled_by_request",
        "step_wait",
    )
    assert (run["wake_at"], run["pending_signals"], run["armed_step"]) == (None, [], None)
    assert run["ended_at"] is not None
    last = await sql.fetchrow(
        "select * from chimeway.workflow_transitions where run_id = $1 and seq = 2", run_id
    )
    assert last is not None
    assert (last["reason"], last["from_state"], last["to_state"]) == (
        "cancelled_by_request",
        "waiting",
        "stopped",
    )
    assert (last["note"], last["visit"], last["from_step"]) == ("not needed", 2, "step_wait")
    assert (run["transition_count"], run["revision"]) == (2, 2)


async def test_deliveries_are_cancelled_or_on_their_way(sql: "asyncpg.Connection[Any]") -> None:
    """What no provider was asked for is cancelled; what is under way stays, marked; what ended stays."""
    run_id = await trigger(sql, "ada")
    statuses = (
        "pending", "deferred", "digested", "failed", "dispatched", "succeeded", "suppressed", "cancelled",
    )  # fmt: skip
    ids = {
        status: await deliver(sql, run_id, visit=visit, status=status)
        for visit, status in enumerate(statuses, start=1)
    }
    await sql.execute("update chimeway.deliveries set next_attempt_at = created_at where status = 'failed'")
    before = {row["id"]: row for row in await sql.fetch("select * from chimeway.deliveries")}
    row = await sql.fetchrow(BY_ID, run_id)
    assert row is not None
    assert set(row["cancelled"]) == {ids[s] for s in ("pending", "deferred", "digested", "failed")}
    assert row["on_their_way"] == [ids["dispatched"]]
    after = {row["id"]: row for row in await sql.fetch("select * from chimeway.deliveries")}
    for delivery in row["cancelled"]:
        now = after[delivery]
        assert (now["status"], now["suppression_reason"]) == ("cancelled", "run_stopped")
        assert now["terminal_at"] is not None
        assert now["next_attempt_at"] is None
        assert now["revision"] == before[delivery]["revision"] + 1
    under_way = after[ids["dispatched"]]
    assert (under_way["status"], under_way["stop_requested"], under_way["revision"]) == (
        "dispatched",
        True,
        2,
    )
    assert all(after[ids[s]] == before[ids[s]] for s in ("succeeded", "suppressed", "cancelled"))


@pytest.mark.parametrize(
    ("outcome", "status", "ends"),
    [("succeeded", "succeeded", ("succeeded", None)), ("failed", "failed", ("cancelled", "run_stopped"))],
)
async def test_what_was_on_its_way_ends_as_it_went(
    sql: "asyncpg.Connection[Any]", outcome: str, status: str, ends: tuple[str, str | None]
) -> None:
    """After a cancel a success is recorded as one, a failure is run_stopped and not tried again."""
    run_id = await trigger(sql, "ada")
    delivery = await deliver(sql, run_id, status="dispatched")
    await sql.execute(
        """insert into chimeway.delivery_attempts (delivery_id, shard, attempt_no, run_id, node, snapshot,
               started_at)
           select id, shard, 1, run_id, gen_random_uuid(), pg_current_snapshot(), chimeway.clock()
             from chimeway.deliveries where id = $1""",
        delivery,
    )
    await sql.fetch(BY_ID, run_id)
    answer = await sql.fetchrow(
        """select * from chimeway.record_results(array[$1::uuid], array[$2::uuid], '{1}', array[$3], '{null}',
               '{null}', '{null}', array[$4], '{null}', array[chimeway.clock()], '{true}')""",
        delivery, run_id, outcome, status,
    )  # fmt: skip
    assert answer is not None
    assert (answer["answer"], answer["nudged"]) == ("applied", False)
    row = await sql.fetchrow("select * from chimeway.deliveries where id = $1", delivery)
    assert row is not None
    assert (row["status"], row["suppression_reason"], row["next_attempt_at"]) == (*ends, None)


async def test_a_run_that_had_ended_is_told_and_left(sql: "asyncpg.Connection[Any]") -> None:
    """Cancelling again answers already_ended, with the state it ended in, and writes nothing."""
    run_id = await trigger(sql, "ada", cancellation_key="k")
    await sql.fetch(BY_ID, run_id)
    before = await contents(sql)
    for row in (await sql.fetchrow(BY_ID, run_id), await sql.fetchrow(BY_KEY, "k")):
        assert row is not None
        assert (row["stopped_run_id"], row["outcome"], row["state"]) == (run_id, "already_ended", "stopped")
        assert (row["cancelled"], row["on_their_way"]) == ([], [])
    assert await contents(sql) == before


async def test_a_held_run_can_be_cancelled(sql: "asyncpg.Connection[Any]") -> None:
    """Holding a run does not protect it; it ends unheld."""
    run_id = await trigger(sql, "ada")
    await sql.fetchval("select chimeway.hold_run($1, 'held_by_request')", run_id)
    row = await sql.fetchrow(BY_ID, run_id)
    assert row is not None
    assert row["outcome"] == "stopped"
    run = await run_row(sql, run_id)
    assert (run["held_reason"], run["held_at"], run["transition_count"]) == (None, None, 3)


async def test_a_key_stops_its_live_runs_of_this_tenant(sql: "asyncpg.Connection[Any]") -> None:
    """By key every live run of the tenant is stopped, each with its deliveries, and no other run."""
    mine = [await trigger(sql, name, cancellation_key="k") for name in ("ada", "bob", "eve")]
    others = [
        await trigger(sql, "ada", cancellation_key="k", tenant_id="org"),
        await trigger(sql, "ada", cancellation_key="other"),
        await trigger(sql, "ada"),
    ]
    deliveries = [await deliver(sql, run_id) for run_id in mine + others]
    await sql.fetch(BY_ID, mine[1])
    rows = await sql.fetch(BY_KEY, "k")
    assert {row["stopped_run_id"]: row["outcome"] for row in rows} == {
        mine[0]: "stopped",
        mine[1]: "already_ended",
        mine[2]: "stopped",
    }
    assert {row["stopped_run_id"]: row["cancelled"] for row in rows if row["outcome"] == "stopped"} == {
        mine[0]: [deliveries[0]],
        mine[2]: [deliveries[2]],
    }
    states = [(await run_row(sql, run_id))["state"] for run_id in mine + others]
    assert states == ["stopped"] * 3 + ["active"] * 3
    assert await sql.fetch(BY_KEY, "unknown") == []


async def test_a_run_of_another_tenant_is_not_found(sql: "asyncpg.Connection[Any]") -> None:
    """Cancelling by id never crosses tenants."""
    run_id = await trigger(sql, "ada", tenant_id="org")
    before = await contents(sql)
    error = await refused(sql, BY_ID, run_id)
    assert (error.sqlstate, str(error).partition(":")[0]) == ("CW006", "workflow_run_not_found")
    assert await contents(sql) == before


async def test_a_key_reaches_runs_of_the_same_transaction(
    sql: "asyncpg.Connection[Any]", database_url: str
) -> None:
    """Cancelling by key stops runs that the caller has triggered and not yet committed."""
    async with sql.transaction():
        run_id = await trigger(sql, "ada", cancellation_key="k")
        rows = await sql.fetch(BY_KEY, "k")
    assert [(row["stopped_run_id"], row["outcome"], row["step"]) for row in rows] == [
        (run_id, "stopped", None)
    ]
    async with plain(database_url) as other:
        assert (await run_row(other, run_id))["state"] == "stopped"


@pytest.mark.parametrize("commits", [True, False])
@pytest.mark.parametrize(("call", "by_id"), [(BY_ID, True), (BY_KEY, False)])
async def test_a_second_cancel_waits_and_sees(
    sql: "asyncpg.Connection[Any]", database_url: str, call: str, by_id: bool, commits: bool
) -> None:
    """Two cancels at once: the second waits; the run is stopped once, by whichever commits."""
    run_id = await trigger(sql, "ada", cancellation_key="k")
    delivery = await deliver(sql, run_id)
    async with plain(database_url) as one, plain(database_url) as two, asyncio.TaskGroup() as group:
        transaction = one.transaction()
        await transaction.start()
        await one.fetch(BY_ID, run_id)
        waiting = group.create_task(two.fetch(call, run_id if by_id else "k"))
        await blocked(sql, two)
        await (transaction.commit() if commits else transaction.rollback())
        rows = await waiting
    assert [(row["outcome"], row["cancelled"]) for row in rows] == [
        ("already_ended", []) if commits else ("stopped", [delivery])
    ]
    assert (await run_row(sql, run_id))["transition_count"] == 2


async def test_a_cancel_sees_what_was_dispatched_while_it_waited(
    sql: "asyncpg.Connection[Any]", database_url: str
) -> None:
    """An attempt begun while the cancel waited for the run is on its way, not cancelled."""
    run_id = await trigger(sql, "ada")
    delivery = await deliver(sql, run_id)
    async with plain(database_url) as node, plain(database_url) as two, asyncio.TaskGroup() as group:
        transaction = node.transaction()
        await transaction.start()
        begun = await node.fetchrow(
            """select * from chimeway.begin_attempts(null, null, gen_random_uuid(), array[$1::uuid],
                   array[$2::uuid], '{1}', '{0}', '{a@example.org}', array['{}'::jsonb], '{null}')""",
            delivery, run_id,
        )  # fmt: skip
        assert begun is not None
        assert begun["answer"] == "begun"
        waiting = group.create_task(two.fetch(BY_ID, run_id))
        await blocked(sql, two)
        await transaction.commit()
        rows = await waiting
    assert [(row["cancelled"], row["on_their_way"]) for row in rows] == [([], [delivery])]


async def test_a_cancel_waits_for_a_delivery_planned_meanwhile(
    sql: "asyncpg.Connection[Any]", database_url: str
) -> None:
    """A delivery that a decision planned while the cancel waited is cancelled with the run."""
    run_id = await trigger(sql, "ada")
    async with plain(database_url) as node, plain(database_url) as two, asyncio.TaskGroup() as group:
        transaction = node.transaction()
        await transaction.start()
        await node.execute("select 1 from chimeway.workflow_runs where id = $1 for update", run_id)
        waiting = group.create_task(two.fetch(BY_ID, run_id))
        await blocked(sql, two)
        delivery = await deliver(node, run_id)
        await node.execute(
            "update chimeway.workflow_runs set step = 'step_in_app', visit = 1, revision = 2 where id = $1",
            run_id,
        )
        await transaction.commit()
        rows = await waiting
    assert [(row["step"], row["cancelled"]) for row in rows] == [("step_in_app", [delivery])]


async def test_crossing_cancels_do_not_deadlock(sql: "asyncpg.Connection[Any]", database_url: str) -> None:
    """Cancels by overlapping ids and keys from many places: each run is stopped once, none deadlocks."""
    runs = [await trigger(sql, f"u{n}", cancellation_key="k") for n in range(30)]

    async def by_id(run_id: UUID) -> list[asyncpg.Record]:
        async with plain(database_url) as own:
            return await own.fetch(BY_ID, run_id)

    async def by_key() -> list[asyncpg.Record]:
        async with plain(database_url) as own:
            return await own.fetch(BY_KEY, "k")

    answers = await asyncio.gather(*(by_key() for _ in range(6)), *(by_id(run_id) for run_id in runs[::-3]))
    stopped = [row["stopped_run_id"] for rows in answers for row in rows if row["outcome"] == "stopped"]
    assert sorted(stopped) == sorted(runs)
    assert await sql.fetchval("select count(*) from chimeway.workflow_transitions") == 60


async def test_a_ledger_does_not_wait_for_a_cancel(sql: "asyncpg.Connection[Any]", database_url: str) -> None:
    """While a cancel is not committed, batches answer busy for its run and go on."""
    run_id = await trigger(sql, "ada")
    delivery = await deliver(sql, run_id)
    async with plain(database_url) as other, other.transaction():
        await other.fetch(BY_ID, run_id)
        await sql.execute("set lock_timeout = '2s'")
        row = await sql.fetchrow(
            """select * from chimeway.begin_attempts(null, null, gen_random_uuid(), array[$1::uuid],
                   array[$2::uuid], '{1}', '{0}', '{a@example.org}', array['{}'::jsonb], '{null}')""",
            delivery, run_id,
        )  # fmt: skip
        assert row is not None
        assert row["answer"] == "busy"
