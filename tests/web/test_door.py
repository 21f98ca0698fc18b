"""The door for feedback, by real HTTP: each answer that a provider may get, and what it writes."""

import asyncio
import json
import signal
import socket
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any
from uuid import UUID, uuid4

import pytest
from starlette.types import Receive, Scope, Send

from chimeway.errors import InvalidSettings
from chimeway.setting_tables import Place
from chimeway.store.deliveries import Outcome, record_results
from chimeway.store.pool import Database
from chimeway.web import bodies as door_module
from chimeway.web import server as server_module
from chimeway.web.server import bound
from chimeway.web.sources import read_sources
from kit.door import SECRET, SOURCES, door, served
from kit.waiting import wait_for
from store.door import Door, locked, opened

_SENT = """
with d as (
    insert into chimeway.deliveries (id, shard, run_id, visit, step_id, tenant_id, recipient_id, channel,
                render_key, status, attempt_count, created_at)
    select chimeway.new_id(r.shard), r.shard, r.id, 1, 'email', r.tenant_id, r.recipient_id, 'email',
           'mention', 'dispatched', 1, chimeway.clock()
      from chimeway.workflow_runs r
    returning *
)
insert into chimeway.delivery_attempts (delivery_id, shard, attempt_no, run_id, node, snapshot, started_at)
select d.id, d.shard, 1, d.run_id, d.run_id, pg_current_snapshot(), d.created_at from d
"""
_ASKED = """select exists (select from pg_stat_activity
    where datname = current_database() and query ~ 'record_feedback' and pid <> pg_backend_pid())"""


async def sent(database: Database, reference: str | None = None) -> tuple[Door, UUID]:
    """Play a journey as far as an e-mail that was sent; return its delivery, too."""
    world = await opened(database)
    await world.trigger("ada")
    await world.sql(_SENT)
    delivery = await world.sql("select id from chimeway.deliveries")
    if reference is not None:
        await recorded(world, delivery, reference)
    return world, delivery


async def recorded(world: Door, delivery: UUID, reference: str) -> None:
    """Record that the provider took it, under this name."""
    row = Outcome(delivery, world.runs["ada"], 1, "succeeded", "succeeded", provider_reference=reference)
    assert (await record_results(world.database, [row]))[0].answer == "applied"


def event(delivery: object, kind: str = "bounced", **more: Any) -> dict[str, Any]:
    """Return an event of a delivery."""
    return {"id": f"{kind}-1", "delivery_id": str(delivery), "type": kind, **more}


async def stands(world: Door) -> tuple[str, str | None, int, int]:
    """Return how the delivery stands, and how many events and signals are written."""
    row = (await world.all("select status, suppression_reason from chimeway.deliveries"))[0]
    counts = [await world.sql(f"select count(*) from chimeway.{t}") for t in ("delivery_feedback", "signals")]
    return row["status"], row["suppression_reason"], counts[0], counts[1]


@pytest.mark.parametrize("kinds", [("delivered", "bounced"), ("bounced", "delivered")])
async def test_posted_five_times_in_both_orders_it_counts_once(
    database: Database, kinds: tuple[str, str]
) -> None:
    """Whatever comes first and however often, the end is one; at the same time, too."""
    world, delivery = await sent(database, "r")
    async with door(database) as provider:
        for kind in kinds:
            posts = [provider.answers(event(delivery, kind)) for _ in range(5)]
            told = sorted(answer for (answer,) in await asyncio.gather(*posts))
            assert told == ["recorded", *["repeat"] * 4]
    status, reason, events, signals = await stands(world)
    assert (status, reason, events) == ("cancelled", "bounced", 2)
    assert signals == (2 if kinds[0] == "delivered" else 1)


async def test_each_event_has_its_answer(database: Database) -> None:
    """In one request: recorded, repeat, unknown; another tenant's source knows nothing of it."""
    _, delivery = await sent(database)
    async with door(database) as provider:
        assert await provider.answers(event(delivery), event(delivery), event(uuid4())) == [
            "recorded", "repeat", "unknown",
        ]  # fmt: skip
        assert await provider.answers(event(delivery), source="theirs") == ["unknown"]
        assert await provider.answers() == []


