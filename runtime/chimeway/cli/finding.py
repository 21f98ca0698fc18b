"""Which run is meant: by its id, by the idempotency key that began it, or a recipient's newest."""

import shlex
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import typer

from chimeway.client import checks
from chimeway.client.chimeway import Chimeway
from chimeway.client.verbs import tenant_of
from chimeway.errors import WorkflowRunNotFound
from chimeway.store import whereabouts


@asynccontextmanager
async def in_its_tenant(client: Chimeway, run_id: UUID | str | None) -> AsyncIterator[None]:
    """Say of a run that was not found which tenant has it, where another does: operators see them all."""
    try:
        yield
    except WorkflowRunNotFound as error:
        sought = None if run_id is None else checks.uuid("run_id", run_id)
        other = None if sought is None else await whereabouts.tenant_of_run(client.database, sought)
        if other is None:
            raise
        hint = f'it is a run of tenant "{other}": give --tenant {shlex.quote(other)}'
        raise WorkflowRunNotFound(f"{error.message}; {hint}", **{**error.details, "hint": hint}) from None


async def newest_of(client: Chimeway, tenant: str | None, recipient: str, workflow: str | None) -> UUID:
    """Return a recipient's newest run (of a workflow).

    Raises:
        WorkflowRunNotFound: there is none.
    """
    page = await client.list_runs(tenant=tenant, recipient=recipient, workflow=workflow, limit=1)
    if not page:
        of = f" of {workflow}" if workflow else ""
        hint = "chimeway runs shows those there are"
        raise WorkflowRunNotFound(
            f'"{recipient}" has no run{of} in tenant "{tenant_of(tenant, None)}"', hint=hint
        )
    return page[0].id


async def begun_by(client: Chimeway, tenant: str | None, key: str, recipient: str | None) -> UUID:
    """Return the run that an idempotency key began; of several that of the recipient.

    Raises:
        WorkflowRunNotFound: the key is unknown, or began none for the recipient.
        typer.BadParameter: it began several, and no recipient is named.
    """
    of = tenant_of(tenant, None)
    checks.identifier("idempotency_key", key)
    found = await whereabouts.runs_of_key(client.database, of, key)
    meant = [run_id for run_id, person in found if recipient in (None, person)]
    if len(meant) == 1:
        return meant[0]
    if not meant:
        whom = f' for "{recipient}"' if found else ""
        hint = "look at the key and at the tenant; keys are kept for 30 days"
        raise WorkflowRunNotFound(
            f'the idempotency key "{key}" began no run{whom} in tenant "{of}"', hint=hint
        )
    people = ", ".join(person for _, person in found[:5]) + (", ..." if len(found) > 5 else "")
    raise typer.BadParameter(f"that key began {len(found)} runs ({people}); name one by --recipient")
