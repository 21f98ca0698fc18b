"""What hints cost producers: 16 of them, each committing one signal after the other.

NOTIFY takes one lock for the whole database through commit, so commits that notify cannot share a
flush. Three ways, each with a real daemon that finds the signals: `never` (nobody notifies: the
floor), `always` (each commit notifies), `asleep` (Chimeway's: only while the node asked for it).
"""

import asyncio
import statistics
import time

import asyncpg
from tests.bench import place

_PRODUCERS = 16
_ROUNDS = 3
_WAYS = {
    "never": "begin return; end",
    "always": "begin perform pg_notify('chimeway', ''); end",
    "asleep": """begin
        if exists (select from chimeway.nodes where asleep) then
            perform pg_notify('chimeway', '');
        end if;
    end""",
}
_WORKFLOW = """
key: bench
version: 1
steps:
  - id: wait
    action: {type: wait, duration: P1D, stop_conditions: [{type: signal_received, signal_type: read}]}
  - id: tell
    action: {type: notify, channel: log, render_key: plain}
"""


async def bench(seconds: float) -> None:
    """Measure the three ways in turns, and print their ratios."""
    print(f"hints: {_PRODUCERS} producers, {seconds:g} s a measurement, {_ROUNDS} rounds, medians")
    with place.server() as url:
        await place.prepare(url)
        async with place.daemon(url, _WORKFLOW):
            rates: dict[str, list[float]] = {way: [] for way in _WAYS}
            for _ in range(_ROUNDS):
                for way in _WAYS:
                    await _set(url, way)
                    rates[way].append(await _produce(url, seconds))
    floor = statistics.median(rates["never"])
    for way, found in rates.items():
        rate = statistics.median(found)
        print(f"  {way:7} {rate:8.0f} signals/s   {rate / floor:5.2f} x never   rounds: {_rounded(found)}")


async def _set(url: str, way: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(
        f"create or replace function chimeway.hint() returns void language plpgsql as $$ {_WAYS[way]} $$"
    )
    await connection.close()


async def _produce(url: str, seconds: float) -> float:
    """Commit signals as fast as may be for so long; return how many a second."""
    pool = await asyncpg.create_pool(url, min_size=_PRODUCERS, max_size=_PRODUCERS)
    end = time.monotonic() + seconds

    async def producer(number: int) -> int:
        sent = 0
        async with pool.acquire() as connection:
            while time.monotonic() < end:
                await connection.fetchval("select chimeway.signal('read', 'bench', $1)", f"user-{number}")
                sent += 1
        return sent

    began = time.monotonic()
    sent = sum(await asyncio.gather(*(producer(number) for number in range(_PRODUCERS))))
    rate = sent / (time.monotonic() - began)
    await pool.close()
    return rate


def _rounded(rates: list[float]) -> str:
    return " ".join(f"{rate:.0f}" for rate in rates)
