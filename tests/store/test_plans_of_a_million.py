"""Query plans on a million runs that have ended and two hundred thousand that wait.

Every statement of `store/sql` is planned as it is for arguments that are not known yet, and all calls of a
node, of producers and of people are carried out, with plans for their arguments and with plans for any. What
a call reads is what it is about, in rows and in pages of 8 kB: neither grows with what lies in the tables.
"""

import asyncio
import json
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any, Final

import pytest

from chimeway.store.clones import Clones
from chimeway.store.embedded.temporary import temporary_server
from chimeway.store.pool import _FOR_NODE, Database, open_database
from chimeway.store.queries import SQL
from chimeway.store.replaying import Replayed
from chimeway.store.replays import replay_all
from chimeway.store.verify import Scope, examine
from kit.multitude import multiply
from store.plain_sql import plain
from store.plans import BIG, CALLS_OF, affordable, explained, pages_read
from store.verify_world import played

ENDED: Final = {"reader": 500_000, "sender": 450_000, "quitter": 49_000, "halted": 1_000}
WAITING: Final = {"waiter": 200_000}
SETTINGS: Final = (
    "fsync=off", "full_page_writes=off", "wal_level=minimal", "max_wal_senders=0", "max_wal_size=4GB",
    "shared_buffers=512MB", "autovacuum=off",
)  # fmt: skip
"""It is filled faster so, and what it costs to fill it is not the question."""
BY_ROWS: Final = 5_000
"""Rows that a plan may mean to sort, hash or add up."""
PAGES: Final = 20_000
"""Pages that a statement may read: 4,096 due runs at the most, each by an index, from a page of its own."""
EXCEPTIONS: Final[Mapping[str, str]] = {
    "definitions_with_live_runs": "asked once, when a node starts",
    "lease_holders": "of shards and leases, of which there are few; the planner takes them for many",
    "listed_nodes": "likewise",
    "vitals": "how many wait is counted up to a bound, which the plan does not know",
    "examined_failed": "of the newest messages, up to a bound that the plan does not know",
    "overdue_runs": "all that is due is looked at, when somebody asks",
    "oldest_due_runs": "of each shard as many as are asked for, since the oldest may all be of one",
    "due_runs_in_order": "for journeys that are played in tests: their databases are small",
    "due_deliveries_in_order": "likewise",
    "next_stop": "likewise",
    "all_runs": "likewise",
    "all_deliveries": "likewise",
}
FILLED: Final = tuple(table for table in BIG if table not in {"tenants", "delivery_verdicts"})
"""There are a thousand tenants, and nothing was judged."""
pytestmark = [pytest.mark.big, pytest.mark.timeout(2400)]


async def _filled(server: str, copies: Mapping[str, int]) -> str:
    async with Clones.on(server, tidy=False) as clones:
        url = await clones.make(test_clock=True)
    async with open_database(url) as database:
        world = await played(database)
        await world.sql("update chimeway.workflow_runs set cancellation_key = 'key'")
    async with plain(url) as connection:
        await multiply(connection, {world.runs[person]: many for person, many in copies.items()})
    return url


@pytest.fixture(scope="module")
def million() -> Iterator[str]:
    """The URL of a database with all of them, on a server of its own, on disk."""
    with temporary_server(settings=SETTINGS) as server:
        yield asyncio.run(_filled(server.url, ENDED | WAITING))


async def test_they_are_as_if_they_had_been_played(million: str) -> None:
    """A sample breaks no invariant, and its decisions come out the same."""
    async with open_database(million) as database:
        assert await _examined(database) > 1_000
        found: list[Replayed] = []
        come = await replay_all(database, Scope(sample=3_000, seed=2), found.append, lambda _: None)
        assert (come.decisions["same"] > 1_000, found) == (True, [])


async def _examined(database: Database) -> int:
    scope = Scope(sample=3_000, seed=1)
    report = await examine(database, scope, max_lateness=timedelta(seconds=5))
    assert report.violations == []
    return report.runs


@pytest.mark.parametrize("settings", ["", "set enable_seqscan = off"], ids=["client", "node"])
async def test_no_statement_means_to_go_through_a_table(million: str, settings: str) -> None:
    """Neither a scan of a big table nor a sort of many rows stands in a plan for any arguments."""
    costly: dict[str, list[str]] = {}
    async with plain(million) as connection:
        await connection.execute(f"{settings}; {PLANNED}")
        for name, sql in SQL.items():
            if name.startswith("simulation_"):
                continue  # of functions that only a simulated database has
            plan = json.loads(await connection.fetchval("select pg_temp.planned($1)", sql))
            found = list(_costly(plan[0]["Plan"]))
            if found and name not in EXCEPTIONS:
                costly[name] = found
    assert costly == {}


PLANNED: Final = """
create function pg_temp.planned(sql text) returns json language plpgsql as $$
declare plan json;
begin
    execute 'explain (generic_plan, format json) ' || sql into plan;
    return plan;
end $$"""


def _costly(node: Mapping[str, Any]) -> Iterator[str]:
    table, kind = node.get("Relation Name"), node["Node Type"]
    below = node.get("Plans", ())
    if kind == "Seq Scan" and table in FILLED:
        yield f"{kind} on {table}"
    takes_all = kind in {"Sort", "Incremental Sort", "Hash", "Aggregate", "WindowAgg", "Unique", "SetOp"}
    if takes_all and any(one["Plan Rows"] > BY_ROWS for one in below):
        yield f"{kind} of {max(one['Plan Rows'] for one in below)} rows"
    for one in below:
        yield from _costly(one)


@pytest.mark.parametrize("mode", ["force_custom_plan", "force_generic_plan"])
async def test_no_call_reads_more_than_what_it_is_about(million: str, mode: str) -> None:
    """Of what nodes, producers and people do all day, as it is carried out, in functions too."""
    async with explained(million) as (world, plans):
        async with world.database.acquire() as connection:
            await connection.execute(f"set plan_cache_mode = {mode}")
            if mode == "force_generic_plan":
                await connection.execute(_FOR_NODE)
        for call in CALLS_OF:
            if call.__name__ in BOUNDED_OTHERWISE.get(mode, ()):
                continue
            await affordable(world, plans, call, FILLED)
            assert pages_read(plans) <= PAGES, call.__name__


BOUNDED_OTHERWISE: Final = {
    "force_generic_plan": ("_oldest",),
    "force_custom_plan": ("_oldest", "_due"),
}
"""See EXCEPTIONS. And a page of what is due in each shard is asked for by nodes, whose plans are generic: for
its very arguments the planner may sort all that is due in a shard, where it takes that for little."""


async def test_verify_reads_what_belongs_to_its_page(million: str) -> None:
    """Statement by statement, also where the statistics would let a whole table seem cheap."""
    async with explained(million) as (world, plans):
        await _examined(world.database)
        tables = [text for text in plans.costly(most=20_000, big=FILLED) if "Sample Scan" not in text]
        assert tables == []
        assert pages_read(plans, but="Sample Scan") <= 4 * PAGES
