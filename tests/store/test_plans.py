"""Query plans: no hot statement reads a big table from end to end, not even inside a function.

PostgreSQL's own auto_explain says how each statement was in fact executed, nested ones included, and
often enough that the plans which PL/pgSQL keeps (generic, from the sixth call on) are among them.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any, TypeAlias
from uuid import UUID, uuid4

import asyncpg
import pytest

from chimeway.clock import SystemClock
from chimeway.delivery.judging import beginning, held_back, judged
from chimeway.progression.policy import Verdict
from chimeway.store import deliveries, mailbox, runs
from chimeway.store.catalogue import Catalogue
from chimeway.store.due import Pages
from chimeway.store.pool import _FOR_NODE, Database, connect, open_database
from chimeway.store.turns import Turns
from chimeway.testing.databases import lent
from kit.copies import copy_of
from store.door import Door, opened
from store.plain_sql import plain

MANY = 20_000
BIG = (
    "events", "workflow_runs", "workflow_transitions", "deliveries", "delivery_attempts",
    "delivery_attempt_results", "signals", "run_mailbox", "recipients", "inbox_items",
    "send_budgets", "delivery_verdicts", "tenants",
)  # fmt: skip
MOST = 5_000
"""Rows that one node of a plan may read: a page of what is due has at most 4,096."""
_READ = re.compile(r"(?:Rows Removed by \w+(?: \w+)*: |actual rows=)(\d+)")
OURS = "/* the test's own */"
CALLS = 7
"""More than the five after which PostgreSQL may settle on a generic plan."""
FILL = f"""
set session_replication_role = replica;
create temporary table person as
    select n, 'user_' || n as id, chimeway.shard_of('default', 'user_' || n) as shard
      from generate_series(1, {MANY}) n;
create temporary table made as select p.*, chimeway.new_id(p.shard) as run, chimeway.new_id(p.shard) as event,
    chimeway.new_id(p.shard) as delivery, chimeway.new_id(p.shard) as signal from person p;
insert into chimeway.recipients (tenant_id, recipient_id, shard, created_at, updated_at)
    select 'default', id, shard, now(), now() from made;
insert into chimeway.events (id, shard, tenant_id, workflow_key, workflow_version, recipient_ids, run_ids,
        data, data_digest, created_at)
    select event, shard, 'default', 'escalation', 1, array[id], array[run], '{{}}', '', now() from made;
insert into chimeway.workflow_runs (id, shard, tenant_id, recipient_id, workflow_key, workflow_version,
        event_id, cancellation_key, state, step, visit, transition_count, mailbox_count, mailbox_seen,
        status_reason, wake_at, created_at, ended_at)
    select run, shard, 'default', id, 'escalation', 1, event, 'key_' || n,
           case when n % 4 = 0 then 'completed' else 'waiting' end, 'wait', 2, 2, 1, 1, 'x',
           case when n % 4 <> 0 then now() + n * interval '1 s' end, now(),
           case when n % 4 = 0 then now() end from made;
insert into chimeway.workflow_transitions (run_id, shard, seq, decision_id, reason, to_state, visit,
        status_reason, at)
    select run, shard, s, run, 'workflow_started', 'active', 0, 'x', now() from made, generate_series(1, 2) s;
insert into chimeway.deliveries (id, shard, run_id, visit, step_id, tenant_id, recipient_id, channel,
        render_key, status, next_attempt_at, attempt_count, created_at, terminal_at, last_outcome)
    select delivery, shard, run, 1, 'email', 'default', id, 'email', 'mention',
           case when n % 10 = 0 then 'failed' when n % 500 = 1 then 'dispatched' else 'succeeded' end,
           case when n % 10 = 0 then now() + n * interval '1 s' end, 1, now(),
           case when n % 10 <> 0 and n % 500 <> 1 then now() end, 'succeeded' from made;
insert into chimeway.delivery_attempts (delivery_id, shard, attempt_no, run_id, node, snapshot, started_at)
    select delivery, shard, 1, run, gen_random_uuid(), pg_current_snapshot(), now() from made;
insert into chimeway.delivery_attempt_results (delivery_id, shard, attempt_no, outcome, finished_at)
    select delivery, shard, 1, 'succeeded', now() from made where n % 500 <> 1;
insert into chimeway.delivery_verdicts (delivery_id, shard, number, stage, verdict, inputs, at)
    select delivery, shard, 1, 'before_send', 'send', '{{}}', now() from made;
