-- name: examined_server
-- What the server is, how it is set up for this session, and how full it is.
select current_setting('server_version_num')::int as version, current_setting('server_version') as told,
       current_setting('fsync') as fsync, current_setting('full_page_writes') as full_page_writes,
       current_setting('synchronous_commit') as synchronous_commit, current_setting('autovacuum') as autovacuum,
       current_setting('default_transaction_read_only') as read_only, pg_is_in_recovery() as standby,
       current_setting('max_connections')::int as places,
       (select count(*)::int from pg_stat_activity a where a.backend_type = 'client backend') as connections,
       coalesce((select s.ssl from pg_stat_ssl s where s.pid = pg_backend_pid()), false) as tls,
       inet_server_addr() is null or inet_client_addr() << '127.0.0.0/8' or inet_client_addr() = '::1' as local,
       current_user::text as role,
       pg_has_role(current_user, 'pg_read_all_stats', 'usage') as sees_all,
       (select age(d.datfrozenxid) from pg_database d where d.datname = current_database()) as frozen_age,
       pg_notification_queue_usage() as notifications, clock_timestamp() as now;

-- name: examined_blocking
-- Sessions of this database that wait for a lock, and who holds it.
select a.pid as blocked, coalesce(a.application_name, '') as blocked_name,
       extract(epoch from clock_timestamp() - a.query_start)::float8 as waited_s,
       b.pid, coalesce(b.application_name, '') as name, b.usename::text as role, coalesce(b.state, '') as state,
       extract(epoch from clock_timestamp() - b.xact_start)::float8 as open_s
  from pg_stat_activity a
 cross join lateral unnest(pg_blocking_pids(a.pid)) p(pid)
  left join pg_stat_activity b on b.pid = p.pid
 where a.datname = current_database() and (a.wait_event_type = 'Lock' or a.wait_event_type is null)
 order by a.query_start, a.pid, p.pid
 limit 50;

-- name: examined_snapshots
-- What keeps VACUUM from removing rows: transactions open for longer than that, prepared ones, slots.
select * from (
    select 'session' as kind, a.pid::text as which, coalesce(a.application_name, '') as name, coalesce(a.state, '') as state,
           extract(epoch from clock_timestamp() - a.xact_start)::float8 as open_s
      from pg_stat_activity a
     where a.datname = current_database() and a.pid <> pg_backend_pid() and a.backend_type = 'client backend'
       and (a.backend_xmin is not null or a.backend_xid is not null or a.state like 'idle in transaction%')
       and a.xact_start < clock_timestamp() - make_interval(secs => $1)
    union all
    select 'prepared', x.gid, x.owner::text, 'prepared', extract(epoch from clock_timestamp() - x.prepared)::float8
      from pg_prepared_xacts x
     where x.database = current_database() and x.prepared < clock_timestamp() - make_interval(secs => $1)
    union all
    select 'slot', s.slot_name::text, coalesce(s.plugin::text, 'physical'), case when s.active then 'active' else 'inactive' end, null
      from pg_replication_slots s where s.xmin is not null or not s.active) q
 order by q.open_s desc nulls last
 limit 20;

-- name: examined_tables
-- Our tables: rows alive and dead, when they were last vacuumed and analyzed, how they are read, how big they are and
-- about how big they need be (rows by their mean width, as ANALYZE found it). No lock is taken: sizes are the last VACUUM's.
select c.relname::text as name, coalesce(s.n_live_tup, 0) as live, coalesce(s.n_dead_tup, 0) as dead,
       greatest(s.last_vacuum, s.last_autovacuum) as vacuumed_at, greatest(s.last_analyze, s.last_autoanalyze) as analyzed_at,
       coalesce(s.seq_scan, 0) as scans, coalesce(s.seq_tup_read, 0) as scanned, coalesce(s.idx_tup_fetch, 0) as fetched,
       c.relpages::bigint * current_setting('block_size')::int as bytes,
       (greatest(c.reltuples, 0) * (coalesce(w.width, 0) + 28) * 100 / coalesce(f.fillfactor, 100))::float8 as needed,
       coalesce(c.reloptions @> '{autovacuum_enabled=false}', false) as unvacuumed
  from pg_class c
  join pg_namespace n on n.oid = c.relnamespace and n.nspname = 'chimeway'
  left join pg_stat_user_tables s on s.relid = c.oid
  left join lateral (
        select sum((1 - t.null_frac) * t.avg_width) as width from pg_stats t
         where t.schemaname = 'chimeway' and t.tablename = c.relname) w on true
  left join lateral (
        select substring(o from 'fillfactor=(\d+)')::int as fillfactor from unnest(c.reloptions) o
         where o like 'fillfactor=%') f on true
 where c.relkind = 'r'
 order by c.relname;

