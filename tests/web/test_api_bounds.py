"""What a request may cost: time, places, connections."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest

from chimeway.clock import SystemClock
from chimeway.daemon.door import http_server
from chimeway.render.templates import Templates
from chimeway.settings import Settings
from chimeway.store.pool import Database, open_database
from chimeway.web import server
from chimeway.web.api import guard, strict_json
from chimeway.web.api.application import Api
from chimeway.web.auth import Tokens
from chimeway.web.server import Site, application
from chimeway.web.state import Ready
from kit.api import MENTION, Person, secret, world
from kit.bare import run
from kit.daemon import running_daemon
from kit.door import served
from kit.home import home, in_app, workflow
from kit.logins import as_role, logins
from kit.rows import rows_of
from kit.waiting import wait_for


async def test_a_request_that_takes_too_long(
    database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is broken off, nothing of it was done, and its connection is free."""
    monkeypatch.setattr(guard, "HTTP_REQUEST_S", 0.3)
    async with world(database) as found, rows_of(database_url) as rows:
        shop = await found.person("produce")
        await shop.get("/v1/runs")  # its token is known from now on
        run = (await shop.trigger("ada"))["ada"]
        async with rows.connection.transaction():
            await rows.all("select 1 from chimeway.workflow_runs for update")
            late = await shop.post(f"/v1/runs/{run}/cancel", {}, Idempotency_Key="k")
            assert (late.status_code, late.json()["code"]) == (503, "try_again")
            assert late.headers["retry-after"]
        assert await rows.value("select count(*) from chimeway.operator_actions") == 0
        assert (await shop.post(f"/v1/runs/{run}/cancel", {}, Idempotency_Key="k")).json()["stopped"]


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100 + b'"' + b'\\"' * 500_000,
        b"[" * 100 + b'"' + b'\\"' * 500_000 + b"\\",
        b"[" * 100 + b'""' * 500_000 + b'"',
        b"," * 1_000_000,
        b'{"' + b"[" * 1_000_000,
    ],
)
def test_no_body_stops_the_loop(body: bytes) -> None:
    """What is no JSON is known as such in the time that it takes to read it once, however it is made."""
    begins = time.process_time()
    with pytest.raises(strict_json.NotJson):
        strict_json.read(body)
    assert time.process_time() - begins < 2


