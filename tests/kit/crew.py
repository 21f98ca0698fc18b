"""Several daemons on one database, and who of them has which shard."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from kit.daemon import Daemon, running_daemon
from kit.home import Home
from kit.rows import Rows
from kit.waiting import DEADLINE_S, wait_for

SHARES = """
select n.name, array_agg(s.shard order by s.shard) as shards
  from chimeway.shard_owners s
  join chimeway.leases l on l.owner = s.owner
  join chimeway.nodes n on n.id = l.node
 group by n.name"""


async def shares(rows: Rows) -> dict[str, list[int]]:
    """Return the shards of each node that has any, by its name."""
    return {row["name"]: list(row["shards"]) for row in await rows.all(SHARES)}


async def shared_by(rows: Rows, *names: str, deadline_s: float = DEADLINE_S) -> dict[str, list[int]]:
    """Wait until these nodes share all shards fairly; return who has which."""

    async def fairly() -> dict[str, list[int]] | None:
        found = await shares(rows)
        counts = [len(shards) for shards in found.values()]
        fair = sum(counts) == 256 and max(counts) - min(counts) <= 1
        return found if fair and set(found) == set(names) else None

    what = f"{', '.join(names)} share all shards"
    return await wait_for(fairly, what, deadline_s=deadline_s, every_s=0.01)


@asynccontextmanager
async def crew(url: str, home: Home, *names: str, **settings: str) -> AsyncIterator[dict[str, Daemon]]:
    """Run several daemons at once while the block lasts; inside, all are ready."""
    async with AsyncExitStack() as stack:
        daemons: dict[str, Daemon] = {}
        for name in names:
            running = running_daemon(url, home, name=name, ready=False, **settings)
            daemons[name] = await stack.enter_async_context(running)
        await asyncio.gather(*(daemon.event("daemon.ready") for daemon in daemons.values()))
        yield daemons
