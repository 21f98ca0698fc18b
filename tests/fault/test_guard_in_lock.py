"""Why a guard must not sit in the statement that takes the lock it relies on.

READ COMMITTED takes a snapshot for each statement, when the statement begins. One that waits for a row
lock goes on, once it has the lock, with the snapshot from before it waited: it does not see what was
committed meanwhile. So the ledger locks in one statement and looks in a later one.
"""

import asyncio

import pytest

from chimeway.store.pool import Connection
from kit.rows import Rows, rows_of
from kit.waiting import wait_for

TABLES = """
create table run (id int primary key, state text not null, touched int not null default 0);
create table said (run_id int not null);
insert into run (id, state) values (1, 'waiting');
create function elapse_in_one() returns boolean language plpgsql as $$
begin
    update run set state = 'elapsed'
     where id = 1 and state = 'waiting' and not exists (select from said where run_id = 1);
    return found;
end $$;
create function elapse_in_a_cte() returns boolean language plpgsql as $$
begin
    with locked as (select id from run where id = 1 and state = 'waiting' for update)
    update run set state = 'elapsed' from locked
     where run.id = locked.id and not exists (select from said where run_id = 1);
    return found;
end $$;
create function elapse_in_two() returns boolean language plpgsql as $$
begin
    perform from run where id = 1 and state = 'waiting' for update;
    update run set state = 'elapsed'
     where id = 1 and state = 'waiting' and not exists (select from said where run_id = 1);
    return found;
end $$;
"""
WAITS = "select exists (select from pg_stat_activity where pid = $1 and wait_event_type = 'Lock')"


async def _elapse_against_a_signal(rows: Rows, holder: Rows, timer: Connection, function: str) -> bool:
    """Let a timer wait for a lock while a signal is committed; return whether it elapsed the run."""
    pid = await timer.fetchval("select pg_backend_pid()")
    transaction = holder.connection.transaction()
    await transaction.start()
    await holder.value("select id from run where id = 1 for update")
    elapsing = asyncio.ensure_future(timer.fetchval(f"select {function}()"))
    await wait_for(lambda: rows.value(WAITS, pid), "the timer waits for the lock")
    await rows.all("insert into said values (1)")  # committed: any new statement sees it
    await transaction.commit()
    return bool(await elapsing)


@pytest.mark.parametrize(
    ("function", "elapses"),
    [("elapse_in_one", True), ("elapse_in_a_cte", True), ("elapse_in_two", False)],
)
async def test_a_guard_sees_what_was_committed_while_it_waited(
    database_url: str, function: str, elapses: bool
) -> None:
    """In one statement with the lock the guard misses the signal; in a later statement it sees it."""
    async with rows_of(database_url) as rows, rows_of(database_url) as holder, rows_of(database_url) as timer:
        await rows.connection.execute(TABLES)
        assert await _elapse_against_a_signal(rows, holder, timer.connection, function) == elapses
        assert await rows.value("select state from run") == ("elapsed" if elapses else "waiting")
        assert await rows.value("select count(*) from said") == 1
