"""Forgetting a recipient: what goes, what stays, what the old keys say, and that audits still hold."""

import asyncpg
import pytest

from chimeway.store.pool import Database
from chimeway.store.verify import verify
from kit.invariants import assert_invariants
from kit.rows import rows_of
from store.forgetting import FORGET, again, every_row, forget, texts
from store.plain_sql import contents, deliver, plain, put_into_inbox, refused, register, run_row, trigger
from store.verify_world import World, played

EVERYBODY = (
    "reader",
    "sender",
    "sending",
    "unsure",
    "late",
    "quitter",
    "skipper",
    "halted",
    "waiter",
    "held",
)
_PART = """select id, data, data_digest, created_at, run_ids, recipient_ids[1] from chimeway.events
            where $1 = any(run_ids)"""


@pytest.fixture
async def world(clock_database: Database) -> World:
    """Return ten journeys, each of which went its own way through the tables."""
    return await played(clock_database)


async def test_audits_hold_and_replay_after_everybody_was_forgotten(
    world: World, clock_database_url: str
) -> None:
    """Wherever a run stood (waiting, held, on its way, retried, stopped, completed), verify finds nothing."""
    before = await world.sql("select count(*) from chimeway.workflow_transitions where inputs is not null")
    for person in EVERYBODY:
        async with world.database.acquire() as connection:
            told = dict(await connection.fetchrow(FORGET, person))
        assert told["known"], person
        assert await verify(world.database, page=3) == [], person
    async with rows_of(clock_database_url) as rows:
        assert await rows.value("select count(*) from chimeway.workflow_runs where ended_at is null") == 0
        assert await rows.value("select count(distinct recipient_id) from chimeway.workflow_runs") == 10
        named = "select count(*) from chimeway.{} where recipient_id not like 'forgotten-%'"
        for table in ("workflow_runs", "deliveries"):
            assert await rows.value(named.format(table)) == 0
        assert await rows.value("select count(*) from chimeway.inbox_items") == 0
        assert (
            await rows.value("select count(*) from chimeway.workflow_transitions where inputs is not null")
            == before
        )
        assert "a@example.org" not in await texts(rows.connection)
        await assert_invariants(clock_database_url, rows)


@pytest.mark.parametrize("status", ["pending", "failed", "deferred", "digested"])
async def test_a_message_of_a_run_that_had_completed_is_called_back(database_url: str, status: str) -> None:
    """What a completed run had left alone is cancelled, too, and nobody is due to send it."""
    async with plain(database_url) as connection:
        await register(connection)
        run = await trigger(connection)
        delivery = await deliver(connection, run, status=status)
        await connection.execute(
            """update chimeway.workflow_runs set state = 'completed', wake_at = null, ended_at = created_at;
               update chimeway.deliveries set next_attempt_at = created_at"""
        )
        told = await forget(connection)
        assert (told["runs_cancelled"], told["deliveries_cancelled"], told["on_their_way"]) == (0, 1, 0)
        row = await connection.fetchrow("select * from chimeway.deliveries where id = $1", delivery)
        assert row is not None
        assert (row["status"], row["suppression_reason"]) == ("cancelled", "recipient_forgotten")
        assert row["next_attempt_at"] is None
        assert (await run_row(connection, run))["state"] == "completed"


async def test_who_is_not_known_is_told_so(database_url: str) -> None:
    """Nobody by that id, in that tenant, or any more: no error, and nothing is written."""
    async with plain(database_url) as connection:
        await register(connection)
        await trigger(connection)
        before = await contents(connection)
        nothing = {
            "known": False,
            "runs_cancelled": 0,
            "deliveries_cancelled": 0,
            "on_their_way": 0,
            "rows_erased": 0,
        }
        assert await forget(connection, "bob") == nothing
        assert await forget(connection, "ada", "other") == nothing
        assert await contents(connection) == before
        assert (await forget(connection))["runs_cancelled"] == 1
        before = await contents(connection)
        assert await forget(connection) == nothing
        name = await connection.fetchval("select recipient_id from chimeway.workflow_runs")
        assert await forget(connection, name) == nothing
        assert await contents(connection) == before


async def test_the_random_name_is_no_id(database_url: str) -> None:
    """Nothing is found under it by whoever forgets, exports or triggers: its shard is another."""
    async with plain(database_url) as connection:
        await register(connection)
        people = [f"user_{n}" for n in range(400)]
        await again(connection, *people)
        await connection.fetch(
            "select chimeway.forget_recipient('default', p) from unnest($1::text[]) p", people
        )
        found = await connection.fetchval(
            """select count(*) from chimeway.workflow_runs
                where shard = chimeway.shard_of(tenant_id, recipient_id)"""
        )
        assert found == 0
        event = await connection.fetchrow("select forgotten, data from chimeway.events")
        assert event is not None
        assert event["forgotten"] == 400