async def test_too_many_at_once(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who comes then is told when to come again, in the words of every refusal; others are answered."""
    monkeypatch.setattr(server, "_AT_ONCE", 3)
    async with world(database) as found:
        shop = await found.person("read")
        assert (await shop.get("/v1/runs")).status_code == 200
        others = [await asyncio.open_connection(found.client.base_url.host, found.client.base_url.port)
                  for _ in range(3)]  # fmt: skip
        refused = await shop.get("/v1/runs")
        assert (refused.status_code, refused.json()["code"]) == (503, "try_again")
        assert refused.headers["retry-after"] == "2"
        for _, writer in others:
            writer.close()

        async def answered() -> bool:
            return (await shop.get("/v1/runs")).status_code == 200

        await wait_for(answered, "there is a place again")


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="TCP_USER_TIMEOUT is Linux's")
async def test_who_takes_nothing_of_his_answers_is_cut_off(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """He asks and asks and reads nothing: his place is given back, though he stays."""
    monkeypatch.setattr(server, "_STALLED_S", 0.5)
    monkeypatch.setattr(guard, "HTTP_REQUEST_S", 0.5)
    api = Api(database, SystemClock(), Tokens(database, SystemClock()))
    async with served(application(Site(api=api.routes()))) as (client, serving):
        url, places = client.base_url, serving._server.server_state.connections
        with socket.socket() as stalled:
            stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            stalled.connect((url.host, url.port))
            stalled.setblocking(False)
            ask = f"GET /v1/openapi.json HTTP/1.1\r\nHost: {url.host}\r\n\r\n".encode()
            await asyncio.get_running_loop().sock_sendall(stalled, ask * 100)
            await wait_for(lambda: len(places) == 1, "he has a place")
            await wait_for(lambda: not places, "his place is given back", deadline_s=15)


@pytest.fixture(scope="module")
def names(server_url: str) -> Iterator[Mapping[str, str]]:
    """A login for each role."""
    with logins(server_url) as made:
        yield made


async def test_a_nodes_own_role_is_enough(database_url: str, names: Mapping[str, str]) -> None:
    """Whatever is asked of a node it may do as `chimeway_daemon`; nobody has to make it the owner."""
    await run(database_url, "select chimeway.grant_roles()")
    key = MENTION.definition.key
    async with (
        open_database(database_url) as owner, open_database(as_role(database_url, names["daemon"])) as daemon,
        world(daemon) as found,
    ):  # fmt: skip
        all_ = Person(found.client, await secret(owner, "produce", "read", "operate", tenant=None))
        ada = {"recipient_id": "ada", "email": "ada@example.org"}
        said = {"workflow": key, "recipients": [ada], "cancellation_key": "c"}
        begun = await all_.post("/v1/trigger?tenant_id=a", said, Idempotency_Key="k")
        assert begun.status_code == 201, begun.text
        run_id = begun.json()["runs"][0]["run_id"]
        definition = (await all_.get(f"/v1/workflows/{key}")).json()["definition"]
        for method, path, body in (
            ("POST", "/v1/trigger/bulk", {"workflow": key, "triggers": [{"recipient_ids": ["bob"]}]}),
            ("POST", "/v1/signals", {"type": "t", "actor_id": "ada"}),
            ("PATCH", "/v1/recipients/ada/preferences", {"preferences": {"channels": {"sms": False}}}),
            ("POST", "/v1/recipients/ada/unsubscribe", {"workflow": key, "channel": "email"}),
            ("POST", "/v1/recipients/ada/resubscribe", {"workflow": key, "channel": "email"}),
            ("POST", f"/v1/runs/{run_id}/hold", {"note": "n"}), ("POST", f"/v1/runs/{run_id}/resume", {}),
            ("GET", f"/v1/runs/{run_id}/explanation", None), ("GET", "/v1/waiting", None),
            ("GET", "/v1/overdue", None), ("GET", "/v1/stuck", None), ("GET", "/v1/deliveries/failed", None),
            ("POST", "/v1/cancel", {"cancellation_key": "c"}), ("POST", f"/v1/workflows/{key}/pause", {}),
            ("POST", f"/v1/workflows/{key}/unpause", {}),
            ("POST", "/v1/workflows", {**definition, "version": 2}),
            ("GET", "/v1/inbox/items?recipient_id=ada", None),
            ("POST", "/v1/inbox/marks/all?recipient_id=ada", {"mark": "read"}),
            ("GET", "/v1/inbox/stream?recipient_id=ada&ends_after_s=0.05", None),
        ):  # fmt: skip
            where = path if "workflows" in path else f"{path}{'&' if '?' in path else '?'}tenant_id=a"
            answered = await all_.ask(method, where, body)
            assert answered.is_success, (path, answered.text)


@asynccontextmanager
async def node_of(settings: Settings, database: Database) -> AsyncIterator[httpx2.AsyncClient]:
    """Serve what a node serves, as it is set up."""

    async def asked() -> Ready:
        return Ready("working")

    served = http_server(settings, database, SystemClock(), Templates({}), asked)
    async with served as node, asyncio.TaskGroup() as group:
        assert node is not None
        group.create_task(node.serve())
        host, port = node.address
        async with httpx2.AsyncClient(base_url=f"http://{host}:{port}", timeout=20) as client:
            yield client
        node.close()


async def test_a_node_counts_who_asks_how_often(database: Database) -> None:
    """As it is set up: here two at once, and then one a second."""
    settings = Settings(http_bind="127.0.0.1:0", http_rate=1, http_burst=2)
    async with node_of(settings, database) as client:
        shop = Person(client, await secret(database, "read"))
        assert [(await shop.get("/v1/runs")).status_code for _ in range(3)] == [200, 200, 429]


async def test_people_see_a_page_where_nothing_is(database: Database) -> None:
    """Who asks for HTML, and not for a program's paths; all others have a problem with its code."""
    people = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    async with node_of(Settings(http_bind="127.0.0.1:0"), database) as client:
        for method, path, headers, status, kind in (
            ("GET", "/nowhere", people, 404, "text/html"),
            ("GET", "/nowhere", {}, 404, "application/problem"),
            ("GET", "/<script>alert(1)</script>", people, 404, "text/html"),
            ("POST", "/healthz", people, 405, "text/html"),
            ("POST", "/healthz", {}, 405, "application/problem"),
            ("GET", "/v1/nowhere", people, 401, "application/problem"),
            ("GET", "/nowhere", {"Accept": "*/*"}, 404, "application/problem"),
        ):  # fmt: skip
            answered = await client.request(method, path, headers=headers)
            assert (answered.status_code, path) == (status, path)
            assert answered.headers["content-type"].startswith(kind)
            assert "<script>alert" not in answered.text
            if status == 405:
                assert answered.headers["allow"]
            if kind == "text/html":
                assert "default-src 'none'" in answered.headers["content-security-policy"]
                assert 'href="/"' in answered.text


@pytest.mark.big
async def test_who_asks_keeps_no_decision_waiting(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    """However many requests wait, with every connection that HTTP has: the node goes on to deliver."""
    where = home(tmp_path, workflow(in_app(), key=MENTION.definition.key))
    async with (
        running_daemon(database_url, where, HTTP_BIND="127.0.0.1:0") as daemon, rows_of(database_url) as rows,
        httpx2.AsyncClient(timeout=40) as client,
    ):  # fmt: skip
        line = await daemon.event("http.listening")
        client.base_url = httpx2.URL(f"http://127.0.0.1:{line['port']}")
        ops = Person(client, await secret(database, "produce", "operate"))
        held = (await ops.trigger("ada"))["ada"]
        await rows.until(held, "completed")
        async with rows.connection.transaction():
            await rows.all("select 1 from chimeway.workflow_runs where recipient_id = 'ada' for update")
            asked = [asyncio.create_task(ops.post(f"/v1/runs/{held}/cancel", {})) for _ in range(60)]

            async def waiting() -> bool:
                return (await rows.value("select count(*) from pg_locks where not granted")) >= 6

            await wait_for(waiting, "all connections of HTTP wait")
            trigger = "select chimeway.trigger($1, tenant_id => 'a', recipient_id => 'eve')"
            begun = asyncio.get_running_loop().time()
            run = await database_value(database, trigger)
            ended = "select ended_at is not null from chimeway.workflow_runs where id = $1"
            await wait_for(lambda: rows.value(ended, run), "eve's run is done")
            took = asyncio.get_running_loop().time() - begun
            assert took < 5, took
            assert (await client.get("/readyz")).status_code == 200
        answers = await asyncio.gather(*asked)
        assert {one.status_code for one in answers} <= {200, 503}


async def database_value(database: Database, sql: str) -> object:
    """Return the one value, on a connection that is nobody's else."""
    async with database.acquire() as connection:
        value: object = await connection.fetchval(sql, MENTION.definition.key)
    return value
