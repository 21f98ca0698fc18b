"""Forgetting a recipient while others are at work, and what comes later of messages that were under way."""

import asyncio
from contextlib import aclosing
from typing import Any
from uuid import UUID

import pytest

from chimeway import Chimeway
from chimeway.store.pool import Database, open_database
from chimeway.store.verify import verify
from kit.invariants import AT_LEISURE
from store.forgetting import FORGET, Connection, again, forget, texts
from store.plain_sql import blocked, plain, put_into_inbox, refused, register, trigger
from store.verify_world import World, played

SAID = """select chimeway.signal('notification_read', 'default', 'ada', '{"n": 1}')"""
ADDRESS = "Ada.Lovelace+x@example.org"


@pytest.fixture
async def world(clock_database: Database) -> World:
    """Return ten journeys, each of which went its own way through the tables."""
    return await played(clock_database)


async def _dispatched(world: World, person: str) -> tuple[UUID, UUID]:
    """Return run and delivery of a message that is on its way to a provider."""
    delivery = await world.delivery(person)
    assert await world.sql("select status from chimeway.deliveries where id = $1", delivery) == "dispatched"
    return world.runs[person], delivery


@pytest.mark.parametrize(
    ("status", "outcome", "ends"),
    [
        ("succeeded", "succeeded", ("succeeded", None)),
        ("failed", "failed", ("cancelled", "recipient_forgotten")),
    ],
)
async def test_a_result_that_comes_later_is_recorded_without_words(
    world: World, status: str, outcome: str, ends: tuple[str, str | None]
) -> None:
    """An attempt was under way: what became of it is kept, the provider's words and reference are not."""
    run, delivery = await _dispatched(world, "sending")
    async with world.database.acquire() as connection:
        told = dict(await connection.fetchrow(FORGET, "sending"))
        assert (told["on_their_way"], told["deliveries_cancelled"]) == (1, 0)
        answer = await connection.fetchval(
            """select answer from chimeway.record_results(
                    array[$1::uuid], array[$2::uuid], array[1], array[$3::text],
                    array[case when $3 = 'failed' then 'transient' end], array[$4::text], array[$4::text],
                    array[$5::text], array[null::text], array[chimeway.clock() + interval '1 minute'],
                    array[true])""",
            delivery, run, outcome, f"451 {ADDRESS}", status,
        )  # fmt: skip
        assert answer == "applied"
        row = await connection.fetchrow("select * from chimeway.deliveries where id = $1", delivery)
        assert (row["status"], row["suppression_reason"]) == ends
        assert (row["address"], row["message"], row["note"]) == (None, None, None)
        assert ADDRESS not in await texts(connection)
    assert await verify(world.database) == []


async def test_a_webhook_that_comes_later_writes_no_detail(world: World) -> None:
    """By the delivery's id it counts, twice the same is a repeat; what the provider called it is unknown."""
    delivery = await world.delivery("sender")
    async with world.database.acquire() as connection:

        async def told(**more: Any) -> str:
            event = {"id": f"7 {ADDRESS}", "type": "bounced", "detail": ADDRESS, **more}
            sql = "select answer from chimeway.record_feedback('s', $1::jsonb)"
            return str(await connection.fetchval(sql, [event]))

        assert await told(delivery_id=str(delivery), type="delivered", id=f"6 {ADDRESS}") == "recorded"
        await connection.execute(
            f"""set chimeway.retention = 'on';
               update chimeway.delivery_attempt_results set provider_reference = 'ref'
                where delivery_id = '{delivery}';
               reset chimeway.retention"""
        )
        await connection.fetch(FORGET, "sender")
        assert await told(provider_reference="ref") == "unknown"
        assert await told(delivery_id=str(delivery), type="delivered", id=f"6 {ADDRESS}") == "repeat"
        assert await told(delivery_id=str(delivery)) == "recorded"
        assert await told(delivery_id=str(delivery)) == "repeat"
        assert ADDRESS not in await texts(connection)
        row = await connection.fetchrow("select * from chimeway.deliveries where id = $1", delivery)
        assert row["suppression_reason"] == "bounced"
    assert await verify(world.database) == []


