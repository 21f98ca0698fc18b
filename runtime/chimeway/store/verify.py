"""Whether the invariants of semantics §10 hold in a database: what `chimeway verify` asks.

Runs, events and signals are walked in pages (`verify_walks`), so that memory does not grow with the
database, and time only as it does: no statement reads more than what belongs to its page. All that
belongs to a page is read in one snapshot: a daemon may work meanwhile and is never taken for a
fault, and no snapshot is older than a page, which vacuum would pay for. Nothing is written.

What SQL can say is said there (`verify.sql`); `match` (I5), folds (I1) and replays (I10) are judged
in Python by the core that decided. Runs whose definition this program cannot read are not judged
by these three: they wait for a node that can.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final
from uuid import UUID

import asyncpg

from chimeway.progression.fold import fold
from chimeway.store.catalogue import Catalogue
from chimeway.store.pool import Connection, Database
from chimeway.store.queries import SQL
from chimeway.store.replaying import Definitions
from chimeway.store.verify_findings import Findings, Violation
from chimeway.store.verify_races import check_attempts, check_elapsed_waits
from chimeway.store.verify_replay import check_decisions
from chimeway.store.verify_walks import Place, Scope, event_pages, events_of, run_pages, signal_pages
from chimeway.store.words import in_our_words

__all__ = ["Report", "Scope", "Violation", "examine", "verify"]

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
PAGE: Final = 500
"""Rows read at once: more would save next to nothing, and hold one snapshot for longer."""


@dataclass(slots=True)
class Report:
    """What was looked at, and what was found.

    `unreadable` counts runs whose definition this program does not understand: their folds are compared, but
    neither are their decisions made again (I10) nor is it asked which signals they should have heard (I5).
    """

    runs: int = 0
    events: int = 0
    signals: int = 0
    unreadable: int = 0
    findings: Findings = field(default_factory=Findings)
    place: Place | None = None
    """Where to go on; None: it looked at nothing yet, or at a sample, which has no order."""

    @property
    def violations(self) -> list[Violation]:
        """What does not hold, by invariant; none when all is well."""
        return self.findings.violations()

    @property
    def rows(self) -> int:
        """How many rows the walks went through."""
        return self.runs + self.events + self.signals


async def verify(
    database: Database,
    *,
    max_lateness: timedelta = timedelta(seconds=5),
    page: int = PAGE,
    progress: Callable[[int], None] | None = None,
) -> list[Violation]:
    """Check I1 to I10 over all there is, as `examine` does; return what does not hold."""
    report = await examine(database, Scope(), max_lateness=max_lateness, page=page, progress=progress)
    return report.violations


async def examine(
    database: Database,
    scope: Scope,
    *,
    max_lateness: timedelta,
    page: int = PAGE,
    progress: Callable[[int], None] | None = None,
    come: Report | None = None,
) -> Report:
    """Check I1 to I10 over the runs, events and signals of a scope that there are at the start.

    Args:
        database: where; nothing is written there.
        scope: what is looked at. Of a tenant, and in a sample, events go with the first of their runs.
        max_lateness: how far past its wake a run may be (I6).
        page: rows read at once; one page is one snapshot.
        progress: told, after each page, how many rows were looked at.
        come: where an earlier one had come to, behind whose place this one goes on; it is counted up.

    Returns:
        how much was looked at, and the checks that do not hold.

    Raises:
        DatabaseUnavailable: it cannot be reached.
        SchemaMismatch: it has no schema that fits.
    """
    report = Report() if come is None else come
    walks = _Walks(database, scope, report, max_lateness, page, progress or _tell_nobody)
    begins = report.place or Place("runs")
    with in_our_words():
        match begins.walk:
            case "runs":
                await walks.runs(begins)
                await walks.events(Place("events"))
                await walks.signals(Place("signals"))
            case "events":
                await walks.events(begins)
                await walks.signals(Place("signals"))
            case "signals":
                await walks.signals(begins)
    return report


@dataclass(frozen=True, slots=True)
class _Walks:
    """The three walks. What was found and where they have come to is noted by whole pages."""

    database: Database
    scope: Scope
    report: Report
    max_lateness: timedelta
    page: int
    tell: Callable[[int], None]

    async def runs(self, begins: Place) -> None:
        catalogue = Catalogue(self.database)
        async for runs in run_pages(self.database, self.scope, self.page, begins.behind):
            found, ids = Findings(), [run["id"] for run in runs]
            definitions = await definitions_of(catalogue, runs)
            async with snapshot(self.database) as connection:
                for name in (*_RUN_CHECKS, *_POLICY_CHECKS):
                    await _check(connection, name, found, ids)
                await _check_runs(connection, ids, definitions, self.max_lateness, found)
            events = await events_of(self.database, ids) if self.scope.of_some else []
            await self._check_events(events, found)
            unreadable = sum(definitions[_name(run)] is None for run in runs)
            self._note(
                Place("runs", ids[-1]), found, runs=len(runs), events=len(events), unreadable=unreadable
            )
            self.tell(len(ids) + len(events))

    async def events(self, begins: Place) -> None:
        if self.scope.of_some:
            return  # they went with their runs
        self._note(begins, Findings())
        async for ids in event_pages(self.database, self.scope, self.page, begins.behind):
            found = Findings()
            await self._check_events(ids, found)
            self._note(Place("events", ids[-1]), found, events=len(ids))
            self.tell(len(ids))

    async def signals(self, begins: Place) -> None:
        """A tenant's are not walked in the order of their ids: they are noted as a whole."""
        self._note(begins, Findings())
        found, many = Findings(), 0
        async for ids in signal_pages(self.database, self.scope, self.page, begins.behind):
            async with snapshot(self.database) as connection:
                await _check(connection, "verify_signal_runs", found, ids)
            many += len(ids)
            if not self.scope.of_some:
                self._note(Place("signals", ids[-1]), found, signals=many)
                found, many = Findings(), 0
            self.tell(len(ids))
        self._note(self.report.place, found, signals=many)

    async def _check_events(self, ids: Sequence[UUID], found: Findings) -> None:
        if ids:
            async with snapshot(self.database) as connection:
                await _check(connection, "verify_runs_of_events", found, ids)
                await _check(connection, "verify_events_once", found, ids)

    def _note(
        self,
        place: Place | None,
        found: Findings,
        *,
        runs: int = 0,
        events: int = 0,
        signals: int = 0,
        unreadable: int = 0,
    ) -> None:
        report = self.report
        report.runs += runs
        report.events += events
        report.signals += signals
        report.unreadable += unreadable
        report.findings.take(found)
        if self.scope.sample is None:
            report.place = place


async def _check_runs(
    connection: Connection,
    ids: Sequence[UUID],
    definitions: Definitions,
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


@asynccontextmanager
async def snapshot(database: Database) -> AsyncIterator[Connection]:
    """Lend a connection on which all statements see the same rows."""
    async with (
        database.acquire() as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        await connection.fetch(SQL["verify_by_index"])
        yield connection


async def definitions_of(catalogue: Catalogue, runs: Sequence[asyncpg.Record]) -> Definitions:
    """Return the definitions that a page of runs is of."""
    return {name: await catalogue.get(*name) for name in {_name(run) for run in runs}}


def _name(run: asyncpg.Record) -> tuple[str, int]:
    return run["workflow_key"], run["workflow_version"]


def _tell_nobody(_rows: int) -> None:
    pass
