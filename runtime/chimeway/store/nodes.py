"""Nodes and the lease: who works here, and who may."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

import asyncpg

from chimeway.clock import SystemClock
from chimeway.store.ledger import Fence
from chimeway.store.pool import Connection, Database, connect
from chimeway.store.queries import SQL


async def enrol(database: Database, node: UUID, name: str, version: str, channels: Sequence[str]) -> None:
    """Write down that a node lives, and the channels that it has; again and again while it does."""
    await database.fetch("enrol_node", node, name, version, list(channels))


async def another_has(database: Database, node: UUID, channel: str) -> bool:
    """Say whether another node, seen of late, has a channel."""
    return bool(await database.fetchval("other_node_has_channel", node, channel))


async def leave(database: Database, node: UUID) -> None:
    """Take a node off the list."""
    await database.fetch("leave_node", node)


async def set_asleep(database: Database, node: UUID, *, asleep: bool) -> None:
    """Say, durably, whether producers must notify this node."""
    await database.fetch("set_asleep", node, asleep)


async def database_now(database: Database) -> datetime:
    """Return the clock of all SQL."""
    now: datetime = await database.fetchval("database_now")
    return now


async def synchronise(database: Database, clock: SystemClock) -> None:
    """Give a clock a measure of the database's time."""
    sent_at = clock.monotonic()
    clock.synchronise(await database_now(database), sent_at, clock.monotonic())


class LeaseLine:
    """The connection of a lease: renews it, and shows by a session lock that its process lives."""

    def __init__(self, connection: Connection) -> None:
        """Take an open connection of its own; use `open`."""
        self._connection = connection

    @classmethod
    async def open(cls, url: str, name: str) -> "LeaseLine":
        """Connect.

        Raises:
            DatabaseUnavailable: nothing answers there.
        """
        return cls(await connect(url, name))

    async def lock(self) -> bool:
        """Take the session lock; False when another process holds it."""
        return bool(await self._connection.fetchval(SQL["lock_lease"]))

    async def unlock(self) -> None:
        """Give the session lock back."""
        await self._connection.fetchval(SQL["unlock_lease"])

    async def owned_epoch(self) -> int | None:
        """Return the epoch of whoever owns the lease; None when it was handed over, or never taken."""
        row = await self._connection.fetchrow(SQL["lease_state"])
        return None if row is None or row["owner"] is None else int(row["epoch"])

    async def acquire(
        self, owner: UUID, ttl: timedelta, *, orphaned: int | None
    ) -> tuple[Fence, bool] | None:
        """Take the lease if it may be had; the second value says whether it was handed over cleanly.

        `orphaned` is the epoch whose owner is believed to be gone.
        """
        row = await self._connection.fetchrow(SQL["acquire_lease"], owner, ttl, orphaned)
        return (Fence(owner, row["epoch"]), row["clean"]) if row else None

    async def renew(self, fence: Fence, ttl: timedelta) -> bool:
        """Keep the lease; False when another has it."""
        return bool(await self._connection.fetchval(SQL["renew_lease"], fence.owner, fence.epoch, ttl))

    async def release(self, fence: Fence) -> None:
        """Hand the lease over."""
        await self._connection.fetchval(SQL["release_lease"], fence.owner, fence.epoch)

    async def close(self) -> None:
        """Close the connection, at once if need be."""
        try:
            await self._connection.close(timeout=2)
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            self._connection.terminate()
