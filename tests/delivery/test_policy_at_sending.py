"""Policy at the last moment: a no that comes between, places that many want, deaths, older programs."""

import asyncio
from contextlib import AsyncExitStack
from datetime import timedelta
from itertools import pairwise
from typing import Any
from uuid import UUID, uuid4

import pytest

from chimeway.clock import SystemClock
from chimeway.delivery.composing import Sending
from chimeway.delivery.judging import beginning, judged
from chimeway.delivery.results import Results
from chimeway.delivery.route import single
from chimeway.delivery.sending import Parts, Sender
from chimeway.engine.courier import Courier
from chimeway.engine.progress import Engine
from chimeway.progression.decide import decide
from chimeway.progression.decision import Decision
from chimeway.render.renderers import Renderers
from chimeway.store import deliveries, nodes
from chimeway.store.catalogue import Catalogue
from chimeway.store.ledger import Entry, commit_decisions, entry_for
from chimeway.store.pool import Database, open_database
from chimeway.store.runs import load_runs
from kit.home import workflow
from kit.invariants import assert_invariants
from kit.machine import START, TEMPLATES, Provider, install, running_machine
from kit.proxy import proxy_to
from kit.rows import Row, Rows, rows_of
from kit.waiting import wait_for

PUSH = {"id": "push", "action": {"type": "notify", "channel": "push", "render_key": "mention"}}
ONE = workflow(PUSH, key="push")
IDENTIFY = "select chimeway.identify('default', $1, jsonb_build_object('preferences', $2::text::jsonb))"
ONE_DEFERRED = """select 1 from chimeway.deliveries having count(*) filter (where status = 'deferred') = 1
                     and count(*) filter (where status = 'succeeded') = 1"""
NO = '{"channels": {"push": false}}'


def cap(limit: int, per: str, then: str) -> str:
    """Return preferences with a cap on push."""
    return f'{{"caps": [{{"channel": "push", "limit": {limit}, "per": "{per}", "then": "{then}"}}]}}'


async def planned(url: str, rows: Rows, database: Database, many: int = 1) -> list[UUID]:
    """Trigger messages of ada, and have them planned while nobody sends."""
    await install(database, ONE)
    for _ in range(many):
        await rows.value(
            """select chimeway.trigger('push', recipient_id => 'ada', data => '{"document": 7}')"""
        )
    async with Engine.connect(url, templates=TEMPLATES, addressless=("push",)) as engine:
        await engine.progress_due_runs()
    found = await rows.all("select id from chimeway.deliveries order by created_at, id")
    assert len(found) == many
    return [row["id"] for row in found]


def quiet_now() -> str:
    """Return preferences by which nothing is sent in the next two hours."""
    began, ends = (f"{SystemClock().now() + timedelta(hours=hours):%H:%M}" for hours in (-1, 2))
    return f'{{"quiet_hours": {{"from": "{began}", "to": "{ends}"}}}}'


async def entries(rows: Rows, database: Database, key: str, many: int = 1) -> list[Entry]:
    """Trigger runs of ada, and return what is decided of them at first, not yet written."""
    ids = [await rows.value(START, key, "ada", "default") for _ in range(many)]
    now, found = SystemClock().now(), []
    for run in await load_runs(database, Catalogue(database), ids):
        assert run is not None
        assert run.snapshot is not None
        courier = Courier(run, now, Renderers(templates=TEMPLATES), ("push",))
        decision = decide(run.snapshot, now, courier)
        assert isinstance(decision, Decision)
        found.append(entry_for(run.id, decision, courier.messages, run.policy))
    return found


async def only(rows: Rows) -> Row:
    """Return the one delivery there is."""
    (row,) = await rows.all("select * from chimeway.deliveries")
    return row


