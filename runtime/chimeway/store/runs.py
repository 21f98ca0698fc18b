"""Runs as rows and as snapshots: what deciding looks at, and what must be looked at next."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from chimeway.progression.snapshot import Delivery, Mail, Run, Snapshot
from chimeway.store.catalogue import Catalogue
from chimeway.store.ids import SHARDS
from chimeway.store.policies import Policy, policy_of
from chimeway.store.pool import Database
from chimeway.values import value
from chimeway.workflow.definition import Definition

NO_ID = UUID(int=0)


@value
class Recipient:
    """The profile as rendering and addressing need it; zone and locale are his own, else his tenant's."""

    id: str
    tenant_id: str
    addresses: Mapping[str, Any]
    timezone: str | None
    locale: str | None
    data: Mapping[str, Any]


@value
class Loaded:
    """A run as loaded: its snapshot and what rendering needs; snapshot None: not understood here."""

    id: UUID
    shard: int
    workflow: tuple[str, int]
    wake_at: datetime | None
    mailbox_seen: int
    recipient: Recipient
    snapshot: Snapshot | None
    policy: Policy
    foretold: Sequence[tuple[int, UUID]] = ()
    """Of the snapshot's mail what is not in the mailbox yet: the number that each signal should get there."""


async def load_runs(
    database: Database, catalogue: Catalogue, ids: Sequence[UUID], *, foretelling: bool = False
) -> list[Loaded | None]:
    """Return what deciding about these runs needs, in their order; None for an unknown id.

    Foretelling, signals that nobody has routed yet are mail, too: whoever decides by it says so to the
    ledger, which routes them (`Loaded.foretold`).
    """
    rows = {row["id"]: row for row in await database.fetch("load_runs", list(ids), foretelling)}
    found: list[Loaded | None] = []
    for run_id in ids:
        row = rows.get(run_id)
        if row is None:
            found.append(None)
            continue
        definition = await catalogue.get(row["workflow_key"], row["workflow_version"])
        found.append(loaded_of(row, definition))
    return found


def loaded_of(row: Any, definition: Definition | None) -> Loaded:
    """Return a run of its row."""
    policy = policy_of(row)
    return Loaded(
        id=row["id"],
        shard=row["shard"],
        workflow=(row["workflow_key"], row["workflow_version"]),
        wake_at=row["wake_at"],
        mailbox_seen=row["mailbox_seen"],
        recipient=Recipient(
            id=row["recipient_id"],
            tenant_id=row["tenant_id"],
            addresses=row["addresses"],
            timezone=row["timezone"],
            locale=row["locale"],
            data=row["profile"],
        ),
        snapshot=_snapshot(row, definition, policy) if definition else None,
        policy=policy,
        foretold=_foretold(row) if row["foretold"] else (),
    )


def _foretold(row: Any) -> list[tuple[int, UUID]]:
    many = row["foretold"]
    return list(zip(row["numbers"][-many:], row["signal_ids"][-many:], strict=True))


def _snapshot(row: Any, definition: Definition, policy: Policy) -> Snapshot:
    return Snapshot(
        run=_run(row),
        definition=definition,
        data=row["data"],
        zone=row["timezone"] or "UTC",
        mail=_mail(row),
        delivery=_delivery(row),
        delivery_ids=row["delivery_ids"] or {},
        workflow_paused=row["paused"],
        working=policy.working,
    )


def _run(row: Any) -> Run:
    return Run(
        id=row["id"],
        tenant_id=row["tenant_id"],
        recipient_id=row["recipient_id"],
        state=row["state"],
        step=row["step"],
        visit=row["visit"],
        revision=row["revision"],
        mailbox_count=row["mailbox_count"],
        status_reason=row["status_reason"],
        status_context=row["status_context"],
        pending_signals=tuple(row["pending_signals"]),
        wake_at=row["wake_at"],
        entered_at=row["entered_at"],
        armed_step=row["armed_step"],
        armed_entered_at=row["armed_entered_at"],
        held_reason=row["held_reason"],
    )


def _mail(row: Any) -> tuple[Mail, ...]:
    if not row["numbers"]:
        return ()
    columns = (row[name] for name in ("numbers", "signal_ids", "types", "payloads", "created"))
    return tuple(Mail(*fields) for fields in zip(*columns, strict=True))


