"""begin_attempts and record_results: a provider's call is durable before it is made, and once it is over."""

from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest

from chimeway.store.deliveries import Outcome, Recorded, abandoned, begin_attempts, record_results
from chimeway.store.faults import LeaseLost
from chimeway.store.pool import Database
from chimeway.store.runs import NO_ID
from store.door import TWO_MESSAGES, Door, leased, locked, opened


async def _answers(world: Door, *rows: Any) -> list[tuple[str, int | None]]:
    return [(begun.answer, begun.attempt_no) for begun in await world.begin(*rows)]


async def _record(world: Door, recipient: str, status: str, number: int = 1, **more: Any) -> Recorded:
    """Record what became of an attempt of the run's current delivery."""
    outcome = "succeeded" if status == "succeeded" else "failed"
    delivery = more.pop("delivery", None) or await world.delivery(recipient)
    row = Outcome(delivery, world.runs[recipient], number, outcome, status, **more)  # type: ignore[arg-type]
    return (await record_results(world.database, [row]))[0]


async def test_an_attempt_is_begun_with_all_that_it_sends(clock_database: Database) -> None:
    """Begun: a numbered row with the guard's snapshot; the delivery keeps address and message for retries."""
    world = await opened(clock_database)
    await world.to_email("ada")
    before = (await world.deliveries("ada"))[-1]
    row = await world.beginning("ada")
    assert await _answers(world, row) == [("begun", 1)]
    (attempt,) = await world.all("select *, snapshot is not null as seen from chimeway.delivery_attempts")
    assert (attempt["delivery_id"], attempt["run_id"], attempt["seen"]) == (row.delivery_id, row.run_id, True)
    after = (await world.deliveries("ada"))[-1]
    assert (after["status"], after["attempt_count"], after["next_attempt_at"]) == ("dispatched", 1, None)
    assert (after["address"], after["message"]) == (row.address, row.message)
    assert after["revision"] == before["revision"] + 1


async def test_a_retry_sends_what_the_first_attempt_sent(clock_database: Database) -> None:
    """Address and message of the first attempt stay, whatever a later one brings, and numbers go on."""
    world = await opened(clock_database)
    await world.to_email("ada")
    first = await world.beginning("ada")
    await world.begin(first)
    now = await world.sql("select chimeway.clock()")
    await _record(world, "ada", "failed", error_class="transient", next_attempt_at=now)
    other = await world.beginning("ada", address="new@example.org", message={"subject": "new"})
    assert await _answers(world, other) == [("begun", 2)]
    after = (await world.deliveries("ada"))[-1]
    assert (after["address"], after["message"]) == (first.address, first.message)


async def test_an_attempt_is_begun_once(clock_database: Database) -> None:
    """Two senders of one delivery: the second is stale, and so is who looked before it changed."""
    world = await opened(clock_database)
    await world.to_email("ada")
    row = await world.beginning("ada")
    assert await _answers(world, row) == [("begun", 1)]
    before = await world.contents()
    assert await _answers(world, row) == [("stale", None)]
    assert await _answers(world, await world.beginning("ada")) == [("stale", None)]
    assert await world.contents() == before


async def test_a_signal_comes_before_an_attempt(clock_database: Database) -> None:
    """A signal committed before the call, routed or not, refuses an attempt that has not seen it."""
    world = await opened(clock_database)
    await world.to_email("ada")
    row = await world.beginning("ada")
    await world.say("ada", "read")
    assert await _answers(world, row) == [("unseen", None)]
    assert await world.sql("select count(*) from chimeway.delivery_attempts") == 0
    await world.progress("ada")
    email = (await world.deliveries("ada"))[-1]
    assert (email["status"], email["suppression_reason"]) == ("cancelled", "stopped_before_send")
    assert await _answers(world, row) == [("stale", None)]


