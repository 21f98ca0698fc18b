"""Whose trace a run belongs to: what its trigger said, which stands with the event."""

from collections.abc import Sequence
from uuid import UUID

from chimeway.store.pool import Database


async def contexts_of(database: Database, run_ids: Sequence[UUID]) -> dict[UUID, str]:
    """Return the trace contexts of those of these runs that have one."""
    rows = await database.fetch("trace_contexts", list(run_ids))
    return {row["id"]: row["traceparent"] for row in rows}
