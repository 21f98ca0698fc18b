"""Why a guard must not sit in the statement that takes the lock it relies on.

READ COMMITTED takes a snapshot for each statement, when the statement begins. One that waits for a row
lock goes on, once it has the lock, with the snapshot from before it waited: it does not see what was
committed meanwhile. So the ledger locks in one statement and looks in a later one.

Shown twice: on two bare tables, and by our own ledger, as it is and rewritten in the wrong ways. The same on
paper, in every order of the steps: GUARD_IN_LOCK of tests/model/signal_against_timer.pml.
"""

import asyncio
from typing import Final

import pytest

from chimeway.store.pool import Connection, Database
from kit.rows import Rows, rows_of
from kit.waiting import wait_for
from store.door import Door, opened

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


LATER = {
    "key": "escalation",
    "version": 1,
    "steps": [
        {"id": "push", "action": {"type": "notify", "channel": "push", "render_key": "mention"},
         "progress": [{"kind": "wait_until", "anchor": "prior_delivery_terminal_at", "delay": "PT2H",
                       "to_step": "email",
                       "cancel_signals": [{"type": "signal_received", "signal_type": "read"}]}]},
        {"id": "email", "action": {"type": "notify", "channel": "email", "render_key": "mention"}},
    ],
}  # fmt: skip
"""A run that waits has a message here: a lock beside its own, for which the ledger would wait."""
_ROUTES: Final = "    v_mail := chimeway.find_mail(v_locked, m_run <> '{}');\n"
_LOCKS: Final = """        perform 1 from (
            select d.id from chimeway.deliveries d
             where d.id = any(p_delivery) and d.run_id = any(v_locked) order by d.id for no key update) l;
"""
_IN_ONE: Final = """        v_mail := chimeway.find_mail('{}', false);
        select coalesce(array_agg(l.run_id), '{}') into v_locked from (
            select d.run_id from chimeway.deliveries d
             where d.id = any(p_delivery) and d.run_id = any(v_locked) and not exists (
                select from chimeway.signals s
                 where s.routed_at is null and s.tenant_id = d.tenant_id and s.actor_id = d.recipient_id)
             order by d.id for update of d) l;
"""
_WAITS_HERE: Final = """select exists (select from pg_stat_activity
    where datname = current_database() and wait_event_type = 'Lock')"""
FORMS = {
    "as it is": (),
    "guard in the locking statement": ((_LOCKS, _IN_ONE), (_ROUTES, "")),
    "guard before the lock": ((_ROUTES, ""), (_LOCKS, _ROUTES + _LOCKS)),
}
"""Our ledger, and what is written otherwise in it: text, and what stands in its place."""


async def _rewrite(world: Door, form: str) -> None:
    """Replace the ledger of this database by another form of itself."""
    text: str = await world.sql(
        """select pg_get_functiondef(p.oid) from pg_proc p
            where p.pronamespace = 'chimeway'::regnamespace and p.proname = 'commit_decisions'
            order by p.pronargs desc limit 1"""
    )
    for ours, other in FORMS[form]:
        assert text.count(ours) == 1, ours
        text = text.replace(ours, other)
    async with world.database.acquire() as connection:
        await connection.execute(text)


@pytest.mark.parametrize(("form", "answer"), list(zip(FORMS, ["stale", "applied", "applied"], strict=True)))
async def test_our_ledger_sees_what_was_committed_while_it_waited(
    clock_database: Database, form: str, answer: str
) -> None:
    """Written with its guard in a locking statement, or before it, the ledger overlooks the signal."""
    world = await opened(clock_database, LATER)
    await world.start("ada")
    await world.attempt("ada", "succeeded")
    await world.progress("ada")
    await world.pass_time(2)
    elapse = await world.entry("ada")
    assert elapse.decision.elapsed
    await _rewrite(world, form)
    async with rows_of(clock_database.url) as rows, rows_of(clock_database.url) as holder:
        transaction = holder.connection.transaction()
        await transaction.start()
        await holder.all("select id from chimeway.deliveries for update")  # nothing of ours does just this
        committing = asyncio.ensure_future(world.commit(elapse))
        await wait_for(lambda: rows.value(_WAITS_HERE), "the ledger waits for the message's lock")
        await world.say("ada", "read")
        await transaction.commit()
        assert await committing == [answer]
    elapsed = (await world.row("ada"))["step"] == "email"
    assert elapsed == (answer == "applied")
    if not elapsed:
        await world.progress("ada")
        assert (await world.row("ada"))["state"] == "stopped"
