"""A connection whose opening is cut short is ended: nobody has it who would."""

import asyncio
import gc

import pytest

from chimeway.store import pool
from kit.rows import Rows, rows_of
from kit.waiting import wait_for

LONG = "select pg_sleep(60)"
AT_WORK = "select count(*) from pg_stat_activity where application_name = $1 and query = $2"


async def _cut_short(rows: Rows, opening: "asyncio.Task[object]", name: str) -> None:
    await wait_for(lambda: rows.value(AT_WORK, name, LONG), "its first statement runs")
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening


async def test_a_cancelled_opening_leaves_no_connection(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither in a node's pool nor alone: the collector, which would warn of each, finds none."""

    async def prepare(connection: pool.Connection) -> None:
        await connection.execute(LONG)

    async def of_a_node() -> None:
        async with pool.open_database(database_url, name="of a node", for_node=True):
            raise AssertionError("it opened")

    async with rows_of(database_url) as rows:
        monkeypatch.setattr(pool, "_prepare", prepare)
        await _cut_short(rows, asyncio.ensure_future(pool.connect(database_url, "alone")), "alone")
        monkeypatch.undo()
        monkeypatch.setattr(pool, "_FOR_NODE", LONG)
        await _cut_short(rows, asyncio.ensure_future(of_a_node()), "of a node")
    gc.collect()
