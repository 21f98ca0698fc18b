"""B2: whole journeys a second through one daemon, and what they cost."""

import asyncio
import socket
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial

from tests.bench import whole_journeys as whole
from tests.bench.frame import Asked, Bench, Figure, Ratio, Stage

_MAILED = """
key: bench
version: 1
steps:
  - id: mail
    action: {type: notify, channel: email, render_key: plain}
"""
_PROFILES = """select count(chimeway.identify('bench', u, jsonb_build_object('email', u || '@example.org')))
  from unnest($1::text[]) u"""


_WHAT = """A journey is triggered, shown in app, waits, is signalled and stops: three durable decisions.
Triggers and signals come in transactions of many. Two ways: in phases (all are triggered; when all wait,
all are signalled; the pause between is not counted), and mixed (signals of older journeys between the
triggers of new ones, at most five thousand under way). `chimeway verify` found nothing wrong after each
round. CPU is that of the daemon's process and of PostgreSQL's whole process tree, with what triggers and
signals cost there. Beside it, how many single-row transactions that server commits a second over 16
connections."""
_WHAT_ELAPSED = """The same journey, unsignalled: in app, a wait of one second, a message on channel `log`,
all triggered at once. `chimeway verify` found nothing wrong after each round."""
_WHAT_MAILED = """One step that sends an e-mail by SMTP to a server on loopback, which takes everything and is
a process of its own on the same machine. Reported, with no target: what a mail costs is its provider's
matter."""
_COMMITS = "single-row commits"


def benches(asked: Asked) -> Sequence[Bench]:
    """Return B2, and its two variants for which nothing is asked."""
    sides = {"in phases": whole.in_phases, "mixed": whole.mixed}
    ratios = [Ratio("journeys", side, _COMMITS, to_figure="commits") for side in sides]
    floor = {_COMMITS: partial(whole.commits, seconds=1.0 if asked.quick else asked.seconds)}
    figures = (*whole.FIGURES, Figure("commits", "1/s", "higher"))
    return [
        Bench("B2", "Whole journeys through one daemon", _WHAT, {**sides, **floor}, figures, ratios),
        Bench("B2b", "Journeys whose wait elapses", _WHAT_ELAPSED, {"elapsed": whole.elapsed}, whole.FIGURES),
        Bench("B2c", "Journeys with real e-mail", _WHAT_MAILED, {"SMTP": _mailed}, whole.FIGURES),
    ]


async def _mailed(stage: Stage) -> Mapping[str, float]:
    many = stage.asked.sized(3_000, 300)
    async with (
        _sink() as smtp,
        whole.playing(stage, _MAILED, SMTP_URL=smtp, EMAIL_FROM="bench@example.org") as begun,
    ):
        for people in whole.batches(many, whole.AT_ONCE):
            await begun.rows.fetchval(_PROFILES, people)
        play = replace(begun, meters=whole.meters(stage, begun.daemon))
        began_at = await play.now()
        for people in whole.batches(many, whole.AT_ONCE):
            await play.trigger(people)
        await play.until(whole.ENDED)
        ended_at = await play.rows.fetchval("select max(ended_at) from chimeway.workflow_runs")
        sent = await play.rows.fetchval("select count(*) from chimeway.deliveries where status = 'succeeded'")
        assert sent == many, f"{sent} of {many} messages were sent"
        found = play.figures(many, (ended_at - began_at).total_seconds())
        await whole.verified(play.url)
    return found


@asynccontextmanager
async def _sink() -> AsyncIterator[str]:
    """Run an SMTP server that throws away what it took; its URL."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    words = ("-m", "aiosmtpd", "-n", "-c", "aiosmtpd.handlers.Sink", "-l", f"127.0.0.1:{port}")
    process = await asyncio.create_subprocess_exec(sys.executable, *words)
    try:
        async with asyncio.timeout(20):
            while not await _answers(port):  # noqa: ASYNC110  (a port is no event)
                await asyncio.sleep(0.05)
        yield f"smtp://127.0.0.1:{port}"
    finally:
        process.terminate()
        await process.wait()


async def _answers(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True
