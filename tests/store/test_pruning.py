"""Retention: what leaves and what stays, whole or not at all, beside whoever is at work."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import asyncpg
import pytest

from chimeway import Chimeway
from chimeway.errors import ChimewayError
from chimeway.store.deliveries import Outcome, record_results
from chimeway.store.pool import Database, open_database
from chimeway.store.pruning import batches, turn
from chimeway.store.verify import verify
from chimeway.testing.databases import lent
from kit.copies import copy_of
from store.plain_sql import TABLES, contents, plain, refused, register
from store.pruning import DAY, KEPT, OF_RUNS, prune, rows_of_run
from store.test_statement_faults import INSTALL, ON_EACH
from store.verify_world import World, played

ALL = ("workflow_runs", "events", "signals", *OF_RUNS, "delivery_attempt_results", "delivery_verdicts")


@pytest.fixture(scope="module")
def lives() -> Iterator[World]:
    """Ten journeys, each of which went its own way through the tables; nobody is connected any more."""

    async def live(url: str) -> World:
        async with open_database(url) as database:
            return await played(database)

    with lent(test_clock=True) as url:
        yield asyncio.run(live(url))


@pytest.fixture
async def world(lives: World) -> AsyncIterator[World]:
    """The same in a database of this test alone."""
    async with copy_of(lives.database.url) as database:
        yield World(database, dict(lives.runs))


async def _settled(world: World) -> set[str]:
    """Return whose run has ended, and has nothing under way."""
    ended = set()
    for person, run in world.runs.items():
        if await world.sql(
            """select r.ended_at is not null and not exists (select from chimeway.unsettled(array[r.id]))
                 from chimeway.workflow_runs r where r.id = $1""",
            run,
        ):
            ended.add(person)
    return ended


async def _counts(world: World) -> Counter[str]:
    return Counter({table: await world.sql(f"select count(*) from chimeway.{table}") for table in ALL})


async def test_an_ended_run_leaves_whole_and_others_stay(world: World) -> None:
    """Each settled run leaves with all its rows and no others; a dry run counts just these."""
    settled = await _settled(world)
    assert settled
    assert settled < set(world.runs)
    live = {
        who: await rows_of_run(world.database, run) for who, run in world.runs.items() if who not in settled
    }
    await world.pass_time(24 * 89)
    assert (await prune(world.database))["workflow_runs"] == 0
    await world.pass_time(48)
    before = await _counts(world)
    counted = await prune(world.database, dry=True)
    assert await _counts(world) == before
    removed = await prune(world.database, at_most=2)
    assert removed == counted
    assert removed["workflow_runs"] == len(settled)
    after = await _counts(world)
    assert {table: before[table] - after[table] for table in ALL} == {table: removed[table] for table in ALL}
    for person, run in world.runs.items():
        assert await rows_of_run(world.database, run) == live.get(person, {}), person
    assert await verify(world.database, page=3, max_lateness=timedelta(days=1000)) == []
    assert await prune(world.database) == {}


async def test_what_operators_did_to_a_run_stays_without_their_words(world: World) -> None:
    """Of a person nobody could take them away any more: no row leads from him to a run that has left."""
    gone, *_ = await _settled(world)
    written = """insert into chimeway.operator_actions (who, action, run_id, note)
                 values ('ops', 'cancel', $1, 'rang')"""
    for run in (world.runs[gone], world.runs["halted"]):
        await world.sql(written, run)
    await world.pass_time(24 * 91)
    await prune(world.database)
    noted = "select run_id from chimeway.operator_actions where note is not null"
    assert await world.sql(noted) == world.runs["halted"]
    assert await world.sql("select count(*) from chimeway.operator_actions") == 2


async def test_a_run_with_a_message_under_way_stays(world: World) -> None:
    """Until its provider has answered, or the message is given up: then it leaves."""
    run = world.runs["halted"]
    await world.pass_time(24 * 91)
    await prune(world.database)
    assert await rows_of_run(world.database, run)
    delivery = await world.sql(
        "select id from chimeway.deliveries where run_id = $1 and attempt_count = 1", run
    )
    outcome = Outcome(delivery, run, 1, "succeeded", "succeeded")
    assert (await record_results(world.database, [outcome]))[0].answer == "applied"
    await prune(world.database)
    assert await rows_of_run(world.database, run) == {}


@pytest.mark.parametrize(
    "lock",
    [
        "select from chimeway.workflow_runs where id = $1 for update",
        "select from chimeway.deliveries where run_id = $1 for key share",
        "select from chimeway.events where $1 = any(run_ids) for update",
        "select from chimeway.inbox_items where run_id = $1 for update",
        """select from chimeway.signals where id in (
               select signal_id from chimeway.run_mailbox where run_id = $1) for key share""",
    ],
    ids=["run", "delivery", "event", "item", "signal"],
)
async def test_what_is_locked_is_not_waited_for(world: World, lock: str) -> None:
    """A run of which something is locked elsewhere stays whole, others leave; later it leaves, too."""
    run, removed = world.runs["reader"], len(await _settled(world))
    await world.pass_time(24 * 91)
    whole = await rows_of_run(world.database, run)
    async with plain(world.database.url) as stranger:
        transaction = stranger.transaction()
        await transaction.start()
        assert await stranger.execute(lock, run) != "SELECT 0"
        async with asyncio.timeout(20):
            assert (await prune(world.database))["workflow_runs"] == removed - 1
        assert await rows_of_run(world.database, run) == whole
        await transaction.rollback()
    assert (await prune(world.database))["workflow_runs"] == 1
    assert await rows_of_run(world.database, run) == {}
    assert await world.sql("select count(*) from chimeway.signals s where s.routed_at is null") == 0


async def test_many_prune_at_once(world: World) -> None:
    """They take what is there between them, each row once; nobody waits in a circle."""
    await world.pass_time(24 * 91)
    counted = await prune(world.database, dry=True)
    done = await asyncio.gather(*(prune(world.database, at_most=1) for _ in range(4)))
    left = await prune(world.database)
    assert sum(done, Counter()) + left == counted
    assert await verify(world.database, max_lateness=timedelta(days=1000)) == []


async def test_who_stops_between_batches_has_lost_nothing(world: World) -> None:
    """What is committed is gone, whole; what is left is found by whoever comes next."""
    await world.pass_time(24 * 91)
    counted = await prune(world.database, dry=True)
    steps = batches(world.database, "runs", KEPT, at_most=2)
    first = await anext(steps)
    await steps.aclose()
    assert first.more
    assert await verify(world.database, max_lateness=timedelta(days=1000)) == []
    assert first.removed + await prune(world.database) == counted


async def test_a_batch_that_fails_at_any_line_has_removed_nothing(world: World) -> None:
    """Each write of a batch fails in turn: all tables are as before, and append-only again."""
    call = "select removed from chimeway.prune_runs('1 day', '400 days', '1 day')"
    await world.pass_time(24 * 91)
    async with plain(world.database.url) as connection:
        await connection.execute(
            INSTALL + "".join(ON_EACH.format(table) for table in (*TABLES, "outlived_events"))
        )
        before, writes = await contents(connection), 0
        while True:
            writes += 1
            await connection.execute(
                f"update fault.at set n = {writes}; select setval('fault.write', 1, false)"
            )
            try:
                await connection.execute(call)
            except asyncpg.RaiseError:
                assert await contents(connection) == before, writes
                assert not await connection.fetchval("select current_setting('chimeway.retention', true)")
            else:
                break
        assert writes > 12
        assert await contents(connection) != before
    assert await verify(world.database, max_lateness=timedelta(days=1000)) == []


async def test_a_pruned_run_is_not_found(world: World) -> None:
    """Asked for, it is like any run that never was."""
    await world.pass_time(24 * 91)
    await prune(world.database)
    async with Chimeway.connect(world.database.url) as client:
        for ask in (client.explain, client.get_run):
            with pytest.raises(ChimewayError) as refusal:
                await ask(world.runs["reader"])
            assert refusal.value.code == "workflow_run_not_found"


async def _event(world: World, person: str) -> asyncpg.Record | None:
    async with world.database.acquire() as connection:
        return await connection.fetchrow(
            "select * from chimeway.events where $1 = any(run_ids)", world.runs[person]
        )


async def _again(world: World, person: str) -> tuple[UUID, bool]:
    async with world.database.acquire() as connection:
        row = await connection.fetchrow(
            """select run_id, known from chimeway.trigger_many('escalation', recipient_ids => array[$1],
                      data => '{"document": 7}', idempotency_key => $1)""",
            person,
        )
    assert row is not None
    return row["run_id"], row["known"]


async def test_a_key_is_known_longer_than_its_run(world: World) -> None:
    """The event stays for its key, without data and name; when its time is over, the key is free again."""
    run, short = world.runs["reader"], replace(KEPT, runs=DAY)
    await world.pass_time(24 * 2)
    await prune(world.database, short)
    assert await rows_of_run(world.database, run) == {}
    event = await _event(world, "reader")
    assert event is not None
    assert (event["pruned"], event["data"]) == (1, {})
    assert "reader" not in str(event["recipient_ids"]) + event["idempotency_key"]
    assert await _again(world, "reader") == (run, True)
    async with world.database.acquire() as connection:
        await refused(connection, "CW003", "select chimeway.trigger('escalation', recipient_id => 'reader', "
                      "data => '{\"document\": 8}', idempotency_key => 'reader')")  # fmt: skip
    assert await verify(world.database, max_lateness=timedelta(days=1000)) == []
    await world.pass_time(24 * 29)
    await prune(world.database, short)
    assert await _event(world, "reader") is None
    assert await world.sql("select count(*) from chimeway.outlived_events") == 0
    fresh, known = await _again(world, "reader")
    assert (fresh != run, known) == (True, False)


async def test_runs_of_one_event_leave_one_by_one(clock_database: Database, clock_database_url: str) -> None:
    """The event stays for who is left, without the names of who is gone; the old key finds them all."""
    world = World(clock_database)
    people = ["ada", "bob", "eve"]
    text = """select recipient_id, run_id, known from chimeway.trigger_many('mention_escalation',
                  recipient_ids => $1, data => '{"x": 1}', idempotency_key => 'all')"""
    async with plain(clock_database_url) as connection:
        await register(connection)
        first = await connection.fetch(text, people)
        runs = {row["recipient_id"]: row["run_id"] for row in first}
        await connection.fetch("select stopped_run_id from chimeway.cancel(run_id => $1)", runs["bob"])
        await world.pass_time(24 * 2)
        short = replace(KEPT, runs=DAY)
        assert (await prune(clock_database, short))["workflow_runs"] == 1
        event = await connection.fetchrow("select * from chimeway.events")
        assert event is not None
        assert (event["pruned"], event["forgotten"], event["data"]) == (1, 1, '{"x": 1}')
        assert [name in people for name in event["recipient_ids"]] == [True, False, True]
        again = await connection.fetch(text, people)
        assert [(row["recipient_id"], row["run_id"], row["known"]) for row in again] == [
            (row["recipient_id"], row["run_id"], True) for row in first
        ]
        for person in ("ada", "eve"):
            await connection.fetch("select stopped_run_id from chimeway.cancel(run_id => $1)", runs[person])
        await connection.fetch("select known from chimeway.forget_recipient(recipient_id => 'eve')")
        assert await verify(clock_database, max_lateness=timedelta(days=1000)) == []
        await world.pass_time(24 * 31)
        assert (await prune(clock_database, short))["events"] == 1
        assert await connection.fetchval("select count(*) from chimeway.events") == 0


async def test_signals(world: World) -> None:
    """What nobody heard leaves after its time; what is not routed, or stands in a mailbox, does not."""
    stranger = await world.say("nobody", "read")
    await world.sql("select * from chimeway.route_signals(100, 100)")
    unrouted = await world.say("nobody else", "read")
    heard = await world.sql(
        "select signal_id from chimeway.run_mailbox where run_id = $1", world.runs["reader"]
    )
    kept = await world.sql(
        "select signal_id from chimeway.run_mailbox where run_id = $1", world.runs["waiter"]
    )
    there = "select array_agg(id order by id) from chimeway.signals where id = any($1)"
    every = sorted([stranger, unrouted, heard, kept])
    await world.pass_time(24 * 29)
    await prune(world.database, replace(KEPT, runs=DAY))
    assert (
        await world.sql(there, every) == every
    )  # also that of a run that has left: its dedupe key is not over
    await world.pass_time(48)
    await prune(world.database, replace(KEPT, runs=DAY))
    assert await world.sql(there, every) == sorted([unrouted, kept])
    assert await verify(world.database, max_lateness=timedelta(days=1000)) == []


async def test_a_signal_waits_for_who_has_not_begun(world: World) -> None:
    """A run that begins later takes it up at its first evaluation; until then it stays."""
    await world.sql(
        """select chimeway.trigger('escalation', recipient_id => 'later', data => '{"document": 7}',
                  at => chimeway.clock() + interval '40 days')"""
    )
    signal = await world.say("later", "unheard")
    await world.sql("update chimeway.signals set routed_at = created_at where id = $1", signal)
    await world.pass_time(24 * 31)
    await prune(world.database)
    assert await world.sql("select count(*) from chimeway.signals where id = $1", signal) == 1
    await world.sql("update chimeway.workflow_runs set visit = 1 where recipient_id = 'later'")
    await prune(world.database)
    assert await world.sql("select count(*) from chimeway.signals where id = $1", signal) == 0


async def test_texts_of_messages_leave_first(world: World) -> None:
    """A week after its end a message has no text any more, and one that is not at its end has."""
    texts = """select count(*) filter (where terminal_at is null) as live, count(*) from chimeway.deliveries
                where message is not null"""
    async with world.database.acquire() as connection:
        live, before = await connection.fetchrow(texts)
        assert 0 < live < before
        await world.pass_time(24 * 8)
        removed = await prune(world.database)
        assert removed["bodies"] == before - live
        assert (await connection.fetchrow(texts))["count"] == live


async def test_only_of_a_tenant(world: World) -> None:
    """Another tenant's stay."""
    settled = len(await _settled(world))
    await world.pass_time(24 * 91)
    assert await prune(world.database, tenant="other") == {}
    assert (await prune(world.database, tenant="default"))["workflow_runs"] == settled


