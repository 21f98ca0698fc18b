"""Reading: runs, explanations, the waiting room, what is late, the inbox. Nothing here writes."""

import base64
import binascii
from collections.abc import Callable, Collection, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar
from uuid import UUID

import asyncpg

from chimeway.errors import InvalidDefinition, InvalidInput, WorkflowRunNotFound
from chimeway.limits import MAX_PAGE
from chimeway.store.callers import in_our_words
from chimeway.store.pool import Connection, Database
from chimeway.store.queries import SQL
from chimeway.store.views import (
    AttemptView,
    DeliveryView,
    InboxItem,
    ListedRun,
    MailView,
    Page,
    RunView,
    Story,
    TransitionView,
    WaitingRun,
)
from chimeway.workflow.definition import Definition
from chimeway.workflow.parse import parse

_T = TypeVar("_T")
_NEVER: Final = datetime.fromisoformat("9999-12-31T00:00:00+00:00")


async def get_run(database: Database, tenant: str, run_id: UUID) -> RunView:
    """Return a run's row.

    Raises:
        WorkflowRunNotFound: no run of this tenant has this id.
    """
    with in_our_words():
        row = await database.fetchrow("run_row", run_id, tenant)
    if row is None:
        raise _not_found(tenant, run_id)
    return _run(row)


async def find_run(database: Database, run_id: UUID) -> RunView:
    """Return a run's row, of whatever tenant: for the engine, which serves them all.

    Raises:
        WorkflowRunNotFound: no run has this id.
    """
    row = await database.fetchrow("run_row_of_any_tenant", run_id)
    if row is None:
        raise WorkflowRunNotFound(f"no run {run_id}", hint="look at the id", run_id=run_id)
    return _run(row)


async def find_deliveries(
    database: Database, run_id: UUID, ids: Collection[UUID]
) -> tuple[DeliveryView, ...]:
    """Return some deliveries of a run, in the order of its visits; their attempts are left out."""
    rows = await database.fetch("explain_deliveries", run_id)
    return tuple(_delivery(row, ()) for row in rows if row["id"] in ids)


async def list_runs(
    database: Database,
    tenant: str,
    *,
    state: str | None,
    workflow: str | None,
    recipient: str | None,
    cursor: str | None,
    limit: int,
) -> Page[RunView]:
    """Return a page of a tenant's runs, the newest first."""
    after = None if cursor is None else _read_cursor(cursor)[1]
    with in_our_words():
        rows = await database.fetch("list_runs", tenant, state, workflow, recipient, after, limit + 1)
    return _page(rows, limit, _run, lambda row: _cursor(row["created_at"], row["id"]))


