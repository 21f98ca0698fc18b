"""The client without an event loop: the verbs of `chimeway.Chimeway`, word for word.

The verbs that only read are in `reading`, those about people and tenants in `profiles`, what providers tell
later is in `recording`.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from types import TracebackType
from typing import Any, Self, TypeVar
from uuid import UUID

from chimeway.client import checks, verbs
from chimeway.client.recipient import Recipients
from chimeway.client.registry import AnyWorkflow, registrable, told_of_the_view
from chimeway.client.results import Cancellation, Receipt
from chimeway.client.verbs import Asked
from chimeway.store import sync_callers as callers
from chimeway.store.sync_pool import SyncDatabase
from chimeway.sync import opening
from chimeway.sync.recording import Recording
from chimeway.sync.registry import Registry

_T = TypeVar("_T")


class Chimeway(Recording):
    """Trigger, signal, identify, cancel; read runs, explanations, inboxes. For any thread.

    `with Chimeway.connect(dsn) as chimeway:`, or one for the life of the process, made where the
    program is set up, and `close()` at the end. A process that forks may make it before.

    `connection=` on a verb makes it part of the caller's transaction on that connection, which is
    never begun, committed or rolled back here. It takes a psycopg `Connection`, an SQLAlchemy
    `Connection` or `Session` on psycopg or psycopg2, and Django's `connection`; anything else is a
    TypeError that lists these. Without it, each verb is a transaction of its own. The reading verbs
    take it too, and then see what the transaction has written.

    `tenant` may be left out everywhere: it is then the one bound by `for_tenant`, else "default".

    Every verb raises a ChimewayError with a stable `code`; `database_unavailable` among them.
    """

    def __init__(self, database: SyncDatabase, *, tenant: str | None = None) -> None:
        """Work on a pool; most want `connect`."""
        super().__init__(database, tenant)
        self._registry = Registry(database)
        self._origin: Chimeway | None = None

    @classmethod
    def connect(cls, dsn: str, *, tenant: str | None = None, pool_size: int = 8) -> "Chimeway":
        """Return a client on a PostgreSQL, with at most `pool_size` connections.

        They are opened when they are needed: the first by `with`, which so says at once whether the
        database is there, else by the first verb.

        Raises:
            InvalidInput: `dsn` cannot be read, or has what is not understood.
        """
        checks.opening(dsn, pool_size)
        client = cls(SyncDatabase(dsn, size=pool_size), tenant=tenant)
        opening.add(client)
        return client

    def __enter__(self) -> Self:
        """Reach the database.

        Raises:
            DatabaseUnavailable: nothing answers there, or it lets this role not in.
        """
        try:
            callers.reach(self._database)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections."""
        self.close()

    def close(self) -> None:
        """Close the connections; verbs without `connection=` raise DatabaseUnavailable from then on.

        A client that `for_tenant` gave has the same connections: closing one closes both.
        """
        opening.remove(self._origin or self)
        self._database.close()

    def for_tenant(self, tenant: str) -> "Chimeway":
        """Return the same client with this tenant bound.

        Raises:
            InvalidInput: it is no tenant; None is none, and does not mean "default".
        """
        bound = Chimeway(self._database, tenant=checks.identifier("tenant", tenant))
        bound._registry = self._registry
        bound._origin = self._origin or self  # which the seed's forms know, as long as somebody holds it
        return bound

    def register(self, workflow: AnyWorkflow) -> bool:
        """Register a definition, committed at once; say whether it was new.

        With `Workflow(..., data=Model)` the JSON Schema of the model is stored beside the definition: it is
        no part of the content, and of several registrations of one version the last one's is kept.

        Raises:
            WorkflowDefinitionVersionConflict: the version is registered with another content.
            InvalidDefinition: it has faults.
        """
        return self._registry.register(registrable(workflow))

    def trigger(  # noqa: PLR0913  (all but the first two by name)
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
        return self._ask(asked, connection)

    def trigger_many(
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
        return self._ask(asked, connection)

    def signal(
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
        return callers.run(self._database, call, connection)

    def signal_many(
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
        return callers.run(self._database, call, connection)

    def cancel(
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
        return callers.run(self._database, call, connection)

    def _ask(self, asked: Asked[_T], connection: object | None) -> _T:
        """See that a definition is registered; a wrong kind of connection is refused before."""
        callers.check_lent(connection)
        known = asked.declared is not None and self._registry.ensure(asked.declared)
        with told_of_the_view(known=known and connection is not None):
            return callers.run(self._database, asked.call, connection)
