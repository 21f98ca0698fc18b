"""verify: nothing is found in a database made by the real functions, and each broken invariant is named.

Every test plays the same journeys, breaks one thing by SQL as no function of ours would, and expects
the one invariant. Rows that are append-only are broken with their triggers asleep.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from chimeway import Chimeway
from chimeway.progression.decision import Decision
from chimeway.store import nodes
from chimeway.store.ledger import commit_decisions, entry_for
from chimeway.store.pool import Database, open_database
from chimeway.store.verify import verify
from chimeway.store.verify_findings import CHECKS
from chimeway.testing.databases import lent
from kit.copies import copy_of
from kit.daemon import running_daemon
from kit.home import GUIDE, home
from kit.rows import rows_of
from kit.smtp import smtp_sink
from kit.waiting import wait_for
from store.verify_world import World, played


@pytest.fixture(scope="module")
def played_once() -> Iterator[World]:
    """The journeys, played in a database to which nobody is connected any more."""

    async def play(url: str) -> World:
        async with open_database(url) as database:
            return await played(database)

    with lent(test_clock=True) as url:
        yield asyncio.run(play(url))


@pytest.fixture
async def world(played_once: World) -> AsyncIterator[World]:
    """Return the journeys, in a database of this test alone."""
    async with copy_of(played_once.database.url) as database:
        yield replace(played_once, database=database, runs=dict(played_once.runs))


async def _broken(world: World) -> set[str]:
    """Return the names of the checks that do not hold."""
    return {violation.check for violation in await verify(world.database, page=3)}


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
    assert told == [4, 4, 2, 4, 4, 2, 4, 2]


_TOLD = """
    insert into chimeway.delivery_feedback
    select d.id, d.shard, 's', 'e', '{kind}', d.created_at, null, d.created_at from chimeway.deliveries d
     where d.run_id = $run and d.channel = 'email'"""
_STRAY = """
    insert into chimeway.deliveries (id, shard, run_id, visit, step_id, tenant_id, recipient_id, channel,
        render_key, status, suppression_reason, created_at, terminal_at)
    select gen_random_uuid(), shard, id, {visit}, 'email', tenant_id, recipient_id, 'email', 'mention',
        'suppressed', 'no_address', created_at, created_at
      from chimeway.workflow_runs where id = $run"""
_RESULT = """
    insert into chimeway.delivery_attempt_results (delivery_id, shard, attempt_no, outcome, finished_at)
    select id, shard, attempt_count, 'succeeded', chimeway.clock() from chimeway.deliveries
     where run_id = $run and channel = 'email'"""
_ATTEMPT = """
    insert into chimeway.delivery_attempts (delivery_id, shard, attempt_no, run_id, node, snapshot,
        started_at)
    select id, shard, 1, run_id, id, pg_current_snapshot(), chimeway.clock() from chimeway.deliveries
     where run_id = $run and channel = 'email';
    update chimeway.deliveries set attempt_count = 1 where run_id = $run and channel = 'email'"""
_AFTER_END = """
    insert into chimeway.workflow_transitions (run_id, shard, seq, decision_id, reason, from_state, to_state,
        from_step, to_step, visit, status_reason, context, at)
    select id, shard, transition_count + 1, gen_random_uuid(), 'cancelled_by_request', state, state,
        step, step, visit, status_reason, status_context, chimeway.clock()
      from chimeway.workflow_runs where id = $run;
    update chimeway.workflow_runs set transition_count = transition_count + 1 where id = $run"""
_BEYOND_A_CAP = """
    insert into chimeway.delivery_verdicts (delivery_id, shard, number, stage, verdict, inputs, at)
    select id, shard, 1, 'before_send', 'send', '{"caps": [{"limit": 3, "sent": 3}]}', chimeway.clock()
      from chimeway.deliveries where run_id = $run and channel = 'email'"""
_FOREIGN_SIGNAL = """
    insert into chimeway.signals (id, shard, tenant_id, actor_id, type, payload, run_id, created_at)
    values (gen_random_uuid(), 0, 'other', 'somebody', 'read', '{}', $run, chimeway.clock())"""


def _set(table: str, change: str, where: str) -> str:
    return f"update chimeway.{table} set {change} where {where}"


def _run(change: str) -> str:
    return _set("workflow_runs", change, "id = $run")


def _email(change: str) -> str:
    return _set("deliveries", change, "run_id = $run and channel = 'email'")


BROKEN: tuple[tuple[str, str, str], ...] = (
    ("numbering", "waiter", _run("transition_count = 9")),
    ("run_rows", "waiter", _run("status_reason = 'other'")),
    ("run_rows", "sender", _run("state = 'failed'")),
    (
        "one_delivery_per_visit",
        "sender",
        "alter table chimeway.deliveries drop constraint deliveries_run_id_visit_shard_key;"
        + _STRAY.format(visit=3),
    ),
    ("visits_entered", "waiter", _STRAY.format(visit=9)),
    ("attempt_numbering", "sending", _email("attempt_count = 2")),
    (
        "attempt_numbering results_without_attempt sent_without_attempt",
        "sender",
        "delete from chimeway.delivery_attempts where run_id = $run",
    ),
    (
        "sent_without_attempt",
        "skipper",
        _email("status = 'succeeded', next_attempt_at = null, terminal_at = chimeway.clock()")
        + ";"
        + _run("wake_at = chimeway.clock()"),
    ),
    ("feedback_unsent", "skipper", _TOLD.format(kind="deferred")),
    ("feedback_verdict", "sender", _TOLD.format(kind="bounced")),
    ("after_end", "reader", _AFTER_END),
    ("planned_after_end", "reader", _STRAY.format(visit=9)),
    (
        "open_after_stop",
        "late",
        _email(
            "status = 'pending', suppression_reason = null, terminal_at = null,"
            " next_attempt_at = chimeway.clock()"
        ),
    ),
    ("attempt_after_stop", "late", _ATTEMPT),
    (
        "elapsed_unseen",
        "sender",
        _set("workflow_transitions", "snapshot = null", "run_id = $run and snapshot is not null"),
    ),
    (
        "elapsed_waits attempts",
        "sender",
        _set("signals", "created_at = created_at - interval '1 hour', xid = '3'", "actor_id = 'sender'"),
    ),
    ("tenants", "waiter", _set("events", "tenant_id = 'other'", "$run = any(run_ids)")),
    (
        "tenants",
        "waiter",
        _set("deliveries", "recipient_id = 'x'", "run_id = $run;")
        + _set("inbox_items", "recipient_id = 'x'", "run_id = $run"),
    ),
    ("tenants", "waiter", _set("inbox_items", "tenant_id = 'other'", "run_id = $run")),
    ("tenants", "sender", _set("delivery_attempts", "run_id = delivery_id", "run_id = $run")),
    ("tenants", "waiter", _set("signals", "tenant_id = 'other'", "actor_id = 'waiter'")),
    ("signal_runs", "waiter", _FOREIGN_SIGNAL),
    ("runs_of_events", "quitter", "delete from chimeway.workflow_runs where id = $run"),
    ("events_once", "waiter", _set("events", "idempotency_key = 'sender'", "$run = any(run_ids)")),
    ("events_of_runs", "waiter", "delete from chimeway.events where $run = any(run_ids)"),
    (
        "events_of_runs",
        "waiter",
        _run("event_id = (select id from chimeway.events where idempotency_key = 'held')"),
    ),
    ("reachable_runs", "waiter", _run("wake_at = null")),
    ("reachable_runs", "waiter", _run("wake_at = wake_at + interval '1 second'")),
    ("reachable_deliveries", "skipper", _email("next_attempt_at = null")),
    ("reachable_deliveries", "sending", _RESULT),
    (
        "reachable_signals",
        "waiter",
        "delete from chimeway.run_mailbox where run_id = $run;" + _run("mailbox_count = 0, mailbox_seen = 0"),
    ),
    ("deferred", "sender", _email("deferred_reason = 'cap'")),
    (
        "held_back",
        "sender",
        _email("status = 'suppressed', suppression_reason = 'preference'"),
    ),
    ("caps", "sender", _BEYOND_A_CAP),
    ("mailbox_numbering", "waiter", _set("run_mailbox", "number = 2", "run_id = $run")),
    (
        "decisions",
        "waiter",
        _set(
            "workflow_transitions",
            """inputs = inputs || '{"now": "2026-01-05T08:00:00.000000Z"}'""",
            "run_id = $run and inputs is not null",
        ),
    ),
    ("decisions", "sender", _set("workflow_transitions", "inputs = '{}'", "run_id = $run")),
    ("decisions", "sender", _set("workflow_transitions", "inputs = null", "run_id = $run")),
    ("decisions", "reader", _set("run_mailbox", "consumed_by = null", "run_id = $run")),
    ("decisions", "skipper", _email("render_key = 'x'")),
)
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
    assert await _broken(world) == found


@pytest.mark.parametrize(
    ("guarded", "found"), [(True, set()), (False, {"elapsed_waits", "mailbox_numbering"})]
)
async def test_a_ledger_without_its_guard_is_found_out(world: World, guarded: bool, found: set[str]) -> None:
    """I5: a decision made before a signal and committed after it elapses only where nobody guards."""
    await world.pass_time(2)
    decision = await world.decide("waiter")
    assert isinstance(decision, Decision)
    assert decision.elapsed
    await world.say("waiter", "read")
    if not guarded:
        text: str = await world.sql(
            """select pg_get_functiondef(p.oid) from pg_proc p
                where p.pronamespace = 'chimeway'::regnamespace and p.proname = 'commit_decisions'
                order by p.pronargs desc limit 1"""
        )
        assert text.count("and r.mailbox_count = p_mailbox[p.n]") == 1
        async with world.database.acquire() as connection:
            await connection.execute(text.replace("and r.mailbox_count = p_mailbox[p.n]", ""))
    (answer,) = await commit_decisions(world.database, None, [entry_for(world.runs["waiter"], decision, {})])
    assert answer == ("stale" if guarded else "applied")
    assert await _broken(world) == found


async def test_what_an_attempt_could_not_see_is_no_violation(world: World) -> None:
    """I5: a signal that came after the first attempt is too late, even in the same instant."""
    await world.attempt("skipper", None)
    await world.say("skipper", "read")
    assert await _broken(world) == set()


async def test_a_run_is_overdue_from_the_later_of_wake_and_take_over(world: World) -> None:
    """I6: five seconds are allowed, and a node that has just taken over has them anew."""
    await world.pass_time(2 + 4 / 3600)
    assert await _broken(world) == set()
    await world.pass_time(2 / 3600)
    assert await _broken(world) == {"overdue"}
    assert await verify(world.database, max_lateness=timedelta(seconds=7)) == []
    await world.sql("update chimeway.shard_owners set taken_at = chimeway.clock()")
    assert await _broken(world) == set()


async def test_events_outlive_their_pruned_runs(world: World) -> None:
    """I8: an event may lack as many of its runs as were pruned, and no more, however old it is."""
    await world.break_it("quitter", "delete from chimeway.workflow_runs where id = $run")
    (violation,) = await verify(
        world.database,
    )
    assert violation.check == "runs_of_events"
    await world.break_it("quitter", "update chimeway.events set pruned = 1 where $run = any(run_ids)")
    assert (
        await verify(
            world.database,
        )
        == []
    )


async def test_a_definition_that_this_program_cannot_read_is_not_judged(world: World) -> None:
    """What only a newer node understands is no violation; SQL's checks go on."""
    await world.sql(
        """update chimeway.workflow_definitions set definition = definition || '{"digest_window": "PT1H"}'"""
    )
    assert await _broken(world) == set()


