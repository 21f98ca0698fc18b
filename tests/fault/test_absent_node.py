"""A node that is away for longer than its lease, and comes back: stopped by a signal, or cut off from the
database.

It is caught at the worst moments there are: in the middle of calls to its provider, and with attempts that
the database has committed and not yet answered. Its provider and the other node's are two, so that each
call is known by who made it.
"""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import pytest

from kit.daemon import Daemon, running_daemon
from kit.home import email, home, in_app, wait, workflow
from kit.invariants import assert_invariants
from kit.network import Line, line_to, place_of
from kit.proxy import Proxy, proxy_to
from kit.rows import Rows, rows_of
from kit.smtp import Sink, smtp_sink
from kit.waiting import Gate, wait_for

MAIL = workflow(email(), key="mail")
GUIDE = workflow(in_app(), wait(duration="PT1S"), email(), key="guide")
START = """
select chimeway.identify('default', id, jsonb_build_object('email', id || '@example.org')),
       chimeway.trigger($1, recipient_id => id)
  from (select $2 || '_' || n as id from generate_series(1, $3::int) n) u"""
BEGUN = "select node from chimeway.delivery_attempts where delivery_id = any($1::uuid[])"
UNANSWERED = """
select a.delivery_id::text as id from chimeway.delivery_attempts a
  left join chimeway.delivery_attempt_results x using (delivery_id, attempt_no, shard)
 where a.node = $1 and x.outcome is null"""
SENT = """
select d.id::text as id, d.attempt_count, d.status, a.unknown
  from chimeway.deliveries d
  left join lateral (select count(*) filter (where x.outcome = 'unknown') as unknown
                       from chimeway.delivery_attempt_results x where x.delivery_id = d.id) a on true
 where d.channel = 'email'"""
LATE = "select d.id::text as id from chimeway.deliveries d where d.recipient_id like 'late%'"
TTL_S = 2
EACH = 24


@dataclass
class World:
    """Two nodes, each with a provider of its own; the first behind a proxy and a line that can be cut."""

    rows: Rows
    proxy: Proxy
    line: Line
    first: Daemon
    sink: Sink
    second: Daemon
    other: Sink

    async def both_there(self) -> None:
        """Wait until the second node works, too, or stands by."""
        there = ("daemon.ready", "lease.standby")
        await wait_for(lambda: any(self.second.seen(event) for event in there), "the second node is there")

    async def start(self, key: str, whose: str) -> None:
        """Start some journeys."""
        await self.rows.all(START, key, whose, EACH)

    async def ended(self, *whose: str) -> None:
        """Wait for the end of somebody's journeys."""
        sql = """select count(*) from chimeway.workflow_runs
                  where ended_at is null and split_part(recipient_id, '_', 1) = any($1::text[])"""

        async def none_left() -> bool:
            return not await self.rows.value(sql, list(whose))

        await wait_for(none_left, f"the journeys of {whose} end", every_s=0.05)

    async def owner(self) -> UUID:
        """Return by which name the first node writes its attempts."""
        mine = [UUID(mail.delivery_id) for mail in self.sink.mails]
        (found,) = {row["node"] for row in await self.rows.all(BEGUN, mine)}
        return UUID(str(found))

    def leave(self, how: str) -> None:
        """Take the first node away."""
        if how == "stopped":
            self.first.freeze()
        else:
            self.line.black_hole()

    def come_back(self, how: str) -> None:
        """Let it go on, or through."""
        if how == "stopped":
            self.first.thaw()
        else:
            self.line.heal()


@asynccontextmanager
async def _world(url: str, folder: Path) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        line = await enter(line_to(place_of(url)))
        proxy = await enter(proxy_to(line.url(url)))
        sink, other = await enter(smtp_sink()), await enter(smtp_sink())
        made, ttl = home(folder, MAIL, GUIDE), f"PT{TTL_S}S"
        first = await enter(running_daemon(proxy.url, made, name="first", SMTP_URL=sink.url, LEASE_TTL=ttl))
        second = await enter(
            running_daemon(url, made, name="second", ready=False, SMTP_URL=other.url, LEASE_TTL=ttl)
        )
        yield World(await enter(rows_of(url)), proxy, line, first, sink, second, other)


async def _caught(world: World) -> tuple[list[Gate], Gate]:
    """Have the first node in the middle of calls, and with attempts that nobody has answered."""
    calls = [world.sink.hold() for _ in range(3)]
    await world.start("mail", "called")
    for gate in calls:
        await wait_for(gate.reached.is_set, "its provider is being called")
    begun = world.proxy.hold_reply("begin_attempts")
    await world.start("guide", "waiting")
    await world.start("mail", "begun")
    await wait_for(begun.reached.is_set, "attempts are committed, and not answered")
    return calls, begun


@pytest.mark.big
@pytest.mark.parametrize("how", ["stopped", "cut off"])
async def test_who_was_away_does_nothing_wrong(how: str, database_url: str, tmp_path: Path) -> None:
    """No row of his counts, no call but of attempts committed before; those are unknown, and made again."""
    async with _world(database_url, tmp_path) as world:
        await world.both_there()
        await world.start("mail", "early")
        await world.ended("early")
        owner = await world.owner()
        calls, begun = await _caught(world)
        world.leave(how)
        before = {row["id"] for row in await world.rows.all(UNANSWERED, owner)}
        known = len(world.sink.mails)
        for gate in calls:
            gate.release()
        await world.ended("called", "waiting", "begun")
        begun.release()
        world.come_back(how)
        await world.first.event("lease.lost")
        await world.start("mail", "late")
        await world.ended("late")
        assert await world.first.stopped() == 0
        assert await world.second.stopped() == 0
        late = {row["id"] for row in await world.rows.all(LATE)}
        called = {mail.delivery_id for mail in world.sink.mails[known:]} - late
        assert called <= before, "it called somebody of whom it had committed no attempt"
        await _all_right(world, before | late)
        await assert_invariants(database_url, world.rows)


async def _all_right(world: World, doubtful: set[str]) -> None:
    """Each mail is one to its receiver, and twice on the wire only where an attempt is unknown.

    Those that were under way are `doubtful`, and such as were sent while the nodes changed places again.
    """
    sent = await world.rows.all(SENT)
    arrived = Counter(mail.delivery_id for mail in world.sink.mails + world.other.mails)
    assert len(sent) == 5 * EACH
    for delivery in sent:
        assert delivery["status"] == "succeeded"
        assert 1 <= arrived[delivery["id"]] <= delivery["attempt_count"], delivery
        assert delivery["attempt_count"] == delivery["unknown"] + 1, delivery
    unknown = {row["id"] for row in sent if row["unknown"]}
    assert unknown, "it was caught in the middle"
    assert unknown <= doubtful, "only what was under way is unknown"
