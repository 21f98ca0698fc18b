"""Sending at its worst: statements and answers lost one by one, cancels at each await, rubbish raised."""

import asyncio
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any

import pytest
from structlog.testing import capture_logs

from chimeway.delivery.channel import Message, Sent, TransientFailure
from chimeway.delivery.gate import Gate
from chimeway.delivery.pacing import ChannelLimits
from chimeway.delivery.route import Provider as Way
from chimeway.delivery.route import Route
from chimeway.store.queries import SQL
from kit.home import workflow
from kit.machine import Provider, Running, running_machine
from kit.rows import Row
from kit.waiting import wait_for

ONE = workflow(
    {"id": "push", "action": {"type": "notify", "channel": "push", "render_key": "mention"}}, key="push"
)
SAID = """
select a.provider || ' ' || coalesce(x.error_class, x.outcome) from chimeway.delivery_attempts a
  left join chimeway.delivery_attempt_results x using (delivery_id, attempt_no, shard)
 where a.run_id = $1 order by a.attempt_no"""
OF_SENDING = {"commit_decisions", "load_runs", "load_deliveries", "begin_attempts", "record_results"}


def _ways(on: Running, *channels: Provider, **limits: Any) -> list[Way]:
    """Let the channel push lead to these, called a and b."""
    held, clock = ChannelLimits(**limits), on.node.clock
    ways = [
        Way(name, one, held, Gate("push", name, held, clock))
        for name, one in zip("ab", channels, strict=False)
    ]
    on.node.channels["push"] = Route("push", ways)  # type: ignore[index]
    return ways


async def _said(on: Running, run_id: Any) -> list[str | None]:
    return [row[0] for row in await on.rows.all(SAID, run_id)]


class Panic(BaseException):
    """What bindings to other languages raise."""


