"""What an operator does, in the caller's transaction, with a row that says who did it and why.

Whoever calls has seen to it that it is his to do, and of his tenant.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar
from uuid import UUID

import asyncpg

from chimeway.errors import ChimewayError, RunBusy
from chimeway.store import definitions
from chimeway.store.pool import Connection, Database
from chimeway.store.queries import SQL
from chimeway.store.retrying import Retry
from chimeway.store.words import AGAIN, TRIES, in_our_words
from chimeway.workflow.definition import Definition

_T = TypeVar("_T")


class RunNotHoldable(ChimewayError):  # noqa: N818  (the code is the name, as in the docs)
    """Only a live run that is not held can be held."""

    code = "run_not_holdable"


class RunNotHeld(ChimewayError):  # noqa: N818
    """Only a held run can be resumed."""

    code = "run_not_held"


class DeliveryNotFound(ChimewayError):  # noqa: N818
    """No delivery has this id in this tenant."""

    code = "delivery_not_found"


class DeliveryNotRetryable(ChimewayError):  # noqa: N818
    """Only a delivery that failed, and waits for its next attempt, can be tried again now."""

    code = "delivery_not_retryable"


@dataclass(frozen=True, slots=True)
class Operator:
    """Who acts: a token's id and its name, in a tenant."""

    token_id: UUID | None
    name: str
    tenant: str | None


async def alone(
    database: Database, act: Callable[[Connection], Awaitable[_T]], *, patience_s: float | None = None
) -> _T:
    """Act in a transaction of its own; anew where the database took the whole of it back.

    Args:
        database: where to.
        act: what is done, on the connection that it is given.
        patience_s: for how many seconds it waits for whoever has locked what it needs; None: for ever.

    Raises:
        RunBusy: it waited for so long; nothing was done.
        DatabaseUnavailable: it may have been done, or not.
        ChimewayError: what `act` raised; nothing was done.
    """
    with in_our_words():
        for left in reversed(range(TRIES)):
            try:
                async with (
                    database.acquire() as connection,
                    connection.transaction(isolation="read_committed"),
                ):
                    if patience_s is not None:
                        await _be_patient(connection, patience_s)
                    return await act(connection)
            except asyncpg.LockNotAvailableError as error:
                raise _busy(patience_s) from error
            except asyncpg.PostgresError as error:
                if error.sqlstate not in AGAIN or not left:
                    raise
    raise AssertionError("the last try returns or raises")


async def _be_patient(connection: Connection, patience_s: float) -> None:
    """Wait in this transaction for so long, and no longer, for each lock that another has."""
    await connection.execute(f"set local lock_timeout = {round(1_000 * patience_s)}")


def _busy(patience_s: float | None) -> RunBusy:
    """Return what is raised where a lock was not to be had in time."""
    waited = "" if patience_s is None else f" for {patience_s:g} seconds"
    hint = "chimeway doctor says who, and how to end that"
    return RunBusy(f"another session has had locked what this needs{waited}: {hint}", hint=hint)


async def note(
    connection: Connection,
    who: Operator,
    action: str,
    *,
    run_id: UUID | None = None,
    delivery_id: UUID | None = None,
    workflow: str | None = None,
    why: str | None = None,
) -> None:
    """Write down what somebody does."""
    await connection.execute(
        SQL["note_action"], who.name, who.token_id, action, who.tenant, run_id, delivery_id, workflow, why
    )


async def note_cancelled(
    connection: Connection, who: Operator, runs: Sequence[UUID], why: str | None
) -> None:
    """Write down which runs somebody cancelled; a role that may cancel and write nothing is let be."""
    if runs and await connection.fetchval(SQL["may_note_actions"]):
        await connection.execute(
            SQL["console_note_actions"], who.name, who.token_id, "cancel", list(runs), why
        )


async def note_decided(
    connection: Connection, who: Operator, action: Literal["release", "drop"], deliveries: Sequence[UUID]
) -> None:
    """Write down about which messages somebody decided; a role that may not write there is let be."""
    if deliveries and await connection.fetchval(SQL["may_note_actions"]):
        await connection.execute(SQL["note_decided"], who.name, who.token_id, action, list(deliveries))


