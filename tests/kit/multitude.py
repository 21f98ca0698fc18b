"""A great many journeys in a database: a few that were really played, copied row by row under new names.

Seven of ten copies are of the tenant of the journey that was copied, the others of a thousand tenants.

Copies are made by SQL alone, fifty thousand a call. Whatever names another row (runs, events, deliveries,
signals, decisions, also within JSON) is renamed with it, and numbers of arrival keep their order; so each
copy passes `verify` and replays as the journey does that it was copied from. Made with foreign keys and
triggers asleep, and where there are many with indexes that are built when all is there, as for a restored
dump: a test asserts of a sample that nothing is wrong with it.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import asyncpg

BATCH: Final = 50_000
"""Copies a call: as many as are made in some seconds, in a transaction of its own."""
BULK: Final = 100_000
"""From so many on indexes are built afterwards, which takes less time than to fill them row by row."""
STRIDE: Final = 1_000
"""Numbers of arrival that a copy has for itself."""
_PREPARE: Final = """
set session_replication_role = replica;
set synchronous_commit = off;
set max_parallel_workers_per_gather = 0;
set work_mem = '64MB';
create or replace function pg_temp.another(id uuid, n bigint) returns uuid language sql immutable strict as
    $$ select md5(id::text || n)::uuid $$;
"""
_EXPRESSIONS: Final[Mapping[str, Mapping[str, str]]] = {
    "events": {
        "tenant_id": "c.tenant_id",
        "id": "c.event", "shard": "chimeway.shard_of_id(c.event)",
        "idempotency_key": "t.idempotency_key || '_' || c.n",
        "recipient_ids": "array[c.person]", "run_ids": "array[c.run]",
    },
    "workflow_runs": {
        "tenant_id": "c.tenant_id",
        "id": "c.run", "shard": "c.shard", "recipient_id": "c.person", "event_id": "c.event",
        "cancellation_key": "t.cancellation_key || '_' || c.n", "arrival": "t.arrival + c.later",
        "status_context": "{json:status_context}",
    },
    "workflow_transitions": {
        "run_id": "c.run", "shard": "c.shard", "decision_id": "pg_temp.another(t.decision_id, c.n)",
        "signal_id": "{id:signal_id}", "context": "{json:context}", "inputs": "{json:inputs}",
    },
    "deliveries": {
        "id": "{id:id}", "shard": "c.shard", "run_id": "c.run", "tenant_id": "c.tenant_id",
        "recipient_id": "c.person",
    },
    "delivery_attempts": {"delivery_id": "{id:delivery_id}", "shard": "c.shard", "run_id": "c.run"},
    "delivery_attempt_results": {"delivery_id": "{id:delivery_id}", "shard": "c.shard"},
    "inbox_items": {
        "tenant_id": "c.tenant_id",
        "id": "{id:id}", "shard": "c.shard", "recipient_id": "c.person", "run_id": "c.run",
        "arrival": "t.arrival + c.later",
    },
    "signals": {
        "tenant_id": "c.tenant_id",
        "id": "{id:id}", "shard": "c.shard", "actor_id": "c.person",
        "dedupe_key": "t.dedupe_key || '_' || c.n",
        "run_id": "case when t.run_id is not null then c.run end", "arrival": "t.arrival + c.later",
    },
    "run_mailbox": {
        "run_id": "c.run", "shard": "c.shard", "consumed_by": "pg_temp.another(t.consumed_by, c.n)",
        "signal_id": "{id:signal_id}",
    },
}  # fmt: skip
"""Table → what its columns are in a copy; others are as they were. {id:…} and {json:…} are renamed."""
_SOURCES: Final[Mapping[str, str]] = {
    "events": "id = (select event_id from chimeway.workflow_runs where id = '{run}')",
    "workflow_runs": "id = '{run}'",
    "workflow_transitions": "run_id = '{run}'",
    "deliveries": "run_id = '{run}'",
    "delivery_attempts": "run_id = '{run}'",
    "delivery_attempt_results": "delivery_id in (select id from chimeway.deliveries where run_id = '{run}')",
    "inbox_items": "run_id = '{run}'",
    "signals": """(tenant_id, actor_id) =
        (select tenant_id, recipient_id from chimeway.workflow_runs where id = '{run}')""",
    "run_mailbox": "run_id = '{run}'",
}
"""Table → which of its rows are a journey's."""
_PEOPLE: Final = """
insert into chimeway.recipients (tenant_id, recipient_id, shard, addresses, created_at, updated_at)
select tenant_id, person, shard, jsonb_build_object('email', person || '@example.org'), now(), now()
  from copied order by n;
insert into chimeway.send_budgets (tenant_id, recipient_id, channel, shard)
select tenant_id, person, 'email', shard from copied order by n;
"""
_TENANTS: Final = """
insert into chimeway.tenants (tenant_id, created_at, updated_at)
select tenant_id, now(), now() from (
    select distinct tenant_id from chimeway.workflow_runs where id = any($1::uuid[])
     union select 'tenant_' || n from generate_series(0, $2::int) n) x
    on conflict do nothing
"""
_TENANTS_BESIDE: Final = 1_000


