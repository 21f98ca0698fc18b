"""A great many journeys in a database: a few that were really played, copied row by row under new names.

Seven of ten copies are of the tenant of the journey that was copied, the others of a thousand tenants.

Copies are made by SQL alone, twenty thousand a call. Whatever names another row (runs, events, deliveries,
signals, decisions, also within JSON) is renamed with it, and numbers of arrival keep their order; so each
copy passes `verify` and replays as the journey does that it was copied from. Made with foreign keys and
triggers asleep: a test asserts of a sample that nothing is wrong with it.
"""

from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

import asyncpg

BATCH: Final = 20_000
"""Copies a call: as many as are made in some seconds, in a transaction of its own."""
_PREPARE: Final = """
set session_replication_role = replica;
set synchronous_commit = off;
create or replace function pg_temp.another(id uuid, n bigint) returns uuid language sql immutable strict as
    $$ select md5(id::text || n)::uuid $$;
create or replace function pg_temp.renamed(said jsonb, old uuid[], new uuid[]) returns jsonb
language plpgsql immutable as $$
declare told text := said::text;
begin
    for i in 1 .. cardinality(old) loop told := replace(told, old[i]::text, new[i]::text); end loop;
    return told;
end $$;
create temporary table told as select run_id, seq,
       context::text ~ ids.one as in_context, coalesce(inputs::text ~ ids.one, false) as in_inputs
  from chimeway.workflow_transitions t
 cross join lateral (
    select coalesce(string_agg(i.id::text, '|'), 'none') as one from (
        select d.id from chimeway.deliveries d where d.run_id = t.run_id
         union all select b.signal_id from chimeway.run_mailbox b where b.run_id = t.run_id) i) ids;
"""
_COPY: Final = """
create temporary table copied as
select n, r.id as old, r.event_id as old_event, chimeway.new_id(s.shard) as run, s.shard, s.tenant_id,
       r.recipient_id || '_' || n as person, e.idempotency_key || '_' || n as key,
       chimeway.new_id(chimeway.shard_of(s.tenant_id, coalesce(e.idempotency_key || '_' || n, r.id::text)))
           as event,
       n * 1000 as later
  from generate_series($2::bigint, $3::bigint) n
 cross join chimeway.workflow_runs r
  left join chimeway.events e on e.id = r.event_id
 cross join lateral (
        select t.tenant_id, chimeway.shard_of(t.tenant_id, r.recipient_id || '_' || n) as shard
          from (select case when n % 10 < 7 then r.tenant_id else 'tenant_' || n % 1000 end as tenant_id) t) s
 where r.id = $1;
create temporary table copied_delivery as
select c.n, d.id as old, chimeway.new_id(c.shard) as new
  from copied c join chimeway.deliveries d on d.run_id = c.old;
create temporary table copied_signal as
select c.n, s.id as old, chimeway.new_id(c.shard) as new
  from copied c join chimeway.workflow_runs r on r.id = c.old
  join chimeway.signals s on s.tenant_id = r.tenant_id and s.actor_id = r.recipient_id;
create temporary table copied_name as
select n, array_agg(old) as old, array_agg(new) as new from (
    select * from copied_delivery union all select * from copied_signal) x group by n;
create index on copied_delivery (old, n);
create index on copied_signal (old, n);
create index on copied_name (n);
analyze copied, copied_delivery, copied_signal, copied_name;
"""
_RECIPIENTS: Final = """
insert into chimeway.recipients (tenant_id, recipient_id, shard, addresses, created_at, updated_at)
select tenant_id, person, shard, jsonb_build_object('email', person || '@example.org'), now(), now()
  from copied;
insert into chimeway.send_budgets (tenant_id, recipient_id, channel, shard)
select tenant_id, person, 'email', shard from copied;
insert into chimeway.tenants (tenant_id, created_at, updated_at)
select distinct tenant_id, now(), now() from copied on conflict do nothing
"""
_EXPRESSIONS: Final[Mapping[str, Mapping[str, str]]] = {
    "events": {
        "tenant_id": "c.tenant_id",
        "id": "c.event", "shard": "chimeway.shard_of_id(c.event)", "idempotency_key": "c.key",
        "recipient_ids": "array[c.person]", "run_ids": "array[c.run]",
    },
    "workflow_runs": {
        "tenant_id": "c.tenant_id",
        "id": "c.run", "shard": "c.shard", "recipient_id": "c.person", "event_id": "c.event",
        "cancellation_key": "t.cancellation_key || '_' || c.n", "arrival": "t.arrival + c.later",
        "status_context": "pg_temp.renamed(t.status_context, m.old, m.new)",
    },
    "workflow_transitions": {
        "run_id": "c.run", "shard": "c.shard", "decision_id": "pg_temp.another(t.decision_id, c.n)",
        "signal_id": "(select s.new from copied_signal s where s.old = t.signal_id and s.n = c.n)",
        "context": "case when o.in_context then pg_temp.renamed(t.context, m.old, m.new) else t.context end",
        "inputs": "case when o.in_inputs then pg_temp.renamed(t.inputs, m.old, m.new) else t.inputs end",
    },
    "deliveries": {
        "id": "i.new", "shard": "c.shard", "run_id": "c.run", "tenant_id": "c.tenant_id",
        "recipient_id": "c.person",
    },
    "delivery_attempts": {"delivery_id": "i.new", "shard": "c.shard", "run_id": "c.run"},
    "delivery_attempt_results": {"delivery_id": "i.new", "shard": "c.shard"},
    "inbox_items": {
        "tenant_id": "c.tenant_id",
        "id": "i.new", "shard": "c.shard", "recipient_id": "c.person", "run_id": "c.run",
        "arrival": "t.arrival + c.later",
    },
    "signals": {
        "tenant_id": "c.tenant_id",
        "id": "i.new", "shard": "c.shard", "actor_id": "c.person", "dedupe_key": "t.dedupe_key || '_' || c.n",
        "run_id": "case when t.run_id is not null then c.run end", "arrival": "t.arrival + c.later",
    },
    "run_mailbox": {
        "run_id": "c.run", "shard": "c.shard", "consumed_by": "pg_temp.another(t.consumed_by, c.n)",
        "signal_id": "(select s.new from copied_signal s where s.old = t.signal_id and s.n = c.n)",
    },
}  # fmt: skip
"""Table → what its columns are in a copy; the others are as they were."""
_FROM: Final[Mapping[str, str]] = {
    "events": "chimeway.events t join copied c on c.old_event = t.id",
    "workflow_runs": """chimeway.workflow_runs t join copied c on c.old = t.id
        left join copied_name m on m.n = c.n""",
    "workflow_transitions": """chimeway.workflow_transitions t
        join told o on o.run_id = t.run_id and o.seq = t.seq
        join copied c on c.old = t.run_id left join copied_name m on m.n = c.n""",
    "deliveries": """chimeway.deliveries t join copied_delivery i on i.old = t.id
        join copied c on c.old = t.run_id and c.n = i.n""",
    "delivery_attempts": """chimeway.delivery_attempts t join copied_delivery i on i.old = t.delivery_id
        join copied c on c.old = t.run_id and c.n = i.n""",
    "delivery_attempt_results": """chimeway.delivery_attempt_results t
        join copied_delivery i on i.old = t.delivery_id join copied c on c.n = i.n""",
    "inbox_items": """chimeway.inbox_items t join copied_delivery i on i.old = t.id
        join copied c on c.old = t.run_id and c.n = i.n""",
    "signals": "chimeway.signals t join copied_signal i on i.old = t.id join copied c on c.n = i.n",
    "run_mailbox": "chimeway.run_mailbox t join copied c on c.old = t.run_id",
}


