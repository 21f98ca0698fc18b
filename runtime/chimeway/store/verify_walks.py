"""What is looked at, page by page: all runs, events and signals, or as few as somebody has time for.

A page is read behind the id of the last one, so that its cost does not grow with the tables, and a walk ends
with what was the newest when it began. Ids begin with the time at which they were given: what is newer than
an instant is found by its id.

A sample is drawn by PostgreSQL (`tablesample system`): it reads some of a table's blocks, chosen by the seed,
and takes all that stands in them. The same seed on a table that has not changed gives the same sample.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, get_args, get_type_hints
from uuid import UUID

import asyncpg

from chimeway.store.ids import least_id
from chimeway.store.pool import Database

_NIL: Final = UUID(int=0)
_ROWS_A_BLOCK: Final = 10
"""Rows that a block of a table has at least, as long as nobody has counted: rows of ours are short."""
_BLOCK_BYTES: Final = 8192


@dataclass(frozen=True, slots=True)
class Scope:
    """What is looked at; as it stands: everything.

    Args:
        tenant: what is this tenant's.
        since: what was triggered, or recorded, at this instant or later.
        sample: about so many runs, and so many signals; not to be given with the other two.
        seed: of the sample.
    """

    tenant: str | None = None
    since: datetime | None = None
    sample: int | None = None
    seed: int = 0

    @property
    def of_some(self) -> bool:
        """Whether it leaves out what no order of ids tells: a tenant's are few, a sample's anywhere."""
        return self.tenant is not None or self.sample is not None

    @property
    def floor(self) -> UUID:
        """Behind which id the walks begin."""
        return _NIL if self.since is None else least_id(self.since)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a walk had come to: which of the three it was, and behind which id it goes on.

    As text it is `runs:ID`; the walk's name alone is its beginning.
    """

    walk: Literal["runs", "events", "signals"]
    behind: UUID = _NIL

    def __str__(self) -> str:
        return self.walk if self.behind == _NIL else f"{self.walk}:{self.behind}"


def place_of(text: str) -> Place:
    """Return the place that a text names.

    Raises:
        ValueError: it names none.
    """
    for walk in get_args(get_type_hints(Place)["walk"]):
        name, _, behind = text.partition(":")
        if name == walk:
            return Place(walk, UUID(behind) if behind else _NIL)
    raise ValueError(f"no place: {text}")


async def run_pages(
    database: Database, scope: Scope, size: int, after: UUID = _NIL
) -> AsyncIterator[Sequence[asyncpg.Record]]:
    """Yield the runs of a scope that there are now, page by page: `id`, `workflow_key`, `workflow_version`.

    Args:
        database: where.
        scope: which; a sample comes in the order in which it is stored, the others in that of their ids.
        size: of a page.
        after: where an earlier walk has ended: behind this run.
    """
    if scope.sample is not None:
        async for rows in _sampled(database, scope, "workflow_runs", "verify_runs_sampled", size):
            yield rows
        return
    args: tuple[str, ...] = () if scope.tenant is None else (scope.tenant,)
    newest, page = (
        ("verify_last_run", "verify_runs_page")
        if scope.tenant is None
        else ("verify_last_run_of_tenant", "verify_runs_page_of_tenant")
    )
    async for rows in _walked(database, newest, page, max(scope.floor, after), size, *args):
        yield rows


async def event_pages(
    database: Database, scope: Scope, size: int, after: UUID = _NIL
) -> AsyncIterator[Sequence[UUID]]:
    """Yield the ids of all events since an instant; for a tenant or a sample see `events_of`."""
    behind = max(scope.floor, after)
    async for rows in _walked(database, "verify_last_event", "verify_events_page", behind, size):
        yield [row["id"] for row in rows]


async def events_of(database: Database, runs: Sequence[UUID]) -> list[UUID]:
    """Return the events that stand with these runs: each stands with the first of its own."""
    return [row["id"] for row in await database.fetch("verify_events_of_page", runs)]


async def signal_pages(
    database: Database, scope: Scope, size: int, after: UUID = _NIL
) -> AsyncIterator[Sequence[UUID]]:
    """Yield the ids of a scope's signals, page by page; `after` is not of a tenant, nor of a sample."""
    if scope.sample is not None:
        async for page in _sampled(database, scope, "signals", "verify_signals_sampled", size):
            yield [row["id"] for row in page]
    elif scope.tenant is not None:
        async for ids in _signals_of_tenant(database, scope.tenant, scope.floor, size):
            yield ids
    else:
        behind = max(scope.floor, after)
        async for page in _walked(database, "verify_last_signal", "verify_signals_page", behind, size):
            yield [row["id"] for row in page]


async def _walked(
    database: Database, newest: str, page: str, behind: UUID, size: int, *args: str
) -> AsyncIterator[Sequence[asyncpg.Record]]:
    """Page by page behind an id, up to what was the newest when it began."""
    last = await database.fetchval(newest, *args)
    while last is not None and (rows := await database.fetch(page, behind, last, size, *args)):
        yield rows
        behind = rows[-1]["id"]


async def _signals_of_tenant(
    database: Database, tenant: str, floor: UUID, size: int
) -> AsyncIterator[Sequence[UUID]]:
    """In the order of the index of actors; what is older than the floor is read, and left out."""
    actor, arrival = "", 0
    last = await database.fetchval("verify_last_arrival")
    while rows := await database.fetch("verify_signals_page_of_tenant", tenant, actor, arrival, last, size):
        yield [row["id"] for row in rows if row["id"] > floor]
        actor, arrival = rows[-1]["actor_id"], rows[-1]["arrival"]


async def _sampled(
    database: Database, scope: Scope, table: str, statement: str, size: int
) -> AsyncIterator[Sequence[asyncpg.Record]]:
    assert scope.sample is not None
    counted, bytes_ = (await database.fetch("verify_table_size", f"chimeway.{table}"))[0]
    about = counted if counted > 0 else bytes_ / _BLOCK_BYTES * _ROWS_A_BLOCK
    percent = min(100.0, 100.0 * scope.sample / max(about, 1.0))
    rows = await database.fetch(statement, percent, float(scope.seed))
    for start in range(0, len(rows), size):
        yield rows[start : start + size]