async def test_what_only_stands_in_a_profile_or_a_signal_goes_too(database_url: str) -> None:
    """Somebody who was identified, or only ever said something, without any run."""
    async with plain(database_url) as connection:
        await connection.execute(
            "select chimeway.identify('default', 'ada', '{\"email\": \"ada@example.org\"}')"
        )
        await connection.execute(
            "select chimeway.signal('adas_type', 'default', 'bob', '{\"x\": \"bobs\"}', 'bobs key')"
        )
        assert (await forget(connection))["rows_erased"] == 1
        assert (await forget(connection, "bob"))["rows_erased"] == 1
        assert await connection.fetchval("select count(*) from chimeway.signals") == 0
        assert "ada" not in (text := await texts(connection))
        assert "bob" not in text


async def test_neighbours_are_untouched_row_by_row(database_url: str) -> None:
    """Another person, the same id in another tenant, one who was told of the same event: as they were."""
    async with plain(database_url) as connection:
        await register(connection)
        for tenant in ("default", "other"):
            for person in ("ada", "bob"):
                await connection.execute(
                    'select chimeway.identify($1, $2, \'{"email": "x@example.org", "data": {"n": 1}}\')',
                    tenant,
                    person,
                )
                keys = {"idempotency_key": f"{tenant} {person}", "cancellation_key": "both"}
                run = await trigger(connection, person, tenant_id=tenant, data='{"n": 1}', **keys)
                await put_into_inbox(connection, run)
                await deliver(connection, run, visit=2)
                await connection.execute(
                    "select chimeway.signal('s', $1, $2, '{\"n\": 2}', 'once')", tenant, person
                )
        (shared,) = await connection.fetch(
            """select run_id
                 from chimeway.trigger_many('mention_escalation', 'default', '{bob,ada}', '{}', 'both')
                where recipient_id = 'bob'"""
        )
        hers = await connection.fetch(
            """with r as (select * from chimeway.workflow_runs
                          where tenant_id = 'default' and recipient_id = 'ada')
               select id::text from r union select event_id::text from r
               union select d.id::text from chimeway.deliveries d join r on r.id = d.run_id
               union select id::text from chimeway.signals where tenant_id = 'default' and actor_id = 'ada'"""
        )
        marks = ["(default,ada,", *(row["id"] for row in hers)]
        before = await every_row(connection)
        event = await connection.fetchrow(_PART, shared["run_id"])
        await forget(connection)
        after = await every_row(connection)
        assert len(before & after) > 20
        for table, row in before ^ after:
            assert any(mark in row for mark in marks), f"{table}: {row}"
        assert await connection.fetchrow(_PART, shared["run_id"]) == event


async def test_the_old_key_begins_nothing_anew(database_url: str) -> None:
    """It is kept as its digest: who knows it is told the first run; erased data is not compared."""
    async with plain(database_url) as connection:
        await register(connection)
        first = await again(connection, "ada", data='{"n": 1}')
        await forget(connection)
        before = await contents(connection)
        assert "ada" not in await texts(connection)
        told = [("ada", first[0][1], True)]
        assert await again(connection, "ada", data='{"n": 1}') == told
        assert await again(connection, "ada", data='{"n": 2}') == told
        error = await refused(
            connection,
            "select chimeway.trigger_many('mention_escalation', 'default', '{ada,bob}', '{}', $1)",
            "ada's key",
        )
        assert error.sqlstate == "CW003"
        assert await contents(connection) == before
        assert (await again(connection, "ada", key="another"))[0][2] is False, "a new person"


async def test_of_an_event_for_many_only_one_part_goes(database_url: str) -> None:
    """The others' data stays until the last is forgotten; a retry finds each his own run, and begins none."""
    people = ("ada", "bob", "eve")
    async with plain(database_url) as connection:
        await register(connection)
        first = await again(connection, *people, data='{"n": 1}')
        runs = {person: run for person, run, _ in first}
        for gone in ("bob", "eve", "ada"):
            await forget(connection, gone)
            event = await connection.fetchrow("select * from chimeway.events")
            assert event is not None
            assert event["idempotency_key"].startswith("sha256:")
            assert (event["data"] == "{}") == (gone == "ada")
            assert event["run_ids"] == list(runs.values())
            assert gone not in event["recipient_ids"]
            told = await again(connection, *people, data='{"n": 1}')
            assert {person: run for person, run, _ in told} == runs
            assert all(known for _, _, known in told)
            if gone != "ada":
                with pytest.raises(asyncpg.PostgresError, match="idempotency_conflict"):
                    await again(connection, *people, data='{"n": 2}')
                with pytest.raises(asyncpg.PostgresError, match="idempotency_conflict"):
                    await again(connection, "bob", "eve", "zoe", data='{"n": 1}')
        assert await connection.fetchval("select count(*) from chimeway.workflow_runs") == 3
        assert await connection.fetchval("select count(*) from chimeway.events") == 1


