"""The server fails by itself at what one run has: no run is to blame, and nobody else is kept waiting."""

from collections.abc import Callable
from typing import Any, Final
from uuid import UUID

import pytest
from structlog.testing import capture_logs

from chimeway.clock import SystemClock
from chimeway.engine import actor
from chimeway.engine.recovery import find_suspects, try_out
from chimeway.store import runs
from chimeway.store.pool import Database
from kit.home import in_app, wait, workflow
from kit.machine import Provider, Running, install, running_machine
from kit.rows import Rows, rows_of
from kit.waiting import wait_for

JOURNEY: Final = workflow(in_app(), wait(duration="PT1H"), key="mention_escalation")
SENT: Final = workflow(
    {"id": "push", "action": {"type": "notify", "channel": "push", "render_key": "mention"}},
    key="mention_escalation",
)
START: Final = "select chimeway.trigger('mention_escalation', recipient_id => $1)"
BREAK: Final = """
create function public.breaks() returns trigger language plpgsql as $$
begin
    raise exception 'the server fails here' using errcode = '{}';
end $$;
create trigger breaks before {} execute function public.breaks();"""
MEND: Final = "drop function public.breaks() cascade"
HELD: Final = "select count(*) from chimeway.workflow_runs where held_reason is not null"


def _break_run(code: str, run_id: UUID) -> str:
    return BREAK.format(code, f"update on chimeway.workflow_runs for each row when (old.id = '{run_id}')")


async def _starts_broken(on: Running, code: str) -> UUID:
    """Start a journey whose row cannot be written, beside two whose rows can: these go on."""
    async with on.rows.connection.transaction():
        run_id = await on.start("ada")
        others = [await on.start(person) for person in ("bob", "cyn")]
        await on.rows.connection.execute(_break_run(code, run_id))
    for other in others:
        await on.rows.until(other, "waiting")
    return run_id


def _told(lines: list[Any], run_id: UUID) -> Callable[[], bool]:
    return lambda: any(one["event"] == "run.put_off" and one["run_id"] == str(run_id) for one in lines)


@pytest.mark.parametrize("code", ["XX001", "58030"])
async def test_a_run_at_which_the_server_fails_waits_for_better_times(
    database_url: str, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    """It is not held, and goes on by itself as soon as it can; its neighbours go on meanwhile."""
    monkeypatch.setattr(actor, "_FAULT_AGAIN_S", 0.1)
    with capture_logs() as lines:
        async with running_machine(database_url, definitions=(JOURNEY,)) as on:
            run_id = await _starts_broken(on, code)
            await wait_for(_told(lines, run_id), "it is told")
            await on.rows.connection.execute(MEND)
            await on.rows.until(run_id, "waiting")
            assert await on.rows.value(HELD) == 0


async def test_a_run_that_cannot_be_held_either_ends_no_node(database_url: str) -> None:
    """It is at fault, and not even that can be written: it alone waits."""
    with capture_logs() as lines:
        async with running_machine(database_url, definitions=(JOURNEY,)) as on:
            run_id = await _starts_broken(on, "23514")
            await wait_for(_told(lines, run_id), "it is told")
            await on.rows.until(await on.start("dan"), "waiting")


@pytest.mark.parametrize(("code", "strikes"), [("XX001", 0), ("XX001", 2), ("XX001", 3), ("23514", 0)])
async def test_who_takes_over_is_not_stopped_by_such_a_run(
    database_url: str, database: Database, code: str, strikes: int
) -> None:
    """Its strike cannot be written: it is not tried, the others are, and nobody dies or waits for ever."""
    await install(database, JOURNEY)
    played: list[UUID] = []

    async def play(run_id: UUID) -> None:
        played.append(run_id)

    async with rows_of(database_url) as rows:
        people: list[UUID] = [await rows.value(START, person) for person in ("ada", "bob", "cyn")]
        await _strike(rows, database, people[1], strikes)
        await rows.connection.execute(_break_run(code, people[1]))
        await try_out(database, await find_suspects(database, SystemClock()), play)
    assert sorted(played) == sorted([people[0], people[2]])


async def test_a_result_at_which_the_server_fails_is_written_later(database_url: str) -> None:
    """What went well is not called unknown, and not sent again, because a disk failed for a moment."""
    push = Provider("push")
    with capture_logs() as lines:
        async with running_machine(database_url, push, definitions=(SENT,)) as on:
            results = "insert on chimeway.delivery_attempt_results for each row"
            await on.rows.connection.execute(BREAK.format("58030", results))
            run_id = await on.start("ada")
            failed = lambda: any(one["event"] == "delivery.failed" for one in lines)  # noqa: E731
            await wait_for(failed, "it is told")
            await on.rows.connection.execute(MEND)
            await on.rows.until(run_id, "completed")
            assert [one["outcome"] for one in await on.rows.attempts(run_id)] == ["succeeded"]
    assert len(push.messages) == 1


async def _strike(rows: Rows, database: Database, run_id: UUID, times: int) -> None:
    for _ in range(times):
        await runs.strike(database, [run_id])
    assert (await rows.run(run_id))["strikes"] == times
