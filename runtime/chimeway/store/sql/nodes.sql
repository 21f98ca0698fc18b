-- name: route_signals
-- Routes waiting signals: see schema.sql, section 8.
select s.run_id, s.last_arrival, s.more, (select r.tenant_id from chimeway.workflow_runs r where r.id = s.run_id) as tenant_id
  from chimeway.route_signals($1, $2, $3) s;

-- name: route_signals_in_turn
-- Routes the next signals of tenant after tenant; see schema.sql, section 8.
select s.run_id, s.last_tenant, (select r.tenant_id from chimeway.workflow_runs r where r.id = s.run_id) as tenant_id
  from chimeway.route_signals_in_turn($1, $2, $3, $4, $5) s;

-- name: function_is_there
-- Whether there is a function of this name.
select to_regproc($1) is not null;

-- name: enrol_node
-- Writes down that a node lives, and forgets those that have been silent for an hour.
with gone as (
    delete from chimeway.nodes n where n.seen_at < clock_timestamp() - interval '1 hour' and n.id <> $1
)
insert into chimeway.nodes as n (id, name, version, channels) values ($1, $2, $3, $4)
    on conflict (id) do update set seen_at = clock_timestamp();

-- name: set_asleep
-- Says whether producers must notify this node; marks those long silent as awake.
update chimeway.nodes n
   set asleep = case when n.id = $1 then $2 else false end,
       seen_at = case when n.id = $1 then clock_timestamp() else n.seen_at end
 where n.id = $1 or (n.asleep and n.seen_at < clock_timestamp() - interval '30 seconds');

-- name: leave_node
-- Takes a node off the list.
delete from chimeway.nodes n where n.id = $1;

-- name: acquire_lease
-- Takes the lease when it is free, expired or orphaned.
select a.epoch, a.clean from chimeway.acquire_lease($1, $2, $3) a;

-- name: renew_lease
-- Keeps the lease; false when another has it.
select chimeway.renew_lease($1, $2, $3);

-- name: release_lease
-- Hands the lease over.
select chimeway.release_lease($1, $2);

-- name: lock_lease
-- Takes the session lock that tells others that this process lives.
select pg_try_advisory_lock(206420, 0);

-- name: unlock_lease
-- Gives the session lock back.
select pg_advisory_unlock(206420, 0);

-- name: lease_state
-- Who has the lease, and whether it has expired, by the database's clock.
select s.owner, s.epoch, s.expires_at < clock_timestamp() as expired from chimeway.shards s;

-- name: database_now
-- The clock of all SQL.
select chimeway.clock();

-- name: other_node_has_channel
-- Whether a node other than this, seen of late, has a channel.
select exists (select from chimeway.nodes n
                where n.id <> $1 and $2 = any(n.channels) and n.seen_at > clock_timestamp() - interval '30 seconds');

-- name: send_probe
-- A listener's call to itself.
select pg_notify($1, '');
