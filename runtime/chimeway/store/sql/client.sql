-- name: run_row
-- One run of a tenant.
select r.id, r.tenant_id, r.recipient_id, r.workflow_key, r.workflow_version, r.state, r.step, r.visit,
       r.status_reason, r.status_context, r.pending_signals, r.wake_at, r.held_reason, r.held_at,
       r.waiting_for_node, r.cancellation_key, r.event_id, r.created_at, r.ended_at
  from chimeway.workflow_runs r
 where r.id = $1::text::uuid and r.tenant_id = $2::text and r.shard = chimeway.shard_of_id($1::text::uuid);

-- name: run_row_of_any_tenant
-- One run, for the engine, which serves all tenants.
select r.id, r.tenant_id, r.recipient_id, r.workflow_key, r.workflow_version, r.state, r.step, r.visit,
       r.status_reason, r.status_context, r.pending_signals, r.wake_at, r.held_reason, r.held_at,
       r.waiting_for_node, r.cancellation_key, r.event_id, r.created_at, r.ended_at
  from chimeway.workflow_runs r
 where r.id = $1::text::uuid and r.shard = chimeway.shard_of_id($1::text::uuid);

-- name: list_runs
-- A page of a tenant's runs, the newest first, behind the cursor; each filter may be null. (The cursor is compared
-- with in any case: behind an "or" it would be no condition of the index, and a page would read all that are before it.)
select r.id, r.tenant_id, r.recipient_id, r.workflow_key, r.workflow_version, r.state, r.step, r.visit,
       r.status_reason, r.status_context, r.pending_signals, r.wake_at, r.held_reason, r.held_at,
       r.waiting_for_node, r.cancellation_key, r.event_id, r.created_at, r.ended_at
  from chimeway.workflow_runs r
 where r.tenant_id = $1::text
   and ($2::text is null or r.state = $2::text)
   and ($3::text is null or r.workflow_key = $3::text)
   and r.id < coalesce($4::text, 'ffffffff-ffff-ffff-ffff-ffffffffffff')::uuid
 order by r.id desc
 limit $5::text::int;

-- name: list_runs_of_recipient
-- The same of one recipient: his live runs and his ended ones stand in an index each.
with known as (
    (select r.id from chimeway.workflow_runs r
      where r.tenant_id = $1::text and r.recipient_id = $4::text and r.state in ('active','waiting')
        and ($2::text is null or r.state = $2::text) and ($3::text is null or r.workflow_key = $3::text)
        and r.id < coalesce($5::text, 'ffffffff-ffff-ffff-ffff-ffffffffffff')::uuid)
    union all
    (select r.id from chimeway.workflow_runs r
      where r.tenant_id = $1::text and r.recipient_id = $4::text and r.ended_at is not null
        and ($2::text is null or r.state = $2::text) and ($3::text is null or r.workflow_key = $3::text)
        and r.id < coalesce($5::text, 'ffffffff-ffff-ffff-ffff-ffffffffffff')::uuid
      order by r.tenant_id desc, r.recipient_id desc, r.id desc limit $6::text::int)
    order by id desc limit $6::text::int
)
select r.id, r.tenant_id, r.recipient_id, r.workflow_key, r.workflow_version, r.state, r.step, r.visit,
       r.status_reason, r.status_context, r.pending_signals, r.wake_at, r.held_reason, r.held_at,
       r.waiting_for_node, r.cancellation_key, r.event_id, r.created_at, r.ended_at
  from known k cross join lateral (select r.* from chimeway.workflow_runs r where r.id = k.id offset 0) r
 order by r.id desc;

-- name: explain_context
-- What a run's explanation needs beside its own rows: zone, definition, whether paused, whose event.
select coalesce(p.timezone, 'UTC') as zone, w.definition, w.paused_at, e.idempotency_key, e.id as event_id,
       chimeway.clock() as now, r.forgotten_at
  from chimeway.workflow_runs r
  join chimeway.workflow_definitions w on w.key = r.workflow_key and w.version = r.workflow_version
  left join chimeway.events e on e.id = r.event_id and e.shard = chimeway.shard_of_id(r.event_id)
  left join chimeway.recipients p
    on p.tenant_id = r.tenant_id and p.recipient_id = r.recipient_id and p.shard = r.shard
 where r.id = $1::text::uuid and r.shard = chimeway.shard_of_id($1::text::uuid);

