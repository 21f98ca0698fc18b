"""`/metrics` of a real node that has done a journey: what it says, who may read it, what papers say of it."""

import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx2
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as parsed

from chimeway.daemon.metering import may_be_read
from chimeway.settings import Settings
from chimeway.store.pool import Database
from kit.api import secret
from kit.daemon import Daemon, running_daemon
from kit.home import GUIDE, home
from kit.proxy import proxy_to
from kit.psql import psql
from kit.rows import rows_of
from kit.smtp import smtp_sink
from kit.waiting import wait_for
from observed import dashboard
from observed.promql import named_in
from observed.test_rules import PROMTOOL, rules

DOCS = Path(__file__).parents[2] / "docs" / "metrics.md"
START = "select chimeway.trigger('mention_escalation', recipient_id => 'ada')"
IDENTIFY = """select chimeway.identify('default', 'ada', '{"email": "ada@example.org"}')"""
TOKEN = "t" * 32
OPEN_HOST = "0.0.0.0"  # noqa: S104  (what this is about)
OPEN = f"{OPEN_HOST}:0"
Values = Mapping[tuple[str, frozenset[tuple[str, str]]], float]


def values(text: str) -> Values:
    """Return each sample of a scrape by its name and labels."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in parsed(text)
        for sample in family.samples
    }


def of(found: Values, name: str, **labels: str) -> float:
    """Return one sample."""
    return found[name, frozenset(labels.items())]


async def where(daemon: Daemon) -> str:
    """Return the address at which a daemon answers."""
    line = await daemon.event("http.listening")
    return f"http://{line['host']}:{line['port']}/metrics"


async def scrape(url: str, **headers: str) -> httpx2.Response:
    """Ask once."""
    async with httpx2.AsyncClient(headers=headers) as client:
        return await client.get(url)


async def test_a_journey_is_counted(database_url: str, tmp_path: Path) -> None:
    """Start, wait, mail: each decision, delivery and attempt stands where it belongs; papers have all."""
    async with smtp_sink() as sink, rows_of(database_url) as rows:
        settings = {"SMTP_URL": sink.url, "HTTP_BIND": "127.0.0.1:0"}
        async with running_daemon(database_url, home(tmp_path, GUIDE), **settings) as daemon:
            url = await where(daemon)
            await psql(database_url, IDENTIFY)
            (run,) = await psql(database_url, START)
            await rows.until(run, "completed")

            async def counted() -> Values | None:
                found = values((await scrape(url)).text)
                return found if of(found, "chimeway_hint_round_trip_seconds_count") else None

            found = await wait_for(counted, "a hint was heard")
            assert of(found, "chimeway_decisions_total", kind="waiting") == 1
            assert of(found, "chimeway_decisions_total", kind="advanced") == 1
            assert of(found, "chimeway_decisions_total", kind="completed") == 1
            assert of(found, "chimeway_deliveries_total", channel="in_app", outcome="delivered") == 1
            assert of(found, "chimeway_deliveries_total", channel="email", outcome="delivered") == 1
            sent = {"channel": "email", "provider": "smtp-1"}
            assert of(found, "chimeway_attempts_total", **sent, result="succeeded") == 1
            assert of(found, "chimeway_attempt_seconds_count", **sent) == 1
            assert of(found, "chimeway_breaker_state", **sent, state="closed") == 1
            assert of(found, "chimeway_lateness_seconds_count", of="start") == 1
            assert of(found, "chimeway_lateness_seconds_count", of="due") == 2
            assert of(found, "chimeway_ledger_answers_total", answer="applied") == 3
            assert of(found, "chimeway_shards_held") == 256
            assert of(found, "chimeway_node_stage", stage="working") == 1
            assert of(found, "chimeway_wake_mode", mode="hinted") == 1
            assert of(found, "chimeway_database_nodes", state="working") == 1
            assert of(found, "chimeway_lease_renewed_age_seconds") < 3
            assert of(found, "process_cpu_seconds_total") > 0
            text = (await scrape(url)).text
            accept = "application/openmetrics-text; version=1.0.0"
            assert [family.name for family in openmetrics((await scrape(url, accept=accept)).text)]
    assert written_down() == shown(text)
    assert list(unknown(text)) == []
    if PROMTOOL is not None:  # its absence is told by test_rules
        linted = subprocess.run(  # noqa: ASYNC221  (nothing else runs here)
            [PROMTOOL, "check", "metrics"], input=text, capture_output=True, text=True, check=False
        )
        ours = [line for line in (linted.stdout + linted.stderr).splitlines() if "chimeway" in line]
        assert ours == []


async def test_who_is_refused_is_counted(database: Database, database_url: str, tmp_path: Path) -> None:
    """Whatever refuses him: by status, each there from the beginning."""
    settings = {"HTTP_BIND": "127.0.0.1:0", "HTTP_RATE": "1", "HTTP_BURST": "1"}
    async with running_daemon(database_url, home(tmp_path, GUIDE), **settings) as daemon:
        url = await where(daemon)
        bearer = {"Authorization": f"Bearer {await secret(database, 'read')}"}
        before = values((await scrape(url)).text)
        async with httpx2.AsyncClient(base_url=url.removesuffix("/metrics"), headers=bearer) as client:
            asked = [(await client.get("/v1/runs")).status_code for _ in range(2)]
            asked += [(await client.get(path)).status_code for path in ("/nothing", "/nothing")]
            asked += [(await client.get("/v1/runs", headers={"Authorization": "x"})).status_code]
            asked += [(await client.get("/metrics", headers={"Host": "evil.example"})).status_code]
            asked += [(await client.delete("/healthz")).status_code]
        assert asked == [200, 429, 404, 404, 401, 421, 405]
        found = values((await scrape(url)).text)
        risen = {
            dict(labels)["status"]: int(many - before[name, labels])
            for (name, labels), many in found.items() if name == "chimeway_http_refused_total"
        }  # fmt: skip
        assert {"413", "500", "503", "other"} < set(risen)
        told = {status: many for status, many in risen.items() if many}
        assert told == {"401": 1, "404": 2, "405": 1, "421": 1, "429": 1}


def shown(text: str) -> dict[str, set[str]]:
    """Return our metrics in a scrape, each with its labels."""
    found: dict[str, set[str]] = {}
    for family in parsed(text):
        if family.name.startswith("chimeway_"):
            name = family.name + ("_total" if family.type == "counter" else "")
            labels = {label for sample in family.samples for label in sample.labels} - {"le"}
            found[name] = labels
    return found


def written_down() -> dict[str, set[str]]:
    """Return the metrics of the table in the docs, each with its labels."""
    rows = re.findall(r"^\| `(chimeway_\w+)` \|([^|]*)\|", DOCS.read_text("utf-8"), re.MULTILINE)
    return {name: set(re.findall(r"`(\w+)`", labels)) for name, labels in rows}


def unknown(text: str) -> Iterator[str]:
    """Yield what rules and dashboard name, and no scrape shows: metrics, their labels, values of these."""
    found = [sample for family in parsed(text) for sample in family.samples]
    for expression in [*(rule["expr"] for rule in rules()), *asked_by_the_dashboard()]:
        for named in named_in(expression):
            samples = [sample for sample in found if sample.name == named.name]
            if named.name != "up" and not samples:
                yield f"{named.name}: {expression}"
            for sample in samples[:1]:
                yield from (f"{named.name}: {label}" for label in named.labels - set(sample.labels))
            for label, value in named.equal.items():
                if label != "job" and not any(sample.labels.get(label) == value for sample in samples):
                    yield f"{named.name}: {label}={value}"


def asked_by_the_dashboard() -> Iterator[str]:
    """Yield its expressions."""
    for panel in json.loads(dashboard.WHERE.read_text("utf-8"))["panels"]:
        yield from (target["expr"] for target in panel.get("targets", ()))


async def test_a_token_is_asked_for_and_a_database_is_not(database_url: str, tmp_path: Path) -> None:
    """Who has it reads at once, what was counted here; what the database is to say comes when it does."""
    settings = {"HTTP_BIND": OPEN, "METRICS_TOKEN": TOKEN}
    async with (
        proxy_to(database_url) as proxy,
        running_daemon(proxy.url, home(tmp_path, GUIDE), **settings) as daemon,
    ):
        held = proxy.hold_reply("overdue_s")
        url = (await where(daemon)).replace(OPEN_HOST, "127.0.0.1")
        for given in ({}, {"authorization": "Bearer wrong"}, {"authorization": TOKEN}):
            refused = await scrape(url, **given)
            assert (refused.status_code, refused.json()["type"]) == (401, "urn:chimeway:no_token")
            assert refused.headers["WWW-Authenticate"] == "Bearer"
        mine = {"authorization": f"Bearer {TOKEN}"}
        await scrape(url, **mine)
        await wait_for(held.reached.is_set, "the database is asked, and its answer held")
        answered = await scrape(url, **mine)
        assert answered.elapsed.total_seconds() < 2
        assert of(values(answered.text), "chimeway_node_stage", stage="working") == 1
        assert "chimeway_sample_age_seconds" not in answered.text
        held.release()

        async def told() -> bool:
            return "chimeway_sample_age_seconds" in (await scrape(url, **mine)).text

        await wait_for(told, "the database's answer is shown")


@pytest.mark.parametrize(
    ("bind", "token", "there"),
    [
        ("127.0.0.1:8420", None, True),
        ("[::1]:8420", None, True),
        ("localhost:8420", None, True),
        (OPEN, None, False),
        ("node.example.org:8420", None, False),
        (OPEN, TOKEN, True),
        ("", TOKEN, False),
    ],
)
def test_an_open_address_without_a_token_shows_nothing(bind: str, token: str | None, there: bool) -> None:
    """What only this machine can ask is open; elsewhere a token must have been set."""
    assert may_be_read(Settings(http_bind=bind, metrics_token=token)) is there
