"""Locks are taken in one order: whoever waits for a row holds none that stands behind it.

So nobody can wait in a circle. Every verb is tried against every table whose rows it locks: the first of
these rows is held by somebody, the verb is let run into it, and what it has by then is looked at from
outside. Rows lie on the disk in the reverse of their order, and index scans are taken from the planner: a
statement that takes rows as it finds them takes the last one first.
"""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from chimeway.store.pool import Database, connect
from store.lock_world import (
    AS_FOUND,
    CALLERS,
    ORDER,
    Caller,
    Connection,
    LockWorld,
    Place,
    blocked_or_done,
    given_up,
    held,
    lock,
    lock_world,
    sql,
)  # fmt: skip
from store.plain_sql import plain

RANK: Final = {table: rank for rank, table in enumerate(ORDER)}


def _rank(place: Place) -> tuple[int, int]:
    return RANK[place[0]], place[1]


async def _taken(observer: Connection, caller: Connection, call: Caller, world: LockWorld) -> set[Place]:
    """Return the rows that a verb has locked when nobody is in its way."""
    transaction = caller.transaction()
    await transaction.start()
    try:
        await call(caller, world)
        return await held(observer)
    finally:
        await transaction.rollback()


async def _against(
    first: Place, observer: Connection, caller: Connection, call: Caller, world: LockWorld
) -> set[Place] | None:
    """Return what a verb has while it waits for a row; None: it does not wait for it."""
    async with plain(world.url) as holder, holder.transaction():
        await lock(holder, first)
        transaction = caller.transaction()
        await transaction.start()
        task: asyncio.Task[Any] = asyncio.ensure_future(call(caller, world))
        try:
            if not await blocked_or_done(observer, caller, task):
                return None
            return await held(observer) - {first}
        finally:
            await given_up(observer, caller, task)
            await transaction.rollback()


WAITS: Final = {
    "cancel": "workflow_runs deliveries",
    "cancel, by key": "workflow_runs deliveries",
    "cancel_runs": "workflow_runs deliveries",
    "wake_runs": "workflow_runs",
    "retime_runs": "workflow_runs",
    "hold_run": "workflow_runs",
    "retry_delivery": "workflow_runs deliveries",
    "record_feedback": "workflow_runs deliveries",
    "forget_recipient":
        "workflow_runs deliveries events inbox_items send_budgets recipients signals",
    "commit_decisions": "deliveries",
    "begin_attempts": "deliveries send_budgets",
    "record_verdicts": "deliveries",
    "record_results": "deliveries",
    "record_feedback, impatient": "deliveries",
    "mark_inbox": "inbox_items",
    "mark_all_inbox": "inbox_items",
    "identify": "recipients",
    "identify_many": "recipients",
    "unsubscribe": "recipients",
    "unsubscribe, by a link": "recipients",
    "resubscribe, by a link": "recipients",
    "pause_workflow": "workflow_definitions",
    "register_workflow": "workflow_definitions",
    "activate": "workflow_definitions",
    "watch_inboxes": "inbox_watchers",
    "unwatch_inboxes": "inbox_watchers",
    "unwatch_inboxes, all": "inbox_watchers",
    "begin_lease": "leases",
    "beat": "leases order_shards",
    "hand_over": "leases order_shards",
    "hand_over, leaving": "leases order_shards",
    "release_lease": "leases order_shards",
    "absolve_shards": "order_shards",
    "leave_node": "nodes",
}  # fmt: skip
"""For rows of which tables each verb waits; the others wait for none. (The ledger's verbs would wait for a
delivery only if somebody had it without its run, as none of these does; and for a budget while another batch
counts by it. `enrol_node` and `set_asleep` wait for their own node alone, here the third.)"""


async def _tried(world: LockWorld, callers: Mapping[str, Caller]) -> tuple[dict[str, str], list[str]]:
    """Try verbs; return for rows of which tables each waits, and who had what he should not have."""
    waits: dict[str, set[str]] = {}
    wrong: list[str] = []
    caller = await connect(world.url, "caller")
    async with plain(world.url) as observer:
        await caller.execute(AS_FOUND)
        for name, call in callers.items():
            taken = await _taken(observer, caller, call, world)
            for table in {place[0] for place in taken}:
                first = min(place for place in taken if place[0] == table)
                has = await _against(first, observer, caller, call, world)
                if has is None:
                    continue
                waits.setdefault(name, set()).add(table)
                behind = sorted(place for place in has if _rank(place) > _rank(first))
                if behind:
                    wrong.append(f"{name} waits for {first} and has {behind}")
    await caller.close()
    return {name: " ".join(sorted(tables, key=lambda t: RANK[t])) for name, tables in waits.items()}, wrong


async def test_who_waits_for_a_row_has_none_that_stands_behind_it(clock_database: Database) -> None:
    """Verb by verb, table by table; and a verb that takes rows as they lie would be seen."""
    world = await lock_world(clock_database)
    waits, wrong = await _tried(world, CALLERS)
    assert wrong == []
    assert waits == WAITS
    bad = {
        "as they lie": sql("delete from chimeway.inbox_items where id = any(<items>::uuid[])"),
        "backwards": sql(
            "update chimeway.signals set routed_at = now()", "select from chimeway.events for update"
        ),
    }
    _, wrong = await _tried(world, bad)
    assert {one.split(" waits")[0] for one in wrong} == {"as they lie", "backwards"}


async def test_no_batch_waits_for_who_says_no_by_a_link(clock_database: Database) -> None:
    """Whoever sits in the transaction of that click holds up nobody but who forgets him."""
    world = await lock_world(clock_database)
    caller = await connect(world.url, "caller")
    async with plain(world.url) as clicking, plain(world.url) as observer:
        async with clicking.transaction():
            await CALLERS["resubscribe, by a link"](clicking, world)
            for verb in ("begin_attempts", "record_verdicts", "record_results", "record_feedback, impatient"):
                async with caller.transaction():
                    task = asyncio.ensure_future(CALLERS[verb](caller, world))
                    assert not await blocked_or_done(observer, caller, task), verb
            forgetting = asyncio.ensure_future(CALLERS["forget_recipient"](caller, world))
            assert await blocked_or_done(observer, caller, forgetting)
        await forgetting
    await caller.close()


async def test_a_version_is_activated_while_producers_sit_in_their_transactions(
    clock_database: Database,
) -> None:
    """A trigger holds the version that it starts, as a foreign key does; that is in nobody's way."""
    world = await lock_world(clock_database)
    caller = await connect(world.url, "caller")
    async with plain(world.url) as producer, plain(world.url) as observer, producer.transaction():
        await CALLERS["trigger_many"](producer, world)
        task = asyncio.ensure_future(CALLERS["activate"](caller, world))
        assert not await blocked_or_done(observer, caller, task)
    await caller.close()
