"""Who is stuck is asked of all live runs at once; that is the same as asking `is_stuck` of each."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import product
from typing import Any, Final
from uuid import UUID

import asyncpg
import pytest

from chimeway.limits import MAX_PAGE
from chimeway.store import callers, console, stranded
from chimeway.store.pool import Database
from store.plain_sql import plain
from store.plans import Plans, explained

DEFINITIONS: Final = (
    {"steps": [{"id": "mail"}, {"id": "nap"}]},
    {"steps": [{"id": "nap"}, {"id": 7}, {"id": None}, "mail", {}]},
    {"steps": {"id": "mail"}},
    {"steps": []},
    {},
)
"""The second and the following no registration would take: nobody knows what was written by hand."""
STATES: Final = ("active", "waiting", "stopped")
STEPS: Final = (None, "mail", "nap", "nowhere", "7", "end")
KINDS: Final = ("wait", "wait_until", "nap", None, 7)
AIMS: Final = ("mail", "end", "nowhere", None, 7, ["mail"])
TIMES: Final = (
    "2026-01-05T13:00:00.000000Z", "2026-01-05T13:00:00Z", "2026-01-05T14:00:00.000000+01:00",
    "2026-02-30T13:00:00.000000Z", "2026-01-05T24:00:00.000000Z", "0999-01-05T13:00:00.000000Z",
    "2026-01-05T13:00:00", "soon", None, 7,
)  # fmt: skip
WAKES: Final = ("2026-01-05T13:00:00Z", "0999-01-05T13:00:00Z", "9999-12-31T12:00:00Z", None)
FILL: Final = """
insert into chimeway.workflow_runs (id, shard, tenant_id, recipient_id, workflow_key, workflow_version,
       event_id, state, step, visit, status_reason, status_context, wake_at, held_reason, held_at,
       waiting_for_node, created_at, ended_at)
select id, chimeway.shard_of_id(id), 't' || n % 3, 'p', 'w', q.version, id, q.state, q.step, 1, 'x',
       q.context, case when q.state <> 'stopped' then q.wake end,
       case n % 50 when 0 then 'held_by_request' end,
       case n % 50 when 0 then now() end, case n % 60 when 0 then 'sms' end, now(),
       case when q.state = 'stopped' then now() end
  from unnest($1::text[]) with ordinality u(one, n)
 cross join lateral (select chimeway.new_id((n % 256)::smallint) as id) i
 cross join lateral (select (one::jsonb ->> 0)::int, one::jsonb ->> 1, one::jsonb ->> 2, one::jsonb -> 3,
                            (one::jsonb ->> 4)::timestamptz) q(version, state, step, context, wake);
insert into chimeway.deliveries (id, shard, run_id, visit, step_id, tenant_id, recipient_id, channel,
       render_key, status, created_at)
select chimeway.new_id(r.shard), r.shard, r.id, case n % 3 when 0 then 2 else 1 end, 'mail', r.tenant_id,
       'p', 'email', 'k', 'pending', now()
  from (select r.*, row_number() over (order by id) n from chimeway.workflow_runs r) r
 where n % 3 < 2;
