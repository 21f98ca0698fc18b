"""`app.running`: a whole node inside a loop of somebody else's, begun and ended with a block."""

import asyncio
import socket
import threading
from collections.abc import Awaitable
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from uuid import UUID

import pytest

from chimeway import (
    App,
    Chimeway,
    Content,
    Message,
    Notify,
    RenderContext,
    Sent,
    Wait,
    Workflow,
    signal_received,
)
from chimeway.errors import DatabaseUnavailable, InvalidSettings, SchemaMismatch
from kit.rows import rows_of
from kit.smtp import smtp_sink
from kit.waiting import Gate, wait_for

ESCALATION = Workflow(
    key="mention_escalation",
    version=1,
    steps=[
        Notify("step_in_app", channel="in_app", render_key="mention"),
        Wait("step_wait_for_read", duration="PT0.2S", stop_conditions=[signal_received("notification_read")]),
        Notify("step_sms", channel="sms", render_key="mention"),
    ],
)


class Journeys:
    """An App whose channel keeps what it was given, and waits where a test has put a gate."""

    def __init__(self) -> None:
        """Declare."""
        self.app = App(workflows=[ESCALATION])
        self.sent: list[Message] = []
        self.gate: Gate | None = None
        self.app.channel("sms")(self._send)
        self.app.render("mention")(_mention)

    async def _send(self, message: Message) -> Sent:
        if self.gate is not None:
            await self.gate.passes()
        self.sent.append(message)
        return Sent("sms-1")


def _mention(context: RenderContext) -> Content:
    return Content(
        subject="You were mentioned", body=f"In {context.data['document']}, {context.recipient.id}"
    )


@pytest.fixture
def journeys() -> Journeys:
    """An App of this test alone."""
    return Journeys()


async def start(chimeway: Chimeway, recipient: str = "ada") -> UUID:
    """Begin a journey."""
    await chimeway.identify(recipient, phone="+44 1")
    receipt = await chimeway.trigger("mention_escalation", {"document": "Plan"}, recipients=[recipient])
    return receipt.run_ids[0]


async def ended(chimeway: Chimeway, run_id: UUID) -> str:
    """Wait for a run's end and return how it ended."""

    async def state() -> str | None:
        run = await chimeway.get_run(run_id)
        return run.state if run.ended_at else None

    return await wait_for(state, "the run's end")


async def test_the_journey_is_played_inside_the_block(database_url: str, journeys: Journeys) -> None:
    """In the block the workflow is registered and the node works: an inbox item, a wait, a text message."""
    async with journeys.app.running(database_url) as chimeway:
        run_id = await start(chimeway)
        assert await ended(chimeway, run_id) == "completed"
        (item,) = (await chimeway.inbox("ada").list()).items
        assert (item.subject, item.body) == ("You were mentioned", "In Plan, ada")
    (message,) = journeys.sent
    assert (message.address, message.body) == ("+44 1", "In Plan, ada")


