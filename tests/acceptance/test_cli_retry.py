"""`deliveries retry` on a running daemon: the message goes out now, long before its time."""

from pathlib import Path

from kit.command import inside
from kit.daemon import running_daemon
from kit.home import email, home, workflow
from kit.rows import rows_of
from kit.smtp import smtp_sink
from kit.waiting import wait_for

NOTED = """select note from chimeway.operator_actions where action = 'retry'
  and who like '%_ (command line)' and delivery_id is not null and run_id is not null"""
FAILED = "select id::text from chimeway.deliveries where status = 'failed'"


async def test_a_message_is_sent_long_before_its_next_attempt(database_url: str, tmp_path: Path) -> None:
    """The provider is well again, the next attempt an hour away: asked for, it is made at once."""
    made = home(tmp_path, workflow(email()))
    async with smtp_sink() as sink, rows_of(database_url) as rows:
        sink.refuse_all("451 4.3.0 try again later")
        async with running_daemon(database_url, made, SMTP_URL=sink.url) as daemon:
            await rows.value("select chimeway.identify('default', 'ada', '{\"email\": \"ada@example.org\"}')")
            run_id = await rows.value("select chimeway.trigger('mention_escalation', recipient_id => 'ada')")
            delivery = await wait_for(lambda: rows.value(FAILED), "a failed attempt")
            assert await daemon.stopped() == 0
        sink.refuse_all(None)
        later = "update chimeway.deliveries set next_attempt_at = now() + interval '1 hour' returning true"
        await rows.value(later)
        async with running_daemon(database_url, made, SMTP_URL=sink.url) as daemon:
            assert sink.to("ada") == []
            told = await inside("deliveries", "retry", delivery, "--note", "all is well", url=database_url)
            assert (told.code, told.out) == (0, f"{delivery} is tried again now\n")
            assert await rows.value(NOTED) == "all is well"
            await rows.until(run_id, "completed")
            assert len(sink.to("ada")) == 1
            assert await daemon.stopped() == 0
        assert (await inside("verify", url=database_url)).code == 0
