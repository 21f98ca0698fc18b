"""Sending against the rows: stops, signals, leases and deaths between a plan and its provider's answer."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from structlog.testing import capture_logs

from chimeway.delivery.channel import Message, PermanentFailure, Sent, TransientFailure
from chimeway.engine.progress import Engine, Waiting
from chimeway.store.deliveries import Beginning, begin_attempts, load_sendables
from chimeway.store.pool import Database
from kit.home import READ, workflow
from kit.invariants import assert_invariants
from kit.machine import START, TEMPLATES, Provider, install, running_machine
from kit.proxy import proxy_to
from kit.rows import Row, Rows, rows_of
from kit.waiting import Gate, wait_for

PUSH = {"id": "push", "action": {"type": "notify", "channel": "push", "render_key": "mention"}}
PAUSE = {"id": "wait", "action": {"type": "wait", "duration": "PT0.2S", "stop_conditions": [READ]}}
ONE = workflow(PUSH, key="push")
CANCEL = "select outcome from chimeway.cancel(run_id => $1)"
SIGNAL = "select chimeway.signal('notification_read', actor_id => 'ada')"


async def _planned(
    url: str, rows: Rows, database: Database, recipient: str = "ada", message: Mapping[str, Any] = PUSH
) -> UUID:
    """Play a journey by hand until its message is planned, while nobody sends."""
    await install(database, workflow(PAUSE, message))
    run_id: UUID = await rows.value(START, "mention_escalation", recipient, "default")
    async with Engine.connect(url, templates=TEMPLATES, addressless=("push",)) as engine:
        assert isinstance(await engine.progress_run(run_id), Waiting)

        async def sent_on() -> bool:
            await engine.progress_run(run_id)
            return bool(await rows.deliveries(run_id))

        await wait_for(sent_on, "the message is planned", every_s=0.05)
    return run_id


class _Held(Provider):
    """A channel whose calls hang at a gate, and then end as the test said."""

    def __init__(self, gate: Gate, answer: object) -> None:
        """Take the gate, and an exception or what is returned."""
        super().__init__("push", answer)
        self._gate = gate

    async def send(self, message: Message) -> Sent:
        """Hang, then answer."""
        await self._gate.passes()
        return await super().send(message)


def _end(delivery: Row) -> tuple[str, str | None]:
    return delivery["status"], delivery["suppression_reason"]


@pytest.mark.parametrize(
    ("answer", "end"),
    [(Sent(), ("succeeded", None)), (TransientFailure(), ("cancelled", "run_stopped")),
     (PermanentFailure(), ("cancelled", "run_stopped"))],
    ids=["success", "failure", "final failure"],
)  # fmt: skip
async def test_a_message_on_its_way_when_its_run_stops(
    database_url: str, answer: object, end: tuple[str, str | None]
) -> None:
    """Success is recorded as success; after a failure nothing is tried again."""
    gate = Gate()
    push = _Held(gate, answer)
    async with running_machine(database_url, push, definitions=(ONE,)) as on:
        run_id = await on.start(workflow="push")
        await gate.reached.wait()
        await on.rows.all(CANCEL, run_id)
        (delivery,) = await on.rows.deliveries(run_id)
        assert (delivery["status"], delivery["stop_requested"]) == ("dispatched", True)
        gate.release()

        async def over() -> Row | None:
            (row,) = await on.rows.deliveries(run_id)
            return row if row["terminal_at"] else None

        assert _end(await wait_for(over, "the delivery has ended")) == end
        await on.machine.drain()
        assert len(push.messages) == 1
        assert (await on.rows.run(run_id))["state"] == "stopped"


async def test_a_stop_reaches_what_waits_for_its_retry(database_url: str) -> None:
    """A delivery that is to be tried again when its run stops is cancelled, and not sent again."""
    push = Provider("push", TransientFailure())
    async with running_machine(database_url, push, definitions=(ONE,)) as on:
        on.retries_in_an_hour()
        run_id = await on.start(workflow="push")
        sql = "select exists (select from chimeway.deliveries where status = 'failed')"
        await wait_for(lambda: on.rows.value(sql), "the first attempt failed")
        await on.rows.all(CANCEL, run_id)
        assert _end((await on.rows.deliveries(run_id))[0]) == ("cancelled", "run_stopped")
        assert len(push.messages) == 1


async def test_a_signal_after_the_plan_stops_the_message(database_url: str, database: Database) -> None:
    """A stop that comes when the message is planned and not begun: no provider is called."""
    push = Provider()
    async with rows_of(database_url) as rows:
        run_id = await _planned(database_url, rows, database)
        await rows.value(SIGNAL)
        async with running_machine(database_url, push) as on:
            await on.rows.until(run_id, "stopped")
            assert _end((await rows.deliveries(run_id))[0]) == ("cancelled", "stopped_before_send")
            assert (await rows.reasons(run_id))[-2:] == ["signal_received", "workflow_stopped"]
            await on.machine.drain()
        assert push.messages == []


@pytest.mark.parametrize(
    ("answer", "end"),
    [(Sent(), ("succeeded", None)), (TransientFailure(), ("cancelled", "run_stopped"))],
    ids=["success", "failure"],
)
async def test_the_workflows_own_condition_while_a_message_is_on_its_way(
    database_url: str, answer: object, end: tuple[str, str | None]
) -> None:
    """The run stops at once; the call's success counts, after a failure nothing is tried again."""
    gate = Gate()
    closed = {"type": "signal_received", "signal_type": "account_closed"}
    push = _Held(gate, answer)
    stopping = workflow(PUSH, key="push", stop_conditions=[closed])
    async with running_machine(database_url, push, definitions=(stopping,)) as on:
        run_id = await on.start(workflow="push")
        await gate.reached.wait()
        await on.rows.value("select chimeway.signal('account_closed', actor_id => 'ada')")
        await on.rows.until(run_id, "stopped")
        (delivery,) = await on.rows.deliveries(run_id)
        assert (delivery["status"], delivery["stop_requested"]) == ("dispatched", True)
        gate.release()
        await on.machine.drain()
        assert _end((await on.rows.deliveries(run_id))[0]) == end
    assert len(push.messages) == 1
    async with rows_of(database_url) as rows:
        await assert_invariants(database_url, rows)


