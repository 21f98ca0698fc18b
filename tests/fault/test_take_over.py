"""How long it takes: from a kill to the next decision in the dead node's shards, a hand-over's gap, a join.

Journeys fall due all the time, in all shards; what is measured are the decisions in the rows. The figures are
printed (`make fault-tests`); what is asserted is far above them.
"""

import asyncio
import statistics
from collections.abc import Collection
from contextlib import AsyncExitStack
from datetime import datetime
from pathlib import Path

import pytest

from kit.crew import crew, shared_by
from kit.daemon import Daemon, running_daemon
from kit.home import Home, home, in_app, workflow
from kit.invariants import assert_invariants
from kit.rows import Rows, rows_of
from kit.waiting import wait_for

TRIO = ("first", "second", "third")
KILLS = 21
HANDOVERS = 5
NOW = "select clock_timestamp()"
STREAM = """
select chimeway.trigger('mention_escalation', recipient_id => 'user_' || $1::text || '_' || n,
                        at => clock_timestamp() + n * interval '5 ms')
  from generate_series(1, $2::int) n"""
"""Journeys of one decision each, two hundred a second, for as long as they last."""
NEXT = """
select min(t.at) from chimeway.workflow_transitions t
 where t.shard = any($1::smallint[]) and t.at > $2 and t.reason = 'step_activated'"""
GAP = """
select max(g.gap) from (
    select extract(epoch from t.at - lag(t.at) over (order by t.at))::float as gap
      from chimeway.workflow_transitions t
     where t.shard = any($1::smallint[]) and t.at between $2 and $3 and t.reason = 'step_activated') g"""
"""The longest time without a decision in some shards."""


async def _next_decision_s(rows: Rows, shards: Collection[int], since: datetime) -> float:
    """Wait for the next decision in some shards, and return how long it took."""

    async def made() -> datetime | None:
        at: datetime | None = await rows.value(NEXT, list(shards), since)
        return at

    at = await wait_for(made, "the next decision", every_s=0.05)
    return (at - since).total_seconds()


async def _again(stack: AsyncExitStack, url: str, made: Home, name: str) -> Daemon:
    return await stack.enter_async_context(running_daemon(url, made, name=name))


@pytest.mark.big
@pytest.mark.timeout(1200)
async def test_from_a_kill_to_the_next_decision(database_url: str, tmp_path: Path) -> None:
    """Three daemons at default settings; each time one is killed the others decide in its shards soon."""
    made, took = home(tmp_path, workflow(in_app())), list[float]()
    async with (
        rows_of(database_url) as rows,
        crew(database_url, made, *TRIO) as daemons,
        AsyncExitStack() as stack,
    ):
        for kill in range(KILLS):
            name = TRIO[kill % 3]
            shards = (await shared_by(rows, *TRIO))[name]
            await rows.all(STREAM, f"kill_{kill}", 1_600)
            await wait_for(lambda: rows.value("select max(at) from chimeway.workflow_transitions"), "they go")
            await asyncio.sleep(0.1 + 0.13 * (kill % 8))  # at any moment between two beats
            daemons[name].kill()
            took.append(await _next_decision_s(rows, shards, await rows.value(NOW)))
            await rows.until_none_live()
            daemons[name] = await _again(stack, database_url, made, name)
        ordered = sorted(took)
        print(
            f"\n{KILLS} kills of three daemons, to the next decision in the dead one's shards:"
            f" p50 {statistics.median(ordered):.2f} s, p99 {ordered[-1]:.2f} s, max {ordered[-1]:.2f} s"
        )
        assert ordered[-1] < 5.0
        await assert_invariants(database_url, rows)


@pytest.mark.big
@pytest.mark.timeout(600)
async def test_the_gap_of_a_hand_over(database_url: str, tmp_path: Path) -> None:
    """While a daemon is asked to end, and another begins, decisions go on in all shards."""
    made, gaps, joins = home(tmp_path, workflow(in_app())), list[float](), list[float]()
    async with (
        rows_of(database_url) as rows,
        crew(database_url, made, *TRIO) as daemons,
        AsyncExitStack() as stack,
    ):
        for turn in range(HANDOVERS):
            name = TRIO[turn % 3]
            shards = (await shared_by(rows, *TRIO))[name]
            await rows.all(STREAM, f"turn_{turn}", 1_600)
            await asyncio.sleep(1)
            asked = await rows.value(NOW)
            assert await daemons[name].stopped() == 0
            await shared_by(rows, *(other for other in TRIO if other != name))
            await rows.until_none_live()
            gaps.append(await rows.value(GAP, shards, asked, await rows.value(NOW)))
            daemons[name] = await _again(stack, database_url, made, name)
            ready = datetime.fromisoformat(daemons[name].seen("daemon.ready")[0]["timestamp"])
            await shared_by(rows, *TRIO)
            balanced = await rows.value("select max(taken_at) from chimeway.shard_owners")
            joins.append((balanced - ready).total_seconds())
        print(
            f"\n{HANDOVERS} hand-overs on SIGTERM: longest time without a decision in those shards"
            f" {', '.join(f'{gap:.2f}' for gap in gaps)} s; balanced after a node was ready"
            f" {', '.join(f'{join:.2f}' for join in joins)} s"
        )
        assert max(gaps) < 2.0
        await assert_invariants(database_url, rows)
