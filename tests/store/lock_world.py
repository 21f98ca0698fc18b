"""A world to lock rows in: several of everything, the last ones first on the disk, and all who lock them.

A caller's locks are seen from outside: what nobody else can lock, he has. (Not what he holds for a foreign
key alone, `for key share`: that conflicts with nothing but deleting.)
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias
from uuid import UUID

import asyncpg

from chimeway.store.ledger import Entry, commit_decisions
from chimeway.store.pool import Database
from chimeway.store.queries import SQL
from store.door import Door, opened
from store.plain_sql import plain
from store.plans import OneConnection
from store.shares import STARTED
from store.verify_world import ASLEEP, ESCALATION

ORDER: Final[Mapping[str, str]] = {
    "workflow_definitions": "key, version",
    "inbox_watchers": "id",
    "workflow_runs": "id",
    "deliveries": "id",
    "events": "id",
    "inbox_items": "id",
    "send_budgets": "tenant_id, recipient_id, channel",
    "recipients": "tenant_id, recipient_id",
    "signals": "id",
    "nodes": "id",
    "leases": "owner",
    "order_shards": "",
}
"""The one order: table after table, and within each the order of its rows. At the end the one lock of whoever
gives or takes shards, which is no row.

What a process watches (`inbox_watched`) is not among them: it is changed under its watcher's lock. Nor is who
owns a shard (`shard_owners`): it is changed under that one lock.
"""
TABLES: Final = [table for table in ORDER if table != "order_shards"]
SHARDS_ORDERED: Final = """
select 1 as place from pg_locks k join pg_database d on d.oid = k.database
 where d.datname = current_database() and k.locktype = 'advisory' and k.granted and k.classid = 206420
   and k.objid::bigint = 4294967295 and k.objsubid = 2"""
AS_FOUND: Final = "set enable_indexscan = off; set enable_indexonlyscan = off"
"""Under this a statement takes rows as they lie: by a bitmap, or by a scan."""
Connection: TypeAlias = "asyncpg.Connection[Any]"
Place: TypeAlias = tuple[str, int]
"""A row by its table, and its number in the order of that table."""


@dataclass
class LockWorld:
    """Ids of what there is, by short names, and decisions that wait to be committed."""

    url: str
    ids: dict[str, Any] = field(default_factory=dict)
    entries: list[Entry] = field(default_factory=list)


async def lock_world(database: Database) -> LockWorld:
    """Play three runs of ada's and one of bob's, and put beside them what else can be locked."""
    door = await opened(database)
    made = LockWorld(database.url)
    async with database.acquire() as connection:
        for version in (2, 3):
            await connection.execute(
                "select chimeway.register_workflow($1, $2)", {**ESCALATION, "version": version}, str(version)
            )
        await connection.execute(
            """select chimeway.identify_many('default', '{"ada": {"locale": "en"},
                                                          "bob": {"locale": "en"}}')"""
        )
    await _runs(door, made)
    await _beside(door, made)
    async with plain(database.url) as connection:
        for table in TABLES:
            await turned_around(connection, table, ORDER[table])
    return made


async def _runs(door: Door, made: LockWorld) -> None:
    """Ada and bob by one event, with a message each to be sent; two more of ada's, one with a decision."""
    start = """select * from chimeway.trigger_many('escalation', recipient_ids => $1, idempotency_key => $2,
                    data => '{"document": 7}', cancellation_key => 'k')"""
    for key, people in (("k1", ["ada", "bob"]), ("k2", ["ada"]), ("k3", ["ada"])):
        for row in await door.all(start, people, key):
            door.runs[f"{row['recipient_id']} {key}"] = row["run_id"]
    for name in door.runs:
        await door.progress(name)
    await door.pass_time(2)
    for name in ("ada k1", "bob k1", "ada k2"):
        await door.progress(name)
    await door.say("ada", "skip")
    made.entries = [await door.entry("ada k3")]
    await door.say("bob", "halt")
    made.entries = [await door.entry("bob k1"), *made.entries]
    made.ids = {f"run {name}": run_id for name, run_id in door.runs.items()}
    for name in ("ada k1", "bob k1", "ada k2"):
        made.ids[f"mail {name}"] = await door.delivery(name)
    items = await door.all("select id from chimeway.inbox_items where recipient_id = 'ada' order by id desc")
    made.ids["items"] = [row["id"] for row in items]