async def test_a_retry_that_waits_for_the_forgetting_begins_nothing(database_url: str) -> None:
    """A trigger by the old key meets the event while it is being forgotten, waits, and finds its digest."""
    async with (
        plain(database_url) as forgetter,
        plain(database_url) as producer,
        plain(database_url) as observer,
    ):
        await register(forgetter)
        first = await again(forgetter, "ada")
        transaction = forgetter.transaction()
        await transaction.start()
        await forget(forgetter)
        retry = asyncio.create_task(again(producer, "ada"))
        await blocked(observer, producer)
        await transaction.commit()
        assert await retry == [("ada", first[0][1], True)]
        assert await observer.fetchval("select count(*) from chimeway.workflow_runs") == 1
        assert await observer.fetchval("select count(*) from chimeway.events") == 1


async def test_a_retry_in_a_strict_transaction_finds_what_it_waited_for(database_url: str) -> None:
    """REPEATABLE READ sees the event as it was before the forgetting that it waits for."""
    async with (
        plain(database_url) as forgetter,
        plain(database_url) as producer,
        plain(database_url) as other,
    ):
        await register(forgetter)
        first = await again(forgetter, "ada")
        transaction = forgetter.transaction()
        await transaction.start()
        await forget(forgetter)
        async with producer.transaction(isolation="repeatable_read"):
            retry = asyncio.create_task(again(producer, "ada"))
            await blocked(other, producer)
            await transaction.commit()
            assert await retry == [("ada", first[0][1], True)]
        assert await other.fetchval("select count(*) from chimeway.workflow_runs") == 1
        assert await other.fetchval("select count(*) from chimeway.events") == 1


async def test_two_at_once_follow_each_other(database_url: str) -> None:
    """The second finds nothing; two people of one event are forgotten one after the other."""
    async with plain(database_url) as one, plain(database_url) as other, plain(database_url) as observer:
        await register(one)
        await again(one, "ada", "bob", data='{"n": 1}')
        for person, known in (("ada", False), ("bob", True)):
            transaction = one.transaction()
            await transaction.start()
            await forget(one, "ada")
            second = asyncio.create_task(forget(other, person))
            await blocked(observer, other)
            await transaction.commit()
            assert (await second)["known"] is known
            if person == "ada":
                await observer.execute(
                    "update chimeway.workflow_runs set recipient_id = 'ada' where recipient_id <> 'bob'"
                )
                await observer.execute(
                    "update chimeway.events set forgotten = 0, recipient_ids = '{ada,bob}'"
                )
        event = await observer.fetchrow("select * from chimeway.events")
        assert event is not None
        assert (event["forgotten"], event["data"]) == (2, "{}")


async def test_it_waits_for_who_has_a_run_and_takes_what_they_wrote(database_url: str) -> None:
    """A mark and a cancel with a note commit while it waits: their signal and note go, too."""
    async with (
        plain(database_url) as caller,
        plain(database_url) as forgetter,
        plain(database_url) as observer,
    ):
        await register(caller)
        run = await trigger(caller)
        item = await put_into_inbox(caller, run)
        transaction = caller.transaction()
        await transaction.start()
        await caller.fetch("select * from chimeway.cancel(run_id => $1, note => 'ada asked')", run)
        task = asyncio.create_task(forget(forgetter))
        await blocked(observer, forgetter)
        await caller.fetch("select * from chimeway.mark_inbox('default', 'ada', $1, 'read')", [item])
        await transaction.commit()
        assert (await task)["runs_cancelled"] == 0
        assert "ada" not in await texts(observer)
        assert await observer.fetchval("select count(*) from chimeway.signals") == 0


async def test_a_stricter_isolation_is_refused(database_url: str) -> None:
    """It could not see what others wrote while it waited."""
    async with plain(database_url) as connection:
        transaction = connection.transaction(isolation="repeatable_read")
        await transaction.start()
        error = await refused(connection, "select chimeway.forget_recipient(recipient_id => 'ada')")
        await transaction.rollback()
    assert error.sqlstate == "CW001"
    assert "READ COMMITTED" in str(error.hint)


async def test_a_new_run_may_have_been_told_what_is_forgotten(world: World) -> None:
    """A signal that a run of somebody new has in its mailbox is emptied there, and verify knows why."""
    await world.start("newcomer")
    await world.say("newcomer", "halt")
    await world.sql("select * from chimeway.route_signals(100, 100)")
    await world.sql(
        "update chimeway.signals set actor_id = 'forgotten-x', payload = '{}' where actor_id = 'newcomer'"
    )
    assert await verify(world.database) == []


