"""PgQueuer: no-op jobs through one process (docs/benchmarks/peers.md, work 2).

python -m tests.bench.peers.pgqueuer_side jobs URL [many=N batch=N]
"""

import asyncio
import time
from importlib.metadata import version

import asyncpg
import uvloop
from pgqueuer import PgQueuer, Queries
from pgqueuer.db import AsyncpgDriver
from pgqueuer.models import Job
from pgqueuer.types import QueueExecutionMode
from tests.bench.peers.line import given, hear, parts, say

_NAME = "nothing"


async def _jobs(url: str, settings: dict[str, str]) -> None:
    """Insert all, then work until the queue is empty."""
    many = int(settings.get("many", "20000"))
    connection = await asyncpg.connect(url)
    queries = Queries(AsyncpgDriver(connection))
    await queries.install()
    queuer = PgQueuer(AsyncpgDriver(connection))

    @queuer.entrypoint(_NAME)
    async def nothing(job: Job) -> None:
        """Do nothing."""

    began = time.monotonic()
    for some in parts([str(n) for n in range(many)]):
        await queries.enqueue([_NAME] * len(some), [None] * len(some), [0] * len(some))
    inserted_s = time.monotonic() - began
    say(ready=True, version=version("pgqueuer"))
    await asyncio.to_thread(hear)
    began = time.monotonic()
    await queuer.run(batch_size=int(settings.get("batch", "10")), mode=QueueExecutionMode.drain)
    say(seconds=time.monotonic() - began, insert_s=inserted_s)


def main() -> None:
    """Run the jobs."""
    _, url, settings = given()
    uvloop.run(_jobs(url, settings))


main()
