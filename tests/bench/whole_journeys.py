"""Whole journeys through one node: triggered and signalled in bulk, watched until all have ended, verified.

How long something took is taken from the rows, by the database's clock: whoever watches may look seldom, and
does not weigh on what is measured. CPU is that of the node's process and of the server's whole tree while
journeys are played; the server's holds what triggers and signals cost there, too.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import asyncpg

from .frame import Daemon, Figure, Meter, Stage

SIGNALLED: Final = """
key: bench
version: 1
steps:
  - id: in_app
    action: {type: notify, channel: in_app, render_key: plain}
  - id: wait
    action: {type: wait, duration: PT2H, stop_conditions: [{type: signal_received, signal_type: read}]}
  - id: tell
    action: {type: notify, channel: log, render_key: plain}
"""
"""What is stopped by a signal while it waits."""
ELAPSED: Final = SIGNALLED.replace("PT2H", "PT1S")
"""What nobody signals: its wait elapses, and a line is logged."""
FIGURES: Final = (
    Figure("journeys", "1/s", "higher"),
    Figure("daemon CPU", "s per 1,000", "lower"),
    Figure("PostgreSQL CPU", "s per 1,000", "lower"),
    Figure("daemon memory", "MiB", "lower"),
)
AT_ONCE: Final = 1_000
_MIXED_AT_ONCE: Final = 250
_UNDER_WAY: Final = 5_000
_LOOK_S: Final = 0.2
_TRIGGER: Final = "select count(*) from chimeway.trigger_many('bench', 'bench', $1::text[])"
SIGNAL: Final = "select count(chimeway.signal('read', 'bench', u)) from unnest($1::text[]) u"
"""Signals each of some people, in one transaction."""
_LIVE: Final = "select count(*) from chimeway.workflow_runs where state in ('active', 'waiting')"
ENDED: Final = "select not exists (select from chimeway.workflow_runs where state in ('active', 'waiting'))"
"""Whether all have ended: stops at the first that has not."""
ALL_WAIT: Final = """
select not exists (
        select from generate_series(0, 255) s(shard)
         cross join lateral (
                select from chimeway.workflow_runs r
                 where r.shard = s.shard::smallint and r.wake_at <= clock_timestamp()
                   and r.held_reason is null and r.waiting_for_node is null and not r.parked
                 order by r.wake_at, r.id limit 1) q)"""
"""Whether none is due: by the index of what is, so that looking on costs next to nothing."""
_NOW: Final = "select clock_timestamp()"
_ENTERED: Final = "select max(entered_at) from chimeway.workflow_runs"
_ENDED_AT: Final = "select max(ended_at) from chimeway.workflow_runs"


@dataclass(frozen=True, slots=True)
class Playing:
    """A node at work on a database of its own, and what counts what it uses."""

    stage: Stage
    url: str
    rows: asyncpg.Connection
    daemon: Daemon
    meters: Mapping[str, Meter]

    async def trigger(self, people: list[str]) -> None:
        """Trigger a journey for each, in one transaction."""
        await self.rows.fetchval(_TRIGGER, people)

    async def signal(self, people: list[str]) -> None:
        """Signal each, in one transaction."""
        await self.rows.fetchval(SIGNAL, people)

    async def now(self) -> datetime:
        """Return the database's time."""
        found: datetime = await self.rows.fetchval(_NOW)
        return found

    async def until(self, so: str, *args: object) -> None:
        """Wait until a query says so."""
        while not await self.rows.fetchval(so, *args):
            if self.daemon.process.returncode is not None:
                raise ChildProcessError(f"the daemon ended with {self.daemon.process.returncode}")
            await asyncio.sleep(_LOOK_S)

    def figures(self, journeys: int, seconds: float) -> dict[str, float]:
        """Return what a round found."""
        told = {"journeys": journeys / seconds}
        for name, meter in self.meters.items():
            told[f"{name} CPU"] = meter.cpu_s / journeys * 1000
        if (meter_ := self.meters.get("daemon")) is not None:
            told["daemon memory"] = meter_.peak_mib
        return told


@asynccontextmanager
async def playing(stage: Stage, workflow: str = SIGNALLED, **settings: str) -> AsyncIterator[Playing]:
    """Run a node on a database of its own."""
    async with stage.database() as url, stage.daemon(url, workflow, **settings) as daemon:
        rows = await asyncpg.connect(url)
        try:
            await rows.execute("set enable_seqscan = off")  # who looks on reads what is live, and no more
            yield Playing(stage, url, rows, daemon, meters(stage, daemon))
        finally:
            await rows.close()


