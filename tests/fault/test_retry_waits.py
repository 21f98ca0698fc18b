"""A retry waits in its row: whoever works when its time comes makes it, neither sooner nor never."""

import json
from contextlib import AsyncExitStack
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from chimeway.testing.faulty_smtp import FaultySmtp
from kit.daemon import running_daemon
from kit.home import email, home, workflow
from kit.rows import Rows, rows_of
from kit.waiting import wait_for

START = """
select chimeway.trigger('mention_escalation', recipient_id => u.id)
  from (select 'ada'::text as id) u,
       lateral (select chimeway.identify('default', u.id,
                                         jsonb_build_object('email', u.id || '@example.org'))) i"""
FAILED = "select id from chimeway.deliveries where status = 'failed'"
LATER = """
update chimeway.deliveries set next_attempt_at = clock_timestamp() + interval '3 seconds'
 where status = 'failed' returning next_attempt_at"""


async def _second_attempt(rows: Rows, run_id: str) -> datetime:
    await rows.until(run_id, "completed")
    first, second = await rows.attempts(run_id)
    assert (first["outcome"], second["outcome"]) == ("failed", "succeeded")
    at: datetime = second["started_at"]
    return at


@pytest.mark.parametrize(
    "standby",
    [pytest.param(False, id="restart"), pytest.param(True, id="take-over", marks=pytest.mark.big)],
)
async def test_a_node_killed_while_a_retry_waits(
    standby: bool,
    database_url: str,
    tmp_path: Path,
) -> None:
    """The next node makes it at its time (here drawn by hand, so that it is long enough to see)."""
    made = home(tmp_path, workflow(email()))
    async with FaultySmtp() as server, rows_of(database_url) as rows, AsyncExitStack() as stack:
        await rows.put_retries_off()
        server.fail_next("error_500")
        async with running_daemon(database_url, made, SMTP_URL=server.url) as daemon:
            if standby:
                other = running_daemon(database_url, made, name="other", SMTP_URL=server.url)
                await stack.enter_async_context(other)
            run_id = str(await rows.value(START))
            await wait_for(lambda: rows.value(FAILED), "the first attempt failed")
            daemon.kill()
        at = await rows.value(LATER)
        if not standby:
            await stack.enter_async_context(
                running_daemon(database_url, made, name="next", SMTP_URL=server.url)
            )
        there = await rows.value("select clock_timestamp()")
        made_at = await _second_attempt(rows, run_id)
        assert at <= made_at < max(at, there) + timedelta(seconds=15), "neither at once nor never"


async def test_by_hand_while_the_gate_is_closed(database_url: str, tmp_path: Path) -> None:
    """A retry by hand does not break through a breaker: it is made as soon as that lets one call try."""
    made = home(tmp_path, workflow(email()))
    table = json.dumps({"email": {"breaker_failures": 1, "breaker_pause": "PT1S"}})
    retry = "select t.retried from chimeway.retry_delivery($1) t"
    async with FaultySmtp() as server, rows_of(database_url) as rows:
        server.fail_next("error_500")
        async with running_daemon(database_url, made, SMTP_URL=server.url, CHANNELS=table) as daemon:
            run_id = str(await rows.value(START))
            opened = await daemon.event("channel.breaker", state="open")
            delivery = await wait_for(lambda: rows.value(FAILED), "the first attempt failed")
            assert await rows.value(retry, delivery)
            waited = await _second_attempt(rows, run_id) - datetime.fromisoformat(opened["timestamp"])
            assert 0.9 < waited.total_seconds() < 20
