"""A daemon whose database is behind PgBouncer in transaction mode; it is killed, and so is the server."""

from pathlib import Path

from fault.postgres.story import make_home, node, telling
from kit.clusters import own_cluster
from kit.pooler import needs_pgbouncer, pooler_to

pytestmark = needs_pgbouncer


async def test_a_daemon_behind_a_pooler(tmp_path: Path) -> None:
    """Statements go through it, LISTEN and the lease past it; when either side is lost, all goes on."""
    made = make_home(tmp_path)
    async with own_cluster() as cluster, telling(cluster.url) as story:
        with pooler_to(cluster.url, tmp_path, sessions=4) as pooler:
            async with node(pooler.url, made, story, DIRECT_DATABASE_URL=cluster.url) as one:
                await story.tell("before", 20)
                await story.some_are_due()
                pooler.kill()
                await one.until_ready(503, "database lost")
                pooler.start()
                await one.until_ready(200, "working")
                await story.tell("between", 20)
                await story.some_are_due()
                await cluster.restart("immediate")
                await story.tell("after", 10)
                print(f"\n{await story.ends_as_written()}")
                await one.until_ready(200, "working")
                assert one.said("listener.mode", mode="hinted")
                assert not one.said("run.held")
                assert not one.said("listener.silent")


async def test_a_daemon_without_a_direct_way_says_so(tmp_path: Path) -> None:
    """It works, listens on nobody's session, and says once that it polls, and why."""
    made = make_home(tmp_path)
    async with own_cluster() as cluster, telling(cluster.url) as story:
        with pooler_to(cluster.url, tmp_path, sessions=4) as pooler:
            async with node(pooler.url, made, story) as one:
                await one.daemon.event("listener.pooled")
                await story.tell("polled", 20)
                print(f"\n{await story.ends_as_written()}")
                assert not one.said("listener.mode", mode="hinted")
                assert len(one.said("listener.pooled")) == 1