async def register(database: Database, who: Operator, wanted: Sequence[Definition]) -> list[bool]:
    """Register definitions, all of them or none; say of each whether it was new, and write those down.

    Raises:
        WorkflowDefinitionVersionConflict: a version is registered with another content.
        MayNotRegister: the role lacks the right.
    """

    async def act(connection: Connection) -> list[bool]:
        new = await definitions.register_all(database, wanted, connection)
        keys = [definition.key for definition, is_new in zip(wanted, new, strict=True) if is_new]
        await _note_deployed(connection, who, "register", keys)
        return new

    return await alone(database, act)


async def activate(database: Database, who: Operator, workflow: str, version: int | None) -> int:
    """Fix the version that triggers start (None: the highest one again), and return it.

    Raises:
        UnknownWorkflow: it is not registered.
    """

    async def act(connection: Connection) -> None:
        await definitions.activate(connection, workflow, version)
        await _note_deployed(connection, who, "activate", [workflow])

    await alone(database, act)
    return (await definitions.fetch_definition(database, workflow)).version


async def _note_deployed(
    connection: Connection, who: Operator, action: str, workflows: Sequence[str]
) -> None:
    """Write down what somebody deployed; a role that may deploy and write nothing is let be."""
    if workflows and await connection.fetchval(SQL["may_note_actions"]):
        for key in workflows:
            await note(connection, who, action, workflow=key)


async def hold(connection: Connection, who: Operator, run_id: UUID, why: str | None) -> None:
    """Hold a run, or raise RunNotHoldable."""
    if not await connection.fetchval(SQL["hold_run"], run_id, "held_by_request", why, True):
        raise RunNotHoldable(f"run {run_id} has ended, or is held already")
    await note(connection, who, "hold", run_id=run_id, why=why)


async def resume(connection: Connection, who: Operator, run_id: UUID, why: str | None) -> None:
    """Let a held run go on, or raise RunNotHeld."""
    if not await connection.fetchval(SQL["resume_run"], run_id, why):
        raise RunNotHeld(f"run {run_id} is not held")
    await note(connection, who, "resume", run_id=run_id, why=why)


async def try_again(
    connection: Connection, who: Operator, delivery_id: UUID, why: str | None
) -> Retry | None:
    """Let a failed message be tried again now; return how it stands, or None if the tenant has none such."""
    assert who.tenant is not None
    row = await connection.fetchrow(SQL["retry_delivery"], delivery_id, who.tenant)
    if row is None:
        return None
    found = Retry(delivery_id, **row)
    if found.retried:
        await note(connection, who, "retry", run_id=found.run_id, delivery_id=delivery_id, why=why)
    return found


async def retry(connection: Connection, who: Operator, delivery_id: UUID, why: str | None) -> Retry:
    """Let a failed message be tried again now, or raise why not."""
    found = await try_again(connection, who, delivery_id, why)
    if found is None:
        raise DeliveryNotFound(f"no delivery of this tenant has the id {delivery_id}")
    if not found.retried:
        held = "" if found.held_reason is None else f", and its run is held ({found.held_reason})"
        raise DeliveryNotRetryable(f"delivery {delivery_id} is {found.status}{held}", status=found.status)
    return found


async def whose(connection: Connection, runs: Sequence[UUID]) -> list[str]:
    """Return the recipients of some runs."""
    return [row["recipient_id"] for row in await connection.fetch(SQL["recipients_of_runs"], runs)]


async def pause(
    connection: Connection, who: Operator, workflow: str, why: str | None, *, paused: bool
) -> int:
    """Hold, or give back, the decisions of a workflow's runs; return how many versions it has."""
    versions = int(await connection.fetchval(SQL["pause_workflow"], workflow, paused))
    await note(connection, who, "pause" if paused else "unpause", workflow=workflow, why=why)
    return versions