async def _beside(door: Door, made: LockWorld) -> None:
    """Messages put off, budgets, signals that nobody heard yet, front ends that watch."""
    async with door.database.acquire() as connection, connection.transaction():
        await connection.execute(ASLEEP)
        await connection.execute(
            """update chimeway.deliveries set status = 'deferred', deferred_reason = 'cap',
                      next_attempt_at = chimeway.clock() + interval '1 h' where id = any($1)""",
            [made.ids["mail ada k2"]],
        )
        for person, channel in (("ada", "email"), ("ada", "push"), ("bob", "email")):
            await connection.execute(
                "select chimeway.lock_budget('default', $1, $2, chimeway.shard_of('default', $1))",
                person, channel,
            )  # fmt: skip
        made.ids["watcher"] = await connection.fetchval("select gen_random_uuid()")
        made.ids["digests"] = [row["digest"] for row in await connection.fetch(
            "select * from chimeway.watch_inboxes($1, '{default,default}', '{ada,bob}')", made.ids["watcher"]
        )]  # fmt: skip
    for signal in ("read", "skip", "read"):
        await door.say("ada", signal, document=8)
    await _nodes(door, made)


async def _nodes(door: Door, made: LockWorld) -> None:
    """Five nodes, of whom only the third was seen of late; it has a lease, and so has a dead one."""
    names = ("long gone", "asleep", "node", "old", "very old")
    made.ids |= {name: str(UUID(int=number)) for number, name in enumerate(names, start=1)}
    async with door.database.acquire() as connection:
        await connection.execute(STARTED.format(60))
        for name in names:
            await connection.execute(
                """insert into chimeway.nodes (id, name, version, asleep, seen_at)
                   values ($1, $2, '0', true, clock_timestamp() - make_interval(hours => $3))""",
                made.ids[name], name, 0 if name == "node" else 2,
            )  # fmt: skip
        for name, hours in (("node", 1), ("old", -1)):
            made.ids[f"epoch of {name}"] = await connection.fetchval(
                "select chimeway.begin_lease($1, $1, make_interval(hours => $2), false)",
                made.ids[name], hours,
            )  # fmt: skip
        await connection.execute(
            """update chimeway.shard_owners
                  set clean = false, owner = case when shard < 9 then $1::uuid else $2::uuid end""",
            made.ids["node"], made.ids["old"],
        )  # fmt: skip


async def turned_around(connection: Connection, table: str, order: str) -> None:
    """Put the rows of a table on the disk anew, the last one first, with new entries in the indexes."""
    backwards = ", ".join(f"{column} desc" for column in order.split(", "))
    rows = await connection.fetch(f"select ctid from chimeway.{table} order by {backwards}")
    async with connection.transaction():
        await connection.execute(ASLEEP)
        for row in rows:
            await connection.execute(
                f"""with gone as (delete from chimeway.{table} where ctid = $1 returning *)
                    insert into chimeway.{table} select * from gone""",
                row["ctid"],
            )


Caller: TypeAlias = Callable[[Connection, LockWorld], Awaitable[object]]


def sql(*statements: str) -> Caller:
    """Return a caller that runs SQL; `<name>` in it is an id of the world."""

    async def call(connection: Connection, world: LockWorld) -> None:
        for statement in statements:
            await connection.fetch(_with_ids(statement, world))

    return call


def _with_ids(statement: str, world: LockWorld) -> str:
    for name, value in world.ids.items():
        listed = (
            "array[" + ", ".join(f"'{one}'" for one in value) + "]"
            if isinstance(value, list)
            else f"'{value}'"
        )
        statement = statement.replace(f"<{name}>", listed)
    return statement


def _stored(name: str, *args: str) -> Caller:
    """Return a caller that runs one of the store's statements with these arguments, in SQL."""
    statement = SQL[name]
    for place in range(len(args), 0, -1):
        statement = statement.replace(f"${place}", args[place - 1])
    return sql(statement)


async def _commit(connection: Connection, world: LockWorld) -> None:
    pool: Any = OneConnection(connection)
    await commit_decisions(Database(world.url, pool), None, world.entries)


_MAILS: Final = "array[<mail bob k1>, <mail ada k1>]::uuid[], array[<run bob k1>, <run ada k1>]::uuid[]"
_RUNS: Final = "array[<run ada k3>, <run bob k1>, <run ada k1>]::uuid[]"
_EVENTS: Final = """jsonb_build_array(
    jsonb_build_object('id', 'x', 'delivery_id', <mail bob k1>::text, 'type', 'bounced'),
    jsonb_build_object('id', 'y', 'delivery_id', <mail ada k1>::text, 'type', 'bounced'))"""
