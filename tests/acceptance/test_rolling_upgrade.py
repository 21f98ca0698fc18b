"""Nodes of two versions on one database, and a migration while they work: journeys go on as if nothing was.

The older program is the real one, out of the history (`kit.old_program`). In turn: it works alone on its own
schema; the schema is migrated under it; a new node joins; the old one leaves; an old one comes back, as when
an upgrade is taken back; the new one is killed; a new one joins at last, and the old one leaves.
Producers trigger and signal all the while, each thing twice, as who had no answer would.
"""

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from chimeway.store import schema
from chimeway.store.pool import Connection, connect
from kit.bare import bare_database, schema_of
from kit.daemon import COMMAND, Daemon, running_daemon
from kit.home import Home, email, home, in_app, wait, workflow
from kit.invariants import assert_invariants, assert_mails_fit
from kit.old_program import old_program, program_of
from kit.old_program import schema_of as schema_in_history
from kit.rows import Rows, rows_of
from kit.smtp import Sink, smtp_sink
from kit.waiting import wait_for

OLD = schema.VERSION - 1
LOCKED_S = 5.0
"""No call of a producer takes as long: a migration gives up within a second a lock that it does not get."""
GUIDE = workflow(in_app(), wait(duration="PT2S"), email())
IDENTIFY = "select chimeway.identify('default', $1, jsonb_build_object('email', $1 || '@example.org'))"
TRIGGER = """select chimeway.trigger('mention_escalation', tenant_id => 'default', recipient_id => $1,
    idempotency_key => 'key-' || $1)"""
READ = """select chimeway.signal('notification_read', tenant_id => 'default', actor_id => $1,
    dedupe_key => 'read-' || $1)"""
ENDS = """
select r.recipient_id, r.state, count(d.id) filter (where d.status = 'succeeded') as sent
  from chimeway.workflow_runs r
  left join chimeway.deliveries d on d.run_id = r.id and d.channel = 'email'
 group by r.id, r.recipient_id, r.state"""


@dataclass
class Producers:
    """Who triggers, and says that the odd ones have read; whom they have triggered so far."""

    url: str
    people: list[str] = field(default_factory=list)
    ended: bool = False
    longest_s: float = 0.0
    """How long a call took, at the most: what a migration, or a node that comes, made somebody wait."""

    async def _call(self, connection: Connection, sql: str, person: str) -> object:
        begun = time.monotonic()
        answer = await connection.fetchval(sql, person)
        self.longest_s = max(self.longest_s, time.monotonic() - begun)
        return answer

    async def produce(self) -> None:
        """Trigger one journey after the other until the end; each call is made twice."""
        connection = await connect(self.url, "producer")
        try:
            while not self.ended:
                person = f"user_{len(self.people)}"
                await self._call(connection, IDENTIFY, person)
                first, again = [await self._call(connection, TRIGGER, person) for _ in range(2)]
                assert first == again
                if len(self.people) % 2:
                    for _ in range(2):
                        await self._call(connection, READ, person)
                self.people.append(person)
                await asyncio.sleep(0.005)
        finally:
            await connection.close()

    async def go_on(self, rows: Rows, many: int = 10) -> None:
        """Wait until so many more have been triggered, and one of them has ended: somebody works."""
        at = len(self.people)
        await wait_for(lambda: len(self.people) >= at + many, "producers go on")
        newest = self.people[(at + many) // 2 * 2 - 1]  # an odd one
        sql = "select 1 from chimeway.workflow_runs where recipient_id = $1 and state = 'stopped'"
        await wait_for(lambda: rows.value(sql, newest), "a journey that began now has been played")


@asynccontextmanager
async def producing(url: str) -> AsyncIterator[Producers]:
    """Produce while the block lasts; no call may fail."""
    producers = Producers(url)
    working = asyncio.ensure_future(producers.produce())
    try:
        yield producers
        producers.ended = True
        await working
    finally:
        working.cancel()


@dataclass(frozen=True)
class World:
    """What all nodes share."""

    url: str
    home: Home
    sink: Sink
    stack: AsyncExitStack

    async def node(self, name: str, command: tuple[str, ...]) -> Daemon:
        """Start a node; it works, or stands by."""
        running = running_daemon(
            self.url, self.home, name=name, ready=False, command=command, SMTP_URL=self.sink.url
        )
        daemon = await self.stack.enter_async_context(running)
        await wait_for(
            lambda: daemon.seen("daemon.ready") or daemon.seen("lease.standby"), f"{name} is there"
        )
        return daemon


async def _ended_right(rows: Rows, sink: Sink, people: list[str]) -> None:
    """Each journey once; who has read got no mail, everybody else one."""
    found = await rows.all(ENDS)
    ends = {row["recipient_id"]: (row["state"], row["sent"]) for row in found}
    assert len(ends) == len(found) == len(people)
    for number, person in enumerate(people):
        assert ends[person] == (("stopped", 0) if number % 2 else ("completed", 1)), person
    assert {mail.to.partition("@")[0] for mail in sink.mails} == set(people[::2])
    assert len(sink.deliveries()) == len(people[::2])


@pytest.mark.big
async def test_nodes_of_two_versions_share_a_database(server_url: str, tmp_path: Path) -> None:
    """Through migration, joining, leaving, death and a way back, no journey is lost, doubled or wrong."""
    unpacked = tmp_path / "old"
    old, new = tuple(old_program(OLD, unpacked) or COMMAND), tuple(COMMAND)
    print(f"\nthe older program: {program_of(old)}")
    async with bare_database(server_url, version=OLD) as url, AsyncExitStack() as stack:
        sink = await stack.enter_async_context(smtp_sink())
        rows = await stack.enter_async_context(rows_of(url))
        world = World(url, home(tmp_path, GUIDE), sink, stack)
        first = await world.node("old-1", old)
        async with producing(url) as producers:
            await producers.go_on(rows)
            producers.longest_s = 0.0
            begun = time.monotonic()
            migrated = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "chimeway", "db", "migrate", "--database-url", url
            )
            assert await migrated.wait() == 0
            took_s = time.monotonic() - begun
            await producers.go_on(rows)
            print(f"migrated in {took_s:.1f} s; a call took {producers.longest_s:.2f} s at most")
            assert producers.longest_s < LOCKED_S
            second = await world.node("new-1", new)
            await producers.go_on(rows)
            assert await first.stopped() == 0
            await producers.go_on(rows)
            back = await world.node("old-2", old)
            await producers.go_on(rows)
            second.kill()
            await producers.go_on(rows)
            last = await world.node("new-2", new)
            assert await back.stopped() == 0
            await producers.go_on(rows)
            print(f"a call took {producers.longest_s:.2f} s at most, in the whole")
            assert producers.longest_s < LOCKED_S
        await rows.until_none_live()
        assert await rows.value("select max(version) from chimeway.schema_version") == schema.VERSION
        for node in (first, second, back, last):
            assert not node.seen("daemon.failed")
        assert await last.stopped() == 0
        await _ended_right(rows, sink, producers.people)
        await assert_mails_fit(rows, sink)
        await assert_invariants(url, rows)
        print(f"{len(producers.people)} journeys, {len(sink.mails)} mails")


def test_the_stored_schema_is_that_programs() -> None:
    """`schema_4.sql`, on which much is tested, is what the program in the history has."""
    there = schema_in_history(OLD)
    assert there is None or there == schema_of(OLD)