def _delivery(row: Any) -> Delivery | None:
    if row["d_id"] is None:
        return None
    return Delivery(
        id=row["d_id"],
        visit=row["d_visit"],
        step_id=row["d_step_id"],
        status=row["d_status"],
        revision=row["d_revision"],
        suppression_reason=row["d_suppression_reason"],
        terminal_at=row["d_terminal_at"],
        attempts=row["d_attempts"],
        failed_attempts=row["d_failed"],
        last_outcome=row["d_last_outcome"],
        last_error_class=row["d_last_error_class"],
    )


async def oldest_due(
    database: Database, now: datetime, limit: int, shards: Collection[int] = SHARDS
) -> list[UUID]:
    """Return runs of some shards whose wake has come, oldest first."""
    return [row["id"] for row in await database.fetch("oldest_due_runs", now, limit, sorted(shards))]


async def any_new(database: Database) -> bool:
    """Say whether a run is due in which no step was entered yet."""
    return bool(await database.fetchval("any_new_run"))


@value
class Unread:
    """A run with mail that no written decision has seen."""

    id: UUID
    state: tuple[int, int]
    """Another one when there is more mail, or somebody has changed the run."""
    paused: bool
    """Its workflow is: it may not move."""


async def unread(
    database: Database, after: UUID, limit: int, shards: Collection[int] = SHARDS
) -> list[Unread]:
    """Return live runs of some shards, not put aside, with mail that no written decision has seen."""
    rows = await database.fetch("unread_runs", after, limit, sorted(shards))
    return [Unread(row["id"], (row["mailbox_count"], row["revision"]), row["paused"]) for row in rows]


async def hold(database: Database, run_id: UUID, reason: str, note: str | None = None) -> bool:
    """Hold a live run, for the engine; say whether it was held now: not, while somebody has it locked.

    A client that sits in its transaction must not stop a part of the engine. Who waits is a person
    (`acting.hold`).
    """
    return bool(await database.fetchval("hold_run", run_id, reason, note, False))


async def park(database: Database, ids: Sequence[UUID]) -> None:
    """Put runs of paused workflows aside until the pause is over; those that are locked stay."""
    await database.fetch("park_runs", list(ids))


async def unpark(database: Database, limit: int) -> list[tuple[UUID, str]]:
    """Put due runs back whose workflow is no longer paused; return them, and whose they are."""
    return [(row["id"], row["tenant_id"]) for row in await database.fetch("unpark_runs", limit)]


async def struck(database: Database, limit: int, shards: Collection[int] = SHARDS) -> list[tuple[UUID, int]]:
    """Return (run, strikes) of live runs of some shards that were suspects when a node died."""
    rows = await database.fetch("struck_runs", limit, sorted(shards))
    return [(row["id"], row["strikes"]) for row in rows]


async def strike(database: Database, ids: Sequence[UUID]) -> None:
    """Write down, before suspects are evaluated, that they are."""
    await database.fetch("strike_runs", list(ids))


async def clear_strikes(database: Database, ids: Sequence[UUID]) -> None:
    """Take the strikes of suspects away that were evaluated without harm."""
    await database.fetch("clear_strikes", list(ids))


async def mark_incapable(database: Database, run_id: UUID, lacks: str) -> bool:
    """Say of a run that this node lacks what it needs; False when it is locked by somebody else."""
    return bool(await database.fetchval("mark_run_incapable", run_id, lacks))


async def reclaim_capable(
    database: Database, catalogue: Catalogue, limit: int = 500
) -> list[tuple[UUID, str]]:
    """Give back the runs that wait for a node such as this, whatever their shard; return (run, tenant)."""
    after, found = NO_ID, list[tuple[UUID, str]]()
    while rows := await database.fetch("incapable_runs", after, limit):
        able = [
            row["id"]
            for row in rows
            if await catalogue.get(row["workflow_key"], row["workflow_version"]) is not None
        ]
        if able:
            cleared = await database.fetch("clear_run_incapable", able)
            found += [(row["id"], row["tenant_id"]) for row in cleared]
        after = rows[-1]["id"]
    return found
