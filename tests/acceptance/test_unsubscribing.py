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
    """The headers' link, behind a proxy with a path: one POST, and its run hears; a look changes nothing."""
    keys = tmp_path / "keys"
    keys.write_text(f"{KEY}\n{OLD_KEY}\n")
    settings = {"PUBLIC_URL": PUBLIC, "UNSUBSCRIBE_KEYS_FILE": str(keys), "HTTP_BIND": "127.0.0.1:0"}
    where = home(tmp_path, NEWS, ALARM, templates=WRITTEN)
    async with smtp_sink() as sink, rows_of(database_url) as rows:

        async def sent(key: str) -> tuple[Any, Mail]:
            (run,) = await psql(database_url, START.format(key))
            await rows.until(run, "waiting" if key == "news" else "completed")
            return run, sink.mails[-1]

        async with running_daemon(database_url, where, SMTP_URL=sink.url, **settings) as daemon:
            line = await daemon.event("http.listening")
            node = f"http://{line['host']}:{line['port']}"
            await psql(database_url, IDENTIFY)
            run, mail = await sent("news")
            link = link_in(mail)
            assert link.startswith(f"{PUBLIC}/v1/unsubscribe/")
            async with httpx2.AsyncClient(timeout=20) as http:
                kept = link.replace("https://notify.example.org", node)  # the proxy leaves the path as it is
                cut = link.replace(PUBLIC, node)  # or takes its own part off
                assert [(await http.get(each)).status_code for each in (kept, cut)] == [200, 200]
                assert await psql(database_url, PREFERS) == ["{}"]
                assert (await http.post(kept, data=ONE_CLICK)).status_code == 200
                await rows.until(run, "stopped")
                assert (await http.post(f"{cut}/undo")).status_code == 200
                assert await psql(database_url, PREFERS) == ["{}"]
                assert (await http.post(cut)).status_code == 200
            _, alarm = await sent("alarm")
            assert alarm.content["List-Unsubscribe"] is None
            assert "href" not in alarm.content.get_body(("html",)).get_content()  # type: ignore[union-attr]
            assert len(daemon.seen("unsubscribe.done", delivery_id=mail.delivery_id)) == 3
            assert await daemon.stopped() == 0
        assert not {line for line in daemon.logs if link.rpartition("/")[2] in str(line) or KEY in str(line)}
