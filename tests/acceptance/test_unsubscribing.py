"""A person unsubscribes from the mail in their hand: the link in it, by real HTTP, and what comes of it."""

import re
from pathlib import Path
from typing import Any

import httpx2

from kit.daemon import running_daemon
from kit.home import TEMPLATES, email, home, wait, workflow
from kit.psql import psql
from kit.rows import rows_of
from kit.smtp import Mail, smtp_sink
from kit.waiting import wait_for

PUBLIC = "https://notify.example.org/chimeway"
KEY, OLD_KEY = "n" * 32, "o" * 32
LEFT = {"type": "signal_received", "signal_type": "chimeway.delivery.unsubscribed"}
NEWS = workflow(
    email(), wait("step_wait", LEFT, duration="P1D"), email("step_again"), key="news", category="marketing"
)
ALARM = workflow(email(), key="alarm", critical=True, category="marketing")
WRITTEN = TEMPLATES | {
    "mention_email.email.j2": "{% block subject %}News{% endblock %}{% block body %}"
    '{% if unsubscribe_url %}<a href="{{ unsubscribe_url }}">no more</a>{% endif %}{% endblock %}'
}
START = "select chimeway.trigger('{0}', recipient_id => 'ada')"
IDENTIFY = """select chimeway.identify('default', 'ada', '{"email": "ada@example.org"}')"""
PREFERS = "select preferences from chimeway.recipients where recipient_id = 'ada'"
FAILED = "select 1 from chimeway.deliveries where run_id = $1::text::uuid and status = 'failed'"
ENDED = """select 1 from chimeway.deliveries
            where run_id = $1::text::uuid and visit = 1 and terminal_at is not null"""
ONE_CLICK = {"List-Unsubscribe": "One-Click"}


def link_in(mail: Mail) -> str:
    """Return the link that a mailbox finds in the headers, which people find in the text, too."""
    assert mail.content["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    found = re.fullmatch(r"<(https://[^<>]+)>", mail.content["List-Unsubscribe"])
    assert found is not None
    html = mail.content.get_body(("html",))
    assert html is not None
    assert f'href="{found[1]}"' in html.get_content()
    return found[1]


async def test_from_the_mail_to_the_preference_and_back(database_url: str, tmp_path: Path) -> None:
    """One POST to the headers' link, behind a proxy with a path, and nothing more of this kind is sent.

    Its run hears of it; what was being retried is not sent, nor what comes next; what is critical is. Looking
    changes nothing, and who takes it back gets the next again.
    """
    keys = tmp_path / "keys"
    keys.write_text(f"{KEY}\n{OLD_KEY}\n")
    settings = {"PUBLIC_URL": PUBLIC, "UNSUBSCRIBE_KEYS_FILE": str(keys), "HTTP_BIND": "127.0.0.1:0"}
    where = home(tmp_path, NEWS, ALARM, templates=WRITTEN)
    async with smtp_sink() as sink, rows_of(database_url) as rows:

        async def start(key: str, state: str) -> Any:
            (run,) = await psql(database_url, START.format(key))
            await rows.until(run, state)
            return run

        async def became(run: Any) -> tuple[str, str | None]:
            await wait_for(lambda: rows.value(ENDED, run), "its first message has ended")
            first = (await rows.deliveries(run))[0]
            return first["status"], first["suppression_reason"]

        async with running_daemon(database_url, where, SMTP_URL=sink.url, **settings) as daemon:
            line = await daemon.event("http.listening")
            node = f"http://{line['host']}:{line['port']}"
            await psql(database_url, IDENTIFY)
            run = await start("news", "waiting")
            (mail,) = sink.mails
            link = link_in(mail)
            assert link.startswith(f"{PUBLIC}/v1/unsubscribe/")
            kept = link.replace("https://notify.example.org", node)  # the proxy leaves the path as it is
            cut = link.replace(PUBLIC, node)  # or takes its own part off
            async with httpx2.AsyncClient(timeout=20) as http:
                assert [(await http.get(each)).status_code for each in (kept, cut)] == [200, 200]
                assert await psql(database_url, PREFERS) == ["{}"]
                sink.refuse_all("451 4.3.0 later")
                (retried,) = await psql(database_url, START.format("news"))
                await wait_for(lambda: rows.value(FAILED, retried), "it is to be retried")
                assert (await http.post(kept, data=ONE_CLICK)).status_code == 200
                sink.refuse_all(None)
                await rows.until(run, "stopped")
                assert await became(retried) == ("suppressed", "preference")
                assert await became(await start("news", "waiting")) == ("suppressed", "preference")
                assert await became(await start("alarm", "completed")) == ("succeeded", None)
                alarm = sink.mails[-1].content
                assert alarm["List-Unsubscribe"] is None
                assert "href" not in alarm.get_body(("html",)).get_content()  # type: ignore[union-attr]
                assert (await http.post(f"{cut}/undo")).status_code == 200
                assert await psql(database_url, PREFERS) == ["{}"]
                assert await became(await start("news", "waiting")) == ("succeeded", None)
            assert len(daemon.seen("unsubscribe.done", delivery_id=mail.delivery_id)) == 2
            assert await daemon.stopped() == 0
        assert len(sink.mails) == 3
        assert not {line for line in daemon.logs if link.rpartition("/")[2] in str(line) or KEY in str(line)}
