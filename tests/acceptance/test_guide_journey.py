"""The guide's journey in both ends: plain SQL in psql, a real daemon, a real SMTP server."""

from pathlib import Path

from chimeway import Chimeway
from kit.daemon import running_daemon
from kit.home import GUIDE, home
from kit.psql import psql
from kit.rows import rows_of
from kit.smtp import smtp_sink
from kit.waiting import wait_for

IDENTIFY = "select chimeway.identify('org_456', 'user_123', '{\"email\": \"user_123@example.org\"}')"
TRIGGER = """select chimeway.trigger('mention_escalation', tenant_id => 'org_456', recipient_id => 'user_123',
    data => '{"document_id": "doc_789"}', idempotency_key => 'mention-789-123')"""
SIGNAL = """select chimeway.signal('notification_read', tenant_id => 'org_456', actor_id => 'user_123',
    payload => '{"document_id": "doc_789"}')"""
SLOWER = GUIDE.replace("PT2S", "PT4S")
"""Long enough for what is done while it waits, on a busy machine, too."""
ENTERED = [
    "workflow_started",
    "step_activated",
    "progressed_on_delivery_outcome",
    "step_activated",
    "waiting_for_step_progression",
]
"""The in-app item and the wait: one decision, one transaction."""


async def test_unread_it_ends_in_an_email(database_url: str, tmp_path: Path) -> None:
    """Nobody reads: an inbox item, four seconds, and an e-mail that really arrives."""
    async with (
        smtp_sink() as sink,
        rows_of(database_url) as rows,
        running_daemon(database_url, home(tmp_path, SLOWER), SMTP_URL=sink.url) as daemon,
    ):
        await psql(database_url, IDENTIFY)
        (run_id,) = await psql(database_url, TRIGGER)
        assert await psql(database_url, TRIGGER) == [run_id], "the same key again is the same run"

        waiting = await rows.until(run_id, "waiting", step="step_wait_for_read")
        assert (waiting["wake_at"] - waiting["entered_at"]).total_seconds() == 4
        items = await rows.all("select * from chimeway.inbox_items")
        assert [(item["recipient_id"], item["body"]) for item in items] == [
            ("user_123", "In doc_789, user_123")
        ]
        assert not sink.mails

        await rows.until(run_id, "completed")
        assert [mail.subject for mail in sink.to("user_123")] == ["You were mentioned, user_123"]
        assert sink.mails[0].at >= waiting["wake_at"], "no timer fires early"

        assert await rows.reasons(run_id) == [
            *ENTERED,
            "reactivated_from_wait",
            "step_activated",
            "workflow_completed",
        ]
        in_app, by_mail = await rows.deliveries(run_id)
        assert (in_app["channel"], in_app["status"], in_app["attempt_count"]) == ("in_app", "succeeded", 0)
        assert (by_mail["channel"], by_mail["status"], by_mail["attempt_count"]) == ("email", "succeeded", 1)
        assert [attempt["outcome"] for attempt in await rows.attempts(run_id)] == ["succeeded"]
        async with Chimeway.connect(database_url) as chimeway:
            told = await chimeway.explain(run_id, tenant="org_456")
        print(*told.why, sep="\n")
        assert told.state == "completed"
        assert any("mail" in sentence for sentence in told.why)
        assert await daemon.stopped() == 0


async def test_read_it_ends_without(database_url: str, tmp_path: Path) -> None:
    """Somebody reads while it waits: the run is stopped, and no provider is called."""
    async with (
        smtp_sink() as sink,
        rows_of(database_url) as rows,
        running_daemon(database_url, home(tmp_path, SLOWER), SMTP_URL=sink.url) as daemon,
    ):
        await psql(database_url, IDENTIFY)
        (run_id,) = await psql(database_url, TRIGGER)
        waiting = await rows.until(run_id, "waiting")
        (signal_id,) = await psql(database_url, SIGNAL)
        stopped = await rows.until(run_id, "stopped")
        assert stopped["ended_at"] < waiting["wake_at"], "it ends at the signal, not at the timer"

        assert await rows.reasons(run_id) == [*ENTERED, "signal_received", "workflow_stopped"]
        heard = (await rows.transitions(run_id))[-2]
        assert (str(heard["signal_id"]), heard["signal_type"]) == (signal_id, "notification_read")
        assert (heard["from_state"], heard["to_state"]) == ("waiting", "active")
        async with Chimeway.connect(database_url) as chimeway:
            told = await chimeway.explain(run_id, tenant="org_456")
        print(*told.why, sep="\n")
        assert any("notification_read" in sentence for sentence in told.why)

        await wait_for(lambda: rows.value("select now() > $1", waiting["wake_at"]), "the due time")
        assert await daemon.stopped() == 0
        assert await rows.deliveries(run_id, "email") == []
        assert sink.calls == 0


async def test_sigterm_lets_a_send_end(database_url: str, tmp_path: Path) -> None:
    """On SIGTERM a provider call under way is waited for and recorded; the exit code is 0."""
    async with (
        smtp_sink() as sink,
        rows_of(database_url) as rows,
        running_daemon(database_url, home(tmp_path, GUIDE), SMTP_URL=sink.url) as daemon,
    ):
        await psql(database_url, IDENTIFY)
        gate = sink.hold()
        (run_id,) = await psql(database_url, TRIGGER)
        await wait_for(gate.reached.is_set, "the provider is called")
        daemon.terminate()
        await daemon.event("daemon.draining")
        gate.release()
        assert await daemon.exit_code() == 0
        assert [attempt["outcome"] for attempt in await rows.attempts(run_id)] == ["succeeded"]
        assert len(sink.mails) == 1
        assert await rows.value("select owner is null from chimeway.shards"), "the lease is handed over"
