"""Locks are taken in one order: whoever waits for a row holds none that stands behind it.

The rows of a table are put on the disk in the reverse of the order that is promised, and index scans are
taken from the planner: a statement that takes rows as it finds them then takes the last one first. The first
row is held by somebody, the caller is let run into it, and what he has already is what nobody else can lock.
"""

import asyncio
from typing import Any, Final, TypeAlias

import asyncpg

from store.forgetting import forget
from store.plain_sql import blocked, plain, put_into_inbox, register, trigger

AS_FOUND: Final = "set enable_indexscan = off; set enable_indexonlyscan = off"
Connection: TypeAlias = "asyncpg.Connection[Any]"


async def _turned_around(observer: Connection, table: str, order: str) -> None:
    """Put the rows of a table on the disk anew, the last one first, with new entries in the indexes."""
    rows = await observer.fetch(f"select ctid from chimeway.{table} order by {order} desc")
    for row in rows:
        await observer.execute(
            f"""with gone as (delete from chimeway.{table} where ctid = $1 returning *)
                insert into chimeway.{table} select * from gone""",
            row["ctid"],
        )


async def _held_while_forgetting(url: str, table: str, order: str) -> list[asyncpg.Record]:
    """Hold the first row of a table, and return which others he has who forgets ada and waits for it."""
    async with plain(url) as holder, plain(url) as caller, plain(url) as observer:
        await _turned_around(observer, table, order)
        await caller.execute(AS_FOUND)
        transaction = holder.transaction()
        await transaction.start()
        first = f"select ctid from chimeway.{table} order by {order} limit 1 for update"
        held = await holder.fetchval(first)
        task = asyncio.create_task(forget(caller))
        await blocked(observer, caller)
        free = [row["ctid"] for row in await observer.fetch(
            f"select ctid from chimeway.{table} for update skip locked")]  # fmt: skip
        taken = f"select {order} from chimeway.{table} where ctid <> $1 and ctid <> all($2)"
        rows = await observer.fetch(taken, held, free)
        await transaction.rollback()
        await task
        return list(rows)


async def test_forgetting_takes_items_in_the_order_of_those_who_mark_them(database_url: str) -> None:
    """Marks take items by id; taken as they lie, the two would wait for each other."""
    async with plain(database_url) as sql:
        await register(sql)
        for _ in range(3):
            await put_into_inbox(sql, await trigger(sql))
    assert await _held_while_forgetting(database_url, "inbox_items", "id") == []


async def test_forgetting_takes_budgets_in_the_order_of_the_ledger(database_url: str) -> None:
    """The ledger takes budgets by their keys, also of somebody new while he is being forgotten."""
    async with plain(database_url) as sql:
        for channel in ("email", "push", "sms"):
            await sql.execute(
                "select chimeway.lock_budget('d', 'a', $1, chimeway.shard_of('d', 'a'))", channel
            )
        await sql.execute(
            "update chimeway.send_budgets set tenant_id = 'default', recipient_id = 'ada',"
            " shard = chimeway.shard_of('default', 'ada')"
        )
    key = "tenant_id, recipient_id, channel"
    assert await _held_while_forgetting(database_url, "send_budgets", key) == []
