"""Messages that nobody gets are counted by why: what policy keeps, and what a stop takes back."""

from pathlib import Path

from kit.daemon import running_daemon
from kit.home import READ, email, home, workflow
from kit.psql import psql
from kit.rows import rows_of
from kit.smtp import smtp_sink
from kit.waiting import wait_for
from observed.test_metrics import of
from observed.test_metrics_of_trouble import seen

START = """
    select chimeway.identify('default', 'ada', '{"email": "ada@example.org"}'),
           chimeway.trigger('mention_escalation', recipient_id => 'ada')"""
READS = "select chimeway.signal('notification_read', actor_id => 'ada')"


async def test_a_stop_takes_back_what_was_not_sent(database_url: str, tmp_path: Path) -> None:
    """One has no address; the other reads in the app while his mail waits for its next attempt."""
    made = home(tmp_path, workflow(email(), stop_conditions=[READ]))
    async with smtp_sink() as sink, rows_of(database_url) as rows:
        sink.refuse_all("451 4.3.0 try again later")
        settings = {"SMTP_URL": sink.url, "HTTP_BIND": "127.0.0.1:0"}
        async with running_daemon(database_url, made, **settings) as daemon:
            await psql(database_url, START)
            await psql(database_url, "select chimeway.trigger('mention_escalation', recipient_id => 'bob')")
            # Long enough before the next attempt: of one under way its provider tells the end.
            failed = """select true from chimeway.deliveries
                         where status = 'failed' and next_attempt_at > chimeway.clock() + interval '2 s'"""
            await wait_for(lambda: rows.value(failed), "a failed attempt, and some time until the next")
            await psql(database_url, READS)
            why = {"channel": "email", "reason": "run_stopped"}
            found = await seen(daemon, "chimeway_deliveries_not_sent_total", 1, **why)
            assert of(found, "chimeway_deliveries_not_sent_total", channel="email", reason="no_address") == 1
            assert of(found, "chimeway_deliveries_total", channel="email", outcome="cancelled") == 1
            assert of(found, "chimeway_deliveries_not_sent_total", channel="email", reason="cap") == 0
        one = "select status from chimeway.deliveries where suppression_reason = 'run_stopped'"
        assert await rows.value(one) == "cancelled"
