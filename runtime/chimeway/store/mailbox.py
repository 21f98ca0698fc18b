"""Signals on their way into the mailboxes of runs."""

from collections.abc import Collection
from uuid import UUID

from chimeway.limits import ROUTE_BATCH, SIGNAL_RUNS_PER_CALL, TURN_ROWS, TURN_TENANTS
from chimeway.store.pool import Database


async def route(database: Database, after: int) -> tuple[list[tuple[UUID, str]], int | None]:
    """Route one batch of waiting signals behind an arrival number.

    Returns:
        The runs that got mail, each with its tenant, and the number behind which to go on: the same again
        while these signals have more runs than one call serves; None when none waits.
    """
    rows = await database.fetch("route_signals", ROUTE_BATCH, SIGNAL_RUNS_PER_CALL, after)
    if not rows:
        return [], None
    found = [(row["run_id"], row["tenant_id"]) for row in rows if row["run_id"]]
    more = bool(found) and any(row["more"] for row in rows)
    return found, after if more else rows[0]["last_arrival"]


class SignalsInTurn:
    """Routes a few signals of tenant after tenant, behind a cursor that goes round."""

    def __init__(self, database: Database) -> None:
        """Take the database."""
        self._database = database
        self._behind = ""

    async def next(self, passed_over: Collection[str]) -> list[tuple[UUID, str]]:
        """Take the next tenants' turn, but for some; return the runs that got mail, each with its tenant."""
        rows = await self._database.fetch(
            "route_signals_in_turn",
            TURN_TENANTS,
            TURN_ROWS,
            SIGNAL_RUNS_PER_CALL,
            self._behind,
            list(passed_over),
        )
        self._behind = (rows[0]["last_tenant"] or "") if rows else ""
        return [(row["run_id"], row["tenant_id"]) for row in rows if row["run_id"]]
