"""commit_decisions: one door, and an answer for each decision that comes to it."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import asyncpg
import pytest

from chimeway.store.faults import LeaseLost
from chimeway.store.ledger import Entry, Fence
from chimeway.store.pool import Database
from store.door import TWO_MESSAGES, Door, leased, locked, opened


def _at(entry: Entry, **moved: float) -> Entry:
    """Return the same entry, decided at another time."""
    decision = replace(entry.decision, now=entry.decision.now + timedelta(**moved))
    return replace(entry, decision=decision)


async def test_an_applied_decision_is_the_runs_row(clock_database: Database) -> None:
    """What a decision says of the run afterwards is what its row says, and its audit is numbered on."""
    world = await opened(clock_database)
    await world.trigger("ada")
    entry = await world.entry("ada")
    assert await world.commit(entry) == ["applied"]
    row, after = await world.row("ada"), entry.decision.after
    assert (row["state"], row["step"], row["visit"]) == (after.state, after.step, after.visit)
    assert (row["wake_at"], row["entered_at"]) == (after.wake_at, after.entered_at)
    assert row["status_context"]["due_at"] == after.status_context["due_at"]
    assert row["revision"] == entry.decision.seen.revision + 1
    written = ["workflow_started", *(t.reason for t in entry.decision.transitions)]
    assert await world.reasons("ada") == written


async def test_an_in_app_item_is_written_once(clock_database: Database) -> None:
    """The decision that plans an in-app message writes its item, and the same one again writes none."""
    world = await opened(clock_database)
    await world.trigger("ada")
    entry = await world.entry("ada")
    assert [await world.commit(entry) for _ in range(3)] == [["applied"]] * 3
    items = await world.all("select * from chimeway.inbox_items")
    assert [(item["id"], item["subject"]) for item in items] == [(entry.delivery_ids[1], "s")]
    assert [d["status"] for d in await world.deliveries("ada")] == ["succeeded"]


async def test_a_visit_has_one_message_whoever_writes(clock_database: Database) -> None:
    """Not by the ledger alone: the table has no room for a second one, from whatever hand."""
    world = await opened(clock_database)
    await world.to_email("ada")
    again = """insert into chimeway.deliveries (id, shard, run_id, visit, step_id, tenant_id, recipient_id,
                                                channel, render_key, status, created_at)
               select gen_random_uuid(), shard, run_id, visit, step_id, tenant_id, recipient_id,
                      channel, render_key, 'pending', created_at
                 from chimeway.deliveries where channel = 'email'"""
    with pytest.raises(asyncpg.UniqueViolationError):
        await world.sql(again)


async def _only_the_first_is_applied(world: Door) -> None:
    """Of two decisions that elapse the same wait the second is stale, and writes nothing."""
    await world.start("ada")
    await world.pass_time(2)
    first, second = await world.entry("ada"), await world.entry("ada")
    assert await world.commit(first) == ["applied"]
    before = await world.contents()
    assert await world.commit(second) == ["stale"]
    assert await world.contents() == before


async def test_an_old_revision_is_stale(clock_database: Database) -> None:
    """Of two decisions made from the same rows the first is applied, the second writes nothing."""
    world = await opened(clock_database)
    await _only_the_first_is_applied(world)


async def test_nothing_but_the_revision_tells_two_decisions_apart(clock_database: Database) -> None:
    """From wait to wait, where no message, no signal and no state has changed, the second is stale, too."""
    pauses = [{"id": f"wait_{n}", "action": {"type": "wait", "duration": "PT2H"}} for n in range(3)]
    message = {"id": "push", "action": {"type": "notify", "channel": "push", "render_key": "mention"}}
    world = await opened(clock_database, {"key": "escalation", "version": 1, "steps": [*pauses, message]})
    await _only_the_first_is_applied(world)


async def test_an_unrouted_signal_makes_a_decision_stale(clock_database: Database) -> None:
    """A signal committed before the call, routed or not, refuses what was decided without it."""
    world = await opened(clock_database)
    await world.start("ada")
    await world.pass_time(2)
    elapse = await world.entry("ada")
    assert elapse.decision.elapsed
    signal = await world.say("ada", "read")
    assert await world.commit(elapse) == ["stale"]
    mail = await world.all("select number, signal_id, consumed_by from chimeway.run_mailbox")
    assert [tuple(row) for row in mail] == [(1, signal, None)]
    assert (await world.row("ada"))["step"] == "wait"
    again = await world.entry("ada")
    assert again.decision.after.state == "stopped"


async def test_a_changed_delivery_makes_a_decision_stale(clock_database: Database) -> None:
    """What was decided from a delivery that has changed since is made again."""
    world = await opened(clock_database)
    await world.to_email("ada")
    await world.say("ada", "read")
    stop = await world.entry("ada")
    await world.sql("update chimeway.deliveries set revision = revision + 1 where channel = 'email'")
    before = await world.contents()
    assert await world.commit(stop) == ["stale"]
    assert await world.contents() == before


async def test_a_locked_run_is_busy_and_holds_up_nobody(clock_database: Database) -> None:
    """A decision about a run that somebody has locked is answered busy at once, its neighbour is applied."""
    world = await opened(clock_database)
    await world.start("ada")
    await world.start("bob")
    await world.pass_time(2)
    entries = [await world.entry(person) for person in ("ada", "bob")]
    async with locked(clock_database, world.runs["ada"]), asyncio.timeout(20.0):
        before = await world.row("ada")
        assert await world.commit(*entries) == ["busy", "applied"]
        assert await world.row("ada") == before
    assert await world.commit(entries[0]) == ["applied"]


async def test_a_time_to_come_is_refused(clock_database: Database) -> None:
    """A decision made 51 ms ahead of the database's clock is refused, one 50 ms ahead is not."""
    world = await opened(clock_database)
    await world.start("ada")
    await world.pass_time(2)
    entry, before = await world.entry("ada"), await world.contents()
    assert await world.commit(_at(entry, milliseconds=51)) == ["refused"]
    assert await world.contents() == before
    assert await world.commit(_at(entry, milliseconds=50)) == ["applied"]


