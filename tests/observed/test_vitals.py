"""What a database says of itself when somebody watches: each figure against rows made for it."""

from datetime import timedelta
from functools import partial
from typing import get_args

import httpx2
import pytest

from chimeway.delivery.channel import ErrorClass
from chimeway.store import vitals
from chimeway.store.ids import SHARDS, shard_of_id
from chimeway.store.pool import Database
from chimeway.store.schema import VERSION
from chimeway.store.vitals import Vitals
from chimeway.tally import Tally
from chimeway.web.metrics import RESULTS, Metrics
from chimeway.web.readings import Facts, Readings, Sample
from chimeway.web.server import Site, application
from store.door import Door, opened


@pytest.fixture
async def world(clock_database: Database) -> Door:
    """Two runs, triggered and not decided about."""
    world = await opened(clock_database)
    await world.trigger("ada")
    await world.trigger("grace")
    return world


async def measured(world: Door, *, ahead_s: float = 0, shards: frozenset[int] = SHARDS) -> Vitals:
    """Look, by a time to come."""
    now = await world.sql("select chimeway.clock()")
    return await vitals.measure(world.database, shards, now + timedelta(seconds=ahead_s))


async def test_what_is_due_is_counted_and_how_long_it_is(world: Door) -> None:
    """In the shards that are asked about alone; held, paused and parked runs wait on purpose."""
    found = await measured(world, ahead_s=60)
    assert (found.backlog.runs, round(found.overdue_s)) == (2, 60)
    others = SHARDS - {shard_of_id(run) for run in world.runs.values()}
    assert (await measured(world, ahead_s=60, shards=others)).overdue_s == 0
    await world.sql("update chimeway.workflow_definitions set paused_at = chimeway.clock()")
    found = await measured(world, ahead_s=60)
    assert (found.overdue_s, found.paused) == (0, 1)


async def test_signals_that_nobody_routes_are_counted(world: Door) -> None:
    """And how long the oldest of them waits."""
    assert (await measured(world)).backlog.signals == 0
    await world.sql("select chimeway.signal('read', actor_id => 'nobody')")
    found = await measured(world, ahead_s=30)
    assert (found.backlog.signals, round(found.backlog.signal_s)) == (1, 30)


async def test_who_waits_and_what_waits_for_a_node(world: Door) -> None:
    """Waiting runs, runs and deliveries that no node so far could go on with, calls under way."""
    await world.commit(await world.entry("ada"))
    found = await measured(world)
    assert (found.waiting, found.runs_for_node, found.deliveries_for_node, found.dispatched) == (1, 0, 0, 0)
    await world.sql("update chimeway.workflow_runs set waiting_for_node = 'definition_format'")
    await world.sql(
        "update chimeway.deliveries set waiting_for_node = 'channel sms', status = 'dispatched',"
        " terminal_at = null"
    )
    found = await measured(world)
    assert (found.runs_for_node, found.deliveries_for_node, found.dispatched) == (2, 1, 1)


async def test_who_works_is_counted_by_state(world: Door) -> None:
    """Without a node all shards are nobody's; a list of nodes says in which state each is."""
    found = await measured(world)
    assert (dict(found.nodes), found.ownerless) == ({}, 256)
    await world.sql(
        "insert into chimeway.nodes (id, name, version, channels) values (gen_random_uuid(), 'n', '0', '{}')"
    )
    assert (await measured(world)).nodes == {"no_lease": 1}


async def test_two_nodes_of_one_process_count_apart() -> None:
    """Each has a registry of its own."""
    first, second = Tally(), Tally()
    first.decisions["waiting"] = 3
    texts = []
    for tally in (first, second):
        app = application(Site(metrics=Metrics(partial(_reading, tally)).routes()))
        transport = httpx2.ASGITransport(app=app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client:
            texts.append((await client.get("/metrics")).text)
    assert 'chimeway_decisions_total{kind="waiting"} 3.0' in texts[0]
    assert 'chimeway_decisions_total{kind="waiting"} 0.0' in texts[1]


async def test_a_strangers_page_in_a_browser_reads_no_numbers() -> None:
    """Its own name leads to this machine, and stands in `Host`: 421, unless it has the token."""
    for token in (None, "t" * 20):
        app = application(Site(metrics=Metrics(partial(_reading, Tally()), token).routes()))
        client = httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://node")
        async with client:
            bearer = {"Authorization": f"Bearer {token}"}
            for host, own in {
                "127.0.0.1:8420": True, "[::1]:8420": True, "localhost": True, "LOCALHOST.:8420": True,
                "10.0.0.7:8420": True, "a.localhost": True, "evil.example": False, "evil.example:8420": False,
                "127.0.0.1.evil.example": False, "localhost.evil.example": False, "[::1].evil.example": False,
                "127.0.0.1@evil.example": False, "2130706433": False, "evil.example:127.0.0.1": False,
            }.items():  # fmt: skip
                answered = await client.get("/metrics", headers={"Host": host, **bearer})
                assert answered.status_code == (200 if own or token else 421), host
                if answered.status_code == 421:
                    assert answered.json()["code"] == "wrong_host"


def test_each_way_for_a_call_to_end_is_shown() -> None:
    """The classes of errors, and that it went well."""
    assert set(RESULTS) == {"succeeded", *get_args(ErrorClass)}


async def _reading(tally: Tally) -> Readings:
    facts = Facts(
        node="n", version="0", schema_version=VERSION, stage="starting", mode=None, shards=0, runs_at_work=0,
        deliveries_at_work=0, overloaded=False, brakes=[], trouble=None, troubles=[], lease_age_s=None,
        sample=Sample(None, None),
    )  # fmt: skip
    return Readings(tally, facts)
