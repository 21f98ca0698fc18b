"""What a node does whose producers outrun it: at the rate at which it plays, at twice and at five times that.

First the node's own rate, from a backlog. Then producers trigger so much faster for some seconds, and stop.
Meanwhile `/readyz` says what a taken-up run took until it rested (of the last thousand: half, 99 of a
hundred, the longest), and how long ago the first of those at work was taken up; the process's memory is
looked at beside it. The time to recover counts from the last trigger: until all is played, and until the
node says that it keeps up.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import asyncpg
import httpx2
import psutil
from tests.bench import place

_FACTORS = (1, 2, 5)
_BACKLOG = 10_000
_AT_ONCE = 100
_PRODUCERS = 4
_LOOK_S = 0.25
_WORKFLOW = """
key: bench
version: 1
steps:
  - id: in_app
    action: {type: notify, channel: in_app, render_key: plain}
"""
_TRIGGER = "select chimeway.trigger_many('bench', 'bench', $1::text[])"
_LEFT = "select exists (select from chimeway.workflow_runs where ended_at is null)"


@dataclass
class _Seen:
    """The worst of what was seen while producers were at it, and after."""

    p50_s: list[float] = field(default_factory=list)
    p99_s: float = 0.0
    oldest_s: float = 0.0
    lateness_s: float = 0.0
    peak_mib: float = 0.0
    statuses: list[str] = field(default_factory=list)


async def bench(seconds: float) -> None:
    """Outrun a node by each factor, and print what that did."""
    print("overload: a journey of one in-app item; triggers in transactions of 100, from 4 connections")
    with place.server() as url:
        await place.prepare(url)
        address = f"127.0.0.1:{place.free_port()}"
        async with (
            place.daemon(url, _WORKFLOW, HTTP_BIND=address) as process,
            asyncpg.create_pool(url, min_size=_PRODUCERS + 1, max_size=_PRODUCERS + 1) as pool,
            httpx2.AsyncClient(base_url=f"http://{address}", timeout=20) as client,
        ):
            node = psutil.Process(process.pid)
            await _rate(pool, "warm")
            rate = await _rate(pool, "own")
            mib = node.memory_info().rss / 2**20
            print(f"  the node plays {rate:.0f} runs/s; {mib:.0f} MiB")
            for factor in _FACTORS:
                await _until(lambda: _keeps_up(client))
                await _outrun(pool, client, node, _Storm(factor, rate, max(seconds, 4.0)))


async def _rate(pool: asyncpg.Pool, name: str) -> float:
    """Trigger a backlog, and return how fast it was played."""
    began = time.monotonic()
    await _trigger(pool, [f"{name}-{n}" for n in range(_BACKLOG)])
    await _until(lambda: _played(pool))
    return _BACKLOG / (time.monotonic() - began)


@dataclass(frozen=True)
class _Storm:
    factor: int
    rate: float
    seconds: float


async def _outrun(
    pool: asyncpg.Pool, client: httpx2.AsyncClient, node: psutil.Process, storm: _Storm
) -> None:
    seen = _Seen()
    watching = asyncio.create_task(_watch(client, node, seen))
    began = time.monotonic()
    triggered = sum(await asyncio.gather(*(_produce(pool, storm, n) for n in range(_PRODUCERS))))
    ended = time.monotonic()
    await _until(lambda: _played(pool))
    played_s = time.monotonic() - ended
    await _until(lambda: _keeps_up(client))
    told_s = time.monotonic() - ended
    watching.cancel()
    print(
        f"  {storm.factor} x: {triggered / (ended - began):.0f} triggers/s for {ended - began:.1f} s;", end=""
    )
    print(f" all played {played_s:.1f} s after the last", end="")
    print(f", told {told_s:.1f} s after it" if "overloaded" in seen.statuses else ", never overloaded")
    p50 = sorted(seen.p50_s)[len(seen.p50_s) // 2]
    print(f"    taken up until it rests: p50 {p50:.2f} s, p99 at most {seen.p99_s:.2f} s,", end="")
    print(f" the longest at work {seen.oldest_s:.2f} s; latest due {seen.lateness_s:.1f} s late;", end="")
    print(f" at most {seen.peak_mib:.0f} MiB; {' '.join(seen.statuses)}")


async def _produce(pool: asyncpg.Pool, storm: _Storm, number: int) -> int:
    """Trigger a producer's part, as evenly as transactions of a hundred let; return how many."""
    began, many = time.monotonic(), 0
    every_s = _AT_ONCE * _PRODUCERS / (storm.rate * storm.factor)
    while (now := time.monotonic()) < began + storm.seconds:
        await _trigger(pool, [f"{storm.factor}-{number}-{many + n}" for n in range(_AT_ONCE)])
        many += _AT_ONCE
        await asyncio.sleep(max(0.0, began + every_s * many / _AT_ONCE - now))
    return many


async def _trigger(pool: asyncpg.Pool, people: list[str]) -> None:
    for first in range(0, len(people), _AT_ONCE):
        await pool.fetch(_TRIGGER, people[first : first + _AT_ONCE])


async def _watch(client: httpx2.AsyncClient, node: psutil.Process, seen: _Seen) -> None:
    while True:
        body = (await client.get("/readyz")).json()
        at_work = body["at_work"]
        seen.p50_s.append(at_work["run_p50_s"])
        seen.p99_s = max(seen.p99_s, at_work["run_p99_s"])
        seen.oldest_s = max(seen.oldest_s, at_work["oldest_run_s"])
        seen.lateness_s = max(seen.lateness_s, body["lateness_s"])
        seen.peak_mib = max(seen.peak_mib, node.memory_info().rss / 2**20)
        if body["status"] not in seen.statuses[-1:]:
            seen.statuses.append(body["status"])
        await asyncio.sleep(_LOOK_S)


async def _until(so: Callable[[], Awaitable[bool]]) -> None:
    while not await so():  # noqa: ASYNC110  (rows are no event)
        await asyncio.sleep(0.1)


async def _played(pool: asyncpg.Pool) -> bool:
    return not await pool.fetchval(_LEFT)


async def _keeps_up(client: httpx2.AsyncClient) -> bool:
    return bool((await client.get("/readyz")).json()["status"] == "working")
