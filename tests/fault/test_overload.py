"""Producers outrun the node: it says so, memory and what it has taken up stay bounded, nothing is lost."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest

from chimeway.store.pool import connect
from kit.daemon import Daemon, running_daemon
from kit.door import SECRET, Provider
from kit.home import email, home, in_app, wait, workflow
from kit.invariants import assert_invariants, assert_mails_fit
from kit.rows import Rows, rows_of
from kit.smtp import Sink, smtp_sink
from kit.waiting import wait_for

NOTE = workflow(in_app(), key="note")
GUIDE = workflow(in_app(), wait(duration="PT3S"), email(), key="guide")
TRIGGER = "select chimeway.trigger_many($1, 'default', $2::text[])"
IDENTIFY = """select chimeway.identify('default', id, jsonb_build_object('email', id || '@example.org'))
  from unnest($1::text[]) u(id)"""
READ = "select chimeway.signal('notification_read', actor_id => id) from unnest($1::text[]) u(id)"
LEFT = "select count(*) from chimeway.workflow_runs where ended_at is null"
UNROUTED = "select count(*) from chimeway.signals where routed_at is null"
AT_ONCE = 100
BEHIND = 3_000
LEAST, MOST = 1_500, 15_000
"""What a producer of a storm writes, before he ends when the node tells, and until he gives up."""
ROOM_MIB = 200
"""What a storm may add to the node's memory, however long it lasts."""


@dataclass
class Sightings:
    """What whoever asks `/readyz` again and again was told, and the node's memory meanwhile."""

    statuses: list[str] = field(default_factory=list)
    codes: set[int] = field(default_factory=set)
    overloaded: dict[str, Any] = field(default_factory=dict)
    oldest_run_s: float = 0.0
    peak_mib: float = 0.0

    def see(self, code: int, body: dict[str, Any], mib: float) -> None:
        """Take one more look."""
        self.codes.add(code)
        if body["status"] not in self.statuses[-1:]:
            self.statuses.append(body["status"])
        if body["status"] == "overloaded":
            self.overloaded = body
        self.oldest_run_s = max(self.oldest_run_s, body.get("at_work", {}).get("oldest_run_s", 0.0))
        self.peak_mib = max(self.peak_mib, mib)


@asynccontextmanager
async def _watched(daemon: Daemon, client: httpx2.AsyncClient) -> AsyncIterator[Sightings]:
    """Ask how the node is while the block lasts."""
    seen = Sightings()

    async def watch() -> None:
        while True:
            answer = await client.get("/readyz")
            seen.see(answer.status_code, answer.json(), daemon.rss_mib())
            await asyncio.sleep(0.1)

    watching = asyncio.ensure_future(watch())
    try:
        yield seen
        assert not watching.done(), "whoever asks was not answered"
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


async def _produce(url: str, name: str, told: Callable[[], object]) -> int:
    """Be a producer who waits for nobody: a hundred people in each transaction, of whom the odd ones read.

    He goes on until the node tells that it is outrun, however fast it is; returns how many people.
    """
    connection, many = await connect(url, f"producer {name}"), 0
    try:
        while many < LEAST or not told():
            assert many < MOST, "nobody outruns this node"
            people = [f"user_{name}_{n}" for n in range(many, many + AT_ONCE)]
            await connection.execute(IDENTIFY, people)
            await connection.execute(TRIGGER, "guide", people)
            await connection.execute(READ, people[1::2])
            many += AT_ONCE
    finally:
        await connection.close()
    return many


async def _outrun(url: str, told: Callable[[], object]) -> int:
    """Keep a node so far behind, however fast it is, until it tells; return how many were triggered."""
    connection, many = await connect(url, "producer"), 0

    async def behind() -> bool:
        nonlocal many
        if await connection.fetchval(LEFT) < BEHIND:
            await connection.execute(TRIGGER, "note", [f"user_{many + n}" for n in range(2 * AT_ONCE)])
            many += 2 * AT_ONCE
        return bool(told())

    try:
        await wait_for(behind, "it tells that it is outrun", deadline_s=60, every_s=0.0)
    finally:
        await connection.close()
    return many


async def _address(daemon: Daemon) -> str:
    told = await daemon.event("http.listening")
    return f"http://{told['host']}:{told['port']}"


async def _over(daemon: Daemon, rows: Rows, deadline_s: float, strains: int) -> None:
    """Wait until all is done, and the node has said so: once each time, of so many times at most."""

    async def done() -> bool:
        return not await rows.value(LEFT) and not await rows.value(UNROUTED)

    await wait_for(done, "all is done", deadline_s=deadline_s, every_s=0.2)
    began, over = (daemon.seen(f"overload.{change}") for change in ("began", "over"))
    await wait_for(lambda: len(daemon.seen("overload.over")) == len(began), "it has said so", deadline_s=60)
    assert 1 <= len(began) <= strains, over


