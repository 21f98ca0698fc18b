"""What producers say: triggers, signals, profiles, cancelling, tokens for front ends."""

from datetime import timedelta
from typing import Final
from uuid import UUID

from fastapi import APIRouter, Request, Response
from pydantic import TypeAdapter

from chimeway import inbox_tokens
from chimeway.client.results import Cancellation, Receipt
from chimeway.store import acting
from chimeway.store.answers import Reply
from chimeway.store.pool import Connection
from chimeway.web.api import models
from chimeway.web.api.asking import (
    Asker,
    Canceller,
    Identifier,
    Producer,
    RequestKey,
    reply,
    service_of,
    written,
)
from chimeway.web.api.guard import ReadOnce

router = APIRouter(route_class=ReadOnce)
_RECEIPT: Final = TypeAdapter(models.TriggerReceipt)
_RECEIPTS: Final = TypeAdapter(models.BulkReceipt)
_SIGNAL: Final = TypeAdapter(models.SignalReceipt)
_SIGNALS: Final = TypeAdapter(models.BulkSignalReceipt)
_WRITTEN: Final = TypeAdapter(models.Written)
_CANCELLATION: Final = TypeAdapter(Cancellation)
_TOKEN: Final = TypeAdapter(models.InboxToken)


@router.post(
    "/v1/trigger",
    operation_id="trigger",
    status_code=201,
    response_model=models.TriggerReceipt,
    responses={200: {"model": models.TriggerReceipt, "description": "The event was known."}},
)
async def trigger(asker: Producer, said: models.Trigger, _key: RequestKey = None) -> Response:
    """Begin a run of a workflow for each recipient: one event, one transaction."""

    async def act(connection: object | None) -> Reply:
        receipt = await asker.client.trigger(
            said.workflow, said.data, recipients=said.whom(), idempotency_key=said.idempotency_key,
            workflow_version=said.workflow_version, cancellation_key=said.cancellation_key, at=said.at,
            connection=connection,
        )  # fmt: skip
        return reply(_RECEIPT, _shown(receipt), 200 if receipt.duplicate else 201, said.ids())

    return await asker.told(act)


@router.post(
    "/v1/trigger/bulk", operation_id="triggerMany", status_code=201, response_model=models.BulkReceipt
)
async def trigger_many(asker: Producer, said: models.BulkTrigger, _key: RequestKey = None) -> Response:
    """Trigger many events of one workflow, all or none; at most 1,000 recipients in all."""
    orders = [
        {
            "recipients": one.recipient_ids, "data": one.data, "idempotency_key": one.idempotency_key,
            "cancellation_key": one.cancellation_key, "at": one.at,
        }
        for one in said.triggers
    ]  # fmt: skip

    async def act(connection: object | None) -> Reply:
        receipts = await asker.client.trigger_many(
            said.workflow, orders, workflow_version=said.workflow_version, connection=connection
        )
        whom = {name for one in said.triggers for name in one.recipient_ids}
        shown = models.BulkReceipt(receipts=[_shown(one) for one in receipts])
        return reply(_RECEIPTS, shown, 201, sorted(whom))

    return await asker.told(act)


@router.post("/v1/signals", operation_id="signal", status_code=201, response_model=models.SignalReceipt)
async def signal(asker: Producer, said: models.Signal, _key: RequestKey = None) -> Response:
    """Record that something happened; runs of this actor hear it."""

    async def act(connection: object | None) -> Reply:
        made = await asker.client.signal(
            said.type,
            actor=said.actor_id,
            payload=said.payload,
            dedupe_key=said.dedupe_key,
            connection=connection,
        )
        return reply(_SIGNAL, models.SignalReceipt(signal_id=made), 201, [said.actor_id])

    return await asker.told(act)


@router.post(
    "/v1/signals/bulk", operation_id="signalMany", status_code=201, response_model=models.BulkSignalReceipt
)
async def signal_many(asker: Producer, said: models.BulkSignal, _key: RequestKey = None) -> Response:
    """Record many signals, all or none."""
    signals = [
        {"type": one.type, "actor": one.actor_id, "payload": one.payload, "dedupe_key": one.dedupe_key}
        for one in said.signals
    ]

    async def act(connection: object | None) -> Reply:
        made = await asker.client.signal_many(signals, connection=connection)
        whom = sorted({one.actor_id for one in said.signals})
        return reply(_SIGNALS, models.BulkSignalReceipt(signal_ids=made), 201, whom)

    return await asker.told(act)


@router.patch("/v1/recipients/{recipient_id}", operation_id="identify", response_model=models.Written)
async def identify(
    asker: Producer, recipient_id: Identifier, said: models.Profile, _key: RequestKey = None
) -> Response:
    """Write a recipient's profile: what is left out stays as it is, null removes."""

    async def act(connection: object | None) -> Reply:
        await asker.client.identify_many([said.recipient(recipient_id)], connection=connection)
        return _wrote(recipient_id)

    return await asker.told(act)


