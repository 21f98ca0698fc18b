"""Our side of each work that peers do (docs/benchmarks/peers.md), timed as theirs is."""

import asyncio
import json
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import asyncpg
from tests.bench.frame import Daemon, Stage
from tests.bench.peers.driven import costs
from tests.bench.peers.line import AT_ONCE
from tests.bench.whole_journeys import SIGNAL, SIGNALLED

_SLEEPER: Final = """
key: bench
version: 1
steps:
  - id: wait
    action: {type: wait, until: {data: at}}
  - id: tell
    action: {type: notify, channel: in_app, render_key: plain}
"""
_TRIGGER: Final = (
    "select count(*) from chimeway.trigger_many('bench', 'bench', $1::text[], data => $2::jsonb)"
)
_ACTIVE: Final = "select exists (select from chimeway.workflow_runs where state = 'active')"
_LEFT: Final = "select exists (select from chimeway.workflow_runs where state in ('active', 'waiting'))"
_RUNS: Final = "select recipient_id, id from chimeway.workflow_runs"
_STOPPED: Final = "select state = 'stopped' from chimeway.workflow_runs where id = $1"
_NOT_STOPPED: Final = """select exists (
    select from chimeway.workflow_runs where recipient_id = any ($1::text[]) and state <> 'stopped')"""
_LATE: Final = """select extract(epoch from at - (context ->> 'due_at')::timestamptz)::float * 1000
  from chimeway.workflow_transitions where reason = 'reactivated_from_wait'"""


@dataclass(frozen=True, slots=True)
class _Play:
    """People, a connection that begins and tells, and the node."""

    people: list[str]
    rows: asyncpg.Connection
    daemon: Daemon

    async def begin(self, data: str = "{}") -> None:
        for first in range(0, len(self.people), AT_ONCE):
            await self.rows.fetchval(_TRIGGER, self.people[first : first + AT_ONCE], data)

    async def tell(self, people: list[str]) -> None:
        for first in range(0, len(people), AT_ONCE):
            await self.rows.fetchval(SIGNAL, people[first : first + AT_ONCE])

    async def while_(self, statement: str, every_s: float = 0.05) -> None:
        while await self.rows.fetchval(statement):  # noqa: ASYNC110  (rows are no event)
            await asyncio.sleep(every_s)


@asynccontextmanager
async def _playing(stage: Stage, many: int, workflow: str = SIGNALLED) -> AsyncIterator[_Play]:
    async with stage.database() as url, stage.daemon(url, workflow) as daemon:
        rows = await asyncpg.connect(url)
        try:
            await rows.execute("set enable_seqscan = off")  # who looks on reads what is live, and no more
            yield _Play([f"user-{n}" for n in range(many)], rows, daemon)
        finally:
            await rows.close()


async def journeys(stage: Stage, many: int) -> dict[str, float]:
    """Work 1: all begin; when all wait, all are told; until the last has ended."""
    async with _playing(stage, many) as play:
        node, server = play.daemon.meter(), stage.server.meter()
        began = time.monotonic()
        await play.begin()
        await play.while_(_ACTIVE)
        await play.tell(play.people)
        await play.while_(_LEFT)
        took_s = time.monotonic() - began
        return {"per second": many / took_s} | costs(many, [node], server)


async def latencies(stage: Stage, many: int) -> list[float]:
    """Work 3: one at a time is told, and looked at each millisecond until it has stopped; in milliseconds."""
    async with _playing(stage, many) as play:
        await play.begin()
        await play.while_(_ACTIVE)
        runs = dict(await play.rows.fetch(_RUNS))
        took_ms = []
        for person in play.people:
            began = time.monotonic()
            await play.rows.fetchval(SIGNAL, [person])
            while not await play.rows.fetchval(_STOPPED, runs[person]):  # noqa: ASYNC110  (a row is no event)
                await asyncio.sleep(0.001)
            took_ms.append(1000 * (time.monotonic() - began))
            await asyncio.sleep(0.05)
        return took_ms


async def lateness(stage: Stage, many: int, seconds: float) -> list[float]:
    """Work 4: all wait for one instant, so many seconds from now; how late each went on, in milliseconds."""
    async with _playing(stage, many, _SLEEPER) as play:
        at = datetime.now(UTC) + timedelta(seconds=seconds)
        await play.begin(json.dumps({"at": at.isoformat()}))
        await play.while_(_LEFT)
        return [late for (late,) in await play.rows.fetch(_LATE)]


async def waiters(stage: Stage, many: int, told: int) -> dict[str, float]:
    """Work 5: what waiters cost in memory, and how soon after a crash some of them can be told."""
    async with stage.database() as url:
        async with stage.daemon(url, SIGNALLED) as daemon:
            rows = await asyncpg.connect(url)
            play = _Play([f"user-{n}" for n in range(many)], rows, daemon)
            meter = daemon.meter()
            before_mib = meter.now_mib if meter else 0.0
            await play.begin()
            await play.while_(_ACTIVE)
            after_mib = meter.now_mib if meter else 0.0
            daemon.process.send_signal(signal.SIGKILL)
            await daemon.process.wait()
        began = time.monotonic()
        some = play.people[:: max(1, many // told)]
        async with stage.daemon(url, SIGNALLED):
            await play.tell(some)
            while await rows.fetchval(_NOT_STOPPED, some):  # noqa: ASYNC110  (rows are no event)
                await asyncio.sleep(0.05)
            recovered_s = time.monotonic() - began
        await rows.close()
        return {"per waiter": (after_mib - before_mib) * 1024 / many, "recovered": recovered_s}
