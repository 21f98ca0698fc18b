-- name: simulation_clean
-- Empties a database that simulations use, and sets its clock and what it draws ids from.
select chimeway.simulation_clean($1, $2);

-- name: simulation_blocked
-- Whether a session waits for one of others: not for a vacuum, which passes.
select pg_blocking_pids($1) && $2::int[];

-- name: simulation_end
-- Ends a session, and waits until it has ended.
select pg_terminate_backend($1, 10000);

-- name: simulation_sight
-- All rows that a history leaves, as one text of JSON; without what chance and the server's counters made of them.
select jsonb_build_object(
    'now', chimeway.clock(),
    'paused', (select coalesce(jsonb_agg(w.key order by w.key, w.version), '[]')
                 from chimeway.workflow_definitions w where w.paused_at is not null),
    'events', (select coalesce(jsonb_agg(to_jsonb(e) - 'shard' order by e.id), '[]') from chimeway.events e),
    'runs', (select coalesce(jsonb_agg(to_jsonb(r) - 'shard' order by r.arrival), '[]') from chimeway.workflow_runs r),
    'transitions', (select coalesce(jsonb_agg(to_jsonb(t) - '{shard,snapshot,xid}'::text[] order by t.run_id, t.seq), '[]')
                      from chimeway.workflow_transitions t),
    'deliveries', (select coalesce(jsonb_agg(to_jsonb(d) - '{shard,message}'::text[] order by d.run_id, d.visit), '[]')
                     from chimeway.deliveries d),
    'attempts', (select coalesce(jsonb_agg(jsonb_build_object(
                            'delivery_id', a.delivery_id, 'attempt_no', a.attempt_no, 'run_id', a.run_id,
                            'started_at', a.started_at, 'outcome', x.outcome, 'error_class', x.error_class,
                            'finished_at', x.finished_at) order by a.delivery_id, a.attempt_no), '[]')
                   from chimeway.delivery_attempts a
                   left join chimeway.delivery_attempt_results x
                     on x.delivery_id = a.delivery_id and x.attempt_no = a.attempt_no and x.shard = a.shard),
    'signals', (select coalesce(jsonb_agg(to_jsonb(s) - '{shard,xid}'::text[] order by s.arrival), '[]')
                  from chimeway.signals s),
    'mailbox', (select coalesce(jsonb_agg(to_jsonb(b) - 'shard' order by b.run_id, b.number), '[]')
                  from chimeway.run_mailbox b),
    'items', (select coalesce(jsonb_agg(jsonb_build_object('id', i.id, 'run_id', i.run_id, 'read_at', i.read_at)
                                        order by i.id), '[]') from chimeway.inbox_items i),
    'feedback', (select coalesce(jsonb_agg(jsonb_build_object(
                            'delivery_id', f.delivery_id, 'event_id', f.event_id, 'kind', f.kind,
                            'recorded_at', f.recorded_at)
                                           order by f.delivery_id, f.event_id), '[]')
                   from chimeway.delivery_feedback f)
)::text;

-- name: simulation_tables
-- For each table, what tells its name when there is a row in it.
select format('select %L as name where exists (select from chimeway.%I)', c.relname, c.relname) as question
  from pg_class c where c.relnamespace = 'chimeway'::regnamespace and c.relkind in ('r','p') and not c.relispartition;

-- name: simulation_shards
-- Leaves the shards of these people, and no other; returns them.
with gone as (
    delete from chimeway.shard_owners s
     where s.shard not in (select chimeway.shard_of(p.tenant_id, p.recipient_id)
                             from unnest($1::text[], $2::text[]) p(tenant_id, recipient_id))
    returning s.shard
)
select s.shard from chimeway.shard_owners s where s.shard not in (select g.shard from gone g);

-- name: simulation_expire
-- Has a lease expire.
update chimeway.leases set expires_at = '-infinity' where owner = $1;

-- name: simulation_trigger
-- What a producer does: starts a run.
select chimeway.trigger($1, tenant_id => $2, recipient_id => $3, data => $4, idempotency_key => $5,
                        cancellation_key => $6);

-- name: simulation_signal
-- What a producer does: says what happened.
select chimeway.signal($1, tenant_id => $2, actor_id => $3, payload => $4, dedupe_key => $5);

-- name: simulation_identify
-- What a producer does: writes a profile.
select chimeway.identify(tenant_id => $1, recipient_id => $2, profile => $3);

-- name: simulation_cancel
-- What a producer does: stops the runs of a key.
select c.outcome from chimeway.cancel(tenant_id => $1, cancellation_key => $2) c;

-- name: simulation_hold
-- What an operator does: holds a run.
select chimeway.hold_run(r.id, 'held_by_request') from chimeway.workflow_runs r
 where r.tenant_id = $1 and r.cancellation_key = $2 and r.state in ('active','waiting') order by r.id;

-- name: simulation_resume
-- What an operator does: lets a run go on.
select chimeway.resume_run(r.id) from chimeway.workflow_runs r
 where r.tenant_id = $1 and r.cancellation_key = $2 and r.held_reason is not null order by r.id;

-- name: simulation_resume_all
-- What an operator does at the end of a scenario: lets all go on that somebody held.
select chimeway.resume_run(r.id) from chimeway.workflow_runs r
 where r.held_reason = 'held_by_request' order by r.id;

-- name: simulation_pause
-- What an operator does: pauses a workflow, or ends its pause.
select chimeway.pause_workflow($1, $2);

-- name: simulation_retry
-- What an operator does: has a failed message tried again.
select t.retried from chimeway.deliveries d
  join chimeway.workflow_runs r on r.id = d.run_id and r.shard = d.shard
 cross join lateral chimeway.retry_delivery(d.id, d.tenant_id) t
 where d.tenant_id = $1 and r.cancellation_key = $2 and d.status = 'failed' order by d.id;

-- name: simulation_feedback
-- What a provider tells later of the last message that it was asked to send.
select f.answer from chimeway.record_feedback('simulated', (
    select coalesce(jsonb_agg(q.event), '[]') from (
        select jsonb_build_object('type', $3::text, 'id', $4::text, 'delivery_id', d.id) as event
          from chimeway.deliveries d join chimeway.workflow_runs r on r.id = d.run_id and r.shard = d.shard
         where d.tenant_id = $1 and r.cancellation_key = $2 and d.attempt_count > 0
         order by d.visit desc limit 1) q), $1) f;

-- name: simulation_read
-- What a recipient does: reads all that is in the inbox.
select m.* from chimeway.mark_all_inbox($1, $2, 'read') m;
