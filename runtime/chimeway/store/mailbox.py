"""Signals on their way into the mailboxes of runs."""

from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from uuid import UUID

from chimeway.limits import HEED_BATCH, ROUTE_BATCH, SIGNAL_RUNS_PER_CALL, TURN_ROWS, TURN_TENANTS
from chimeway.store.ids import SHARDS, every_shard, if_few
from chimeway.store.pool import Database


async def route(
    database: Database, after: int, shards: Collection[int] = SHARDS
) -> tuple[list[tuple[UUID, str]], int | None]:
    """Route one batch of waiting signals of some shards, behind an arrival number.

    Returns:
        The runs that got mail, each with its tenant, and the number behind which to go on: the same again
        while these signals have more runs than one call serves; None when none waits.
    """
    if not shards:
        return [], None
    few = if_few(shards)
    statement = "route_signals_of" if few else "route_signals"
    rows = await database.fetch(statement, ROUTE_BATCH, SIGNAL_RUNS_PER_CALL, after, *few)
    if not rows:
        return [], None
    found = [(row["run_id"], row["tenant_id"]) for row in rows if row["run_id"]]
    more = bool(found) and any(row["more"] for row in rows)
    return found, after if more else rows[0]["last_arrival"]


@dataclass(frozen=True, slots=True)
class Heard:
    """Signals that somebody heard, unrouted yet, and the runs that they are for, each with its tenant."""

    signals: Collection[UUID]
    runs: list[tuple[UUID, str]]
    wide: Collection[UUID] = ()
    """Of the signals those that may be for more runs than a call serves: of these none is named."""
    last: int = 0
    """The highest of their arrival numbers."""


async def heed(
    database: Database, known: Collection[UUID], shards: Collection[int] = SHARDS, after: int = 0
) -> Heard:
    """Look for a batch of unrouted signals of some shards, behind an arrival number, but for those that are
    known; write nothing.
    """
    if not shards:
        return Heard((), [])
    rows = await database.fetch(
        "heed_signals", HEED_BATCH, SIGNAL_RUNS_PER_CALL, after, list(known), sorted(shards)
    )
    each = Counter(row["signal_id"] for row in rows)
    wide = {signal for signal, many in each.items() if many >= SIGNAL_RUNS_PER_CALL}
    found = {
        row["run_id"]: row["tenant_id"] for row in rows if row["run_id"] and row["signal_id"] not in wide
    }
    return Heard(each, list(found.items()), wide, max((row["arrival"] for row in rows), default=0))


async def route_named(database: Database, signals: Collection[UUID]) -> tuple[list[tuple[UUID, str]], bool]:
    """Route some signals; return the runs that got mail, and whether these signals have more runs."""
    rows = await database.fetch("route_named_signals", list(signals), SIGNAL_RUNS_PER_CALL)
    return [(row["run_id"], row["tenant_id"]) for row in rows if row["run_id"]], any(
        row["more"] for row in rows
    )


class SignalsInTurn:
    """Routes a few signals of tenant after tenant, behind a cursor that goes round."""

    def __init__(self, database: Database, shards: Callable[[], Collection[int]] = every_shard) -> None:
        """Take the database, and what names the shards that are looked through."""
        self._database = database
        self._shards = shards
        self._behind = ""

    async def next(self, passed_over: Collection[str]) -> list[tuple[UUID, str]]:
        """Take the next tenants' turn, but for some; return the runs that got mail, each with its tenant."""
        if not (shards := self._shards()):
            return []
        few = if_few(shards)
        rows = await self._database.fetch(
            "route_signals_in_turn_of" if few else "route_signals_in_turn",
            TURN_TENANTS,
            TURN_ROWS,
            SIGNAL_RUNS_PER_CALL,
            self._behind,
            list(passed_over),
            *few,
        )
        self._behind = (rows[0]["last_tenant"] or "") if rows else ""
        return [(row["run_id"], row["tenant_id"]) for row in rows if row["run_id"]]