def person(original: str, n: int) -> str:
    """Return the recipient of the n-th copy of a journey of this recipient."""
    return f"{original}_{n}"


def tenant(original: str, n: int) -> str:
    """Return the tenant of the n-th copy of a journey of this tenant."""
    return original if n % 10 < 7 else f"tenant_{n % _TENANTS_BESIDE}"


async def multiply(
    connection: "asyncpg.Connection[Any]",
    copies: Mapping[UUID, int],
    *,
    first: int = 1,
    beside: "Sequence[asyncpg.Connection[Any]]" = (),
    live: bool = False,
    people: bool = True,
) -> None:
    """Copy journeys: each run so many times, numbered through. Each has a recipient, an event and signals
    of its own.

    Args:
        connection: of a superuser (append-only tables are filled with their triggers asleep), without codecs;
            not to be used for anything else afterwards.
        copies: run → how many.
        first: the number of the first copy; those of one recipient are told apart by it.
        beside: more such connections, which copy beside the first.
        live: whether somebody works on these tables meanwhile; indexes are kept awake then.
        people: whether recipients have profiles.
    """
    total = sum(copies.values())
    await connection.execute(_TENANTS, list(copies), min(total, _TENANTS_BESIDE) - 1)
    micros = int(await connection.fetchval("select extract(epoch from clock_timestamp()) * 1000000"))
    arrived = int(await connection.fetchval(f"select nextval('chimeway.arrival') + {(total + 1) * STRIDE}"))
    await connection.execute(f"select setval('chimeway.arrival', {arrived})")
    start = _Start(first, micros - total, arrived - (total + 1) * STRIDE)
    plans = [await _plan(connection, run, people=people) for run in copies]
    jobs = _parts(plans, copies, first)
    async with _indexes_asleep(connection, asleep=total >= BULK and not live), asyncio.TaskGroup() as group:
        for worker in (connection, *beside):
            group.create_task(_work(worker, jobs, start))
    if not live:
        await connection.execute("vacuum (freeze, analyze)")


@dataclass(frozen=True, slots=True)
class _Start:
    """Where numbers begin: of copies, of their ids (microseconds), and of arrival."""

    first: int
    micros: int
    arrival: int

    def laid_in(self, names: str, part: tuple[int, int]) -> str:
        for place, value in enumerate(
            (*part, self.micros - self.first, self.arrival - self.first * STRIDE), 1
        ):
            names = names.replace(f"${place}", str(value))
        return names


@dataclass(frozen=True, slots=True)
class _Plan:
    """How one journey is copied: its rows laid aside, and statements that make others of them."""

    lay_aside: str
    names: str
    """Selects what copies $1 to $2 are called; ids count from $3, in microseconds, arrival from $4."""
    inserts: Sequence[str]


def _parts(
    plans: Sequence[_Plan], copies: Mapping[UUID, int], first: int
) -> Iterator[tuple[_Plan, tuple[int, int]]]:
    """Number the copies through; some go in one transaction, all of one journey."""
    for plan, many in zip(plans, copies.values(), strict=True):
        for start in range(first, first + many, BATCH):
            yield plan, (start, min(start + BATCH, first + many) - 1)
        first += many


async def _work(
    connection: "asyncpg.Connection[Any]", jobs: Iterator[tuple[_Plan, tuple[int, int]]], begin: _Start
) -> None:
    """Take part after part, whoever else takes others."""
    await connection.execute(_PREPARE)
    laid_aside = None
    for plan, part in jobs:
        async with connection.transaction():
            if laid_aside is not plan:
                await connection.execute(plan.lay_aside)
                laid_aside = plan
            await connection.execute(
                f"create temporary table copied as {begin.laid_in(plan.names, part)}; analyze copied"
            )
            for insert in plan.inserts:
                await connection.execute(insert)
            await connection.execute("drop table copied")


