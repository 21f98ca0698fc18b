"""What a database has to say of itself when somebody watches: counted up to bounds, in a few milliseconds."""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

from chimeway.limits import VITALS_COUNTED
from chimeway.store import backlog, whereabouts
from chimeway.store.backlog import Backlog
from chimeway.store.ids import SHARDS
from chimeway.store.pool import Database


@dataclass(frozen=True, slots=True)
class Vitals:
    """What was found; `backlog` and `overdue_s` are of the shards that were asked about, the rest of all."""

    backlog: Backlog
    overdue_s: float
    """How long the oldest run is due that can move by itself."""
    waiting: float
    """Runs that wait; from a bound on as the last ANALYZE or VACUUM estimated them."""
    held: int
    runs_for_node: int
    """Runs that no node so far could go on with; deliveries likewise, for which none has the channel."""
    deliveries_for_node: int
    dispatched: int
    """Attempts that are under way, or whose end nobody has written down."""
    paused: int
    """Workflows' versions that are paused."""
    notifications: float
    """How full the server's queue of notifications is, from 0 to 1."""
    nodes: Mapping[str, int]
    """How many nodes are in each state."""
    ownerless: int
    """Shards that no living node has."""


async def measure(database: Database, shards: Collection[int], now: datetime) -> Vitals:
    """Look once.

    Raises:
        Exception: of the connection, as the driver says it.
    """
    waits = await backlog.measure(database, shards, now)
    row = await database.fetchrow("vitals", sorted(shards), now, VITALS_COUNTED)
    assert row is not None, "a count has a row"
    nodes = await whereabouts.listed_nodes(database)
    owned = sum(node.shards for node in nodes if node.state in {"working", "draining"})
    return Vitals(
        backlog=waits, overdue_s=max(0.0, row["overdue_s"] or 0.0), waiting=row["waiting"], held=row["held"],
        runs_for_node=row["runs_for_node"], deliveries_for_node=row["deliveries_for_node"],
        dispatched=row["dispatched"], paused=row["paused"], notifications=row["notifications"],
        nodes=Counter(node.state for node in nodes), ownerless=len(SHARDS) - owned,
    )  # fmt: skip
