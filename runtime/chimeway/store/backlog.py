"""How much waits to be done: counted up to a bound, so that the answer costs the same whatever waits."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from chimeway.limits import BACKLOG_PER_SHARD, BACKLOG_SIGNALS
from chimeway.store.pool import Database


@dataclass(frozen=True, slots=True)
class Backlog:
    """What is due, what is at work included; more than a bound is not counted."""

    runs: int
    deliveries: int
    signals: int
    """Signals that nobody has routed yet."""
    signal_s: float
    """How long the oldest of them has waited."""


async def measure(database: Database, shards: Collection[int], now: datetime) -> Backlog:
    """Count what is due in these shards; signals are of all.

    Raises:
        Exception: of the connection, as the driver says it.
    """
    row = await database.fetchrow("backlog", sorted(shards), now, BACKLOG_PER_SHARD, BACKLOG_SIGNALS)
    assert row is not None, "a count has a row"
    return Backlog(row["runs"], row["deliveries"], row["signals"], max(0.0, row["signal_s"] or 0.0))


def counted_to(shards: Collection[int]) -> int:
    """Return up to how many runs, or deliveries, are counted at most."""
    return len(shards) * BACKLOG_PER_SHARD
