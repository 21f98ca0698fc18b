"""What goes wrong is seen in `/metrics`: a dead node, a provider that fails, a run that is held, a pooler."""

from pathlib import Path

import pytest

from kit.daemon import Daemon, running_daemon
from kit.home import email, home, workflow
from kit.pooler import pooler_to
from kit.psql import psql
from kit.rows import rows_of
from kit.smtp import smtp_sink
from kit.waiting import wait_for
from observed.test_metrics import Values, of, scrape, values, where

START = """
    select chimeway.identify('default', 'u' || n, jsonb_build_object('email', 'u' || n || '@example.org')),
           chimeway.trigger('mention_escalation', recipient_id => 'u' || n)
      from generate_series(1, 14) n"""


async def seen(daemon: Daemon, name: str, value: float, **labels: str) -> Values:
    """Scrape until a metric has this value; return that scrape."""
    url = await where(daemon)

    async def told() -> Values | None:
        found = values((await scrape(url)).text)
        return found if found.get((name, frozenset(labels.items()))) == value else None

    return await wait_for(told, f"{name} {labels} is {value}", every_s=0.2)


@pytest.mark.big
async def test_a_death_and_a_provider_that_fails(database_url: str, tmp_path: Path) -> None:
    """The survivor has all shards, and counts what it took over; ten refusals open the breaker."""
    made = home(tmp_path, workflow(email()))
    async with smtp_sink() as sink, rows_of(database_url) as rows:
        settings = {"SMTP_URL": sink.url, "HTTP_BIND": "127.0.0.1:0"}
        async with (
            running_daemon(database_url, made, name="dies", **settings) as dies,
            running_daemon(database_url, made, name="lives", **settings) as lives,
        ):
            await seen(lives, "chimeway_shards_held", 128)
            await seen(dies, "chimeway_shards_held", 128)
            dies.kill()
            found = await seen(lives, "chimeway_shards_held", 256)
            assert of(found, "chimeway_shards_taken_over_total") == 128
            sink.refuse_all("451 4.3.0 later")
            await psql(database_url, START)
            sent = {"channel": "email", "provider": "smtp-1"}
            found = await seen(lives, "chimeway_breaker_state", 1, **sent, state="open")
            assert of(found, "chimeway_attempts_total", **sent, result="transient") >= 10
            assert of(found, "chimeway_deliveries_total", channel="email", outcome="temporary_failure") >= 10
            await rows.all(
                "update chimeway.workflow_runs set held_reason = 'held_by_request', held_at = now()"
            )
            await seen(lives, "chimeway_database_runs_held", 14)


@pytest.mark.big
async def test_a_pooler_makes_a_node_poll(database_url: str, tmp_path: Path) -> None:
    """Behind one nothing is heard, and the mode says so."""
    with pooler_to(database_url, tmp_path, sessions=20) as pooler:
        made = home(tmp_path, workflow(email()))
        async with running_daemon(pooler.url, made, HTTP_BIND="127.0.0.1:0") as daemon:
            found = await seen(daemon, "chimeway_wake_mode", 1, mode="polling")
            assert of(found, "chimeway_wake_mode", mode="hinted") == 0
            assert of(found, "chimeway_hint_round_trip_seconds_count") == 0