async def test_an_unknown_run_is_gone(clock_database: Database) -> None:
    """A decision about a run that is not there is answered gone, and its neighbour is applied."""
    world = await opened(clock_database)
    await world.start("ada")
    await world.pass_time(2)
    entry = await world.entry("ada")
    assert await world.commit(replace(entry, run_id=uuid4()), entry) == ["gone", "applied"]


async def test_a_lost_answer_is_given_again(clock_database: Database) -> None:
    """A decision that comes again, however much later, is applied, and nothing is written twice."""
    world = await opened(clock_database)
    await world.start("ada")
    await world.pass_time(2)
    entry = await world.entry("ada")
    assert await world.commit(entry) == ["applied"]
    before = await world.contents()
    assert await world.commit(entry) == ["applied"]
    assert await world.contents() == before
    await world.attempt("ada", "succeeded")
    await world.progress("ada")
    assert await world.commit(entry) == ["applied"]


async def test_a_lost_answer_to_a_stop_is_given_again(clock_database: Database) -> None:
    """A stop whose answer was lost is applied once, though it is stop_run that writes its last row."""
    world = await opened(clock_database)
    await world.start("ada")
    await world.say("ada", "read")
    entry = await world.entry("ada")
    assert [await world.commit(entry) for _ in range(2)] == [["applied"], ["applied"]]
    assert (await world.reasons("ada"))[-2:] == ["signal_received", "workflow_stopped"]


