"""Plans as they were carried out: PostgreSQL's auto_explain tells of each statement, nested ones included.

And the calls that nodes, producers and people who look make all day, each often enough that the plans which
PL/pgSQL keeps (generic, from the sixth call on) are among them.
"""

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, TypeAlias
from uuid import UUID, uuid4

import asyncpg

from chimeway.clock import SystemClock
from chimeway.delivery.judging import beginning, held_back, judged
from chimeway.limits import TURN_TENANTS
from chimeway.progression.policy import Verdict
from chimeway.store import backlog, deliveries, mailbox, runs, vitals
from chimeway.store.catalogue import Catalogue
from chimeway.store.due import Pages
from chimeway.store.ids import SHARDS, every_shard, shard_of_id
from chimeway.store.pool import Database, connect
from chimeway.store.turns import Turns
from store.door import Door

BIG = (
    "events", "workflow_runs", "workflow_transitions", "deliveries", "delivery_attempts",
    "delivery_attempt_results", "signals", "run_mailbox", "recipients", "inbox_items",
    "send_budgets", "delivery_verdicts", "tenants",
)  # fmt: skip
MOST = 5_100
"""Rows that one node of a plan may read: 4,096 due runs are a page, 50 tenants' 100 are a turn."""
_READ = re.compile(r"(?:Rows Removed by \w+(?: \w+)*: |actual rows=)(\d+)")
OURS = "/* the test's own */"
SOME = frozenset(range(10, 95))
"""The shards of one of three nodes."""
CALLS = 7
"""More than the five after which PostgreSQL may settle on a generic plan."""
EXPLAIN = """
load 'auto_explain';
set auto_explain.log_min_duration = 0;
set auto_explain.log_nested_statements = on;
set auto_explain.log_analyze = on;
set auto_explain.log_buffers = on;
set auto_explain.log_timing = off;
set client_min_messages = log;
"""


class Plans:
    """What the server told of the statements that it executed."""

    def __init__(self) -> None:
        """Begin with none."""
        self.texts: list[str] = []

    def hear(self, _: object, message: "asyncpg.PostgresLogMessage") -> None:
        """Take a message of the server's."""
        text = str(message)
        if "plan:" in text:
            self.texts.append(text)

    def costly(self, most: int = MOST, big: Sequence[str] = BIG) -> list[str]:
        """Return the statements that went through a big table: by a scan, or by an index to no purpose."""
        return [
            text
            for text in self.texts
            if OURS not in text
            and (
                re.search(rf"Seq Scan on (\w+\.)?({'|'.join(big)})\b", text)
                or any(int(rows) > most for rows in _READ.findall(text))
            )
        ]


_PAGES = re.compile(r"Buffers: shared(?: hit=(\d+))?(?: read=(\d+))?")


def pages_read(plans: Plans, but: str = "\0") -> int:
    """Return the most pages that one of the statements read, those aside in which `but` stands."""
    return max(
        sum(int(many or 0) for many in found.groups())
        for text in plans.texts
        if OURS not in text and but not in text and (found := _PAGES.search(text))
    )


class OneConnection:
    """A pool of one connection that keeps its settings and its listener."""

    def __init__(self, connection: "asyncpg.Connection[Any]") -> None:
        """Take it."""
        self._connection = connection

    async def acquire(self) -> "asyncpg.Connection[Any]":
        """Lend it."""
        return self._connection

    async def release(self, connection: "asyncpg.Connection[Any]", *, timeout: float) -> None:  # noqa: ASYNC109
        """Have it back."""


@asynccontextmanager
async def explained(url: str) -> AsyncIterator[tuple[Door, Plans]]:
    """Stand at a door behind which each plan is told."""
    plans, connection = Plans(), await connect(url, "plans")
    try:
        await connection.execute(EXPLAIN)
        connection.add_log_listener(plans.hear)
        yield Door(Database(url, OneConnection(connection))), plans  # type: ignore[arg-type]
    finally:
        await connection.close()


Call: TypeAlias = Callable[[Door], Awaitable[Any]]
NOW = SystemClock().now