async def sender(stack: AsyncExitStack, url: str, push: Provider) -> tuple[Sender, Any]:
    """Return what sends for a node of its own, and how it loads; nothing is batched, nobody has a lease."""
    database = await stack.enter_async_context(open_database(url, size=6))
    clock, catalogue, node = SystemClock(), Catalogue(database), uuid4()
    await nodes.synchronise(database, clock)
    routes = {"push": single(push, clock)}

    async def record(outcome: deliveries.Outcome, _tenant: str | None) -> deliveries.Recorded:
        return (await deliveries.record_results(database, [outcome]))[0]

    async def begin(row: deliveries.Beginning) -> deliveries.Begun:
        return (await deliveries.begin_attempts(database, None, node, [row]))[0]

    async def hold_back(row: deliveries.HeldBack) -> deliveries.Held:
        return (await deliveries.record_verdicts(database, None, [row]))[0]

    async def load(delivery_id: UUID) -> Sending | None:
        row = (await deliveries.load_sendables(database, [delivery_id])).get(delivery_id)
        run = None if row is None else (await load_runs(database, catalogue, [row.run_id]))[0]
        return None if row is None or run is None else Sending(row, run)

    results = Results(record, clock, routes)
    parts = Parts(
        database, clock, node, Renderers(templates=TEMPLATES), routes, begin, hold_back, results,
        trusted=lambda: True, nudge=lambda _run, _tenant: None,
    )  # fmt: skip
    return Sender(parts), load


async def send_until_settled(each: Sender, load: Any, delivery_id: UUID) -> None:
    """Send a delivery until it is sent, ended or deferred."""
    while (sending := await load(delivery_id)) is not None and each.wanted(sending):
        answer = await each.send(sending, load)
        if isinstance(answer, deliveries.Outcome):
            await each._with.results.record(answer)
        elif isinstance(answer, float):
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("then", ["delay", "drop"])
async def test_fifty_at_once_and_three_places(database_url: str, database: Database, then: str) -> None:
    """Two nodes' senders want the same fifty: three are sent, each once; the oldest, as far as can be."""
    push = Provider()
    async with rows_of(database_url) as rows, AsyncExitStack() as stack:
        await rows.value(IDENTIFY, "ada", cap(3, "PT24H", then))
        ids = await planned(database_url, rows, database, 50)
        senders = [await sender(stack, database_url, push) for _ in range(2)]
        await asyncio.gather(*(send_until_settled(each, load, one) for one in ids for each, load in senders))
        assert len(push.messages) == 3
        assert len({message.delivery_id for message in push.messages}) == 3
        ends = await rows.all("select status, count(*)::int as many from chimeway.deliveries group by 1")
        rest = "deferred" if then == "delay" else "suppressed"
        assert {row["status"]: row["many"] for row in ends} == {"succeeded": 3, rest: 47}
        budget = await rows.all("select revision, cardinality(sent_at) as many from chimeway.send_budgets")
        assert [(row["revision"], row["many"]) for row in budget] == [(3, 3)]
        await assert_invariants(database_url, rows)


async def test_of_one_batch_the_oldest_go_as_many_as_there_is_room_for(
    database_url: str, database: Database
) -> None:
    """All five counted by the same revision of the budget: two begin, and the others must count again."""
    async with rows_of(database_url) as rows:
        await rows.value(IDENTIFY, "ada", cap(2, "PT24H", "delay"))
        ids = await planned(database_url, rows, database, 5)
        found = await deliveries.load_sendables(database, ids)
        loaded = await load_runs(database, Catalogue(database), [found[one].run_id for one in ids])
        begins = []
        for one, run in zip(ids, loaded, strict=True):
            assert run is not None
            verdict = judged(found[one], run, SystemClock().now())
            begins.append(beginning(found[one], run, verdict, "push", None, {}))
        begun = await deliveries.begin_attempts(database, None, uuid4(), begins[::-1])
        assert [one.answer for one in begun[::-1]] == ["begun", "begun", "stale", "stale", "stale"]
        assert await rows.value("select cardinality(sent_at) from chimeway.send_budgets") == 2


