"""verify: nothing is found in a database made by the real functions, and each broken invariant is named.

Every test plays the same journeys, breaks one thing by SQL as no function of ours would, and expects
the one invariant. Rows that are append-only are broken with their triggers disabled.
"""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from chimeway.progression.decide import decide
from chimeway.progression.decision import Birth, Decision, Noop
from chimeway.render import Rendered
from chimeway.store.catalogue import Catalogue
from chimeway.store.deliveries import Beginning, Outcome, begin_attempts, load_sendables, record_results
from chimeway.store.definitions import register
from chimeway.store.ledger import commit_decisions, entry_for
from chimeway.store.pool import Database
from chimeway.store.runs import load_runs
from chimeway.store.verify import verify
from chimeway.store.verify_findings import CHECKS
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

    async def broken(self) -> set[str]:
        """Return the names of the checks that do not hold."""
        return {violation.check for violation in await verify(self.database, page=3)}


EARLY = ("reader", "sender", "sending", "unsure", "late", "quitter", "skipper", "halted")


@pytest.fixture
async def world(clock_database: Database) -> World:
    """Ten journeys, each of which went its own way through the tables; two of them still wait."""
    made = World(clock_database)
    await register(clock_database, parse(ESCALATION))
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


async def test_nothing_is_found_in_a_healthy_database(world: World) -> None:
    """Journeys that the real functions wrote break no invariant, wherever they stand."""
    assert await verify(world.database, page=3) == []


async def test_every_invariant_has_a_check_and_every_check_a_test() -> None:
    """I1 to I10 are all held up, and each check is broken below."""
    assert {invariant for invariant, _ in CHECKS.values()} == {f"I{n}" for n in range(1, 11)}
    assert {check for checks, _, _ in BROKEN for check in checks.split()} | {"attempts", "overdue"} == set(
        CHECKS
    )


async def test_the_row_count_of_the_walk_is_told(world: World) -> None:
    """Progress is told in rows, page by page."""
    told: list[int] = []
    await verify(world.database, page=4, progress=told.append)
    assert told == [4, 4, 2, 4, 4, 2, 4, 1]


_STRAY = """insert into chimeway.deliveries (id, shard, run_id, visit, step_id, tenant_id, recipient_id, channel,
                render_key, status, suppression_reason, created_at, terminal_at)
            select gen_random_uuid(), shard, id, {visit}, 'email', tenant_id, recipient_id, 'email', 'mention',
                   'suppressed', 'no_address', created_at, created_at
              from chimeway.workflow_runs where id = $run"""
_RESULT = """insert into chimeway.delivery_attempt_results (delivery_id, shard, attempt_no, outcome, finished_at)
             select id, shard, attempt_count, 'succeeded', chimeway.clock() from chimeway.deliveries
              where run_id = $run and channel = 'email'"""
_ATTEMPT = """insert into chimeway.delivery_attempts (delivery_id, shard, attempt_no, run_id, node, snapshot, started_at)
              select id, shard, 1, run_id, id, pg_current_snapshot(), chimeway.clock() from chimeway.deliveries
               where run_id = $run and channel = 'email';
              update chimeway.deliveries set attempt_count = 1 where run_id = $run and channel = 'email'"""
_AFTER_END = """insert into chimeway.workflow_transitions (run_id, shard, seq, decision_id, reason, from_state, to_state,
                    from_step, to_step, visit, status_reason, context, at)
                select id, shard, transition_count + 1, gen_random_uuid(), 'cancelled_by_request', state, state,
                       step, step, visit, status_reason, status_context, chimeway.clock()
                  from chimeway.workflow_runs where id = $run;
                update chimeway.workflow_runs set transition_count = transition_count + 1 where id = $run"""
_FOREIGN_SIGNAL = """insert into chimeway.signals (id, shard, tenant_id, actor_id, type, payload, run_id, created_at)
                     values (gen_random_uuid(), 0, 'other', 'somebody', 'read', '{}', $run, chimeway.clock())"""
