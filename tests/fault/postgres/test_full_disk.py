"""The disk is full: that of the data, where the server says so, or that of its WAL, where it ends."""

import asyncio
from pathlib import Path

import asyncpg
import pytest

from fault.postgres.story import make_home, node, telling
from kit.clusters import Cluster, own_cluster, small_disk
from kit.waiting import wait_for


async def test_the_data_has_no_room(tmp_path: Path) -> None:
    """What needs room is refused: the daemon waits, says so, and goes on once there is some."""
    with small_disk(64) as disk:
        async with (
            own_cluster(data_on=disk) as cluster,
            telling(cluster.url) as story,
            node(cluster.url, make_home(tmp_path), story) as one,
        ):
            await story.tell("before", 10)
            disk.fill()
            async with asyncio.TaskGroup() as group:
                group.create_task(story.tell("meanwhile", 60))
                line = await one.daemon.event("database.refused", code="53100")
                assert "give it room" in line["hint"]
                await one.until_ready(503, "database refused")
                disk.clear()
            print(f"\n{await story.ends_as_written()}")
            await one.until_ready(200, "working")
            assert not one.said("run.held")


async def _ends(cluster: Cluster) -> bool:
    """Ask for another file of WAL; say whether the server has ended over it."""
    try:
        await cluster.sql(
            "select pg_switch_wal(), pg_logical_emit_message(true, 'test', repeat('x', 100000))"
        )
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        return "PANIC" in cluster.said()
    return False


@pytest.mark.big
async def test_the_wal_has_no_room(tmp_path: Path) -> None:
    """The server ends, and begins anew when somebody has made room: the daemon waits for it, and goes on."""
    with small_disk(24) as disk:
        async with (
            own_cluster("max_wal_size=8MB", "min_wal_size=2MB", wal_on=disk) as cluster,
            telling(cluster.url) as story,
            node(cluster.url, make_home(tmp_path), story) as one,
        ):
            await story.tell("before", 20)
            await story.some_are_due()
            disk.fill()
            await wait_for(lambda: _ends(cluster), "the server ends for want of room")
            await one.until_ready(503)
            if cluster.runs():
                await cluster.stop("immediate")
            disk.clear()
            await cluster.start()
            await story.tell("after", 10)
            print(f"\n{await story.ends_as_written()}")
            await one.until_ready(200, "working")
            assert one.said("database.lost")
            assert not one.said("run.held")
