-- name: console_begin_session
-- Begins a session of a token, and forgets those that have ended.
with gone as (delete from chimeway.console_sessions s where s.ends_at < clock_timestamp())
insert into chimeway.console_sessions (digest, token_id, ends_at)
values ($1, $2, clock_timestamp() + make_interval(secs => $3));

-- name: console_session
-- Whose a session is: no row when it has ended, or its token has, or is revoked.
select t.id, t.name, t.tenant_id, t.scopes
  from chimeway.console_sessions s
  join chimeway.api_tokens t on t.id = s.token_id
 where s.digest = $1 and s.ends_at > clock_timestamp()
   and t.revoked_at is null and (t.expires_at is null or t.expires_at > chimeway.clock());

-- name: console_end_session
-- Ends a session.
delete from chimeway.console_sessions s where s.digest = $1;

-- name: console_note_actions
-- Writes down what an operator did to many runs.
insert into chimeway.operator_actions (who, token_id, action, tenant_id, run_id, note)
select $1, $2, $3, r.tenant_id, r.id, case when r.forgotten_at is null then $5 end
  from unnest($4::uuid[]) g(id) join chimeway.workflow_runs r on r.id = g.id and r.shard = chimeway.shard_of_id(g.id);

-- name: console_actions_of_run
-- What operators did to a run, in the order of time.
select o.at, o.who, o.action, o.note from chimeway.operator_actions o where o.run_id = $1 order by o.at, o.id;

-- name: console_run_exists
-- Whether a tenant (null: any) has a run, and whose it is.
select r.tenant_id from chimeway.workflow_runs r
 where r.id = $1 and r.shard = chimeway.shard_of_id($1) and ($2::text is null or r.tenant_id = $2);

-- name: console_delivery_run
-- The run of a delivery of a tenant (null: any).
select d.run_id, d.tenant_id from chimeway.deliveries d
 where d.id = $1 and d.shard = chimeway.shard_of_id($1) and ($2::text is null or d.tenant_id = $2);

-- name: console_make_plan
-- Writes down what is about to be done, and forgets plans of days ago.
with gone as (delete from chimeway.operator_plans p where p.made_at < clock_timestamp() - interval '7 days')
insert into chimeway.operator_plans (token_id, action, tenant_id, chosen, retimed, run_ids, revisions, more)
values ($1, $2, $3, $4, $5, $6, $7, $8)
returning id;

-- name: console_plan
-- A plan of a token's.
select p.id, p.action, p.tenant_id, p.chosen, p.retimed, p.run_ids, p.revisions, p.more, p.made_at, p.begun_at, p.done,
       p.outcome, p.made_at > clock_timestamp() - make_interval(secs => $3) as fresh
  from chimeway.operator_plans p where p.id = $1 and p.token_id = $2;

-- name: console_lock_plan
-- The same, locked: who else confirms it waits, and then finds how far it has come.
select p.id, p.action, p.tenant_id, p.chosen, p.retimed, p.run_ids, p.revisions, p.more, p.made_at, p.begun_at, p.done,
       p.outcome, p.made_at > clock_timestamp() - make_interval(secs => $3) as fresh
  from chimeway.operator_plans p where p.id = $1 and p.token_id = $2 for update;

-- name: console_plan_came
-- Writes down how far a plan has come.
update chimeway.operator_plans p
   set begun_at = coalesce(p.begun_at, clock_timestamp()), done = $2, outcome = $3
 where p.id = $1;

-- name: console_cancel_runs
-- Stops runs of a plan.
select c.run_id, c.outcome from chimeway.cancel_runs($1, $2, $3, $4) c;

-- name: console_wake_runs
-- Wakes runs of a plan.
select c.run_id, c.outcome from chimeway.wake_runs($1, $2, $3) c;

-- name: console_retime_runs
-- Moves when the waits of a plan are over.
select c.run_id, c.outcome from chimeway.retime_runs($1, $2::timestamptz, $3::interval, $4, $5, $6) c;
