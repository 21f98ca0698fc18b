"""Nodes: who works here, with which channels, and by which clock."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from chimeway.clock import SystemClock
from chimeway.store.pool import Database


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


async def hint(database: Database) -> None:
    """Wake the nodes that sleep: something has changed that is another's to look at."""
    await database.fetch("hint")


async def database_now(database: Database) -> datetime:
    """Return the clock of all SQL."""
    now: datetime = await database.fetchval("database_now")
    return now


async def synchronise(database: Database, clock: SystemClock) -> None:
    """Give a clock a measure of the database's time."""
    sent_at = clock.monotonic()
    clock.synchronise(await database_now(database), sent_at, clock.monotonic())