_EARLIER = "created_at = created_at - interval '1 hour', xid = '3'"
BROKEN = (
    ("numbering", "waiter", "update chimeway.workflow_runs set transition_count = 9 where id = $run"),
    ("run_rows", "waiter", "update chimeway.workflow_runs set status_reason = 'other' where id = $run"),
    ("run_rows", "sender", "update chimeway.workflow_runs set state = 'failed' where id = $run"),
    ("one_delivery_per_visit", "sender",
     "alter table chimeway.deliveries drop constraint deliveries_run_id_visit_shard_key;" + _STRAY.format(visit=3)),
    ("visits_entered", "waiter", _STRAY.format(visit=9)),
    ("attempt_numbering", "sending", "update chimeway.deliveries set attempt_count = 2 where run_id = $run and visit = 3"),
    ("attempt_numbering results_without_attempt sent_without_attempt", "sender",
     "delete from chimeway.delivery_attempts where run_id = $run"),
    ("sent_without_attempt", "skipper",
     """update chimeway.deliveries set status = 'succeeded', next_attempt_at = null, terminal_at = chimeway.clock()
         where run_id = $run and visit = 3;
        update chimeway.workflow_runs set wake_at = chimeway.clock() where id = $run"""),
    ("after_end", "reader", _AFTER_END),
    ("planned_after_end", "reader", _STRAY.format(visit=9)),
    ("open_after_stop", "late",
     """update chimeway.deliveries set status = 'pending', suppression_reason = null, terminal_at = null,
               next_attempt_at = chimeway.clock() where run_id = $run and visit = 3"""),
    ("attempt_after_stop", "late", _ATTEMPT),
    ("elapsed_unseen", "sender",
     "update chimeway.workflow_transitions set snapshot = null where run_id = $run and snapshot is not null"),
    ("elapsed_waits attempts", "sender", f"update chimeway.signals set {_EARLIER} where actor_id = 'sender'"),
    ("tenants", "waiter", "update chimeway.events set tenant_id = 'other' where $run = any(run_ids)"),
    ("tenants", "waiter", "update chimeway.deliveries set recipient_id = 'x' where run_id = $run;"
                          "update chimeway.inbox_items set recipient_id = 'x' where run_id = $run"),
    ("tenants", "waiter", "update chimeway.inbox_items set tenant_id = 'other' where run_id = $run"),
    ("tenants", "sender", "update chimeway.delivery_attempts set run_id = id from chimeway.events where run_id = $run"),
    ("tenants", "waiter", "update chimeway.signals set tenant_id = 'other' where actor_id = 'waiter'"),
    ("signal_runs", "waiter", _FOREIGN_SIGNAL),
    ("runs_of_events", "quitter", "delete from chimeway.workflow_runs where id = $run"),
    ("events_once", "waiter",
     "update chimeway.events set idempotency_key = 'sender' where idempotency_key = 'waiter'"),
    ("events_of_runs", "waiter", "delete from chimeway.events where $run = any(run_ids)"),
    ("events_of_runs", "waiter",
     """update chimeway.workflow_runs set event_id = (select id from chimeway.events where idempotency_key = 'held')
         where id = $run"""),
    ("reachable_runs", "waiter", "update chimeway.workflow_runs set wake_at = null where id = $run"),
    ("reachable_runs", "waiter",
     "update chimeway.workflow_runs set wake_at = wake_at + interval '1 second' where id = $run"),
    ("reachable_deliveries", "skipper",
     "update chimeway.deliveries set next_attempt_at = null where run_id = $run"),
    ("reachable_deliveries", "sending", _RESULT),
    ("reachable_signals", "waiter",
     """delete from chimeway.run_mailbox where run_id = $run;
        update chimeway.workflow_runs set mailbox_count = 0, mailbox_seen = 0 where id = $run"""),
    ("mailbox_numbering", "waiter", "update chimeway.run_mailbox set number = 2 where run_id = $run"),
    ("decisions", "waiter",
     """update chimeway.workflow_transitions set inputs = inputs || '{"now": "2026-01-05T08:00:00.000000Z"}'
         where run_id = $run and inputs is not null"""),
    ("decisions", "sender", "update chimeway.workflow_transitions set inputs = '{}' where run_id = $run"),
    ("decisions", "sender", "update chimeway.workflow_transitions set inputs = null where run_id = $run"),
    ("decisions", "reader", "update chimeway.run_mailbox set consumed_by = null where run_id = $run"),
    ("decisions", "skipper", "update chimeway.deliveries set render_key = 'x' where run_id = $run"),
)  # fmt: skip
"""(the checks that must fail, whose run, what is done to it)."""


@pytest.mark.parametrize(("checks", "recipient", "statements"), BROKEN)
async def test_what_is_broken_is_named_and_nothing_else(
    world: World, checks: str, recipient: str, statements: str
) -> None:
    """A broken invariant is found, by the check that holds it up, and no other one is blamed."""
    await world.break_it(recipient, statements)
    violations = await verify(world.database, page=3)
    assert {violation.check for violation in violations} == set(checks.split())
    for violation in violations:
        assert violation.invariant == CHECKS[violation.check][0]
        assert violation.count >= len(violation.examples) > 0


@pytest.mark.parametrize(
    ("recipient", "signal", "document", "found"),
    [
        ("skipper", "read", 7, {"attempts"}),  # a stop of the wait that it had left
        ("skipper", "read", 8, set()),  # of another document
        ("skipper", "skip", 7, set()),  # which ended the wait, and stops nothing
        ("unsure", "halt", 7, {"attempts"}),  # of the workflow: in force all along
        ("unsure", "read", 7, set()),  # of a wait that it had left long ago
    ],
)
async def test_an_attempt_that_could_see_a_stop_is_found(
    world: World, recipient: str, signal: str, document: int, found: set[str]
) -> None:
    """I5: what its snapshot could see counts, and only what would have stopped the run."""
    # Under another name nobody listens, so the guard lets the attempt pass.
    signal_id = await world.say(recipient, "deaf", document)
    await world.attempt(recipient, None)
    await world.sql("update chimeway.signals set type = $2 where id = $1", signal_id, signal)
    assert await world.broken() == found


async def test_what_an_attempt_could_not_see_is_no_violation(world: World) -> None:
    """I5: a signal that came after the first attempt is too late, even in the same instant."""
    await world.attempt("skipper", None)
    await world.say("skipper", "read")
    assert await world.broken() == set()


async def test_a_run_is_overdue_from_the_later_of_wake_and_take_over(world: World) -> None:
    """I6: five seconds are allowed, and a node that has just taken over has them anew."""
    await world.pass_time(2 + 4 / 3600)
    assert await world.broken() == set()
    await world.pass_time(2 / 3600)
    assert await world.broken() == {"overdue"}
    assert await verify(world.database, max_lateness=timedelta(seconds=7)) == []
    await world.sql("update chimeway.shards set taken_at = chimeway.clock()")
    assert await world.broken() == set()


async def test_events_outlive_their_pruned_runs(world: World) -> None:
    """I8: an event older than retention may have lost its runs."""
    await world.break_it("quitter", "delete from chimeway.workflow_runs where id = $run")
    assert await verify(world.database, retention=timedelta(minutes=1)) == []


async def test_a_definition_that_this_program_cannot_read_is_not_judged(world: World) -> None:
    """What only a newer node understands is no violation; SQL's checks go on."""
    await world.sql(
        """update chimeway.workflow_definitions set definition = definition || '{"digest_window": "PT1H"}'"""
    )
    assert await world.broken() == set()
