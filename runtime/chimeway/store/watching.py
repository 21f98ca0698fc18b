"""A whole database at a glance, and its clock moved by hand: for tests, where there is little in it.

Nothing here is bounded or paged, and none of it is for a database with work in it.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

import asyncpg

from chimeway.store.pool import Database
from chimeway.store.views import AttemptView, DeliveryView, RunView


@dataclass(frozen=True, slots=True)
class Sight:
    """All runs in the order of their triggers, all deliveries in the order of their planning."""

    runs: tuple[RunView, ...] = ()
    deliveries: tuple[DeliveryView, ...] = ()
    by_run: Mapping[UUID, tuple[DeliveryView, ...]] = field(default_factory=dict)


async def look(database: Database) -> Sight:
    """Return all that there is."""
    runs = await database.fetch("all_runs")
    attempts: dict[UUID, list[AttemptView]] = defaultdict(list)
    for row in await database.fetch("all_attempts"):
        attempts[row["delivery_id"]].append(_attempt(row))
    by_run: dict[UUID, list[DeliveryView]] = defaultdict(list)
    everything: list[DeliveryView] = []
    for row in await database.fetch("all_deliveries"):
        fields = dict(row)
        run_id = fields.pop("run_id")
        view = DeliveryView(**fields, attempts=tuple(attempts[row["id"]]))
        everything.append(view)
        by_run[run_id].append(view)
    return Sight(
        tuple(RunView(**{**row, "pending_signals": tuple(row["pending_signals"])}) for row in runs),
        tuple(everything),
        {run_id: tuple(views) for run_id, views in by_run.items()},
    )


async def move_clock(database: Database, instant: datetime) -> None:
    """Move the clock of a database that was installed for tests."""
    await database.fetch("move_test_clock", instant)


async def due_runs(database: Database, now: datetime) -> list[UUID]:
    """Return all runs that are due, in an order that is the same each time."""
    return [row["id"] for row in await database.fetch("due_runs_in_order", now)]


async def due_deliveries(database: Database, now: datetime, passed_over: Collection[str]) -> list[UUID]:
    """Return all deliveries that are to be attempted, likewise, but for those of some channels."""
    return [row["id"] for row in await database.fetch("due_deliveries_in_order", now, list(passed_over))]


async def next_stop(database: Database, now: datetime, passed_over: Collection[str]) -> datetime | None:
    """Return the next instant at which something is due, or None."""
    at: datetime | None = await database.fetchval("next_stop", now, list(passed_over))
    return at


def _attempt(row: asyncpg.Record) -> AttemptView:
    fields = dict(row)
    del fields["delivery_id"]
    return AttemptView(number=fields.pop("attempt_no"), **fields)
