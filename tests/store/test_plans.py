"""Query plans: no hot statement reads a big table from end to end, not even inside a function."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta

import pytest

from chimeway.store.pool import _FOR_NODE, Database, open_database
from chimeway.store.pruning import PARTS, Retention, batches, turn
from chimeway.store.turns import Turns
from chimeway.testing.databases import lent
from kit.copies import copy_of
from store.door import Door, opened
from store.plain_sql import plain
from store.plans import CALLS, CALLS_OF, NOW, Plans, affordable, cancel, explained, journey

MANY = 20_000
LONG_AGO = Retention(*[timedelta(microseconds=1)] * 5)
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


async def test_no_hot_statement_reads_a_whole_table(full: Door) -> None:
    """Of all that nodes, producers and people who look run all day, nothing grows with the tables."""
    async with explained(full.database.url) as (world, plans):
        for call in CALLS_OF:
            await affordable(world, plans, call)


async def test_a_cancel_reads_no_whole_table(full: Door) -> None:
    """What cancel reads does not grow with the tables."""
    async with explained(full.database.url) as (world, plans):
        await affordable(world, plans, cancel)


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
        await affordable(world, plans, _forget)


async def _prune(world: Door) -> None:
    """Batches of each part, of nodes and of people; a quarter of the runs may leave, and the others stay."""
    for part in PARTS:
        await turn(world.database, part, LONG_AGO, 100)
    assert (await anext(batches(world.database, "runs", LONG_AGO, dry=True, at_most=100))).removed
    assert (await anext(batches(world.database, "runs", LONG_AGO, at_most=100))).removed


async def test_pruning_reads_what_it_removes(full: Door) -> None:
    """A batch reads by an index what may leave, and nothing of what stays."""
    async with plain(full.database.url) as connection:
        await connection.execute(
            """update chimeway.deliveries set status = 'succeeded', terminal_at = created_at,
                      next_attempt_at = null, message = '{}'
                where status <> 'dispatched' and shard % 2 = 0 or status = 'failed';
               analyze chimeway.deliveries"""
        )
    async with explained(full.database.url) as (world, plans):
        await affordable(world, plans, _prune)
        assert not plans.costly(most=1_300), plans.costly(most=1_300)[0]


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

        await affordable(world, plans, turn)


@pytest.fixture
async def uncounted(database: Database) -> Door:
    """A database with a backlog that nobody has counted."""
    world = await opened(database)
    async with plain(database.url) as connection:
        await connection.execute(_NOBODY_COUNTS + BACKLOG)
    return world


@pytest.mark.parametrize("counted_after", [None, 0, 1, 7])
async def test_a_journey_reads_nobodys_backlog(database: Database, counted_after: int | None) -> None:
    """Plans that were kept from quiet times, too, find the rows of a call one by one."""
    async with _kept_plans(database, counted_after) as (world, plans):
        async with plain(database.url) as connection:
            await connection.execute(BACKLOG + SENT + HEARD)
        await affordable(world, plans, journey)


@pytest.mark.parametrize("counted_after", [None, 0, 1, 7])
async def test_a_cancel_reads_nobodys_backlog(database: Database, counted_after: int | None) -> None:
    """As a node's, a producer's plans from quiet times."""
    async with _kept_plans(database, counted_after) as (world, plans):
        for _ in range(CALLS):
            await _begun_and_cancelled(world)
        async with plain(database.url) as connection:
            await connection.execute(BACKLOG + SENT + HEARD)
        await affordable(world, plans, _begun_and_cancelled)


async def _begun_and_cancelled(world: Door) -> None:
    begun = """select chimeway.trigger('escalation', data => '{"document": 7}', cancellation_key => 'quiet',
                                       recipient_id => 'quiet_' || nextval('chimeway.arrival'))"""
    assert await world.sql(begun)
    assert await world.all("select outcome from chimeway.cancel(cancellation_key => 'quiet')")


async def test_a_count_in_the_middle_of_a_load_misleads_no_journey(database: Database) -> None:
    """Who counts a table while somebody loads it sees pages and no rows: a lookup seems as dear as a scan."""
    async with _kept_plans(database) as (world, plans):
        async with plain(database.url) as loading, plain(database.url) as counting, loading.transaction():
            await loading.execute(BACKLOG + SENT + HEARD)
            await counting.execute("analyze")
        await affordable(world, plans, journey)


@asynccontextmanager
async def _kept_plans(
    database: Database, counted_after: int | None = None
) -> AsyncIterator[tuple[Door, Plans]]:
    """Stand at a door whose plans are from quiet times, counted after so many journeys, or not."""
    quiet = await opened(database)
    async with plain(database.url) as connection:
        await connection.execute(_NOBODY_COUNTS)
        if counted_after is not None:
            for _ in range(counted_after):
                await journey(quiet)
            await connection.execute("analyze")
    async with explained(database.url) as (world, plans):
        async with world.database.acquire() as connection:
            await connection.execute(_FOR_NODE)
        for _ in range(CALLS):
            await journey(world)
        yield world, plans


_NOBODY_COUNTS = "".join(
    f"alter table chimeway.{table} set (autovacuum_enabled = off);"
    for table in ("workflow_runs", "deliveries", "signals", "run_mailbox")
)
"""Autovacuum would, sometimes: a test of plans says itself what they know.

Before plans are kept: those of a table that is altered, or counted, are made anew.
"""


SENT = f"""
set session_replication_role = replica;
insert into chimeway.deliveries (id, shard, run_id, visit, step_id, tenant_id, recipient_id, channel,
        render_key, status, next_attempt_at, attempt_count, created_at)
    select chimeway.new_id(0::smallint), 0, chimeway.new_id(0::smallint), 1, 'email', 'a', 'user_' || n,
           'email', 'mention', 'failed', now(), 1, now() from generate_series(1, {MANY}) n;
set session_replication_role = origin;
"""


HEARD = f"""
set session_replication_role = replica;
insert into chimeway.signals (id, shard, tenant_id, actor_id, type, payload, routed_at, created_at)
    select chimeway.new_id(0::smallint), 0, 'a', 'user_' || n, 'read', '{{}}', now(), now()
      from generate_series(1, {MANY}) n;
insert into chimeway.run_mailbox (run_id, shard, number, signal_id, routed_at)
    select chimeway.new_id(0::smallint), 0, 1, chimeway.new_id(0::smallint), now()
      from generate_series(1, {MANY}) n;
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
