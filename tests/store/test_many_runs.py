"""What operators do to many runs: to those that are as they were counted, and nothing breaks (verify)."""

from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from chimeway.client.verbs import explain
from chimeway.progression.decision import Decision, Noop
from chimeway.store import callers
from chimeway.store.definitions import register
from chimeway.store.pool import Database
from chimeway.store.verify import verify
from chimeway.workflow.parse import parse
from store.door import Door
from store.verify_world import ESCALATION


@pytest.fixture
async def world(clock_database: Database) -> Door:
    """Ada, bob and eve, who wait for two hours."""
    made = Door(clock_database)
    await register(clock_database, parse(ESCALATION))
    for person in ("ada", "bob", "eve"):
        await made.start(person)
    return made


async def rows(world: Door, sql: str, *args: Any) -> dict[str, str]:
    """Call a function; return what came of whom."""
    names = {run_id: name for name, run_id in world.runs.items()}
    return {names.get(row["run_id"], "nobody"): row["outcome"] for row in await world.all(sql, *args)}


async def now(world: Door) -> datetime:
    """Return the database's time."""
    at: datetime = await world.sql("select chimeway.clock()")
    return at


async def sound(world: Door) -> None:
    """Assert that no invariant is broken."""
    assert await verify(world.database) == []


async def test_only_what_is_as_it_was_counted_is_cancelled(world: Door) -> None:
    """Who has ended or moved since is told, and left as he is; of another tenant nobody is touched."""
    ids = [*world.runs.values(), uuid4()]
    counted = [(await world.row(name))["revision"] for name in world.runs] + [1]
    await world.say("bob", "skip")
    await world.progress("bob")
    await world.sql("select chimeway.cancel($1)", world.runs["eve"])
    call = "select * from chimeway.cancel_runs($1, $2, $3, 'by night')"
    assert set((await rows(world, call, ids, counted, "another")).values()) == {"gone"}
    told = await rows(world, call, ids, counted, "default")
    assert told == {"ada": "stopped", "bob": "changed", "eve": "ended", "nobody": "gone"}
    assert (await world.row("ada"))["status_reason"] == "cancelled_by_request"
    assert (await world.row("bob"))["state"] == "active"
    await sound(world)


async def test_who_is_named_twice_is_done_once(world: Door) -> None:
    """One transition, one stop; each name has its row in the answer."""
    twice = [world.runs["ada"], world.runs["bob"], world.runs["ada"]]
    told = await world.all("select * from chimeway.retime_runs($1, p_by => '1 h')", twice)
    assert [row["outcome"] for row in told] == ["retimed"] * 3
    assert (await world.reasons("ada")).count("wait_retimed") == 1
    told = await world.all("select * from chimeway.cancel_runs($1)", twice)
    assert [row["outcome"] for row in told] == ["stopped"] * 3
    assert (await world.reasons("ada")).count("cancelled_by_request") == 1
    told = await world.all("select * from chimeway.wake_runs($1)", twice)
    assert [row["outcome"] for row in told] == ["ended"] * 3
    await sound(world)


async def test_a_wait_is_moved_and_goes_on_by_its_new_time(world: Door) -> None:
    """To now, later, never into the past: the run decides by it, its replay too, and it says so."""
    begun = await now(world)
    ada, bob, eve = (world.runs[name] for name in ("ada", "bob", "eve"))
    by = "select * from chimeway.retime_runs($1, p_by => $2, p_note => 'the mail server is back')"
    assert await rows(world, by, [ada], timedelta(hours=-9)) == {"ada": "retimed"}
    assert await rows(world, by, [bob], timedelta(hours=3)) == {"bob": "retimed"}
    assert (await world.row("ada"))["wake_at"] == begun
    assert (await world.row("bob"))["wake_at"] == begun + timedelta(hours=5)
    await sound(world)
    assert isinstance(await world.progress("ada"), Decision)
    assert await world.reasons("ada") == [
        "workflow_started", "step_activated", "progressed_on_delivery_outcome", "step_activated",
        "waiting_for_step_progression", "wait_retimed", "reactivated_from_wait", "step_activated",
    ]  # fmt: skip
    await world.pass_time(2)
    assert await world.progress("bob") == Noop("wait_not_due")
    assert isinstance(await world.progress("eve"), Decision)
    await sound(world)
    at = "select * from chimeway.retime_runs($1, p_at => $2)"
    moment = begun + timedelta(hours=2, minutes=30)
    assert await rows(world, at, [bob, eve], moment) == {"bob": "retimed", "eve": "not_waiting"}
    await world.pass_time(0.5)
    assert isinstance(await world.progress("bob"), Decision)
    await sound(world)
    told = await callers.run(world.database, explain("default", bob))
    assert [m.what for m in told.timeline].count("wait_retimed") == 2
    assert any("was moved" in sentence and "11:30" in sentence for sentence in told.why), told.why
    assert any("was over at" in sentence and "11:30" in sentence for sentence in told.why), told.why