insert into chimeway.send_budgets (tenant_id, recipient_id, channel, shard, sent_at)
    select 'default', id, 'email', shard, array[now()] from made;
insert into chimeway.tenants (tenant_id, created_at, updated_at)
    select 'tenant_' || n, now(), now() from made;
insert into chimeway.signals (id, shard, tenant_id, actor_id, type, payload, routed_at, created_at)
    select signal, shard, 'default', id, 'read', '{{}}', now(), now() from made;
insert into chimeway.run_mailbox (run_id, shard, number, signal_id, routed_at)
    select run, shard, 1, signal, now() from made;
set session_replication_role = origin;
analyze;
"""
EXPLAIN = """
load 'auto_explain';
set auto_explain.log_min_duration = 0;
set auto_explain.log_nested_statements = on;
set auto_explain.log_analyze = on;
set auto_explain.log_timing = off;
set client_min_messages = log;
"""


class Plans:
    """What the server told of the statements that it executed."""

    def __init__(self) -> None:
        """Begin with none."""
        self.texts: list[str] = []

    def hear(self, _: object, message: "asyncpg.PostgresLogMessage") -> None:
        """Take a message of the server's."""
        text = str(message)
        if "plan:" in text:
            self.texts.append(text)

    def costly(self, most: int = MOST) -> list[str]:
        """Return the statements that went through a big table: by a scan, or by an index to no purpose."""
        return [
            text
            for text in self.texts
            if OURS not in text
            and (
                re.search(rf"Seq Scan on (\w+\.)?({'|'.join(BIG)})\b", text)
                or any(int(rows) > most for rows in _READ.findall(text))
            )
        ]


class OneConnection:
    """A pool of one connection that keeps its settings and its listener."""

    def __init__(self, connection: "asyncpg.Connection[Any]") -> None:
        """Take it."""
        self._connection = connection

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator["asyncpg.Connection[Any]"]:
        """Lend it."""
        yield self._connection


@asynccontextmanager
async def explained(url: str) -> AsyncIterator[tuple[Door, Plans]]:
    """Stand at a door behind which each plan is told."""
    plans, connection = Plans(), await connect(url, "plans")
    try:
        await connection.execute(EXPLAIN)
        connection.add_log_listener(plans.hear)
        yield Door(Database(url, OneConnection(connection))), plans  # type: ignore[arg-type]
    finally:
        await connection.close()


@pytest.fixture(scope="module")
def filled() -> Iterator[Door]:
    """A database with twenty thousand journeys, and two at the door; nobody is connected to it any more."""

    async def fill(url: str) -> Door:
        async with open_database(url) as database, plain(url) as connection:
            world = await opened(database)
            await connection.execute(FILL)
            return world

    with lent(test_clock=False) as url:
        yield asyncio.run(fill(url))


@pytest.fixture
async def full(filled: Door) -> AsyncIterator[Door]:
    """The same in a database of this test alone."""
    async with copy_of(filled.database.url) as database:
        yield replace(filled, database=database, runs=dict(filled.runs))


Call: TypeAlias = Callable[[Door], Awaitable[Any]]
NOW = SystemClock().now


async def _some_runs(world: Door) -> list[UUID]:
    rows = await world.all(
        "/* the test's own */ select id from chimeway.workflow_runs where state = 'waiting' limit 50"
    )
    return [row["id"] for row in rows]


async def _load(world: Door) -> None:
    assert await runs.load_runs(world.database, Catalogue(world.database), await _some_runs(world))


async def _due(world: Door) -> None:
    for kind in ("run", "delivery"):
        assert await Pages(world.database, kind, range(256), 16).next(NOW() + timedelta(minutes=5))


async def _in_turn(world: Door) -> None:
    """Whoever has twenty thousand due, in whatever state the statistics are."""
    for kind, tenants in (("new run", 1), ("run", 1), ("delivery", 1)):
        turns = Turns(world.database, kind, tuple)  # type: ignore[arg-type]
        assert len({due.tenant for due in await turns.next(NOW() + timedelta(days=1))}) <= tenants
    await mailbox.SignalsInTurn(world.database).next(())


async def _oldest(world: Door) -> None:
    assert await runs.oldest_due(world.database, NOW() + timedelta(hours=1), 100)


async def _sweep(world: Door) -> None:
    """What the sweeps look for is rare."""
    await runs.unread(world.database, runs.NO_ID, 500)
    await runs.struck(world.database, 500)
    await runs.reclaim_capable(world.database, Catalogue(world.database))
    await deliveries.reclaim_capable(world.database, ["email"])
    assert await deliveries.abandoned(world.database, uuid4(), runs.NO_ID, 10)
    assert not await deliveries.abandoned(world.database, uuid4(), runs.NO_ID, 10, ended=True)


