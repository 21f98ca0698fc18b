"""Whether there is anything at all for a node to look for, of every kind, in one statement."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from chimeway.store.pool import Database


@dataclass(frozen=True, slots=True)
class Seen:
    """What a glance saw."""

    now: datetime
    """The database's time."""
    work: bool
    """Whether signals wait, or anything is due in the shards that were meant."""
    parked: bool
    """Whether a run was put aside by a pause that is over."""
    calls: bool
    """Whether any call to a provider is under way or unanswered, or waits for a node that can make it."""


async def glance(database: Database, until: datetime, shards: Collection[int]) -> Seen:
    """Look whether anything is there of each kind; of these shards, what is due until then."""
    (row,) = await database.fetch("glance", sorted(shards), until)
    return Seen(row["now"], row["work"], row["parked"], row["calls"])
