"""A client that sits in its transaction holds the run it touched, and nobody else's."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from uuid import UUID

import pytest

from kit.daemon import running_daemon
from kit.home import email, home, in_app, wait, workflow
from kit.psql import psql_session
from kit.rows import Rows, rows_of
from kit.smtp import smtp_sink
from kit.waiting import wait_for

JOURNEY = workflow(in_app(), wait(until={"data": "due_at"}), email(), key="together")
START = """
select chimeway.identify('default', id, jsonb_build_object('email', id || '@example.org')),
       chimeway.trigger('together', recipient_id => id, data => jsonb_build_object('due_at', $2::timestamptz))
         as run_id
  from (select $1 || n as id from generate_series(1, 100) n) u"""
DONE = """
select count(*) from chimeway.workflow_runs
 where id = any($1::uuid[]) and state = 'completed' and id <> $2::text::uuid"""
LATENESS = """
select extract(epoch from t.at - ($3::timestamptz))::float8 * 1000 as elapsed_ms,
       extract(epoch from d.terminal_at - ($3::timestamptz))::float8 * 1000 as sent_ms
  from chimeway.workflow_transitions t
  join chimeway.deliveries d on d.run_id = t.run_id and d.channel = 'email'
 where t.reason = 'reactivated_from_wait' and t.run_id = any($1::uuid[]) and t.run_id <> $2::text::uuid"""
SLACK_MS = 2_000
"""What a busy machine may add to a decision; a batch that waited for him would be late by his idleness.

Of the e-mails nothing is asked but that they are sent while he idles: a busy machine takes seconds for them.
"""


@dataclass(frozen=True, slots=True)
class Lateness:
    """How late decisions and e-mails were, in milliseconds after the due time."""

    decided: list[float]
    sent: list[float]

    def __str__(self) -> str:
        """Median and worst of both."""
        return (
            f"decided {median(self.decided):.0f} (worst {max(self.decided):.0f}) ms, "
            f"sent {median(self.sent):.0f} (worst {max(self.sent):.0f}) ms after the due time"
        )


async def _hundred(rows: Rows, prefix: str) -> tuple[list[UUID], datetime]:
    """Start a hundred runs that are due at one instant; return them once they wait."""
    due = datetime.now(UTC) + timedelta(seconds=5)
    runs = [row["run_id"] for row in await rows.all(START, prefix, due)]
    sql = "select count(*) = 100 from chimeway.workflow_runs where id = any($1::uuid[]) and state = 'waiting'"
    await wait_for(lambda: rows.value(sql, runs), "all hundred wait")
    assert datetime.now(UTC) < due, "the machine is too slow for this test"
    return runs, due


async def _lateness(rows: Rows, runs: list[UUID], held: UUID, due: datetime) -> Lateness:
    """Wait for all but the held one, and return how late they were."""
    await wait_for(lambda: _ninety_nine(rows, runs, held), "the other 99 have ended", deadline_s=60)
    found = await rows.all(LATENESS, runs, str(held), due)
    return Lateness([row["elapsed_ms"] for row in found], [row["sent_ms"] for row in found])


async def _ninety_nine(rows: Rows, runs: list[UUID], held: UUID) -> bool:
    return bool(await rows.value(DONE, runs, str(held)) == 99)


@pytest.mark.parametrize(
    "idle_s", [3, pytest.param(30, marks=[pytest.mark.big, pytest.mark.timeout(200)])], ids=["small", "big"]
)
async def test_the_other_99_go_on(idle_s: int, database_url: str, tmp_path: Path) -> None:
    """One of a hundred due runs is cancelled by a client that then sits idle; the others do not notice."""
    made = home(tmp_path, JOURNEY)
    async with (
        smtp_sink() as sink,
        rows_of(database_url) as rows,
        psql_session(database_url) as client,
        running_daemon(database_url, made, SMTP_URL=sink.url) as daemon,
    ):
        runs, due = await _hundred(rows, "usual_")
        usual = await _lateness(rows, runs, runs[50], due)
        await rows.until(runs[50], "completed")

        runs, due = await _hundred(rows, "idle_")
        held = runs[50]
        await client.say("begin;")
        (answer,) = await client.say(f"select outcome from chimeway.cancel(run_id => '{held}');")
        assert answer == "stopped"
        with_client = await _lateness(rows, runs, held, due)
        print(f"\nwithout: {usual}\nwith a client that idles {idle_s} s: {with_client}")
        assert max(with_client.decided) < max(usual.decided) + SLACK_MS

        idle = "select clock_timestamp() > $1::timestamptz + $2 * interval '1 second'"
        await wait_for(
            lambda: rows.value(idle, due, idle_s), "the client has idled long enough", deadline_s=60
        )
        assert (await rows.run(held))["state"] == "waiting", "it is locked, and as it was"
        await client.say("rollback;")
        begun = datetime.now(UTC)
        await rows.until(held, "completed")
        print(f"the held one followed {(datetime.now(UTC) - begun).total_seconds():.1f} s after its release")
        assert len(sink.mails) == 200
        assert await daemon.stopped() == 0
