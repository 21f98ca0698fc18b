"""A producer's trace goes on in what a node decides and sends: over a socket, after a restart, in a host."""

import gzip
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import pytest
import structlog
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from chimeway import trace_context
from chimeway.clock import SystemClock
from chimeway.daemon.tracing import Who, asked_for, tracing
from chimeway.store.definitions import register
from chimeway.store.pool import Database, open_database
from chimeway.web.server import Site, application
from chimeway.workflow.parse import parse
from kit.api import world
from kit.daemon import running_daemon
from kit.home import TEMPLATES, home, in_app, wait, workflow
from kit.psql import psql
from kit.receiver import Receiver, receiving
from kit.receiver import Request as Received
from kit.rows import rows_of
from kit.waiting import wait_for
from kit.webhooks import SECRET

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{SPAN}-01"
TRIGGER = "select chimeway.trigger('mention_escalation', recipient_id => 'ada')"
SAID = f"begin; set local chimeway.traceparent = '{PARENT}'; {TRIGGER}; commit"
JOURNEY = workflow(
    in_app(),
    wait(duration="PT2S"),
    {"id": "tell", "action": {"type": "notify", "channel": "hook", "render_key": "mention_email"}},
)
HOST = Path(__file__).with_name("host_with_traces.py")


def spans_of(collector: Receiver) -> list[dict[str, Any]]:
    """Return what was exported to it, whole."""
    return [span for request in collector.requests for span in _spans_in(request)]


def _spans_in(request: Received) -> Iterator[dict[str, Any]]:
    assert request.first.startswith("POST /v1/traces ")
    zipped = request.headers.get("content-encoding") == "gzip"
    told = ExportTraceServiceRequest.FromString(gzip.decompress(request.body) if zipped else request.body)
    for of_resource in told.resource_spans:
        service = {one.key: one.value.string_value for one in of_resource.resource.attributes}
        for span in (one for scope in of_resource.scope_spans for one in scope.spans):
            yield {
                "service": service["service.name"], "name": span.name, "id": span.span_id.hex(),
                "trace": span.trace_id.hex(), "parent": span.parent_span_id.hex(),
                "took_ns": span.end_time_unix_nano - span.start_time_unix_nano,
                **{one.key: one.value.string_value for one in span.attributes},
            }  # fmt: skip