async def test_a_signal_at_the_last_moment_stops_the_message(database_url: str, database: Database) -> None:
    """A stop committed when the sender has looked and not yet begun: no provider is called."""
    push = Provider()
    async with rows_of(database_url) as rows, proxy_to(database_url) as proxy:
        run_id = await _planned(database_url, rows, database)
        gate = proxy.hold_request("begin_attempts")
        async with running_machine(proxy.url, push) as on:
            await asyncio.wait_for(gate.reached.wait(), 10)
            await rows.value(SIGNAL)
            gate.release()
            await on.rows.until(run_id, "stopped")
            assert _end((await rows.deliveries(run_id))[0]) == ("cancelled", "stopped_before_send")
            await on.machine.drain()
        assert push.messages == []
        assert await rows.attempts(run_id) == []


async def test_a_signal_after_the_first_attempt_is_too_late(database_url: str, database: Database) -> None:
    """A stop that comes while the message is sent changes nothing, and is kept."""
    gate = Gate()
    async with rows_of(database_url) as rows:
        run_id = await _planned(database_url, rows, database)
        async with running_machine(database_url, Provider("push", gate)) as on:
            await gate.reached.wait()
            await rows.value(SIGNAL)
            sql = "select mailbox_count from chimeway.workflow_runs where id = $1"
            await wait_for(lambda: rows.value(sql, run_id), "the run has heard")
            gate.release()
            await on.rows.until(run_id, "completed")
            assert _end((await rows.deliveries(run_id))[0]) == ("succeeded", None)


async def test_without_trust_no_provider_is_called(database_url: str) -> None:
    """While the lease is in doubt no attempt begins, so that none is spent; later the message goes out."""
    push = Provider()
    async with running_machine(database_url, push, definitions=(ONE,)) as on:
        on.tenure.extend(0.0)
        run_id = await on.start(workflow="push")
        (delivery,) = await wait_for(lambda: on.rows.deliveries(run_id), "a delivery")
        keeper = on.machine._delivery_keeper
        await wait_for(lambda: delivery["id"] in keeper._put_off, "the delivery is put off")
        assert push.messages == []
        on.tenure.extend(float("inf"))
        await on.rows.until(run_id, "completed")
        assert [row["attempt_no"] for row in await on.rows.attempts(run_id)] == [1]
        assert len(push.messages) == 1


async def test_trust_that_ends_while_an_attempt_is_begun(database_url: str) -> None:
    """A node stopped between attempt and call does not call when it wakes up without its lease."""
    push = Provider()
    async with proxy_to(database_url) as proxy:
        gate = proxy.hold_reply("begin_attempts")
        async with running_machine(proxy.url, push, definitions=(ONE,)) as on, rows_of(database_url) as rows:
            run_id = await on.start(workflow="push")
            await asyncio.wait_for(gate.reached.wait(), 10)
            on.tenure.extend(0.0)
            gate.release()
            over = "select exists (select from chimeway.deliveries where status in ('failed','succeeded'))"
            await wait_for(lambda: rows.value(over), "the attempt has a result")
            assert push.messages == []
            on.tenure.extend(float("inf"))
            await rows.until(run_id, "completed")
            results = [(row["attempt_no"], row["outcome"]) for row in await rows.attempts(run_id)]
            assert results == [(1, "failed"), (2, "succeeded")]
            assert len(push.messages) == 1


