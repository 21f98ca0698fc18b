"""Fail the n-th write, for every n: after each failure the tables are as they were before the call."""

from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import pytest

from chimeway.store import mailbox, runs
from chimeway.store.deliveries import Outcome, record_results
from chimeway.store.pool import Database
from store.door import TWO_MESSAGES, Door, locked, opened
from store.plain_sql import TABLES

INSTALL = """
create schema fault;
create sequence fault.write;
create table fault.at (n bigint not null);
insert into fault.at values (0);
create function fault.count() returns trigger language plpgsql as $$
begin
    if nextval('fault.write') = (select n from fault.at) then
        raise exception 'write % fails', tg_table_name;
    end if;
    return null;
end $$;
"""
ON_EACH = """
create trigger fault before insert or update or delete on chimeway.{}
    for each statement execute function fault.count();
"""
TRIGGER = """select * from chimeway.trigger_many('escalation', recipient_ids => array['ada','bob'],
                                                 idempotency_key => 'k', data => '{"document": 7}')"""


async def fail_each(world: Door, call: Callable[[], Awaitable[Any]], *, writes: int) -> Any:
    """Let each write of a call fail in turn; return its answer once none fails.

    A write is a statement, of whatever depth; `writes` says how many there must be at least.
    """
    async with world.database.acquire() as connection:
        await connection.execute(INSTALL + "".join(ON_EACH.format(table) for table in TABLES))
    before, n = await world.contents(), 0
    while True:
        n += 1
        await world.sql("update fault.at set n = $1", n)
        await world.sql("select setval('fault.write', 1, false)")
        try:
            answer = await call()
        except asyncpg.RaiseError as error:
            failed = str(error)
        else:
            assert n > writes, f"only {n - 1} writes"
            assert await world.contents() != before
            return answer
        assert "fails" in failed
        assert await world.contents() == before, f"write {n} failed ({failed}), and something was written"


async def test_a_trigger_starts_all_its_runs_or_none(clock_database: Database) -> None:
    """An event, its runs and their first transitions are written together."""
    world = await opened(clock_database)
    started = await fail_each(world, lambda: world.all(TRIGGER), writes=3)
    assert [row["known"] for row in started] == [False, False]
    assert await world.sql("select cardinality(run_ids) from chimeway.events") == 2


async def test_a_batch_of_decisions_is_written_whole(clock_database: Database) -> None:
    """An advance with an in-app item, a signal's continuation and a stop, in one call, fail together."""
    world = await opened(clock_database)
    await world.trigger("new")
    for person in ("skipper", "reader"):
        await world.start(person)
    await world.say("skipper", "skip")
    await world.say("reader", "read")
    entries = [await world.entry(person) for person in ("new", "skipper", "reader")]
    await world.say("new", "unheard")
    assert await fail_each(world, lambda: world.commit(*entries), writes=5) == ["applied"] * 3
    assert await world.sql("select count(*) from chimeway.inbox_items") == 3
    assert (await world.row("reader"))["state"] == "stopped"


async def test_a_decision_that_leaves_a_message_is_written_whole(clock_database: Database) -> None:
    """A stop before the first attempt cancels the message, consumes the signal and ends the run, or none."""
    world = await opened(clock_database)
    await world.to_email("ada")
    await world.say("ada", "read")
    entry = await world.entry("ada")
    assert await fail_each(world, lambda: world.commit(entry), writes=4) == ["applied"]
    email = (await world.deliveries("ada"))[-1]
    assert (email["status"], email["suppression_reason"]) == ("cancelled", "stopped_before_send")
    marks = await world.all("select consumed_by from chimeway.run_mailbox")
    assert [row["consumed_by"] for row in marks] == [entry.id]


async def test_an_attempt_is_begun_whole(clock_database: Database) -> None:
    """An attempt row and its delivery's new status are written together, for all of a batch."""
    world = await opened(clock_database)
    await world.to_email("ada", "bob")
    rows = [await world.beginning(person) for person in ("ada", "bob")]
    begun = await fail_each(world, lambda: world.begin(*rows), writes=2)
    assert [one.answer for one in begun] == ["begun", "begun"]


async def test_a_result_is_recorded_whole(clock_database: Database) -> None:
    """A result, its delivery's end and the wake of its run are written together."""
    world = await opened(clock_database)
    await world.to_email("ada")
    await world.begin(await world.beginning("ada"))
    row = Outcome(await world.delivery("ada"), world.runs["ada"], 1, "succeeded", "succeeded")
    recorded = await fail_each(world, lambda: record_results(clock_database, [row]), writes=3)
    assert [(one.answer, one.nudged) for one in recorded] == [("applied", True)]


async def test_a_cancel_stops_whole(clock_database: Database) -> None:
    """Deliveries, audit and run end together, for all runs of the key."""
    world = await opened(clock_database, TWO_MESSAGES)
    for person in ("ada", "bob"):
        await world.start(person)
    await world.begin(await world.beginning("bob"))
    await world.sql("update chimeway.workflow_runs set cancellation_key = 'k'")
    cancel = "select outcome from chimeway.cancel(cancellation_key => 'k')"
    done = await fail_each(world, lambda: world.all(cancel), writes=3)
    assert [row["outcome"] for row in done] == ["stopped", "stopped"]


async def test_a_signal_is_routed_whole(clock_database: Database) -> None:
    """Mailbox rows, their count and the signal's mark are written together."""
    world = await opened(clock_database)
    for person in ("ada", "bob"):
        await world.start(person)
    for person in ("ada", "bob"):
        await world.say(person, "read")
    async with locked(clock_database, world.runs["bob"]):
        woken, _ = await fail_each(world, lambda: mailbox.route(clock_database, 0), writes=3)
    assert woken == [(world.runs["ada"], "default")]


@pytest.mark.parametrize("verb", ["hold", "resume", "mark_inbox", "pause", "register"])
async def test_an_operators_verb_is_written_whole(clock_database: Database, verb: str) -> None:
    """Holding, resuming, marking, pausing and registering happen or do not."""
    world = await opened(clock_database)
    await world.start("ada")
    run_id = world.runs["ada"]
    item = await world.sql("select id from chimeway.inbox_items")
    if verb == "resume":
        await runs.hold(clock_database, run_id, "held_by_request")
    calls: dict[str, tuple[int, Callable[[], Awaitable[Any]]]] = {
        "hold": (2, lambda: runs.hold(clock_database, run_id, "held_by_request")),
        "resume": (2, lambda: world.sql("select chimeway.resume_run($1)", run_id)),
        "mark_inbox": (2, lambda: world.all(
            "select * from chimeway.mark_inbox('default', 'ada', array[$1::uuid], 'read')", item)),
        "pause": (1, lambda: world.sql("select chimeway.pause_workflow('escalation', true)")),
        "register": (1, lambda: world.sql(
            "select chimeway.register_workflow(definition || '{\"version\": 2}', 'other') "
            "from chimeway.workflow_definitions")),
    }  # fmt: skip
    writes, call = calls[verb]
    assert await fail_each(world, call, writes=writes)
