"""What the rows say: runs, transitions, deliveries, attempts, read on a connection of its own."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from chimeway.store.pool import Connection, connect
from kit.waiting import DEADLINE_S, wait_for

Row = asyncpg.Record
_LIVE = """
select r.id, r.state, r.step, r.wake_at, r.held_reason, r.waiting_for_node, r.mailbox_count, r.mailbox_seen,
       d.status, d.next_attempt_at, d.attempt_count, clock_timestamp() as now
  from chimeway.workflow_runs r left join chimeway.deliveries d on d.run_id = r.id and d.visit = r.visit
 where r.ended_at is null limit 20"""

_PUT_OFF = """
create function public.put_off() returns trigger language plpgsql as $$
begin new.next_attempt_at := chimeway.clock() + interval '1 hour'; return new; end $$;
create trigger put_off before update on chimeway.deliveries for each row
  when (new.status = 'failed' and old.status <> 'failed' and new.failed_count >= {0})
  execute function public.put_off()"""


class Rows:
    """Reads of the tables, and SQL of the test's own."""

    def __init__(self, connection: Connection) -> None:
        """Take an open connection."""
        self.connection = connection

    async def all(self, sql: str, *args: Any) -> list[Row]:
        """Run SQL and return its rows."""
        return list(await self.connection.fetch(sql, *args))

    async def value(self, sql: str, *args: Any) -> Any:
        """Run SQL and return the one value."""
        return await self.connection.fetchval(sql, *args)

    async def run(self, run_id: str | UUID) -> Row:
        """Return a run's row."""
        rows = await self.all("select * from chimeway.workflow_runs where id = $1", UUID(str(run_id)))
        return rows[0]

    async def transitions(self, run_id: str | UUID) -> list[Row]:
        """Return a run's audit, in order."""
        sql = "select * from chimeway.workflow_transitions where run_id = $1 order by seq"
        return await self.all(sql, UUID(str(run_id)))

    async def reasons(self, run_id: str | UUID) -> list[str]:
        """Return the reasons in a run's audit, in order."""
        return [row["reason"] for row in await self.transitions(run_id)]

    async def deliveries(self, run_id: str | UUID, channel: str | None = None) -> list[Row]:
        """Return a run's deliveries (on a channel), in the order of its visits."""
        sql = """select * from chimeway.deliveries
                  where run_id = $1 and ($2::text is null or channel = $2) order by visit"""
        return await self.all(sql, UUID(str(run_id)), channel)

    async def attempts(self, run_id: str | UUID) -> list[Row]:
        """Return a run's provider calls, each with what became of it."""
        sql = """select a.delivery_id, a.attempt_no, a.started_at, x.outcome, x.error_class,
                        x.provider_reference
                   from chimeway.delivery_attempts a
                   left join chimeway.delivery_attempt_results x using (delivery_id, attempt_no, shard)
                  where a.run_id = $1 order by a.started_at, a.attempt_no"""
        return await self.all(sql, UUID(str(run_id)))

    async def until(
        self, run_id: str | UUID, *states: str, step: str | None = None, deadline_s: float = DEADLINE_S
    ) -> Row:
        """Wait until a run is in one of these states (at this step)."""

        async def there() -> Row | None:
            run = await self.run(run_id)
            return run if run["state"] in states and step in {None, run["step"]} else None

        what = f"run {run_id} is {' or '.join(states)}{f' at {step}' if step else ''}"
        return await wait_for(there, what, deadline_s=deadline_s)

    async def until_recorded(self, run_id: str | UUID) -> list[Row]:
        """Wait until every provider call of a run has its result: a run may end before; return the calls."""

        async def recorded() -> list[Row]:
            attempts = await self.attempts(run_id)
            return attempts if all(row["outcome"] for row in attempts) else []

        return await wait_for(recorded, f"every attempt of run {run_id} has its result")

    async def put_retries_off(self, failures: int = 1) -> None:
        """From now on let what has failed so often wait for an hour, until the test says otherwise.

        Waits are drawn from nothing up: one of some milliseconds is over before anybody has looked.
        """
        await self.connection.execute(_PUT_OFF.format(failures))

    async def until_none_live(self, deadline_s: float = DEADLINE_S) -> None:
        """Wait until every run has ended; show those that have not when it takes too long."""
        sql = "select not exists (select from chimeway.workflow_runs where state in ('active','waiting'))"
        try:
            await wait_for(lambda: self.value(sql), "no run is live", deadline_s=deadline_s, every_s=0.05)
        except pytest.fail.Exception:
            for run in await self.all(_LIVE):
                print("live:", dict(run))
            raise


@asynccontextmanager
async def rows_of(url: str) -> AsyncIterator[Rows]:
    """Read a database while the block lasts."""
    connection = await connect(url, "test")
    try:
        yield Rows(connection)
    finally:
        await connection.close()