async def test_nodes_take_turns(world: World) -> None:
    """One at a time; each goes on where the last one was, and once a day begins at the beginning."""
    await world.pass_time(24 * 91)
    settled = len(await _settled(world))
    async with AsyncExitStack() as stack:
        stranger = await stack.enter_async_context(plain(world.database.url))
        transaction = stranger.transaction()
        await transaction.start()
        await stranger.execute("select from chimeway.pruning where part = 'runs' for update")
        assert (await turn(world.database, "runs", KEPT)).busy
        await stranger.execute(
            "select from chimeway.workflow_runs where id = $1 for update", world.runs["reader"]
        )
        await transaction.rollback()
        await transaction_of(stranger, world.runs["reader"])
        removed = 0
        while (done := await turn(world.database, "runs", KEPT, 1)).more:
            removed += done.removed.get("workflow_runs", 0)
            assert done.behind > timedelta(0)
        assert removed == settled - 1
        await stranger.execute("rollback")
    await turn(world.database, "runs", KEPT)
    assert await rows_of_run(world.database, world.runs["reader"])  # behind the place
    await world.pass_time(25)
    await turn(world.database, "runs", KEPT)
    assert not await rows_of_run(world.database, world.runs["reader"])
    for part in ("bodies", "events", "signals"):
        assert not (await turn(world.database, part, KEPT)).busy  # type: ignore[arg-type]


