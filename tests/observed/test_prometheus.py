"""A real Prometheus scrapes a real node, evaluates our rules, and answers all that the dashboard asks."""

import json
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from kit.daemon import running_daemon
from kit.home import GUIDE, home
from kit.psql import psql
from kit.rows import rows_of
from kit.smtp import smtp_sink
from kit.waiting import wait_for
from observed import dashboard
from observed.test_rules import RULES

PROMETHEUS = shutil.which("prometheus")
START = "select chimeway.trigger('mention_escalation', recipient_id => 'ada')"
IDENTIFY = """select chimeway.identify('default', 'ada', '{"email": "ada@example.org"}')"""
TOKEN = "t" * 32
CONFIG = """
global: {{scrape_interval: 1s, evaluation_interval: 1s}}
rule_files: ["{rules}"]
scrape_configs:
  - job_name: chimeway
    authorization: {{credentials: {token}}}
    static_configs: [{{targets: ["{target}"]}}]
"""


def _free_port() -> int:
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        return int(asked.getsockname()[1])


@asynccontextmanager
async def prometheus(folder: Path, target: str) -> AsyncIterator[httpx2.AsyncClient]:
    """Run one that scrapes this target each second; yield who asks it."""
    assert PROMETHEUS is not None
    config, port = folder / "prometheus.yml", _free_port()
    config.write_text(CONFIG.format(rules=RULES, token=TOKEN, target=target))
    with (folder / "prometheus.log").open("wb") as sink:
        process = subprocess.Popen(  # noqa: ASYNC220  (returns at once)
            [
                PROMETHEUS, f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=sink, stderr=sink,
        )  # fmt: skip
    try:
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}/api/v1/") as client:
            yield client
    finally:
        process.kill()
        process.wait()


async def asked(client: httpx2.AsyncClient, path: str, **parameters: str) -> Any:
    """Ask, and return the answer's data; None while nobody answers."""
    try:
        answer = await client.get(path, params=parameters)
    except httpx2.TransportError:
        return None
    if answer.status_code == 503:  # it listens before it can answer
        return None
    found = answer.json()
    assert found["status"] == "success", found
    return found["data"]


@pytest.mark.big
@pytest.mark.skipif(PROMETHEUS is None, reason="prometheus is not installed")
async def test_all_of_it_is_understood(database_url: str, tmp_path: Path) -> None:
    """The scrape is up, no rule has a fault, each panel has an answer, and what a journey did is in it."""
    async with smtp_sink() as sink, rows_of(database_url) as rows:
        settings = {"SMTP_URL": sink.url, "HTTP_BIND": "127.0.0.1:0", "METRICS_TOKEN": TOKEN}
        async with running_daemon(database_url, home(tmp_path, GUIDE), **settings) as daemon:
            line = await daemon.event("http.listening")
            target = f"127.0.0.1:{line['port']}"
            async with prometheus(tmp_path, target) as client:

                async def value(of: str) -> float | None:
                    found = await asked(client, "query", query=of)
                    return float(found["result"][0]["value"][1]) if found and found["result"] else None

                await wait_for(lambda: value('up{job="chimeway"}'), "it is scraped")
                await psql(database_url, IDENTIFY)
                (run,) = await psql(database_url, START)
                await rows.until(run, "completed")
                sent = 'sum(increase(chimeway_deliveries_total{channel="email",outcome="delivered"}[1m]))'
                await wait_for(lambda: value(sent), "a mail is seen in a rate")
                (group,) = (await asked(client, "rules"))["groups"]
                assert [rule["lastError"] for rule in group["rules"] if rule["health"] != "ok"] == []
                assert [rule["name"] for rule in group["rules"] if rule["state"] == "firing"] == []
                await _panels_answer(client)


async def _panels_answer(client: httpx2.AsyncClient) -> None:
    """Each question of the dashboard is understood; those of one number have it."""
    for panel in json.loads(dashboard.WHERE.read_text("utf-8"))["panels"]:
        for target in panel.get("targets", ()):
            found = await asked(client, "query", query=target["expr"].replace("$__rate_interval", "1m"))
            if panel["type"] == "stat":
                assert len(found["result"]) == 1, target["expr"]
