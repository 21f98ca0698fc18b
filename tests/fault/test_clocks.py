"""Clocks that are wrong: the wall clock of a node by minutes, and the database's own, which steps.

Only the database's clock counts. What a node's wall clock says counts for nothing. When the database's clock
steps, what is due is due by what it says now: nothing early by it, and once it is right again all is in time.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest

from chimeway.store.clones import Clones
from chimeway.store.embedded import temporary_server
from kit.daemon import Daemon, running_daemon
from kit.home import email, home, in_app, wait, workflow
from kit.invariants import assert_invariants, assert_mails_fit
from kit.rows import Rows, rows_of
from kit.smtp import smtp_sink
from kit.waiting import wait_for
from kit.wrong_clock import WrongClock, seen_by_children, wrong_clock

GUIDE = workflow(in_app(), wait(duration="PT1S"), email(), key="soon")
LONG = workflow(in_app(), wait(duration="PT1M"), email(), key="later")
"""Of a minute: whatever a busy machine does, it elapses by a step, or not at all."""
START = """
select chimeway.identify('default', id, jsonb_build_object('email', id || '@example.org')),
       chimeway.trigger($1, recipient_id => id)
  from (select $2 || '_' || n as id from generate_series(1, 5) n) u"""
EARLY = """
select t.run_id from chimeway.workflow_transitions t
 where t.reason = 'reactivated_from_wait' and t.at < (t.context ->> 'due_at')::timestamptz"""
LATE = """
select max(extract(epoch from t.at - (t.context ->> 'due_at')::timestamptz))
  from chimeway.workflow_transitions t join chimeway.workflow_runs r on r.id = t.run_id
 where t.reason = 'reactivated_from_wait' and r.recipient_id like $1 || '%'"""
LEFT = "select count(*) from chimeway.workflow_runs where ended_at is null and recipient_id like $1 || '%'"
WAITING = """select count(*) = 5 and bool_and(state <> 'active') from chimeway.workflow_runs
 where recipient_id like $1 || '%'"""
STEP_S = 300.0
MOST_REFUSALS = 100
"""Of ten runs' decisions in all: each is refused once or twice before our clock has been measured."""
SLACK_S = 5.0
"""What a busy machine may add to a wait: little beside the minutes by which clocks are wrong."""


async def _started(rows: Rows, key: str, whose: str) -> None:
    """Start somebody's journeys, and wait until they wait."""
    await rows.all(START, key, whose)
    await wait_for(lambda: rows.value(WAITING, whose), "they wait", every_s=0.005)


async def _ended(rows: Rows, whose: str) -> None:
    """Wait for the end of all of somebody's journeys."""

    async def none_left() -> bool:
        return not await rows.value(LEFT, whose)

    await wait_for(none_left, f"the journeys of {whose} end", every_s=0.1)


async def _in_time(rows: Rows, whose: str) -> None:
    """Play some journeys to their end: each wait elapses when its time has come."""
    await rows.all(START, "soon", whose)
    await _ended(rows, whose)
    assert await rows.value(LATE, whose) < SLACK_S


def _refusals(daemon: Daemon) -> int:
    return len(daemon.seen("decision.put_off", answer="refused"))


async def test_a_nodes_wall_clock_counts_for_nothing(database_url: str, tmp_path: Path) -> None:
    """Five minutes ahead, then stepping behind while it works: all is in time, mails bear the true date."""
    async with AsyncExitStack() as stack:
        clock = stack.enter_context(wrong_clock())
        sink = await stack.enter_async_context(smtp_sink())
        rows = await stack.enter_async_context(rows_of(database_url))
        clock.set(STEP_S)
        daemon = await stack.enter_async_context(
            running_daemon(
                database_url, home(tmp_path, GUIDE), command=clock.daemon(), SMTP_URL=sink.url,
                LOG_LEVEL="debug",
            )
        )  # fmt: skip
        _sees(daemon, await rows.value("select clock_timestamp()"), STEP_S)
        await _started(rows, "soon", "meanwhile")
        clock.set(-STEP_S)
        await _ended(rows, "meanwhile")
        assert await rows.value(LATE, "meanwhile") < SLACK_S
        assert not await rows.all(EARLY)
        assert not _refusals(daemon)
        for event in ("clock.stepped", "timekeeper.clock_set_back", "overload.began", "lease.lost"):
            assert not daemon.seen(event)
        for mail in sink.mails:
            assert abs(parsedate_to_datetime(mail.content["Date"]) - mail.at) < timedelta(seconds=60)
        assert await daemon.stopped() == 0
        await assert_invariants(database_url, rows)
        await assert_mails_fit(rows, sink)
        assert len(sink.mails) == 5


def _sees(daemon: Daemon, truth: datetime, ahead_s: float) -> None:
    """Assert that the daemon really sees the wrong clock: its log lines bear it."""
    at = datetime.fromisoformat(daemon.seen("daemon.ready")[0]["timestamp"])
    assert abs((at - truth).total_seconds() - ahead_s) < 60


@pytest.fixture
async def stepping() -> AsyncIterator[tuple[WrongClock, str]]:
    """The clock of a PostgreSQL of the test's own, and a database there."""
    async with AsyncExitStack() as stack:
        clock = stack.enter_context(wrong_clock())
        with seen_by_children(clock):
            server = stack.enter_context(temporary_server())
        clones = await stack.enter_async_context(Clones.on(server.url, tidy=False))
        yield clock, await clones.make(test_clock=False)


@pytest.mark.parametrize("nodes", [1, pytest.param(2, marks=pytest.mark.big)])
async def test_the_databases_clock_steps(
    nodes: int, stepping: tuple[WrongClock, str], tmp_path: Path
) -> None:
    """Forward, back, and right at last: nothing early by it, nothing lost, and in time again at once."""
    clock, url = stepping
    async with AsyncExitStack() as stack:
        sink = await stack.enter_async_context(smtp_sink())
        rows = await stack.enter_async_context(rows_of(url))
        made, settings = home(tmp_path, GUIDE, LONG), {"SMTP_URL": sink.url, "LOG_LEVEL": "debug"}
        daemons = [
            await stack.enter_async_context(
                running_daemon(url, made, name=f"node-{n}", ready=n == 0, **settings)
            )
            for n in range(nodes)
        ]
        await _step_about(clock, rows, daemons)
        assert not await rows.all(EARLY)
        for daemon in daemons:
            assert _refusals(daemon) <= MOST_REFUSALS
            assert await daemon.stopped() == 0
        await assert_invariants(url, rows)
        await assert_mails_fit(rows, sink)
        assert len(sink.deliveries()) == 15


async def _step_about(clock: WrongClock, rows: Rows, daemons: list[Daemon]) -> None:
    """Put the clock forward while some wait, back while others do, and forward again."""

    def told() -> set[int]:
        return {round(line["by_s"] / STEP_S) for daemon in daemons for line in daemon.seen("clock.stepped")}

    await _started(rows, "later", "forward")
    clock.set(STEP_S)
    await _ended(rows, "forward")
    await wait_for(lambda: 1 in told(), "the step forward is told")
    await _started(rows, "later", "back")
    clock.set(0.0)
    await wait_for(lambda: -1 in told(), "the step back is told")
    await _in_time(rows, "after")
    assert await rows.value(LEFT, "back") == 5, "their time has not come"
    clock.set(2 * STEP_S)
    await _ended(rows, "back")
