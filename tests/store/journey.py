"""One journey on a real database whose clock tests move: the seam for decisions, by hand for attempts."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from chimeway import Chimeway, Explanation, Workflow
from chimeway.delivery.judging import beginning, held_back, judged
from chimeway.engine.seam import Committed, Rested, Seam
from chimeway.render.renderers import Renderers
from chimeway.render.templates import Templates
from chimeway.store import deliveries, ledger, runs
from chimeway.store.catalogue import Catalogue
from chimeway.store.pool import Database

TEMPLATES = Templates(
    {
        "mention.in_app.j2": "{% block subject %}Hello{% endblock %}{% block body %}You{% endblock %}",
        "broken.in_app.j2": "{% block subject %}{% endblock %}{% block body %}{{ nothing.at }}{% endblock %}",
    }
)


@dataclass(slots=True)
class Journey:
    """A run of `ada`, and the hands that play world and engine."""

    client: Chimeway
    database: Database
    run_id: UUID
    seam: Seam
    node: UUID = field(default_factory=uuid4)

    async def now(self) -> datetime:
        """Return the database's time."""
        async with self.database.acquire() as connection:
            at: datetime = await connection.fetchval("select chimeway.clock()")
            return at

    async def advance(self, **span: float) -> None:
        """Move time and evaluate."""
        async with self.database.acquire() as connection:
            await connection.execute("update chimeway.test_clock set at = at + $1", timedelta(**span))
        await self.progress()

    async def progress(self) -> None:
        """Evaluate the run until nothing follows."""
        while True:
            at = await self.now()
            done = await self.seam.evaluate(self.run_id, lambda at=at: at)  # type: ignore[misc]
            if isinstance(done, Rested):
                return
            assert isinstance(done, Committed), done

    async def signal(self, signal_type: str, **payload: Any) -> None:
        """Say something to the run, and let it hear."""
        await self.client.signal(signal_type, actor="ada", payload=payload)
        async with self.database.acquire() as connection:
            await connection.fetch("select * from chimeway.route_signals(100, 100)")

    async def begin(self, visit: int) -> UUID:
        """Begin the next attempt of a visit's delivery; return its id."""
        row = next(d for d in (await self.explain()).deliveries if d.visit == visit)
        sendable = (await deliveries.load_sendables(self.database, [row.id]))[row.id]
        async with self.database.acquire() as connection:
            mailbox = await connection.fetchval(
                "select mailbox_count from chimeway.workflow_runs where id = $1", self.run_id
            )
        beginning = deliveries.Beginning(row.id, self.run_id, sendable.revision, mailbox, "a@b.org", {})
        begun = await deliveries.begin_attempts(self.database, None, self.node, [beginning])
        assert begun[0].answer == "begun"
        return row.id

    async def attempt(self, visit: int, status: Any, reason: str | None = None, **more: Any) -> None:
        """Make one attempt of a visit's delivery, record what came of it, and evaluate."""
        await self.begin(visit)
        await self.record(visit, status, reason, **more)

    async def record(self, visit: int, status: Any, reason: str | None = None, **more: Any) -> None:
        """Record what came of the attempt that has begun, and evaluate."""
        delivery = next(d.id for d in (await self.explain()).deliveries if d.visit == visit)
        number = next(d for d in (await self.explain()).deliveries if d.id == delivery).attempt_count
        outcome: Any = "succeeded" if status == "succeeded" else more.pop("outcome", "failed")
        if status == "failed":
            more["next_attempt_at"] = await self.now() + timedelta(minutes=1)
        result = deliveries.Outcome(
            delivery, self.run_id, number, outcome, status, reason, nudge=True, **more
        )
        recorded = await deliveries.record_results(self.database, [result])
        assert recorded[0].answer == "applied"
        await self.progress()

    async def judge(self, visit: int) -> None:
        """Look at a visit's delivery as a sender does: policy holds it back, or it is sent; and evaluate."""
        found = next(d for d in (await self.explain()).deliveries if d.visit == visit)
        (run,) = await runs.load_runs(self.database, Catalogue(self.database), [self.run_id])
        row = (await deliveries.load_sendables(self.database, [found.id]))[found.id]
        assert run is not None
        verdict = judged(row, run, await self.now())
        if verdict is None or verdict.kind == "send":
            begins = beginning(row, run, verdict, row.channel, "a@b.org", {})
            begun = await deliveries.begin_attempts(self.database, None, self.node, [begins])
            assert begun[0].answer == "begun"
            await self.record(visit, "succeeded")
            return
        held = await deliveries.record_verdicts(self.database, None, [held_back(row, run, verdict)])
        assert held[0].answer == "applied"
        await self.progress()

    async def unmade(self, visit: int, note: str) -> None:
        """Record that a visit's message could not be made, and evaluate."""
        delivery = next(d.id for d in (await self.explain()).deliveries if d.visit == visit)
        result = deliveries.Outcome(
            delivery, self.run_id, None, None, "cancelled", "permanent_failure", "configuration", note
        )
        await deliveries.record_results(self.database, [result])
        await self.progress()

    async def sql(self, statement: str, *args: Any) -> None:
        """Do what nothing of ours does: other hands."""
        async with self.database.acquire() as connection:
            await connection.execute(statement, *args)

    async def explain(self) -> Explanation:
        """Return the run's explanation."""
        return await self.client.explain(self.run_id)


@asynccontextmanager
async def journey(
    database: Database,
    workflow: Workflow,
    data: dict[str, Any] | None = None,
    *,
    start: datetime | None = None,
    at: datetime | None = None,
    **profile: Any,
) -> AsyncIterator[Journey]:
    """Trigger a workflow for `ada` (clock at `start`, first step not before `at`), and play it as it goes."""
    client = Chimeway(database)
    if profile:
        await client.identify("ada", **profile)
    if start is not None:
        async with database.acquire() as connection:
            await connection.execute("update chimeway.test_clock set at = $1", start)
    receipt = await client.trigger(workflow, data, recipients="ada", at=at)
    catalogue = Catalogue(database)

    async def load(ids: Sequence[UUID]) -> Sequence[runs.Loaded | None]:
        return await runs.load_runs(database, catalogue, ids)

    async def commit(entries: Sequence[ledger.Entry]) -> Sequence[ledger.Answer]:
        return await ledger.commit_decisions(database, None, entries)

    played = Journey(
        client, database, receipt.run_ids[0], Seam(load, commit, Renderers(templates=TEMPLATES), ())
    )
    await played.progress()
    yield played