async def test_an_abandoned_attempt_is_unknown_and_repeated(database_url: str, database: Database) -> None:
    """An attempt whose sender died counts as unknown; the same message goes out again under its id."""
    push, message = Provider(), {"subject": "as begun", "body": "b", "text": None}
    async with rows_of(database_url) as rows:
        run_id = await _planned(database_url, rows, database)
        (delivery,) = await rows.deliveries(run_id)
        sendable = (await load_sendables(database, [delivery["id"]]))[delivery["id"]]
        row = Beginning(delivery["id"], run_id, sendable.revision, 0, "there", message)
        assert (await begin_attempts(database, None, uuid4(), [row]))[0].answer == "begun"
        async with running_machine(database_url, push, clean=False) as on:
            await on.rows.until(run_id, "completed")
        results = [(row["attempt_no"], row["outcome"]) for row in await rows.attempts(run_id)]
        assert results == [(1, "unknown"), (2, "succeeded")]
        (sent,) = push.messages
        assert (sent.delivery_id, sent.address) == (str(delivery["id"]), "there")
        assert (sent.subject, sent.body) == ("as begun", "b")


async def test_an_abandoned_attempt_of_what_has_ended_is_unknown(
    database_url: str, database: Database
) -> None:
    """A provider told what became of it before its sender died: the attempt gets its end, nothing is sent."""
    push, message = Provider(), {"subject": "as begun", "body": "b", "text": None}
    bounced = """select answer from chimeway.record_feedback('p',
        jsonb_build_array(jsonb_build_object('id', '1', 'type', 'bounced', 'delivery_id', $1::uuid)))"""
    async with rows_of(database_url) as rows:
        run_id = await _planned(database_url, rows, database)
        (delivery,) = await rows.deliveries(run_id)
        sendable = (await load_sendables(database, [delivery["id"]]))[delivery["id"]]
        row = Beginning(delivery["id"], run_id, sendable.revision, 0, "there", message)
        assert (await begin_attempts(database, None, uuid4(), [row]))[0].answer == "begun"
        assert await rows.value(bounced, delivery["id"]) == "recorded"
        async with running_machine(database_url, push, clean=False) as on:
            await on.rows.until(run_id, "completed")  # led on by its mail, which may come before the sweep
            results = [(row["attempt_no"], row["outcome"]) for row in await rows.until_recorded(run_id)]
        assert results == [(1, "unknown")]
        assert _end((await rows.deliveries(run_id))[0]) == ("cancelled", "bounced")
        assert push.messages == []
        await assert_invariants(database_url, rows)


async def test_a_lost_answer_to_a_beginning_is_unknown(database_url: str) -> None:
    """A node that loses the answer to its own beginning sends later, once, under the same key."""
    push = Provider()
    aged = "update chimeway.delivery_attempts set started_at = started_at - interval '6 seconds'"
    async with proxy_to(database_url) as proxy:
        gate = proxy.hold_reply("begin_attempts")
        async with running_machine(proxy.url, push, definitions=(ONE,)) as on, rows_of(database_url) as rows:
            run_id = await on.start(workflow="push")
            await asyncio.wait_for(gate.reached.wait(), 10)
            (delivery,) = await rows.deliveries(run_id)
            assert delivery["status"] == "dispatched"
            gate.discard()
            await wait_for(lambda: delivery["id"] not in on.machine._dispatcher, "it is given up")
            await on.machine._foundling.sweep()
            assert [row["outcome"] for row in await rows.attempts(run_id)] == [None], "it may be under way"
            assert push.messages == []
            async with rows.connection.transaction():
                await rows.all("set local chimeway.retention = 'on'")
                await rows.all(aged)
            await on.machine._foundling.sweep()
            await rows.until(run_id, "completed")
            results = [(row["attempt_no"], row["outcome"]) for row in await rows.attempts(run_id)]
            assert results == [(1, "unknown"), (2, "succeeded")]
            assert [message.delivery_id for message in push.messages] == [str(delivery["id"])]


async def test_what_is_under_way_is_not_abandoned(database_url: str) -> None:
    """A provider that takes longer than an answer may be lost for is waited for, and asked once."""
    gate = Gate()
    push = Provider("push", gate)
    async with running_machine(database_url, push, definitions=(ONE,)) as on:
        run_id = await on.start(workflow="push")
        await gate.reached.wait()
        async with on.rows.connection.transaction():
            await on.rows.all("set local chimeway.retention = 'on'")
            await on.rows.all(
                "update chimeway.delivery_attempts set started_at = started_at - interval '1 minute'"
            )
        await on.machine._foundling.sweep()
        assert [row["outcome"] for row in await on.rows.attempts(run_id)] == [None]
        gate.release()
        await on.rows.until(run_id, "completed")
        assert len(push.messages) == 1


