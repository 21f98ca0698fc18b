"""Where an operator's question leads: runs by the handles that people have, and who works at all."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
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