async def multiply(connection: "asyncpg.Connection[Any]", copies: Mapping[UUID, int]) -> None:
    """Copy journeys: each run so many times. Each has a recipient, an event and signals of its own.

    Args:
        connection: of a superuser (append-only tables are filled with their triggers asleep), without codecs;
            not to be used for anything else afterwards.
        copies: run → how many.
    """
    await connection.execute(_PREPARE)
    inserts = [await _insert(connection, table) for table in _EXPRESSIONS]
    first = 1
    for run_id, many in copies.items():
        for start in range(first, first + many, BATCH):
            last = min(start + BATCH, first + many) - 1
            async with connection.transaction():
                prepared = (
                    _COPY.replace("$1", f"'{run_id}'").replace("$2", str(start)).replace("$3", str(last))
                )
                await connection.execute(prepared + _RECIPIENTS)
                for insert in inserts:
                    await connection.execute(insert)
                await connection.execute("drop table copied, copied_delivery, copied_signal, copied_name")
        first += many
    await connection.execute(f"select setval('chimeway.arrival', {(first + 1) * 1000})")
    await connection.execute("vacuum analyze")


async def _insert(connection: "asyncpg.Connection[Any]", table: str) -> str:
    """Return the statement that copies a table's rows of the runs in `copied`."""
    rows = await connection.fetch(
        """select attname from pg_attribute
            where attrelid = $1::text::regclass and attnum > 0 and not attisdropped""",
        f"chimeway.{table}",
    )
    columns = [row["attname"] for row in rows]
    assert set(_EXPRESSIONS[table]) <= set(columns), table
    values = [_EXPRESSIONS[table].get(name, f"t.{name}") for name in columns]
    return (
        f"insert into chimeway.{table} ({', '.join(columns)})"
        f" select {', '.join(values)} from {_FROM[table]} order by c.n"
    )
