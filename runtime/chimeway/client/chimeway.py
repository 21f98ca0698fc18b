"""The client: the verbs that users type. It needs no daemon in its process, only the database.

The verbs that only read are in `reading`, those about people and tenants in `profiles`, what providers tell
later is in `recording`.
"""

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from chimeway.client import checks, opening, verbs
from chimeway.client.recipient import Recipients
from chimeway.client.recording import Recording
from chimeway.client.registry import AnyWorkflow, Registry, registrable, told_of_the_view
from chimeway.client.results import Cancellation, Receipt
from chimeway.client.verbs import Asked
from chimeway.store import callers
from chimeway.store.pool import Database

_T = TypeVar("_T")


class Chimeway(Recording):
    """Trigger, signal, identify, cancel; read runs, explanations, inboxes.

    `connection=` on a verb makes it part of the caller's transaction on that connection, which is
    never begun, committed or rolled back here. It takes an asyncpg connection (of a pool, too), a
    psycopg `AsyncConnection`, an SQLAlchemy `AsyncConnection` or `AsyncSession` on either driver;
    anything else is a TypeError that lists these. Without it, each verb is a transaction of its own.
    The reading verbs take it too, and then see what the transaction has written.

    A client belongs to the event loop that opened it; for threads there is `chimeway.sync`.

    `tenant` may be left out everywhere: it is then the one bound by `for_tenant`, else "default".

    Every verb raises a ChimewayError with a stable `code`; `database_unavailable` among them.
    """

    def __init__(self, database: Database, *, tenant: str | None = None) -> None:
        """Work on an open database, which whoever opened it closes; most want `connect`."""
        super().__init__(database, tenant)
        self._registry = Registry(database)

    @classmethod
    @asynccontextmanager
    async def connect(
        cls, dsn: str, *, tenant: str | None = None, pool_size: int = 8, direct_dsn: str | None = None
    ) -> AsyncIterator["Chimeway"]:
        """Open a client on a PostgreSQL, with at most `pool_size` connections.

        Where `dsn` leads through a pooler, `direct_dsn` leads past it: `inbox(...).changes()` then has one
        connection of its own, on which the database calls. Without it, it is asked from time to time.

        Raises:
            DatabaseUnavailable: nothing answers there, or it lets this role not in.
            InvalidInput: `dsn` or `direct_dsn` cannot be read.
        """
        async with opening.pool(dsn, pool_size, direct_dsn) as database:
            client = cls(database, tenant=tenant)
            with opening.as_newest(client):
                yield client

    def for_tenant(self, tenant: str) -> "Chimeway":
        """Return the same client with this tenant bound.

        Raises:
            InvalidInput: it is no tenant; None is none, and does not mean "default".
        """
        bound = Chimeway(self._database, tenant=checks.identifier("tenant", tenant))
        bound._registry = self._registry
        return bound

    async def register(self, workflow: AnyWorkflow) -> bool:
        """Register a definition, committed at once; say whether it was new.

        With `Workflow(..., data=Model)` the JSON Schema of the model is stored beside the definition: it is
        no part of the content, and of several registrations of one version the last one's is kept.

        Raises:
            WorkflowDefinitionVersionConflict: the version is registered with another content.
            InvalidDefinition: it has faults.
        """
        return await self._registry.register(registrable(workflow))

    async def trigger(  # noqa: PLR0913  (all but the first two by name)
        self,
        workflow: AnyWorkflow,
        data: object = None,
        *,
        recipients: Recipients | None = None,
        tenant: str | None = None,
        idempotency_key: str | None = None,
        workflow_version: int | None = None,
        cancellation_key: str | None = None,
        at: datetime | None = None,
        connection: object | None = None,
    ) -> Receipt:
        """Start one run for each recipient: one event, one transaction.

        Args:
            workflow: a key of what is registered; or a definition (Workflow, dict, a class with
                `workflow(self, args)`), which is registered first where it is not.
            data: a mapping, or a pydantic model; kept whole. `actor_id` in it names the recipient
                where `recipients` is left out.
            recipients: ids, or `Recipient`s, whose profiles are written in the same transaction.
            tenant: whose runs.
            idempotency_key: the same again returns the first receipt and writes nothing.
            workflow_version: of a key; without it the current one starts.
            cancellation_key: by which `cancel` finds the runs.
            at: the earliest instant of the first step (aware); without it, or past: now.
            connection: see the class.

        Returns:
            the runs, in the order of the recipients, and whether the key was known before.

        Raises:
            UnknownWorkflow: no workflow of this key, and version, is registered.
            IdempotencyConflict: the key was used for another trigger.
            InvalidDataReference: the data lacks what the definition refers to.
            InvalidInput: an argument is not what it must be.
            InvalidDefinition: the definition that was given has faults.
            WorkflowDefinitionVersionConflict: its version is registered with another content.
            NotPermitted: this login may not, or not for this tenant.
        """
        asked = verbs.trigger(
            self._of(tenant),
            workflow,
            data,
            recipients=recipients,
            idempotency_key=idempotency_key,
            workflow_version=workflow_version,
            cancellation_key=cancellation_key,
            at=at,
        )
        return await self._ask(asked, connection)

    async def trigger_many(
        self,
        workflow: AnyWorkflow,
        orders: Iterable[Mapping[str, Any]],
        *,
        tenant: str | None = None,
        workflow_version: int | None = None,
        connection: object | None = None,
    ) -> list[Receipt]:
        """Trigger many events of one workflow, all or none, in one statement.

        Args:
            workflow: a key or a definition; not a class that writes one for each event.
            orders: each a mapping with `recipients` (ids), and optionally `data`,
                `idempotency_key`, `cancellation_key`, `at`, as `trigger` takes them. At most 1,000
                recipients in all.
            tenant: as for `trigger`.
            workflow_version: as for `trigger`.
            connection: as for `trigger`.

        Returns:
            a receipt for each order, in their order.
        """
        asked = verbs.trigger_many(self._of(tenant), workflow, orders, workflow_version)
        return await self._ask(asked, connection)

    async def signal(
        self,
        signal_type: str,
        *,
        actor: str,
        tenant: str | None = None,
        payload: Mapping[str, Any] | None = None,
        dedupe_key: str | None = None,
        connection: object | None = None,
    ) -> UUID:
        """Record that something happened; runs of this actor in this tenant hear it.

        Args:
            signal_type: what happened, such as "notification_read".
            actor: who did it: it reaches the runs whose recipient this is.
            tenant: as for `trigger`.
            payload: what conditions may compare, as JSON can hold it; at most 64 KiB.
            dedupe_key: the same again, of this actor, records nothing.
            connection: as for `trigger`.

        Returns:
            the signal's id; of the first one where the same `dedupe_key` was used before.

        Raises:
            InvalidInput: an argument is not what it must be.
            NotPermitted: this login may not, or not for this tenant.
        """
        call = verbs.signal(self._of(tenant), signal_type, actor, payload, dedupe_key)
        return await callers.run(self._database, call, connection)

    async def signal_many(
        self,
        signals: Iterable[Mapping[str, Any]],
        *,
        tenant: str | None = None,
        connection: object | None = None,
    ) -> list[UUID]:
        """Record many signals, all or none, in one statement.

        Args:
            signals: each a mapping with `type`, `actor`, and optionally `payload`, `dedupe_key`;
                at most 1,000.
            tenant: as for `signal`.
            connection: as for `signal`.

        Returns:
            their ids, in their order.
        """
        call = verbs.signal_many(self._of(tenant), signals)
        return await callers.run(self._database, call, connection)

    async def cancel(
        self,
        run_id: UUID | str | None = None,
        *,
        tenant: str | None = None,
        cancellation_key: str | None = None,
        note: str | None = None,
        connection: object | None = None,
    ) -> Cancellation:
        """Stop a run, or all live runs that bear a key: exactly and at once.

        Args:
            run_id: which run; or
            cancellation_key: which runs, those of the caller's own transaction included.
            tenant: as for `trigger`.
            connection: as for `trigger`.
            note: free text kept beside the reason, at most 1,000 characters.

        Returns:
            what was stopped, what was on its way, what had ended before.

        Raises:
            WorkflowRunNotFound: `run_id` is none of this tenant's runs.
            InvalidInput: neither of run_id and cancellation_key is given, or both.
        """
        call = verbs.cancel(self._of(tenant), run_id, cancellation_key, note)
        return await callers.run(self._database, call, connection)

    async def _ask(self, asked: Asked[_T], connection: object | None) -> _T:
        """See that a definition is registered; a wrong kind of connection is refused before."""
        callers.check_lent(connection)
        known = asked.declared is not None and await self._registry.ensure(asked.declared)
        with told_of_the_view(known=known and connection is not None):
            return await callers.run(self._database, asked.call, connection)