async def test_of_one_batch_as_many_items_as_an_inbox_has_room_for(
    database_url: str, database: Database
) -> None:
    """Items are counted by the decisions that write them: two of five here, not one a batch."""
    box = {"id": "box", "action": {"type": "notify", "channel": "in_app", "render_key": "mention"}}
    wish = '{"caps": [{"channel": "in_app", "limit": 2, "per": "PT24H", "then": "drop"}]}'
    await install(database, workflow(box, box | {"id": "again"}, key="box"), workflow(box, key="one"))
    async with rows_of(database_url) as rows:
        await rows.value(IDENTIFY, "ada", wish)

        one, two = await entries(rows, database, "one", 1), await entries(rows, database, "box", 1)
        assert await commit_decisions(database, None, two + one) == ["stale", "applied"]
        singles = await entries(rows, database, "one", 4)
        answers = await commit_decisions(database, None, singles)
        assert answers == ["applied", "stale", "stale", "stale"]
        assert await rows.value("select cardinality(sent_at) from chimeway.send_budgets") == 2
        ends = "select count(*) from chimeway.deliveries where suppression_reason = 'cap'"
        async with Engine.connect(database_url, templates=TEMPLATES) as engine:
            await engine.progress_due_runs()
        assert await rows.value(ends) == 5
        await assert_invariants(database_url, rows)


async def test_a_delayed_message_goes_when_a_place_is_free(database_url: str) -> None:
    """On a running node, from the wheel: one each half second, the oldest first, and none too soon."""
    push = Provider()
    async with running_machine(database_url, push, definitions=(ONE,)) as on:
        await on.rows.value(IDENTIFY, "ada", cap(1, "PT0.4S", "delay"))
        for _ in range(4):
            await on.start(workflow="push")
        await on.rows.until_none_live()
        began = [row["started_at"] for row in await on.rows.all(
            "select started_at from chimeway.delivery_attempts order by started_at")]  # fmt: skip
        assert len(began) == 4
        gaps = [later - former for former, later in pairwise(began)]
        assert min(gaps) >= timedelta(seconds=0.4)
        await assert_invariants(database_url, on.rows)


async def test_what_is_deferred_survives_its_node(database_url: str, database: Database) -> None:
    """A node dies while a message is deferred; the next one sends it when it is time."""
    push = Provider()
    async with rows_of(database_url) as rows:
        await rows.value(IDENTIFY, "ada", cap(1, "PT4S", "delay"))
        await planned(database_url, rows, database, 2)
        async with running_machine(database_url, push, clean=False) as on:
            await wait_for(lambda: on.rows.value(ONE_DEFERRED), "one is sent and one deferred")
        async with running_machine(database_url, push, clean=False) as on:
            await on.rows.until_none_live()
        assert len(push.messages) == 2
        await assert_invariants(database_url, rows)


@pytest.mark.parametrize("whose", ["nobody's before", "recipient's", "tenant's"])
async def test_a_no_at_the_last_moment_stops_the_message(
    database_url: str, database: Database, whose: str
) -> None:
    """Committed when the sender has looked and not yet begun: no attempt, and no provider is called."""
    push = Provider()
    async with rows_of(database_url) as rows, proxy_to(database_url) as proxy:
        if whose == "recipient's":
            await rows.value(IDENTIFY, "ada", '{"channels": {"push": true}}')
        await planned(database_url, rows, database)
        gate = proxy.hold_request("begin_attempts")
        async with running_machine(proxy.url, push) as on:
            await asyncio.wait_for(gate.reached.wait(), 10)
            if whose == "tenant's":
                await rows.value("select chimeway.configure_tenant('default', $1::text::jsonb)",
                                 f'{{"preferences": {NO}}}')  # fmt: skip
            else:
                await rows.value(IDENTIFY, "ada", NO)
            gate.release()
            await on.rows.until_none_live()
            row = await only(rows)
            assert (row["status"], row["suppression_reason"]) == ("suppressed", "preference")
        assert push.messages == []
        assert await rows.all("select from chimeway.delivery_attempts") == []
        await assert_invariants(database_url, rows)


