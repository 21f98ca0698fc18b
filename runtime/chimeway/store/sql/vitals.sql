-- name: vitals
-- What a whole database has to say of itself, each count up to a bound ($3) and read by an index: of some shards ($1)
-- how long the oldest run is due that can move by itself (of the first sixteen of each, one after the other until one
-- is found: to see whether a run is stuck takes a while), of all what waits for people.
select (select extract(epoch from $2::timestamptz - (o.run).wake_at)::float8
          from (select r.run, w as definition
                  from unnest($1::smallint[]) s(shard)
                 cross join lateral (
                        select q as run from chimeway.workflow_runs q
                         where q.shard = s.shard and q.wake_at is not null and q.held_reason is null
                           and q.waiting_for_node is null and not q.parked and q.wake_at <= $2
                         order by q.wake_at, q.id limit 16) r
                  join chimeway.workflow_definitions w
                    on w.key = (r.run).workflow_key and w.version = (r.run).workflow_version
                 where w.paused_at is null
                 order by (r.run).wake_at offset 0) o
         where not chimeway.is_stuck(o.run, o.definition) limit 1) as overdue_s,
       (select greatest(q.many, case when q.many >= $3 then i.reltuples::bigint else 0 end)
          from (select count(*) as many from (
                    select from chimeway.workflow_runs r where r.state = 'waiting'
                     order by r.tenant_id, coalesce(r.wake_at, '9999-12-31Z'::timestamptz), r.id limit $3) q) q
         cross join (select c.reltuples from pg_class c where c.oid = 'chimeway.workflow_runs_waiting'::regclass) i
       )::float8 as waiting,
       (select count(*)::int from generate_series(0, 255) s(shard) cross join lateral (
            select from chimeway.workflow_runs r
             where r.shard = s.shard::smallint and r.waiting_for_node is not null order by r.id limit 16) q) as runs_for_node,
       (select count(*)::int from generate_series(0, 255) s(shard) cross join lateral (
            select from chimeway.deliveries d
             where d.shard = s.shard::smallint and d.waiting_for_node <> 'after_restore'  -- who waits for an operator
             order by d.id limit 16) q) as deliveries_for_node,
       (select count(*)::int from generate_series(0, 255) s(shard) cross join lateral (
            select from chimeway.deliveries d
             where d.shard = s.shard::smallint and d.status = 'dispatched' order by d.id limit 16) q) as dispatched,
       (select count(*)::int from (
            select from chimeway.workflow_runs r where r.held_reason is not null order by r.id limit $3) q) as held,
       (select count(*)::int from chimeway.workflow_definitions w where w.paused_at is not null) as paused,
       pg_notification_queue_usage() as notifications;

-- name: rows_written
-- How many rows were written into our tables so far, as the server's statistics have it: a few seconds late, and cheap.
select s.relname::text as name, s.n_tup_ins as written from pg_stat_user_tables s
 where s.schemaname = 'chimeway' and s.relname in ('events','signals','workflow_transitions','deliveries','delivery_attempts');

-- name: channels_waiting
-- Of the next messages that wait to be sent (sixteen of each shard), by channel: how many are due, how many were tried
-- and failed, and of what most of these failed.
select q.channel, count(*) filter (where q.due)::int as due, count(*) filter (where q.failed_count > 0)::int as retrying,
       mode() within group (order by q.last_error_class) as error
  from (select d.channel, d.next_attempt_at <= $1 as due, d.failed_count, d.last_error_class
          from generate_series(0, 255) s(shard)
         cross join lateral (
                select d.* from chimeway.deliveries d
                 where d.shard = s.shard::smallint and d.next_attempt_at is not null and d.waiting_for_node is null
                 order by d.next_attempt_at, d.id limit 16) d) q
 group by q.channel
 order by q.channel;
