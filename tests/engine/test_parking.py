"""Parking: due runs of a paused workflow leave the due index, and come back when it goes on."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from chimeway.clock import SystemClock
from chimeway.engine.actor import Actor
from chimeway.store import nodes
from kit.home import READ, workflow
from kit.machine import Provider, Running, running_machine
from kit.waiting import wait_for

LATER = {"id": "wait", "action": {"type": "wait", "until": {"data": "at"}, "stop_conditions": [READ]}}
PAUSE = {"id": "wait", "action": {"type": "wait", "duration": "PT1S", "stop_conditions": [READ]}}
PUSH = {"id": "push", "action": {"type": "notify", "channel": "push", "render_key": "mention"}}
JOURNEY, SOON = workflow(LATER, PUSH), workflow(PAUSE, PUSH)
START = """select chimeway.trigger('mention_escalation', recipient_id => $1,
    data => jsonb_build_object('document', 7, 'at', clock_timestamp() + interval '5 minutes'))"""
AHEAD = """create or replace function chimeway.clock() returns timestamptz
language sql volatile as $$ select clock_timestamp() + interval '6 minutes' $$"""
STEER = "select chimeway.pause_workflow('mention_escalation', $1)"
PARKED = "select count(*) from chimeway.workflow_runs where parked"
IN_INDEX = """select count(*) from chimeway.workflow_runs
    where wake_at is not null and held_reason is null and waiting_for_node is null and not parked"""
GOES_ON_WITHIN = timedelta(seconds=2)
LONG_BEFORE_S = 4.0
"""A due run that nobody told of is evaluated again after five."""


@pytest.fixture
def looked_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """How soon parked runs go on is not asked about: what is due, or no longer paused, is found at once."""
    monkeypatch.setattr("chimeway.engine.sweeper.IDLE_LOOK_S", 0.1)
    monkeypatch.setattr("chimeway.engine.lookout.IDLE_LOOK_S", 0.1)


async def _parked(on: Running, many: int) -> list[UUID]:
    """Have so many runs wait, pause their workflow, and start as many again; return them, all parked.

    Their time comes by the clock of the database, put forward: none is due before it is paused.
    """
    waiting = [await on.rows.value(START, f"waiting_{number}") for number in range(many)]
    for run in waiting:
        await on.rows.until(run, "waiting")
    await on.rows.value(STEER, True)
    new = [await on.rows.value(START, f"new_{number}") for number in range(many)]
    await on.rows.all(AHEAD)
    assert isinstance(on.node.clock, SystemClock)
    await nodes.synchronise(on.node.database, on.node.clock)
    await wait_for(lambda: on.rows.value(f"select ({PARKED}) = {2 * many}"), "all are parked")
    assert await on.rows.value(IN_INDEX) == 0
    return [*waiting, *new]


async def test_what_fell_due_in_a_pause_goes_on_after_it(database_url: str) -> None:
    """Parked runs are decided about by nobody in the pause, and all go on within two seconds of its end."""
    push = Provider()
    async with running_machine(database_url, push, definitions=(JOURNEY,)) as on:
        runs = await _parked(on, 10)
        assert push.messages == []
        before = await on.rows.value("select count(*) from chimeway.workflow_transitions")
        await on.rows.value(STEER, True)
        assert await on.rows.value("select count(*) from chimeway.workflow_transitions") == before
        resumed_at = await on.rows.value("select chimeway.clock()")
        await on.rows.value(STEER, False)
        for run in runs:
            await on.rows.until(run, "completed")
        assert await on.rows.value(PARKED) == 0
        sql = """select max(first) from (select min(at) as first from chimeway.workflow_transitions
                  where run_id = any($1) and at > $2 group by run_id) t"""
        assert await on.rows.value(sql, runs, resumed_at) - resumed_at < GOES_ON_WITHIN
        assert len(push.messages) == len(runs)


@pytest.mark.usefixtures("looked_often")
async def test_a_parked_run_can_be_cancelled(database_url: str) -> None:
    """Cancel stops parked runs, at once and for good; those beside them go on."""
    push = Provider()
    async with running_machine(database_url, push, definitions=(JOURNEY,)) as on:
        waiting, other, new, another = await _parked(on, 2)
        for run in (waiting, new):
            (answer,) = await on.rows.all("select * from chimeway.cancel(run_id => $1)", run)
            assert answer["outcome"] == "stopped"
            row = await on.rows.run(run)
            assert (row["state"], row["parked"], row["wake_at"]) == ("stopped", False, None)
        await on.rows.value(STEER, False)
        for run in (other, another):
            await on.rows.until(run, "completed")
        assert {message.run_id for message in push.messages} == {str(other), str(another)}
        for run in (waiting, new):
            assert (await on.rows.reasons(run))[-1] == "cancelled_by_request"


@pytest.mark.usefixtures("looked_often")
async def test_a_signal_in_a_pause_wins_after_it(database_url: str) -> None:
    """What was said while a run was parked stops it when its workflow goes on, though its wait is over."""
    push = Provider()
    async with running_machine(database_url, push, definitions=(JOURNEY,)) as on:
        waiting, other, *_ = await _parked(on, 2)
        await on.rows.value("select chimeway.signal('notification_read', actor_id => 'waiting_0')")
        sql = "select mailbox_count = 1 from chimeway.workflow_runs where id = $1"
        await wait_for(lambda: on.rows.value(sql, waiting), "the run has heard")
        await on.rows.value(STEER, False)
        await on.rows.until(waiting, "stopped")
        await on.rows.until(other, "completed")
        assert push.to("waiting_0") == []


async def test_a_signal_in_a_pause_is_acted_on_after_it(database_url: str) -> None:
    """A run that is not due hears in a pause, and may not move; when that is over it does, unasked."""
    async with running_machine(database_url, Provider(), definitions=(JOURNEY,)) as on:
        waiting = await on.rows.value(START, "ada")
        await on.rows.until(waiting, "waiting")
        await on.rows.value(STEER, True)
        await on.rows.value("select chimeway.signal('notification_read', actor_id => 'ada')")
        await wait_for(lambda: on.rows.value(f"select ({PARKED}) = 1"), "it is put aside with its mail")
        await on.rows.value(STEER, False)
        await on.rows.until(waiting, "stopped")


async def test_what_a_held_run_has_heard_is_acted_on_when_it_is_resumed(database_url: str) -> None:
    """A run that is not due hears while it is held; resumed, it moves at once, with no sweep."""
    async with running_machine(database_url, Provider(), definitions=(JOURNEY,)) as on:
        waiting = await on.rows.value(START, "ada")
        await on.rows.until(waiting, "waiting")
        await on.rows.value("select chimeway.hold_run($1, 'held_by_request')", waiting)
        await on.rows.value("select chimeway.signal('notification_read', actor_id => 'ada')")
        sql = "select mailbox_count = 1 from chimeway.workflow_runs where id = $1"
        await wait_for(lambda: on.rows.value(sql, waiting), "the run has heard")
        await on.rows.value("select chimeway.resume_run($1)", waiting)
        await on.rows.until(waiting, "stopped", deadline_s=LONG_BEFORE_S)


def _note_evaluations(on: Running) -> list[UUID]:
    """Return a list of the runs that are evaluated from now on."""
    evaluated: list[UUID] = []
    follow = on.machine._acting.follow

    def noted(actor: Actor, found: Any) -> Any:
        evaluated.append(actor.run_id)
        return follow(actor, found)

    on.machine._acting.follow = noted
    return evaluated


LOOKED_AT = "a due run that may not move comes by the wheel every few seconds, and by nothing else"


async def test_a_parked_run_is_left_alone(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that fell due in a pause, by the wheel, is looked at once, and not again while it is parked."""
    monkeypatch.setattr("chimeway.engine.actor._DUE_AGAIN_S", 0.05)  # here five seconds
    other = workflow(PAUSE, PUSH, key="other")
    async with running_machine(database_url, Provider(), definitions=(SOON, other)) as on:
        for run in [await on.start(f"waiting_{number}") for number in range(3)]:
            await on.rows.until(run, "waiting")
        await on.rows.value(STEER, True)
        await wait_for(lambda: on.rows.value(f"select ({PARKED}) = 3"), "all are parked")
        evaluated = _note_evaluations(on)
        beside = await on.start("beside", "other")
        await on.rows.until(beside, "completed")
        assert set(evaluated) == {beside}


