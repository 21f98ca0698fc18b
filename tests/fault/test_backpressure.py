"""A storm raises the queue, which stands in the database, and not the daemon's memory."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pytest

from chimeway.store.clones import Clones
from chimeway.store.embedded import temporary_server
from kit.daemon import Daemon, running_daemon
from kit.home import Home, home, in_app, workflow
from kit.rows import Rows, rows_of
from kit.waiting import wait_for

NOTE = workflow(in_app(), key="note")
AT_ONCE = (
    "select count(chimeway.trigger('note', recipient_id => 'user_' || n)) from generate_series(1, $1::int) n"
)
LEFT = "select count(*) from chimeway.workflow_runs where state = 'active'"
MANY = """
with e as (
    insert into chimeway.events (id, shard, tenant_id, workflow_key, workflow_version, recipient_ids, run_ids,
           data, data_digest, created_at)
    values (chimeway.new_id(0::smallint), 0, 'default', 'note', 1, '{}', '{}', '{}', '', clock_timestamp())
    returning id
), r as (
    insert into chimeway.workflow_runs (id, shard, tenant_id, recipient_id, workflow_key, workflow_version,
           event_id, state, transition_count, status_reason, wake_at, created_at)
    select chimeway.new_id(s.shard), s.shard, 'default', s.who, 'note', 1,
           e.id, 'active', 1, 'workflow_started', $3::timestamptz, $3::timestamptz
      from e, (select 'user_' || n as who, chimeway.shard_of('default', 'user_' || n) as shard
                 from generate_series($1::int, $2::int) n) s
    returning id, shard, event_id
)
insert into chimeway.workflow_transitions (run_id, shard, seq, decision_id, reason, to_state, visit,
       status_reason, at)
select id, shard, 1, event_id, 'workflow_started', 'active', 0, 'workflow_started', $3::timestamptz from r"""
PAGE = 50_000


@dataclass(slots=True)
class Memory:
    """The daemon's resident memory, in MiB."""

    before: float
    peak: float = 0.0


async def _watch(daemon: Daemon, memory: Memory) -> None:
    while True:
        memory.peak = max(memory.peak, daemon.rss_mib())
        await asyncio.sleep(0.05)


async def _peak_while(daemon: Daemon, rows: Rows, done: str, *args: int, deadline_s: float) -> Memory:
    """Return the memory before and at its peak until a query says that it is done."""
    memory = Memory(daemon.rss_mib())
    watching = asyncio.ensure_future(_watch(daemon, memory))
    try:
        await wait_for(lambda: rows.value(done, *args), done, deadline_s=deadline_s, every_s=0.2)
    finally:
        watching.cancel()
    return memory


@pytest.mark.parametrize("many", [3_000, pytest.param(10_000, marks=pytest.mark.big)])
async def test_thousands_of_triggers_at_once(many: int, database_url: str, tmp_path: Path) -> None:
    """Thousands of runs start in one transaction; all end, and memory stays within a bound."""
    async with (
        rows_of(database_url) as rows,
        running_daemon(database_url, home(tmp_path, NOTE), LOG_LEVEL="warning", ready=False) as daemon,
    ):
        await wait_for(lambda: rows.value("select owner from chimeway.shards"), "the daemon works")
        await rows.value(AT_ONCE, many)
        began = time.monotonic()
        memory = await _peak_while(daemon, rows, f"select ({LEFT}) = 0", deadline_s=100)
        took_s = time.monotonic() - began
        assert await rows.value("select count(*) from chimeway.inbox_items") == many
        print(f"\n{many:,} runs in {took_s:.1f} s; {memory.before:.0f} MiB, at most {memory.peak:.0f} MiB")
        assert memory.peak < memory.before + 150
        assert await daemon.stopped() == 0


@pytest.fixture
async def disk_database_url() -> AsyncIterator[str]:
    """A database on a server of its own, on disk: a million runs are too many for memory."""
    with temporary_server(settings=("shared_buffers=256MB",)) as server:
        async with Clones.on(server.url, tidy=False) as clones:
            yield await clones.make(test_clock=False)


@pytest.mark.big
@pytest.mark.timeout(1_500)
async def test_a_million_runs_due_at_once(disk_database_url: str, tmp_path: Path) -> None:
    """With a million due at one instant the memory is that of ten thousand."""
    made = home(tmp_path, NOTE)
    async with rows_of(disk_database_url) as rows:
        await rows.all("select chimeway.register_workflow($1::text::jsonb, 'by_hand')", json.dumps(NOTE))
        (made.workflows / "workflow_0.yaml").unlink()
        at = await rows.value("select clock_timestamp()")
        small = await _backlog(rows, made, disk_database_url, Backlog(1, 10_000, at, work=10_000))
        large = await _backlog(rows, made, disk_database_url, Backlog(10_001, 1_010_000, at, work=40_000))
    assert large < small + 60, "memory grows with the backlog"


@dataclass(frozen=True, slots=True)
class Backlog:
    """Runs by the numbers of their recipients, all due at one instant, and how many to wait for."""

    first: int
    last: int
    at: datetime
    work: int


async def _backlog(rows: Rows, made: Home, url: str, backlog: Backlog) -> float:
    """Write a backlog while no daemon runs; start one, and return its greatest memory while it works."""
    for first in range(backlog.first, backlog.last + 1, PAGE):
        last = min(first + PAGE - 1, backlog.last)
        await rows.connection.execute(MANY, first, last, backlog.at, timeout=120)
    await rows.all("analyze chimeway.workflow_runs")
    before = await rows.value("select count(*) from chimeway.inbox_items")
    async with running_daemon(url, made, LOG_LEVEL="warning", ready=False) as daemon:
        began = time.monotonic()
        done = f"select count(*) >= {before + backlog.work} from chimeway.inbox_items"
        memory = await _peak_while(daemon, rows, done, deadline_s=300)
        rate = backlog.work / (time.monotonic() - began)
        many = backlog.last - backlog.first + 1
        print(f"\n{many:,} due at once: {backlog.work:,} done, {rate:.0f}/s, at most {memory.peak:.0f} MiB")
        assert await daemon.stopped() == 0
    return memory.peak
