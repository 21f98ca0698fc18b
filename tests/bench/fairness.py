"""What a small tenant feels of a large one: single triggers of B, alone and while A's backlog drains.

Seven pairs in turns: B alone, then B while A drains its share of 100,000 triggers. A latency is measured
from outside: from the answer to B's committed trigger until another connection that polls sees the item in
the inbox, which the first decision's transaction wrote. Beside it what the rows say (from the clock of the
trigger to that of the decision, both within their transactions): it bears no polling. How fast A drains
is told too, with B's triggers in it.
"""

import asyncio
import random
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

import asyncpg
from tests.bench import place

_PAIRS = 7
_SINGLES = 29
_LARGE = 100_000
_AT_ONCE = 1_000
_POLL_S = 0.001
_PAUSE_S = 0.05
_RESAMPLES = 2_000
_WORKFLOW = """
key: bench
version: 1
steps:
  - id: in_app
    action: {type: notify, channel: in_app, render_key: plain}
"""
_BY_ROWS = """select extract(epoch from t.at - r.created_at)::float8
  from chimeway.workflow_runs r
  join chimeway.workflow_transitions t on t.run_id = r.id and t.shard = r.shard and t.seq = 2
 where r.id = $1"""
_LEFT = "select exists (select from chimeway.workflow_runs where tenant_id = 'a' and state = 'active')"


@dataclass
class Latencies:
    """What B's triggers took, in milliseconds: seen from outside, and by the rows."""

    seen: list[float] = field(default_factory=list)
    rows: list[float] = field(default_factory=list)


async def bench(seconds: float) -> None:
    """Measure pair by pair, and print p50, p99 and their ratios."""
    del seconds  # a backlog takes as long as it takes
    print(f"fairness: {_PAIRS} pairs of {_SINGLES} single triggers of B; A drains {_LARGE} in {_PAIRS} parts")
    alone, beside, rates = Latencies(), Latencies(), list[float]()
    with place.server() as url:
        await place.prepare(url)
        async with place.daemon(url, _WORKFLOW), asyncpg.create_pool(url, min_size=3, max_size=3) as pool:
            await _singles(pool, Latencies(), 10)
            for pair in range(_PAIRS):
                await _singles(pool, alone, _SINGLES)
                rates.append(await _with_backlog(pool, beside, pair))
    _print_latencies(alone, beside)
    print(f"  A drains {statistics.median(rates):.0f} runs/s (pairs: {' '.join(f'{r:.0f}' for r in rates)})")


async def _with_backlog(pool: asyncpg.Pool, into: Latencies, pair: int) -> float:
    """Trigger A's part, then B's singles while it drains; return A's rate in runs a second."""
    began, many = time.monotonic(), _LARGE // _PAIRS
    for first in range(0, many, _AT_ONCE):
        people = [f"a-{pair}-{n}" for n in range(first, min(many, first + _AT_ONCE))]
        await pool.fetch("select chimeway.trigger_many('bench', 'a', $1)", people)
    await _singles(pool, into, _SINGLES)
    assert await pool.fetchval(_LEFT), "A's backlog ended before B's triggers did: the pair says nothing"
    while await pool.fetchval(_LEFT):  # noqa: ASYNC110  (rows are no event)
        await asyncio.sleep(0.1)
    return many / (time.monotonic() - began)


async def _singles(pool: asyncpg.Pool, into: Latencies, many: int) -> None:
    for _ in range(many):
        await asyncio.sleep(_PAUSE_S * (0.5 + random.random()))
        run_id = await pool.fetchval("select chimeway.trigger('bench', 'b', 'bob')")
        into.seen.append(1000 * await _seen_after(pool, run_id))
        into.rows.append(1000 * await pool.fetchval(_BY_ROWS, run_id))


async def _seen_after(pool: asyncpg.Pool, run_id: UUID) -> float:
    began = time.monotonic()
    async with pool.acquire() as connection:
        while not await connection.fetchval(  # noqa: ASYNC110  (rows are no event)
            "select exists (select from chimeway.deliveries where run_id = $1 and status = 'succeeded')",
            run_id,
        ):
            await asyncio.sleep(_POLL_S)
    return time.monotonic() - began


def _print_latencies(alone: Latencies, beside: Latencies) -> None:
    for told, one, other in (
        ("seen from outside", alone.seen, beside.seen),
        ("by row timestamps", alone.rows, beside.rows),
    ):
        low, high = _interval(one, other)
        print(f"  {told}: alone p50 {_at(one, 50):.1f} p99 {_at(one, 99):.1f} ms;", end="")
        print(f" beside A p50 {_at(other, 50):.1f} p99 {_at(other, 99):.1f} ms;", end="")
        print(f" p99 {_at(other, 99) / _at(one, 99):.2f} x alone (95 %: {low:.2f} to {high:.2f})")


def _at(values: Sequence[float], percent: int) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, percent * len(ordered) // 100)]


def _interval(alone: Sequence[float], beside: Sequence[float]) -> tuple[float, float]:
    """The ratio of p99 by bootstrap: how much of it is chance."""
    ratios = sorted(
        _at(random.choices(beside, k=len(beside)), 99) / _at(random.choices(alone, k=len(alone)), 99)
        for _ in range(_RESAMPLES)
    )
    return ratios[_RESAMPLES // 40], ratios[-_RESAMPLES // 40]
