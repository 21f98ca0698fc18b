"""The dispatcher in a running engine: what channels do to deliveries, and to nobody else."""

import asyncio
import json
from typing import Any

import pytest

from chimeway.delivery.channel import (
    Bounced,
    ConfigurationFailure,
    PermanentFailure,
    Sent,
    TransientFailure,
    UnknownOutcome,
)
from chimeway.delivery.pacing import ChannelLimits
from chimeway.store.pool import Database
from kit.home import workflow
from kit.machine import Provider, Running, running_machine
from kit.rows import Row
from kit.waiting import Gate, wait_for

PLACES = 3
"""All of which one tenant may fill."""


def notify(
    channel: str = "push", step: str | None = None, key: str = "mention", **more: Any
) -> dict[str, Any]:
    """Return a step that sends."""
    action = {"type": "notify", "channel": channel, "render_key": key}
    return {"id": step or channel, "action": action, **more}


def one(channel: str = "push", key: str = "mention") -> dict[str, Any]:
    """Return a workflow that sends one message, named like its channel."""
    return workflow(notify(channel, key=key), key=channel)


async def _ended(on: Running, run_id: Any) -> Row:
    """Wait for a run's end; return its last delivery."""
    await on.rows.until(run_id, "completed", "stopped")
    return (await on.rows.deliveries(run_id))[-1]


async def _outcomes(on: Running, run_id: Any) -> list[tuple[str | None, str | None]]:
    return [(row["outcome"], row["error_class"]) for row in await on.rows.attempts(run_id)]


async def test_a_planned_message_is_sent_once(database_url: str) -> None:
    """A delivery goes out straight after its commit, rendered, under its own id, and its run goes on."""
    push = Provider()
    async with running_machine(database_url, push, definitions=(one(),)) as on:
        delivery = await _ended(on, await on.start(workflow="push"))
        (message,) = push.messages
        assert (message.delivery_id, message.subject, message.body) == (str(delivery["id"]), "Hello ada", "7")
        assert (message.tenant_id, message.recipient_id, message.address) == ("default", "ada", None)
        assert message.data == {"document": 7}
        assert (delivery["status"], delivery["attempt_count"]) == ("succeeded", 1)
        sql = "select provider_reference from chimeway.delivery_attempt_results"
        assert await on.rows.value(sql) == "push-1"


async def test_a_hanging_channel_stops_no_other(database_url: str) -> None:
    """While one channel hangs on all its places, with more waiting, another sends as if nothing were."""
    hung = [Gate() for _ in range(PLACES)]
    push, sms = Provider("push", *hung), Provider("sms")
    push.limits = ChannelLimits(concurrency=PLACES)
    people = [f"user_{n}" for n in range(PLACES + 20)]
    async with running_machine(database_url, push, sms, definitions=(one("push"), one("sms"))) as on:
        for person in people:
            await on.start(person, "push")
        await wait_for(lambda: len(push.messages) == PLACES, "all places are taken")
        delivery = await _ended(on, await on.start(workflow="sms"))
        assert delivery["status"] == "succeeded"
        assert len(push.messages) == PLACES
        for gate in hung:
            gate.release()
        await on.rows.until_none_live()
        assert sorted(m.recipient_id for m in push.messages) == sorted(people)


async def test_what_may_work_later_is_tried_again(database_url: str) -> None:
    """Whatever a channel raises or returns becomes a row, and the same message goes out under the same id."""
    push = Provider()
    unknown = ("unknown", "unknown")
    answers: list[tuple[object, tuple[str, str]]] = [
        (TransientFailure(), ("failed", "transient")),
        (ConnectionRefusedError("gone"), ("failed", "transient")),
        (ConnectionResetError("in the middle"), unknown),
        (TimeoutError(), ("failed", "timeout")),
        (UnknownOutcome(), unknown),
        (KeyError("a bug of the channel's"), unknown),
        (ValueError("text with \x00 in it"), unknown),
        (None, unknown),
        ({"status": 200}, unknown),
    ]
    async with running_machine(database_url, push, definitions=(one(),)) as on:
        for number, (answer, written) in enumerate(answers):
            push.answers.append(answer)
            run_id = await on.start(f"user_{number}", "push")
            assert (await _ended(on, run_id))["status"] == "succeeded"
            assert await _outcomes(on, run_id) == [written, ("succeeded", None)]
            first, second = push.to(f"user_{number}")
            assert first == second


async def test_what_is_final_is_not_tried_again(database_url: str) -> None:
    """A message that will never be taken is cancelled with its reason after one call."""
    push = Provider()
    async with running_machine(database_url, push, definitions=(one(),)) as on:
        for answer, reason, error_class in (
            (PermanentFailure(), "permanent_failure", "permanent"),
            (Bounced(), "bounced", "bounced"),
            (ConfigurationFailure(), "permanent_failure", "configuration"),
        ):
            push.answers.append(answer)
            run_id = await on.start(error_class, "push")
            delivery = await _ended(on, run_id)
            assert (delivery["status"], delivery["suppression_reason"]) == ("cancelled", reason)
            assert await _outcomes(on, run_id) == [("failed", error_class)]
            assert len(push.to(error_class)) == 1


