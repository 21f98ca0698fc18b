"""The seed's forms: `Signal.track` and `Trigger.trigger`, on the client that was opened last."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from chimeway.client.chimeway import Chimeway
from chimeway.client.opening import newest
from chimeway.client.recipient import Recipients
from chimeway.client.registry import AnyWorkflow
from chimeway.client.results import Receipt


class Signal:
    """`await Signal.track(actor, tenant, type, payload)`."""

    @staticmethod
    async def track(
        actor: str,
        tenant: str,
        signal_type: str,
        payload: Mapping[str, Any] | None = None,
        *,
        dedupe_key: str | None = None,
        connection: object | None = None,
    ) -> UUID:
        """Record a signal as `Chimeway.signal` does, and return its id.

        Args:
            actor: who did it.
            tenant: whose.
            signal_type: what happened.
            payload: what conditions may compare.
            dedupe_key: the same again records nothing.
            connection: as for `Chimeway.signal`.

        Raises:
            DatabaseUnavailable: no client is open on this event loop.
        """
        return await newest(Chimeway).signal(
            signal_type,
            actor=actor,
            tenant=tenant,
            payload=payload,
            dedupe_key=dedupe_key,
            connection=connection,
        )


class Trigger:
    """`await Trigger.trigger(workflow, args, tenant_id=...)`."""

    @staticmethod
    async def trigger(
        workflow: AnyWorkflow,
        args: object = None,
        *,
        tenant_id: str | None = None,
        recipients: Recipients | None = None,
        idempotency_key: str | None = None,
        cancellation_key: str | None = None,
        connection: object | None = None,
    ) -> Receipt:
        """Trigger as `Chimeway.trigger` does; `actor_id` in `args` names the recipient.

        Args:
            workflow: a key, or a definition.
            args: the data; kept whole.
            tenant_id: whose runs.
            recipients: as for `Chimeway.trigger`.
            idempotency_key: the same again returns the first receipt.
            cancellation_key: by which `cancel` finds the runs.
            connection: as for `Chimeway.trigger`.

        Raises:
            DatabaseUnavailable: no client is open on this event loop.
        """
        return await newest(Chimeway).trigger(
            workflow,
            args,
            tenant=tenant_id,
            recipients=recipients,
            idempotency_key=idempotency_key,
            cancellation_key=cancellation_key,
            connection=connection,
        )
