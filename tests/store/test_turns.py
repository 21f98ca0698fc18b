"""Turns: the oldest of tenant after tenant, whoever has how much; and signals likewise."""

from collections import Counter
from datetime import datetime, timedelta
from uuid import UUID

import pytest

from chimeway.store import mailbox
from chimeway.store.ids import shard_of_id
from chimeway.store.pool import Database
from chimeway.store.turns import Turns
from store.door import Door, opened

START = """select chimeway.trigger('escalation', tenant_id => $1, recipient_id => 'user_' || n,
                data => '{"document": 7}') from generate_series(1, $2::int) n"""
DELIVERY = """insert into chimeway.deliveries (id, shard, run_id, visit, step_id, tenant_id, recipient_id,
                     channel, render_key, status, next_attempt_at, created_at)
              select chimeway.new_id(r.shard), r.shard, r.id, length($2), 'push', r.tenant_id, r.recipient_id,
                     $2, 'mention', 'pending', chimeway.clock(), chimeway.clock()
                from chimeway.workflow_runs r where r.id = $1 returning id"""
CHANNELS = """select string_agg(distinct d.channel || ' ' || d.tenant_id, ', ') from chimeway.deliveries d
               where d.id = any($1)"""
SAY = """select chimeway.signal('read', tenant_id => $1, actor_id => 'user_' || n)
           from generate_series(1, $2::int) n"""


@pytest.fixture
async def world(clock_database: Database, monkeypatch: pytest.MonkeyPatch) -> Door:
    """A door, and turns of two tenants with three rows each."""
    for name, value in {"TURN_TENANTS": 2, "TURN_ROWS": 3}.items():
        monkeypatch.setattr(f"chimeway.store.turns.{name}", value)
        monkeypatch.setattr(f"chimeway.store.mailbox.{name}", value)
    return await opened(clock_database)


async def _start(world: Door, tenant: str, many: int) -> list[UUID]:
    return [row[0] for row in await world.all(START, tenant, many)]


async def _now(world: Door) -> datetime:
    now: datetime = await world.sql("select chimeway.clock()")
    return now


async def test_a_turn_goes_round(world: Door) -> None:
    """Tenant after tenant has a turn of a few, and after the last it begins with the first again."""
    runs = {tenant: await _start(world, tenant, many) for tenant, many in (("a", 50), ("b", 1), ("c", 2))}
    turns, now = Turns(world.database, "new run", tuple), await _now(world)
    for expected in ({"a": 3, "b": 1}, {"c": 2}, {"a": 3, "b": 1}):
        found = await turns.next(now)
        assert Counter(due.tenant for due in found) == expected
        assert all(due.id in runs[due.tenant] for due in found)


async def test_a_turn_takes_the_oldest(world: Door) -> None:
    """Of one tenant come those first that are due longest, and nothing that is due later."""
    runs = await _start(world, "a", 6)
    for age, run in enumerate(runs):
        await world.sql(
            """update chimeway.workflow_runs set wake_at = chimeway.clock() - $2::interval
                where id = $1 returning id""",
            run, timedelta(seconds=age - 2),
        )  # fmt: skip
    found = await Turns(world.database, "new run", tuple).next(await _now(world))
    assert [due.id for due in found] == runs[:2:-1]


async def test_who_wants_no_more_is_passed_over(world: Door) -> None:
    """A tenant that has enough waiting takes nobody's place in a turn."""
    for tenant in "abcd":
        await _start(world, tenant, 5)
    found = await Turns(world.database, "new run", lambda: ["a", None, "c"]).next(await _now(world))
    assert {due.tenant for due in found} == {"b", "d"}