async def _strike(world: Door) -> None:
    ids = await _some_runs(world)
    await runs.strike(world.database, ids)
    await runs.clear_strikes(world.database, ids)
    await runs.mark_incapable(world.database, ids[0], "definition_format")


async def _journey(world: Door) -> None:
    """Go from trigger to result by the real functions: each is a few statements deep."""
    people = [f"new_{uuid4()}" for _ in range(2)]
    for person in people:
        await world.trigger(person)
    entries = [await world.entry(person) for person in people]
    assert await world.commit(*entries) == ["applied"] * 2
    for person in people:
        await world.say(person, "skip")
    assert len((await mailbox.route(world.database, 0))[0]) == 2
    entries = [await world.entry(person) for person in people]
    assert await world.commit(*entries) == ["applied"] * 2
    begun = await world.begin(*[await world.beginning(person) for person in people])
    assert [one.answer for one in begun] == ["begun"] * 2
    rows = [
        deliveries.Outcome(await world.delivery(person), world.runs[person], 1, "succeeded", "succeeded")
        for person in people
    ]
    assert [one.answer for one in await deliveries.record_results(world.database, rows)] == ["applied"] * 2
    await world.say(people[0], "halt")
    assert await world.commit(await world.entry(people[0])) == ["applied"]


async def _policy(world: Door) -> None:
    """A message is put off, let go when preferences change, and counted when it is sent."""
    person, wishes = f"new_{uuid4()}", '{"preferences": {"caps": %s}}'
    cap = '{"channel": "email", "limit": 9, "per": "P1D", "then": "delay"}'
    await world.sql("select chimeway.identify('default', $1, $2::text::jsonb)::text", person, wishes % cap)
    await world.trigger(person)
    assert await world.commit(await world.entry(person)) == ["applied"]
    await world.say(person, "skip")
    await mailbox.route(world.database, 0)
    assert await world.commit(await world.entry(person)) == ["applied"]
    delivery = await world.delivery(person)

    async def looked() -> tuple[deliveries.Sendable, runs.Loaded]:
        (run,) = await runs.load_runs(world.database, Catalogue(world.database), [world.runs[person]])
        assert run is not None
        return (await deliveries.load_sendables(world.database, [delivery]))[delivery], run

    later = Verdict("defer", "cap", NOW() + timedelta(hours=1), {"caps": []}, counts=True, silent=False)
    (held,) = await deliveries.record_verdicts(world.database, None, [held_back(*await looked(), later)])
    assert held.answer == "applied"
    await world.sql("select chimeway.identify('default', $1, $2::text::jsonb)::text", person, wishes % "[]")
    await world.sql("select chimeway.identify('default', $1, $2::text::jsonb)::text", person, wishes % cap)
    row, run = await looked()
    verdict = judged(row, run, NOW())
    assert await deliveries.put_off_until(world.database, delivery)
    (begun,) = await world.begin(beginning(row, run, verdict, "email", "a@b.org", {}))
    assert begun.answer == "begun"


async def _hold(world: Door) -> None:
    await runs.hold(world.database, (await _some_runs(world))[0], "held_by_request")


async def _cancel(world: Door) -> None:
    key = await world.sql("select 'key_' || nextval('chimeway.arrival')::int % 1000")
    assert await world.all("select outcome from chimeway.cancel(cancellation_key => $1)", key)


async def _pages(world: Door) -> None:
    for tenant in ("default", "another"):
        await world.database.fetch("list_runs", tenant, None, None, None, None, "50")
        await world.database.fetch("waiting_runs", tenant, None, None, "50")
        await world.database.fetch("list_recipients", tenant, None, "50")
        await world.database.fetch("list_recipients", tenant, "user_777", "50")


async def _identify(world: Door) -> None:
    """Somebody known, with all there is; somebody new; nothing new."""
    known = await world.sql("select 'user_' || nextval('chimeway.arrival')::int % 1000")
    profile = (
        '{"email": "a@b", "timezone": "Asia/Tokyo", "preferences": {"channels": {"sms": false}}, "data": {}}'
    )
    for person in (known, f"new_{uuid4()}", known):
        await world.sql("select chimeway.identify('default', $1, $2::text::jsonb)::text", person, profile)
    assert await world.database.fetch("recipient_row", "default", known)