-- name: explain_transitions
-- The audit of a run, in order.
select t.seq, t.decision_id, t.reason, t.from_state, t.to_state, t.from_step, t.to_step, t.visit,
       t.status_reason, t.context, t.signal_id, t.signal_type, t.note, t.at
  from chimeway.workflow_transitions t
 where t.run_id = $1::text::uuid and t.shard = chimeway.shard_of_id($1::text::uuid)
 order by t.seq;

-- name: explain_deliveries
-- The deliveries of a run, in the order of its visits.
select d.id, d.visit, d.step_id, d.channel, d.render_key, d.status, d.suppression_reason, d.attempt_count,
       d.failed_count, d.stop_requested, d.next_attempt_at, d.waiting_for_node, d.last_outcome,
       d.last_error_class, d.note, d.created_at, d.terminal_at, d.deferred_reason
  from chimeway.deliveries d
 where d.run_id = $1::text::uuid and d.shard = chimeway.shard_of_id($1::text::uuid)
 order by d.visit;

-- name: explain_attempts
-- The provider calls of a run, each with its result where one was recorded.
select a.delivery_id, a.attempt_no, a.node, a.started_at, x.outcome, x.error_class, x.note,
       x.provider_reference, x.finished_at, a.provider
  from chimeway.deliveries d
  join chimeway.delivery_attempts a on a.delivery_id = d.id and a.shard = d.shard
  left join chimeway.delivery_attempt_results x
    on x.delivery_id = a.delivery_id and x.attempt_no = a.attempt_no and x.shard = a.shard
 where d.run_id = $1::text::uuid and d.shard = chimeway.shard_of_id($1::text::uuid)
 order by a.delivery_id, a.attempt_no;

-- name: explain_feedback
-- What providers told later of a run's messages, in the order in which it was recorded.
select f.delivery_id, f.source, f.event_id, f.kind, f.at, f.detail, f.recorded_at
  from chimeway.deliveries d
  join chimeway.delivery_feedback f on f.delivery_id = d.id and f.shard = d.shard
 where d.run_id = $1::text::uuid and d.shard = chimeway.shard_of_id($1::text::uuid)
 order by f.recorded_at, f.event_id;

-- name: explain_verdicts
-- What policy said of a run's messages, in order.
select v.delivery_id, v.stage, v.verdict, v.reason, v.until, v.inputs, v.at
  from chimeway.deliveries d
  join chimeway.delivery_verdicts v on v.delivery_id = d.id and v.shard = d.shard
 where d.run_id = $1::text::uuid and d.shard = chimeway.shard_of_id($1::text::uuid)
 order by v.delivery_id, v.number;

-- name: explain_tenant
-- The zone of a run's tenant, which its recipients have who have none of their own.
select t.timezone
  from chimeway.workflow_runs r
  join chimeway.tenants t on t.tenant_id = r.tenant_id
  left join chimeway.recipients p
    on p.tenant_id = r.tenant_id and p.recipient_id = r.recipient_id and p.shard = r.shard
 where r.id = $1::text::uuid and r.shard = chimeway.shard_of_id($1::text::uuid) and p.timezone is null;

-- name: explain_restored
-- Which of a run's messages a restore held back, and what was decided about each.
select h.delivery_id, s.taken_at, h.held_at, h.decision, h.decided_at, h.decided_by
  from chimeway.deliveries d
  join chimeway.restored_deliveries h on h.delivery_id = d.id
  join chimeway.restores s on s.id = h.restore_id
 where d.run_id = $1::text::uuid and d.shard = chimeway.shard_of_id($1::text::uuid)
 order by h.delivery_id;

-- name: explain_mailbox
-- What was said to a run, in the order of its numbers; never the payload.
select b.number, b.signal_id, s.type, b.routed_at, b.consumed_by, s.created_at
  from chimeway.run_mailbox b
  join chimeway.signals s on s.id = b.signal_id and s.shard = b.shard
 where b.run_id = $1::text::uuid and b.shard = chimeway.shard_of_id($1::text::uuid)
 order by b.number;

-- name: explain_signals_outside
-- Signals that the run's definition names and that are in no mailbox of it: of a run that has ended, what came after that and
-- is never routed to it; of a live one, what is committed and not routed yet: the next look at the run hears it.
select s.id as signal_id, s.type, s.created_at
  from chimeway.workflow_runs r
  join chimeway.workflow_definitions w on w.key = r.workflow_key and w.version = r.workflow_version
  join chimeway.signals s on s.tenant_id = r.tenant_id and s.actor_id = r.recipient_id and s.shard = r.shard
 where r.id = $1::text::uuid and r.shard = chimeway.shard_of_id($1::text::uuid)
   and case when r.ended_at is not null then s.created_at >= r.ended_at else s.routed_at is null end
   and s.type = any(w.signal_types) and s.arrival > r.arrival
   and (s.run_id is null or s.run_id = r.id)
   and not exists (select from chimeway.run_mailbox b
                    where b.run_id = r.id and b.signal_id = s.id and b.shard = s.shard)
 order by s.arrival limit 20;

