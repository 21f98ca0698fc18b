"""What `chimeway top` shows, looked at once: what was done so far, what is late, who works, what waits."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from chimeway.store import nodes, vitals, whereabouts
from chimeway.store.ids import SHARDS
from chimeway.store.pool import Database
from chimeway.store.vitals import Vitals
from chimeway.store.whereabouts import ListedNode
from chimeway.store.words import in_our_words


@dataclass(frozen=True, slots=True)
class ChannelWaiting:
    """Of the next messages of a channel: how many are due, how many failed before, and mostly of what."""

    channel: str
    due: int
    retrying: int
    error: str | None


@dataclass(frozen=True, slots=True)
class Glimpse:
    """All of it, at one moment."""

    at: datetime
    taken_at: float
    """On the monotonic clock: rates are differences of two glimpses."""
    written: Mapping[str, int]
    """Rows so far, by table."""
    vitals: Vitals
    nodes: Sequence[ListedNode]
    channels: Sequence[ChannelWaiting]


async def glimpse(database: Database) -> Glimpse:
    """Look once; every count is bounded."""
    with in_our_words():
        now = await nodes.database_now(database)
        return Glimpse(
            at=now,
            taken_at=time.monotonic(),
            written={row["name"]: row["written"] for row in await database.fetch("rows_written")},
            vitals=await vitals.measure(database, SHARDS, now),
            nodes=await whereabouts.listed_nodes(database),
            channels=[ChannelWaiting(**row) for row in await database.fetch("channels_waiting", now)],
        )
