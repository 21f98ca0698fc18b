"""Signal against timer: each pair has one winner, judged by what the database says each could see."""

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from kit.daemon import running_daemon
from kit.home import email, home, in_app, wait, workflow
from kit.invariants import assert_invariants, assert_mails_fit
from kit.rows import Row, Rows, rows_of
from kit.smtp import smtp_sink
from kit.waiting import wait_for

RACE = workflow(in_app(), wait(until={"data": "due_at"}), email(), key="race")
START = """
with u as (select 'r_' || n as id, $1::timestamptz + (n - $2) * $4::interval as due
             from generate_series($2::int, $3::int) n)
select id, due, chimeway.trigger('race', recipient_id => id, data => jsonb_build_object('due_at', due)),
       chimeway.identify('default', id, jsonb_build_object('email', id || '@example.org')) from u"""
ENTERED = "select not exists (select from chimeway.workflow_runs where visit = 0)"
JUDGE = """
select r.recipient_id, r.state, s.created_at as said_at,
       (t.inputs ->> 'now')::timestamptz as elapsed_now,
       pg_visible_in_snapshot(s.xid, t.snapshot) as seen_by_timer,
       pg_visible_in_snapshot(s.xid, a.snapshot) as seen_by_attempt,
       d.status, d.suppression_reason, d.attempt_count,
       exists (select from chimeway.workflow_transitions h where h.run_id = r.id
                  and h.reason = 'signal_received' and h.from_state = 'waiting') as stopped_at_wait
  from chimeway.workflow_runs r
  join chimeway.signals s on s.actor_id = r.recipient_id
  left join chimeway.workflow_transitions t on t.run_id = r.id and t.reason = 'reactivated_from_wait'
  left join chimeway.deliveries d on d.run_id = r.id and d.channel = 'email'
  left join chimeway.delivery_attempts a on a.delivery_id = d.id and a.attempt_no = 1"""
CLOCKS_S = 0.005
"""How far the daemon's clock and ours may be apart: both follow this machine's."""
SENDERS = 16


@dataclass(frozen=True, slots=True)
class Race:
    """How many pairs, how many of them at a time, and how often each side must win at the wait.

    Where mails are fewer than that (a loaded machine sends late), more pairs are run, up to twice as many.
    """

    pairs: int
    wave: int
    least: int
    wide_part: float = 0.0
    gap: timedelta = timedelta(milliseconds=6)

    def offset(self) -> timedelta:
        """Draw when a signal is sent, from its due time: ±20 ms, a few ±200 ms where few are run."""
        spread_ms = 200 if random.random() < self.wide_part else 20
        return timedelta(milliseconds=random.uniform(-spread_ms, spread_ms))


async def _say(rows: Rows, plan: Sequence[tuple[datetime, str]], committed: dict[str, datetime]) -> None:
    """Say "read" for each at its time, on one connection; note when each commit was known."""
    for at, who in plan:
        await asyncio.sleep((at - datetime.now(UTC)).total_seconds())
        await rows.value("select chimeway.signal('notification_read', actor_id => $1)", who)
        committed[who] = datetime.now(UTC)


async def _wave(
    race: Race, first: int, rows: Rows, senders: Sequence[Rows]
) -> dict[str, tuple[datetime, datetime]]:
    """Run some pairs; return (due, when the signal's commit was known) of each."""
    last = first + race.wave - 1
    begin = datetime.now(UTC) + timedelta(seconds=2 + race.wave / 75)
    started = await rows.all(START, begin, first, last, race.gap)
    due = {row["id"]: row["due"] for row in started}
    plan = sorted((at + race.offset(), who) for who, at in due.items())
    committed: dict[str, datetime] = {}
    await wait_for(lambda: rows.value(ENTERED), "all of the wave wait")
    async with asyncio.TaskGroup() as group:
        for number, sender in enumerate(senders):
            group.create_task(_say(sender, plan[number :: len(senders)], committed))
    await rows.until_none_live()
    return {who: (at, committed[who]) for who, at in due.items()}