async def read_story(database: Database, tenant: str, run_id: UUID) -> Story:
    """Return all that is known of a run, in one snapshot.

    Raises:
        WorkflowRunNotFound: no run of this tenant has this id.
    """
    with in_our_words():
        async with (
            database.acquire() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            run = await connection.fetchrow(SQL["run_row"], run_id, tenant)
            if run is None:
                raise _not_found(tenant, run_id)
            return await _story(connection, run)


async def _story(connection: Connection, run: asyncpg.Record) -> Story:
    run_id = run["id"]
    context = await connection.fetchrow(SQL["explain_context"], run_id)
    if context is None:
        raise AssertionError("a run without definition: a foreign key forbids it")
    transitions = await connection.fetch(SQL["explain_transitions"], run_id)
    deliveries = await connection.fetch(SQL["explain_deliveries"], run_id)
    attempts = await connection.fetch(SQL["explain_attempts"], run_id)
    mail = await connection.fetch(SQL["explain_mailbox"], run_id)
    late = await connection.fetch(SQL["explain_late_signals"], run_id)
    return Story(
        run=_run(run),
        zone=context["zone"],
        now=context["now"],
        definition=_definition(context["definition"]),
        paused_at=context["paused_at"],
        transitions=tuple(TransitionView(**row) for row in transitions),
        deliveries=tuple(_delivery(row, attempts) for row in deliveries),
        mail=(
            *(_mail(row, row["number"], row["consumed_by"]) for row in mail),
            *(_mail(row, None, None) for row in late),
        ),
    )


async def list_waiting(
    database: Database, tenant: str, *, cursor: str | None, limit: int
) -> Page[WaitingRun]:
    """Return a page of the waiting room, who goes on first."""
    after = (None, None) if cursor is None else _read_cursor(cursor)
    with in_our_words():
        rows = await database.fetch("waiting_runs", tenant, *after, limit + 1)
    return _page(rows, limit, _waiting, lambda row: _cursor(row["wake_at"] or _NEVER, row["id"]))


async def list_overdue(
    database: Database, max_lateness: timedelta, tenant: str | None = None
) -> list[ListedRun]:
    """Return runs past their wake by more than `max_lateness`, the latest first (1,000 at most)."""
    with in_our_words():
        rows = await database.fetch("overdue_runs", max_lateness, tenant, MAX_PAGE)
    return [_listed(row, "overdue") for row in rows]


async def list_stuck(database: Database, tenant: str | None = None) -> list[ListedRun]:
    """Return live runs that cannot move by themselves: held, stuck, waiting for a node."""
    with in_our_words():
        rows = await database.fetch("stuck_runs", tenant, MAX_PAGE)
    return [_listed(row, row["kind"]) for row in rows]


async def list_inbox(
    database: Database,
    tenant: str,
    recipient: str,
    *,
    archived: bool,
    cursor: str | None,
    limit: int,
) -> Page[InboxItem]:
    """Return a page of a recipient's in-app items, the newest first."""
    after = (None, None) if cursor is None else _read_cursor(cursor)
    with in_our_words():
        rows = await database.fetch("inbox_items", tenant, recipient, *after, archived, limit + 1)
    return _page(rows, limit, lambda row: InboxItem(**row), lambda row: _cursor(row["created_at"], row["id"]))


async def count_unseen(database: Database, tenant: str, recipient: str) -> int:
    """Return how many items a recipient has neither seen nor read nor put away."""
    with in_our_words():
        return int(await database.fetchval("inbox_unseen", tenant, recipient))


def _page(
    rows: Sequence[asyncpg.Record],
    limit: int,
    view: Callable[[asyncpg.Record], _T],
    cursor: Callable[[asyncpg.Record], str],
) -> Page[_T]:
    more = cursor(rows[limit - 1]) if len(rows) > limit else None
    return Page(tuple(view(row) for row in rows[:limit]), more)


def _cursor(at: datetime, row_id: UUID) -> str:
    text = f"{at.isoformat()} {row_id}"
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _read_cursor(cursor: str) -> tuple[datetime, UUID]:
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
        at, _, row_id = text.partition(" ")
        moment = datetime.fromisoformat(at)
        if moment.tzinfo is None:
            raise ValueError(at)
        return moment, UUID(row_id)
    except (ValueError, TypeError, binascii.Error):
        raise InvalidInput("cursor is none that a page has given", field="cursor") from None


def _not_found(tenant: str, run_id: UUID) -> WorkflowRunNotFound:
    return WorkflowRunNotFound(
        f'no run {run_id} in tenant "{tenant}"',
        hint="look at the id and at the tenant",
        run_id=run_id,
        tenant=tenant,
    )


def _run(row: asyncpg.Record) -> RunView:
    return RunView(**{**row, "pending_signals": tuple(row["pending_signals"])})


def _definition(raw: Any) -> Definition | None:
    try:
        return parse(raw)
    except InvalidDefinition:
        return None


def _delivery(row: asyncpg.Record, attempts: Sequence[asyncpg.Record]) -> DeliveryView:
    own = tuple(
        AttemptView(
            number=attempt["attempt_no"],
            node=attempt["node"],
            started_at=attempt["started_at"],
            outcome=attempt["outcome"],
            error_class=attempt["error_class"],
            note=attempt["note"],
            provider_reference=attempt["provider_reference"],
            finished_at=attempt["finished_at"],
        )
        for attempt in attempts
        if attempt["delivery_id"] == row["id"]
    )
    return DeliveryView(**row, attempts=own)


def _mail(row: asyncpg.Record, number: int | None, consumed_by: UUID | None) -> MailView:
    return MailView(number, row["signal_id"], row["type"], row["created_at"], consumed_by)


def _waiting(row: asyncpg.Record) -> WaitingRun:
    return WaitingRun(
        run_id=row["id"],
        tenant_id=row["tenant_id"],
        recipient_id=row["recipient_id"],
        workflow_key=row["workflow_key"],
        workflow_version=row["workflow_version"],
        step=row["step"],
        signals=tuple(row["pending_signals"]),
        since=row["entered_at"],
        until=row["wake_at"],
        then=row["status_context"].get("to_step"),
        held_reason=row["held_reason"],
    )


def _listed(row: asyncpg.Record, kind: Any) -> ListedRun:
    return ListedRun(
        run_id=row["id"],
        kind=kind,
        tenant_id=row["tenant_id"],
        recipient_id=row["recipient_id"],
        workflow_key=row["workflow_key"],
        workflow_version=row["workflow_version"],
        state=row["state"],
        step=row["step"],
        reason=row["reason"],
        since=row["since"],
    )