async def _some_runs(world: Door) -> list[UUID]:
    rows = await world.all(
        "/* the test's own */ select id from chimeway.workflow_runs where state = 'waiting' limit 50"
    )
    return [row["id"] for row in rows]


async def _load(world: Door) -> None:
    assert await runs.load_runs(world.database, Catalogue(world.database), await _some_runs(world))


async def _due(world: Door) -> None:
    for kind in ("run", "delivery"):
        assert await Pages(world.database, kind, every_shard, 16, SystemClock()).next(
            NOW() + timedelta(minutes=5)
        )


async def _backlog(world: Door) -> None:
    found = await backlog.measure(world.database, range(256), NOW() + timedelta(days=1))
    assert 0 < found.runs <= backlog.counted_to(range(256))


async def _vitals(world: Door) -> None:
    found = await vitals.measure(world.database, range(256), NOW() + timedelta(days=1))
    assert found.backlog.runs > 0  # (all are stuck in this world, and none is overdue)


async def _in_turn(world: Door) -> None:
    """Whoever has twenty thousand due, in whatever state the statistics are."""
    for kind in ("new run", "run", "delivery"):
        turns = Turns(world.database, kind, tuple)  # type: ignore[arg-type]
        assert len({due.tenant for due in await turns.next(NOW() + timedelta(days=1))}) <= TURN_TENANTS
    await mailbox.SignalsInTurn(world.database).next(())


async def _of_some_shards(world: Door) -> None:
    """The same for a node that has a third of the shards."""
    for kind in ("new run", "run", "delivery"):
        turns = Turns(world.database, kind, tuple, lambda: SOME)  # type: ignore[arg-type]
        assert {shard_of_id(due.id) for due in await turns.next(NOW() + timedelta(days=1))} <= SOME
    await mailbox.SignalsInTurn(world.database, lambda: SOME).next(())
    await mailbox.route(world.database, 0, SOME)
    await runs.unread(world.database, runs.NO_ID, 500, SOME)
    await runs.struck(world.database, 500, SOME)
    for ended in (False, True):
        await deliveries.abandoned(world.database, uuid4(), runs.NO_ID, 10, SOME, ended=ended)


async def _oldest(world: Door) -> None:
    """Once in a take-over; it reads as many in each shard, for all may be in one."""
    for shards in (SHARDS, SOME):
        assert await runs.oldest_due(world.database, NOW() + timedelta(hours=1), 100, shards)


async def _sweep(world: Door) -> None:
    """What the sweeps look for is rare."""
    await runs.unread(world.database, runs.NO_ID, 500)
    await runs.struck(world.database, 500)
    await runs.reclaim_capable(world.database, Catalogue(world.database))
    await deliveries.reclaim_capable(world.database, ["email"])
    assert await deliveries.abandoned(world.database, uuid4(), runs.NO_ID, 10)
    assert not await deliveries.abandoned(world.database, uuid4(), runs.NO_ID, 10, ended=True)


async def _strike(world: Door) -> None:
    ids = await _some_runs(world)
    await runs.strike(world.database, ids)
    await runs.clear_strikes(world.database, ids)
    await runs.mark_incapable(world.database, ids[0], "definition_format")


async def journey(world: Door) -> None:
    """Go from trigger to result by the real functions: each is a few statements deep."""
    people = [f"new_{uuid4()}" for _ in range(2)]
    for person in people:
        await world.trigger(person)
    entries = [await world.entry(person) for person in people]
    assert await world.commit(*entries) == ["applied"] * 2
    for person in people:
        await world.say(person, "skip")
    assert len((await mailbox.route(world.database, 0))[0]) == 2
    entries = [await world.entry(person) for person in people]
    assert await world.commit(*entries) == ["applied"] * 2
    begun = await world.begin(*[await world.beginning(person) for person in people])
    assert [one.answer for one in begun] == ["begun"] * 2
    rows = [
        deliveries.Outcome(await world.delivery(person), world.runs[person], 1, "succeeded", "succeeded")
        for person in people
    ]
    assert [one.answer for one in await deliveries.record_results(world.database, rows)] == ["applied"] * 2
    await world.say(people[0], "halt")
    assert await world.commit(await world.entry(people[0])) == ["applied"]