async def test_a_retry_sends_what_was_rendered_first(database_url: str) -> None:
    """Between two attempts the address changes; the second goes where the first went, under the same key."""
    gate = Gate()
    letter = Provider("letter", gate)
    letter.needs_address = True
    async with running_machine(database_url, letter, definitions=(one("letter"),)) as on:
        identify = "select chimeway.identify('default', 'ada', $1::text::jsonb)"
        await on.rows.value(identify, json.dumps({"addresses": {"letter": "here"}}))
        run_id = await on.start(workflow="letter")
        await gate.reached.wait()
        await on.rows.value(identify, json.dumps({"addresses": {"letter": "there"}}))
        gate.discard()
        await _ended(on, run_id)
        assert [message.address for message in letter.messages] == ["here", "here"]
        (delivery,) = await on.rows.deliveries(run_id)
        assert [message.delivery_id for message in letter.messages] == [str(delivery["id"])] * 2


async def test_a_person_without_address_is_sent_nothing(database_url: str) -> None:
    """A channel that needs an address is not asked where there is none."""
    letter = Provider("letter")
    letter.needs_address = True
    async with running_machine(database_url, letter, definitions=(one("letter"),)) as on:
        delivery = await _ended(on, await on.start(workflow="letter"))
        assert (delivery["status"], delivery["suppression_reason"]) == ("suppressed", "no_address")
        assert letter.messages == []


async def test_a_fault_in_a_template_ends_its_delivery(database_url: str) -> None:
    """A template that cannot be rendered cancels the delivery; no provider is called, its run goes on."""
    push = Provider()
    async with running_machine(database_url, push, definitions=(one(key="broken"),)) as on:
        run_id = await on.start(workflow="push")
        delivery = await _ended(on, run_id)
        shown = (delivery["status"], delivery["suppression_reason"], delivery["last_error_class"])
        assert shown == ("cancelled", "permanent_failure", "configuration")
        assert push.messages == []
        assert (await on.rows.run(run_id))["held_reason"] is None


@pytest.mark.parametrize("profile", ['{"phone": "+44"}', "{}"], ids=["address", "no address"])
async def test_an_unknown_channel_ends_its_delivery(database_url: str, profile: str) -> None:
    """Where no node has the channel the delivery is cancelled as a fault of configuration."""
    async with running_machine(database_url, Provider(), definitions=(one("sms"),)) as on:
        await on.rows.value(f"select chimeway.identify('default', 'ada', '{profile}')")
        delivery = await _ended(on, await on.start(workflow="sms"))
        shown = (delivery["status"], delivery["suppression_reason"], delivery["last_error_class"])
        assert shown == ("cancelled", "permanent_failure", "configuration")
        assert delivery["attempt_count"] == 0


@pytest.mark.parametrize("profile", ['{"addresses": {"letter": "x"}}', "{}"], ids=["address", "no address"])
async def test_a_channel_of_another_node_is_waited_for(
    database_url: str, database: Database, profile: str
) -> None:
    """Where another live node has the channel the delivery waits for it, and is sent when that one works.

    Whether the channel needs an address is for the node that has it to say.
    """
    await database.fetch("enrol_node", "7" * 8 + "-7777-4777-8777-" + "7" * 12, "other", "0", ["letter"])
    sql = "select waiting_for_node from chimeway.deliveries"
    async with running_machine(database_url, Provider(), definitions=(one("letter"),)) as on:
        await on.rows.value(f"select chimeway.identify('default', 'ada', '{profile}')")
        run_id = await on.start(workflow="letter")
        await wait_for(lambda: on.rows.value(sql), "the delivery waits")
        assert await on.rows.value(sql) == "letter"
    letter = Provider("letter")
    async with running_machine(database_url, letter) as on:
        assert (await _ended(on, run_id))["status"] == "succeeded"
        assert len(letter.messages) == 1


async def test_drain_waits_for_what_is_under_way(database_url: str) -> None:
    """Asked to end, the dispatcher begins nothing and waits until the last answer is written."""
    gates = [Gate() for _ in range(PLACES)]
    push = Provider("push", *gates)
    push.limits = ChannelLimits(concurrency=PLACES)
    async with running_machine(database_url, push, definitions=(one(),)) as on:
        for number in range(PLACES + 5):
            await on.start(f"user_{number}", "push")
        await wait_for(lambda: len(push.messages) == PLACES, "all places are taken")
        draining = asyncio.ensure_future(on.machine.drain())
        for gate in gates[1:]:
            gate.release()
        sql = "select count(*) from chimeway.deliveries where status = $1"
        await wait_for(lambda: on.rows.value(f"select ({sql}) = {PLACES - 1}", "succeeded"), "answers")
        assert not draining.done()
        gates[0].release()
        await draining
        assert await on.rows.value(sql, "succeeded") == PLACES == len(push.messages)
        assert await on.rows.value(sql, "dispatched") == 0


async def test_a_reference_is_optional(database_url: str) -> None:
    """A provider that names nothing has taken the message all the same."""
    push = Provider("push", Sent())
    async with running_machine(database_url, push, definitions=(one(),)) as on:
        assert (await _ended(on, await on.start(workflow="push")))["status"] == "succeeded"