async def _new_run_and_signal(producer: Connection, other: Connection, forgetter: Connection) -> UUID:
    """Forget somebody whose new run was not committed yet, and who has said something since it began."""
    await register(other)
    await trigger(other)
    async with producer.transaction():
        run = await trigger(producer)
        await other.execute(SAID)
        await forget(forgetter)
    return run


async def _taken_up(router: Connection, run: UUID) -> None:
    await router.execute("select from chimeway.workflow_runs where id = $1 for update", run)
    await router.execute("select chimeway.route_for_runs(array[$1::uuid])", run)


@pytest.mark.parametrize("commits", [True, False])
async def test_a_new_run_waits_for_what_is_being_deleted(database_url: str, commits: bool) -> None:
    """What it was to hear is gone, and no batch fails; or it is there after all, and is heard."""
    async with (
        plain(database_url) as producer,
        plain(database_url) as router,
        plain(database_url) as forgetter,
        plain(database_url) as observer,
    ):
        transaction = forgetter.transaction()
        await transaction.start()
        run = await _new_run_and_signal(producer, observer, forgetter)
        taking = asyncio.create_task(_taken_up(router, run))
        await blocked(observer, router)
        await (transaction.commit() if commits else transaction.rollback())
        await taking
        told = await observer.fetchval("select mailbox_count from chimeway.workflow_runs where id = $1", run)
        assert (
            told == await observer.fetchval("select count(*) from chimeway.signals") == (0 if commits else 1)
        )
    async with open_database(database_url) as database:
        assert await verify(database, max_lateness=AT_LEISURE) == []  # nobody plays what was triggered


@pytest.mark.parametrize("commits", [True, False])
async def test_what_a_new_run_is_taking_up_is_emptied_and_not_waited_for(
    database_url: str, commits: bool
) -> None:
    """A mailbox row that nobody can see yet names it; whether it comes or not, nothing personal stays."""
    async with (
        plain(database_url) as writer,
        plain(database_url) as router,
        plain(database_url) as forgetter,
        plain(database_url) as observer,
    ):
        await register(observer)
        await observer.execute("select chimeway.identify('default', 'ada', '{\"timezone\": \"Asia/Tokyo\"}')")
        async with writer.transaction():
            await writer.execute("select from chimeway.recipients for update")
            forgetting = asyncio.create_task(forget(forgetter))
            await blocked(observer, forgetter)
            run = await trigger(observer)
            await observer.execute(SAID)
            taking = router.transaction()
            await taking.start()
            await _taken_up(router, run)
        await forgetting
        await (taking.commit() if commits else taking.rollback())
        rows = await observer.fetch("select actor_id, payload, dedupe_key from chimeway.signals")
        assert [row["payload"] for row in rows] == ["{}"]
        assert rows[0]["actor_id"].startswith("forgotten-")
    async with open_database(database_url) as database:
        assert await verify(database, max_lateness=AT_LEISURE) == []  # nobody plays what was triggered


async def test_a_signal_again_while_the_first_is_forgotten_is_recorded(database_url: str) -> None:
    """Its key is known, and a moment later nobody has it: what is said is of somebody new, and no error."""
    say = "select chimeway.signal('notification_read', 'default', 'ada', '{}', 'again')"
    async with (
        plain(database_url) as speaker,
        plain(database_url) as forgetter,
        plain(database_url) as observer,
    ):
        first = await observer.fetchval(say)
        await observer.execute(
            """create function pg_temp_step() returns trigger language plpgsql as $$ begin
                   perform pg_advisory_xact_lock(7); return null; end $$;
               create trigger step after insert on chimeway.signals execute function pg_temp_step();
               select pg_advisory_lock(7)"""
        )
        saying = asyncio.create_task(speaker.fetchval(say))
        await blocked(observer, speaker)
        await forget(forgetter)
        await observer.execute("select pg_advisory_unlock(7)")
        assert await saying != first
        assert await observer.fetchval("select count(*) from chimeway.signals") == 1


async def test_who_looks_at_the_inbox_is_told(database_url: str) -> None:
    """A front end that follows it shows it empty, without asking again."""
    async with plain(database_url) as connection, Chimeway.connect(database_url) as client:
        await register(connection)
        await put_into_inbox(connection, await trigger(connection))
        async with aclosing(client.inbox("ada").changes(timeout=20)) as changes:
            seen = [(await anext(changes)).unseen]
            await client.forget("ada")
            async for change in changes:
                seen.append(change.unseen)
                if change.newest is None:
                    break
        assert (seen[0], seen[-1]) == (1, 0)
