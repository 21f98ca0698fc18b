"""What operators do. Each leaves a row that says who did it, when and why, in its transaction."""

from typing import Any, Final
from uuid import UUID

from fastapi import APIRouter, Response
from pydantic import TypeAdapter

from chimeway.store import acting, callers, definitions
from chimeway.store.acting import Operator
from chimeway.store.answers import Reply
from chimeway.store.pool import Connection
from chimeway.store.views import RunView
from chimeway.web.api import models
from chimeway.web.api.asking import Asker, Identifier, OperatorOf, OperatorOfAll, RequestKey, reply
from chimeway.web.api.guard import ReadOnce
from chimeway.workflow.encode import digest
from chimeway.workflow.parse import parse

router = APIRouter(route_class=ReadOnce)
_RUN: Final = TypeAdapter(RunView)
_RETRIED: Final = TypeAdapter(models.Retried)
_PAUSED: Final = TypeAdapter(models.Paused)
_REGISTERED: Final = TypeAdapter(models.Registered)


@router.post("/v1/runs/{run_id}/hold", operation_id="holdRun", response_model=RunView)
async def hold_run(
    asker: OperatorOf, run_id: UUID, said: models.Why = models.NO_REASON, _key: RequestKey = None
) -> Response:
    """Hold a run: nothing is decided or sent until it is resumed."""

    async def act(connection: Connection) -> Reply:
        await asker.client.get_run(run_id, connection=connection)  # of this tenant, or not found
        await acting.hold(connection, asker.operator, run_id, said.note)
        return _shown(await asker.client.get_run(run_id, connection=connection))

    return await asker.once(act)


@router.post("/v1/runs/{run_id}/resume", operation_id="resumeRun", response_model=RunView)
async def resume_run(
    asker: OperatorOf, run_id: UUID, said: models.Why = models.NO_REASON, _key: RequestKey = None
) -> Response:
    """Let a held run go on."""

    async def act(connection: Connection) -> Reply:
        await asker.client.get_run(run_id, connection=connection)
        await acting.resume(connection, asker.operator, run_id, said.note)
        return _shown(await asker.client.get_run(run_id, connection=connection))

    return await asker.once(act)


@router.post(
    "/v1/deliveries/{delivery_id}/retry", operation_id="retryDelivery", response_model=models.Retried
)
async def retry_delivery(
    asker: OperatorOf, delivery_id: UUID, said: models.Why = models.NO_REASON, _key: RequestKey = None
) -> Response:
    """Try a failed message again now, and not when its backoff is over."""

    async def act(connection: Connection) -> Reply:
        found = await acting.retry(connection, asker.operator, delivery_id, said.note)
        shown = models.Retried(
            delivery_id=delivery_id, run_id=found.run_id, attempt_count=found.attempt_count
        )
        return reply(_RETRIED, shown, about=[found.recipient_id])

    return await asker.once(act)


@router.post("/v1/workflows", operation_id="registerWorkflow", response_model=models.Registered)
async def register_workflow(asker: OperatorOfAll, said: dict[str, Any], _key: RequestKey = None) -> Response:
    """Register a definition, for all tenants; the same content again does nothing."""
    definition = parse(said)
    call = definitions.registration(definition)

    async def act(connection: Connection) -> Reply:
        with definitions.or_may_not():
            new = await callers.run(asker.client.database, call, connection)
        if new:
            await acting.note(connection, _of_none(asker), "register", workflow=definition.key)
        shown = models.Registered(
            workflow_key=definition.key, version=definition.version, digest=digest(definition), new=new
        )
        return reply(_REGISTERED, shown)

    return await asker.once(act, of_all_tenants=True)


@router.post("/v1/workflows/{workflow}/pause", operation_id="pauseWorkflow", response_model=models.Paused)
async def pause_workflow(
    asker: OperatorOfAll, workflow: Identifier, said: models.Why = models.NO_REASON, _key: RequestKey = None
) -> Response:
    """Hold the decisions and first attempts of all runs of a workflow, of all tenants; triggers are taken."""
    return await _paused(asker, workflow, said.note, paused=True)


@router.post("/v1/workflows/{workflow}/unpause", operation_id="unpauseWorkflow", response_model=models.Paused)
async def unpause_workflow(
    asker: OperatorOfAll, workflow: Identifier, said: models.Why = models.NO_REASON, _key: RequestKey = None
) -> Response:
    """Let the runs of a paused workflow go on, the oldest first."""
    return await _paused(asker, workflow, said.note, paused=False)


async def _paused(asker: Asker, workflow: str, why: str | None, *, paused: bool) -> Response:
    async def act(connection: Connection) -> Reply:
        versions = await acting.pause(connection, _of_none(asker), workflow, why, paused=paused)
        return reply(_PAUSED, models.Paused(workflow=workflow, paused=paused, versions=versions))

    return await asker.once(act, of_all_tenants=True)


def _shown(run: RunView) -> Reply:
    return reply(_RUN, run, about=[run.recipient_id])


def _of_none(asker: Asker) -> Operator:
    return Operator(asker.principal.token_id, asker.principal.name, None)