async def transaction_of(stranger: "asyncpg.Connection", run: UUID) -> None:  # type: ignore[type-arg]
    """Sit in a transaction that holds a run."""
    await stranger.execute("begin")
    await stranger.execute("select from chimeway.workflow_runs where id = $1 for update", run)


@pytest.mark.parametrize(
    ("call", "wrong"),
    [
        ("prune_runs('0', '1 day', '1 day')", "keep is 00:00:00"),
        ("prune_runs('1 day', null, '1 day')", "keep is null"),
        ("prune_bodies('1 day', 0)", "at_most is 0"),
        ("prune_events('1 day', 1001)", "at_most is 1001"),
        ("prune_signals('-1 day')", "keep is -1 days"),
    ],
)
async def test_what_is_refused(database_url: str, call: str, wrong: str) -> None:
    """No time to keep, and no batch: nothing is removed by a slip."""
    async with plain(database_url) as connection:
        before = await contents(connection)
        with pytest.raises(asyncpg.PostgresError, match=wrong) as refusal:
            await connection.execute(f"select * from chimeway.{call}")
        assert refusal.value.sqlstate == "CW001"
        assert await contents(connection) == before


async def test_it_needs_read_committed(database_url: str) -> None:
    """A snapshot older than the locks would not see what was written before them."""
    async with plain(database_url) as connection, connection.transaction(isolation="repeatable_read"):
        with pytest.raises(asyncpg.PostgresError, match="pruning in a transaction that is repeatable read"):
            await connection.execute("select * from chimeway.prune_bodies('1 day')")


