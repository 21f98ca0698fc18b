"""What is read: runs and their explanations, the waiting room, what is late or failed, people, workflows."""

from datetime import timedelta
from typing import Annotated, Final, TypeAlias
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from pydantic import TypeAdapter

from chimeway.client.explanation import Explanation
from chimeway.progression.snapshot import RunState
from chimeway.store import callers, definitions, reads, retrying, stranded
from chimeway.store.profiles import RecipientView
from chimeway.store.retrying import Failed
from chimeway.store.views import ListedRun, Page, RunView, WaitingRun
from chimeway.web.api import models
from chimeway.web.api.asking import Identifier, Reader, ReaderOfNone, service_of, written
from chimeway.web.api.guard import ReadOnce
from chimeway.web.limits import MAX_HTTP_PAGE
from chimeway.workflow.parse import MAX_VERSION

router = APIRouter(route_class=ReadOnce)
Cursor: TypeAlias = Annotated[
    str | None,
    Query(max_length=1_024, description="Of the page before, as it stands; nobody else makes one."),
]
Limit: TypeAlias = Annotated[int, Query(ge=1, le=MAX_HTTP_PAGE, description="Rows of a page.")]
_RUN: Final = TypeAdapter(RunView)
_RUNS: Final = TypeAdapter(Page[RunView])
_EXPLANATION: Final = TypeAdapter(Explanation)
_WAITING: Final = TypeAdapter(Page[WaitingRun])
_LISTED: Final = TypeAdapter(Page[ListedRun])
_FAILED: Final = TypeAdapter(Page[Failed])
_RECIPIENT: Final = TypeAdapter(RecipientView)
_RECIPIENTS: Final = TypeAdapter(Page[RecipientView])
_PREFERENCES: Final = TypeAdapter(models.PreferencesShown)
_WORKFLOWS: Final = TypeAdapter(Page[models.Workflow])
_WORKFLOW: Final = TypeAdapter(models.WorkflowShown)


@router.get("/v1/runs", operation_id="listRuns", response_model=Page[RunView])
async def list_runs(
    asker: Reader,
    state: RunState | None = None,
    workflow: Identifier | None = None,
    recipient_id: Identifier | None = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Response:
    """List runs, the newest first; `cursor` leads to the next page."""
    page = await asker.client.list_runs(
        state=state, workflow=workflow, recipient=recipient_id, cursor=cursor, limit=limit
    )
    return written(_RUNS, page)


@router.get("/v1/runs/{run_id}", operation_id="getRun", response_model=RunView)
async def get_run(asker: Reader, run_id: UUID) -> Response:
    """Return a run as it is."""
    return written(_RUN, await asker.client.get_run(run_id))


@router.get("/v1/runs/{run_id}/explanation", operation_id="explainRun", response_model=Explanation)
async def explain_run(asker: Reader, run_id: UUID) -> Response:
    """Return what happened to a run, and why: was this sent, or not sent?"""
    return written(_EXPLANATION, await asker.client.explain(run_id))


@router.get("/v1/waiting", operation_id="listWaiting", response_model=Page[WaitingRun])
async def list_waiting(asker: Reader, cursor: Cursor = None, limit: Limit = 50) -> Response:
    """List who waits, for what, until when; the next to go on first."""
    return written(_WAITING, await asker.client.waiting(cursor=cursor, limit=limit))


@router.get("/v1/overdue", operation_id="listOverdue", response_model=Page[ListedRun])
async def list_overdue(
    asker: Reader,
    request: Request,
    max_lateness_s: Annotated[
        float | None,
        Query(ge=0, le=31_536_000, description="Left out: as the node has it, `CHIMEWAY_MAX_LATENESS`."),
    ] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Response:
    """List runs past their wake, the latest first: it should be empty."""
    usual = service_of(request).lateness
    late = usual if max_lateness_s is None else timedelta(seconds=max_lateness_s)
    call = reads.page_overdue(late, asker.tenant, cursor=cursor, limit=limit)
    return written(_LISTED, await callers.run(asker.client.database, call))


@router.get("/v1/stuck", operation_id="listStuck", response_model=Page[ListedRun])
async def list_stuck(asker: Reader, cursor: Cursor = None, limit: Limit = 50) -> Response:
    """List live runs that cannot move by themselves: held, stuck, waiting for a node; the oldest first."""
    call = stranded.page_stuck(asker.tenant, cursor=cursor, limit=limit)
    return written(_LISTED, await callers.run(asker.client.database, call))


@router.get("/v1/deliveries/failed", operation_id="listFailedDeliveries", response_model=Page[Failed])
async def list_failed(
    asker: Reader, channel: Identifier | None = None, cursor: Cursor = None, limit: Limit = 50
) -> Response:
    """List messages that failed, or were put off, and wait for their next attempt, the next first."""
    found = await retrying.page_failed(
        asker.client.database, asker.tenant, channel, cursor=cursor, limit=limit
    )
    return written(_FAILED, found)


@router.get("/v1/recipients", operation_id="listRecipients", response_model=Page[RecipientView])
async def list_recipients(asker: Reader, cursor: Cursor = None, limit: Limit = 50) -> Response:
    """List profiles in the order of their ids."""
    return written(_RECIPIENTS, await asker.client.list_recipients(cursor=cursor, limit=limit))


@router.get("/v1/recipients/{recipient_id}", operation_id="getRecipient", response_model=RecipientView)
async def get_recipient(asker: Reader, recipient_id: Identifier) -> Response:
    """Return a recipient's own profile."""
    return written(_RECIPIENT, await asker.client.get_recipient(recipient_id))


@router.get(
    "/v1/recipients/{recipient_id}/preferences",
    operation_id="readPreferences",
    response_model=models.PreferencesShown,
)
async def read_preferences(asker: Reader, recipient_id: Identifier) -> Response:
    """Return what a recipient wants, as it is known."""
    found = await asker.client.get_recipient(recipient_id)
    return written(_PREFERENCES, models.PreferencesShown(preferences=found.preferences))


@router.get("/v1/workflows", operation_id="listWorkflows", response_model=Page[models.Workflow])
async def list_workflows(asker: ReaderOfNone) -> Response:
    """List what is registered, by key, the newest version first. Definitions are of no tenant."""
    found = await definitions.list_definitions(asker.client.database)
    shown = (
        models.Workflow(
            workflow_key=one.key, version=one.version, digest=one.digest, activated=one.activated,
            current=one.current, paused_at=one.paused_at, registered_at=one.registered_at,
        )
        for one in found
    )  # fmt: skip
    return written(_WORKFLOWS, Page(tuple(shown)))


@router.get("/v1/workflows/{workflow}", operation_id="getWorkflow", response_model=models.WorkflowShown)
async def get_workflow(
    asker: ReaderOfNone,
    workflow: Identifier,
    version: Annotated[int | None, Query(ge=1, le=MAX_VERSION)] = None,
) -> Response:
    """Return a definition; without a version the one that a trigger starts."""
    found = await definitions.fetch_definition(asker.client.database, workflow, version)
    return written(
        _WORKFLOW,
        models.WorkflowShown(
            workflow_key=found.key, version=found.version, digest=found.digest, definition=found.raw,
            data_schema=found.data_schema,
        ),
    )  # fmt: skip