@router.patch(
    "/v1/recipients/{recipient_id}/preferences",
    operation_id="writePreferences",
    response_model=models.Written,
)
async def write_preferences(
    asker: Producer, recipient_id: Identifier, said: models.Preferences, _key: RequestKey = None
) -> Response:
    """Write what a recipient wants: merged into what is known, key by key."""

    async def act(connection: object | None) -> Reply:
        await asker.client.identify(recipient_id, preferences=said.preferences, connection=connection)
        return _wrote(recipient_id)

    return await asker.told(act)


@router.post(
    "/v1/recipients/{recipient_id}/unsubscribe",
    operation_id="unsubscribeRecipient",
    response_model=models.Written,
)
async def unsubscribe(
    asker: Producer, recipient_id: Identifier, said: models.Unsubscription, _key: RequestKey = None
) -> Response:
    """Write that a recipient wants no more of a workflow on a channel."""

    async def act(connection: object | None) -> Reply:
        await asker.client.unsubscribe(
            recipient_id, workflow=said.workflow, channel=said.channel, connection=connection
        )
        return _wrote(recipient_id)

    return await asker.told(act)


@router.post(
    "/v1/recipients/{recipient_id}/resubscribe",
    operation_id="resubscribeRecipient",
    response_model=models.Written,
)
async def resubscribe(
    asker: Producer, recipient_id: Identifier, said: models.Unsubscription, _key: RequestKey = None
) -> Response:
    """Take back what `unsubscribe`, or a link, has written."""

    async def act(connection: object | None) -> Reply:
        await asker.client.resubscribe(
            recipient_id, workflow=said.workflow, channel=said.channel, connection=connection
        )
        return _wrote(recipient_id)

    return await asker.told(act)


@router.post("/v1/runs/{run_id}/cancel", operation_id="cancelRun", response_model=Cancellation)
async def cancel_run(
    asker: Canceller, run_id: UUID, said: models.Why = models.NO_REASON, _key: RequestKey = None
) -> Response:
    """Stop a run: exactly, and at once. Says what was stopped, and what was on its way already."""

    async def act(connection: Connection) -> Reply:
        done = await asker.client.cancel(run_id, note=said.note, connection=connection)
        return await _cancelled(asker, connection, done, said.note)

    return await asker.once(act)


@router.post("/v1/cancel", operation_id="cancelByKey", response_model=Cancellation)
async def cancel_by_key(asker: Canceller, said: models.CancelByKey, _key: RequestKey = None) -> Response:
    """Stop all live runs that bear a cancellation key."""

    async def act(connection: Connection) -> Reply:
        done = await asker.client.cancel(
            cancellation_key=said.cancellation_key, note=said.note, connection=connection
        )
        return await _cancelled(asker, connection, done, said.note)

    return await asker.once(act)


@router.post(
    "/v1/inbox-tokens", operation_id="mintInboxToken", status_code=201, response_model=models.InboxToken
)
async def mint_inbox_token(asker: Producer, said: models.InboxTokenWanted, request: Request) -> Response:
    """Make a front end's token for the inbox of one recipient; it lasts an hour at most."""
    service = service_of(request)
    token, expires_at = inbox_tokens.minted(
        asker.tenant, said.recipient_id, service.inbox_keys, now=service.clock.now(),
        lasts=timedelta(seconds=said.lasts_s), with_data=said.with_data,
    )  # fmt: skip
    shown = models.InboxToken(
        token=token, expires_at=expires_at, tenant_id=asker.tenant, recipient_id=said.recipient_id
    )
    answer = written(_TOKEN, shown)
    answer.status_code = 201
    return answer


def _shown(receipt: Receipt) -> models.TriggerReceipt:
    runs = [models.StartedRun(recipient_id=name, run_id=run) for name, run in receipt.runs.items()]
    return models.TriggerReceipt(runs=runs, duplicate=receipt.duplicate)


async def _cancelled(asker: Asker, connection: Connection, done: Cancellation, why: str | None) -> Reply:
    """Write down what a cancel stopped, and tell it.

    What is kept of it leaves with whoever is forgotten of those whom it met.
    """
    await acting.note_cancelled(connection, asker.operator, [run.run_id for run in done.stopped], why)
    runs = [*(run.run_id for run in done.stopped), *(run.run_id for run in done.already_ended)]
    return reply(_CANCELLATION, done, about=await acting.whose(connection, runs) if asker.keyed else ())


def _wrote(recipient: str) -> Reply:
    return reply(_WRITTEN, models.Written(recipient_id=recipient), about=[recipient])