async def test_who_comes_while_a_batch_is_not_committed(world: World) -> None:
    """Each verb waits for it, and then finds nobody, or begins anew: no error of foreign keys, no circle."""
    run, url = world.runs["sender"], world.database.url
    delivery = await world.sql(
        "select id from chimeway.deliveries where run_id = $1 and channel = 'email'", run
    )
    item = await world.sql("select id from chimeway.inbox_items where run_id = $1", run)
    await world.sql("select chimeway.signal('said', actor_id => 'sender', dedupe_key => 'once')")
    await world.sql("update chimeway.signals set routed_at = created_at where dedupe_key = 'once'")
    told = json.dumps([{"id": "4711", "delivery_id": str(delivery), "type": "bounced"}])
    verbs: dict[str, object] = {
        f"select answer from chimeway.record_feedback('postmark', '{told}', 'default', true)": "unknown",
        f"select outcome from chimeway.cancel(run_id => '{run}')": "workflow_run_not_found",
        f"select count(*) from chimeway.retry_delivery('{delivery}', 'default')": 0,
        f"select count(*) from chimeway.mark_inbox('default', 'sender', array['{item}'::uuid], 'read')": 0,
        "select known from chimeway.forget_recipient(recipient_id => 'reader')": False,
        "select chimeway.unsubscribe(recipient_id => 'sender', workflow => 'escalation', channel => 'email',"
        f" delivery_id => '{delivery}')": False,
        "select known from chimeway.trigger_many('escalation', recipient_ids => array['sender'],"
        """ data => '{"document": 7}', idempotency_key => 'sender')""": False,
        "select chimeway.signal('said', actor_id => 'sender', dedupe_key => 'once') is not null": True,
    }  # fmt: skip
    await world.pass_time(24 * 91)
    async with AsyncExitStack() as stack:
        pruner = await stack.enter_async_context(plain(url))
        others = [await stack.enter_async_context(plain(url)) for _ in verbs]
        transaction = pruner.transaction()
        await transaction.start()
        await pruner.execute("select * from chimeway.prune_runs('90 days', '30 days', '30 days')")
        await pruner.execute("select * from chimeway.prune_signals('30 days')")
        asked = [asyncio.ensure_future(one.fetchval(sql)) for one, sql in zip(others, verbs, strict=True)]
        await asyncio.wait(asked, timeout=0.3)
        await transaction.commit()
        async with asyncio.timeout(20):
            found = await asyncio.gather(*asked, return_exceptions=True)
    for (sql, wanted), answer in zip(verbs.items(), found, strict=True):
        said = str(answer).partition(":")[0] if isinstance(answer, Exception) else answer
        assert said == wanted, (sql, answer)
    assert await verify(world.database, max_lateness=timedelta(days=1000)) == []
