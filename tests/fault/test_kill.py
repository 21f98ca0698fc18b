"""Many journeys, killed again and again while they decide; afterwards every one ended right."""

import random
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from kit.daemon import Daemon, running_daemon
from kit.home import READ, Home, email, home, in_app, wait, workflow
from kit.invariants import assert_invariants, assert_mails_fit
from kit.rows import Rows, rows_of
from kit.smtp import Sink, smtp_sink
from kit.waiting import wait_for

ENOUGH = {"type": "signal_received", "signal_type": "enough", "then": {"goto": "last"}}
ROUNDS = workflow(
    in_app(),
    wait("tick", READ, ENOUGH, duration="PT2S"),
    email("nudge", next="tick"),
    email("last"),
    key="rounds",
)
"""Goes round, wait and e-mail, until it is read (stopped) or had enough (one last e-mail)."""

GUIDE = workflow(in_app(), wait(duration="PT2S"), email())

START = """
select chimeway.identify('default', id, jsonb_build_object('email', id || '@example.org')),
       chimeway.trigger($1, recipient_id => id)
  from (select $2 || n as id from generate_series($3::int, $4::int) n) u"""
SAY = """
select chimeway.signal($1, actor_id => $2 || n)
  from generate_series($3::int, $4::int) n where n % 4 = any($5::int[])"""
NEAR = """
select (select count(*) from chimeway.workflow_runs
         where wake_at <= clock_timestamp() + interval '500 milliseconds')
     + (select count(distinct run_id) from chimeway.deliveries
         where next_attempt_at <= clock_timestamp() + interval '500 milliseconds' or status = 'dispatched')"""
"""Journeys within half a second of a decision: due, about to be, or on their way to the provider."""


@dataclass(frozen=True, slots=True)
class Storm:
    """How many journeys, how often killed, and how many must be at a decision each time."""

    journeys: int
    kills: int
    near: int


async def _killed_at_work(daemon: Daemon, rows: Rows, near: int) -> int:
    """Kill a daemon once it has decided something, at a moment with so many others at a decision."""
    begun = len(daemon.seen("decision.committed"))
    await wait_for(
        lambda: len(daemon.seen("decision.committed")) > begun or daemon.seen("delivery.attempt"),
        "it works",
        every_s=0.005,
    )
    later = time.monotonic() + random.uniform(0, 0.4)

    async def enough() -> int | None:
        found = await rows.value(NEAR)
        return int(found) if found >= near and time.monotonic() >= later else None

    found = await wait_for(enough, f"{near} journeys at a decision", every_s=0.005)
    daemon.kill()
    return found


async def _storm(storm: Storm, url: str, made: Home, sink: Sink, rows: Rows) -> None:
    """Kill again and again; with each daemon comes a wave of guide journeys, of which half read."""
    seen, wave = [], storm.journeys // storm.kills
    for kill in range(storm.kills):
        async with running_daemon(url, made, SMTP_URL=sink.url) as daemon:
            if kill == 0:
                await rows.all(START, "rounds", "round_", 1, storm.journeys)
            first = kill * wave + 1
            await rows.all(START, "mention_escalation", "guide_", first, first + wave - 1)
            await rows.all(SAY, "notification_read", "guide_", first, first + wave - 1, [1])
            await rows.all(SAY, "notification_read", "guide_", first - wave, first - 1, [3])
            if kill == storm.kills * 3 // 4:
                await rows.all(SAY, "notification_read", "round_", 1, storm.journeys, [1, 3])
            seen.append(await _killed_at_work(daemon, rows, storm.near))
    print(f"\n{2 * storm.journeys} journeys; at a decision at each of {storm.kills} kills: {seen}")
    async with running_daemon(url, made, SMTP_URL=sink.url) as daemon:
        await rows.all(SAY, "enough", "round_", 1, storm.journeys, [0, 2])
        await rows.until_none_live(120)
        assert await daemon.stopped() == 0


async def _ended_right(url: str, rows: Rows, sink: Sink) -> None:
    """Odd numbers read: rounds in the middle of it all, guides at once (1, 5, ...) or near their due time."""
    ends = await rows.all("""
        select r.recipient_id, r.state,
               (select count(*) from chimeway.deliveries d
                 where d.run_id = r.id and d.step_id = 'last' and d.status = 'succeeded') as last,
               (select count(*) from chimeway.deliveries d
                 where d.run_id = r.id and d.step_id like 'step_email%' and d.attempt_count > 0) as sent
          from chimeway.workflow_runs r""")
    for end in ends:
        kind, _, number = end["recipient_id"].partition("_")
        expected = {
            ("round", 0): [("completed", 1, 0)],
            ("round", 1): [("stopped", 0, 0)],
            ("round", 2): [("completed", 1, 0)],
            ("round", 3): [("stopped", 0, 0)],
            ("guide", 0): [("completed", 0, 1)],
            ("guide", 1): [("stopped", 0, 0)],
            ("guide", 2): [("completed", 0, 1)],
            ("guide", 3): [("stopped", 0, 0), ("completed", 0, 1)],
        }[kind, int(number) % 4]
        assert (end["state"], end["last"], end["sent"]) in expected, end
    stopped = sum(end["state"] == "stopped" and end["recipient_id"].startswith("guide") for end in ends)
    print(f"{len(ends)} journeys ended right; guide journeys stopped by their readers: {stopped}")
    await assert_invariants(url, rows)
    await assert_mails_fit(rows, sink)
    sums = (
        await rows.all("""
        select count(*) as attempts, count(*) filter (where outcome = 'unknown') as unknown
          from chimeway.delivery_attempts left join chimeway.delivery_attempt_results
               using (delivery_id, attempt_no, shard)""")
    )[0]
    doubles = len(sink.mails) - len(sink.deliveries())
    print(
        f"e-mails {len(sink.deliveries())}, attempts {sums['attempts']}, of which unknown {sums['unknown']};"
    )
    print(f"arrived twice under one Message-ID: {doubles}")


@pytest.mark.parametrize(
    "storm",
    [
        Storm(journeys=30, kills=3, near=8),
        pytest.param(
            Storm(journeys=200, kills=20, near=50), marks=[pytest.mark.big, pytest.mark.timeout(600)]
        ),
    ],
    ids=["small", "big"],
)
async def test_killed_while_many_decide(storm: Storm, database_url: str, tmp_path: Path) -> None:
    """Whoever is killed, and however often, each journey ends as its signals say, with no double row."""
    made = home(tmp_path, ROUNDS, GUIDE)
    async with smtp_sink() as sink, rows_of(database_url) as rows:
        await _storm(storm, database_url, made, sink, rows)
        await _ended_right(database_url, rows, sink)
