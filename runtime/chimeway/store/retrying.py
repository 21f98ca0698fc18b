"""Messages that failed and wait for their next attempt: which there are, and trying one now."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from chimeway.progression.snapshot import DeliveryStatus
from chimeway.store import cursors
from chimeway.store.call import Row
from chimeway.store.pool import Database
from chimeway.store.rows import page
from chimeway.store.views import Page
from chimeway.store.words import in_our_words


@dataclass(frozen=True, slots=True)
class Failed:
    """A message that failed, or was put off, and is due at `next_attempt_at`, unless something keeps it."""

    delivery_id: UUID
    run_id: UUID
    tenant_id: str
    recipient_id: str
    step: str
    channel: str
    attempt_count: int
    error_class: str | None
    note: str | None
    next_attempt_at: datetime | None
    held_reason: str | None
    waiting_for_node: str | None
    status: Literal["failed", "deferred"]
    deferred_reason: str | None
    """Why policy has put it off until `next_attempt_at`, where it is `deferred`."""
    provider: str | None
    """Whose failure the last one was."""


@dataclass(frozen=True, slots=True)
class Retry:
    """A delivery as it was found, and whether it is tried again now."""

    delivery_id: UUID
    retried: bool
    run_id: UUID
    workflow_key: str
    recipient_id: str
    step_id: str
    channel: str
    status: DeliveryStatus
    suppression_reason: str | None
    stop_requested: bool
    attempt_count: int
    next_attempt_at: datetime | None
    terminal_at: datetime | None
    held_reason: str | None
    waiting_for_node: str | None


async def list_failed(
    database: Database, tenant: str | None, channel: str | None, limit: int
) -> list[Failed]:
    """Return messages that failed or were put off, the next to be sent first; of all tenants for None."""
    return list(await page_failed(database, tenant, channel, cursor=None, limit=limit))


async def page_failed(
    database: Database, tenant: str | None, channel: str | None, *, cursor: str | None, limit: int
) -> Page[Failed]:
    """Return a page of the same."""
    after = (None, None) if cursor is None else cursors.read(cursor)
    with in_our_words():
        rows = await database.fetch("failed_deliveries", tenant, channel, limit + 1, *after)
    return page(limit, lambda row: Failed(**row), _behind)([dict(row) for row in rows])


def _behind(row: Row) -> str:
    return cursors.written(row["next_attempt_at"].isoformat(), row["delivery_id"])