async def test_a_daemon_at_work_is_never_taken_for_a_fault(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    """Verified again and again while signals race timers: what is half done is in no snapshot."""
    async with (
        smtp_sink() as sink,
        rows_of(database_url) as rows,
        running_daemon(database_url, home(tmp_path, GUIDE), SMTP_URL=sink.url),
        Chimeway.connect(database_url) as client,
    ):

        async def journey(number: int) -> None:
            person = f"person_{number}"
            await client.identify(person, email=f"{person}@example.org")
            receipt = await client.trigger("mention_escalation", recipients=[person])

            async def due() -> datetime | None:
                run = await client.get_run(receipt.run_ids[0])
                return run.wake_at if run.state == "waiting" else run.ended_at

            due_at = await wait_for(due, f"{person} waits, or has waited")
            due_in = (due_at - await nodes.database_now(database)).total_seconds()
            # A race is what is wanted here: signals around the moment at which the wait is due.
            # The last of them read late, so that e-mails leave however slow the machine is.
            await asyncio.sleep(max(0.0, due_in + ((number - 15) / 100 if number < 25 else 3.0)))
            await client.signal("notification_read", actor=person)

        journeys = asyncio.gather(*(journey(number) for number in range(30)))
        while not journeys.done():
            assert await verify(database, page=7, max_lateness=timedelta(minutes=1)) == []
        await journeys
        await rows.until_none_live()
        assert await verify(database, max_lateness=timedelta(minutes=1)) == []
        assert sink.mails, "nobody lost the race: nothing was tried"
