"""How many journeys a node plays: triggered at once, each with an in-app item, a wait and a message.

Beside it, as a floor, how fast the same PostgreSQL commits single rows over 16 connections: the ratio
says what group commit is worth, whatever the machine.
"""

import asyncio
import time

import asyncpg
from tests.bench import place

_JOURNEYS = 5_000
_CONNECTIONS = 16
_WORKFLOW = """
key: bench
version: 1
steps:
  - id: in_app
    action: {type: notify, channel: in_app, render_key: plain}
  - id: wait
    action: {type: wait, duration: PT1S, stop_conditions: [{type: signal_received, signal_type: read}]}
  - id: tell
    action: {type: notify, channel: log, render_key: plain}
"""


async def bench(seconds: float) -> None:
    """Play journeys, and print how fast they went."""
    print(f"journeys: {_JOURNEYS} triggered at once; in_app, wait of 1 s, log channel")
    with place.server() as url:
        await place.prepare(url)
        single = await _single_commits(url, seconds)
        print(f"  floor: {single:.0f} single-row commits/s over {_CONNECTIONS} connections")
        async with place.daemon(url, _WORKFLOW):
            connection = await asyncpg.connect(url)
            began = time.monotonic()
            for batch in range(_JOURNEYS // 1_000):
                people = [f"user-{batch}-{n}" for n in range(1_000)]
                await connection.fetch("select chimeway.trigger_many('bench', 'bench', $1)", people)
            while await _left(connection):  # noqa: ASYNC110  (rows are no event)
                await asyncio.sleep(0.1)
            took_s = time.monotonic() - began
            decisions = await connection.fetchval(
                "select count(distinct decision_id) from chimeway.workflow_transitions"
            )
            durable = decisions + 2 * await connection.fetchval(
                "select count(*) from chimeway.delivery_attempts"
            )
            await connection.close()
    rate = durable / took_s
    print(f"  {_JOURNEYS / took_s:.0f} journeys/s; {rate:.0f} durable decisions, attempts and results/s")
    print(f"  {rate / single:.2f} x the floor")


async def _left(connection: asyncpg.Connection) -> bool:
    return bool(
        await connection.fetchval(
            "select exists (select from chimeway.workflow_runs where state in ('active', 'waiting'))"
        )
    )


async def _single_commits(url: str, seconds: float) -> float:
    pool = await asyncpg.create_pool(url, min_size=_CONNECTIONS, max_size=_CONNECTIONS)
    async with pool.acquire() as connection:
        await connection.execute("create table floor (n int)")
    end = time.monotonic() + seconds

    async def commit() -> int:
        many = 0
        async with pool.acquire() as connection:
            while time.monotonic() < end:
                await connection.execute("insert into floor values ($1)", many)
                many += 1
        return many

    began = time.monotonic()
    total = sum(await asyncio.gather(*(commit() for _ in range(_CONNECTIONS))))
    rate = total / (time.monotonic() - began)
    await pool.close()
    return rate