@pytest.mark.parametrize("how", ["held", "paused"])
async def test_no_first_attempt_against_an_operator(clock_database: Database, how: str) -> None:
    """A held run's delivery, and the first attempt of a paused workflow, are refused; resumed, they go."""
    world = await opened(clock_database)
    await world.to_email("ada")
    run = world.runs["ada"]
    if how == "held":
        await world.sql("select chimeway.hold_run($1, 'held_by_request')", run)
    else:
        await world.sql("select chimeway.pause_workflow('escalation', true)")
    assert await _answers(world, await world.beginning("ada")) == [("stale", None)]
    if how == "held":
        await world.sql("select chimeway.resume_run($1)", run)
    else:
        await world.sql("select chimeway.pause_workflow('escalation', false)")
    assert await _answers(world, await world.beginning("ada")) == [("begun", 1)]


async def test_a_paused_workflow_retries(clock_database: Database) -> None:
    """A pause holds first attempts; what was begun before it is tried again."""
    world = await opened(clock_database)
    await world.to_email("ada")
    await world.begin(await world.beginning("ada"))
    now = await world.sql("select chimeway.clock()")
    await _record(world, "ada", "failed", error_class="transient", next_attempt_at=now)
    await world.sql("select chimeway.pause_workflow('escalation', true)")
    assert await _answers(world, await world.beginning("ada")) == [("begun", 2)]


async def test_busy_and_gone_hold_up_nobody(clock_database: Database) -> None:
    """A locked run's attempt is busy, an unknown delivery's gone, and the one beside them is begun."""
    world = await opened(clock_database)
    await world.to_email("ada", "bob")
    ada, bob = await world.beginning("ada"), await world.beginning("bob")
    gone = replace(bob, delivery_id=uuid4())
    async with locked(clock_database, world.runs["ada"]):
        assert await _answers(world, ada, gone, bob) == [("busy", None), ("gone", None), ("begun", 1)]
    assert await _answers(world, ada) == [("begun", 1)]


async def test_a_former_owner_begins_nothing(clock_database: Database) -> None:
    """An attempt under an epoch that another has followed is refused; under the new one it is begun."""
    world = await opened(clock_database)
    await world.to_email("ada")
    row, former = await world.beginning("ada"), await leased(clock_database)
    now = await leased(clock_database)
    before = await world.contents()
    with pytest.raises(LeaseLost):
        await world.begin(row, fence=former)
    assert await world.contents() == before
    assert [begun.answer for begun in await world.begin(row, fence=now)] == ["begun"]


async def test_a_result_is_written_once(clock_database: Database) -> None:
    """Applied: result and status; the same again is a repeat that changes nothing."""
    world = await opened(clock_database)
    await world.to_email("ada")
    await world.begin(await world.beginning("ada"))
    assert await _record(world, "ada", "succeeded", provider_reference="r") == Recorded("applied", True)
    email = (await world.deliveries("ada"))[-1]
    assert (email["status"], email["terminal_at"] is None, email["failed_count"]) == ("succeeded", False, 0)
    before = await world.contents()
    again = await _record(world, "ada", "failed", error_class="transient")
    assert again == Recorded("repeat", False)
    assert await world.contents() == before


async def test_a_result_waits_for_a_locked_run(clock_database: Database) -> None:
    """The result of a locked run is busy and not written; an unknown delivery's is gone."""
    world = await opened(clock_database)
    await world.to_email("ada")
    await world.begin(await world.beginning("ada"))
    async with locked(clock_database, world.runs["ada"]):
        assert (await _record(world, "ada", "succeeded")).answer == "busy"
    assert await world.sql("select count(*) from chimeway.delivery_attempt_results") == 0
    assert (await _record(world, "ada", "succeeded", delivery=uuid4())).answer == "gone"
    assert (await _record(world, "ada", "succeeded")).answer == "applied"


@pytest.mark.parametrize(
    ("result", "status", "reason"),
    [("succeeded", "succeeded", None), ("failed", "cancelled", "run_stopped"),
     ("cancelled", "cancelled", "run_stopped")],
)  # fmt: skip
async def test_the_end_of_what_was_on_its_way(
    clock_database: Database, result: str, status: str, reason: str | None
) -> None:
    """Of a message on its way when its run stopped success is success, and any failure ends it for good."""
    world = await opened(clock_database)
    await world.to_email("ada")
    await world.begin(await world.beginning("ada"))
    await world.sql("select chimeway.cancel(run_id => $1)", world.runs["ada"])
    before = await world.row("ada")
    more: dict[str, Any] = {"nudge": True}
    if result == "failed":
        more |= {"error_class": "transient", "next_attempt_at": await world.sql("select chimeway.clock()")}
    elif result == "cancelled":
        more |= {"error_class": "permanent", "reason": "permanent_failure"}
    assert await _record(world, "ada", result, **more) == Recorded("applied", False)
    email = (await world.deliveries("ada"))[-1]
    shown = (email["status"], email["suppression_reason"], email["next_attempt_at"])
    assert shown == (status, reason, None)
    assert await world.row("ada") == before