_LEASE: Final = ("<node>", "<epoch of node>::bigint")
_NO_MORE: Final = "'default', 'ada', 'escalation', 'email'"
CALLERS: Final[Mapping[str, Caller]] = {
    "commit_decisions": _commit,
    "begin_attempts": sql(
        f"""select * from chimeway.begin_attempts(null, null, gen_random_uuid(), {_MAILS},
                array[1, 1]::bigint[], array[0, 0], array['a', 'b'], array['{{}}', '{{}}']::jsonb[],
                array['p', 'p'], null::bigint[], null::bigint[], array[0, 0]::bigint[], array[9, 9],
                array[9, 9], null::jsonb[])"""
    ),
    "record_verdicts": sql(
        f"""select * from chimeway.record_verdicts(null, null, {_MAILS}, array[1, 1]::bigint[], array[0, 0],
                array[0, 0]::bigint[], array[0, 0]::bigint[], array['defer', 'defer'], array['cap', 'cap'],
                array[now(), now()], array['{{}}', '{{}}']::jsonb[])"""
    ),
    "record_results": sql(
        f"""select * from chimeway.record_results({_MAILS}, array[null, null]::int[],
                array[null, null]::text[],
                array['configuration', 'configuration'], array['n', 'n'], array[null, null]::text[],
                array['cancelled', 'cancelled'], array['permanent_failure', 'permanent_failure'],
                array[null, null]::timestamptz[], array[true, true])"""
    ),
    "record_feedback": sql(f"select * from chimeway.record_feedback('s', {_EVENTS})"),
    "record_feedback, impatient": sql(f"select * from chimeway.record_feedback('s', {_EVENTS}, null, false)"),
    "route_signals": sql("select * from chimeway.route_signals(100, 100)"),
    "route_signals_in_turn": sql("select * from chimeway.route_signals_in_turn(9, 9, 9, '', '{}')"),
    "cancel, by key": sql("select * from chimeway.cancel(cancellation_key => 'k')"),
    "cancel": sql("select * from chimeway.cancel(<run ada k1>)"),
    "cancel_runs": sql(f"select * from chimeway.cancel_runs({_RUNS})"),
    "wake_runs": sql(f"select * from chimeway.wake_runs({_RUNS})"),
    "retime_runs": sql(f"select * from chimeway.retime_runs({_RUNS}, p_by => '1 h')"),
    "forget_recipient": sql("select * from chimeway.forget_recipient('default', 'ada')"),
    "mark_inbox": sql("select * from chimeway.mark_inbox('default', 'ada', <items>::uuid[], 'read')"),
    "mark_all_inbox": sql("select * from chimeway.mark_all_inbox('default', 'ada', 'read')"),
    "identify": sql("""select chimeway.identify('default', 'ada', '{"timezone": "Asia/Tokyo"}')"""),
    "identify_many": sql(
        """select chimeway.identify_many('default', '{"bob": {"timezone": "Asia/Tokyo"},
                                                      "ada": {"timezone": "Asia/Tokyo"}}')"""
    ),
    "configure_tenant": sql("""select chimeway.configure_tenant('default', '{"locale": "de"}')"""),
    "unsubscribe": sql(f"select chimeway.unsubscribe({_NO_MORE})"),
    "unsubscribe, by a link": sql(f"select chimeway.unsubscribe({_NO_MORE}, <mail ada k1>)"),
    "resubscribe, by a link": sql(f"select chimeway.resubscribe({_NO_MORE}, <mail ada k1>)"),
    "trigger_many": sql(
        """select * from chimeway.trigger_many('escalation', recipient_ids => '{new}',
                                               data => '{"document": 7}')"""
    ),
    "trigger_many, again": sql(
        """select * from chimeway.trigger_many('escalation', recipient_ids => '{ada,bob}',
                                               idempotency_key => 'k1', data => '{"document": 7}')"""
    ),
    "signal": sql("select chimeway.signal('read', actor_id => 'ada')"),
    "hold_run": sql("select chimeway.hold_run(<run ada k1>, 'held_by_request')"),
    "resume_run": sql("select chimeway.resume_run(<run ada k1>)"),
    "retry_delivery": sql("select * from chimeway.retry_delivery(<mail ada k1>)"),
    "pause_workflow": sql("select chimeway.pause_workflow('escalation', true)"),
    "register_workflow": sql(
        "select chimeway.register_workflow(definition || '{\"version\": 4}', 'x') "
        "from chimeway.workflow_definitions where version = 1"
    ),
    "activate": sql(
        *(SQL[name].replace("$1", "'escalation'").replace("$2", "2")
          for name in ("lock_versions", "deactivate_versions", "activate_version"))
    ),
    "strike_runs": _stored("strike_runs", _RUNS),
    "clear_strikes": _stored("clear_strikes", _RUNS),
    "park_runs": _stored("park_runs", _RUNS),
    "unpark_runs": _stored("unpark_runs", "9"),
    "mark_run_incapable": _stored("mark_run_incapable", "<run ada k1>", "'x'"),
    "clear_run_incapable": _stored("clear_run_incapable", _RUNS),
    "postpone_deliveries": _stored(
        "postpone_deliveries", "array[<mail bob k1>, <mail ada k1>]", "array[now(), now()]"
    ),
    "mark_delivery_incapable": _stored("mark_delivery_incapable", "<mail ada k1>", "'x'"),
    "clear_deliveries_incapable": _stored("clear_deliveries_incapable", "array['email']"),
    "watch_inboxes": sql("select * from chimeway.watch_inboxes(<watcher>, '{default,default}', '{bob,ada}')"),
    "unwatch_inboxes": sql("select chimeway.unwatch_inboxes(<watcher>, <digests>)"),
    "unwatch_inboxes, all": sql("select chimeway.unwatch_inboxes(<watcher>)"),
    "begin_lease": _stored("begin_lease", "<node>", "<node>", "'1 h'", "false"),
    "beat": _stored("beat", *_LEASE, "'1 h'", "false", "true", "'{}'"),
    "hand_over": _stored("hand_over", *_LEASE, "'{1,2}'", "false"),
    "hand_over, leaving": _stored("hand_over", *_LEASE, "'{1,2}'", "true"),
    "absolve_shards": _stored("absolve_shards", *_LEASE, "'{1,2}'"),
    "release_lease": _stored("release_lease", *_LEASE),
    "enrol_node": _stored("enrol_node", "<node>", "'node'", "'0'", "'{}'"),
    "set_asleep": _stored("set_asleep", "<node>", "true"),
    "leave_node": _stored("leave_node", "<node>"),
}  # fmt: skip
"""Every verb that locks rows, with arguments in another order than that of the rows."""


