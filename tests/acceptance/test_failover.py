"""Two providers of one channel: who is asked when, and what rows and people are told; all of it real."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from chimeway.client.chimeway import Chimeway
from chimeway.limits import CLOCK_AHEAD_MS
from chimeway.testing.faulty_smtp import FaultySmtp
from kit.daemon import Daemon, running_daemon
from kit.home import email, home, workflow
from kit.rows import Rows, rows_of
from kit.waiting import wait_for

START = """
select chimeway.trigger('mention_escalation', recipient_id => u.id)
  from (select $1::text as id) u,
       lateral (select chimeway.identify('default', u.id,
                                         jsonb_build_object('email', u.id || '@example.org'))) i"""
OUT = "https://example.org/out?d={delivery_id}&t={tenant_id}&r={recipient_id}&w={workflow}"
ATTEMPTS = """
select a.provider || ' ' || coalesce(x.error_class, x.outcome) as said, x.finished_at - a.started_at as took
  from chimeway.delivery_attempts a
  left join chimeway.delivery_attempt_results x using (delivery_id, attempt_no, shard)
 where a.run_id::text = $1 order by a.attempt_no"""


@dataclass(frozen=True, slots=True)
class Stage:
    """A daemon with a primary and a backup."""

    url: str
    primary: FaultySmtp
    backup: FaultySmtp
    rows: Rows
    daemon: Daemon

    async def sent(self, who: str) -> str:
        """Play a journey to its end; return its run."""
        run_id = str(await self.rows.value(START, who))
        await self.rows.until(run_id, "completed")
        return run_id

    async def said(self, run_id: str) -> list[str]:
        """Return provider and answer of each attempt."""
        return [row["said"] for row in await self.rows.all(ATTEMPTS, run_id)]


@asynccontextmanager
async def stage(url: str, folder: Path) -> AsyncIterator[Stage]:
    """Set it."""
    made = home(folder, workflow(email()))
    async with FaultySmtp() as primary, FaultySmtp() as backup, rows_of(url) as rows:
        providers = [
            {"kind": "smtp", "name": "primary", "url": primary.url},
            {"kind": "smtp", "name": "backup", "url": backup.url},
        ]
        table = {"email": {"breaker_failures": 3, "breaker_pause": "PT1H", "providers": providers}}
        async with running_daemon(url, made, CHANNELS=json.dumps(table), UNSUBSCRIBE_URL=OUT) as daemon:
            yield Stage(url, primary, backup, rows, daemon)


async def _a_round_that_failed_is_followed_by_a_pause(on: Stage) -> None:
    """When all providers have failed, the next round begins with the first, later."""
    await on.rows.put_retries_off(failures=2)
    on.primary.fail_next("error_500")
    on.backup.fail_next("error_500")
    run_id = str(await on.rows.value(START, "gil"))
    waits = """update chimeway.deliveries set next_attempt_at = chimeway.clock() + interval '0.5 s'
                where failed_count = 2 and next_attempt_at > chimeway.clock() + interval '1 min'
            returning next_attempt_at"""
    at = await wait_for(lambda: on.rows.value(waits), "the round is over, and a pause follows")
    await on.rows.until(run_id, "completed")
    assert await on.said(run_id) == ["primary transient", "backup transient", "primary succeeded"]
    clocks = timedelta(milliseconds=CLOCK_AHEAD_MS)  # what the node had drawn itself may come so near
    assert (await on.rows.attempts(run_id))[-1]["started_at"] >= at - clocks


async def test_failover(database_url: str, tmp_path: Path) -> None:
    """A sure failure goes to the next at once, an uncertain one does not; a closed provider is not asked."""
    async with stage(database_url, tmp_path) as on:
        on.primary.fail_next("error_500")
        run_id = await on.sent("ada")
        assert await on.said(run_id) == ["primary transient", "backup succeeded"]
        (first, second) = await on.rows.attempts(run_id)
        assert (second["started_at"] - first["started_at"]).total_seconds() < 2
        assert len(on.primary.received) == len(on.backup.received) == 1
        assert on.primary.received[0].text == on.backup.received[0].text, "the same message"
        out = f"<https://example.org/out?d={on.backup.received[0].key}&t=default&r=ada&w=mention_escalation>"
        assert on.backup.received[0].headers["list-unsubscribe"] == out

        on.primary.fail_next("close_before_reply")
        doubtful = await on.sent("ben")
        assert await on.said(doubtful) == ["primary unknown", "primary succeeded"]
        assert len(on.backup.received) == 1
        assert on.primary.received[1].key == on.primary.received[2].key

        async with Chimeway.connect(on.url) as client:
            told = "\n".join((await client.explain(run_id)).why)
            assert "with attempt 2 by backup, after 1 attempt that failed (transient by primary)" in told
            told = "\n".join((await client.explain(doubtful)).why)
            assert "Attempt 1 ended without an answer" in told
            assert "the same idempotency key" in told

        await _a_round_that_failed_is_followed_by_a_pause(on)

        on.primary.fail_all("error_500")
        for who in ("cora", "dan", "eve"):
            assert (await on.said(await on.sent(who)))[-1] == "backup succeeded"
        await wait_for(
            lambda: on.daemon.seen("channel.breaker", provider="primary", state="open"), "it opens"
        )
        assert await on.said(await on.sent("fay")) == ["backup succeeded"]