"""
EACH: Final = """
select r.id, chimeway.is_stuck(r, w) as stuck, r.held_reason is not null and r.state <> 'stopped' as held,
       r.waiting_for_node is not null and r.state <> 'stopped' as waits
  from chimeway.workflow_runs r
  join chimeway.workflow_definitions w on w.key = r.workflow_key and w.version = r.workflow_version
 where $1::text is null or r.tenant_id = $1::text"""


async def _fill(connection: "asyncpg.Connection[Any]", some: list[list[object]]) -> None:
    await connection.execute("set session_replication_role = replica")
    for version, definition in enumerate(DEFINITIONS, 1):
        await connection.execute(
            """insert into chimeway.workflow_definitions (key, version, digest, definition, signal_types,
                      required_data, registered_at) values ('w', $1, 'd', $2, '{}', '{}', now())""",
            version, json.dumps(definition),
        )  # fmt: skip
    runs, messages = FILL.split(";\n", 1)
    await connection.execute(runs, [json.dumps(one) for one in some])
    await connection.execute(messages)


def _context(**given: object) -> dict[str, object]:
    return {name: value for name, value in given.items() if value is not None}


def _population() -> Iterator[list[object]]:
    """Each with each where they meet, by turns where not."""
    for n, (version, state, step) in enumerate(product(range(1, len(DEFINITIONS) + 1), STATES, STEPS)):
        yield [version, state, step, _context(due_at=TIMES[n % 4]), WAKES[n % 4]]
    for n, (kind, aim, due, wake) in enumerate(product(KINDS, AIMS, TIMES, WAKES)):
        ills = (kind not in KINDS[:2]) + (aim not in AIMS[:2]) + (due not in TIMES[:3])
        if ills < 2 or n % 20 == 0:  # as one that hides another shows nothing of it
            yield [1, "waiting", STEPS[n % 3], _context(rule_kind=kind, to_step=aim, due_at=due), wake]
    for odd in ([], "x", None, 7):
        yield [1, "waiting", "nap", odd, None]


async def test_of_all_at_once_as_of_each(clock_database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of thousands of runs in every state of health, of all tenants and of one; by the list and by pages."""
    monkeypatch.setattr(stranded, "MAX_PAGE", 10_000)
    async with plain(clock_database.url) as connection:
        await _fill(connection, list(_population()))
        for tenant in (None, "t1"):
            each = await connection.fetch(EACH, tenant)
            ill = {one["id"] for one in each if one["stuck"]}
            assert len(each) / 5 < len(ill) < len(each) * 4 / 5, (len(ill), len(each))
            listed = await callers.run(clock_database, stranded.list_stuck(tenant))
            assert {run.run_id for run in listed} == ill | {r["id"] for r in each if r["held"] or r["waits"]}
            assert [run.run_id for run in listed] == sorted(run.run_id for run in listed)
            assert await _paged(clock_database, tenant) == ill | {r["id"] for r in each if r["waits"]}


async def _paged(database: Database, tenant: str | None) -> set[UUID]:
    found: set[UUID] = set()
    wanted, cursor = console.RunFilter(tenant=tenant, kind="stuck"), None
    while True:
        asked = console.list_runs(wanted, cursor, MAX_PAGE, timedelta(seconds=5))
        page = await callers.run(database, asked)
        found |= {run.id for run in page.items}
        if (cursor := page.cursor) is None:
            return found


@contextmanager
def _told_of(plans: Plans) -> Iterator[None]:
    plans.texts.clear()
    yield
    assert len(plans.texts) <= 2, "something is asked of each run"
    for text in plans.texts:
        for loops in text.split("loops=")[1:]:
            assert int(loops.split(")")[0]) <= len(DEFINITIONS), text


async def test_no_run_is_asked_about_by_itself(clock_database: Database) -> None:
    """Neither a function nor a part of the plan is carried out run by run, as long as they are well."""
    well = _context(rule_kind="wait", to_step="mail", due_at=TIMES[0])
    many = [[1, "waiting", "nap", well, WAKES[0]], [1, "stopped", "nap", well, None]] * 3_000
    async with plain(clock_database.url) as connection:
        await _fill(connection, many)
        await connection.execute(
            "update chimeway.workflow_runs set held_reason = null, held_at = null, waiting_for_node = null"
        )
        await connection.execute("vacuum analyze chimeway.workflow_runs")
    async with explained(clock_database.url) as (world, plans):
        for tenant in (None, "t1"):
            with _told_of(plans):
                assert await callers.run(world.database, stranded.list_stuck(tenant)) == []
            with _told_of(plans):
                assert await _paged(world.database, tenant) == set()