async def test_postmark_is_known_by_its_password(database: Database) -> None:
    """With it a bounce counts; without it nobody is heard, and the answer says how to be."""
    world, delivery = await sent(database)
    bounce = {
        "RecordType": "Bounce", "ID": 7, "Type": "HardBounce", "MessageID": "m", "Details": "550",
        "BouncedAt": "2026-01-05T08:59:30Z", "Metadata": {"chimeway-delivery": str(delivery)},
    }  # fmt: skip
    async with door(database) as provider:
        refused = await provider.client.post("/v1/feedback/postmark", json=bounce)
        assert (refused.status_code, refused.json()["title"]) == (
            401,
            "feedback refused",
        )
        assert refused.headers["www-authenticate"].startswith("Basic")
        assert refused.headers["content-type"] == "application/problem+json"
        assert (await stands(world))[2] == 0
        assert (await provider.postmark(bounce)).json() == {
            "events": [{"id": "Bounce:7", "answer": "recorded"}]
        }
        assert (await provider.postmark({"RecordType": "Open"})).json() == {"events": []}


async def test_what_is_wrong_is_said(database: Database) -> None:
    """No such source, no such path, not this method, not signed, not readable, too long: each its status."""
    world, delivery = await sent(database)
    async with door(database) as provider:
        post, url = provider.client.post, "/v1/feedback/own"
        told = [
            (await provider.says(event(delivery), source="nobody"), 404),
            (await post("/v1/feedback/", json={}), 404),
            (await post("/v1/trigger", json={}), 404),
            (await provider.client.get(url), 405),
            (await post(f"{url}/", json={}), 404),
            (await post(url, json={"events": [event(delivery)]}), 401),
            (await provider.says(event(delivery, "opened")), 400),
            (await provider.says(event(delivery, detail="x" * 1_100_000)), 413),
            (await post(url, content=_pieces()), 413),
        ]
        for answer, status in told:
            assert answer.status_code == status, answer.text
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.json()["status"] == status
            assert "server" not in answer.headers
        alive = await provider.client.get("/healthz")
        assert (alive.status_code, alive.json()) == (200, {"status": "alive"})
    assert (await stands(world))[2:] == (0, 0)


async def _pieces() -> Any:
    """Give a body whose length nobody knows before it ends."""
    for _ in range(40):
        yield b"x" * 32_768


async def test_an_event_may_be_faster_than_our_record(database: Database) -> None:
    """Known by the provider's name alone: come again while it is young; unknown for good when it is old."""
    world, delivery = await sent(database)
    now = datetime.now(UTC)
    young = {"id": "1", "provider_reference": ["0100", "Ok 0100"], "type": "bounced", "at": now.isoformat()}
    old = young | {"id": "2", "at": (now - timedelta(minutes=11)).isoformat()}
    async with door(database) as provider:
        early = await provider.says(young)
        assert (early.status_code, early.headers["retry-after"]) == (503, "15")
        assert await provider.answers(old) == ["unknown"]
        await recorded(world, delivery, "Ok 0100")
        assert await provider.answers(young) == ["recorded"]
    assert (await stands(world))[:2] == ("cancelled", "bounced")


async def test_an_event_of_the_future_is_not_young(database: Database) -> None:
    """A clock far ahead of ours must not have a provider send the same for years."""
    await sent(database)
    ahead = datetime.now(UTC) + timedelta(days=3_650)
    told = {"id": "1", "provider_reference": "0100", "type": "bounced", "at": ahead.isoformat()}
    async with door(database) as provider:
        assert await provider.answers(told) == ["unknown"]


