-- name: prune_runs
-- Removes a batch of runs that ended long ago: see schema.sql, section 10.
select p.more, p.last_at, p.last_id, p.removed
  from chimeway.prune_runs($1::interval, $2::interval, $3::interval, $4::int, $5::text, $6::timestamptz, $7::uuid, $8::boolean) p;

-- name: prune_bodies
-- Erases a batch of rendered messages, likewise.
select p.more, p.last_at, p.last_id, p.removed
  from chimeway.prune_bodies($1::interval, $2::int, $3::text, $4::timestamptz, $5::uuid, $6::boolean) p;

-- name: prune_events
-- Removes a batch of events that outlived their runs.
select p.more, p.last_at, p.last_id, p.removed
  from chimeway.prune_events($1::interval, $2::int, $3::text, $4::timestamptz, $5::uuid, $6::boolean) p;

-- name: prune_signals
-- Removes a batch of signals that no mailbox names.
select p.more, p.last_at, p.last_id, p.removed
  from chimeway.prune_signals($1::interval, $2::int, $3::text, $4::uuid, $5::boolean) p;

-- name: prune_answers
-- Removes a batch of what was answered to requests with an Idempotency-Key.
select p.more, p.last_at, p.last_id, p.removed
  from chimeway.prune_answers($1::interval, $2::int, $3::text, $4::boolean) p;

-- name: prune_actions
-- Removes a batch of what operators did.
select p.more, p.last_at, p.last_id, p.removed
  from chimeway.prune_actions($1::interval, $2::int, $3::text, $4::boolean) p;

-- name: prune_restored
-- Removes a batch of what restores left behind.
select p.more, p.last_at, p.last_id, p.removed
  from chimeway.prune_restored($1::interval, $2::int, $3::boolean) p;

-- name: prune_next
-- Prunes on where the last node left off, one at a time.
select p.busy, p.more, p.behind, p.removed
  from chimeway.prune_next($1::text, $2::interval, $3::interval, $4::interval, $5::int) p;
