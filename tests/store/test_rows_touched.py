"""What a decision costs the database is counted: rows are written once each, and plans are kept."""

from collections.abc import Sequence
from typing import Any, cast

from chimeway.store.ledger import Entry, commit_decisions
from chimeway.store.pool import Connection, Database
from chimeway.store.queries import SQL
from store.door import foretold_entry, opened

_TOUCHED = """
select relname, n_tup_ins, n_tup_upd, n_tup_hot_upd from pg_stat_xact_user_tables
 where schemaname = 'chimeway'"""
_FOR_EACH_BATCH = (
    "begin_attempts", "commit_decisions", "due_deliveries_in_turn", "due_runs_in_turn", "end_deliveries",
    "find_mail", "lock_deliveries", "put_mail", "record_results", "route_for_runs", "route_signals",
    "route_signals_in_turn", "route_these", "stop_runs",
)  # fmt: skip
_WITHOUT_SETTINGS = """
select p.proname from pg_proc p join pg_language l on l.oid = p.prolang and l.lanname = 'plpgsql'
 where p.pronamespace = 'chimeway'::regnamespace and p.proname = any($1)
   and not coalesce(p.proconfig, '{}') @> '{jit=off,plan_cache_mode=force_generic_plan}'"""


class _Here:
    """Stands for a database of which one connection is used, so that what it did can be counted."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.fetched = 0

    async def fetch(self, name: str, *args: Any) -> Sequence[Any]:
        self.fetched += 1
        return cast("Sequence[Any]", await self._connection.fetch(SQL[name], *args))


async def _touched(database: Database, entry: Entry) -> dict[str, tuple[int, int, int]]:
    """Commit a decision; say how many rows of which table were inserted, updated, and updated in place."""
    async with database.acquire() as connection, connection.transaction():
        here = _Here(connection)
        before = {
            name: counts for name, *counts in await connection.fetch(_TOUCHED)
        }  # not yet told elsewhere
        assert await commit_decisions(cast("Database", here), None, [entry]) == ["applied"]
        assert here.fetched == 1
        after = {name: counts for name, *counts in await connection.fetch(_TOUCHED)}
    return {
        name: (counts[0] - before[name][0], counts[1] - before[name][1], counts[2] - before[name][2])
        for name, counts in after.items()
        if counts != before[name]
    }


async def test_a_decision_writes_each_row_once(clock_database: Database) -> None:
    """A run is updated once, also by the decision that stops it; its mail in place: no index knows it."""
    world = await opened(clock_database)
    await world.trigger("ada")
    assert await _touched(clock_database, await world.entry("ada")) == {
        "workflow_transitions": (4, 0, 0),
        "workflow_runs": (0, 1, 0),
        "deliveries": (1, 0, 0),
        "inbox_items": (1, 0, 0),
    }
    await world.say("ada", "read")
    assert await _touched(clock_database, await world.entry("ada")) == {
        "workflow_transitions": (2, 0, 0),
        "workflow_runs": (0, 1, 0),
        "run_mailbox": (0, 1, 1),
    }


async def test_mail_that_was_foretold_is_written_once(clock_database: Database) -> None:
    """What a decision was made on before it was in the mailbox comes there as consumed."""
    world = await opened(clock_database)
    await world.start("ada")
    signal = await world.say("ada", "read")
    entry = await foretold_entry(world)
    assert entry.foretold == [(1, signal)]
    assert await _touched(clock_database, entry) == {
        "workflow_transitions": (2, 0, 0),
        "workflow_runs": (0, 1, 0),
        "run_mailbox": (1, 0, 0),
    }


async def test_no_batch_is_planned_anew(clock_database: Database) -> None:
    """What is called for each batch has one plan for all of them, and is not compiled."""
    async with clock_database.acquire() as connection:
        rows = await connection.fetch(_WITHOUT_SETTINGS, list(_FOR_EACH_BATCH))
    assert [row["proname"] for row in rows] == []


async def test_ids_and_shards_are_made_without_a_call(clock_database: Database) -> None:
    """The functions are inlined: producers make them for every row."""
    async with clock_database.acquire() as connection:
        plan = await connection.fetch(
            "explain (verbose) select chimeway.new_id(chimeway.shard_of('acme', 'user_' || n))"
            " from generate_series(1, 3) n"
        )
    assert not [line for (line,) in plan if "new_id" in line or "shard_of" in line]
