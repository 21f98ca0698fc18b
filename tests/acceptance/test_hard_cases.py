"""Six journeys that simple engines get wrong, through a real daemon, by plain SQL and real SMTP."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from kit.daemon import Daemon, running_daemon
from kit.home import Home, email, home, in_app, wait, workflow
from kit.psql import psql, psql_session
from kit.rows import Rows, rows_of
from kit.smtp import Sink, smtp_sink
from kit.waiting import wait_for

TRIGGER = (
    "select chimeway.trigger('mention_escalation', recipient_id => 'ada', data => '{\"document_id\": \"a\"}')"
)
READ = "select chimeway.signal('notification_read', actor_id => 'ada', payload => '{\"document_id\": \"a\"}')"
FAILED = "select failed_count >= $1 from chimeway.deliveries where visit = 1"
CUT = """update chimeway.deliveries set next_attempt_at = clock_timestamp()
          where status = 'failed' and next_attempt_at > clock_timestamp()"""
GUIDE = workflow(in_app(), wait(duration="PT1S"), email())


@dataclass(frozen=True, slots=True)
class Stage:
    """Everything a case needs."""

    url: str
    home: Home
    sink: Sink
    rows: Rows
    daemon: Daemon


@asynccontextmanager
async def stage(url: str, folder: Path, *definitions: dict[str, object]) -> AsyncIterator[Stage]:
    """Set up a daemon with these workflows, and Ada, who has an address."""
    made = home(folder, *definitions)
    async with (
        smtp_sink() as sink,
        rows_of(url) as rows,
        running_daemon(url, made, SMTP_URL=sink.url) as daemon,
    ):
        await psql(url, "select chimeway.identify('default', 'ada', '{\"email\": \"ada@example.org\"}')")
        yield Stage(url, made, sink, rows, daemon)


async def test_a_signal_before_the_wait_is_entered(database_url: str, tmp_path: Path) -> None:
    """What was read before the wait begins counts when it begins."""
    async with stage(database_url, tmp_path, GUIDE) as on:
        async with psql_session(database_url) as session:
            await session.say("begin;")
            (run_id,) = await session.say(f"{TRIGGER};")
            await session.say(f"{READ};")
            await session.say("commit;")
        await on.rows.until(run_id, "stopped")
        assert (await on.rows.reasons(run_id))[-3:] == [
            "waiting_for_step_progression",
            "signal_received",
            "workflow_stopped",
        ]
        assert [one["channel"] for one in await on.rows.deliveries(run_id)] == ["in_app"]


async def test_a_trigger_that_commits_after_its_signal_was_routed(database_url: str, tmp_path: Path) -> None:
    """A signal reaches every run that was written before it, whichever committed first."""
    async with stage(database_url, tmp_path, GUIDE) as on, psql_session(database_url) as session:
        await session.say("begin;")
        (run_id,) = await session.say(f"{TRIGGER};")
        (signal_id,) = await psql(database_url, READ)
        routed = "select routed_at from chimeway.signals where id = $1::text::uuid"
        await wait_for(lambda: on.rows.value(routed, signal_id), "the signal is routed")
        await session.say("commit;")
        await on.rows.until(run_id, "stopped")
        heard = [row["signal_id"] for row in await on.rows.transitions(run_id) if row["signal_id"]]
        assert [str(one) for one in heard] == [signal_id]
        assert on.sink.calls == 0


async def test_two_mentions_of_which_one_is_read(database_url: str, tmp_path: Path) -> None:
    """Reading one document stops that journey, and not the other's."""
    read_it = {
        "type": "signal_received",
        "signal_type": "notification_read",
        "match": {"document_id": {"data": "document_id"}},
    }
    journey = workflow(in_app(), wait("step_wait", read_it, duration="PT4S"), email())
    async with stage(database_url, tmp_path, journey) as on:
        (read,) = await psql(database_url, TRIGGER)
        (unread,) = await psql(database_url, TRIGGER.replace('"a"', '"b"'))
        await on.rows.until(read, "waiting")
        await on.rows.until(unread, "waiting")
        await psql(database_url, READ)
        await on.rows.until(read, "stopped")
        await on.rows.until(unread, "completed")
        assert await on.rows.deliveries(read, "email") == []
        (sent,) = await on.rows.deliveries(unread, "email")
        assert on.sink.deliveries() == {str(sent["id"])}
        notes = await on.rows.all("select * from chimeway.run_mailbox where run_id::text = $1", unread)
        assert [note["consumed_by"] for note in notes] == [None], "it was heard, and did not fit"


async def test_two_emails_on_one_channel(database_url: str, tmp_path: Path) -> None:
    """Two steps on one channel are two visits, two deliveries, two e-mails."""
    journey = workflow(email("first"), email("second"))
    async with stage(database_url, tmp_path, journey) as on:
        (run_id,) = await psql(database_url, TRIGGER)
        await on.rows.until(run_id, "completed")
        sent = await on.rows.deliveries(run_id)
        assert [(one["visit"], one["step_id"]) for one in sent] == [(1, "first"), (2, "second")]
        assert [mail.delivery_id for mail in on.sink.to("ada")] == [str(one["id"]) for one in sent]