async def test_settings_by_name_go_with_it(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Settings are taken by name, over the environment's; a template of the folder is rendered."""
    (tmp_path / "hello.email.j2").write_text(
        "{% block subject %}Hi{% endblock %}{% block body %}<p>{{ recipient.id }}</p>{% endblock %}"
    )
    monkeypatch.setenv("CHIMEWAY_DATABASE_URL", database_url)
    monkeypatch.setenv("CHIMEWAY_SMTP_URL", "smtp://127.0.0.1:1")
    steps = [Notify("only", channel="email", render_key="hello")]
    app = App(workflows=[Workflow(key="hello", version=1, steps=steps)])
    async with (
        smtp_sink() as sink,
        app.running(smtp_url=sink.url, email_from="us@example.org", templates_dir=tmp_path) as chimeway,
    ):
        await chimeway.identify("ada", email="ada@example.org")
        await chimeway.trigger("hello", recipients=["ada"])
        await wait_for(lambda: sink.mails, "the e-mail")


async def test_the_end_of_the_block_waits_for_a_send(database_url: str, journeys: Journeys) -> None:
    """A send under way when the block ends is waited for and recorded; the lease is handed over."""
    gate = journeys.gate = Gate()
    async with rows_of(database_url) as rows:
        async with journeys.app.running(database_url) as chimeway:
            run_id = await start(chimeway)
            await gate.reached.wait()
            asyncio.get_running_loop().call_later(0.2, gate.release)
        assert [attempt["outcome"] for attempt in await rows.attempts(run_id)] == ["succeeded"]
        assert await rows.value("select owner is null from chimeway.shards")
        assert await rows.value("select count(*) from chimeway.nodes") == 0


async def test_an_error_in_the_block_comes_out_as_it_is(database_url: str, journeys: Journeys) -> None:
    """What the block raises comes out itself, after the drain."""
    gate = journeys.gate = Gate()
    runs: list[UUID] = []

    async def block() -> None:
        async with journeys.app.running(database_url) as chimeway:
            runs.append(await start(chimeway))
            await gate.reached.wait()
            asyncio.get_running_loop().call_later(0.2, gate.release)
            raise LookupError("mine")

    async with rows_of(database_url) as rows:
        with pytest.raises(LookupError, match="mine"):
            await block()
        assert [attempt["outcome"] for attempt in await rows.attempts(runs[0])] == ["succeeded"]


async def test_a_cancelled_block_drains_and_a_second_time_cuts(database_url: str, journeys: Journeys) -> None:
    """Cancelled once, the block drains; cancelled again meanwhile, the node is cut off; nothing is left."""
    gate = journeys.gate = Gate()

    async def block() -> None:
        async with journeys.app.running(database_url) as chimeway:
            await start(chimeway)
            await asyncio.sleep(3600)

    task = asyncio.create_task(block())
    await gate.reached.wait()
    before = asyncio.all_tasks()
    task.cancel()
    done, _ = await asyncio.wait({task}, timeout=0.3)
    assert not done, "it waits for the send"
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert journeys.sent == []
    assert {one for one in before if not one.done()} == {asyncio.current_task()}


async def test_cancelled_while_it_begins_it_ends_at_once(journeys: Journeys) -> None:
    """Who gives up on a database that lets nobody in does not wait for it, and nothing is left."""
    before, loop = asyncio.all_tasks(), asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql://ada@127.0.0.1:{silent.getsockname()[1]}/db?sslmode=disable"
        beginning = asyncio.create_task(AsyncExitStack().enter_async_context(journeys.app.running(url)))
        accepted, _ = await loop.run_in_executor(None, silent.accept)
        with accepted:
            beginning.cancel()
            began = loop.time()
            await asyncio.wait({beginning})
        assert beginning.cancelled()
        assert loop.time() - began < 10
    assert asyncio.all_tasks() == before


async def test_cancelled_while_it_waits_for_its_lease_it_begins_none(
    database_url: str, journeys: Journeys
) -> None:
    """What would keep a lease ends as well: a node that is no more owns nothing, whatever its host does."""
    before, loop = asyncio.all_tasks(), asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        direct = f"postgresql://ada@127.0.0.1:{silent.getsockname()[1]}/db?sslmode=disable"
        running = journeys.app.running(database_url, direct_database_url=direct)
        beginning = asyncio.create_task(AsyncExitStack().enter_async_context(running))
        accepted, _ = await loop.run_in_executor(None, silent.accept)
        with accepted:
            beginning.cancel()
            await asyncio.wait({beginning})
        assert beginning.cancelled()
        assert asyncio.all_tasks() == before

        def lease() -> bool:
            return not [one for one in threading.enumerate() if one.name == "lease"]

        await wait_for(lease, "its keeper has ended")


async def test_a_node_that_dies_ends_the_block(database_url: str, journeys: Journeys) -> None:
    """When a part of the node fails for good, the block is cancelled and raises what failed, in our words."""
    with pytest.raises(SchemaMismatch, match=r"chimeway.workflow_runs"):
        await _until_it_dies(journeys.app, database_url)
    await _nobody_is_cancelled()


async def test_a_block_that_will_not_be_cancelled_hears_of_the_death(
    database_url: str, journeys: Journeys
) -> None:
    """A block that swallows its cancellation meets the node's error when it ends, and no cancellation."""
    with pytest.raises(SchemaMismatch):
        await _until_it_dies(journeys.app, database_url, swallow=(asyncio.CancelledError,))
    await _nobody_is_cancelled()


async def _until_it_dies(app: App, url: str, swallow: tuple[type[BaseException], ...] = ()) -> None:
    async with rows_of(url) as rows, app.running(url):
        await rows.connection.execute("alter table chimeway.workflow_runs rename to gone")
        with suppress(*swallow):
            await asyncio.sleep(3600)


async def _nobody_is_cancelled() -> None:
    await asyncio.sleep(0)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_a_second_node_stands_by_and_takes_over(database_url: str) -> None:
    """Where a node works already, a second block begins too; its node goes on when the first has ended."""
    first, second = Journeys(), Journeys()
    async with AsyncExitStack() as stack:
        outer = await stack.enter_async_context(first.app.running(database_url))
        async with second.app.running(database_url) as inner:
            await ended(inner, await start(outer))
            before = len(second.sent)  # none, unless it has got its share meanwhile
            assert len(first.sent) + before == 1
            await stack.aclose()
            await ended(inner, await start(inner))
            assert (len(first.sent), len(second.sent)) == (1 - before, before + 1)


async def test_begun_in_one_task_and_ended_in_another(database_url: str, journeys: Journeys) -> None:
    """As the cells of a notebook do it, and fixtures: the tasks that begin and end may be two."""
    stack = AsyncExitStack()

    async def first_cell() -> Chimeway:
        return await stack.enter_async_context(journeys.app.running(database_url))

    chimeway = await asyncio.create_task(first_cell())
    run_id = await asyncio.create_task(start(chimeway))
    assert await asyncio.create_task(ended(chimeway, run_id)) == "completed"
    await asyncio.create_task(stack.aclose())


async def test_what_keeps_it_from_beginning_is_raised_at_once(database_url: str, journeys: Journeys) -> None:
    """A wrong setting, or a database that is not there, is raised where the block would begin."""

    def begin(url: str, **settings: str) -> Awaitable[Chimeway]:
        return AsyncExitStack().enter_async_context(journeys.app.running(url, **settings))

    with pytest.raises(InvalidSettings, match="smtp_ulr is not a setting; did you mean smtp_url"):
        await begin(database_url, smtp_ulr="x")
    with pytest.raises(InvalidSettings, match="CHIMEWAY_EMAIL_FROM is not set"):
        await begin(database_url, smtp_url="smtp://127.0.0.1:1")
    with pytest.raises(DatabaseUnavailable):
        await begin("postgresql://ada@127.0.0.1:1/nowhere")
    assert len(asyncio.all_tasks()) == 1
