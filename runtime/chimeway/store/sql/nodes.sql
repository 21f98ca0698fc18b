-- name: route_signals
-- Routes waiting signals: see schema.sql, section 8. Its commit need not be flushed: what a crash takes back is
-- an unrouted signal again, as it was; and a decision that goes by it flushes it with itself, or is lost, too.
select s.run_id, s.last_arrival, s.more, (select r.tenant_id from chimeway.workflow_runs r where r.id = s.run_id) as tenant_id
  from (select set_config('synchronous_commit', 'off', true) as set) unflushed
 cross join lateral chimeway.route_signals(case unflushed.set when 'off' then $1::int end, $2, $3) s;

-- name: route_signals_of
-- The same of some shards.
select s.run_id, s.last_arrival, s.more, (select r.tenant_id from chimeway.workflow_runs r where r.id = s.run_id) as tenant_id
  from (select set_config('synchronous_commit', 'off', true) as set) unflushed
 cross join lateral chimeway.route_signals(case unflushed.set when 'off' then $1::int end, $2, $3, $4) s;

-- name: heed_signals
-- Which runs unrouted signals of some shards ($5) are for, behind an arrival number ($3), but for those that are known
-- ($4): of at most $1 signals, of each at most $2. Writes nothing.
select w.id as signal_id, q.id as run_id, w.tenant_id, w.arrival
  from (select s.id, s.shard, s.tenant_id, s.actor_id, s.arrival, s.type, s.run_id from chimeway.signals s
         where s.routed_at is null and s.arrival > $3 and s.id not in (select unnest($4::uuid[]))
           and s.shard = any($5::smallint[])
         order by s.arrival limit $1) w
  left join lateral (
        select r.id from chimeway.workflow_runs r
          join chimeway.workflow_definitions d on d.key = r.workflow_key and d.version = r.workflow_version
         where r.tenant_id = w.tenant_id and r.recipient_id = w.actor_id and r.shard = w.shard
           and r.state in ('active','waiting') and r.arrival < w.arrival and w.type = any(d.signal_types)
           and (w.run_id is null or w.run_id = r.id)
           and not exists (select from chimeway.run_mailbox b
                            where b.run_id = r.id and b.signal_id = w.id and b.shard = w.shard offset 0)
         limit $2) q on true;

-- name: route_named_signals
-- Routes the signals that are named. Its commit need not be flushed, as above.
select s.run_id, s.more, (select r.tenant_id from chimeway.workflow_runs r where r.id = s.run_id) as tenant_id
  from (select set_config('synchronous_commit', 'off', true) as set) unflushed
 cross join lateral chimeway.route_named_signals(case unflushed.set when 'off' then $1::uuid[] end, $2) s;

-- name: route_signals_in_turn
-- Routes the next signals of tenant after tenant; see schema.sql, section 8.
select s.run_id, s.last_tenant, (select r.tenant_id from chimeway.workflow_runs r where r.id = s.run_id) as tenant_id
  from (select set_config('synchronous_commit', 'off', true) as set) unflushed
 cross join lateral chimeway.route_signals_in_turn(case unflushed.set when 'off' then $1::int end, $2, $3, $4, $5) s;

-- name: route_signals_in_turn_of
-- The same of some shards.
select s.run_id, s.last_tenant, (select r.tenant_id from chimeway.workflow_runs r where r.id = s.run_id) as tenant_id
  from (select set_config('synchronous_commit', 'off', true) as set) unflushed
 cross join lateral chimeway.route_signals_in_turn(case unflushed.set when 'off' then $1::int end, $2, $3, $4, $5, $6) s;

-- name: enrol_node
-- Writes down that a node lives, then forgets those that have been silent for an hour and that nobody has locked.
with living as (
    insert into chimeway.nodes as n (id, name, version, channels) values ($1, $2, $3, $4)
        on conflict (id) do update set seen_at = clock_timestamp()
    returning n.id
)
delete from chimeway.nodes g where g.id in (
    select n.id from living l cross join chimeway.nodes n
     where n.id <> l.id and n.seen_at < clock_timestamp() - interval '1 hour' for update of n skip locked);

-- name: set_asleep
-- Says whether producers must notify this node, then marks those long silent, and that nobody has locked, as awake.
with living as (
    update chimeway.nodes n set asleep = $2, seen_at = clock_timestamp() where n.id = $1 returning n.id
)
update chimeway.nodes g set asleep = false where g.id in (
    select n.id from living l cross join chimeway.nodes n
     where n.id <> l.id and n.asleep and n.seen_at < clock_timestamp() - interval '30 seconds'
       for update of n skip locked);

-- name: leave_node
-- Takes a node off the list.
delete from chimeway.nodes n where n.id = $1;

-- name: hint
-- Wakes the nodes that sleep: one has changed what is another's.
select chimeway.hint();

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
