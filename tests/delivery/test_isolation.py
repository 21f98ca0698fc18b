"""Gates and lanes in a running engine: what a provider's failures cost its own deliveries, and no others."""

import asyncio
import json
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import pytest
from structlog.testing import capture_logs

from chimeway.delivery.channel import Message, Sent
from chimeway.delivery.gate import Gate as ProvidersGate
from chimeway.delivery.pacing import ChannelLimits
from chimeway.testing import FaultyHttp
from chimeway.testing.faults import Fault, rate_limit
from kit.home import READ, workflow
from kit.machine import Provider, Running, running_machine
from kit.plain_channel import PlainChannel
from kit.waiting import Gate, wait_for

ATTEMPTS = "select count(*) from chimeway.delivery_attempts"
STATES = "select status, count(*)::int from chimeway.deliveries group by status"
DUE = "select next_attempt_at - chimeway.clock() from chimeway.deliveries"
OLDER = "update chimeway.deliveries set created_at = created_at - interval '{}', next_attempt_at = now()"
STOPPABLE = {"stop_conditions": [READ]}
ENDED = "select count(*) filter (where state = 'completed') from chimeway.workflow_runs where tenant_id = $1"


class Push(PlainChannel):
    """Posts to a real server on loopback, which fails as it is told; keeps when."""

    name = "push"
    needs_address = False

    def __init__(self, url: str, **limits: Any) -> None:
        super().__init__(url, timeout_s=30)
        self.limits = ChannelLimits(**limits)
        self.called_at: list[float] = []

    async def send(self, message: Message) -> Sent:
        self.called_at.append(asyncio.get_running_loop().time())
        return await super().send(replace(message, address=message.address or "here"))


class Hook(Push):
    """Sends to a server of each customer's own; those that are `dead` do not answer."""

    name = "push"
    needs_address = True

    def __init__(self, url: str, **limits: Any) -> None:
        super().__init__(url, **limits)
        self.calls: Counter[str] = Counter()

    def endpoint(self, address: str) -> str:
        return address

    async def send(self, message: Message) -> Sent:
        self.calls[message.address or ""] += 1
        return await super().send(message)


def _one(channel: str = "push", **more: Any) -> dict[str, object]:
    action = {"type": "notify", "channel": channel, "render_key": "mention"}
    return workflow({"id": channel, "action": action}, key=channel, **more)


def _gate(on: Running) -> ProvidersGate:
    return on.node.channels["push"].providers[0].gate


async def _states(on: Running) -> dict[str, int]:
    return {row["status"]: row["count"] for row in await on.rows.all(STATES)}


async def _live_at(on: Running, **addresses: str) -> None:
    for person, address in addresses.items():
        profile = json.dumps({"addresses": {"push": address}})
        await on.rows.value("select chimeway.identify('default', $1, $2::text::jsonb)", person, profile)


async def _waiting_in_lane(on: Running, many: int) -> None:
    lane = await wait_for(lambda: on.machine._dispatcher._lanes.get("push"), "there is a lane")
    await wait_for(lambda: len(lane._queue) == many, f"{many} wait in the lane")


async def test_a_failing_provider_is_left_alone_until_it_works(database_url: str) -> None:
    """Three failures open the breaker, one call is tried after each pause; no attempt is made in vain."""
    async with FaultyHttp() as server:
        push = Push(server.url, concurrency=1, breaker_failures=3, breaker_pause_s=0.4)
        server.fail_next(*["error_500"] * 4)
        with capture_logs() as told:
            async with running_machine(database_url, push, definitions=(_one(),)) as on:
                for number in range(5):
                    await on.start(f"user_{number}", "push")
                await on.rows.until_none_live()
                assert await on.rows.value(ATTEMPTS) == len(server.received) == 4 + 5
        states = [line["state"] for line in told if line["event"] == "channel.breaker"]
        assert states == ["open", "trial", "open", "trial", "closed"]
        for before, after in ((2, 3), (3, 4)):
            assert push.called_at[after] - push.called_at[before] >= 0.4


async def test_a_signal_calls_back_what_waits_at_a_shut_gate(database_url: str) -> None:
    """A run that stops meanwhile takes its delivery with it: no provider is called when the gate opens."""
    push = Provider()
    push.limits = ChannelLimits(breaker_failures=1, breaker_pause_s=600)
    async with running_machine(database_url, push, definitions=(_one(**STOPPABLE),)) as on:
        _gate(on).record("transient")
        stopped, sent = await on.start("ada", "push"), await on.start("bob", "push")
        await _waiting_in_lane(on, 2)
        await on.rows.value("select chimeway.signal('notification_read', actor_id => 'ada')")
        await on.rows.until(stopped, "stopped")
        _gate(on).record(None)
        on.machine._dispatcher._lanes["push"]._bell.set()  # it is open sooner than was said
        await on.rows.until(sent, "completed")
        assert [message.recipient_id for message in push.messages] == ["bob"]
        assert await on.rows.value(ATTEMPTS) == 1