@pytest.mark.parametrize("how", ["held", "paused", "ended"])
async def test_nobody_decides_against_an_operator(clock_database: Database, how: str) -> None:
    """A run held, paused or cancelled after the decision was made refuses it."""
    world = await opened(clock_database)
    await world.start("ada")
    await world.pass_time(2)
    entry = await world.entry("ada")
    match how:
        case "held":
            await world.sql("select chimeway.hold_run($1, 'held_by_request')", world.runs["ada"])
        case "paused":
            await world.sql("select chimeway.pause_workflow('escalation', true)")
        case "ended":
            await world.sql("select chimeway.cancel(run_id => $1)", world.runs["ada"])
    before = await world.contents()
    assert await world.commit(entry) == ["stale"]
    assert await world.contents() == before


async def test_a_former_owner_writes_nothing(clock_database: Database) -> None:
    """A batch under an epoch that another has followed is refused as a whole; a new one is taken."""
    world = await opened(clock_database)
    await world.start("ada")
    await world.pass_time(2)
    entry, former = await world.entry("ada"), await leased(clock_database)
    now = await leased(clock_database)
    before = await world.contents()
    with pytest.raises(LeaseLost):
        await world.commit(entry, fence=former)
    with pytest.raises(LeaseLost):
        await world.commit(entry, fence=Fence(now.owner, former.epoch))
    assert await world.contents() == before
    assert await world.commit(entry, fence=now) == ["applied"]


async def test_a_stop_ends_what_was_planned(clock_database: Database) -> None:
    """A stop cancels deliveries nobody sends yet, and marks one that is on its way."""
    world = await opened(clock_database, TWO_MESSAGES)
    for person in ("ada", "bob"):
        await world.start(person)
    later = await world.sql("select chimeway.clock() + interval '1 day'")
    for person in ("ada", "bob"):
        await world.attempt(person, "failed", error_class="transient", next_attempt_at=later, nudge=True)
        await world.progress(person)
    await world.pass_time(2)
    for person in ("ada", "bob"):
        await world.progress(person)
    await world.begin(await world.beginning("bob"))
    for person in ("ada", "bob"):
        await world.say(person, "halt")
        assert await world.commit(await world.entry(person)) == ["applied"]
        row = await world.row(person)
        assert (row["state"], row["wake_at"], row["ended_at"] is None) == ("stopped", None, False)
        assert (await world.reasons(person))[-1] == "workflow_stopped"
    shown = [
        [(d["channel"], d["status"], d["suppression_reason"], d["stop_requested"]) for d in found]
        for found in (await world.deliveries("ada"), await world.deliveries("bob"))
    ]
    failed = ("push", "cancelled", "run_stopped", False)
    assert shown[0][0] == shown[1][0] == failed
    assert shown[0][1] == ("email", "cancelled", "run_stopped", False)
    assert shown[1][1] == ("email", "dispatched", None, True)


@pytest.mark.parametrize(
    ("outcome", "end"),
    [("failed", ("cancelled", "run_stopped", False)), (None, ("dispatched", None, True))],
)
async def test_a_stop_ends_the_one_message_that_is_open(
    clock_database: Database, outcome: str | None, end: tuple[str, str | None, bool]
) -> None:
    """A retry that is waited for, or a message on its way: no other need be open beside it."""
    world = await opened(clock_database, TWO_MESSAGES)
    await world.start("ada")
    later = await world.sql("select chimeway.clock() + interval '1 day'")
    await world.attempt("ada", outcome, error_class="transient", next_attempt_at=later, nudge=True)
    await world.progress("ada")
    await world.say("ada", "halt")
    assert await world.commit(await world.entry("ada")) == ["applied"]
    assert (await world.reasons("ada"))[-1] == "workflow_stopped"
    (push,) = await world.deliveries("ada")
    assert (push["status"], push["suppression_reason"], push["stop_requested"]) == end


async def test_whoever_is_decided_about_is_parked_no_more(clock_database: Database) -> None:
    """A run goes on by its mail before anybody has put it back behind a pause: later it may have ended."""
    world = await opened(clock_database)
    await world.trigger("ada")
    assert await world.sql("update chimeway.workflow_runs set parked = true returning 1") == 1
    assert await world.commit(await world.entry("ada")) == ["applied"]
    assert not (await world.row("ada"))["parked"]