def meters(stage: Stage, daemon: Daemon) -> Mapping[str, Meter]:
    """Begin to count what a node and its server use, as far as that can be counted here."""
    found = {"daemon": daemon.meter(), "PostgreSQL": stage.server.meter()}
    return {name: meter for name, meter in found.items() if meter is not None}


async def in_phases(stage: Stage, many: int = 0) -> Mapping[str, float]:
    """All are triggered; when all wait, all are signalled."""
    many = many or stage.asked.sized(20_000, 2_000)
    async with playing(stage) as play:
        triggered_at = await play.now()
        for people in batches(many, AT_ONCE):
            await play.trigger(people)
        await play.until(ALL_WAIT)
        first_s = _seconds(triggered_at, await play.rows.fetchval(_ENTERED))
        signalled_at = await play.now()
        for people in batches(many, AT_ONCE):
            await play.signal(people)
        await play.until(ENDED)
        second_s = _seconds(signalled_at, await play.rows.fetchval(_ENDED_AT))
        found = play.figures(many, first_s + second_s)
        await verified(play.url)
    return found


async def mixed(stage: Stage, many: int = 0) -> Mapping[str, float]:
    """Triggers and signals at the same time: a batch is triggered, an older one signalled, and so on."""
    many = many or stage.asked.sized(20_000, 2_000)
    async with playing(stage) as play:
        waiting: list[list[str]] = []
        began_at = await play.now()
        for people in batches(many, _MIXED_AT_ONCE):
            await play.trigger(people)
            waiting.append(people)
            if len(waiting) * _MIXED_AT_ONCE > min(_UNDER_WAY, many) // 2:
                await play.signal(waiting.pop(0))
            await play.until(f"select ({_LIVE}) <= $1", _UNDER_WAY)
        for people in waiting:
            await play.signal(people)
        await play.until(ENDED)
        found = play.figures(many, _seconds(began_at, await play.rows.fetchval(_ENDED_AT)))
        await verified(play.url)
    return found


async def elapsed(stage: Stage) -> Mapping[str, float]:
    """All are triggered, each waits a second, and a line is logged."""
    many = stage.asked.sized(10_000, 1_000)
    async with playing(stage, ELAPSED) as play:
        began_at = await play.now()
        for people in batches(many, AT_ONCE):
            await play.trigger(people)
        await play.until(ENDED)
        found = play.figures(many, _seconds(began_at, await play.rows.fetchval(_ENDED_AT)))
        await verified(play.url)
    return found


async def verified(url: str) -> None:
    """See that all invariants hold of what was played.

    Raises:
        RuntimeError: they do not; the figures are worth nothing.
    """
    words = (sys.executable, "-m", "chimeway", "verify", "--database-url", url, "--json")
    done = await asyncio.create_subprocess_exec(*words, stdout=asyncio.subprocess.PIPE)
    said, _ = await done.communicate()
    if done.returncode != 0:
        raise RuntimeError(f"chimeway verify ended with {done.returncode}: {said.decode()[:2000]}")


async def commits(stage: Stage, seconds: float, connections: int = 16) -> Mapping[str, float]:
    """Return how many single-row transactions the server commits a second: a floor of what is durable."""
    loop = asyncio.get_running_loop()
    async with (
        stage.database() as url,
        asyncpg.create_pool(url, min_size=connections, max_size=connections) as pool,
    ):
        await pool.execute("create table floor (n int)")
        end = loop.time() + seconds

        async def commit() -> int:
            many = 0
            async with pool.acquire() as connection:
                while loop.time() < end:
                    await connection.execute("insert into floor values ($1)", many)
                    many += 1
            return many

        began = loop.time()
        many = sum(await asyncio.gather(*(commit() for _ in range(connections))))
        return {"commits": many / (loop.time() - began)}


def batches(many: int, at_once: int, name: str = "user") -> Iterator[list[str]]:
    """Yield people's ids, some at a time."""
    for first in range(0, many, at_once):
        yield [f"{name}-{n}" for n in range(first, min(many, first + at_once))]


def _seconds(since: datetime, until: Any) -> float:
    return float((until - since).total_seconds())