async def held(observer: Connection) -> set[Place]:
    """Return which rows somebody has locked, in whatever way that keeps another from writing them."""
    rows = await observer.fetch(SHARDS_ORDERED)
    found: set[Place] = {("order_shards", row["place"]) for row in rows}
    for table in TABLES:
        rows = await observer.fetch(
            f"""select p.place from (select ctid, row_number() over (order by {ORDER[table]}) as place
                                       from chimeway.{table}) p
                 where p.ctid not in (select f.ctid from (
                        select ctid from chimeway.{table} for no key update skip locked) f)"""
        )
        found |= {(table, row["place"]) for row in rows}
    return found


async def lock(holder: Connection, place: Place) -> None:
    """Lock a row as strongly as can be, in the transaction that the holder is in.

    But signals: `for update` has them only who forgets their actor and is done with waiting.
    """
    table, number = place
    if table == "order_shards":
        await holder.execute("select chimeway.order_shards()")
        return
    strength = "no key update" if table == "signals" else "update"
    row = f"select ctid from chimeway.{table} order by {ORDER[table]} offset {number - 1} limit 1"
    # (Not in one: an offset locks what it passes over.)
    locked = await holder.fetch(f"select from chimeway.{table} where ctid = ({row}) for {strength}")
    assert len(locked) == 1


async def blocked_or_done(observer: Connection, caller: Connection, task: "asyncio.Task[object]") -> bool:
    """Wait until a caller's statement waits for a lock (True), or has ended."""
    pid, deadline = caller.get_server_pid(), time.monotonic() + 20
    while not task.done():
        if await observer.fetchval("select cardinality(pg_blocking_pids($1)) > 0", pid):
            return True
        assert time.monotonic() < deadline, "neither blocked nor done"
        await asyncio.sleep(0.002)
    await task
    return False


async def given_up(observer: Connection, caller: Connection, task: "asyncio.Task[object]") -> None:
    """End a statement that waits."""
    await observer.execute("select pg_cancel_backend($1)", caller.get_server_pid())
    with suppress(asyncpg.QueryCanceledError):
        await task