async def test_a_cancel_signal_before_the_due_time(database_url: str, tmp_path: Path) -> None:
    """After a cancel signal the due time of a `wait_until` does nothing."""
    rule = {
        "kind": "wait_until",
        "anchor": "prior_delivery_terminal_at",
        "delay": "PT4S",
        "to_step": "step_email_escalation",
        "cancel_signals": [{"type": "signal_received", "signal_type": "mention_withdrawn"}],
    }
    journey = workflow(in_app(progress=[rule]), email())
    async with stage(database_url, tmp_path, journey) as on:
        (withdrawn,) = await psql(database_url, TRIGGER)
        waiting = await on.rows.until(withdrawn, "waiting")
        assert waiting["pending_signals"] == ["mention_withdrawn"]
        (in_app_delivery,) = await on.rows.deliveries(withdrawn)
        assert waiting["status_context"]["anchor_delivery_id"] == str(in_app_delivery["id"])
        due_s = (waiting["wake_at"] - in_app_delivery["terminal_at"]).total_seconds()
        assert due_s == pytest.approx(4, abs=0.001)
        await psql(database_url, "select chimeway.signal('mention_withdrawn', actor_id => 'ada')")
        await on.rows.until(withdrawn, "stopped")
        before = await on.rows.reasons(withdrawn)
        (kept,) = await psql(database_url, TRIGGER)
        await on.rows.until(kept, "completed")  # the same journey, without the signal, is later still
        assert await on.rows.reasons(withdrawn) == before
        assert before[-2:] == ["signal_received", "workflow_stopped"]
        assert len(on.sink.mails) == 1
        assert on.sink.deliveries() == {str(one["id"]) for one in await on.rows.deliveries(kept, "email")}


GIVE_UP = workflow(
    email(
        "by_mail", progress=[{"kind": "on_outcome", "outcome": "retries_exhausted", "to_step": "step_in_app"}]
    ),
    in_app(),
)


async def _gave_up(on: Stage | Rows, run_id: str) -> None:
    rows = on.rows if isinstance(on, Stage) else on
    by_mail, fallback = await rows.deliveries(run_id)
    assert (by_mail["status"], by_mail["suppression_reason"]) == ("cancelled", "retries_exhausted")
    assert (fallback["channel"], fallback["status"]) == ("in_app", "succeeded")
    attempts = await rows.attempts(run_id)
    assert [one["attempt_no"] for one in attempts] == list(range(1, 9))
    assert {(one["outcome"], one["error_class"]) for one in attempts} == {("failed", "transient")}
    moved = [
        row for row in await rows.transitions(run_id) if row["reason"] == "progressed_on_delivery_outcome"
    ]
    assert moved[0]["context"]["workflow_outcome"] == "retries_exhausted"
    assert moved[0]["context"]["anchor_delivery_id"] == str(by_mail["id"])


async def _cut_short(rows: Rows, failures: int) -> bool:
    """Say whether it has failed so often; if not yet, the next attempt is due."""
    if await rows.value(FAILED, failures):
        return True
    await rows.value(CUT)
    return False


async def test_retries_exhausted_across_restarts(database_url: str, tmp_path: Path) -> None:
    """Real 4xx answers, eight times, end the delivery, and the rule for it applies.

    Waits that the backoff drew long are cut short by hand, also while no daemon runs.
    """
    made = home(tmp_path, GIVE_UP)
    async with smtp_sink() as sink, rows_of(database_url) as rows:
        sink.refuse_all("451 4.3.0 try again later")
        run_id = ""
        for failures in (1, 2, 5, 8):  # then the daemon is restarted
            async with running_daemon(database_url, made, SMTP_URL=sink.url) as daemon:
                if not run_id:
                    await psql(
                        database_url,
                        "select chimeway.identify('default', 'ada', '{\"email\": \"ada@example.org\"}')",
                    )
                    (run_id,) = await psql(database_url, TRIGGER)
                await wait_for(partial(_cut_short, rows, failures), f"failure {failures}")
                if failures == 8:
                    await rows.until(run_id, "completed")
                assert await daemon.stopped() == 0
            await rows.value(CUT)
        await _gave_up(rows, run_id)
        assert (sink.calls, sink.mails) == (8, [])


@pytest.mark.big
@pytest.mark.timeout(400)
async def test_retries_exhausted_in_their_own_time(database_url: str, tmp_path: Path) -> None:
    """The same with nothing cut short: eight attempts within four minutes."""
    async with stage(database_url, tmp_path, GIVE_UP) as on:
        on.sink.refuse_all("451 4.3.0 try again later")
        (run_id,) = await psql(database_url, TRIGGER)
        await on.rows.until(run_id, "completed", deadline_s=300)
        await _gave_up(on, run_id)
