-- name: move_test_clock
-- Moves the clock of a database that was installed for tests.
update chimeway.test_clock set at = $1;

-- name: due_runs_in_order
-- The runs that are due at an instant, in the order of time and then of their triggers; those of paused
-- workflows are left out.
select r.id from chimeway.workflow_runs r
  join chimeway.workflow_definitions w on w.key = r.workflow_key and w.version = r.workflow_version
 where r.wake_at <= $1 and r.held_reason is null and r.waiting_for_node is null and w.paused_at is null
 order by r.wake_at, r.arrival;

-- name: due_deliveries_in_order
-- The deliveries to be attempted at an instant, likewise; channels in $2 are passed over.
select d.id from chimeway.deliveries d
  join chimeway.workflow_runs r on r.id = d.run_id and r.shard = d.shard
 where d.next_attempt_at <= $1 and d.waiting_for_node is null and d.channel <> all($2::text[])
 order by d.next_attempt_at, r.arrival, d.visit;

-- name: next_stop
-- The first instant behind $1 at which a run or a delivery is due; channels in $2 are passed over.
select min(q.at) as at from (
    select r.wake_at as at from chimeway.workflow_runs r
      join chimeway.workflow_definitions w on w.key = r.workflow_key and w.version = r.workflow_version
     where r.wake_at > $1 and r.held_reason is null and r.waiting_for_node is null and w.paused_at is null
    union all
    select d.next_attempt_at from chimeway.deliveries d
      join chimeway.workflow_runs r on r.id = d.run_id and r.shard = d.shard
     where d.next_attempt_at > $1 and d.waiting_for_node is null and d.channel <> all($2::text[])
       and r.held_reason is null) q;

-- name: all_runs
-- All runs, in the order of their triggers; of those whose version ($2, by $1) is known, nothing but that.
select r.id, r.xmin::text::bigint as version, x.*
  from chimeway.workflow_runs r
  left join unnest($1::uuid[], $2::bigint[]) k(id, version) on k.id = r.id and k.version = r.xmin::text::bigint
  left join lateral (
    select r.tenant_id, r.recipient_id, r.workflow_key, r.workflow_version, r.state, r.step, r.visit,
           r.status_reason, r.status_context, r.pending_signals, r.wake_at, r.held_reason, r.held_at,
           r.waiting_for_node, r.cancellation_key, r.event_id, r.created_at, r.ended_at
     where k.id is null) x on true
 order by r.arrival;

-- name: all_deliveries
-- All deliveries, in the order of their planning; likewise.
select d.run_id, d.id, d.xmin::text::bigint as version, x.*
  from chimeway.deliveries d
  join chimeway.workflow_runs r on r.id = d.run_id and r.shard = d.shard
  left join unnest($1::uuid[], $2::bigint[]) k(id, version) on k.id = d.id and k.version = d.xmin::text::bigint
  left join lateral (
    select d.visit, d.step_id, d.channel, d.render_key, d.status, d.suppression_reason, d.attempt_count,
           d.failed_count, d.stop_requested, d.next_attempt_at, d.waiting_for_node, d.last_outcome,
           d.last_error_class, d.note, d.created_at, d.terminal_at, d.deferred_reason
     where k.id is null) x on true
 order by d.created_at, r.arrival, d.visit;

-- name: attempts_of
-- The provider calls of some deliveries, each with its result where one was recorded.
select a.delivery_id, a.attempt_no, a.node, a.started_at, x.outcome, x.error_class, x.note,
       x.provider_reference, x.finished_at, a.provider
  from chimeway.delivery_attempts a
  left join chimeway.delivery_attempt_results x
    on x.delivery_id = a.delivery_id and x.attempt_no = a.attempt_no and x.shard = a.shard
 where a.delivery_id = any($1::uuid[])
 order by a.delivery_id, a.attempt_no;