async def test_a_full_line_is_passed_over_and_no_other_of_its_channel(world: Door) -> None:
    """Of deliveries a line is a tenant's on one channel, or the whole channel."""
    for tenant in "abc":
        for run in await _start(world, tenant, 1):
            for channel in ("email", "push"):
                await world.sql(DELIVERY, run, channel)
    now = await _now(world)
    for passed_over, expected in (
        ([], "email a, email b, email c, push a, push b, push c"),
        ([("email", "b"), ("push", "a")], "email a, email c, push b, push c"),
        ([("email", None), ("push", "c")], "push a, push b"),
    ):
        turns = Turns(world.database, "delivery", lambda passed_over=passed_over: passed_over)
        found = [due.id for _ in range(3) for due in await turns.next(now)]
        assert await world.sql(CHANNELS, found) == expected


async def test_a_turn_leaves_out_what_may_not_move(world: Door) -> None:
    """The held do not come, and those of a paused workflow are put aside."""
    held, *_ = await _start(world, "a", 2)
    await world.sql("select chimeway.hold_run($1, 'held_by_request')", held)
    turns, now = Turns(world.database, "new run", tuple), await _now(world)
    assert held not in [due.id for due in await turns.next(now)]
    await world.sql("select chimeway.pause_workflow('escalation', true)")
    assert await turns.next(now) == []
    assert await world.sql("select count(*) from chimeway.workflow_runs where parked") == 1


async def test_runs_under_way_have_turns_of_their_own(world: Door) -> None:
    """Once a step was entered a run comes in the other turn."""
    (run,) = await _start(world, "a", 1)
    await world.sql("update chimeway.workflow_runs set visit = 2 where id = $1 returning id", run)
    now = await _now(world)
    assert await Turns(world.database, "new run", tuple).next(now) == []
    assert [due.id for due in await Turns(world.database, "run", tuple).next(now)] == [run]


async def test_signals_are_routed_in_turn(world: Door) -> None:
    """One tenant's many signals leave the other's one its turn; in the end all are routed."""
    for tenant, many in (("a", 8), ("b", 1), ("c", 1)):
        await _start(world, tenant, many)
        await world.all(SAY, tenant, many)
    turns = mailbox.SignalsInTurn(world.database)
    assert Counter(tenant for _, tenant in await turns.next(())) == {"a": 3, "b": 1}
    assert Counter(tenant for _, tenant in await turns.next(())) == {"c": 1}
    assert await turns.next(["a"]) == []
    for many in (3, 2, 0):
        assert len(await turns.next(())) == many
    assert await world.sql("select count(*) from chimeway.signals where routed_at is null") == 0


async def test_a_turn_takes_what_is_of_its_shards(world: Door) -> None:
    """Of nodes that share the shards each finds its own, and together they find everything."""
    runs = await _start(world, "a", 30)
    now, found = await _now(world), set[UUID]()
    for shards in (frozenset(range(100)), frozenset(range(100, 256)), frozenset[int]()):
        turns = Turns(world.database, "new run", tuple, lambda shards=shards: shards)
        taken = await turns.next(now)
        assert {shard_of_id(due.id) for due in taken} <= shards
        assert len(taken) == (3 if shards else 0)
        found |= {due.id for due in taken}
    assert found <= set(runs)


async def test_signals_of_others_shards_are_left_to_them(world: Door) -> None:
    """What a node routes is of its shards, as they came and in turn; the rest waits for who has its shard."""
    await _start(world, "a", 30)
    await world.all(SAY, "a", 30)
    unrouted = "select count(*) from chimeway.signals where routed_at is null and shard = any($1::smallint[])"
    mine, others = frozenset(range(100)), frozenset(range(100, 256))
    assert await mailbox.SignalsInTurn(world.database, lambda: mine).next(())
    woken, _ = await mailbox.route(world.database, 0, mine)
    assert {shard_of_id(run) for run, _ in woken} <= mine
    assert await world.sql(unrouted, sorted(mine)) == 0
    waiting = await world.sql(unrouted, sorted(others))
    assert len((await mailbox.route(world.database, 0, others))[0]) == waiting > 0
