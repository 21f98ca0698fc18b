"""What rows say where there is no run: the key's event, recipient, workflow, transactions still open."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from chimeway.store import callers, reads
from chimeway.store.pool import Database
from chimeway.store.views import RunView
from chimeway.store.words import in_our_words

_TENANTS: Final = 200
"""Tenants that are gone through for a key or a person that may be another's."""
_OPEN_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Sought:
    """What was asked for, and not found."""

    tenant: str
    recipient: str | None = None
    workflow: str | None = None
    key: str | None = None


@dataclass(frozen=True, slots=True)
class KeyEvent:
    """The event of an idempotency key: how many it was for, whether for the recipient, and what is left."""

    workflow_key: str
    workflow_version: int
    created_at: datetime
    people: int
    named: bool
    pruned: int
    forgotten: int
    runs: int


@dataclass(frozen=True, slots=True)
class Version:
    """A version of the workflow that was asked for."""

    version: int
    registered_at: datetime
    paused_at: datetime | None


@dataclass(frozen=True, slots=True)
class Absence:
    """All that rows say of it."""

    sought: Sought
    now: datetime
    event: KeyEvent | None
    elsewhere: Sequence[str]
    """Other tenants that know the key, or else the recipient."""
    channels: Sequence[str] | None
    """To which the recipient has addresses; None: there is no profile, or nobody was named."""
    newest: RunView | None
    """The recipient's newest run of whatever workflow."""
    versions: Sequence[Version]
    workflows: Sequence[str]
    open_s: float | None
    """How long the oldest transaction is open that may hold a trigger; None: there is none."""


async def look_for(database: Database, sought: Sought) -> Absence:
    """Look once; nothing is read that grows with what is stored."""
    with in_our_words():
        keys = [row["key"] for row in await database.fetch("workflow_keys")]
        holding = await database.fetch("examined_snapshots", _OPEN_S)
        open_s = max((row["open_s"] for row in holding if row["kind"] == "session"), default=None)
        profile = newest = None
        if sought.recipient is not None:
            profile = await database.fetchrow("profile_at_hand", sought.tenant, sought.recipient)
            newest = await _newest(database, sought.tenant, sought.recipient)
        versions = (
            [] if sought.workflow is None else await database.fetch("workflow_at_hand", sought.workflow)
        )
        return Absence(
            sought=sought,
            now=await database.fetchval("database_now"),
            event=await _event(database, sought),
            elsewhere=await _elsewhere(database, sought),
            channels=None if profile is None else sorted(profile["channels"]),
            newest=newest,
            versions=[Version(**row) for row in versions],
            workflows=sorted(keys),
            open_s=open_s,
        )


async def _event(database: Database, sought: Sought) -> KeyEvent | None:
    if sought.key is None:
        return None
    row = await database.fetchrow("event_of_key", sought.tenant, sought.key, sought.recipient)
    return None if row is None else KeyEvent(**row)


async def _newest(database: Database, tenant: str, recipient: str) -> RunView | None:
    asked = reads.list_runs(tenant, state=None, workflow=None, recipient=recipient, cursor=None, limit=1)
    page = await callers.run(database, asked)
    return page.items[0] if page.items else None


async def _elsewhere(database: Database, sought: Sought) -> list[str]:
    if sought.key is not None:
        rows = await database.fetch("tenants_of_key", sought.key, _TENANTS)
    elif sought.recipient is not None:
        rows = await database.fetch("tenants_of_recipient", sought.recipient, _TENANTS)
    else:
        return []
    return [row["tenant_id"] for row in rows if row["tenant_id"] != sought.tenant]
