"""Signals on their way into the mailboxes of runs."""

from uuid import UUID

from chimeway.limits import ROUTE_BATCH, SIGNAL_RUNS_PER_CALL
from chimeway.store.pool import Database


async def route(database: Database, after: int) -> tuple[list[UUID], int | None]:
    """Route one batch of waiting signals behind an arrival number.

    Returns:
        The runs that got mail, and the number behind which to go on: the same again while these signals
        have more runs than one call serves; None when none waits.
    """
    rows = await database.fetch("route_signals", ROUTE_BATCH, SIGNAL_RUNS_PER_CALL, after)
    if not rows:
        return [], None
    found = [row["run_id"] for row in rows if row["run_id"]]
    more = bool(found) and any(row["more"] for row in rows)
    return found, after if more else rows[0]["last_arrival"]