-- name: examined_indexes
-- Our indexes: whether they are whole, how big they are, and how often they were used.
select c.relname::text as name, t.relname::text as of, i.indisvalid as whole, c.relpages::bigint * current_setting('block_size')::int as bytes,
       greatest(c.reltuples, 0)::float8 as entries, coalesce(s.idx_scan, 0) as scans
  from pg_index i
  join pg_class c on c.oid = i.indexrelid
  join pg_class t on t.oid = i.indrelid
  join pg_namespace n on n.oid = c.relnamespace and n.nspname = 'chimeway'
  left join pg_stat_user_indexes s on s.indexrelid = c.oid
 order by c.relname;

-- name: examined_attempts
-- Calls to providers that began longer ago than any may take and have no result, counted to sixteen of each shard.
select count(*)::int as many, max(extract(epoch from chimeway.clock() - a.started_at))::float8 as oldest_s
  from generate_series(0, 255) s(shard)
 cross join lateral (
        select d.id, d.shard from chimeway.deliveries d
         where d.shard = s.shard::smallint and d.status = 'dispatched' order by d.id limit 16) d
 cross join lateral (
        select t.started_at from chimeway.delivery_attempts t
         where t.delivery_id = d.id and t.shard = d.shard order by t.attempt_no desc limit 1) a
 where a.started_at < chimeway.clock() - make_interval(secs => $1);

-- name: examined_definitions
-- All stored definitions, the newest first, up to a bound.
select d.key, d.version, d.definition from chimeway.workflow_definitions d order by d.registered_at desc limit $1;

-- name: examined_restored
-- Messages that a restore holds back until somebody decides, counted up to a bound.
select count(*)::int from (
    select from chimeway.restored_deliveries h where h.decision is null order by h.delivery_id limit $1) q;

-- name: examined_paused
-- Workflows that are paused, up to a bound.
select distinct d.key from chimeway.workflow_definitions d where d.paused_at is not null order by d.key limit $1;

-- name: examined_failed
-- By which channels messages that were planned since an id's moment (the newest of them, up to a bound) failed for good,
-- and how many were planned by each; the worst first.
select n.channel, count(*) filter (where n.bad)::int as failed, count(*)::int as planned
  from (select d.channel, coalesce(d.suppression_reason in ('permanent_failure','retries_exhausted','bounced'), false) as bad
          from chimeway.deliveries d where d.id >= $1 order by d.id desc limit $2) n
 group by n.channel having bool_or(n.bad) order by failed desc, n.channel;

-- name: examined_channels
-- By which channels the current versions of workflows send (up to a bound of workflows), how many by each, and which.
select c.channel, count(*)::int as many, (array_agg(c.key order by c.key))[1:3] as workflows
  from (select distinct d.key, s.step -> 'action' ->> 'channel' as channel
          from (select distinct on (w.key) w.key, w.definition from chimeway.workflow_definitions w
                 order by w.key, w.activated desc, w.version desc limit $1) d
         cross join lateral jsonb_path_query(d.definition, '$.steps[*] ? (@.action.type == "notify")') s(step)) c
 where c.channel <> 'in_app'
 group by c.channel order by c.channel;
