-- name: load_deliveries
-- What sending depends on, besides the run. Of its history: what failed in the last $2 attempts, and all that
-- failed without it being sure that nothing was sent.
select d.id, d.shard, d.run_id, d.visit, d.step_id, d.tenant_id, d.recipient_id, d.channel, d.render_key, d.status,
       d.revision, d.attempt_count, d.failed_count, d.address, d.message, d.next_attempt_at, d.created_at,
       (select min(a.started_at) from chimeway.delivery_attempts a
         where a.delivery_id = d.id and a.shard = d.shard) as first_attempt_at,
       (select count(*) from chimeway.delivery_attempt_results a
         where a.delivery_id = d.id and a.shard = d.shard
           and a.error_class is distinct from 'rate_limited')::int as counted_attempts,
       (select coalesce(jsonb_agg(jsonb_build_array(a.provider, x.error_class) order by x.attempt_no),
                        '[]')
          from chimeway.delivery_attempt_results x
          join chimeway.delivery_attempts a on a.delivery_id = x.delivery_id and a.attempt_no = x.attempt_no
                                           and a.shard = x.shard
         where x.delivery_id = d.id and x.shard = d.shard and x.error_class is not null
           and (x.attempt_no > d.attempt_count - $2 or x.error_class in ('unknown','timeout'))) as history
  from unnest($1::uuid[]) i(id)
 cross join lateral (select * from chimeway.deliveries d where d.id = i.id offset 0) d;

-- name: due_deliveries
-- One page of deliveries to be attempted in each shard, in due order behind the cursors; channels that have
-- no room ($6) are passed over.
select q.id, q.next_attempt_at, q.shard, q.tenant_id,
       r.held_reason is null
       and (w.paused_at is null or (q.attempt_count > 0 and r.mailbox_count = r.mailbox_seen)) as allowed
  from unnest($1::smallint[], $2::timestamptz[], $3::uuid[]) s(shard, after_at, after_id)
 cross join lateral (
        select d.id, d.next_attempt_at, d.shard, d.tenant_id, d.run_id, d.attempt_count from chimeway.deliveries d
         where d.shard = s.shard and d.next_attempt_at is not null and d.waiting_for_node is null
           and (d.next_attempt_at, d.id) > (s.after_at, s.after_id) and d.next_attempt_at <= $4
           and d.channel <> all($6::text[])
         order by d.next_attempt_at, d.id limit $5) q
 cross join lateral (
        select r.workflow_key, r.workflow_version, r.held_reason, r.mailbox_count, r.mailbox_seen
          from chimeway.workflow_runs r where r.id = q.run_id and r.shard = q.shard offset 0) r
  join chimeway.workflow_definitions w on w.key = r.workflow_key and w.version = r.workflow_version
 order by q.next_attempt_at, q.id;

-- name: due_deliveries_in_turn
-- What is due of tenant after tenant, channel by channel: see schema.sql, section 8.
select t.id, t.next_attempt_at, t.channel, t.tenant_id, t.allowed
  from chimeway.due_deliveries_in_turn($1, $2, $3, $4, $5, $6, $7, $8, $9) t;

-- name: due_deliveries_in_turn_of
-- The same of some shards.
select t.id, t.next_attempt_at, t.channel, t.tenant_id, t.allowed
  from chimeway.due_deliveries_in_turn($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) t;

-- name: begin_attempts
-- Makes attempts durable: see schema.sql, section 7.
select b.delivery_id, b.answer, b.attempt_no
  from chimeway.begin_attempts($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16) b;

-- name: record_verdicts
-- Writes down what policy holds back: see schema.sql, section 7.
select v.delivery_id, v.answer, v.nudged
  from chimeway.record_verdicts($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) v;

-- name: put_off_until
-- Until when policy has put a delivery off, the last time; null: never.
select max(v.until) from chimeway.delivery_verdicts v
 where v.delivery_id = $1 and v.shard = chimeway.shard_of_id($1);

-- name: record_results
-- Records what became of attempts: see schema.sql, section 7.
select b.delivery_id, b.answer, b.nudged
  from chimeway.record_results($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) b;

-- name: abandoned_attempts
-- Attempts without a result: in some shards ($4) those whose sender's lease has ended, and wherever they are
-- those of this node, which may have lost the answer to having begun them.
select q.delivery_id, q.run_id, q.attempt_no
  from generate_series(0, 255) s(shard)
 cross join lateral (
        select a.delivery_id, a.run_id, a.attempt_no
          from chimeway.deliveries d
         cross join lateral (
                select t.* from chimeway.delivery_attempts t
                 where t.delivery_id = d.id and t.shard = d.shard and t.attempt_no = d.attempt_count offset 0) a
         where d.shard = s.shard::smallint and d.status = 'dispatched' and d.id > $2
           and case when a.node = $1 then a.started_at < chimeway.clock() - interval '5 seconds'
                    else s.shard = any($4::smallint[])
                         and not exists (select from chimeway.leases l where l.owner = a.node) end
           and not exists (select from chimeway.delivery_attempt_results x
                            where x.delivery_id = a.delivery_id and x.attempt_no = a.attempt_no and x.shard = a.shard
                           offset 0)
         order by d.id limit $3) q
 order by q.delivery_id limit $3;

-- name: unanswered_attempts
-- The same of deliveries that have ended meanwhile, by what their provider told.
select a.delivery_id, a.run_id, a.attempt_no
  from chimeway.deliveries d
 cross join lateral (
        select t.* from chimeway.delivery_attempts t
         where t.delivery_id = d.id and t.shard = d.shard and t.attempt_no = d.attempt_count offset 0) a
 where d.terminal_at is not null
   and d.attempt_count > d.failed_count + case d.last_outcome when 'succeeded' then 1 else 0 end and d.id > $2
   and case when a.node = $1 then a.started_at < chimeway.clock() - interval '5 seconds'
            else d.shard = any($4::smallint[]) and not exists (select from chimeway.leases l where l.owner = a.node) end
   and (select x.outcome from chimeway.delivery_attempt_results x
         where x.delivery_id = a.delivery_id and x.attempt_no = a.attempt_no and x.shard = a.shard) is null
 order by d.id limit $3;

-- name: postpone_deliveries
-- Deliveries that nobody can be called for now are due later ($2 each). Nothing is decided by that: no revision.
update chimeway.deliveries d set next_attempt_at = p.at
  from unnest($1::uuid[], $2::timestamptz[]) p(id, at)
 where d.id = p.id and d.id in (
        select l.id from chimeway.deliveries l
         where l.id = any($1::uuid[]) and l.status in ('pending','failed','deferred') and l.next_attempt_at is not null
         order by l.id for no key update skip locked)
returning d.id;

-- name: mark_delivery_incapable
-- Says of a delivery which channel this node lacks; it waits for a node that has it.
update chimeway.deliveries d set waiting_for_node = $2
 where d.id = (select p.id from chimeway.deliveries p
                where p.id = $1 and p.status in ('pending','failed','deferred') for no key update skip locked)
returning true;

-- name: clear_deliveries_incapable
-- Gives deliveries back that waited for what this node has.
update chimeway.deliveries d set waiting_for_node = null
 where d.id = any(array(
        select p.id from chimeway.deliveries p
         where p.waiting_for_node <> 'after_restore' and p.channel = any($1::text[])
         order by p.id limit 1000 for no key update skip locked))
returning d.id;
