"""Packets vanish and nobody says so: the connection that listens, or all connections, lead nowhere.

The line is our own (`kit.network`): it takes what it is sent, passes nothing on, and resets nothing.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeAlias

import pytest

from fault.postgres.story import Story, make_home, node, telling
from kit.clusters import Cluster, own_cluster
from kit.network import Line, line_to, place_of
from kit.waiting import wait_for

SUPERVISOR_S = 60
"""systemd kills after ninety seconds; twenty are the drain's."""
_Behind: TypeAlias = tuple[Cluster, Story, Line]


@asynccontextmanager
async def _behind_a_line() -> AsyncIterator[_Behind]:
    """A cluster, producers that reach it, and a line to it for a node."""
    async with (
        own_cluster() as cluster,
        telling(cluster.url) as story,
        line_to(place_of(cluster.socket_url)) as line,
    ):
        yield cluster, story, line


@pytest.mark.big  # the listener calls itself every ten seconds, and waits for five
async def test_the_connection_that_listens_leads_nowhere(tmp_path: Path) -> None:
    """The listener hears no call of its own, says so, polls, connects anew and listens again."""
    made = make_home(tmp_path)
    async with (
        _behind_a_line() as (cluster, story, line),
        node(cluster.url, made, story, DIRECT_DATABASE_URL=line.url(cluster.url)) as one,
    ):
        await one.daemon.event("listener.mode", mode="hinted")
        assert len(line.black_hole(lambda link: link.says("node listener"))) == 1
        await story.tell("unheard", 20)
        silent = await one.daemon.event("listener.silent")
        await one.daemon.event("listener.mode", mode="polling")
        await one.until_ready(200, "working")
        await wait_for(lambda: len(one.said("listener.mode", mode="hinted")) == 2, "it listens again")
        await story.tell("heard", 4)
        print(f"\nsilent after {silent['seconds']} s; {await story.ends_as_written()}")
        assert not one.said("database.lost")
        assert not one.said("lease.lost")


@pytest.mark.big  # a drain takes twenty seconds
@pytest.mark.timeout(200)
async def test_a_node_ends_although_nobody_answers(tmp_path: Path) -> None:
    """Told to end while all connections lead nowhere it drains, and is gone before a supervisor kills it."""
    made = make_home(tmp_path)
    async with _behind_a_line() as (cluster, story, line):
        async with node(line.url(cluster.url), made, story) as one:
            await story.tell("before", 20)
            await story.some_are_due()
            line.black_hole()
            await one.until_ready(503, "database slow")
            assert await one.daemon.stopped(deadline_s=SUPERVISOR_S) == 0
        async with node(cluster.url, made, story):
            print(f"\n{await story.ends_as_written()}")


@pytest.mark.big  # a lease must have run out
async def test_the_way_to_the_lease_alone_leads_nowhere(tmp_path: Path) -> None:
    """Statements get through, but nothing is sent without a lease: the node is not ready, and says why."""
    made = make_home(tmp_path)
    async with (
        _behind_a_line() as (cluster, story, line),
        node(cluster.url, made, story, DIRECT_DATABASE_URL=line.url(cluster.url)) as one,
    ):
        await one.until_ready(200, "working")
        line.refuse()
        line.cut()
        await one.until_ready(503, "database lost")
        await one.daemon.event("lease.unreachable")
        assert not one.said("database.lost"), "all else got through"
        line.heal()
        await one.until_ready(200, "working")
        await story.tell("after", 4)
        print(f"\n{await story.ends_as_written()}")


@pytest.mark.big  # a call is slow after five seconds
async def test_all_connections_lead_nowhere(tmp_path: Path) -> None:
    """The node is not ready within seconds, and says so; then all goes on, on new connections."""
    made = make_home(tmp_path)
    async with (
        _behind_a_line() as (cluster, story, line),
        node(line.url(cluster.url), made, story) as one,
    ):
        await story.tell("before", 20)
        await story.some_are_due()
        line.black_hole()
        await one.until_ready(503, "database slow")
        await one.daemon.event("database.slow")
        line.cut()
        line.heal()
        await story.tell("after", 4)
        print(f"\n{await story.ends_as_written()}")
        await one.until_ready(200, "working")
        assert not one.said("run.held")
