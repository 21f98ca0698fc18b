"""PostgreSQL restarted under a daemon that is at work: in order, at once, and as by a power cut."""

from pathlib import Path

import pytest

from fault.postgres.story import make_home, node, telling
from kit.clusters import Mode, own_cluster

MODES: tuple[Mode, ...] = ("fast", "immediate", "crash")


@pytest.mark.parametrize(
    "times", [1, pytest.param(10, marks=[pytest.mark.big, pytest.mark.timeout(400)])], ids=["small", "big"]
)
async def test_postgresql_is_restarted(times: int, tmp_path: Path) -> None:
    """While runs are due: the daemon waits and says so, goes on, and nothing is lost or doubled."""
    async with (
        own_cluster() as cluster,
        telling(cluster.url) as story,
        node(cluster.url, make_home(tmp_path), story) as one,
    ):
        for number in range(times):
            for mode in MODES:
                await story.tell(f"{mode}_{number}", 30)
                await story.some_are_due()
                await cluster.stop(mode)
                await one.until_ready(503, "database lost")
                await cluster.start()
                await one.until_ready(200, "working")
        print(f"\nrestarted {times} times in each way: {await story.ends_as_written()}")
        assert len(one.said("database.lost")) >= times * len(MODES)
        assert len(one.said("database.back")) == len(one.said("database.lost"))
