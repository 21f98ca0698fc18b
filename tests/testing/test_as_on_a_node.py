"""What a harness must not tell otherwise than a node would, though its time stands and it sends nothing."""

import asyncio
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from chimeway import App, Message, Notify, PermanentFailure, RunBusy, Sent, Wait, Workflow, signal_received
from chimeway.errors import InvalidInput
from chimeway.store.verify import verify
from chimeway.testing import Harness, Journey, SyncHarness
from kit.waiting import Gate

MAIL = Workflow(key="mail", version=1, steps=[Notify("step_mail", channel="email", render_key="hello")])
ENTERED = Workflow(
    key="entered",
    version=1,
    steps=[
        Wait("wait", duration="PT2H", stop_conditions=[signal_received("read", since="entered")]),
        Notify("mail", channel="email", render_key="hello"),
    ],
)


class Email:
    """A channel that does as it is told."""

    name = "email"

    def __init__(self, told: Any) -> None:
        """Take what a send awaits."""
        self._told = told

    async def send(self, message: Message) -> Sent:
        """Do it."""
        await self._told()
        return Sent("sent")


async def test_what_is_said_after_a_step_was_entered_counts() -> None:
    """`since: entered` hears a signal that comes next, though the test has moved no clock in between."""
    async with Harness(ENTERED) as journey:
        await journey.trigger()
        await journey.signal("read")
        assert journey.run.state == "stopped"
        assert await verify(journey.client.database) == []


async def test_what_was_said_before_a_step_was_entered_does_not() -> None:
    """`since: entered` does not hear what was said before, and the wait ends in its time."""
    async with Harness(ENTERED) as journey:
        began = journey.now
        await journey.client.trigger("entered", recipients=["ada"])
        await journey.client.signal("read", actor="ada")
        await journey.settle()
        assert journey.run.state == "waiting"
        await journey.advance("PT2H")
        assert [sent.at - began for sent in journey.sent] == [timedelta(hours=2)]
        await journey.advance_to(journey.now)


@pytest.mark.parametrize("strict", [True, False])
async def test_a_channel_of_the_app_needs_no_address_where_it_says_so(strict: bool) -> None:
    """A channel declared so gets messages without one, also where it only records."""
    app = App(workflows=[Workflow(key="p", version=1, steps=[Notify("s", channel="push", render_key="x")])])
    app.render("x")(lambda _context: "hello")

    @app.channel("push", needs_address=False)
    async def push(_message: Message) -> None:
        raise AssertionError("it only records")

    async with Harness(app, strict=strict) as journey:
        await journey.trigger()
        assert [sent.address for sent in journey.sent] == [None]


async def test_held_twice_is_released_twice() -> None:
    """Blocks that hold one channel may be nested: it goes when the last has ended."""
    async with Harness(MAIL) as journey, journey.hold_sends("email"):
        async with journey.hold_sends("email"):
            await journey.trigger()
        assert journey.deliveries[0].status == "pending"


async def test_channels_of_a_workflow_that_is_written_later() -> None:
    """A class that writes its workflow sends on channels that nobody knows before: they can fail too."""

    class Author:
        def workflow(self, args: Any) -> Workflow:
            mail = Notify("mail", channel="email", render_key="hello")
            return Workflow(key=args["key"], version=1, steps=[Wait("wait", duration="PT1H"), mail])

    async with Harness(Author()) as journey:
        journey.fail_next("email", PermanentFailure())
        await journey.trigger(data={"key": "written"})
        await journey.advance("PT1H")
        assert journey.deliveries[0].suppression_reason == "permanent_failure"
    async with Harness() as journey:
        action = {"type": "notify", "channel": "email", "render_key": "x"}
        await journey.trigger({"key": "d", "version": 1, "steps": [{"id": "mail", "action": action}]})
        journey.fail_next("email", PermanentFailure())


async def test_a_channel_may_signal_from_a_task_of_its_own() -> None:
    """What a send awaits in other tasks is part of the send: nothing waits for itself."""

    async def told() -> None:
        await asyncio.gather(journey.signal("read"), journey.settle())

    async with asyncio.timeout(60), Harness(MAIL, channels=[Email(told)]) as journey:
        await journey.trigger()
        assert len(journey.sent) == 1


def test_a_sync_verb_inside_a_send_is_refused() -> None:
    """It would wait for the loop that waits for it; the attempt says so, and the test goes on."""

    async def told() -> None:
        journey.signal("read")

    with SyncHarness(MAIL, channels=[Email(told)]) as journey:
        journey.trigger()
        (attempt,) = journey.deliveries[0].attempts
        assert attempt.outcome == "unknown"
        assert "waits for the loop that it was called from" in str(attempt.note)


async def test_a_send_that_is_cut_short_is_unknown_and_tried_again() -> None:
    """As after a node's death in the middle of a call: the same delivery, a second attempt."""
    gate = Gate()
    async with Harness(MAIL, channels=[Email(gate.passes)]) as journey:
        playing = asyncio.create_task(journey.trigger())
        await gate.reached.wait()
        playing.cancel()
        await asyncio.wait({playing})
        gate.release()
        await journey.advance("PT1H")
        (delivery,) = journey.deliveries
        assert [attempt.outcome for attempt in delivery.attempts] == ["unknown", "succeeded"]
        assert await verify(journey.client.database) == []


def test_without_a_loop_of_asyncio_it_says_so() -> None:
    """Under trio there is none, and the error names what works there."""
    with pytest.raises(InvalidInput, match=r"none runs here .trio..: use SyncHarness there"):
        Harness(MAIL).__aenter__().send(None)


async def test_an_answer_that_cannot_be_written_yet_is_not_lost() -> None:
    """While somebody has the run locked an answer waits; it is written when they let go, and sent once."""
    async with Harness(
        MAIL, channels=[Email(lambda: lock("begin; select from chimeway.workflow_runs for update"))]
    ) as journey:
        connection = await asyncpg.connect(journey.url)
        lock = connection.execute
        with pytest.raises(RunBusy):
            await journey.trigger()
        await connection.execute("rollback")
        await connection.close()
        await journey.advance("PT1H")
        assert [attempt.outcome for attempt in journey.deliveries[0].attempts] == ["succeeded"]
        assert len(journey.sent) == 1


async def test_what_was_said_during_a_pause_is_heard_after_it() -> None:
    """A signal that comes while the workflow is paused stops the run when the pause is over."""
    async with Harness(ENTERED) as journey:
        await journey.trigger()
        await _pause(journey, True)
        await journey.signal("read")
        assert journey.run.state == "waiting"
        await _pause(journey, False)
        await journey.settle()
        assert journey.run.state == "stopped"


async def _pause(journey: Journey, paused: bool) -> None:
    async with journey.client.database.acquire() as connection:
        await connection.execute("select chimeway.pause_workflow('entered', $1)", paused)
