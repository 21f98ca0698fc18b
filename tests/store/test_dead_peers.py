"""That a server has vanished is found out by the system, and not after a quarter of an hour."""

import socket
import sys

import pytest

from chimeway.store.pool import connect
from kit.clusters import own_cluster


@pytest.mark.skipif(sys.platform != "linux", reason="the options are Linux's")
async def test_the_system_is_told_to_find_out() -> None:
    """Within half a minute, whether somebody waits for an answer or only listens."""
    async with own_cluster(tcp=True, schema=False) as cluster:
        connection = await connect(cluster.url, "test")
        found = connection._transport.get_extra_info("socket")
        option = lambda name: found.getsockopt(socket.IPPROTO_TCP, getattr(socket, name))  # noqa: E731
        assert found.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        idle_s = option("TCP_KEEPIDLE") + option("TCP_KEEPINTVL") * option("TCP_KEEPCNT")
        assert idle_s <= 30
        assert 0 < option("TCP_USER_TIMEOUT") <= 30_000
        await connection.close()
        await (await connect(cluster.socket_url, "test")).close()
