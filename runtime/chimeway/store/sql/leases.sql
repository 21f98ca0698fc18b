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

-- name: release_lease
-- Ends a lease, and what it still has goes to others; false: they had ended it.
select chimeway.release_lease($1, $2);
