"""What can be asked: runs, explanations, the waiting room, what is late. Nothing here writes.

Pure: each function returns the question with the reading of its answer; `callers` and `sync_callers` ask.
"""

from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import Final
from uuid import UUID

from chimeway.errors import WorkflowRunNotFound
from chimeway.limits import MAX_PAGE
from chimeway.store import cursors, rows
from chimeway.store.call import Answers, Call, Row, one, statement
from chimeway.store.queries import SQL
from chimeway.store.views import DeliveryView, ListedRun, Page, RunView, Story, WaitingRun

_NEVER: Final = "9999-12-31T00:00:00+00:00"
_STORY: Final = (
    "explain_context",
    "explain_transitions",
    "explain_deliveries",
    "explain_attempts",
    "explain_feedback",
    "explain_mailbox",
    "explain_signals_outside",
    "explain_verdicts",
    "explain_tenant",
    "explain_restored",
)


def get_run(tenant: str, run_id: UUID) -> Call[RunView]:
    """Ask for a run's row; reading raises WorkflowRunNotFound where this tenant has none of this id."""

    def read(found: Sequence[Row]) -> RunView:
        if not found:
            raise _not_found(tenant, run_id)
        return rows.run(found[0])

    return one(statement(SQL["run_row"], run_id, tenant), read)


def find_run(run_id: UUID) -> Call[RunView]:
    """Ask for a run's row, of whatever tenant (for the engine, which serves them all).

    Reading raises WorkflowRunNotFound where there is none.
    """

    def read(found: Sequence[Row]) -> RunView:
        if not found:
            raise WorkflowRunNotFound(f"no run {run_id}", hint="look at the id", run_id=run_id)
        return rows.run(found[0])

    return one(statement(SQL["run_row_of_any_tenant"], run_id), read)


def find_deliveries(run_id: UUID, ids: Collection[UUID]) -> Call[tuple[DeliveryView, ...]]:
    """Ask for some deliveries of a run, in the order of its visits; their attempts are left out."""
    return one(
        statement(SQL["explain_deliveries"], run_id),
        lambda found: tuple(
            delivery for row in found if (delivery := rows.delivery(row, ())).id in ids
        ),
    )  # fmt: skip


def list_runs(
    tenant: str,
    *,
    state: str | None,
    workflow: str | None,
    recipient: str | None,
    cursor: str | None,
    limit: int,
) -> Call[Page[RunView]]:
    """Ask for a page of a tenant's runs, the newest first."""
    after = None if cursor is None else cursors.read(cursor)[1]
    asked = (
        statement(SQL["list_runs"], tenant, state, workflow, after, limit + 1)
        if recipient is None
        else statement(SQL["list_runs_of_recipient"], tenant, state, workflow, recipient, after, limit + 1)
    )
    return one(asked, rows.page(limit, rows.run, lambda row: cursors.written(row["created_at"], row["id"])))


def read_story(tenant: str, run_id: UUID) -> Call[Story]:
    """Ask for all that is known of a run, in one snapshot where the connection is our own.

    Reading raises WorkflowRunNotFound where this tenant has no run of this id.
    """

    def read(answers: Answers) -> Story:
        run, context, *others = answers
        if not run:
            raise _not_found(tenant, run_id)
        if not context:
            raise AssertionError("a run without definition: a foreign key forbids it")
        return rows.story(run[0], context[0], *others)

    own = statement(SQL["run_row"], run_id, tenant)
    asked = (own, *(statement(SQL[name], run_id) for name in _STORY))
    return Call(asked, read)


def list_waiting(tenant: str, *, cursor: str | None, limit: int) -> Call[Page[WaitingRun]]:
    """Ask for a page of the waiting room, who goes on first."""
    after = (None, None) if cursor is None else cursors.read(cursor)
    return one(
        statement(SQL["waiting_runs"], tenant, *after, limit + 1),
        rows.page(limit, rows.waiting, lambda row: cursors.written(row["wake_at"] or _NEVER, row["id"])),
    )


def list_overdue(max_lateness: timedelta, tenant: str | None = None) -> Call[list[ListedRun]]:
    """Ask for runs past their wake by more than `max_lateness`, the latest first (1,000 at most)."""
    return one(
        statement(SQL["overdue_runs"], max_lateness, tenant, MAX_PAGE, None, None),
        lambda found: [rows.listed(row, "overdue") for row in found],
    )


def page_overdue(
    max_lateness: timedelta, tenant: str, *, cursor: str | None, limit: int
) -> Call[Page[ListedRun]]:
    """Ask for a page of the same, of one tenant."""
    after = (None, None) if cursor is None else cursors.read(cursor)
    return one(
        statement(SQL["overdue_runs"], max_lateness, tenant, limit + 1, *after),
        rows.page(limit, lambda row: rows.listed(row, "overdue"), behind),
    )


def behind(row: Row) -> str:
    """Return the cursor behind a run that people should look at."""
    return cursors.written(row["since"], row["id"])


def _not_found(tenant: str, run_id: UUID) -> WorkflowRunNotFound:
    return WorkflowRunNotFound(
        f'no run {run_id} in tenant "{tenant}"',
        hint="look at the id and at the tenant",
        run_id=run_id,
        tenant=tenant,
    )