async def test_a_signal_that_ends_a_moved_wait_tells_what_would_have_been(world: Door) -> None:
    """Signals are heard as before, and "otherwise" names the new time."""
    call = "select * from chimeway.retime_runs($1, p_by => $2)"
    await rows(world, call, [world.runs["ada"]], timedelta(hours=1))
    await world.say("ada", "read")
    await world.progress("ada")
    told = await callers.run(world.database, explain("default", world.runs["ada"]))
    assert told.state == "stopped"
    assert any("Otherwise" in sentence and "12:00" in sentence for sentence in told.why), told.why
    await sound(world)


async def test_who_is_stuck_for_want_of_a_time_is_given_one(world: Door) -> None:
    """By a span there is nothing to move; an instant mends it, and its replay holds."""
    await world.break_it("ada", """
        update chimeway.workflow_runs set wake_at = null,
               status_context = jsonb_set(status_context, '{due_at}', 'null') where id = $run;
        update chimeway.workflow_transitions set context = jsonb_set(context, '{due_at}', 'null')
         where run_id = $run and reason = 'waiting_for_step_progression'""")  # fmt: skip
    ids = [world.runs["ada"]]
    by = "select * from chimeway.retime_runs($1, p_by => '1 h')"
    assert await rows(world, by, ids) == {"ada": "no_time"}
    at = "select * from chimeway.retime_runs($1, p_at => $2)"
    assert await rows(world, at, ids, await now(world) - timedelta(days=1)) == {"ada": "retimed"}
    assert isinstance(await world.progress("ada"), Decision)
    row = await world.row("ada")
    assert (row["state"], row["step"]) == ("active", "email")


@pytest.mark.parametrize(
    "wrong", ["", "p_at => now(), p_by => '1 h'", "p_at => now() + '11 years'", "p_by => '-11 years'"]
)
async def test_a_time_that_is_none_is_refused(world: Door, wrong: str) -> None:
    """Nothing, both, or beyond ten years."""
    with pytest.raises(asyncpg.PostgresError, match="invalid_input"):
        await world.all(f"select * from chimeway.retime_runs('{{}}'::uuid[]{', ' * bool(wrong)}{wrong})")


async def test_only_what_ought_to_move_is_woken(world: Door) -> None:
    """Who waits on purpose is not: a wake in the past would list him as overdue, and move nothing."""
    call = "select * from chimeway.wake_runs($1)"
    ids = list(world.runs.values())
    assert set((await rows(world, call, ids)).values()) == {"not_due"}
    await sound(world)
    await world.sql("select chimeway.hold_run($1, 'held_by_request')", world.runs["bob"])
    await world.break_it("eve", "update chimeway.workflow_runs set waiting_for_node = 'sms' where id = $run")
    before = await world.contents()
    assert await rows(world, call, ids) == {"ada": "not_due", "bob": "held", "eve": "woken"}
    after = await world.contents()
    assert {table for table in after if after[table] != before[table]} == {"workflow_runs"}
    assert (await world.row("eve"))["waiting_for_node"] is None
    await world.pass_time(2)
    assert (await rows(world, call, ids))["ada"] == "woken"
    await world.sql("select chimeway.pause_workflow('escalation', true)")
    assert (await rows(world, call, ids))["ada"] == "paused"
    await world.sql("select chimeway.pause_workflow('escalation', false)")
    assert isinstance(await world.progress("ada"), Decision)
    await sound(world)


async def test_a_message_whose_end_nobody_saw_wakes_its_run(world: Door) -> None:
    """Level-triggered: a run on a message that has ended is woken, one whose message is on its way is not."""
    await world.pass_time(2)
    for name in ("ada", "bob"):
        await world.progress(name)
    await world.attempt("ada", "succeeded")
    await world.break_it("ada", "update chimeway.workflow_runs set wake_at = null where id = $run")
    ids = [world.runs[name] for name in ("ada", "bob")]
    assert await rows(world, "select * from chimeway.wake_runs($1)", ids) == {
        "ada": "woken",
        "bob": "not_due",
    }
    assert isinstance(await world.progress("ada"), Decision)
