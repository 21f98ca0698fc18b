"""Whether the invariants of semantics §10 hold in a database: what `chimeway verify` asks.

Runs, events and signals are walked in pages by id, so that memory does not grow with the database.
All that belongs to a page is read in one snapshot: a daemon may work meanwhile and is never taken
for a fault, and no snapshot is older than a page, which vacuum would pay for. Nothing is written.

What SQL can say is said there (`verify.sql`); `match` (I5), folds (I1) and replays (I10) are judged
in Python by the core that decided. Runs whose definition this program cannot read are not judged
by these three: they wait for a node that can.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Final
from uuid import UUID

import asyncpg

from chimeway.progression.fold import fold
from chimeway.store.catalogue import Catalogue
from chimeway.store.policies import has_policy
from chimeway.store.pool import Connection, Database
from chimeway.store.queries import SQL
from chimeway.store.verify_findings import Findings, Violation
from chimeway.store.verify_races import check_attempts, check_elapsed_waits
from chimeway.store.verify_replay import check_decisions
from chimeway.store.words import in_our_words
from chimeway.workflow.definition import Definition

__all__ = ["Violation", "verify"]

_RUN_CHECKS: Final = (
    "verify_numbering",
    "verify_one_delivery_per_visit",
    "verify_visits_entered",
    "verify_attempt_numbering",
    "verify_results_without_attempt",
    "verify_sent_without_attempt",
    "verify_after_end",
    "verify_planned_after_end",
    "verify_open_after_stop",
    "verify_attempt_after_stop",
    "verify_elapsed_unseen",
    "verify_tenants",
    "verify_feedback_unsent",
    "verify_feedback_verdict",
    "verify_events_of_runs",
    "verify_reachable_runs",
    "verify_reachable_deliveries",
    "verify_reachable_signals",
    "verify_mailbox_numbering",
)
"""Statements about runs that SQL alone can judge, and that take no other argument."""
_POLICY_CHECKS: Final = ("verify_deferred", "verify_held_back", "verify_caps")
"""The same, of what policy said: not asked of a schema that knows none."""
_WALKS: Final = {
    "runs": ("verify_last_run", "verify_runs_page"),
    "events": ("verify_last_event", "verify_events_page"),
    "signals": ("verify_last_signal", "verify_signals_page"),
}
"""What is walked: the statement that says where the walk ends, and that of a page."""


async def verify(
    database: Database,
    *,
    max_lateness: timedelta = timedelta(seconds=5),
    retention: timedelta = timedelta(days=90),
    page: int = 200,
    progress: Callable[[int], None] | None = None,
) -> list[Violation]:
    """Check I1 to I10 over all runs, events and signals that there are at the start.

    Args:
        database: where; nothing is written there.
        max_lateness: how far past its wake a run may be (I6).
        retention: for how long ended runs are kept: an event older than that may have none (I8).
        page: rows read at once; one page is one snapshot.
        progress: told, after each page, how many rows were looked at.

    Returns:
        the checks that do not hold, by invariant; empty when all is well.

    Raises:
        DatabaseUnavailable: it cannot be reached.
        SchemaMismatch: it has no schema that fits.
    """
    findings = Findings()
    tell = progress or _tell_nobody
    with in_our_words():
        catalogue = Catalogue(database)
        checks = _RUN_CHECKS + (_POLICY_CHECKS if await has_policy(database) else ())
        async for runs in _pages(database, "runs", page):
            definitions = {name: await catalogue.get(*name) for name in _names(runs)}
            async with _snapshot(database) as connection:
                for name in checks:
                    await _check(connection, name, findings, _ids(runs))
                await _check_runs(connection, _ids(runs), definitions, max_lateness, findings)
            tell(len(runs))
        async for events in _pages(database, "events", page):
            async with _snapshot(database) as connection:
                await _check(connection, "verify_runs_of_events", findings, _ids(events), retention)
                await _check(connection, "verify_events_once", findings, _ids(events))
            tell(len(events))
        async for signals in _pages(database, "signals", page):
            async with _snapshot(database) as connection:
                await _check(connection, "verify_signal_runs", findings, _ids(signals))
            tell(len(signals))
    return findings.violations()


async def _check_runs(
    connection: Connection,
    ids: Sequence[UUID],
    definitions: Mapping[tuple[str, int], Definition | None],
    max_lateness: timedelta,
    findings: Findings,
) -> None:
    await _check(connection, "verify_overdue", findings, ids, max_lateness)
    await _check_folds(connection, ids, findings)
    await check_elapsed_waits(connection, ids, definitions, findings)
    await check_attempts(connection, ids, definitions, findings)
    await check_decisions(connection, ids, definitions, findings)


async def _check(connection: Connection, statement: str, findings: Findings, *args: object) -> None:
    findings.add_rows(statement.removeprefix("verify_"), await connection.fetch(SQL[statement], *args))


async def _check_folds(connection: Connection, ids: Sequence[UUID], findings: Findings) -> None:
    """Compare each run's row with the fold of its last transition, which bears all."""
    for row in await connection.fetch(SQL["verify_run_rows"], ids):
        folded = fold([{**row, "visit": row["t_visit"], "status_reason": row["t_status_reason"]}])
        own = (row["state"], row["step"], row["visit"], row["status_reason"], row["status_context"])
        names = ("state", "step", "visit", "status_reason", "status_context")
        wrong = [name for name, one, other in zip(names, own, folded, strict=True) if one != other]
        if wrong:
            findings.add("run_rows", row["id"], f"{', '.join(wrong)} differ from the last transition's")


async def _pages(database: Database, walked: str, size: int) -> AsyncIterator[list[asyncpg.Record]]:
    """Yield the rows that there are now, in id order, page by page."""
    last_statement, page_statement = _WALKS[walked]
    last = await database.fetchval(last_statement)
    after = UUID(int=0)
    while last is not None and (rows := await database.fetch(page_statement, after, last, size)):
        yield rows
        after = rows[-1]["id"]


@asynccontextmanager
async def _snapshot(database: Database) -> AsyncIterator[Connection]:
    """Lend a connection on which all statements see the same rows."""
    async with (
        database.acquire() as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        await connection.fetch(SQL["verify_by_index"])
        yield connection


def _ids(rows: Sequence[asyncpg.Record]) -> list[UUID]:
    return [row["id"] for row in rows]


def _names(runs: Sequence[asyncpg.Record]) -> set[tuple[str, int]]:
    return {(row["workflow_key"], row["workflow_version"]) for row in runs}


def _tell_nobody(_rows: int) -> None:
    pass
