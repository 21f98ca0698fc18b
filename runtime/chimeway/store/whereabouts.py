"""Where an operator's question leads: runs by the handles that people have, and who works at all."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, TypeAlias
from uuid import UUID

from chimeway.errors import WorkflowRunNotFound
from chimeway.store import callers, reads
from chimeway.store.ids import shard_ranges
from chimeway.store.pool import Database
from chimeway.store.words import in_our_words


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds some shards: a node (by name), and whether its lease has not run out.

    `name` is None where nobody does, or where whoever did has left the list of nodes.
    """

    shards: str
    """Such as "0-84, 90"."""
    name: str | None
    seen_at: datetime | None
    expires_at: datetime | None
    held: bool


NodeState: TypeAlias = Literal["working", "standing_by", "draining", "silent", "no_lease", "gone"]
"""silent: its lease has run out, and others are about to end it. no_lease: it begins, or stands by on schema
version 3, where there is one lease. gone: without a lease, and not seen for half a minute."""


@dataclass(frozen=True, slots=True)
class ListedNode:
    """A node on the list, or a lease whose node is not on it (then it has no name)."""

    node_id: UUID | None
    name: str | None
    version: str | None
    state: NodeState
    shards: int
    suspect: int
    """Of its shards those that came from a node that died, and were not looked through yet."""
    lease_since: datetime | None
    lease_until: datetime | None
    started_at: datetime | None
    seen_at: datetime | None
    channels: list[str]


async def runs_of_key(database: Database, tenant: str, idempotency_key: str) -> Sequence[tuple[UUID, str]]:
    """Return the runs that an idempotency key began, each with its recipient; none: the key is unknown."""
    with in_our_words():
        rows = await database.fetch("runs_of_key", tenant, idempotency_key)
    return [(row["run_id"], row["recipient_id"]) for row in rows]


async def tenant_of_run(database: Database, run_id: UUID) -> str | None:
    """Return the tenant that has a run of this id; None: nobody has."""
    try:
        return (await callers.run(database, reads.find_run(run_id))).tenant_id
    except WorkflowRunNotFound:
        return None


async def listed_nodes(database: Database) -> list[ListedNode]:
    """Return who works here, and who did until a short while ago, in the order in which they started."""
    with in_our_words():
        rows = await database.fetch("listed_nodes")
    return [
        ListedNode(
            node_id=row["node_id"],
            name=row["name"],
            version=row["version"],
            state=_state(row),
            shards=row["shards"],
            suspect=row["suspect"],
            lease_since=row["lease_since"],
            lease_until=row["lease_until"],
            started_at=row["started_at"],
            seen_at=row["seen_at"],
            channels=list(row["channels"] or ()),
        )
        for row in rows
    ]


def _state(row: Any) -> NodeState:
    if row["lease_until"] is None:
        return "no_lease" if row["seen"] else "gone"
    if not row["held"]:
        return "silent"
    if row["draining"]:
        return "draining"
    return "working" if row["shards"] else "standing_by"


async def ownerless(database: Database) -> str:
    """Return the shards that nobody has whose lease has not run out, such as "0-84, 90"; empty: none."""
    with in_our_words():
        rows = await database.fetch("lease_holders")
    return shard_ranges([shard for row in rows if not row["held"] for shard in row["shards"]])


async def holders(database: Database) -> list[Holder]:
    """Return who holds which shards, in the order of each one's first; nobody's stand together."""
    with in_our_words():
        rows = await database.fetch("lease_holders")
    return [
        Holder(
            shards=shard_ranges(row["shards"]),
            name=row["name"],
            seen_at=row["seen_at"],
            expires_at=row["expires_at"],
            held=bool(row["held"]),
        )
        for row in rows
    ]
