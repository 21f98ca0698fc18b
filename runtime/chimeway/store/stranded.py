"""Which live runs cannot move by themselves: held, waiting for a node, or stuck; asked of all at once. Pure.

What makes a run stuck is said by `chimeway.is_stuck`, of one run. That function asks tables, so no plan can
take it apart: of a hundred thousand runs each would have its definition searched and its message looked for.
Here the same is asked of sets: each version's steps are laid out once, and runs without their message are
found by one join. (A test holds both against each other.)
"""

from typing import Final
from uuid import UUID

from chimeway.limits import MAX_PAGE
from chimeway.store import cursors, reads, rows
from chimeway.store.call import Call, Statement, one, statement
from chimeway.store.views import ListedRun, Page

LIVE: Final = "r.state in ('active','waiting')"

LAID_OUT: Final = """
        laid as materialized (  -- of each version its steps, and where a wait may lead to
        select w.key, w.version, s.steps,
               array(select to_jsonb(u) from unnest(s.steps || 'end'::text) u) as aims
          from chimeway.workflow_definitions w
         cross join lateral (select array(
                select e ->> 'id' from jsonb_array_elements(
                       case jsonb_typeof(w.definition -> 'steps') when 'array' then w.definition -> 'steps'
                            else '[]' end) e
                 where jsonb_typeof(e -> 'id') = 'string') as steps offset 0) s)"""

ASTRAY: Final = """(r.step is not null and not r.step = any(w.steps)
        or r.state = 'waiting' and not coalesce(
               r.status_context -> 'rule_kind' in ('"wait"','"wait_until"')
               and r.status_context -> 'to_step' = any(w.aims)
               and (r.wake_at between '1970-01-01Z' and '9999-12-31Z'  -- in our writing: it need not be read
                    and r.status_context ->> 'due_at'
                        = to_char(r.wake_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
                    or chimeway.is_instant(r.status_context -> 'due_at')), false))"""
"""Of a live run `r` and its version `w`, laid out: its step or what it waits for is not what it must be."""

NO_MESSAGE: Final = """(r.state = 'active' and r.step is not null and not exists (
               select from chimeway.deliveries d
                where d.run_id = r.id and d.visit = r.visit and d.shard = r.shard))"""
"""Of a run `r`: it is on a message that was never planned."""


def list_stuck(tenant: str | None) -> Call[list[ListedRun]]:
    """Ask for live runs that cannot move by themselves: held, stuck, waiting for a node (1,000 at most)."""
    return one(_asked(tenant, MAX_PAGE), lambda found: [rows.listed(row, row["kind"]) for row in found])


def page_stuck(tenant: str, *, cursor: str | None, limit: int) -> Call[Page[ListedRun]]:
    """Ask for a page of the same, of one tenant, in the order of their ids: the oldest first."""
    after = None if cursor is None else cursors.read(cursor)[1]
    return one(
        _asked(tenant, limit + 1, after),
        rows.page(limit, lambda row: rows.listed(row, row["kind"]), reads.behind),
    )


def _asked(tenant: str | None, limit: int, after: UUID | None = None) -> Statement:
    live, args = LIVE, list[object]([limit])
    for value, condition in ((tenant, "r.tenant_id = ${}::text"), (after, "r.id > ${}::text::uuid")):
        if value is not None:
            args.append(value)
            live += f" and {condition.format(len(args))}"
    version = "w.key = r.workflow_key and w.version = r.workflow_version"
    sources = (
        f"chimeway.workflow_runs r where {live} and r.held_reason is not null",
        f"chimeway.workflow_runs r where {live} and r.waiting_for_node is not null",
        f"chimeway.workflow_runs r join laid w on {version} where {live} and {ASTRAY}",
        f"chimeway.workflow_runs r where {live} and {NO_MESSAGE}",
    )
    found = " union ".join(f"select r.id, r.shard from {source}" for source in sources)
    sql = f"""
        with {LAID_OUT}, found as materialized (select f.* from ({found}) f order by f.id limit $1::text::int)
        select r.id, r.tenant_id, r.recipient_id, r.workflow_key, r.workflow_version, r.state, r.step,
               case when r.held_reason is not null then 'held'
                    when r.waiting_for_node is not null then 'waiting_for_node'
                    else 'stuck' end as kind,
               coalesce(r.held_reason, r.waiting_for_node, r.status_reason) as reason,
               coalesce(r.held_at, r.wake_at, r.entered_at, r.created_at) as since,
               r.status_context ->> 'to_step' as next_step,
               coalesce(p.timezone, r.status_context ->> 'zone', 'UTC') as zone
          from found f
          join chimeway.workflow_runs r on r.id = f.id and r.shard = f.shard
          left join chimeway.recipients p
            on p.tenant_id = r.tenant_id and p.recipient_id = r.recipient_id and p.shard = r.shard
         order by r.id"""
    return statement(sql, *args)