def _winner(pair: Row, known_at: datetime) -> str:
    """Say who won, after asserting that it was right."""
    who = pair["recipient_id"]
    if pair["state"] == "completed":
        assert not pair["stopped_at_wait"], f"{who} was stopped at the wait, and mailed"
        assert pair["seen_by_timer"] is False, f"{who}: the timer saw the signal"
        assert pair["seen_by_attempt"] is False, f"{who}: the attempt saw the signal"
        assert (pair["status"], pair["attempt_count"]) == ("succeeded", 1)
        ahead_s = (pair["elapsed_now"] - known_at).total_seconds()
        assert ahead_s < CLOCKS_S, f"{who}: read was committed {ahead_s} s before it was decided to send"
        return "timer"
    assert pair["state"] == "stopped", who
    if pair["stopped_at_wait"]:
        assert pair["status"] is None, f"{who} was stopped at the wait, and an e-mail was planned"
        return "signal"
    assert (pair["status"], pair["suppression_reason"]) == ("cancelled", "stopped_before_send"), who
    assert pair["attempt_count"] == 0
    assert pair["seen_by_timer"] is False, f"{who}: the timer saw the signal"
    return "signal, once planned"


def _histogram(won: dict[str, str], times: dict[str, tuple[datetime, datetime]]) -> None:
    """Print who won by when the signal's commit was known, in steps of 5 ms from the due time."""
    bins: Counter[tuple[int, str]] = Counter()
    for who, winner in won.items():
        due, known = times[who]
        step = round((known - due).total_seconds() * 200)
        bins[max(-6, min(8, step)), winner] += 1
    sides = ("signal", "signal, once planned", "timer")
    print(f"\n{'commit - due':>14}" + "".join(f"{side:>22}" for side in sides))
    for step in range(-6, 9):
        label = f"{'<= ' if step == -6 else '>= ' if step == 8 else ''}{step * 5} ms"
        print(f"{label:>14}" + "".join(f"{bins[step, side]:>22}" for side in sides))


@pytest.mark.parametrize(
    "race",
    [
        Race(pairs=300, wave=300, least=1, wide_part=0.1),
        pytest.param(
            Race(pairs=10_000, wave=500, least=1_000, gap=timedelta(milliseconds=15)),
            marks=[pytest.mark.big, pytest.mark.timeout(900)],
        ),
    ],
    ids=["small", "big"],
)
async def test_signal_against_timer(race: Race, database_url: str, tmp_path: Path) -> None:
    """Read before the e-mail is planned: no provider is called. Never both stopped and mailed."""
    made = home(tmp_path, RACE)
    times: dict[str, tuple[datetime, datetime]] = {}
    async with (
        smtp_sink() as sink,
        rows_of(database_url) as rows,
        AsyncExitStack() as stack,
        running_daemon(database_url, made, SMTP_URL=sink.url, LOG_LEVEL="warning", ready=False) as daemon,
    ):
        senders = [await stack.enter_async_context(rows_of(database_url)) for _ in range(SENDERS)]
        await wait_for(lambda: rows.value("select owner from chimeway.shards"), "the daemon works")
        while len(times) < race.pairs or (len(sink.mails) < race.least and len(times) < 2 * race.pairs):
            times |= await _wave(race, len(times) + 1, rows, senders)
        assert await daemon.stopped() == 0
        pairs = await rows.all(JUDGE)
        assert len(pairs) == len(times)
        won = {pair["recipient_id"]: _winner(pair, times[pair["recipient_id"]][1]) for pair in pairs}
        assert {mail.to.partition("@")[0] for mail in sink.mails} == {w for w in won if won[w] == "timer"}
        assert len(sink.mails) == len(sink.deliveries())
        await assert_mails_fit(rows, sink)
        await assert_invariants(database_url, rows)
    _histogram(won, times)
    counts = Counter(won.values())
    elapsed = counts["timer"] + counts["signal, once planned"]
    print(f"{len(times)} pairs: {dict(counts)}; at the wait: signal {counts['signal']}, timer {elapsed}")
    assert counts["signal"] >= race.least
    assert elapsed >= race.least