async def _plan(connection: "asyncpg.Connection[Any]", run: UUID, *, people: bool) -> _Plan:
    sources = {table: where.format(run=run) for table, where in _SOURCES.items()}
    ids = [
        str(row["id"])
        for table in ("deliveries", "signals")
        for row in await connection.fetch(f"select id from chimeway.{table} where {sources[table]}")
    ]
    lay_aside = "".join(_laid_aside(table, where, ids) for table, where in sources.items())
    inserts = [_PEOPLE] if people else []
    inserts += [await _insert(connection, table, ids) for table in _EXPRESSIONS]
    return _Plan(lay_aside, _names(len(ids)), inserts)


def _laid_aside(table: str, where: str, ids: Sequence[str]) -> str:
    """Return what lays rows aside, with the text of JSON beside it where it must be renamed."""
    columns = [each.strip("{}").split(":")[1] for each in _EXPRESSIONS[table].values() if "{json:" in each]
    told = "".join(
        f", case when {each}::text ~ '{'|'.join(ids) or 'none'}' then {each}::text end as {each}_text"
        for each in columns
    )
    return (
        f"drop table if exists source_{table};"
        f" create temporary table source_{table} as select *{told} from chimeway.{table} where {where};"
    )


def _names(ids: int) -> str:
    """Ids are as `chimeway.new_id` gives them: microseconds, then chance, and a shard in the last byte."""
    new = "".join(
        f", (overlay(h placing '{place:02x}' from 27 for 2) || hex)::uuid as i{place}" for place in range(ids)
    )
    chosen = f"case when n % 10 < 7 then r.tenant_id else 'tenant_' || n % {_TENANTS_BESIDE} end"
    return f"""
        select n, shard, tenant_id, person, $4::bigint + n * {STRIDE} as later,
               (overlay(h placing 'fe' from 27 for 2) || hex)::uuid as run,
               (overlay(h placing 'ff' from 27 for 2) || event_hex)::uuid as event {new}
          from (
            select s.*, lpad(to_hex(shard::int), 2, '0') as hex,
                   lpad(to_hex(event_shard::int), 2, '0') as event_hex,
                   lpad(to_hex(micros / 1000), 12, '0')
                       || '7' || lpad(to_hex(micros % 1000 * 4096 / 1000), 3, '0')
                       || '8' || left(md5(micros || old::text), 13) as h
              from (
                select s.*, chimeway.shard_of(tenant_id, person) as shard,
                       chimeway.shard_of(tenant_id, coalesce(key || '_' || n, old::text)) as event_shard
                  from (
                    select n, {chosen} as tenant_id, r.recipient_id || '_' || n as person,
                           $3::bigint + n as micros, e.idempotency_key as key, r.id as old
                      from generate_series($1::bigint, $2::bigint) n
                     cross join source_workflow_runs r
                      left join source_events e on true offset 0) s offset 0) s offset 0) s"""


async def _insert(connection: "asyncpg.Connection[Any]", table: str, ids: Sequence[str]) -> str:
    """Return the statement that copies a journey's rows of one table for each run in `copied`."""
    rows = await connection.fetch(
        """select attname from pg_attribute
            where attrelid = $1::text::regclass and attnum > 0 and not attisdropped""",
        f"chimeway.{table}",
    )
    columns = [row["attname"] for row in rows]
    assert set(_EXPRESSIONS[table]) <= set(columns), table
    values = [_value(_EXPRESSIONS[table].get(name, f"t.{name}"), ids) for name in columns]
    return (
        f"insert into chimeway.{table} ({', '.join(columns)}) select {', '.join(values)}"
        f" from copied c cross join lateral (select * from source_{table} where c.n > 0 offset 0) t"
    )


def _value(expression: str, ids: Sequence[str]) -> str:
    if not expression.startswith("{"):
        return expression
    kind, column = expression.strip("{}").split(":")
    if kind == "id":
        cases = " ".join(f"when '{old}' then c.i{place}" for place, old in enumerate(ids))
        return f"case t.{column} {cases} end" if ids else f"t.{column}"
    renamed = f"t.{column}_text"
    for place, old in enumerate(ids):
        renamed = f"replace({renamed}, '{old}', c.i{place}::text)"
    return f"case when t.{column}_text is null then t.{column} else {renamed}::jsonb end"


@asynccontextmanager
async def _indexes_asleep(connection: "asyncpg.Connection[Any]", *, asleep: bool) -> AsyncIterator[None]:
    """Fill tables without their indexes, which are built at the end."""
    tables = [*_EXPRESSIONS, "recipients", "send_budgets"]
    if asleep:
        await connection.execute(
            """update pg_index set indisready = false, indisvalid = false
                where indrelid = any(select ('chimeway.' || name)::regclass from unnest($1::text[]) name)""",
            tables,
        )
    yield
    if asleep:
        await connection.execute("set maintenance_work_mem = '512MB'")
        for table in tables:
            await connection.execute(f"reindex table chimeway.{table}")
