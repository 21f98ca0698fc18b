-- name: begin_restore
-- Holds what may have been sent after a backup was taken: see schema.sql, section 7.
select b.again, b.deliveries, b.runs from chimeway.begin_restore($1, $2) b;

-- name: restored_deliveries
-- What is held after a restore, in the order of ids, behind a place.
select d.id as delivery_id, d.run_id, d.tenant_id, d.recipient_id, r.workflow_key as workflow, d.step_id as step,
       d.channel, d.status, d.attempt_count, d.created_at as planned_at, d.next_attempt_at, s.taken_at
  from chimeway.restored_deliveries h
  join chimeway.restores s on s.id = h.restore_id
  join chimeway.deliveries d on d.id = h.delivery_id
  join chimeway.workflow_runs r on r.id = d.run_id and r.shard = d.shard
 where h.decision is null and d.terminal_at is null and h.delivery_id > $1
   and ($2::text is null or d.tenant_id = $2) and ($3::text is null or r.workflow_key = $3)
   and ($4::text is null or d.channel = $4)
 order by h.delivery_id limit $5;

-- name: decide_restored
-- Lets messages that are held go, or gives them up: see schema.sql, section 7.
select d.delivery_id, d.answer from chimeway.decide_restored($1, $2, $3) d;
