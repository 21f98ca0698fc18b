"""Oban for Python: no-op jobs through one process (docs/benchmarks/peers.md, work 2).

python -m tests.bench.peers.oban_side jobs URL [many=N limit=N debounce=S pool=N]
"""

import asyncio
import time
from importlib.metadata import version
from typing import Any

import uvloop
from oban import Oban, worker
from oban.schema import install
from tests.bench.peers.line import given, hear, parts, say

_LEFT = "select exists (select from oban_jobs where state <> 'completed')"
_QUEUE = "default"


@worker(queue=_QUEUE)
class _Nothing:
    """A job that does nothing."""

    async def process(self, job: Any) -> None:
        """Do it."""


async def _jobs(url: str, settings: dict[str, str]) -> None:
    """Insert all while the queue is paused, let it go, and wait until all are done."""
    many = int(settings.get("many", "20000"))
    pool = await Oban.create_pool(url, min_size=2, max_size=int(settings.get("pool", "10")))
    await install(pool)
    queue: dict[str, Any] = {"limit": int(settings.get("limit", "100")), "paused": True}
    if "debounce" in settings:
        queue["debounce_interval"] = float(settings["debounce"])
    async with Oban(pool=pool, queues={_QUEUE: queue}) as oban:
        began = time.monotonic()
        for some in parts([str(n) for n in range(many)]):
            async with pool.connection() as connection, connection.transaction():
                await oban.enqueue_many([_Nothing.new({"n": n}) for n in some], conn=connection)
        inserted_s = time.monotonic() - began
        say(ready=True, version=version("oban"))
        await asyncio.to_thread(hear)
        began = time.monotonic()
        await oban.resume_queue(_QUEUE)
        while await _left(pool):  # noqa: ASYNC110  (rows are no event)
            await asyncio.sleep(0.05)
        say(seconds=time.monotonic() - began, insert_s=inserted_s)
    await pool.close()


async def _left(pool: Any) -> bool:
    async with pool.connection() as connection:
        found = await connection.execute(_LEFT)
        return bool((await found.fetchone())[0])


def main() -> None:
    """Run the jobs, on the loop that Oban's own command line takes."""
    _, url, settings = given()
    uvloop.run(_jobs(url, settings))


main()
