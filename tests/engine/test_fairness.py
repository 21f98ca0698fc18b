"""Between tenants: whoever has little stands behind nobody's backlog, whatever wakes him."""

from typing import Any
from uuid import UUID

import pytest

from chimeway.delivery.channel import TransientFailure
from chimeway.delivery.pacing import ChannelLimits
from kit.home import READ, in_app, workflow
from kit.machine import Provider, Running, running_machine
from kit.waiting import wait_for

MANY = 800
BEFORE_B = 500
"""Of A's runs, decided before B's: what was at work already, and some. Were it one line, it would be all."""
NOTE = workflow(in_app(), key="note")
WAIT = {"id": "wait", "action": {"type": "wait", "duration": "P1D", "stop_conditions": [READ]}}
WAITING = workflow(WAIT, in_app(), key="waiting")
START = """select t.run_id from generate_series(0, $2::int - 1, 1000) f, chimeway.trigger_many($1, 'a',
            array(select 'user_' || n from generate_series(f + 1, least(f + 1000, $2::int)) n),
            data => '{"document": 7}') t"""
RETRIED = 200
TELL = workflow(
    {"id": "tell", "action": {"type": "notify", "channel": "push", "render_key": "mention"}}, key="tell"
)
DUE_AGAIN = """update chimeway.deliveries set next_attempt_at = chimeway.clock() - interval '1 s'
                    * case tenant_id when 'b' then 1 else 2 end"""
RETRIED_BEFORE = """select count(*) from chimeway.delivery_attempts t
  where t.attempt_no = 2 and t.run_id <> $1 and t.started_at <
        (select x.started_at from chimeway.delivery_attempts x where x.run_id = $1 and x.attempt_no = 2)"""
DECIDED = """select count(*) from chimeway.workflow_transitions t
             join chimeway.workflow_runs r on r.id = t.run_id and r.shard = t.shard
            where r.tenant_id = 'a' and t.reason = any($1) and t.xid <
                  (select min(x.xid) from chimeway.workflow_transitions x
                    where x.run_id = $2 and x.reason = any($1))"""


async def _before(on: Running, run_id: UUID, *reasons: str) -> int:
    """Return how many of A's decisions were written in transactions that began before that of B's."""
    many: int = await on.rows.value(DECIDED, list(reasons), run_id)
    return many


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounds far below the backlog."""
    monkeypatch.setattr("chimeway.engine.roster.LIVE_ACTORS", 40)


async def test_a_trigger_stands_behind_nobodys_backlog(database_url: str) -> None:
    """Thousands of A's runs are due when B triggers one, which is decided before most of them."""
    async with running_machine(database_url, definitions=(NOTE,)) as on:
        await on.rows.all(START, "note", MANY)
        run_id = await on.start("bob", "note", "b")
        await on.rows.until(run_id, "completed")
        assert await _before(on, run_id, "step_activated") < BEFORE_B
        await _all_ended(on)


async def test_a_due_wait_stands_behind_nobodys_backlog(database_url: str) -> None:
    """The same for waits that all are over at once, of which B's is the last."""
    async with running_machine(database_url, definitions=(WAITING,)) as on:
        run_id = await _all_wait(on)
        await on.rows.value(
            """update chimeway.workflow_runs set wake_at = chimeway.clock() - interval '1 s'
                 * case tenant_id when 'b' then 1 else 2 end,
               status_context = status_context || jsonb_build_object('due_at',
                 to_char(now() at time zone 'UTC' - interval '1 min', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'))"""
        )
        await on.rows.until(run_id, "completed")
        assert await _before(on, run_id, "reactivated_from_wait") < BEFORE_B
        await _all_ended(on)


async def test_a_signal_stands_behind_nobodys_backlog(database_url: str) -> None:
    """The same for signals: A's thousands are said first, and B's one is heard before most of them."""
    async with running_machine(database_url, definitions=(WAITING,)) as on:
        run_id = await _all_wait(on)
        say = """select count(chimeway.signal('notification_read', $1, 'user_' || n))
                   from generate_series(1, $2::int) n"""
        await on.rows.value(say, "a", MANY)
        await on.rows.value("select chimeway.signal('notification_read', 'b', 'bob')")
        await on.rows.until(run_id, "stopped")
        assert await _before(on, run_id, "workflow_stopped") < BEFORE_B
        await _all_ended(on)


async def test_a_retry_stands_behind_nobodys_backlog(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same for messages that failed, and all are due again at once, A's first."""
    monkeypatch.setattr(Provider, "limits", ChannelLimits(concurrency=4, breaker_failures=0))
    push = Provider("push", *[TransientFailure("not now")] * (RETRIED + 1))
    async with running_machine(database_url, push, definitions=(TELL,)) as on:
        on.retries_in_an_hour()
        await on.rows.all(START, "tell", RETRIED)
        run_id = await on.start("bob", "tell", "b")
        failed = f"select count(*) = {RETRIED + 1} from chimeway.deliveries where status = 'failed'"
        await wait_for(lambda: on.rows.value(failed), "all failed")
        await on.rows.value(DUE_AGAIN)
        await on.rows.until(run_id, "completed")
        assert await on.rows.value(RETRIED_BEFORE, run_id) < RETRIED // 2
        await _count(on, "ended_at is not null", RETRIED + 1)


async def _all_wait(on: Running) -> UUID:
    """Have all of A's runs and one of B's wait; return the latter."""
    await on.rows.all(START, "waiting", MANY)
    run_id = await on.start("bob", "waiting", "b")
    await _count(on, "state = 'waiting'", MANY + 1)
    return run_id


async def _all_ended(on: Running) -> None:
    await _count(on, "ended_at is not null", MANY + 1)


async def _count(on: Running, condition: str, many: int) -> Any:
    sql = f"select count(*) = {many} from chimeway.workflow_runs where {condition}"
    await wait_for(lambda: on.rows.value(sql), condition, deadline_s=80)