@pytest.mark.parametrize("how", ["pause", "hold"])
async def test_after_a_short_stop_a_run_goes_on(
    database_url: str, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """A run that fell due while it was held, or paused and not parked yet, goes on when it is told to."""
    monkeypatch.setattr("chimeway.engine.lookout.IDLE_LOOK_S", 3600.0)  # who looks was hinted
    async with running_machine(database_url, Provider(), definitions=(SOON,)) as on:
        run_id = await on.start()
        await on.rows.until(run_id, "waiting")
        evaluated = _note_evaluations(on)
        if how == "pause":
            await on.rows.value(STEER, True)
        else:
            await on.rows.value("select chimeway.hold_run($1, 'held_by_request')", run_id)
        await wait_for(lambda: evaluated, "its time has come")
        if how == "pause":
            await on.rows.value(STEER, False)
        else:
            await on.rows.value("select chimeway.resume_run($1)", run_id)
        await on.rows.until(run_id, "completed", deadline_s=LONG_BEFORE_S)


@pytest.mark.usefixtures("looked_often")
async def test_a_held_run_of_a_paused_workflow_stays_held(database_url: str) -> None:
    """A parked run that is held does not go on with its workflow; resumed, it does, in the end."""
    async with running_machine(database_url, Provider(), definitions=(JOURNEY,)) as on:
        held, other, *_ = await _parked(on, 2)
        await on.rows.value("select chimeway.hold_run($1, 'held_by_request')", held)
        await on.rows.value(STEER, False)
        await on.rows.until(other, "completed")
        assert (await on.rows.run(held))["state"] == "waiting"
        await on.rows.value("select chimeway.resume_run($1)", held)
        await on.rows.until(held, "completed")