async def test_a_run_that_somebody_holds_is_asked_for_again(database: Database) -> None:
    """For a moment here, and then by the provider; nothing waits for whoever holds it."""
    world, delivery = await sent(database)
    async with door(database) as provider:
        async with locked(database, world.runs["ada"]):
            busy = await provider.says(event(delivery))
            assert (busy.status_code, busy.headers["retry-after"]) == (503, "15")
        assert await provider.answers(event(delivery)) == ["recorded"]


async def test_the_nodes_connections_are_its_own(database: Database) -> None:
    """However much is told at once, and however slowly it is written, most connections stay the engine's."""
    world = await opened(database)
    for number in range(8):
        await world.trigger(f"user_{number}")
    await world.sql(_SENT)
    deliveries = [row["id"] for row in await world.all("select id from chimeway.deliveries")]
    waiting = """select count(*) from pg_stat_activity where datname = current_database()
                    and query ~ 'record_feedback' and wait_event_type = 'Lock'"""
    async with door(database) as provider:
        async with database.acquire() as other, other.transaction():
            await other.execute("select from chimeway.deliveries for update")
            told = [asyncio.ensure_future(provider.answers(event(one))) for one in deliveries]
            await wait_for(lambda: world.sql(f"{waiting} having count(*) >= 4"), "they wait")
            for _ in range(5):
                assert (await provider.client.get("/healthz")).status_code == 200
            assert await world.sql(waiting) == 4
        assert await asyncio.gather(*told) == [["recorded"]] * 8


async def test_without_the_database_it_is_put_off(database: Database) -> None:
    """Nothing is lost: the provider is asked to send it again; so on a schema without feedback."""
    _, delivery = await sent(database)
    async with door(database) as provider:
        await database.fetchval("verify_last_run")
        async with database.acquire() as connection:
            await connection.execute("alter function chimeway.record_feedback rename to was_not_there_before")
        assert (await provider.says(event(delivery))).status_code == 503
        await database.close()
        assert (await provider.says(event(delivery))).status_code == 503
        assert (await provider.client.get("/healthz")).status_code == 200


