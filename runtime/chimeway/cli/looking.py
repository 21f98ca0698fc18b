"""`chimeway runs`, `explain`, `waiting`, `overdue`, `inbox`: what can be seen."""

import sys
from enum import StrEnum
from typing import Annotated, TypeVar

import typer

from chimeway.cli import session
from chimeway.cli.options import (
    AsJson,
    Cursor,
    DatabaseUrl,
    EveryTenant,
    Limit,
    MaxLateness,
    RunId,
    Tenant,
)
from chimeway.cli.printing import print_json, print_line
from chimeway.cli.tables import print_table
from chimeway.client.chimeway import Chimeway
from chimeway.client.explanation import Explanation
from chimeway.settings import Settings
from chimeway.store.views import InboxItem, ListedRun, Page, RunView, WaitingRun

app = typer.Typer(rich_markup_mode=None)
_T = TypeVar("_T")


class State(StrEnum):
    """A run's state, as an option can name it."""

    active = "active"
    waiting = "waiting"
    completed = "completed"
    stopped = "stopped"
    failed = "failed"


@app.command()
def runs(
    *,
    state: Annotated[State | None, typer.Option(help="Only those in this state.")] = None,
    workflow: Annotated[str | None, typer.Option(help="Only those of this workflow.")] = None,
    recipient: Annotated[str | None, typer.Option(help="Only those of this recipient.")] = None,
    stuck: Annotated[
        bool, typer.Option("--stuck", help="Live ones that cannot move by themselves, of all tenants.")
    ] = False,
    tenant: Tenant = None,
    cursor: Cursor = None,
    limit: Limit = 50,
    database_url: DatabaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """List runs, the newest first."""
    if stuck:
        _tell_listed(session.run(database_url, lambda client: client.stuck(tenant=tenant)), as_json)
        return

    async def ask(client: Chimeway) -> Page[RunView]:
        return await client.list_runs(
            tenant=tenant,
            state=state.value if state else None,
            workflow=workflow,
            recipient=recipient,
            cursor=cursor,
            limit=limit,
        )

    page = session.run(database_url, ask)
    if as_json:
        print_json(page)
        return
    print_table(
        ("RUN", "WORKFLOW", "RECIPIENT", "STATE", "STEP", "REASON", "CREATED"),
        (
            (run.id, f"{run.workflow_key} {run.workflow_version}", run.recipient_id, _state(run), run.step,
             run.status_reason, run.created_at)
            for run in page
        ),
    )  # fmt: skip
    _tell_more(page)


@app.command()
def explain(
    run_id: RunId, tenant: Tenant = None, database_url: DatabaseUrl = None, as_json: AsJson = False
) -> None:
    """Say what happened to a run, and why."""
    found = session.run(database_url, lambda client: client.explain(run_id, tenant=tenant))
    if as_json:
        print_json(found)
    else:
        _tell(found)


@app.command()
def waiting(
    tenant: Tenant = None,
    cursor: Cursor = None,
    limit: Limit = 50,
    database_url: DatabaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """List who waits, for what, until when; who goes on first, first."""

    async def ask(client: Chimeway) -> Page[WaitingRun]:
        return await client.waiting(tenant=tenant, cursor=cursor, limit=limit)

    page = session.run(database_url, ask)
    if as_json:
        print_json(page)
        return
    print_table(
        ("RUN", "WORKFLOW", "RECIPIENT", "STEP", "FOR", "UNTIL", "THEN", "HELD"),
        (
            (run.run_id, f"{run.workflow_key} {run.workflow_version}", run.recipient_id, run.step,
             run.signals, run.until, run.then, run.held_reason)
            for run in page
        ),
    )  # fmt: skip
    _tell_more(page)


@app.command()
def overdue(
    max_lateness: MaxLateness = None,
    tenant: EveryTenant = None,
    database_url: DatabaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """List runs past their wake; exit 1 if there are any."""
    allowed = Settings(database_url=database_url, max_lateness=max_lateness).max_lateness
    found = session.run(database_url, lambda client: client.overdue(tenant=tenant, max_lateness=allowed))
    _tell_listed(found, as_json)
    sys.exit(1 if found else 0)


@app.command()
def inbox(
    recipient: Annotated[str, typer.Argument(help="Whose.", show_default=False)],
    *,
    seen: Annotated[list[str] | None, typer.Option(help="Mark this item; may be repeated.")] = None,
    read: Annotated[list[str] | None, typer.Option(help="Likewise.")] = None,
    archive: Annotated[list[str] | None, typer.Option(help="Likewise.")] = None,
    archived: Annotated[bool, typer.Option("--archived", help="List those put away, too.")] = False,
    tenant: Tenant = None,
    cursor: Cursor = None,
    limit: Limit = 50,
    database_url: DatabaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """List a recipient's in-app items, and mark them."""

    async def ask(client: Chimeway) -> tuple[int, Page[InboxItem]]:
        box = client.inbox(recipient, tenant=tenant)
        await box.mark_seen(seen or [])
        await box.mark_read(read or [])
        await box.mark_archived(archive or [])
        return await box.unseen_count(), await box.list(cursor, limit=limit, archived=archived)

    unseen, page = session.run(database_url, ask)
    if as_json:
        print_json({"unseen": unseen, "items": page.items, "cursor": page.cursor})
        return
    print_line(f"{unseen} unseen")
    rows = ((item.id, item.created_at, _mark(item), item.subject) for item in page)
    print_table(("ITEM", "AT", "MARK", "SUBJECT"), rows)
    _tell_more(page)


def _tell(found: Explanation) -> None:
    run = found.run
    print_line(f"run {run.id} of {run.workflow_key} version {run.workflow_version} for {run.recipient_id}")
    print_line(f"{_state(run)}{f' at {run.step}' if run.step else ''} ({run.status_reason})")
    for sentence in found.why:
        print_line(f"  {sentence}")
    print()
    rows = ((moment.at, moment.kind, moment.what, moment.step, moment.detail) for moment in found.timeline)
    print_table(("AT", "KIND", "WHAT", "STEP", "DETAIL"), rows)


def _tell_listed(found: list[ListedRun], as_json: bool) -> None:
    if as_json:
        print_json({"items": found})
        return
    print_table(
        ("RUN", "TENANT", "WORKFLOW", "RECIPIENT", "STATE", "STEP", "WHY", "REASON", "SINCE"),
        (
            (run.run_id, run.tenant_id, f"{run.workflow_key} {run.workflow_version}", run.recipient_id,
             run.state, run.step, run.kind, run.reason, run.since)
            for run in found
        ),
    )  # fmt: skip


def _tell_more(page: Page[_T]) -> None:
    if page.cursor is not None:
        print_line(f"more: --cursor {page.cursor}")


def _state(run: RunView) -> str:
    return run.state if run.held_reason is None else f"{run.state}, held"


def _mark(item: InboxItem) -> str | None:
    marks = (("archived", item.archived_at), ("read", item.read_at), ("seen", item.seen_at))
    return next((word for word, at in marks if at is not None), None)