async def test_a_result_wakes_the_current_visit_only(clock_database: Database) -> None:
    """A failure that a rule names wakes its run; a result of a visit that the run has left does not."""
    world = await opened(clock_database, TWO_MESSAGES)
    await world.start("ada")
    push = await world.delivery("ada")
    await world.begin(await world.beginning("ada"))
    assert (await world.row("ada"))["wake_at"] is None
    now = await world.sql("select chimeway.clock()")
    later = {"error_class": "transient", "next_attempt_at": now}
    assert await _record(world, "ada", "failed", nudge=True, **later) == Recorded("applied", True)
    assert (await world.row("ada"))["wake_at"] == now
    await world.progress("ada")
    before = await world.row("ada")
    assert before["state"] == "waiting"
    again = await world.beginning("ada", delivery_id=push)
    assert await _answers(world, again) == [("begun", 2)]
    failed = await _record(world, "ada", "failed", 2, delivery=push, nudge=True, **later)
    assert failed == Recorded("applied", False)
    assert await world.row("ada") == before
    await world.pass_time(2)
    await world.progress("ada")
    before = await world.row("ada")
    assert (before["state"], before["step"]) == ("active", "email")
    await world.begin(await world.beginning("ada", delivery_id=push))
    done = await _record(world, "ada", "succeeded", 3, delivery=push, nudge=True)
    assert done == Recorded("applied", False)
    assert await world.row("ada") == before


async def test_a_failure_that_no_rule_names_wakes_nobody(clock_database: Database) -> None:
    """A delivery to be tried again leaves its run at rest; its end wakes it."""
    world = await opened(clock_database)
    await world.to_email("ada")
    await world.begin(await world.beginning("ada"))
    now = await world.sql("select chimeway.clock()")
    failed = await _record(world, "ada", "failed", error_class="transient", next_attempt_at=now)
    assert failed == Recorded("applied", False)
    await world.begin(await world.beginning("ada"))
    ended = await _record(world, "ada", "cancelled", 2, error_class="bounced", reason="bounced")
    assert ended == Recorded("applied", True)


async def test_a_delivery_ends_without_an_attempt(clock_database: Database) -> None:
    """A delivery that never reached a provider ends with its reason, once, and wakes its run."""
    world = await opened(clock_database)
    await world.to_email("ada")
    row = Outcome(
        await world.delivery("ada"), world.runs["ada"], None, None, "cancelled", "permanent_failure",
        "configuration", "no template",
    )  # fmt: skip
    assert await record_results(clock_database, [row]) == [Recorded("applied", True)]
    assert await record_results(clock_database, [row]) == [Recorded("repeat", False)]
    email = (await world.deliveries("ada"))[-1]
    assert (email["last_error_class"], email["note"]) == ("configuration", "no template")
    assert await world.sql("select count(*) from chimeway.delivery_attempt_results") == 0


async def test_an_attempt_is_abandoned_when_its_senders_lease_has_ended(clock_database: Database) -> None:
    """While the lease lasts, in whoever's shards, a call is under way; once it has ended it is nobody's."""
    world = await opened(clock_database)
    await world.to_email("ada")
    fence, row = await leased(clock_database), await world.beginning("ada")
    begun = await begin_attempts(clock_database, fence, fence.owner, [row])
    assert begun[0].answer == "begun"
    assert await abandoned(clock_database, uuid4(), NO_ID, 10) == []
    await world.sql("select chimeway.release_lease($1, $2)", fence.owner, fence.epoch)
    assert await abandoned(clock_database, uuid4(), NO_ID, 10) == [(row.delivery_id, row.run_id, 1)]