async def test_who_is_outrun_says_so_and_catches_up(database_url: str, tmp_path: Path) -> None:
    """More is triggered than played until it is told: told once, ready all the while, and all is played."""
    made = home(tmp_path, NOTE)
    settings = {"HTTP_BIND": "127.0.0.1:0", "MAX_LATENESS": "PT0.2S", "LOG_LEVEL": "info"}
    async with (
        rows_of(database_url) as rows,
        running_daemon(database_url, made, **settings) as daemon,
        httpx2.AsyncClient(base_url=await _address(daemon), timeout=20) as client,
    ):
        before = daemon.rss_mib()
        async with _watched(daemon, client) as seen:
            many = await _outrun(database_url, lambda: daemon.seen("overload.began"))
            told = await daemon.event("overload.began")
            await _over(daemon, rows, 60, strains=3)
            await wait_for(lambda: seen.statuses[-1] == "working", "whoever asks is told, too")
        assert (told["of"], told["lateness_s"] > 0.2) == ("run", True)
        assert seen.codes == {200}
        assert (seen.statuses[0], set(seen.statuses)) == ("working", {"working", "overloaded"})
        assert seen.overloaded["overload"]["worst_lateness_s"] > 0.2
        calm = (await client.get("/readyz")).json()
        assert calm["backlog"] == {"runs": 0, "deliveries": 0, "signals": 0, "counted_to": 4_096}
        assert (calm["at_work"]["runs"], calm["at_work"]["run_p50_s"] > 0) == (0, True)
        assert seen.peak_mib < before + ROOM_MIB
        assert await rows.value("select count(*) from chimeway.inbox_items") == many
        assert await daemon.stopped() == 0
        await assert_invariants(database_url, rows)


async def _heard(provider: Provider, event: dict[str, str]) -> bool:
    return (await provider.says(event)).status_code == 200


async def _tell_of(sink: Sink, provider: Provider, many: "asyncio.Future[int]") -> None:
    """Be the e-mails' provider, who tells of each that it arrived, and again until he is heard."""
    told = 0
    places = asyncio.Semaphore(100)

    async def post(delivery_id: str) -> None:
        event = {"id": f"e-{delivery_id}", "delivery_id": delivery_id, "type": "delivered"}
        async with places:
            await wait_for(lambda: _heard(provider, event), "it is heard", deadline_s=120, every_s=0.5)

    async with asyncio.TaskGroup() as group:
        while not many.done() or told < many.result():
            for mail in sink.mails[told:]:
                group.create_task(post(mail.delivery_id))
                told += 1
            await asyncio.sleep(0.05)


@pytest.mark.big
@pytest.mark.timeout(600)
async def test_outrun_on_every_way_at_once(database_url: str, tmp_path: Path) -> None:
    """Triggers, signals, waits that fall due, e-mails and what is told of them: nothing is lost."""
    made = home(tmp_path, GUIDE)
    mails: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    async with AsyncExitStack() as stack:
        sink = await stack.enter_async_context(smtp_sink())
        rows = await stack.enter_async_context(rows_of(database_url))
        daemon = await stack.enter_async_context(
            running_daemon(
                database_url, made, HTTP_BIND="127.0.0.1:0", SMTP_URL=sink.url, MAX_LATENESS="PT0.3S",
                FEEDBACK=json.dumps({"own": {"kind": "signed", "secret": SECRET}}),
            )
        )  # fmt: skip
        address = await _address(daemon)
        client = await stack.enter_async_context(httpx2.AsyncClient(base_url=address, timeout=60))
        before = daemon.rss_mib()
        seen = await stack.enter_async_context(_watched(daemon, client))
        telling = asyncio.ensure_future(_tell_of(sink, Provider(client), mails))
        storm = (_produce(database_url, name, lambda: daemon.seen("overload.began")) for name in "abcd")
        many = sum(await asyncio.gather(*storm))
        mails.set_result(half := many // 2)
        await _over(daemon, rows, 300, strains=6)
        await telling
        print(f"\n{many:,} journeys: at most {seen.peak_mib:.0f} MiB ({before:.0f} before), {seen.statuses}")
        print(f"taken up at most {seen.oldest_run_s:.1f} s ago")
        for line in daemon.seen("overload.began") + daemon.seen("overload.over"):
            print(line)
        assert seen.peak_mib < before + ROOM_MIB
        assert await rows.value("select count(*) from chimeway.delivery_feedback") == half
        assert len(sink.deliveries()) == half
        await assert_mails_fit(rows, sink)
        await assert_invariants(database_url, rows)