async def test_a_rate_is_kept(database_url: str) -> None:
    """A burst, then one call each interval, whatever waits and however many places there are."""
    async with FaultyHttp() as server:
        push = Push(server.url, rate=20.0, burst=2)
        async with running_machine(database_url, push, definitions=(_one(),)) as on:
            for number in range(12):
                await on.start(f"user_{number}", "push")
            await on.rows.until_none_live()
        assert push.called_at[-1] - push.called_at[0] >= (12 - 2) / 20 - 0.1
        assert len(server.received) == 12


async def test_a_provider_that_asks_for_fewer_calls_gets_none(database_url: str) -> None:
    """After a 429 its Retry-After holds for all of its deliveries, which keep their attempts."""
    async with FaultyHttp() as server:
        push = Push(server.url, concurrency=1)
        server.fail_next(rate_limit(1))
        async with running_machine(database_url, push, definitions=(_one(),)) as on:
            for number in range(3):
                await on.start(f"user_{number}", "push")
            await on.rows.until_none_live()
            assert await on.rows.value(ATTEMPTS) == len(server.received) == 4
        assert push.called_at[1] - push.called_at[0] >= 1.0


async def test_one_tenants_hanging_calls_leave_the_channel_to_others(database_url: str) -> None:
    """Where one tenant's calls hang on all that it may have, another's on the same channel go on."""
    hung = [Gate() for _ in range(3)]
    push = Provider("push", *hung)
    push.limits = ChannelLimits(concurrency=4)
    async with running_machine(database_url, push, definitions=(_one(),)) as on:
        for number in range(20):
            await on.start(f"user_{number}", "push", "hanging")
        await wait_for(lambda: len(push.messages) == 3, "three hang")
        for number in range(10):
            await on.start(f"user_{number}", "push", "working")
        await wait_for(lambda: on.rows.value(f"select ({ENDED}) = 10", "working"), "the others are sent")
        assert len([message for message in push.messages if message.tenant_id == "hanging"]) == 3
        for gate in hung:
            gate.release()
        await on.rows.until_none_live()


async def test_one_customers_dead_server_closes_no_other_way(database_url: str) -> None:
    """Each endpoint has a breaker of its own; what is for the dead one waits, and is sent when it lives."""
    async with FaultyHttp() as server:
        push = Hook(server.url, breaker_failures=2, breaker_pause_s=0.5)
        server.fail_if(lambda received: '"dead"' in received.text, Fault("error_500"))
        async with running_machine(database_url, push, definitions=(_one(),)) as on:
            for person, address in (("ada", "dead"), ("bob", "good")):
                profile = json.dumps({"addresses": {"push": address}})
                await on.rows.value(
                    "select chimeway.identify('default', $1, $2::text::jsonb)", person, profile
                )
            dead = [await on.start("ada", "push") for _ in range(3)]
            await wait_for(lambda: _gate(on).closed_for("dead") > 0, "the breaker of the dead one is open")
            good = [await on.start("bob", "push") for _ in range(12)]
            for run_id in good:
                await on.rows.until(run_id, "completed")
            assert _gate(on).closed_for() == 0.0
            server.heal()
            for run_id in dead:
                await on.rows.until(run_id, "completed")
            assert push.calls["good"] == 12
            assert await on.rows.value(ATTEMPTS) == len(server.received)


LET_GO = """insert into chimeway.delivery_verdicts
                   (delivery_id, shard, number, stage, verdict, reason, until, inputs, at)
            select id, shard, 1, 'before_send', 'defer', 'cap', chimeway.clock(), '{}', created_at
              from chimeway.deliveries"""


