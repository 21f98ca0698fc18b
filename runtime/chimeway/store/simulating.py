"""A database for simulations, and connections to it on which one statement at a time is under way.

The connections live on an event loop of their own, which runs only while a statement is under way and
stands still otherwise. So whoever drives a simulation calls plain functions here, and knows when one returns
that nothing else has happened. A statement that has to wait for a lock of another session's is said to be
blocked, and stays under way; what lets go of the lock is some later statement.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, suppress
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final, TypeAlias
from uuid import UUID

import asyncpg

from chimeway.store.acting import alone
from chimeway.store.definitions import register_all
from chimeway.store.faults import fault_of, translate
from chimeway.store.leases import Beat, LeaseLine
from chimeway.store.ledger import Fence
from chimeway.store.pool import Connection, Database, connect, open_database
from chimeway.store.queries import SQL
from chimeway.store.verify import Violation, verify
from chimeway.workflow.definition import Definition

Ask: TypeAlias = Callable[[Connection], Coroutine[Any, Any, Any]]
"""What is done on a session."""
_LOOK_S: Final = 0.02
"""How long a statement may take before somebody looks whether it is blocked."""
_SWEEP_EVERY: Final = 200
"""Scenarios between two sweeps of what they left behind in files: dead rows slow down whatever looks."""
_LEASE: Final = timedelta(hours=1)
"""Longer than any scenario, on the real clock: a lease expires when the scenario says so."""
_SESSION: Final = """
set enable_seqscan = off; set plan_cache_mode = force_generic_plan; set synchronous_commit = off
"""
"""As a node's sessions are set; and nobody waits for a disk whose loss no history tells of."""

DEEDS: Final = {
    name: SQL[name]
    for name in (
        "simulation_trigger", "simulation_signal", "simulation_identify", "simulation_cancel",
        "simulation_hold", "simulation_resume", "simulation_resume_all", "simulation_pause",
        "simulation_retry", "simulation_feedback", "simulation_read",
    )
}  # fmt: skip
"""What producers, recipients, operators and providers do."""

FOR_SIMULATION: Final = """
alter table chimeway.workflow_runs set (autovacuum_enabled = off);
alter table chimeway.deliveries set (autovacuum_enabled = off);
create sequence chimeway.simulated_ids;
create or replace function chimeway.new_id(shard smallint) returns uuid
language sql volatile strict as $$
    select (lpad(to_hex((extract(epoch from chimeway.clock()) * 1000)::bigint), 12, '0') || '7'
            || substr(n.hash, 1, 3) || '8' || substr(n.hash, 4, 13) || lpad(to_hex($1::int), 2, '0'))::uuid
      from (select md5(nextval('chimeway.simulated_ids')::text) as hash) n
$$;
create or replace function chimeway.server_started() returns timestamptz
language sql stable as $$ select '-infinity'::timestamptz $$;
create function chimeway.simulation_clean(p_seed bigint, p_at timestamptz) returns void
language plpgsql set session_replication_role = replica as $$
begin
    delete from chimeway.delivery_verdicts;
    delete from chimeway.delivery_feedback;
    delete from chimeway.delivery_attempt_results;
    delete from chimeway.delivery_attempts;
    delete from chimeway.inbox_items;
    delete from chimeway.deliveries;
    delete from chimeway.run_mailbox;
    delete from chimeway.signals;
    delete from chimeway.workflow_transitions;
    delete from chimeway.workflow_runs;
    delete from chimeway.events;
    delete from chimeway.send_budgets;
    delete from chimeway.recipients;
    delete from chimeway.tenants;
    delete from chimeway.nodes;
    delete from chimeway.leases;
    update chimeway.shard_owners set owner = null, clean = true, taken_at = null;
    update chimeway.workflow_definitions set paused_at = null where paused_at is not null;
    update chimeway.test_clock set at = p_at;
    perform setval('chimeway.arrival', 1, false);
    perform setval('chimeway.lease_epoch', 1, false);
    perform setval('chimeway.simulated_ids', p_seed * 1000000 + 1, false);
end $$;
"""
"""Makes a database with a test clock one for simulations: what it draws by chance comes from a seed."""


class Flight:
    """A statement under way: done, or blocked by somebody else's locks."""

    def __init__(self, task: "asyncio.Task[Any]", line: "Line") -> None:
        """Take what runs it, and on which line."""
        self._task = task
        self.line = line

    @property
    def done(self) -> bool:
        """Whether it has an answer."""
        return self._task.done()

    def result(self) -> Any:
        """Return what it returned, or raise what it raised, in our words where they are ours."""
        try:
            return self._task.result()
        except asyncpg.PostgresError as error:
            if fault_of(error) == "refused":
                raise (translate(error) or error) from error
            raise


class Line:
    """One session of the server."""

    def __init__(self, connection: Connection) -> None:
        """Take an open connection."""
        self.connection = connection
        self.pid: int = connection.get_server_pid()


