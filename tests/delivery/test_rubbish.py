"""Channels at their worst: what they say cannot be written, or what they raise is no exception of theirs."""

import asyncio

import pytest

from chimeway.delivery.channel import PermanentFailure, Sent
from kit.home import workflow
from kit.machine import Provider, Running, running_machine
from kit.rows import Row
from kit.waiting import wait_for

ONE = workflow(
    {"id": "push", "action": {"type": "notify", "channel": "push", "render_key": "mention"}}, key="push"
)


@pytest.fixture(autouse=True)
def _no_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no sweep for abandoned attempts hide what went wrong."""
    monkeypatch.setattr("chimeway.delivery.abandoned.SWEEP_EVERY_S", 3600.0)


async def _ends(on: Running, recipient: str) -> Row:
    run_id = await on.start(recipient, "push")
    await on.rows.until(run_id, "completed")
    return (await on.rows.deliveries(run_id))[0]


async def test_an_odd_reference_does_not_send_twice(database_url: str) -> None:
    """A provider that took the message has taken it, whatever it calls it: a number, a NUL, no UTF-8."""
    push = Provider("push", *(Sent(odd) for odd in (12345, "a\x00b", "f\udcfcr")))  # type: ignore[arg-type]
    async with running_machine(database_url, push, definitions=(ONE,)) as on:
        for number in range(3):
            assert (await _ends(on, f"user_{number}"))["status"] == "succeeded"
        assert len(push.messages) == 3


async def test_an_odd_error_text_is_still_an_answer(database_url: str) -> None:
    """A final refusal whose text is no UTF-8 (a server's, decoded with surrogates) is final all the same."""
    push = Provider("push", PermanentFailure("Empf\udce4nger unbekannt"))
    async with running_machine(database_url, push, definitions=(ONE,)) as on:
        delivery = await _ends(on, "ada")
        assert (delivery["status"], delivery["suppression_reason"]) == ("cancelled", "permanent_failure")
        assert len(push.messages) == 1


async def test_a_cancellation_inside_a_channel_is_an_answer_too(database_url: str) -> None:
    """A channel whose own task was cancelled has failed with an unknown outcome, and is asked again."""
    push = Provider("push", asyncio.CancelledError())
    async with running_machine(database_url, push, definitions=(ONE,)) as on:
        assert (await _ends(on, "ada"))["status"] == "succeeded"
        assert len(push.messages) == 2
        await wait_for(lambda: not on.machine._dispatcher._at_work, "it has heard that all is written")


async def test_a_bad_answer_harms_no_neighbour(database_url: str) -> None:
    """While one result cannot be written, those written in the same batch are."""
    push = Provider("push", Sent(object()))  # type: ignore[arg-type]  # channels are not type-checked
    async with running_machine(database_url, push, definitions=(ONE,)) as on:
        await on.start("ada", "push")
        await wait_for(lambda: push.messages, "the bad answer is given")
        for number in range(5):
            assert (await _ends(on, f"user_{number}"))["status"] == "succeeded"