async def test_a_no_between_judging_and_writing_the_decision(database_url: str, database: Database) -> None:
    """A decision that was judged by preferences that are no longer so is made again."""
    push = Provider()
    async with rows_of(database_url) as rows, proxy_to(database_url) as proxy:
        await install(database, ONE)
        gate = proxy.hold_request("commit_decisions")
        async with running_machine(proxy.url, push) as on:
            await on.start(workflow="push")
            await asyncio.wait_for(gate.reached.wait(), 10)
            await rows.value(IDENTIFY, "ada", NO)
            gate.release()
            await on.rows.until_none_live()
            stages = await rows.all("select stage, verdict from chimeway.delivery_verdicts")
            assert [tuple(row.values()) for row in stages] == [("planned", "suppress")]
        assert push.messages == []


async def test_who_is_changing_his_preferences_is_waited_for(database_url: str, database: Database) -> None:
    """Nothing is deferred by rules that somebody is just changing: it would miss being woken."""
    push, night = Provider(), quiet_now()
    async with rows_of(database_url) as rows, rows_of(database_url) as other, AsyncExitStack() as stack:
        (delivery,) = await planned(database_url, rows, database)
        await rows.value(IDENTIFY, "ada", night)
        each, load = await sender(stack, database_url, push)
        await other.all("begin")
        await other.value(IDENTIFY, "ada", '{"quiet_hours": null}')
        sending = await load(delivery)
        again_s = await each.send(sending, load)
        assert isinstance(again_s, float)
        assert again_s < 1  # in a moment, and not as after a fault
        assert (await only(rows))["status"] == "pending"
        await other.all("commit")
        await send_until_settled(each, load, delivery)
        assert len(push.messages) == 1


async def test_nor_is_a_message_born_deferred_by_what_is_being_changed(
    database_url: str, database: Database
) -> None:
    """Else it would wait for the end of hours that he has just taken away."""
    await install(database, ONE)
    async with rows_of(database_url) as rows, rows_of(database_url) as other:
        await rows.value(IDENTIFY, "ada", quiet_now())
        (entry,) = await entries(rows, database, "push")
        await other.all("begin")
        await other.value(IDENTIFY, "ada", '{"quiet_hours": null}')
        assert await commit_decisions(database, None, [entry]) == ["busy"]
        await other.all("commit")
        assert await commit_decisions(database, None, [entry]) == ["stale"]
        await rows.value(IDENTIFY, "ada", quiet_now())
        (entry,) = await entries(rows, database, "push")
        assert await commit_decisions(database, None, [entry]) == ["applied"]
        assert (await only(rows))["status"] == "deferred"


async def test_a_retry_after_a_death_is_not_counted_again(database_url: str, database: Database) -> None:
    """An attempt whose sender died has taken its place; what is tried again takes no second one."""
    push = Provider()
    async with rows_of(database_url) as rows, AsyncExitStack() as stack:
        await rows.value(IDENTIFY, "ada", cap(2, "PT24H", "drop"))
        first, second = await planned(database_url, rows, database, 2)
        each, load = await sender(stack, database_url, push)
        assert await each.send(await load(first), load) is not None  # never recorded
        async with running_machine(database_url, push, clean=False) as on:
            await on.rows.until_none_live()
        ends = {row["id"]: (row["status"], row["attempt_count"]) for row in await rows.all(
            "select * from chimeway.deliveries")}  # fmt: skip
        assert ends == {first: ("succeeded", 2), second: ("succeeded", 1)}
        assert await rows.value("select cardinality(sent_at) from chimeway.send_budgets") == 2
        await assert_invariants(database_url, rows)
