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
    """All runs in the order of their triggers, all deliveries in the order of their planning.

    `versions` are those of their rows, by id: what is as it was seen last is not read again, so that a long
    life in a test takes a time that grows with its length, and not with the square of it.
    """

    runs: tuple[RunView, ...] = ()
    deliveries: tuple[DeliveryView, ...] = ()
    by_run: Mapping[UUID, tuple[DeliveryView, ...]] = field(default_factory=dict)
    versions: Mapping[UUID, int] = field(default_factory=dict)


async def look(database: Database, before: Sight) -> Sight:
    """Return all that there is, given what was seen before."""
    known = list(before.versions), list(before.versions.values())
    versions: dict[UUID, int] = {}
    seen = {run.id: run for run in before.runs}
    runs = [
        seen[row["id"]] if row["tenant_id"] is None else _run(row)
        for row in _noted(versions, await database.fetch("all_runs", *known))
    ]
    rows = _noted(versions, await database.fetch("all_deliveries", *known))
    attempts = await _attempts(database, [row["id"] for row in rows if row["visit"] is not None])
    had = {delivery.id: delivery for delivery in before.deliveries}
    by_run: dict[UUID, list[DeliveryView]] = defaultdict(list)
    everything: list[DeliveryView] = []
    for row in rows:
        view = had[row["id"]] if row["visit"] is None else _delivery(row, attempts[row["id"]])
        everything.append(view)
        by_run[row["run_id"]].append(view)
    return Sight(
        tuple(runs), tuple(everything), {run_id: tuple(views) for run_id, views in by_run.items()}, versions
    )


def _noted(versions: dict[UUID, int], rows: list[asyncpg.Record]) -> list[asyncpg.Record]:
    versions.update((row["id"], row["version"]) for row in rows)
    return rows


async def _attempts(database: Database, deliveries: list[UUID]) -> defaultdict[UUID, list[AttemptView]]:
    """Return the attempts of deliveries that have changed: none begins or ends without that."""
    found: defaultdict[UUID, list[AttemptView]] = defaultdict(list)
    for row in await database.fetch("attempts_of", deliveries) if deliveries else ():
        found[row["delivery_id"]].append(_attempt(row))
    return found


def _run(row: asyncpg.Record) -> RunView:
    fields = dict(row)
    del fields["version"]
    return RunView(**{**fields, "pending_signals": tuple(fields["pending_signals"])})


def _delivery(row: asyncpg.Record, attempts: list[AttemptView]) -> DeliveryView:
    fields = dict(row)
    del fields["version"], fields["run_id"]
    return DeliveryView(**fields, attempts=tuple(attempts))


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
