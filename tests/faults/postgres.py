"""The database under fault: a primary, a standby that every commit waits for, and how they change places.

Each commit that a client was told of is on both disks before it is told. So a primary may be lost at any
moment: the standby is promoted, all lines lead to it, and the lost one is made its standby (pg_rewind).
Between the promotion and that moment there is one copy; no further failover begins then.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import asyncpg

from faults.acts import LOST
from kit.clusters import Cluster, own_cluster
from kit.network import Place, place_of
from kit.waiting import wait_for

SETTINGS: Final = (
    "max_connections=200",
    "shared_buffers=256MB",
    "max_wal_size=1GB",
    "wal_retrieve_retry_interval=200ms",
    "wal_receiver_timeout=5s",
    "wal_sender_timeout=5s",
)
_SHOWN: Final = (
    "server_version", "fsync", "synchronous_commit", "full_page_writes", "shared_buffers", "max_wal_size",
    "synchronous_standby_names", "data_checksums",
)  # fmt: skip
_NAME: Final = "standby"
_SLOW_S: Final = 60.0


class Postgres:
    """Two clusters, of which one writes."""

    def __init__(self, primary: Cluster, standby: Cluster | None) -> None:
        """Take running clusters; use `postgres`."""
        self.primary = primary
        self.standby = standby
        self.busy = asyncio.Lock()
        """Held by a fault of PostgreSQL's from its beginning until all is whole again."""
        self._moved: list[Callable[[Place], None]] = []

    @property
    def url(self) -> str:
        """Where it writes, past all lines, as superuser."""
        return self.primary.url

    @property
    def place(self) -> Place:
        """Where lines lead to."""
        return place_of(self.primary.url)

    def on_move(self, moved: Callable[[Place], None]) -> None:
        """Have somebody told where it writes now."""
        self._moved.append(moved)

    async def restart(self) -> None:
        """Restart the primary in order: sessions are ended."""
        await self.primary.restart("fast")
        await self._whole()

    async def crash(self) -> None:
        """Restart it without a checkpoint: it recovers from its log."""
        await self.primary.restart("immediate")
        await self._whole()

    async def fail_over(self) -> None:
        """Lose the primary; promote the standby."""
        lost, standby = self.primary, self.standby
        assert standby is not None, "there is no standby"
        await self._whole()  # else what it alone has would be lost, and nobody could be blamed
        await lost.crash()
        await standby.promote()
        self.primary, self.standby = standby, lost
        for moved in self._moved:
            moved(self.place)

    async def mend(self) -> None:
        """Make the lost primary the standby."""
        assert self.standby is not None, "there is no standby"
        await self.standby.follow(self.primary, _NAME)
        await self.primary.set(synchronous_standby_names=_NAME)
        await self._whole()

    async def _whole(self) -> None:
        """Wait until commits are on both disks again."""
        if self.standby is not None:
            sql = """select exists (select from pg_stat_replication
                      where application_name = $1 and state = 'streaming' and sync_state = 'sync')"""
            await wait_for(
                lambda: self.primary.value(sql, _NAME), "commits wait for the standby", deadline_s=_SLOW_S
            )

    async def terminate(self, chosen: int, salt: str) -> int:
        """End so many sessions of clients, drawn by `salt`; return how many there were to end."""
        sql = """select count(pg_terminate_backend(pid)) from (
                   select pid from pg_stat_activity where backend_type = 'client backend'
                      and pid <> pg_backend_pid() and datname = current_database()
                    order by md5(pid::text || $2) limit $1) s"""
        return int(await self.primary.value(sql, chosen, salt))

    async def lock(self, rows: int, seconds: float) -> int:
        """Sit for so long on runs that are live, in a transaction that changes nothing."""
        sql = """select id from chimeway.workflow_runs where ended_at is null
                  order by wake_at limit $1 for update skip locked"""
        connection = None
        try:
            connection = await asyncpg.connect(self.url)
            async with connection.transaction():
                found = len(await connection.fetch(sql, rows))
                await asyncio.sleep(seconds)
        except LOST:
            return 0
        finally:
            if connection is not None:
                connection.terminate()
        return found

    async def settings(self) -> dict[str, Any]:
        """Return what its promises depend on."""
        return {name: await self.primary.value(f"select current_setting('{name}')") for name in _SHOWN}


@asynccontextmanager
async def postgres(*, standby: bool) -> AsyncIterator[Postgres]:
    """Run it while the block lasts, without a schema; `standby`: with one that commits wait for."""
    async with own_cluster(*SETTINGS, schema=False) as primary:
        if not standby:
            yield Postgres(primary, None)
            return
        async with primary.standby(*SETTINGS, name=_NAME) as second:
            made = Postgres(primary, second)
            try:
                yield made
            finally:
                # `standby` is made to end what it started; the two may have changed places.
                made.primary.end()
