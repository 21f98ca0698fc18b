"""A second daemon stands by, and takes over from one that was killed, frozen or asked to end."""

import time
from pathlib import Path

import pytest

from kit.daemon import Daemon, running_daemon
from kit.home import email, home, in_app, wait, workflow
from kit.invariants import assert_invariants, assert_mails_fit
from kit.rows import rows_of
from kit.smtp import smtp_sink

GUIDE = workflow(in_app(), wait(duration="PT2S"), email())
START = """
select chimeway.identify('default', id, jsonb_build_object('email', id || '@example.org')),
       chimeway.trigger('mention_escalation', recipient_id => id)
  from (select 'user_' || n as id from generate_series(1, 20) n) u"""
TTL_S = 2
SLACK_S = 3.0
"""What a busy machine may add."""


def _end(how: str, daemon: Daemon) -> None:
    {"killed": daemon.kill, "frozen": daemon.freeze, "asked to end": daemon.terminate}[how]()


@pytest.mark.parametrize(
    ("how", "within_s"), [("killed", 1.0), ("frozen", TTL_S + 1.0), ("asked to end", 1.0)]
)
async def test_a_standby_takes_over(how: str, within_s: float, database_url: str, tmp_path: Path) -> None:
    """Its runs go on in the other daemon, each to its right end."""
    made = home(tmp_path, GUIDE)
    ttl = f"PT{TTL_S}S"
    async with (
        smtp_sink() as sink,
        rows_of(database_url) as rows,
        running_daemon(database_url, made, name="first", SMTP_URL=sink.url, LEASE_TTL=ttl) as first,
        running_daemon(
            database_url, made, name="second", ready=False, SMTP_URL=sink.url, LEASE_TTL=ttl
        ) as second,
    ):
        await second.event("lease.standby")
        assert not second.seen("lease.acquired")
        await rows.all(START)
        await rows.until(
            await rows.value("select max(id::text)::uuid from chimeway.workflow_runs"), "waiting"
        )
        ended = time.monotonic()
        _end(how, first)
        taken = await second.event("lease.acquired")
        took_s = time.monotonic() - ended
        print(f"\n{how}: taken over after {took_s:.2f} s")
        assert took_s < within_s + SLACK_S
        assert taken["taken_over"] is (how != "asked to end")
        await rows.until_none_live()
        if how == "frozen":
            first.thaw()
            await first.event("lease.lost")
            assert await first.stopped() == 0
        elif how == "asked to end":
            assert await first.exit_code() == 0
        assert await rows.value("select count(*) from chimeway.workflow_runs where state = 'completed'") == 20
        await assert_invariants(database_url, rows)
        await assert_mails_fit(rows, sink)
        assert len(sink.deliveries()) == 20
        assert await second.stopped() == 0