@pytest.mark.parametrize(
    ("age", "put_off"), [("PT1H", False), ("P2D", False), ("P2D", True)], ids=["PT1H", "P2D", "put off"]
)
async def test_what_waits_for_a_dead_endpoint_is_out_of_the_way(
    database_url: str, age: str, put_off: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its row says when it comes again, so that no sweep goes through it; and nobody waits for ever."""
    monkeypatch.setattr("chimeway.delivery.results.DOWN_S", 0.5)
    push = Provider()
    push.endpoint = lambda _address: "dead"  # type: ignore[attr-defined]
    push.limits = ChannelLimits(breaker_failures=1, breaker_pause_s=20)
    async with running_machine(database_url, push, definitions=(_one(),)) as on:
        await _live_at(on, ada="here")
        _gate(on).record("transient", endpoint="dead")
        run_id = await on.start("ada", "push")
        await wait_for(lambda: on.rows.value(f"select ({DUE}) > interval '15 s'"), "it is due later")
        if put_off:  # by policy, until a moment ago: it has not waited here for so long
            await on.rows.value(LET_GO)
        await on.rows.value(OLDER.format(age))
        if age == "PT1H" or put_off:
            await wait_for(lambda: on.rows.value(f"select ({DUE}) > interval '5 s'"), "it waits again")
            _gate(on).record(None, endpoint="dead")
            await on.rows.value(OLDER.format(age))
        await on.rows.until(run_id, "completed")
        delivery = (await on.rows.deliveries(run_id))[0]
        assert (delivery["status"], delivery["suppression_reason"], delivery["attempt_count"]) == (
            ("succeeded", None, 1) if age == "PT1H" or put_off else ("cancelled", "retries_exhausted", 0)
        )


async def test_who_comes_late_to_a_busy_endpoint_is_not_too_late(database_url: str) -> None:
    """What was planned long ago (its workflow was paused) has not waited at a gate that closes only now."""
    async with AsyncExitStack() as stack:
        push = Hook((await stack.enter_async_context(FaultyHttp())).url, max_age_s=60)
        on = await stack.enter_async_context(running_machine(database_url, push, definitions=(_one(),)))
        await _live_at(on, ada="busy")
        _gate(on).record("rate_limited", 600.0, endpoint="busy")
        run_id = await on.start("ada", "push")
        await wait_for(lambda: on.rows.value(f"select ({DUE}) > interval '15 s'"), "it is due later")
        await on.rows.value(OLDER.format("P2D"))
        await wait_for(lambda: on.rows.value(f"select ({DUE}) > interval '15 s'"), "it waits again")
        _gate(on)._parties.clear()
        await on.rows.value(OLDER.format("P2D"))
        await on.rows.until(run_id, "completed")
        assert await _states(on) == {"succeeded": 1}


async def test_a_dead_endpoint_with_many_waiting_delays_no_other(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who waits for one comes again in a line of its own: another of the same tenant that paused does not."""
    monkeypatch.setattr("chimeway.delivery.postponing._APART_S", 0.5)
    async with AsyncExitStack() as stack:
        push = Hook(
            (await stack.enter_async_context(FaultyHttp())).url, breaker_failures=1, breaker_pause_s=20
        )
        on = await stack.enter_async_context(running_machine(database_url, push, definitions=(_one(),)))
        await _live_at(on, **{f"user_{number}": "dead" for number in range(5)}, ada="busy")
        _gate(on).record("transient", endpoint="dead")
        for number in range(5):
            await on.start(f"user_{number}", "push")
        later = "select count(*) = 5 from chimeway.deliveries where next_attempt_at > now() + interval '9 s'"
        await wait_for(lambda: on.rows.value(later), "all are due later")
        _gate(on).record("rate_limited", 0.3, endpoint="busy")
        run_id = await on.start("ada", "push")
        await on.rows.until(run_id, "completed", deadline_s=8.0)
        assert await _states(on) == {"succeeded": 1, "pending": 5}


async def test_a_drain_leaves_what_waits_at_a_shut_gate(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node that ends waits for a hanging call for as long as it may, begins nothing, and loses nothing."""
    monkeypatch.setattr("chimeway.daemon.machine.DRAIN_S", 0.3)
    gate = Gate()
    push = Provider("push", gate)
    push.limits = ChannelLimits(breaker_failures=1, breaker_pause_s=600)
    async with running_machine(database_url, push, definitions=(_one(),)) as on:
        await on.start("hanging", "push")
        await gate.reached.wait()
        _gate(on).record("transient")
        for number in range(5):
            await on.start(f"user_{number}", "push")
        await _waiting_in_lane(on, 5)
        await on.machine.drain()
        _gate(on).record(None)
        assert await _states(on) == {"dispatched": 1, "pending": 5}
        assert len(push.messages) == 1
    push.limits = ChannelLimits()
    async with running_machine(database_url, push) as on:
        await on.rows.until_none_live()
        assert Counter(message.recipient_id for message in push.messages)["hanging"] == 2
        assert len(push.messages) == 2 + 5


async def test_results_of_locked_runs_hold_up_only_their_tenant(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where one tenant's results wait for runs that somebody has locked, another's are written."""
    monkeypatch.setattr("chimeway.delivery.dispatcher.RECORDING", 4)
    gates = [Gate() for _ in range(5)]
    push = Provider("push", *gates)
    push.limits = ChannelLimits(concurrency=8)
    async with running_machine(database_url, push, definitions=(_one(),)) as on:
        held = [await on.start(f"user_{number}", "push", "locked") for number in range(5)]
        await wait_for(lambda: len(push.messages) == 5, "all are on their way")
        async with on.rows.connection.transaction():
            await on.rows.all("select 1 from chimeway.workflow_runs where id = any($1) for update", held)
            for gate in gates:
                gate.release()
            async with on.node.database.acquire() as producer:
                for number in range(8):
                    start = "select chimeway.trigger('push', 'free', $1, '{\"document\": 7}')"
                    await producer.fetchval(start, f"user_{number}")
            await wait_for(lambda: on.rows.value(f"select ({ENDED}) = 8", "free"), "the others are recorded")
        await on.rows.until_none_live()