class Lines:
    """The sessions of a simulation."""

    def __init__(self, url: str) -> None:
        """Connect."""
        self._url = url
        self._loop = asyncio.new_event_loop()
        self._free: list[Line] = []
        self._all: list[Line] = []
        self._stack = AsyncExitStack()
        self._cleaned = 0
        self._monitor = self._open()
        self._database: Database = self._loop.run_until_complete(
            self._stack.enter_async_context(open_database(url, size=1, for_node=True))
        )

    def close(self) -> None:
        """Close all sessions."""
        self._loop.run_until_complete(self._stack.aclose())
        for line in self._all:
            line.connection.terminate()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    def prepare(self, definitions: Sequence[Definition], people: Sequence[tuple[str, str]]) -> None:
        """Make the database one for simulations, of these definitions and these people.

        It has no shards but theirs, and these are shared as 256 would be.
        """
        self.alter(FOR_SIMULATION)
        registering = partial(register_all, self._database, definitions)
        self._loop.run_until_complete(alone(self._database, registering))
        tenants, recipients = [tenant for tenant, _ in people], [person for _, person in people]
        left = self._monitor.connection.fetch(SQL["simulation_shards"], tenants, recipients)
        self.alter(self.source("beat/6").replace("256", str(len(self._loop.run_until_complete(left)))))

    def alter(self, sql: str) -> None:
        """Run SQL that changes the schema: a guard taken out, to see whether that is noticed."""
        self._loop.run_until_complete(self._monitor.connection.execute(sql))

    def source(self, function: str) -> str:
        """Return the text of a function of the schema, as `create or replace function` takes it.

        Args:
            function: name and argument count, such as `commit_decisions/62`: there are overloads.
        """
        name, _, count = function.partition("/")
        sql = "select pg_get_functiondef(p.oid) from pg_proc p where p.proname = $1 and p.pronargs = $2"
        return str(self._loop.run_until_complete(self._monitor.connection.fetchval(sql, name, int(count))))

    def lend(self) -> Line:
        """Return a session that nobody uses."""
        return self._free.pop() if self._free else self._open()

    def give_back(self, line: Line) -> None:
        """Take a session back."""
        self._free.append(line)

    def clean(self, seed: int, at: datetime) -> None:
        """Empty the database, whatever the last history left in it."""
        left = [line for line in self._all if line is not self._monitor and line not in self._free]
        for line in left:  # in the middle of something: what it does must end before all is emptied
            self._all.remove(line)
            ended = self._monitor.connection.fetchval(SQL["simulation_end"], line.pid)
            assert self._loop.run_until_complete(ended), f"session {line.pid} does not end"
            line.connection.terminate()
        self._cleaned += 1
        if self._cleaned % _SWEEP_EVERY == 0:
            self.alter("vacuum")
        self._loop.run_until_complete(self._monitor.connection.fetchval(SQL["simulation_clean"], seed, at))

    def filled(self) -> list[str]:
        """Name the tables in which there is something."""
        fetch = self._monitor.connection.fetch
        questions = self._loop.run_until_complete(fetch(SQL["simulation_tables"]))
        asked = fetch(" union all ".join(row["question"] for row in questions))
        return [row["name"] for row in self._loop.run_until_complete(asked)]

    def sight(self) -> str:
        """Return all rows as a text of JSON."""
        return str(self._loop.run_until_complete(self._monitor.connection.fetchval(SQL["simulation_sight"])))

    def verify(self) -> list[Violation]:
        """Ask whether the invariants hold."""
        return self._loop.run_until_complete(verify(self._database))

    def start(self, line: Line, ask: Ask, *, alone: bool = False) -> Flight:
        """Begin something on a session; return when it is done or blocked. `alone`: nobody has any lock."""
        flight = Flight(self._loop.create_task(ask(line.connection)), line)
        if alone:
            with suppress(Exception):  # it is the flight's to tell
                self._loop.run_until_complete(flight._task)  # noqa: SLF001  (of this file)
        else:
            self.watch(flight)
        return flight

    def watch(self, flight: Flight) -> None:
        """Wait until it is done, or blocked."""
        task = flight._task  # noqa: SLF001  (of this file)
        self._loop.run_until_complete(asyncio.wait({task}, timeout=_LOOK_S))
        while not task.done():
            others = [line.pid for line in self._all]
            blocked = self._monitor.connection.fetchval(SQL["simulation_blocked"], flight.line.pid, others)
            if self._loop.run_until_complete(blocked):
                return
            self._loop.run_until_complete(asyncio.wait({task}, timeout=_LOOK_S))

    def _open(self) -> Line:
        connection = self._loop.run_until_complete(connect(self._url, "chimeway-simulation"))
        self._loop.run_until_complete(connection.execute(_SESSION))
        line = Line(connection)
        self._all.append(line)
        return line


async def do_deed(connection: Connection, name: str, args: Sequence[Any], *, begin: bool = False) -> int:
    """Do what somebody does, at once or as the beginning of a transaction; return how many rows answered."""
    if begin:
        await connection.execute("begin")
    return len(await connection.fetch(DEEDS[name], *args))


async def end_deed(connection: Connection, how: str) -> None:
    """End a transaction by `commit` or `rollback`."""
    await connection.execute(how)


async def move(connection: Connection, instant: datetime) -> None:
    """Move the database's clock."""
    await connection.execute(SQL["move_test_clock"], instant)


def line_on(connection: Connection) -> LeaseLine:
    """Return a line of a lease that no session lock shows to be alive."""
    return LeaseLine(connection, may_show=False)


async def begin_lease(connection: Connection, owner: UUID, node: UUID) -> Fence:
    """Begin a lease."""
    return await line_on(connection).begin(owner, node, _LEASE)


async def beat(connection: Connection, fence: Fence) -> Beat | None:
    """Give a sign of life; None: the lease was ended."""
    return await line_on(connection).beat(fence, _LEASE, judges=True, dead=())


async def hand_over(connection: Connection, fence: Fence, shards: frozenset[int], *, leaving: bool) -> int:
    """Give shards to others; return how many went."""
    return await line_on(connection).hand_over(fence, shards, leaving=leaving)


async def end_lease(connection: Connection, fence: Fence) -> None:
    """End a lease."""
    await line_on(connection).end(fence)


async def expire_lease(connection: Connection, fence: Fence) -> None:
    """Have a lease expire; the next beat of another ends it."""
    await connection.execute(SQL["simulation_expire"], fence.owner)
