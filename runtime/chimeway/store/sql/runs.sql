-- name: load_runs
-- Everything that deciding about runs depends on, in one snapshot; of payloads what conditions look at. Run by run:
-- `offset 0` keeps the planner, whose statistics may be of a time before a backlog, from joining whole tables. (Where
-- a run's row says that there is nothing yet, nothing is looked for: no message before the first step, no mail.)
-- $2: signals that are not routed yet count as mail, by the numbers that the ledger would give them.
select r.id, r.shard, r.tenant_id, r.recipient_id, r.workflow_key, r.workflow_version, r.state, r.step, r.visit,
       r.revision, r.mailbox_count + m.foretold as mailbox_count, m.foretold, r.mailbox_seen, r.status_reason, r.status_context, r.pending_signals, r.wake_at,
       r.entered_at, r.armed_step, r.armed_entered_at, r.held_reason, r.created_at,
       w.paused_at is not null as paused,
       coalesce(e.data, '{}') as data,
       coalesce(p.timezone, t.timezone) as timezone, coalesce(p.locale, t.locale) as locale,
       coalesce(p.addresses, '{}') as addresses, coalesce(p.data, '{}') as profile,
       p.preferences, p.version as profile_version, t.preferences as tenant_preferences, t.version as tenant_version,
       t.working_days, t.holidays, b.budgets,
       d.id as d_id, d.visit as d_visit, d.step_id as d_step_id, d.status as d_status, d.revision as d_revision,
       d.suppression_reason as d_suppression_reason, d.terminal_at as d_terminal_at,
       d.attempt_count as d_attempts, d.failed_count as d_failed, d.last_outcome as d_last_outcome,
       d.last_error_class as d_last_error_class,
       m.numbers, m.signal_ids, m.types, m.payloads, m.created,
       (select jsonb_object_agg(l.step_id, l.id) from (
            select distinct on (x.step_id) x.step_id, x.id from chimeway.deliveries x
             where r.visit > 0 and x.run_id = r.id and x.shard = r.shard
             order by x.step_id, x.visit desc) l) as delivery_ids
  from unnest($1::uuid[]) i(id)
 cross join lateral (select * from chimeway.workflow_runs r where r.id = i.id offset 0) r
  join chimeway.workflow_definitions w on w.key = r.workflow_key and w.version = r.workflow_version
  left join lateral (
        select e.data from chimeway.events e
         where e.id = r.event_id and e.shard = chimeway.shard_of_id(r.event_id) offset 0) e on true
  left join lateral (
        select p.timezone, p.locale, p.addresses, p.data, p.preferences, p.xmin::text::bigint as version
          from chimeway.recipients p
         where p.tenant_id = r.tenant_id and p.recipient_id = r.recipient_id and p.shard = r.shard offset 0) p on true
  left join lateral (
        select t.timezone, t.locale, t.preferences, t.working_days, t.holidays, t.xmin::text::bigint as version
          from chimeway.tenants t where t.tenant_id = r.tenant_id offset 0) t on true
  left join lateral (
        select jsonb_object_agg(b.channel, jsonb_build_array(b.revision, b.sent_at)) as budgets
          from chimeway.send_budgets b
         where b.tenant_id = r.tenant_id and b.recipient_id = r.recipient_id and b.shard = r.shard) b on true
  left join lateral (
        select * from chimeway.deliveries d
         where r.visit > 0 and d.run_id = r.id and d.visit = r.visit and d.shard = r.shard offset 0) d on true
  left join lateral (
        select array_agg(b.number order by b.number) as numbers,
               array_agg(s.id order by b.number) as signal_ids,
               array_agg(s.type order by b.number) as types,
               array_agg(case when jsonb_typeof(s.payload) <> 'object' then '{}' else
                    (select coalesce(jsonb_object_agg(f.name, s.payload -> f.name), '{}')
                       from unnest(w.match_fields) f(name) where s.payload ? f.name) end
                    order by b.number) as payloads,
               array_agg(s.created_at order by b.number) as created,
               (count(*) filter (where b.number > r.mailbox_count))::int as foretold
          from (select b.number, b.signal_id from chimeway.run_mailbox b
                 where r.mailbox_count > 0 and b.run_id = r.id and b.shard = r.shard and b.consumed_by is null
                   and r.state in ('active','waiting')
                union all
                select r.mailbox_count + (row_number() over (order by u.arrival))::int, u.id
                  from chimeway.signals u
                 where $2::boolean and r.visit > 0 and r.state in ('active','waiting')
                   and u.routed_at is null and u.tenant_id = r.tenant_id and u.actor_id = r.recipient_id
                   and u.shard = r.shard and u.arrival > r.arrival and u.type = any(w.signal_types)
                   and (u.run_id is null or u.run_id = r.id)
                   and not exists (select from chimeway.run_mailbox b
                                    where b.run_id = r.id and b.signal_id = u.id and b.shard = r.shard offset 0)
               ) b(number, signal_id)
         cross join lateral (
                select s.id, s.type, s.payload, s.created_at from chimeway.signals s
                 where s.id = b.signal_id offset 0) s) m on true;

-- name: due_runs
-- One page of due runs in each shard, in due order behind the cursors; paused workflows are marked.
select q.id, q.wake_at, q.shard, q.tenant_id, w.paused_at is not null as paused
  from unnest($1::smallint[], $2::timestamptz[], $3::uuid[]) s(shard, after_at, after_id)
 cross join lateral (
        select r.id, r.wake_at, r.shard, r.tenant_id, r.workflow_key, r.workflow_version from chimeway.workflow_runs r
         where r.shard = s.shard and r.wake_at is not null and r.held_reason is null and r.waiting_for_node is null
           and not r.parked and (r.wake_at, r.id) > (s.after_at, s.after_id) and r.wake_at <= $4
         order by r.wake_at, r.id limit $5) q
  join chimeway.workflow_definitions w on w.key = q.workflow_key and w.version = q.workflow_version
 order by q.wake_at, q.id;

-- name: any_new_run
-- Whether a run is due in which no step was entered yet: one look into an index, where a page of what is due
-- looks into that of each shard.
select exists (
    select from chimeway.workflow_runs r
     where least(r.visit, 1) = 0 and r.wake_at is not null and r.held_reason is null and r.waiting_for_node is null
       and not r.parked);

-- name: due_runs_in_turn
-- What is due of tenant after tenant: see schema.sql, section 8.
select t.id, t.wake_at, t.tenant_id, t.paused from chimeway.due_runs_in_turn($1, $2, $3, $4, $5, $6, $7) t;

-- name: due_runs_in_turn_of
-- The same of some shards.
select t.id, t.wake_at, t.tenant_id, t.paused from chimeway.due_runs_in_turn($1, $2, $3, $4, $5, $6, $7, $8) t;

-- name: oldest_due_runs
-- The runs of some shards that are due, oldest first; those of paused workflows are left out.
select q.id
  from unnest($3::smallint[]) s(shard)
 cross join lateral (
        select r.id, r.wake_at from chimeway.workflow_runs r
          join chimeway.workflow_definitions w on w.key = r.workflow_key and w.version = r.workflow_version
         where r.shard = s.shard and r.wake_at is not null and r.held_reason is null
           and r.waiting_for_node is null and not r.parked and r.wake_at <= $1 and w.paused_at is null
         order by r.wake_at, r.id limit $2) q
 order by q.wake_at, q.id limit $2;

-- name: park_runs
-- Puts runs of paused workflows aside: due ones, so that they are not read at every look, and who has mail.
update chimeway.workflow_runs r set parked = true
 where r.id in (
        select p.id from chimeway.workflow_runs p
          join chimeway.workflow_definitions w on w.key = p.workflow_key and w.version = p.workflow_version
         where p.id = any($1::uuid[]) and not p.parked and w.paused_at is not null
           and p.state in ('active','waiting')
         order by p.id for update of p skip locked);

-- name: unpark_runs
-- Puts runs back whose workflow is no longer paused, some at a time.
update chimeway.workflow_runs r set parked = false
 where r.id in (
        select p.id from chimeway.workflow_definitions w
          join chimeway.workflow_runs p on p.workflow_key = w.key and p.parked and p.workflow_version = w.version
         where w.paused_at is null order by p.id limit $1 for update of p skip locked)
returning r.id, r.tenant_id;

-- name: glance
-- Whether there is anything to look for: signals, what is due in some shards, runs whose pause is over; and, of all shards,
-- calls to providers that are under way or unanswered, or wait for a node that can make them. Each is read by the index
-- by which whoever looks for it finds it, and one entry of it is enough.
select chimeway.clock() as now,
       exists (select from (select from chimeway.signals g where g.routed_at is null order by g.arrival limit 1) g)
       or exists (
        select from unnest($1::smallint[]) s(shard)
         cross join lateral (
                select from chimeway.workflow_runs r
                 where r.shard = s.shard and r.wake_at is not null and r.held_reason is null
                   and r.waiting_for_node is null and not r.parked and r.wake_at <= $2
                 order by r.wake_at, r.id limit 1) q)
       or exists (
        select from unnest($1::smallint[]) s(shard)
         cross join lateral (
                select from chimeway.deliveries d
                 where d.shard = s.shard and d.next_attempt_at is not null and d.waiting_for_node is null
                   and d.next_attempt_at <= $2
                 order by d.next_attempt_at, d.id limit 1) q) as work,
       exists (
        select from chimeway.workflow_definitions w
         cross join lateral (
                select from chimeway.workflow_runs p
                 where p.workflow_key = w.key and p.parked and p.workflow_version = w.version
                 order by p.id limit 1) q
         where w.paused_at is null) as parked,
       exists (
        select from generate_series(0, 255) s(shard)
         cross join lateral (
                select from chimeway.deliveries d
                 where d.shard = s.shard::smallint and d.status = 'dispatched' order by d.id limit 1) q)
       or exists (
        select from (
                select from chimeway.deliveries d
                 where d.terminal_at is not null
                   and d.attempt_count > d.failed_count + case d.last_outcome when 'succeeded' then 1 else 0 end
                 order by d.id limit 1) q)
       or exists (
        select from generate_series(0, 255) s(shard)
         cross join lateral (
                select from chimeway.deliveries d
                 where d.shard = s.shard::smallint and d.waiting_for_node is not null order by d.id limit 1) q) as calls;

-- name: unread_runs
-- Live runs with mail that no written decision has seen, in id order behind the cursor; paused workflows are marked, and
-- what is put aside until they go on is left out.
select r.id, r.mailbox_count, r.revision, w.paused
  from chimeway.workflow_runs r
 cross join lateral (
        select w.paused_at is not null as paused from chimeway.workflow_definitions w
         where w.key = r.workflow_key and w.version = r.workflow_version offset 0) w
 where r.mailbox_count > r.mailbox_seen and r.state in ('active','waiting') and r.held_reason is null
   and r.waiting_for_node is null and not (r.parked and w.paused) and r.id > $1
   and r.shard = any($3::smallint[])
 order by r.id limit $2;

-- name: hold_run
-- Holds a live run; false when it is not live, held already or ($4 false) locked by somebody else.
select chimeway.hold_run($1, $2, $3, $4);

-- name: struck_runs
-- Live runs of some shards that were suspects when a node died; those with most strikes come last.
select r.id, r.strikes from chimeway.workflow_runs r
 where r.shard = any($2::smallint[]) and r.strikes > 0 and r.state in ('active','waiting') and r.held_reason is null
 order by r.strikes, r.id limit $1;

-- name: strike_runs
-- Writes down, before suspects are evaluated, that they are. (An array, and no `in`: a join would read the whole table
-- wherever the planner takes it for empty.)
update chimeway.workflow_runs r set strikes = r.strikes + 1
 where r.id = any(array(
        select p.id from chimeway.workflow_runs p
         where p.id = any($1::uuid[]) and p.state in ('active','waiting') and p.held_reason is null
         order by p.id for update skip locked));

-- name: clear_strikes
-- Takes the strikes of suspects away that were evaluated without harm.
update chimeway.workflow_runs r set strikes = 0
 where r.id = any(array(
        select p.id from chimeway.workflow_runs p where p.id = any($1::uuid[]) and p.strikes > 0
         order by p.id for update skip locked));

-- name: mark_run_incapable
-- Says of a run what this node lacks; it leaves the due index until a node that has it clears the mark.
update chimeway.workflow_runs r set waiting_for_node = $2
 where r.id = (select p.id from chimeway.workflow_runs p
                where p.id = $1 and p.state in ('active','waiting') for update skip locked)
returning true;

-- name: incapable_runs
-- Runs that wait for a node that can do what they need.
select q.id, q.workflow_key, q.workflow_version
  from generate_series(0, 255) s(shard)
 cross join lateral (
        select r.id, r.workflow_key, r.workflow_version from chimeway.workflow_runs r
         where r.shard = s.shard::smallint and r.waiting_for_node is not null and r.id > $1
         order by r.id limit $2) q
 order by q.id limit $2;

-- name: clear_run_incapable
-- Gives runs back to the nodes.
update chimeway.workflow_runs r
   set waiting_for_node = null, wake_at = chimeway.wake_again(r, chimeway.clock())
 where r.id = any(array(
        select p.id from chimeway.workflow_runs p
         where p.id = any($1::uuid[]) and p.waiting_for_node is not null and p.state in ('active','waiting')
         order by p.id for update skip locked))
returning r.id, r.tenant_id;

-- name: load_definition
-- One stored definition.
select d.definition, d.digest from chimeway.workflow_definitions d where d.key = $1 and d.version = $2;

-- name: commit_decisions
-- The ledger: see schema.sql, section 6.
select c.run_id, c.answer from chimeway.commit_decisions(
    $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24,
    $25, $26, $27, $28, $29, $30, $31, $32, $33, $34, $35, $36, $37, $38, $39, $40, $41, $42, $43, $44, $45, $46,
    $47, $48, $49, $50, $51, $52, $53, $54, $55, $56, $57, $58, $59, $60, $61, $62) c;

-- name: backlog
-- How much is due in some shards, counted up to so many of each shard; and of the signals that nobody has routed.
select (select count(*)::int from unnest($1::smallint[]) s(shard) cross join lateral (
            select from chimeway.workflow_runs r
             where r.shard = s.shard and r.wake_at is not null and r.held_reason is null
               and r.waiting_for_node is null and not r.parked and r.wake_at <= $2
             order by r.wake_at, r.id limit $3) q) as runs,
       (select count(*)::int from unnest($1::smallint[]) s(shard) cross join lateral (
            select from chimeway.deliveries d
             where d.shard = s.shard and d.next_attempt_at is not null and d.waiting_for_node is null
               and d.next_attempt_at <= $2
             order by d.next_attempt_at, d.id limit $3) q) as deliveries,
       (select count(*)::int from (
            select from chimeway.signals s where s.routed_at is null order by s.arrival limit $4) q) as signals,
       (select extract(epoch from $2 - s.created_at)::float8
          from chimeway.signals s where s.routed_at is null order by s.arrival limit 1) as signal_s;

-- name: trace_contexts
-- The trace contexts of runs whose triggers had one, run by run.
select i.id, e.traceparent
  from unnest($1::uuid[]) i(id)
 cross join lateral (
        select r.event_id from chimeway.workflow_runs r
         where r.id = i.id and r.shard = chimeway.shard_of_id(i.id) offset 0) r
 cross join lateral (
        select e.traceparent from chimeway.events e
         where e.id = r.event_id and e.shard = chimeway.shard_of_id(r.event_id) offset 0) e
 where e.traceparent is not null;