async def test_the_key_of_who_was_forgotten_is_nobody_elses(database_url: str) -> None:
    """For another person it is a conflict, as ever; in another order each finds his own run."""
    async with plain(database_url) as connection:
        await register(connection)
        await again(connection, "ada")
        first = {person: run for person, run, _ in await again(connection, "bob", "eve", key="of both")}
        for person in ("ada", "bob", "eve"):
            await forget(connection, person)
        before = await contents(connection)
        for people, key in ((["zoe"], "ada's key"), (["bob", "zoe"], "of both"), (["eve", "ada"], "of both")):
            with pytest.raises(asyncpg.PostgresError, match="idempotency_conflict"):
                await again(connection, *people, key=key)
        told = await again(connection, "eve", "bob", key="of both")
        assert {person: run for person, run, _ in told} == first
        assert await contents(connection) == before


async def test_a_key_whose_digest_is_taken_goes_all_the_same(database_url: str) -> None:
    """Somebody used the digest itself as his key, in the same shard: hers is erased, and his is his."""
    async with plain(database_url) as connection:
        await register(connection)
        (found,) = await connection.fetch(
            """select k, d from generate_series(1, 100000) n,
                      lateral (select 'adas key ' || n as k) k, lateral chimeway.digest_of('default', k) d
                where chimeway.shard_of('default', k) = chimeway.shard_of('default', d) limit 1"""
        )
        key, digest = found
        await again(connection, "ada", key=key)
        ((_, his, _),) = await again(connection, "bob", key=digest)
        await forget(connection)
        assert "ada" not in await texts(connection)
        assert await again(connection, "bob", key=digest) == [("bob", his, True)]


async def test_a_hold_keeps_its_reason_and_not_its_note(database_url: str) -> None:
    """The word before the note is of a closed list."""
    async with plain(database_url) as connection:
        await register(connection)
        run = await trigger(connection)
        await connection.execute("select chimeway.hold_run($1, 'held_by_request', 'ada rang')", run)
        await connection.execute("select chimeway.resume_run($1, 'ada is well')", run)
        await forget(connection)
        notes = await connection.fetch("select note from chimeway.workflow_transitions order by seq")
        assert [row["note"] for row in notes] == [None, "held_by_request", None, None]


async def test_no_budget_is_made_for_who_was_forgotten(database_url: str) -> None:
    """A node that had his message in hand, which a cap looks at, asks for the budget once more."""
    async with plain(database_url) as connection:
        await register(connection)
        await deliver(connection, await trigger(connection))
        lock = """select chimeway.lock_budget(d.tenant_id, d.recipient_id, d.channel, d.shard)
                    from chimeway.deliveries d"""
        assert await connection.fetchval(lock) == 0
        await forget(connection)
        assert await connection.fetchval(lock) is None
        assert await connection.fetchval("select count(*) from chimeway.send_budgets") == 0


async def test_the_same_id_is_somebody_new_afterwards(database_url: str) -> None:
    """Identified, triggered, told: as if nobody had been there."""
    async with plain(database_url) as connection:
        await register(connection)
        await trigger(connection)
        await forget(connection)
        await connection.execute("select chimeway.identify('default', 'ada', '{\"locale\": \"de\"}')")
        run = await trigger(connection)
        await connection.execute("select chimeway.signal('notification_read', 'default', 'ada')")
        assert (await run_row(connection, run))["recipient_id"] == "ada"
        assert (await forget(connection))["runs_cancelled"] == 1
        names = await connection.fetch("select distinct recipient_id from chimeway.workflow_runs")
        assert len(names) == 2, "no name leads from one life to the other"


async def test_append_only_is_so_again_at_once(database_url: str) -> None:
    """In the same transaction, too; and a caller who rolls back has forgotten nobody."""
    async with plain(database_url) as connection:
        await register(connection)
        await trigger(connection)
        before = await contents(connection)
        transaction = connection.transaction()
        await transaction.start()
        await forget(connection)
        error = await refused(connection, "delete from chimeway.workflow_transitions")
        assert "append_only" in str(error)
        await transaction.rollback()
        assert await contents(connection) == before