async def test_an_address_that_vanishes_after_the_plan(database_url: str, database: Database) -> None:
    """Whose address is gone when the planned message is to be sent is sent nothing, and the run goes on."""
    letter = Provider("letter")
    letter.needs_address = True
    step = {"id": "letter", "action": {"type": "notify", "channel": "letter", "render_key": "mention"}}
    identify = "select chimeway.identify('default', 'ada', $1::text::jsonb)"
    async with rows_of(database_url) as rows:
        await rows.value(identify, json.dumps({"addresses": {"letter": "12 Bridge Street"}}))
        run_id = await _planned(database_url, rows, database, message=step)
        assert _end((await rows.deliveries(run_id))[0]) == ("pending", None)
        await rows.value(identify, json.dumps({"addresses": {"letter": None}}))
        async with running_machine(database_url, letter) as on:
            await on.rows.until(run_id, "completed")
        assert _end((await rows.deliveries(run_id))[0]) == ("suppressed", "no_address")
        assert await rows.attempts(run_id) == []
        assert letter.messages == []


async def test_a_load_that_fails_puts_off_its_own_message(
    database_url: str, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of messages loaded together one whose recipient cannot be read waits, and the others are sent."""
    monkeypatch.setattr("chimeway.delivery.dispatcher._FAULT_AGAIN_S", 0.5)
    push, people = Provider(), ["ada", "bob", "cat", "dan", "eve"]
    # Python reads no integer of more than 4,300 digits, whatever its version.
    spoil = "update chimeway.recipients set data = '{\"number\": 1e5000}' where recipient_id = 'cat'"
    async with rows_of(database_url) as rows:
        for person in people:
            await rows.value("select chimeway.identify('default', $1, '{}')", person)
        runs = {person: await _planned(database_url, rows, database, person) for person in people}
        await rows.all(spoil)
        with capture_logs() as lines:
            async with running_machine(database_url, push) as on:
                for person in people:
                    if person != "cat":
                        await on.rows.until(runs[person], "completed", deadline_s=10)
                (unread,) = await rows.deliveries(runs["cat"])
                put_off = on.machine._delivery_keeper._put_off
                await wait_for(lambda: unread["id"] in put_off, "it is put off")
                await wait_for(lambda: _failures(lines) >= 2, "it was tried again")
                assert push.to("cat") == []
                assert _end((await rows.deliveries(runs["cat"]))[0]) == ("pending", None)
                assert (await on.rows.run(runs["cat"]))["held_reason"] is None
                await rows.all("update chimeway.recipients set data = '{}'")
                await on.rows.until(runs["cat"], "completed", deadline_s=10)
        split = [line["operation"] for line in lines if line["event"] == "ledger.batch_split"]
        assert "load_deliveries" in split, "they were loaded together"
        assert sorted(message.recipient_id for message in push.messages) == people


def _failures(lines: Sequence[Mapping[str, Any]]) -> int:
    return sum(line["event"] == "delivery.failed" for line in lines)


async def test_a_held_runs_message_waits(database_url: str, database: Database) -> None:
    """A planned message of a held run is not sent until the run is resumed."""
    push = Provider()
    async with rows_of(database_url) as rows:
        run_id = await _planned(database_url, rows, database)
        await rows.value("select chimeway.hold_run($1, 'held_by_request')", run_id)
        async with running_machine(database_url, push) as on:
            other = await on.start("bob")
            await on.rows.until(other, "completed")
            assert push.to("ada") == []
            await rows.value("select chimeway.resume_run($1)", run_id)
            await on.rows.until(run_id, "completed")
            assert len(push.to("ada")) == 1


async def test_a_late_wake_sends_nothing_early(database_url: str) -> None:
    """A delivery that is offered before its time is left alone; its time brings it."""
    push = Provider("push", TransientFailure())
    async with running_machine(database_url, push, definitions=(ONE,)) as on:
        on.retries_in_an_hour()
        run_id = await on.start(workflow="push")
        sql = "select id from chimeway.deliveries where status = 'failed'"
        delivery = await wait_for(lambda: on.rows.value(sql), "the first attempt failed")
        at_rest = lambda: delivery not in on.machine._dispatcher  # noqa: E731
        await wait_for(at_rest, "it has done with the first attempt, and would take it again")
        on.machine._dispatcher.offer(delivery, "default")
        assert not at_rest()
        await wait_for(at_rest, "the dispatcher has looked")
        assert len(push.messages) == 1
        moved = "update chimeway.deliveries set next_attempt_at = chimeway.clock() + $1"
        await on.rows.all(moved, timedelta(milliseconds=100))
        await on.rows.until(run_id, "completed")
        assert len(push.messages) == 2