async def test_a_slow_head_is_cut_off(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who never ends a request's head loses the connection; at its first request and at a later one."""
    monkeypatch.setattr(server_module, "_HEAD_S", 0.5)
    async with door(database) as provider:
        port = provider.client.base_url.port
        for before in (b"", b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(before + b"POST /v1/feedback/own HTTP/1.1\r\nHost: x\r\nX-Slow: ")
            async with asyncio.timeout(20):
                assert (await reader.read()).count(b"200 OK") == len(before.splitlines()[:1])
            writer.close()


async def test_connections_end_somewhere(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who opens many and says nothing takes no place that the node needs for its files and its database."""
    monkeypatch.setattr(server_module, "_MOST_CONNECTIONS", 3)
    async with door(database) as provider:
        port = provider.client.base_url.port
        opened_ = [await asyncio.open_connection("127.0.0.1", port) for _ in range(5)]
        async with asyncio.timeout(20):
            with suppress(ConnectionError):
                assert await opened_[4][0].read() == b""
        opened_[0][1].write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await opened_[0][0].readline()).startswith(b"HTTP/1.1 200 ")
        for _, writer in opened_:
            writer.close()


async def test_a_slow_body_is_cut_off(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A body that does not come is no reason to keep a place."""
    monkeypatch.setattr(door_module, "BODY_S", 0.1)
    async with door(database) as provider:
        reader, writer = await asyncio.open_connection("127.0.0.1", provider.client.base_url.port)
        writer.write(b"POST /v1/feedback/own HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{")
        async with asyncio.timeout(20):
            assert (await reader.readline()).startswith(b"HTTP/1.1 408 ")
        writer.close()


async def test_the_end_waits_for_what_is_under_way(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request that was being answered when the server was closed is answered; signals are not touched."""
    monkeypatch.setattr("chimeway.web.feedback._BUSY_TRIES", 10_000)  # else half a second, and then 503
    before = signal.getsignal(signal.SIGTERM)
    world, delivery = await sent(database)
    async with door(database) as provider:
        async with locked(database, world.runs["ada"]):
            answering = asyncio.ensure_future(provider.says(event(delivery)))
            await asyncio.sleep(0)
            assert signal.getsignal(signal.SIGTERM) == before
            await wait_for(lambda: world.sql(_ASKED), "the request is being answered")
            assert provider.server is not None
            provider.server.close()
        assert (await answering).json() == {"events": [{"id": "bounced-1", "answer": "recorded"}]}


@pytest.mark.parametrize("asked", ["endless", "large"])
async def test_the_end_waits_for_nobody_who_reads_nothing(
    monkeypatch: pytest.MonkeyPatch, asked: str
) -> None:
    """Who has asked for much, or for what never ends, and takes none of it, holds no node back."""
    monkeypatch.setattr(server_module, "_GRACE_S", 1)
    full = asyncio.Event()

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(4) if asked == "large" else count():
            writing = asyncio.ensure_future(
                send({"type": "http.response.body", "body": b"x" * 16_000_000, "more_body": True})
            )
            if not (await asyncio.wait([writing], timeout=0.1))[0]:
                full.set()
            await writing
        await send({"type": "http.response.body", "body": b""})

    async with asyncio.timeout(20):
        async with served(app) as (client, _):
            sleeper = socket.create_connection(("127.0.0.1", client.base_url.port))
            sleeper.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            await full.wait()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", client.base_url.port))
    sleeper.close()


def test_a_port_in_use_is_said() -> None:
    """Two cannot listen at one place, and the error names the setting."""
    with (
        bound("127.0.0.1", 0) as taken,
        pytest.raises(InvalidSettings, match="CHIMEWAY_HTTP_BIND: nobody can"),
    ):
        bound("127.0.0.1", taken.getsockname()[1])
    with bound("::1", 0) if socket.has_ipv6 else bound("127.0.0.1", 0) as another:
        assert another.getsockname()[1]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"own": 7}, "feedback.own is 7 .* a table"),
        ({"own": SECRET}, "feedback.own is a text of 38 characters.* a table"),
        ({"own": {}}, "feedback.own.kind is not set"),
        (
            {"own": {"kind": "mailgun"}},
            "feedback.own.kind is 'mailgun' .* one of signed, postmark, amazon_ses",
        ),
        ({"own": {"kind": "signed"}}, "feedback.own.secret is not set"),
        ({"own": {"kind": "signed", "secret": "whsec_c2hvcnQ="}}, "feedback.own cannot be used .* 24 bytes"),
        ({"own": {"kind": "signed", "secrets": SECRET}}, "feedback.own.secrets .* did you mean secret"),
        ({"p": {"kind": "postmark", "user": "u"}}, "feedback.p cannot be used .* anybody could tell"),
        ({"ses": {"kind": "amazon_ses", "topics": []}}, "feedback.ses cannot be used .* topics"),
        ({"ses": {"kind": "amazon_ses", "topics": "arn"}}, "feedback.ses.topics is 'arn'"),
        ({"a/b": {"kind": "signed", "secret": SECRET}}, "is no name"),
        ({"own": {"kind": "signed", "secret": SECRET, "tenant": ""}}, "feedback.own.tenant is no tenant"),
    ],
)
def test_a_fault_in_the_settings_is_said_by_its_path(given: Any, told: str) -> None:
    """Each fault has its path, and no secret is shown."""
    with pytest.raises(InvalidSettings, match=told) as fault:
        read_sources(given, Place("feedback", "a test"))
    assert SECRET not in str(fault.value)


def test_secrets_of_the_settings_are_masked() -> None:
    """`--print-settings` shows what is set, and no secret."""
    rows = [row for one in read_sources(SOURCES, Place("feedback", "t")).values() for row in one.describe()]
    shown = {row.name: row.value for row in rows}
    assert shown["feedback.postmark.user"] == "chimeway"
    assert shown["feedback.postmark.password"] == shown["feedback.own.secret"] == "***"
    assert json.dumps(rows).count(SECRET) == 0