CALLS_OF: tuple[Call, ...] = (
    _load, _due, _in_turn, _oldest, _sweep, _strike, _journey, _policy, _hold, _pages, _identify,
)  # fmt: skip


async def _affordable(world: Door, plans: Plans, call: Call) -> None:
    plans.texts.clear()
    for _ in range(CALLS):
        await call(world)
    assert len(plans.texts) >= CALLS, "auto_explain is silent"
    costly = plans.costly()
    assert not costly, costly[0]


async def test_no_hot_statement_reads_a_whole_table(full: Door) -> None:
    """Of all that nodes, producers and people who look run all day, nothing grows with the tables."""
    async with explained(full.database.url) as (world, plans):
        for call in CALLS_OF:
            await _affordable(world, plans, call)


async def test_a_cancel_reads_no_whole_table(full: Door) -> None:
    """What cancel reads does not grow with the tables."""
    async with explained(full.database.url) as (world, plans):
        await _affordable(world, plans, _cancel)


async def _forget(world: Door) -> None:
    person = await world.sql("select 'user_' || 1 + nextval('chimeway.arrival')::int % 10000")
    assert await world.all("select place from chimeway.export_recipient('default', $1)", person)
    assert await world.all(
        "select part_of from chimeway.export_recipient('default', $1, 'run', null, 50)", person
    )
    assert await world.all("select known from chimeway.forget_recipient('default', $1)", person)


async def test_forgetting_and_exporting_read_one_life(full: Door) -> None:
    """What they read does not grow with the tables, whether a run is live or has ended."""
    async with explained(full.database.url) as (world, plans):
        await _affordable(world, plans, _forget)


BACKLOG = f"""
set session_replication_role = replica;
insert into chimeway.workflow_runs (id, shard, tenant_id, recipient_id, workflow_key, workflow_version,
        event_id, state, transition_count, status_reason, wake_at, created_at)
    select chimeway.new_id(0::smallint), 0, case n when 1 then 'b' else 'a' end, 'user_' || n, 'escalation',
           1, chimeway.new_id(0::smallint), 'active', 1, 'workflow_started', now(), now()
      from generate_series(1, {MANY}) n;
set session_replication_role = origin;
"""


async def test_a_turn_reads_nobodys_backlog(uncounted: Door) -> None:
    """A backlog of which no statistics know yet costs a turn nothing."""
    async with explained(uncounted.database.url) as (world, plans):

        async def turn(world: Door) -> None:
            found = await Turns(world.database, "new run", lambda: ["a"]).next(NOW() + timedelta(days=1))
            assert [due.tenant for due in found] == ["b"]

        await _affordable(world, plans, turn)


@pytest.fixture
async def uncounted(database: Database) -> Door:
    """A database with a backlog that nobody has counted."""
    world = await opened(database)
    async with plain(database.url) as connection:
        await connection.execute(BACKLOG)
    return world


async def test_a_journey_reads_nobodys_backlog(database: Database) -> None:
    """Plans that were kept from quiet times, too, find the rows of a call one by one."""
    await opened(database)
    async with explained(database.url) as (world, plans):
        async with world.database.acquire() as connection:
            await connection.execute(_FOR_NODE)
        for _ in range(CALLS):
            await _journey(world)
        async with plain(database.url) as connection:
            await connection.execute(BACKLOG + SENT)
        await _affordable(world, plans, _journey)


SENT = f"""
set session_replication_role = replica;
insert into chimeway.deliveries (id, shard, run_id, visit, step_id, tenant_id, recipient_id, channel,
        render_key, status, next_attempt_at, attempt_count, created_at)
    select chimeway.new_id(0::smallint), 0, chimeway.new_id(0::smallint), 1, 'email', 'a', 'user_' || n,
           'email', 'mention', 'failed', now(), 1, now() from generate_series(1, {MANY}) n;
set session_replication_role = origin;
"""


async def test_a_costly_statement_would_be_seen(full: Door) -> None:
    """The tests above can fail: a scan is seen, also inside a function, and so is an index in vain."""
    async with explained(full.database.url) as (world, plans):
        for sql in (
            "select count(*) from chimeway.deliveries where render_key = 'other'",
            "do $$ begin perform from chimeway.signals where payload = '[]'; end $$",
            "set enable_seqscan = off; select count(*) from chimeway.workflow_runs where step <> id::text",
        ):
            plans.texts.clear()
            async with world.database.acquire() as connection:
                await connection.execute(sql)
            assert plans.costly(), sql