async def _policy(world: Door) -> None:
    """A message is put off, let go when preferences change, and counted when it is sent."""
    person, wishes = f"new_{uuid4()}", '{"preferences": {"caps": %s}}'
    cap = '{"channel": "email", "limit": 9, "per": "P1D", "then": "delay"}'
    await world.sql("select chimeway.identify('default', $1, $2::text::jsonb)::text", person, wishes % cap)
    await world.trigger(person)
    assert await world.commit(await world.entry(person)) == ["applied"]
    await world.say(person, "skip")
    await mailbox.route(world.database, 0)
    assert await world.commit(await world.entry(person)) == ["applied"]
    delivery = await world.delivery(person)

    async def looked() -> tuple[deliveries.Sendable, runs.Loaded]:
        (run,) = await runs.load_runs(world.database, Catalogue(world.database), [world.runs[person]])
        assert run is not None
        return (await deliveries.load_sendables(world.database, [delivery]))[delivery], run

    later = Verdict("defer", "cap", NOW() + timedelta(hours=1), {"caps": []}, counts=True, silent=False)
    (held,) = await deliveries.record_verdicts(world.database, None, [held_back(*await looked(), later)])
    assert held.answer == "applied"
    await world.sql("select chimeway.identify('default', $1, $2::text::jsonb)::text", person, wishes % "[]")
    await world.sql("select chimeway.identify('default', $1, $2::text::jsonb)::text", person, wishes % cap)
    row, run = await looked()
    verdict = judged(row, run, NOW())
    assert await deliveries.put_off_until(world.database, delivery)
    (begun,) = await world.begin(beginning(row, run, verdict, "email", "a@b.org", {}))
    assert begun.answer == "begun"


async def _hold(world: Door) -> None:
    await runs.hold(world.database, (await _some_runs(world))[0], "held_by_request")


async def cancel(world: Door) -> None:
    key = await world.sql("select 'key_' || nextval('chimeway.arrival')::int % 1000")
    assert await world.all("select outcome from chimeway.cancel(cancellation_key => $1)", key)


async def _pages(world: Door) -> None:
    for tenant in ("default", "another"):
        for after in (None, str(UUID(int=2**127))):
            await world.database.fetch("list_runs", tenant, None, None, after, "50")
        for person in ("user_777", "nobody"):
            await world.database.fetch("list_runs_of_recipient", tenant, None, None, person, None, "50")
        for place in ((None, None), ("9999-12-31Z", str(UUID(int=7)))):
            await world.database.fetch("waiting_runs", tenant, *place, "50")
        await world.database.fetch("failed_deliveries", tenant, None, 50, None, None)
        await world.database.fetch("list_recipients", tenant, None, "50")
        await world.database.fetch("list_recipients", tenant, "user_777", "50")


async def _identify(world: Door) -> None:
    """Somebody known, with all there is; somebody new; nothing new."""
    known = await world.sql("select 'user_' || nextval('chimeway.arrival')::int % 1000")
    profile = (
        '{"email": "a@b", "timezone": "Asia/Tokyo", "preferences": {"channels": {"sms": false}}, "data": {}}'
    )
    for person in (known, f"new_{uuid4()}", known):
        await world.sql("select chimeway.identify('default', $1, $2::text::jsonb)::text", person, profile)
    assert await world.database.fetch("recipient_row", "default", known)


CALLS_OF: tuple[Call, ...] = (
    _load, _due, _backlog, _vitals, _in_turn, _of_some_shards, _oldest, _sweep, _strike, journey, _policy,
    _hold, _pages, _identify,
)  # fmt: skip


async def affordable(world: Door, plans: Plans, call: Call, big: Sequence[str] = BIG) -> None:
    plans.texts.clear()
    for _ in range(CALLS):
        await call(world)
    assert len(plans.texts) >= CALLS, "auto_explain is silent"
    costly = plans.costly(big=big)
    assert not costly, costly[0]
