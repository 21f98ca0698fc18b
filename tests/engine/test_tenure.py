"""A tenure's end: what a node does that has been followed by another, or is asked to go."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from chimeway.daemon.machine import work
from chimeway.delivery.channel import Message, Sent
from chimeway.engine.ownership import Tenure
from chimeway.store.pool import Database, open_database
from kit.home import workflow
from kit.machine import START, Provider, install, lease, node_on
from kit.proxy import proxy_to
from kit.rows import Rows, rows_of
from kit.waiting import Gate, wait_for

ONE = workflow({"id": "push", "action": {"type": "notify", "channel": "push", "render_key": "mention"}})
JOURNEY = "mention_escalation"


@asynccontextmanager
async def working(
    database: Database, tenure: Tenure, *channels: Provider
) -> AsyncIterator[tuple["asyncio.Task[None]", asyncio.Event]]:
    """Work while the block lasts, or as long as it should; the task, and what asks it to end."""
    async with open_database(database.url, size=12) as own:
        node, stop, ready = await node_on(own, *channels), asyncio.Event(), asyncio.Event()
        task = asyncio.ensure_future(work(node, tenure, stop, ready.set))
        try:
            await asyncio.wait_for(ready.wait(), 10)
            yield task, stop
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def _at_rest(rows: Rows) -> None:
    """Wait until the node sleeps, so that the next hint wakes it."""
    await wait_for(lambda: rows.value("select asleep from chimeway.nodes limit 1"), "the node sleeps")


async def test_who_was_followed_ends_and_holds_nothing(database_url: str, database: Database) -> None:
    """Refused by the ledger, a node ends its work at once; the runs that it had at work are as they were."""
    await install(database, ONE)
    async with (
        rows_of(database_url) as rows,
        working(database, await lease(database), Provider()) as (task, _),
    ):
        await _at_rest(rows)
        await lease(database)
        runs = [await rows.value(START, JOURNEY, f"user_{number}", "default") for number in range(5)]
        held = "select exists (select from chimeway.workflow_runs where held_reason is not null)"

        async def over() -> bool:
            return task.done() or bool(await rows.value(held))

        await wait_for(over, "it has ended, or done harm", deadline_s=10)
        assert task.done()
        for run_id in runs:
            run = await rows.run(run_id)
            assert (run["held_reason"], run["visit"]) == (None, 0)


async def _taken_over_at(gate: Gate, before: Provider, after: Provider, database: Database) -> list[str]:
    """Have the lease taken over while a provider holds a message; return what became of its attempts."""
    await install(database, ONE)
    async with rows_of(database.url) as rows:
        former = await lease(database)
        async with working(database, former, before) as (task, _):
            run_id = await rows.value(START, JOURNEY, "ada", "default")
            await asyncio.wait_for(gate.reached.wait(), 10)
            now = await lease(database, clean=False)
            former.lost.set()
            await asyncio.wait_for(asyncio.shield(task), 10)
        async with working(database, now, after):
            await rows.until(run_id, "completed")
        return [row["outcome"] for row in await rows.attempts(run_id)]


async def test_who_was_followed_while_sending_leaves_the_attempt(database: Database) -> None:
    """A message held by its provider when another took over is given up there, and repeated by that one."""
    gate, after = Gate(), Provider()
    outcomes = await _taken_over_at(gate, Provider("push", gate), after, database)
    assert outcomes == ["unknown", "succeeded"]
    assert len(after.messages) == 1


class Stubborn(Provider):
    """A channel that answers though it was cancelled, as `asyncio.wait_for` can before Python 3.12."""

    async def send(self, message: Message) -> Sent:
        """Answer as ever, and with success when cancelled at a gate."""
        try:
            return await super().send(message)
        except asyncio.CancelledError:
            return Sent("all the same")


async def test_an_answer_at_the_very_end_is_no_fault(database: Database) -> None:
    """Who has lost the lease ends well, also when a provider answers meanwhile: the attempt is unknown."""
    gate = Gate()
    outcomes = await _taken_over_at(gate, Stubborn("push", gate), Provider(), database)
    assert outcomes == ["unknown", "succeeded"]


@pytest.mark.parametrize("told", ["to end", "that its lease was lost"])
async def test_who_is_told_while_it_starts_ends(database_url: str, database: Database, told: str) -> None:
    """A node whose pool finds no server yet, though its lease's connection does, is not deaf meanwhile."""
    tenure, stop, ready = await lease(database), asyncio.Event(), asyncio.Event()
    async with AsyncExitStack() as stack:
        async with proxy_to(database_url) as proxy:
            own = await stack.enter_async_context(open_database(proxy.url, size=12))
            node = await node_on(own, Provider())
        task = asyncio.ensure_future(work(node, tenure, stop, ready.set))
        (stop if told == "to end" else tenure.lost).set()
        done, _ = await asyncio.wait({task}, timeout=5)
        task.cancel()
        assert (bool(done), ready.is_set()) == (True, False)
        await task


async def test_who_is_asked_to_end_finishes_what_is_under_way(database_url: str, database: Database) -> None:
    """Work ends after the answer of the provider is written, and takes nothing new in."""
    await install(database, ONE)
    gate = Gate()
    async with rows_of(database_url) as rows:
        async with working(database, await lease(database), Provider("push", gate)) as (task, stop):
            run_id = await rows.value(START, JOURNEY, "ada", "default")
            await asyncio.wait_for(gate.reached.wait(), 10)
            stop.set()
            await asyncio.sleep(0)
            assert not task.done()
            gate.release()
            await asyncio.wait_for(asyncio.shield(task), 10)
        (delivery,) = await rows.deliveries(run_id)
        assert delivery["status"] == "succeeded"
