"""Each verb, from what callers give to what is asked of the database. Pure: both clients share it.

Everything is checked here, before any SQL is sent.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final, Generic, NamedTuple, TypeVar
from uuid import UUID

from chimeway import trace_context
from chimeway.client import bulk, checks
from chimeway.client.explanation import Explanation, explained
from chimeway.client.recipient import Recipients, people
from chimeway.client.registry import AnyWorkflow, Registrable, meant
from chimeway.client.results import Cancellation, Receipt, cancellation, receipt
from chimeway.errors import InvalidInput
from chimeway.progression.snapshot import RunState
from chimeway.store import reads, statements, stranded
from chimeway.store.call import Call, known, one, uuid
from chimeway.store.statements import Fact, Order
from chimeway.store.views import ListedRun, Page, RunView, WaitingRun

_T = TypeVar("_T")
DEFAULT_TENANT: Final = "default"
MAX_LATENESS: Final = timedelta(seconds=5)
"""Past its wake by more than this a run is overdue (CHIMEWAY_MAX_LATENESS, by default)."""


class Asked(NamedTuple, Generic[_T]):
    """A call, and the definition that must be registered before it, if one was given."""

    call: Call[_T]
    declared: Registrable | None = None


def tenant_of(given: str | None, bound: str | None) -> str:
    """Return the tenant that is meant: the one given, else the one bound, else "default"."""
    if given is not None:
        return checks.identifier("tenant", given)
    return DEFAULT_TENANT if bound is None else bound


def trigger(  # noqa: PLR0913  (the verb's arguments)
    tenant: str,
    workflow: AnyWorkflow,
    data: object,
    *,
    recipients: Recipients | None,
    idempotency_key: str | None,
    workflow_version: int | None,
    cancellation_key: str | None,
    at: datetime | None,
) -> Asked[Receipt]:
    """Ask for one run for each recipient."""
    asked = meant(workflow, data, workflow_version)
    who = people(recipients, asked.data)
    order = Order(
        who.ids,
        asked.data,
        checks.optional_identifier("idempotency_key", idempotency_key),
        checks.optional_identifier("cancellation_key", cancellation_key),
        checks.instant("at", at),
    )
    statement = statements.trigger(asked.key, asked.version, tenant, order, who.profiles)
    statement = statements.traced(statement, trace_context.current())
    return Asked(one(statement, receipt), asked.declared)


def trigger_many(
    tenant: str, workflow: AnyWorkflow, orders: Iterable[Mapping[str, Any]], version: int | None
) -> Asked[list[Receipt]]:
    """Ask for many events of one workflow."""
    asked, checked = bulk.orders(workflow, orders, version)
    if not checked:
        return Asked(known([]))
    statement = statements.trigger_each(asked.key, asked.version, tenant, checked)
    statement = statements.traced(statement, trace_context.current())
    return Asked(one(statement, lambda rows: bulk.receipts(rows, len(checked))), asked.declared)


def signal(
    tenant: str, signal_type: str, actor: str, payload: Mapping[str, Any] | None, dedupe_key: str | None
) -> Call[UUID]:
    """Ask for the record of one signal."""
    fact = Fact(
        checks.identifier("signal_type", signal_type),
        checks.identifier("actor", actor),
        checks.json_object("payload", payload),
        checks.optional_identifier("dedupe_key", dedupe_key),
    )
    return one(statements.signal(tenant, fact), lambda rows: uuid(rows[0]["id"]))


def signal_many(tenant: str, signals: Iterable[Mapping[str, Any]]) -> Call[list[UUID]]:
    """Ask for the record of many signals."""
    facts = bulk.facts(signals)
    if not facts:
        return known([])
    return one(
        statements.signal_each(tenant, facts),
        lambda rows: [uuid(row["id"]) for row in sorted(rows, key=lambda row: int(row["place"]))],
    )


def cancel(
    tenant: str, run_id: UUID | str | None, cancellation_key: str | None, note: str | None
) -> Call[Cancellation]:
    """Ask for the stopping of one run, or of all that bear a key."""
    if (run_id is None) == (cancellation_key is None):
        raise InvalidInput("give one of run_id and cancellation_key", field="run_id")
    statement = statements.cancel(
        tenant,
        run_id=None if run_id is None else checks.uuid("run_id", run_id),
        cancellation_key=checks.optional_identifier("cancellation_key", cancellation_key),
        note=checks.note(note),
    )
    return one(statement, cancellation)


def get_run(tenant: str, run_id: UUID | str) -> Call[RunView]:
    """Ask for a run's row."""
    return reads.get_run(tenant, checks.uuid("run_id", run_id))


def list_runs(
    tenant: str,
    *,
    state: RunState | None,
    workflow: str | None,
    recipient: str | None,
    cursor: str | None,
    limit: int,
) -> Call[Page[RunView]]:
    """Ask for a page of runs."""
    return reads.list_runs(
        tenant,
        state=checks.run_state(state),
        workflow=checks.optional_identifier("workflow", workflow),
        recipient=checks.optional_identifier("recipient", recipient),
        cursor=cursor,
        limit=checks.page_size(limit),
    )


def explain(tenant: str, run_id: UUID | str) -> Call[Explanation]:
    """Ask for all that is known of a run, and why."""
    return reads.read_story(tenant, checks.uuid("run_id", run_id)).then(explained)


def waiting(tenant: str, cursor: str | None, limit: int) -> Call[Page[WaitingRun]]:
    """Ask for a page of the waiting room."""
    return reads.list_waiting(tenant, cursor=cursor, limit=checks.page_size(limit))


def overdue(tenant: str | None, max_lateness: timedelta) -> Call[list[ListedRun]]:
    """Ask for runs past their wake, of one tenant or of all."""
    lateness = checks.span("max_lateness", max_lateness)
    return reads.list_overdue(lateness, checks.optional_identifier("tenant", tenant))


def stuck(tenant: str | None) -> Call[list[ListedRun]]:
    """Ask for live runs that cannot move by themselves, of one tenant or of all."""
    return stranded.list_stuck(checks.optional_identifier("tenant", tenant))
