"""Pruning: what has ended long ago leaves, batch by batch; each batch is a transaction of its own.

What may leave, in which order, and why nothing waits for it: section 10 of schema.sql, and docs/design.md.
"""

from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal, TypeAlias, get_args
from uuid import UUID

from chimeway.limits import PRUNE_BATCH
from chimeway.settings import Settings
from chimeway.store.pool import Database
from chimeway.store.words import in_our_words

Part: TypeAlias = Literal["bodies", "runs", "events", "signals", "answers", "actions", "restored"]
PARTS: Final[tuple[Part, ...]] = get_args(Part)
"""In this order: what a run has leaves with it, and is not read twice."""
_ASKED: Final[Mapping[Part, str]] = {
    "bodies": "prune_bodies",
    "runs": "prune_runs",
    "events": "prune_events",
    "signals": "prune_signals",
    "answers": "prune_answers",
    "actions": "prune_actions",
    "restored": "prune_restored",
}
_FROM_THE_FRONT: Final[frozenset[Part]] = frozenset({"answers", "actions", "restored"})
"""Of these there are few: each batch begins at the oldest there is."""


@dataclass(frozen=True, slots=True)
class Retention:
    """For how long is kept what has ended: runs, routed signals, keys, what was rendered, who did what."""

    runs: timedelta
    signals: timedelta
    keys: timedelta
    bodies: timedelta
    audit: timedelta

    def of(self, part: Part) -> timedelta:
        """Return how long what is of this part stays."""
        match part:
            case "bodies":
                return self.bodies
            case "runs":
                return self.runs
            case "signals":
                return self.signals
            case "events" | "answers":
                return self.keys
            case "actions" | "restored":
                return self.audit


def retention_of(settings: Settings) -> Retention:
    """Return what the settings say."""
    return Retention(
        runs=settings.retention_completed, signals=settings.retention_signals,
        keys=settings.idempotency_retention, bodies=settings.keep_bodies, audit=settings.retention_audit,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Batch:
    """What one transaction removed, by table; `last` is the place behind which the next one goes on."""

    removed: Mapping[str, int]
    more: bool
    last: tuple[datetime | None, UUID | None] = (None, None)


@dataclass(frozen=True, slots=True)
class Turn:
    """What a node removed in its turn; `busy`: another has it. `behind`: since when it could have left."""

    removed: Mapping[str, int]
    more: bool
    busy: bool
    behind: timedelta


async def batches(
    database: Database, part: Part, retention: Retention, *, tenant: str | None = None, dry: bool = False,
    at_most: int = PRUNE_BATCH,
) -> AsyncIterator[Batch]:  # fmt: skip
    """Remove all of a part that may leave, batch by batch, the oldest first; `dry`: count it only.

    Who stops between two batches has lost nothing, and needs no place to go on from: what is left is left.

    Raises:
        DatabaseUnavailable: it cannot be reached.
    """
    if part == "restored" and tenant is not None:
        return  # what is held after a restore is noted for all tenants at once
    batch = Batch({}, more=True)
    while batch.more:
        with in_our_words():
            batch = await _batch(database, part, retention, tenant, batch.last, at_most, dry=dry)
        yield batch


async def _batch(
    database: Database,
    part: Part,
    retention: Retention,
    tenant: str | None,
    last: tuple[datetime | None, UUID | None],
    at_most: int,
    *,
    dry: bool,
) -> Batch:
    keep: tuple[Any, ...] = (retention.of(part),)
    if part == "runs":
        keep = (retention.runs, retention.keys, retention.signals)
    behind = () if part in _FROM_THE_FRONT else last[1:] if part == "signals" else last
    whose = () if part == "restored" else (tenant,)
    row = await database.fetchrow(_ASKED[part], *keep, at_most, *whose, *behind, dry)
    assert row is not None, "it returns one row"
    return Batch(_counted(row["removed"]), row["more"], (row["last_at"], row["last_id"]))


async def turn(database: Database, part: Part, retention: Retention, at_most: int = PRUNE_BATCH) -> Turn:
    """Remove a batch of a part, behind the place where the last node left off, unless another is at it."""
    row = await database.fetchrow(
        "prune_next", part, retention.of(part), retention.keys, retention.signals, at_most
    )
    assert row is not None, "it returns one row"
    return Turn(_counted(row["removed"]), row["more"], row["busy"], row["behind"] or timedelta(0))


def _counted(removed: Mapping[str, int]) -> Counter[str]:
    return Counter({table: many for table, many in removed.items() if many})
