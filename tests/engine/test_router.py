"""The router: everybody hears, whoever has hundreds of runs or holds some of them locked."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from uuid import UUID

import pytest

from chimeway.clock import SystemClock
from chimeway.engine.router import Router
from chimeway.engine.taker import Taker
from chimeway.limits import SIGNAL_RUNS_PER_CALL
from chimeway.store import mailbox
from chimeway.store.pool import Database
from kit.saboteur import FAULTS, sabotage
from kit.waiting import wait_for
from store.door import opened
from store.plain_sql import plain

MANY = 500
TRIGGER = """select chimeway.trigger('escalation', recipient_id => 'ada', data => '{"document": 7}')
               from generate_series(1, $1::int)"""
NUMBERS = "select run_id, count(*) as mails, max(number) as last from chimeway.run_mailbox group by run_id"
UNROUTED = "select count(*) from chimeway.signals where routed_at is null"


@asynccontextmanager
async def routing(
    database: Database, unheard: Callable[[], None] = lambda: None
) -> AsyncIterator[tuple[Router, list[UUID]]]:
    """Route while the block lasts; the list is of who got mail, in order."""
    woken: list[UUID] = []

    async def admit(run_id: UUID, _tenant: str | None) -> None:
        woken.append(run_id)

    def offer(run_id: UUID, _tenant: str | None) -> None:
        woken.append(run_id)

    router = Router(database, Taker(offer, admit, woken.__contains__), list, unheard, SystemClock())
    serving = asyncio.ensure_future(router.serve())
    router.look()
    try:
        yield router, woken
        assert not serving.done()
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)


async def test_who_has_hundreds_of_runs_delays_nobody(clock_database: Database) -> None:
    """A neighbour's signal behind that of somebody with 500 runs is heard with the first page of these."""
    world = await opened(clock_database)
    adas = {row[0] for row in await world.all(TRIGGER, MANY)}
    await world.trigger("bob")
    await world.say("ada", "read")
    await world.say("bob", "read")
    async with routing(clock_database) as (_, woken):
        await wait_for(lambda: len(woken) > MANY, "all are woken")
        await wait_for(lambda: world.sql(f"select ({UNROUTED}) = 0"), "both are routed")
    assert world.runs["bob"] in woken[: SIGNAL_RUNS_PER_CALL + 1]
    assert sorted(run for run in woken if run in adas) == sorted(adas), "each once"
    assert set(woken) == {*adas, world.runs["bob"]}
    heard = await world.all(NUMBERS)
    assert {row["run_id"] for row in heard} == {*adas, world.runs["bob"]}
    assert {(row["mails"], row["last"]) for row in heard} == {(1, 1)}


async def test_signals_of_one_page_come_in_their_order(clock_database: Database) -> None:
    """Two signals for hundreds of runs are in each mailbox in the order in which they were said."""
    world = await opened(clock_database)
    await world.all(TRIGGER, MANY)
    first, second = await world.say("ada", "read", document=8), await world.say("ada", "read")
    async with routing(clock_database):
        await wait_for(lambda: world.sql(f"select ({UNROUTED}) = 0"), "both are routed")
    rows = await world.all("""select array_agg(signal_id order by number) as heard, count(*)
                                from chimeway.run_mailbox group by run_id""")  # fmt: skip
    assert [row["heard"] for row in rows] == [[first, second]] * MANY


async def test_a_batch_whose_answer_is_lost_has_mail_looked_for(clock_database: Database) -> None:
    """Its signals are in mailboxes, and whose they are was not told."""
    world = await opened(clock_database)
    await world.start("ada")
    await world.say("ada", "read")
    asked: list[bool] = []
    with sabotage() as saboteur:
        saboteur.arm("route_named_signals", 1, FAULTS["answer lost"])
        async with routing(clock_database, lambda: asked.append(True)) as (_, woken):
            await wait_for(lambda: asked, "it is asked to look")
            assert await world.sql(UNROUTED) == 0
    assert woken == [world.runs["ada"]], "it was heard"


async def test_who_hears_is_woken_before_anything_is_written(clock_database: Database) -> None:
    """A signal's run is told at once; the signal is routed some time later, for whoever did not take it."""
    world = await opened(clock_database)
    await world.start("ada")
    async with plain(clock_database.url) as client, routing(clock_database) as (router, woken):
        async with client.transaction():  # nothing can be routed while the run is locked
            await client.execute("select 1 from chimeway.workflow_runs for update")
            signal = await world.say("ada", "read")
            router.look()
            await wait_for(lambda: woken, "it is woken")
            assert await world.sql("select count(*) from chimeway.run_mailbox") == 0

        async def routed() -> bool:
            router.look()
            return bool(await world.sql(f"select ({UNROUTED}) = 0"))

        await wait_for(routed, "it is routed")
    rows = await world.all("select run_id, number, signal_id from chimeway.run_mailbox")
    assert [tuple(row) for row in rows] == [(world.runs["ada"], 1, signal)]
    assert set(woken) == {world.runs["ada"]}


LOCKED = "a call takes the first runs of a signal, locked or not: when all of these are, it serves nobody"


async def test_locked_runs_keep_their_signal_from_no_other(
    clock_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of somebody with many runs a client holds as many locked as one call serves: the others hear."""
    monkeypatch.setattr(mailbox, "SIGNAL_RUNS_PER_CALL", 2)
    world = await opened(clock_database)
    adas = [row[0] for row in await world.all(TRIGGER, 5)]
    await world.say("ada", "read")
    async with plain(clock_database.url) as client, client.transaction():
        await client.execute("select 1 from chimeway.workflow_runs where id = any($1) for update", adas[:2])
        async with routing(clock_database) as (router, woken):

            def others_heard() -> bool:
                router.look()
                return len(woken) >= 3

            await wait_for(others_heard, "the others have mail")
            assert set(woken) == set(adas[2:])
