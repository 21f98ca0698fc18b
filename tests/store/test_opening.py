"""A connection whose opening, or use, is cut short is ended: nobody has it who would."""

import asyncio
import gc

import pytest

from chimeway.store import pool
from kit.network import line_to, place_of
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


async def test_a_call_that_is_cut_off_is_given_up_where_nobody_answers(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver waits a minute for a connection by which to call it off; whoever ends need not."""
    monkeypatch.setattr(pool, "_GIVE_BACK_S", 0.1)

    async def ask(database: pool.Database) -> None:
        async with database.acquire() as connection:
            await connection.execute(LONG)

    async with (
        rows_of(database_url) as rows,
        line_to(place_of(database_url)) as line,
        pool.open_database(line.url(database_url), name="far away") as database,
    ):
        asking = asyncio.ensure_future(ask(database))
        await wait_for(lambda: rows.value(AT_WORK, "far away", LONG), "it is under way")
        line.black_hole()
        asking.cancel()
        done, _ = await asyncio.wait({asking}, timeout=30)
        assert done, "it is still waited for"
        assert asking.cancelled()
        line.cut()