-- name: waiting_runs
-- A page of the waiting room, who goes on first, behind the cursor. Who has no zone of his own has the one that his
-- wait was counted in.
select r.id, r.tenant_id, r.recipient_id, r.workflow_key, r.workflow_version, r.step, r.status_context,
       r.pending_signals, r.wake_at, r.entered_at, r.held_reason, w.paused_at,
       coalesce(p.timezone, r.status_context ->> 'zone', 'UTC') as zone
  from chimeway.workflow_runs r
  join chimeway.workflow_definitions w on w.key = r.workflow_key and w.version = r.workflow_version
  left join chimeway.recipients p
    on p.tenant_id = r.tenant_id and p.recipient_id = r.recipient_id and p.shard = r.shard
 where r.tenant_id = $1::text and r.state = 'waiting'
   and (coalesce(r.wake_at, '9999-12-31Z'), r.id)
       > (coalesce($2::text, '-infinity')::timestamptz, coalesce($3::text, '00000000-0000-0000-0000-000000000000')::uuid)
 order by coalesce(r.wake_at, '9999-12-31Z'), r.id
 limit $4::text::int;

-- name: overdue_runs
-- Runs past their wake by more than is allowed, counted from the last take-over, the latest first, behind the
-- cursor; paused and held ones wait on purpose.
select r.id, r.tenant_id, r.recipient_id, r.workflow_key, r.workflow_version, r.state, r.step,
       r.status_reason as reason, r.wake_at as since, r.status_context ->> 'to_step' as next_step,
       coalesce(p.timezone, r.status_context ->> 'zone', 'UTC') as zone
  from chimeway.shards h
 cross join lateral generate_series(h.first_shard::int, h.last_shard::int) s(shard)
 cross join lateral (
        select r.* from chimeway.workflow_runs r
          join chimeway.workflow_definitions w on w.key = r.workflow_key and w.version = r.workflow_version
         where r.shard = s.shard::smallint and r.wake_at is not null and r.held_reason is null
           and r.waiting_for_node is null and not r.parked and w.paused_at is null
           and r.wake_at < (select chimeway.clock() - $1::text::interval)  -- once: a condition of the index
           and ($2::text is null or r.tenant_id = $2::text)
           and (r.wake_at, r.id) > (coalesce($4::text, '-infinity')::timestamptz,
                                    coalesce($5::text, '00000000-0000-0000-0000-000000000000')::uuid)
           and not chimeway.is_stuck(r, w)
         order by r.wake_at, r.id limit $3::text::int) r
  left join chimeway.recipients p
    on p.tenant_id = r.tenant_id and p.recipient_id = r.recipient_id and p.shard = r.shard
 where h.taken_at is null or h.taken_at < chimeway.clock() - $1::text::interval
 order by r.wake_at, r.id
 limit $3::text::int;

-- name: list_definitions
-- The registered definitions, the newest version of each key first, and which of them a trigger starts.
select d.key, d.version, d.digest, d.activated, d.paused_at, d.registered_at,
       d.activated or (d.version = max(d.version) over (partition by d.key)
                       and not bool_or(d.activated) over (partition by d.key)) as is_current
  from chimeway.workflow_definitions d
 order by d.key, d.version desc;

-- name: find_definition
-- One registered definition: a version, or (null) the one that a trigger would start now.
select d.key, d.version, d.digest, d.definition, d.activated, d.paused_at, d.registered_at,
       d.data_schema
  from chimeway.workflow_definitions d
 where d.key = $1 and ($2::int is null or d.version = $2)
 order by d.activated desc, d.version desc limit 1;

-- name: current_definitions
-- What triggers start now: the current version of each key behind the cursor, with its data's schema.
select distinct on (d.key) d.key, d.version, d.definition, d.required_data, d.data_schema
  from chimeway.workflow_definitions d
 where d.key > $1
 order by d.key, d.activated desc, d.version desc
 limit $2;