@pytest.mark.parametrize(
    "raised",
    [Panic("at 3:14"), BaseExceptionGroup("some", [Panic()]), ExceptionGroup("some", [OSError()]),
     StopIteration(), StopAsyncIteration()],
    ids=lambda one: type(one).__name__,
)  # fmt: skip
async def test_whatever_a_channel_raises_is_an_answer(
    raised: BaseException, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What no channel should raise ends neither the node nor the delivery: it is uncertain, no more."""
    monkeypatch.setattr("chimeway.delivery.abandoned.SWEEP_EVERY_S", 3600.0)  # nobody finds it later
    async with running_machine(database_url, Provider("push", raised), definitions=(ONE,)) as on:
        run_id = await on.start(workflow="push")
        await on.rows.until(run_id, "completed")
        assert await _said(on, run_id) == ["push unknown", "push succeeded"]


async def test_a_stored_message_that_is_none_spends_no_attempt(database_url: str) -> None:
    """What cannot be handed to a channel is found before an attempt begins, and takes no turn at the gate."""
    push = Provider("push")
    async with running_machine(database_url, push, definitions=(ONE,)) as on:
        (way,) = _ways(on, push, rate=0.01)
        on.tenure.extend(0.0)
        await on.start(workflow="push")
        spoil = "update chimeway.deliveries set message = '{}', next_attempt_at = now() returning id"
        delivery = await wait_for(lambda: on.rows.value(spoil), "it is planned")
        put_off = on.machine._delivery_keeper._put_off
        await wait_for(lambda: delivery in put_off, "nobody has it in hand as it was")
        on.tenure.extend(float("inf"))
        with capture_logs() as logs:
            failed = {"event": "delivery.failed", "delivery_id": str(delivery)}.items()
            await wait_for(lambda: any(failed <= one.items() for one in logs), "it was looked at")
        assert await on.rows.value("select count(*) from chimeway.delivery_attempts") == 0
        assert way.gate.closed_for() == 0.0


@types.coroutine
def _cut(coroutine: Coroutine[Any, Any, Any], at: int) -> Generator[Any, Any, Any]:
    """Run a coroutine, cancelled at its n-th await."""
    task, error = asyncio.current_task(), None
    assert task is not None
    for step in range(1, 1_000):
        try:
            waits = coroutine.send(None) if error is None else coroutine.throw(error)
        except StopIteration as end:
            return end.value
        if step == at:
            asyncio.get_running_loop().call_soon(task.cancel)
        error = None
        try:
            yield waits
        except BaseException as thrown:  # noqa: BLE001  (handed on)
            error = thrown
    raise AssertionError("without an end")


class Slow(Provider):
    """Answers after some turns of the loop."""

    async def send(self, message: Message) -> Sent:
        """Take two."""
        for _ in range(2):
            await asyncio.sleep(0)
        return await super().send(message)


@pytest.mark.parametrize("verb", ["_send", "_record"])
async def test_a_cancel_at_any_await_leaves_nothing_taken(verb: str, database_url: str) -> None:
    """Wherever a send or a record is cancelled, its places are free, and its turn at the gate if unused."""
    push, turns = Slow("push"), []
    async with running_machine(database_url, push, definitions=(ONE,)) as on:
        (way,) = _ways(on, push, rate=0.01, burst=10)
        bucket, dispatcher = way.gate._bucket, on.machine._dispatcher
        real, at = getattr(dispatcher, verb), 0

        async def cut(*args: Any) -> Any:
            turns.append(at)
            return await _cut(real(*args), at)

        setattr(dispatcher, verb, cut)
        for at in range(1, 5):
            await on.start(f"user_{at}", "push")
            await wait_for(lambda: turns[-1:] == [at] and not dispatcher._at_work, "it ended, or was cut")  # noqa: B023
            await wait_for(lambda: not dispatcher._lanes["push"]._places.taken, "its place is free")
            assert dispatcher._recording.taken == 0
        assert bucket is not None
        assert bucket._full_at is not None
        begun = await on.rows.value("select count(*) from chimeway.delivery_attempts")
        assert len(push.messages) <= begun == 4
        spent = round((bucket._full_at - on.node.clock.monotonic()) / 100)
        assert spent == (3 if verb == "_send" else 4), "only the first was cut before its call"


class Faults:
    """Loses the n-th statement of sending, or only the answer to it, as a connection that breaks does."""

    def __init__(self, fetch: Callable[..., Awaitable[Any]]) -> None:
        """Take what it stands before."""
        self._fetch = fetch
        self.at, self.done, self.seen, self.lost = 0, False, 0, ""

    async def fetch(self, name: str, *args: Any) -> list[Row]:
        """Do it, or not."""
        self.seen += name in OF_SENDING
        hit = name in OF_SENDING and self.seen == self.at
        rows: list[Row] = [] if hit and not self.done else await self._fetch(name, *args)
        if hit:
            self.lost = name
            raise ConnectionResetError("the connection broke")
        return rows


@pytest.mark.parametrize("done", [False, True], ids=["statement", "answer"])
async def test_each_statement_of_a_failover_lost(
    done: bool, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first fails, the second takes it, whatever is lost: one message, no call without its attempt."""
    monkeypatch.setattr("chimeway.delivery.abandoned.SWEEP_EVERY_S", 0.05)
    sooner = SQL["abandoned_attempts"].replace("'5 seconds'", "'0.05 seconds'")
    monkeypatch.setitem(SQL, "abandoned_attempts", sooner)  # type: ignore[arg-type]
    a, b = Provider("push"), Provider("push")
    async with running_machine(database_url, a, definitions=(ONE,)) as on:
        _ways(on, a, b, breaker_failures=0)
        faults = Faults(on.node.database.fetch)
        monkeypatch.setattr(on.node.database, "fetch", faults.fetch)
        lost = []
        for faults.at in range(1, 30):
            a.answers.append(TransientFailure())
            faults.done, faults.seen, faults.lost, who = done, 0, "", f"user_{faults.at}"
            run_id = await on.start(who, "push")
            await on.rows.until(run_id, "completed")
            said = await _said(on, run_id)
            calls = len(a.to(who)) + len(b.to(who))
            assert len(b.to(who)) <= 1, "a message twice"
            assert calls == len([one for one in said if one and "unknown" not in one])
            if done and faults.lost == "begin_attempts":
                stays = said.index(f"{'a' if said[0] == 'a unknown' else 'b'} unknown")
                assert {one and one[0] for one in said[stays:]} == {said[stays][0]}, "another asked"  # type: ignore[index]
            else:
                assert said == ["a transient", "b succeeded"]
            a.answers.clear()
            if not faults.lost:
                break
            lost.append(faults.lost)
        assert lost.count("begin_attempts") >= 2
        assert lost.count("record_results") >= 2
