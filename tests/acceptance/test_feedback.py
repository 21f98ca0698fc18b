"""A node hears what became of an e-mail: a bounce that is posted to it leads the run on."""

import asyncio
import json
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2

from chimeway import App
from chimeway.web.server import bound
from kit.daemon import Daemon, running_daemon
from kit.door import SOURCES, Provider
from kit.home import email, home, in_app, wait, workflow
from kit.psql import psql
from kit.rows import Rows, rows_of
from kit.smtp import Sink, smtp_sink

ALONE = "127.0.0.3"
"""Where no other test may take a port meanwhile."""
BOUNCED = {
    "type": "signal_received",
    "signal_type": "chimeway.delivery.bounced",
    "match": {"delivery_id": {"delivery": "step_email_escalation"}},
    "then": {"goto": "step_in_app"},
}
PATIENT = workflow(
    email(
        progress=[
            {"kind": "on_outcome", "outcome": "bounced", "to_step": "step_in_app"},
            {"kind": "wait_until", "anchor": "prior_delivery_terminal_at", "delay": "P1D",
             "to_step": "step_in_app"},
        ]
    ),
    in_app(),
    key="patient",
)  # fmt: skip
LISTENING = workflow(
    email(), wait("step_wait", BOUNCED, duration="P1D"), email("step_again"), in_app(), key="listening"
)
START = """select chimeway.trigger('{0}', recipient_id => 'ada', data => '{{"document_id": "d"}}')"""
IDENTIFY = """select chimeway.identify('default', 'ada', '{"email": "ada@example.org"}')"""


def bounce(delivery: str, number: int = 7) -> dict[str, Any]:
    """Return what Postmark says of a bounce."""
    return {
        "RecordType": "Bounce", "ID": number, "Type": "HardBounce", "BouncedAt": "2026-01-05T08:59:30Z",
        "Metadata": {"chimeway-delivery": delivery}, "Details": "550 5.1.1 unknown",
    }  # fmt: skip


async def _address(daemon: Daemon) -> str:
    line = await daemon.event("http.listening")
    return f"http://{line['host']}:{line['port']}"


async def _escalates(key: str, url: str, rows: Rows, sink: Sink, provider: Provider) -> None:
    """Send an e-mail, let it wait, and let it bounce five times."""
    (run,) = await psql(url, START.format(key))
    await rows.until(run, "waiting")
    delivery = sink.mails[-1].delivery_id
    posts = [provider.postmark(bounce(delivery, len(sink.mails))) for _ in range(5)]
    told = [answer.json()["events"][0]["answer"] for answer in await asyncio.gather(*posts)]
    assert sorted(told) == ["recorded", *["repeat"] * 4]
    await rows.until(run, "completed", step="step_in_app")
    first, last = await rows.deliveries(run)
    assert (first["status"], first["suppression_reason"]) == ("cancelled", "bounced")
    assert (last["status"], last["channel"]) == ("succeeded", "in_app")
    assert (
        await provider.postmark({**bounce(delivery), "RecordType": "Delivery", "MessageID": "m"})
    ).is_success
    assert (await rows.deliveries(run))[0]["status"] == "cancelled"


async def test_a_bounce_posted_to_a_node_leads_its_run_on(database_url: str, tmp_path: Path) -> None:
    """By row 7 from a wait_until, by a signal from a wait; a second node cannot listen there and says so."""
    async with smtp_sink() as sink, rows_of(database_url) as rows:
        where = home(tmp_path, PATIENT, LISTENING)
        settings = {"SMTP_URL": sink.url, "FEEDBACK": json.dumps(SOURCES)}
        async with running_daemon(database_url, where, HTTP_BIND="127.0.0.1:0", **settings) as daemon:
            address = await _address(daemon)
            await psql(database_url, IDENTIFY)
            async with httpx2.AsyncClient(base_url=address, timeout=20) as client:
                provider = Provider(client)
                await _escalates("patient", database_url, rows, sink, provider)
                await _escalates("listening", database_url, rows, sink, provider)
                taken = address.removeprefix("http://")
                async with running_daemon(
                    database_url, where, name="second", ready=False, HTTP_BIND=taken, **settings
                ) as second:
                    assert await second.exit_code() == 2
                    assert f"nobody can listen on {taken}" in second.tail()
                assert not daemon.seen("feedback.failed")
                assert await daemon.stopped() == 0
        assert "pass" not in {word for line in daemon.logs for word in str(line).split('"')}


async def test_inside_an_application_it_is_the_same(database_url: str) -> None:
    """`app.running` hears, too, in the host's loop, and its port is free when the block has ended."""
    with bound(ALONE, 0) as free:
        place = f"{ALONE}:{free.getsockname()[1]}"
    for _ in range(2):
        async with (
            App().running(database_url, feedback=SOURCES, http_bind=place),
            httpx2.AsyncClient(base_url=f"http://{place}", timeout=20) as client,
        ):
            assert (await client.get("/healthz")).status_code == 200
            told = await Provider(client).postmark(bounce(str(uuid4())))
            assert told.json()["events"] == [{"id": "Bounce:7", "answer": "unknown"}]
    async with App().running(database_url, feedback=SOURCES, http_bind=""):
        with bound(ALONE, int(place.rpartition(":")[2])):
            pass