-- name: definitions_with_live_runs
-- Versions that some live run is pinned to, by key and version.
select d.key, d.version, d.definition, d.required_data, d.data_schema
  from chimeway.workflow_definitions d
  join (select distinct r.workflow_key, r.workflow_version
          from chimeway.workflow_runs r where r.state in ('active','waiting')) live
    on live.workflow_key = d.key and live.workflow_version = d.version
 order by d.key, d.version;

-- name: deactivate_versions
-- Lets the highest version of a key be the current one again.
update chimeway.workflow_definitions d set activated = false where d.key = $1 and d.activated;

-- name: activate_version
-- Fixes one version of a key as the current one.
update chimeway.workflow_definitions d set activated = true where d.key = $1 and d.version = $2 returning true;

-- name: lock_versions
-- Makes two activations of one key follow each other, and lets triggers pass, which hold the version that they start.
select d.version from chimeway.workflow_definitions d where d.key = $1 order by d.version for no key update;

-- name: pause_workflow
-- Holds or gives back the decisions of a workflow's runs.
select chimeway.pause_workflow($1, $2);

-- name: resume_run
-- Gives a held run back; false when it was not held.
select chimeway.resume_run($1, $2);

-- name: failed_deliveries
-- Messages that failed and are to be tried again, or that policy has put off, the next first, behind the cursor, with
-- what keeps them.
select d.id as delivery_id, d.run_id, d.tenant_id, d.recipient_id, d.step_id as step, d.channel, d.attempt_count,
       d.last_error_class as error_class, d.note, d.next_attempt_at, r.held_reason, d.waiting_for_node, d.status,
       d.deferred_reason,
       (select a.provider from chimeway.delivery_attempts a
         where a.delivery_id = d.id and a.shard = d.shard and a.attempt_no = d.attempt_count) as provider
  from (-- what is due some day, and what no node can do: an index each
        select f.* from chimeway.deliveries f where f.next_attempt_at is not null and f.waiting_for_node is null
        union all
        select f.* from chimeway.deliveries f where f.next_attempt_at is not null and f.waiting_for_node is not null) d
  join chimeway.workflow_runs r on r.id = d.run_id and r.shard = d.shard
 where d.status in ('failed','deferred')
   and ($1::text is null or d.tenant_id = $1) and ($2::text is null or d.channel = $2)
   and (d.next_attempt_at, d.id) > (coalesce($4::timestamptz, '-infinity'),
                                    coalesce($5::uuid, '00000000-0000-0000-0000-000000000000'))
 order by d.next_attempt_at, d.id
 limit $3;

-- name: retry_delivery
-- Lets a failed message be tried again now; as it was found, or no row.
select t.retried, t.run_id, t.workflow_key, t.recipient_id, t.step_id, t.channel, t.status, t.suppression_reason,
       t.stop_requested, t.attempt_count, t.next_attempt_at, t.terminal_at, t.held_reason, t.waiting_for_node
  from chimeway.retry_delivery($1, $2) t;

-- name: runs_of_key
-- The runs that an idempotency key began, in the order of their recipients.
select t.run_id, t.recipient_id
  from chimeway.events e
 cross join lateral unnest(e.run_ids, e.recipient_ids) with ordinality t(run_id, recipient_id, place)
 where e.tenant_id = $1 and e.idempotency_key = $2 and e.shard = chimeway.shard_of($1, $2)
 order by t.place;

-- name: listed_nodes
-- All nodes on the list, and leases whose node is not: what each has, and when it was last seen.
select coalesce(n.id, l.node) as node_id, n.name, n.version, n.channels, n.started_at, n.seen_at,
       n.seen_at > clock_timestamp() - interval '30 seconds' as seen,
       l.taken_at as lease_since, l.expires_at as lease_until, l.expires_at > clock_timestamp() as held, l.draining,
       coalesce(s.shards, 0) as shards, coalesce(s.suspect, 0) as suspect
  from chimeway.nodes n
  full join chimeway.leases l on l.node = n.id
  left join (select o.owner, count(*)::int as shards, (count(*) filter (where not o.clean))::int as suspect
               from chimeway.shard_owners o group by o.owner) s on s.owner = l.owner
 order by n.started_at, l.epoch, n.id;

-- name: lease_holders
-- Who holds which shards: until when, and when that node was last seen.
select array_agg(x.shard order by x.shard) as shards, n.name, n.seen_at, s.expires_at,
       s.expires_at > clock_timestamp() as held
  from chimeway.shards s
 cross join lateral generate_series(s.first_shard::int, s.last_shard::int) x(shard)
  left join chimeway.nodes n on n.id = s.node
 group by s.owner, s.expires_at, n.name, n.seen_at
 order by min(x.shard);