async def test_a_trace_goes_on_after_a_restart(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQL says whose trace it is; one node plans, is killed, another sends: all of it is in that trace."""
    templates = TEMPLATES | {"mention_email.hook.j2": TEMPLATES["mention_email.email.j2"]}
    made = home(tmp_path, JOURNEY, templates=templates)
    async with receiving() as collector, receiving() as endpoint, rows_of(database_url) as rows:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{collector.port}")
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
        hook = {
            "kind": "webhook", "url": f"http://127.0.0.1:{endpoint.port}/", "secret": SECRET,
            "allow_http": True, "ports": [endpoint.port], "allow_networks": ["127.0.0.0/8"],
        }  # fmt: skip
        channels = json.dumps({"hook": {"providers": [hook]}})
        async with running_daemon(database_url, made, CHANNELS=channels) as first:
            (run,) = [row for row in await psql(database_url, SAID) if len(row) == 36]
            await rows.until(run, "waiting")
            await wait_for(lambda: spans_of(collector), "the first decision's span")
            first.kill()
        async with running_daemon(database_url, made, CHANNELS=channels) as second:
            await psql(database_url, TRIGGER)  # without a trace: no spans
            await rows.until(run, "completed")
            assert await second.stopped() == 0
        spans = spans_of(collector)
        (sent,) = [span for span in spans if span["name"] == "send hook"]
        assert {span["trace"] for span in spans} == {TRACE}
        assert {span["parent"] for span in spans} == {SPAN}
        assert {span["chimeway.run_id"] for span in spans} == {run}
        assert {span["service"] for span in spans} == {"chimeway"}
        decided = [span["chimeway.decision"] for span in spans if "chimeway.decision" in span]
        assert decided == ["waiting", "advanced", "completed"]
        assert all(0 <= span["took_ns"] < 30e9 for span in spans)
        called = next(
            one for one in endpoint.requests if one.headers["webhook-id"] == sent["chimeway.delivery_id"]
        )
        assert called.headers["traceparent"] == f"00-{TRACE}-{sent['id']}-01"


@pytest.mark.big
async def test_a_host_makes_traces_of_its_own(database_url: str) -> None:
    """A span is current while the client triggers: its run's spans follow it, in the host's exporter."""
    done = subprocess.run(  # noqa: ASYNC221  (nothing else runs here)
        [sys.executable, str(HOST), database_url], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    spans = json.loads(done.stdout)
    (ours,) = [span for span in spans if span["name"] == "the request"]
    followed = [span for span in spans if span["name"] != "the request"]
    assert {span["trace"] for span in spans} == {ours["trace"]}
    assert {span["parent"] for span in followed} == {ours["id"]}
    assert sorted(span["name"] for span in followed) == ["decide told", "decide told", "send note"]
    (sent,) = [span for span in followed if span["name"] == "send note"]
    assert sent["seen_by_channel"] == sent["id"]


async def test_nonsense_is_no_trace(database_url: str) -> None:
    """What is not as W3C writes it stands in no row, and refuses nothing."""
    async with open_database(database_url) as database:
        await register(database, parse(JOURNEY))
    for said in ("nonsense", f"01-{TRACE}-{SPAN}-01", PARENT.upper(), ""):
        await psql(database_url, f"begin; set local chimeway.traceparent = '{said}'; {TRIGGER}; commit")
    assert await psql(database_url, "select count(*), count(traceparent) from chimeway.events") == ["4|0"]
    with trace_context.said("nonsense"):
        assert trace_context.current() is None
    with trace_context.said(PARENT):
        assert trace_context.current() == PARENT
    assert trace_context.current() is None


async def test_a_request_says_whose_trace_it_is() -> None:
    """What is done for it sees that, and what is done for the next does not."""
    seen: list[str | None] = []

    async def look(_request: Request) -> Response:
        seen.append(trace_context.current())
        return Response()

    app = application(Site(api=[Route("/", look)]))
    transport = httpx2.ASGITransport(app=app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://node") as client:
        for headers in ({"traceparent": PARENT}, {}, {"traceparent": "nonsense"}):
            await client.get("/", headers=headers)
    assert seen == [PARENT, None, None]


async def test_a_trigger_by_http_goes_on_in_the_requests_trace(database: Database) -> None:
    """The event of `POST /v1/trigger` bears the request's trace context, and that of the next has none."""
    async with world(database) as there, rows_of(database.url) as rows:
        producer = await there.person("produce")
        said = {"workflow": "mention_escalation", "recipients": ["ada"]}
        assert (await producer.post("/v1/trigger", said, traceparent=PARENT)).is_success
        assert (await producer.post("/v1/trigger", said)).is_success
        found = await rows.all("select traceparent from chimeway.events order by created_at")
    assert [row["traceparent"] for row in found] == [PARENT, None]


@pytest.mark.parametrize(
    ("given", "on"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4318/v1/traces"}, True),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, False),
        ({"OTEL_SDK_DISABLED": "true", "OTEL_TRACES_EXPORTER": "otlp"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, False),
    ],
)
def test_variables_say_whether_it_is_on(given: dict[str, str], on: bool) -> None:
    """Those of OpenTelemetry; nothing of ours."""
    assert asked_for(given) is on


async def test_a_missing_extra_keeps_no_node_from_starting(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Variables that are set for all of a machine are no wish of this node's: it is warned of, and off."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    for loaded in [name for name in sys.modules if name.partition(".")[0] == "opentelemetry"]:
        monkeypatch.delitem(sys.modules, loaded)
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    who = Who("node", uuid4(), "0")
    with structlog.testing.capture_logs() as logs:
        async with tracing(database, SystemClock(), who) as traced:
            assert traced is None
    (missing,) = (line["text"] for line in logs)
    assert "pip install 'chimeway[otel]'" in missing
