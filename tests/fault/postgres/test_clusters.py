"""The kit's own clusters do what they say: what is tested with them is worth as much as they are."""

import pytest

from chimeway.store.pool import connect
from kit.clusters import Mode, either, own_cluster, small_disk
from kit.waiting import wait_for


@pytest.mark.parametrize("mode", ["fast", "immediate", "crash"])
async def test_a_cluster_keeps_what_was_committed(mode: Mode) -> None:
    """However it ends, it comes back with its rows, and with the schema."""
    async with own_cluster("log_connections=on") as cluster:
        await cluster.sql("create table kept as select 42 as n")
        before = cluster.pid
        await cluster.stop(mode)
        assert not cluster.runs()
        await cluster.start()
        assert cluster.pid != before
        assert await cluster.value("select n from kept") == 42
        assert await cluster.value("select count(*) from chimeway.schema_version") == 1
        assert "connection authorized" in cluster.said()


async def test_a_standby_takes_over_with_every_commit() -> None:
    """A commit waits for a synchronous standby, which has it when the primary is gone; that one returns."""
    async with own_cluster() as primary, primary.standby() as standby:
        await primary.sql("create table kept as select 1 as n")
        await primary.crash()
        await standby.promote()
        assert await standby.value("select n from kept") == 1
        connection = await connect(either(primary, standby), "test")
        await connection.execute("insert into kept values (2)")
        await connection.close()
        await primary.follow(standby)
        await wait_for(lambda: primary.value("select count(*) = 2 from kept"), "it has followed")


async def test_a_disk_can_be_filled_and_cleared() -> None:
    """Nothing can be written to it then; and afterwards it can."""
    with small_disk(2) as disk:
        disk.fill()
        with pytest.raises(OSError, match="No space"):
            (disk.path / "more").write_bytes(b"x" * 4096)
        disk.clear()
        (disk.path / "more").write_bytes(b"x" * 4096)
        assert 0 < disk.free_bytes() < 2 * 2**20
