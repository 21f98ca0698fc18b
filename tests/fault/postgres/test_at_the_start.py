"""Who opens a database that is there, and lets nobody in or only lets itself be read, is told so."""

import pytest

from chimeway.errors import DatabaseUnavailable
from chimeway.store.pool import connect, open_database
from kit.clusters import either, own_cluster
from kit.logins import as_role


async def test_a_server_that_lets_nobody_in_is_told_from_one_that_is_not_there() -> None:
    """By what it said and what to do; each way of opening tells the same, and none by a traceback."""
    async with own_cluster(schema=False) as cluster:
        await cluster.run("create role few login connection limit 0")
        url = as_role(cluster.url, "few")
        for number in range(2):
            with pytest.raises(DatabaseUnavailable, match=r"too many connections.*max_connections"):
                await (connect(url, "test") if number else open_database(url).__aenter__())
        await cluster.run("alter system set default_transaction_read_only = on")
        await cluster.run("select pg_reload_conf()")
        with pytest.raises(DatabaseUnavailable, match=r"no host is there .* target_session_attrs"):
            await open_database(either(cluster)).__aenter__()
