"""`chimeway runs`, `explain`: what can be seen."""

from enum import StrEnum
from typing import Annotated
from uuid import UUID

import typer

from chimeway.cli import finding, session
from chimeway.cli.options import (
    AsJson,
    Cursor,
    DatabaseUrl,
    Limit,
    Tenant,
    examples,
)
from chimeway.cli.printing import print_json, print_line, print_sentence, style_of
from chimeway.cli.tables import print_table, tell_more
from chimeway.cli.watching import tell_stuck
from chimeway.client.chimeway import Chimeway
from chimeway.client.explanation import Explanation
from chimeway.client.verbs import tenant_of
from chimeway.client.why_nothing import why_nothing
from chimeway.errors import WorkflowRunNotFound
from chimeway.settings import Settings
from chimeway.store.absences import Sought, look_for
from chimeway.store.views import Page, RunView

app = typer.Typer(rich_markup_mode=None)


class State(StrEnum):
    """A run's state, as an option can name it."""

    active = "active"
    waiting = "waiting"
    completed = "completed"
    stopped = "stopped"
    failed = "failed"


@app.command(
    epilog=examples(
        "chimeway runs --state waiting --tenant org_456",
        "chimeway runs --workflow mention_escalation --recipient user_123",
        "chimeway runs --stuck",
    )
)
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
        tell_stuck(tenant, database_url, as_json=as_json)
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
        nothing=f"no run of tenant {tenant or 'default'} is like this",
    )  # fmt: skip
    tell_more(page)


@app.command(
    epilog=examples(
        "chimeway explain 019b0a4e-52cd-7f3a-9d05-3f0e6a1f8c21",
        "chimeway explain --recipient user_123 --tenant org_456",
        "chimeway explain --idempotency-key mention-789-123",
    )
)
def explain(
    run_id: Annotated[
        str | None, typer.Argument(metavar="RUN_ID", help="The run's id; or:", show_default=False)
    ] = None,
    *,
    idempotency_key: Annotated[str | None, typer.Option(help="The run that this key began.")] = None,
    recipient: Annotated[str | None, typer.Option(help="This recipient's newest run.")] = None,
    workflow: Annotated[str | None, typer.Option(help="With --recipient: the newest of this one.")] = None,
    tenant: Tenant = None,
    database_url: DatabaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Say what happened to a run, and why.

    Why was it sent, or not sent? The sentences say which signal or rule decided, at which step and when,
    and what would have happened otherwise; then comes all that happened, in order.

    Why was nothing triggered? Where there is no run, it says what rows know: of the key, the workflow, the
    recipient, of transactions still open; and what leaves no trace. Exit 3 then.
    """
    if (run_id is not None) == (idempotency_key is not None or recipient is not None):
        raise typer.BadParameter("give RUN_ID, or --idempotency-key, or --recipient")

    sought = Sought(tenant_of(tenant, None), recipient, workflow, idempotency_key)

    async def ask(client: Chimeway) -> Explanation:
        if run_id is None:
            meant: UUID | str = await _sought(client, sought)
        else:
            meant = run_id
        async with finding.in_its_tenant(client, meant):
            return await client.explain(meant, tenant=tenant)

    try:
        found = session.run(database_url, ask)
    except _NothingTriggered as nothing:
        if as_json:
            print_json({"run": None, "why": nothing.why})
        else:
            for sentence in nothing.why:
                print_sentence(sentence)
        raise nothing.missing from None
    if as_json:
        print_json(found)
    else:
        _tell(found)


class _NothingTriggered(Exception):  # noqa: N818  (an answer: why there is no run)
    def __init__(self, missing: WorkflowRunNotFound, why: list[str]) -> None:
        """Take what was not found, and what rows say of that."""
        self.missing = missing
        self.why = why


async def _sought(client: Chimeway, sought: Sought) -> UUID:
    """Return the run that is meant, or say why there is none."""
    tenant, recipient = sought.tenant, sought.recipient
    try:
        if sought.key is not None:
            return await finding.begun_by(client, tenant, sought.key, recipient)
        return await finding.newest_of(client, tenant, recipient or "", sought.workflow)
    except WorkflowRunNotFound as missing:
        settings = Settings()
        why = why_nothing(
            await look_for(client.database, sought),
            keys_kept=settings.idempotency_retention,
            runs_kept=settings.retention_completed,
        )
        raise _NothingTriggered(missing, why) from None


def _tell(found: Explanation) -> None:
    run = found.run
    print_sentence(
        f"run {run.id} of {run.workflow_key} version {run.workflow_version} for {run.recipient_id}"
    )
    state = f"{_state(run)}{f' at {run.step}' if run.step else ''} ({run.status_reason})"
    print_line(state, style=style_of(_state(run)))
    for sentence in found.why:
        print_sentence(sentence, indent="  ")
    print_line("")
    rows = ((moment.at, moment.kind, moment.what, moment.step, moment.detail) for moment in found.timeline)
    print_table(("AT", "KIND", "WHAT", "STEP", "DETAIL"), rows, lead=(0, 2))


def _state(run: RunView) -> str:
    return run.state if run.held_reason is None else f"{run.state}, held"
