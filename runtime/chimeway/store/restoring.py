"""After a restore: what may have been sent already is held, until an operator lets it go or gives it up.

The theory stands in docs/design.md, "After a restore". What holds a message is a row, and the door that all
attempts go through looks there; so it holds for every node, and across a crash.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal
from uuid import UUID

from chimeway.progression.snapshot import DeliveryStatus
from chimeway.store import acting, schema
from chimeway.store.acting import Operator
from chimeway.store.pool import Connection, Database
from chimeway.store.queries import SQL
from chimeway.store.words import in_our_words

_AT_ONCE: Final = 500
"""Decided about in one transaction: their runs are locked meanwhile."""
_FIRST: Final = UUID(int=0)
Decided = Literal["released", "dropped", "ended", "decided", "gone"]


@dataclass(frozen=True, slots=True)
class Begun:
    """What was held: messages, and runs whose next ones will be; `again`: it had been done before."""

    again: bool
    deliveries: int
    runs: int


@dataclass(frozen=True, slots=True)
class Restored:
    """A message that is held, because it may have been sent after `taken_at`, when the backup was taken."""

    delivery_id: UUID
    run_id: UUID
    tenant_id: str
    recipient_id: str
    workflow: str
    step: str
    channel: str
    status: DeliveryStatus
    attempt_count: int
    planned_at: datetime
    next_attempt_at: datetime | None
    taken_at: datetime


@dataclass(frozen=True, slots=True)
class Which:
    """Of which messages; None: of all."""

    tenant: str | None = None
    workflow: str | None = None
    channel: str | None = None


async def begin(database: Database, taken_at: datetime, by: str) -> Begun:
    """Hold what was not sent in a backup, before any node of it sends; safe to repeat.

    Raises:
        InvalidInput: the instant is to come, or a node has worked here after it.
        SchemaMismatch: the schema is older than this, and must be migrated first.
        NotPermitted: this role may not.
    """
    await schema.require(database)
    with in_our_words():
        row = await database.fetchrow("begin_restore", taken_at, by)
    assert row is not None, "it returns one row"
    return Begun(**row)


async def held(database: Database, which: Which, limit: int, after: UUID = _FIRST) -> list[Restored]:
    """Return messages that are held, those planned first first."""
    with in_our_words():
        rows = await database.fetch(
            "restored_deliveries", after, which.tenant, which.workflow, which.channel, limit
        )
    return [Restored(**row) for row in rows]


async def pages(database: Database, which: Which) -> AsyncIterator[list[UUID]]:
    """Go through the ids of all that are held, some at a time."""
    after = _FIRST
    while found := await held(database, which, _AT_ONCE, after):
        after = found[-1].delivery_id
        yield [one.delivery_id for one in found]


async def decide(
    database: Database, who: Operator, ids: Sequence[UUID], *, release: bool
) -> list[tuple[UUID, Decided]]:
    """Let these go, or give them up; return what became of each. All of them in one transaction.

    Who did it stands with each of them, and in the audit of operators.

    Raises:
        NotPermitted: this role may not.
        DatabaseUnavailable: it may have been done, or not.
    """

    async def act(connection: Connection) -> list[tuple[UUID, Decided]]:
        rows = await connection.fetch(SQL["decide_restored"], list(ids), release, who.name)
        answers: dict[UUID, Decided] = {row["delivery_id"]: row["answer"] for row in rows}
        done = [each for each, answer in answers.items() if answer in {"released", "dropped"}]
        await acting.note_decided(connection, who, "release" if release else "drop", done)
        return [(each, answers[each]) for each in ids]

    return await acting.alone(database, act)
