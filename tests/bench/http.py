"""What `/v1` takes of a node that plays what it is told: requests a second by connections that are kept.

Clients are as small as they can be (a socket, one request after the other), and in this process: with two
cores they, the node and PostgreSQL have less than one each. `/healthz` is the floor: HTTP and nothing else.
The journey waits for two hours after its first message, so a trigger is also two decisions of the node.
"""

import asyncio
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count

import asyncpg
import psutil
from tests.bench import place
from tests.bench.frame.meters import Meter

from chimeway.store import tokens
from chimeway.store.pool import Database, open_database

_CONNECTIONS = (1, 8, 32)
_BULK = 100
_WORKFLOW = """
key: bench
version: 1
steps:
  - id: in_app
    action: {type: notify, channel: in_app, render_key: plain}
  - id: wait
    action: {type: wait, duration: PT2H, stop_conditions: [{type: signal_received, signal_type: read}]}
"""
_AT_WORK = """
select exists (select from chimeway.workflow_runs where state = 'active')
    or exists (select from chimeway.signals where routed_at is null)"""
_numbers = count()


@dataclass(frozen=True)
class _Kind:
    """One kind of request: how it is written, and how much is told by one."""

    name: str
    made: Callable[[], bytes]
    of_one: int = 1


async def bench(seconds: float) -> None:
    """Ask in each way, and print how often that was answered, how soon, and what it cost."""
    print(f"http: {seconds:g} s each; CPU of the node and of PostgreSQL for one of what is told")
    with place.server() as url:
        await place.prepare(url)
        port = place.free_port()
        settings = {"HTTP_BIND": f"127.0.0.1:{port}", "HTTP_RATE": "0"}
        async with place.daemon(url, _WORKFLOW, **settings) as process, open_database(url) as database:
            _, secret = await tokens.make(database, "bench", "org_456", ["produce", "read"], None)
            server = Meter(await _postmaster(url))
            for kind in _kinds(secret):
                for connections in _CONNECTIONS:
                    await _rested(database)
                    await _asked(port, kind, connections, seconds, (Meter(process.pid), server))


def _kinds(secret: str) -> list[_Kind]:
    def post(path: str, said: Callable[[int], object], key: bool = False) -> Callable[[], bytes]:
        def made() -> bytes:
            number = next(_numbers)
            body = json.dumps(said(number)).encode()
            more = f"Idempotency-Key: key-{number}\r\n" if key else ""
            return (
                _head(f"POST {path}", secret, f"Content-Type: application/json\r\n{more}", len(body)) + body
            )

        return made

    def trigger(number: int) -> object:
        data = {"document_id": f"doc_{number}"}
        return {"workflow": "bench", "recipients": [f"user_{number % 5_000}"], "data": data}

    def signal(number: int) -> object:
        payload = {"document_id": f"doc_{number}"}
        return {"type": "heard_by_nobody", "actor_id": f"user_{number % 5_000}", "payload": payload}

    def triggers(number: int) -> object:
        each = [{"recipient_ids": [f"user_{(number * _BULK + n) % 5_000}"]} for n in range(_BULK)]
        return {"workflow": "bench", "triggers": each}

    def signals(number: int) -> object:
        return {"signals": [signal(number * _BULK + n) for n in range(_BULK)]}

    return [
        _Kind("healthz", lambda: _head("GET /healthz", secret)),
        _Kind("counts", lambda: _head("GET /v1/inbox/counts?recipient_id=user_1", secret)),
        _Kind("trigger", post("/v1/trigger", trigger)),
        _Kind("trigger, key", post("/v1/trigger", trigger, key=True)),
        _Kind("signal", post("/v1/signals", signal)),
        _Kind("signal, key", post("/v1/signals", signal, key=True)),
        _Kind("100 triggers", post("/v1/trigger/bulk", triggers), _BULK),
        _Kind("100 signals", post("/v1/signals/bulk", signals), _BULK),
    ]


def _head(what: str, secret: str, more: str = "", length: int = 0) -> bytes:
    told = f"Content-Length: {length}\r\n" if length else ""
    line = f"{what} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {secret}\r\n{more}{told}\r\n"
    return line.encode()


async def _asked(
    port: int, kind: _Kind, connections: int, seconds: float, meters: tuple[Meter, Meter]
) -> None:
    took: list[float] = []
    before = [meter.cpu_s for meter in meters]
    began = time.monotonic()
    await asyncio.gather(*(_ask(port, kind, began + seconds, took) for _ in range(connections)))
    lasted = time.monotonic() - began
    node, server = (
        1e6 * (meter.cpu_s - was) / len(took) / kind.of_one for meter, was in zip(meters, before, strict=True)
    )
    slow = statistics.quantiles(took, n=100)
    print(
        f"  {kind.name:13} {connections:3} connections: {kind.of_one * len(took) / lasted:7.0f}/s,"
        f" p50 {1e3 * slow[49]:6.1f} ms, p99 {1e3 * slow[98]:6.1f} ms; node {node:5.0f} us,"
        f" PostgreSQL {server:5.0f} us",
        flush=True,
    )


async def _ask(port: int, kind: _Kind, until: float, took: list[float]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while (began := time.monotonic()) < until:
        writer.write(kind.made())
        head = await reader.readuntil(b"\r\n\r\n")
        status = head[9:12]
        length = head.lower().partition(b"content-length: ")[2].partition(b"\r")[0]
        body = await reader.readexactly(int(length))
        if status not in (b"200", b"201"):
            raise RuntimeError(f"{kind.name}: {status.decode()} {body.decode()}")
        took.append(time.monotonic() - began)
    writer.close()


async def _rested(database: Database) -> None:
    """Wait until the node has played what it was told."""
    async with asyncio.timeout(60), database.acquire() as connection:
        while await connection.fetchval(_AT_WORK):  # noqa: ASYNC110  (nobody calls)
            await asyncio.sleep(0.1)


async def _postmaster(url: str) -> int:
    connection = await asyncpg.connect(url)
    backend: int = await connection.fetchval("select pg_backend_pid()")
    found: int = psutil.Process(backend).ppid()
    await connection.close()
    return found
