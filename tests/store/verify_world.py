"""Journeys for the tests of verify: written by the real functions, the core and the ledger, no daemon."""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from chimeway.progression.decide import decide
from chimeway.progression.decision import Birth, Decision, Noop
from chimeway.render.message import Rendered
from chimeway.store.catalogue import Catalogue
from chimeway.store.definitions import register
from chimeway.store.deliveries import Beginning, Outcome, begin_attempts, load_sendables, record_results
from chimeway.store.ledger import commit_decisions, entry_for
from chimeway.store.pool import Database
from chimeway.store.runs import load_runs
from chimeway.workflow.definition import NotifyAction, Step
from chimeway.workflow.parse import parse

READ = {"type": "signal_received", "signal_type": "read", "match": {"document": {"data": "document"}}}
ESCALATION = {
    "key": "escalation",
    "version": 1,
    "stop_conditions": [{"type": "signal_received", "signal_type": "halt"}],
    "steps": [
        {"id": "in_app", "action": {"type": "notify", "channel": "in_app", "render_key": "mention"}},
        {"id": "wait", "action": {"type": "wait", "duration": "PT2H", "stop_conditions": [
            READ, {"type": "signal_received", "signal_type": "skip", "then": "continue"}]}},
        {"id": "email", "action": {"type": "notify", "channel": "email", "render_key": "mention"},
         "progress": [{"kind": "on_outcome", "outcome": "temporary_failure", "to_step": "sms"}]},
        {"id": "sms", "action": {"type": "notify", "channel": "sms", "render_key": "mention"}},
    ],
}  # fmt: skip
ASLEEP = "set local session_replication_role = replica"
"""Triggers, those of foreign keys too, sleep in this transaction: what no function could write goes in."""


def _born(step: Step, visit: int) -> Birth:
    assert isinstance(step.action, NotifyAction)
    return Birth("succeeded") if step.action.channel == "in_app" else Birth("pending")


@dataclass
class World:
    """The journeys of one database, by recipient, and the moves that an engine would make."""

    database: Database
    runs: dict[str, UUID] = field(default_factory=dict)

    async def sql(self, text: str, *args: Any) -> Any:
        """Run SQL and return its first value."""
        async with self.database.acquire() as connection:
            return await connection.fetchval(text, *args)

    async def break_it(self, recipient: str, statements: str) -> None:
        """Run SQL as no function of ours would; in it, `$run` is the recipient's run."""
        async with self.database.acquire() as connection, connection.transaction():
            await connection.execute(ASLEEP)
            await connection.execute(statements.replace("$run", f"'{self.runs[recipient]}'"))

    async def pass_time(self, hours: float) -> None:
        """Move the clock of the database."""
        await self.sql("update chimeway.test_clock set at = at + $1", timedelta(hours=hours))

    async def start(self, recipient: str) -> None:
        """Trigger, and go as far as the wait."""
        self.runs[recipient] = await self.sql(
            """select chimeway.trigger('escalation', recipient_id => $1, data => '{"document": 7}',
                                       idempotency_key => $1)""",
            recipient,
        )
        await self.progress(recipient)

    async def progress(self, recipient: str) -> Decision | Noop:
        """Evaluate a run once, and write what follows."""
        decision = await self.decide(recipient)
        if isinstance(decision, Decision):
            messages = {p.visit: Rendered("s", "b", None) for p in decision.planned if p.channel == "in_app"}
            entry = entry_for(self.runs[recipient], decision, messages)
            assert await commit_decisions(self.database, None, [entry]) == ["applied"]
        return decision

    async def decide(self, recipient: str) -> Decision | Noop:
        """Evaluate a run once, and write nothing."""
        await self.sql("select * from chimeway.route_signals(100, 100)")
        (loaded,) = await load_runs(self.database, Catalogue(self.database), [self.runs[recipient]])
        assert loaded is not None
        assert loaded.snapshot is not None
        return decide(loaded.snapshot, await self.sql("select chimeway.clock()"), _born)

    async def say(self, recipient: str, signal: str, document: int = 7) -> UUID:
        """Record a signal."""
        found: UUID = await self.sql(
            "select chimeway.signal($1, actor_id => $2, payload => jsonb_build_object('document', $3::int))",
            signal, recipient, document,
        )  # fmt: skip
        return found

    async def attempt(self, recipient: str, outcome: str | None, **more: Any) -> None:
        """Begin an attempt of the run's pending message, and record what became of it."""
        delivery, run_id = await self.delivery(recipient), self.runs[recipient]
        sendable = (await load_sendables(self.database, [delivery]))[delivery]
        mailbox = await self.sql("select mailbox_count from chimeway.workflow_runs where id = $1", run_id)
        rows = [Beginning(delivery, run_id, sendable.revision, mailbox, "a@example.org", {"subject": "s"})]
        (begun,) = await begin_attempts(self.database, None, uuid4(), rows)
        assert begun.answer == "begun"
        if outcome is not None:
            row = Outcome(delivery, run_id, begun.attempt_no, outcome, outcome, **more)  # type: ignore[arg-type]
            assert (await record_results(self.database, [row]))[0].answer == "applied"

    async def delivery(self, recipient: str) -> UUID:
        """Return the delivery of the run's current visit."""
        found: UUID = await self.sql(
            """select d.id from chimeway.deliveries d join chimeway.workflow_runs r
                   on r.id = d.run_id and r.visit = d.visit where r.id = $1""",
            self.runs[recipient],
        )
        return found


EARLY = ("reader", "sender", "sending", "unsure", "late", "quitter", "skipper", "halted")


async def played(database: Database) -> World:
    """Play ten journeys, each of which goes its own way through the tables; two of them still wait."""
    made = World(database)
    await register(database, parse(ESCALATION))
    for person in EARLY:
        await made.start(person)
    await made.say("reader", "read")
    await made.progress("reader")
    await made.say("skipper", "skip")
    await made.progress("skipper")
    await made.sql("select chimeway.cancel(run_id => $1)", made.runs["quitter"])
    await made.pass_time(2)
    for person in ("sender", "sending", "unsure", "late", "halted"):
        await made.progress(person)
    await _ends(made)
    for person in ("waiter", "held"):
        await made.start(person)
    await made.say("waiter", "read", document=8)
    await made.progress("waiter")
    await made.sql("select chimeway.hold_run($1, 'held_by_request')", made.runs["held"])
    return made


async def _ends(made: World) -> None:
    """Let the messages of those who did not read in time meet their fates."""
    await made.attempt("sender", "succeeded")
    await made.progress("sender")
    await made.say("sender", "read")
    await made.attempt("sending", None)
    later = await made.sql("select chimeway.clock() + interval '1 hour'")
    await made.attempt("unsure", "failed", error_class="transient", next_attempt_at=later, nudge=True)
    await made.progress("unsure")
    await made.say("late", "read")
    await made.progress("late")
    await made.attempt("halted", None)
    await made.say("halted", "halt")
    await made.progress("halted")
