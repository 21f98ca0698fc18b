-- name: begin_lease
-- Begins a lease: see schema.sql, section 9.
select chimeway.begin_lease($1, $2, $3, $4);

-- name: beat
-- A lease's sign of life, and what it learns by it.
select b.shards, b.suspect, b.surplus, b.nodes, b.silent, b.shown
  from chimeway.beat($1, $2, $3, $4, $5, $6) b;

-- name: hand_over
-- Gives shards to others.
select chimeway.hand_over($1, $2, $3, $4);

-- name: absolve_shards
-- Says of shards that nothing in them is under suspicion any more.
select chimeway.absolve_shards($1, $2, $3);

-- name: acquire_lease
-- On schema version 3: takes the one lease when it is free, expired or orphaned.
select a.epoch, a.clean from chimeway.acquire_lease($1, $2, $3) a;

-- name: renew_lease
-- On schema version 3: keeps the lease; false when another has it. Also says whether leases are shared by now.
select chimeway.renew_lease($1, $2, $3) as kept, to_regclass('chimeway.leases') is not null as shared;

-- name: release_lease
-- Ends a lease, and what it still has goes to others; false: they had ended it.
select chimeway.release_lease($1, $2);

-- name: lock_lease
-- On schema version 3: takes the session lock that tells others that this process lives.
select pg_try_advisory_lock(206420, 0);

-- name: unlock_lease
-- On schema version 3: gives the session lock back.
select pg_advisory_unlock(206420, 0);

-- name: lease_state
-- On schema version 3: who has the lease.
select s.owner, s.epoch from chimeway.shards s;

-- name: shares_leases
-- Whether the schema has a lease for each node.
select to_regclass('chimeway.leases') is not null;
