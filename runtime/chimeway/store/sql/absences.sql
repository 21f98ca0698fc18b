-- name: event_of_key
-- The event that bears an idempotency key (or its digest, once somebody of it was forgotten), and what is left of it.
select e.workflow_key, e.workflow_version, e.created_at, cardinality(e.recipient_ids) as people,
       $3::text is null or $3 = any(e.recipient_ids) as named, e.pruned, e.forgotten,
       (select count(*)::int from unnest(e.run_ids) i(id)
         where exists (select from chimeway.workflow_runs r where r.id = i.id and r.shard = chimeway.shard_of_id(i.id))) as runs
  from chimeway.events e
 where e.tenant_id = $1 and e.shard = chimeway.shard_of($1, $2)
   and e.idempotency_key = any(array[$2, chimeway.digest_of($1, $2)]);

-- name: tenants_of_key
-- The tenants, of the first so many that have keys, in which an idempotency key is known: one look by index for each.
with recursive t(tenant_id) as (
    (select e.tenant_id from chimeway.events e where e.idempotency_key is not null
      order by e.tenant_id, e.idempotency_key, e.shard limit 1)
    union all
    select (select e.tenant_id from chimeway.events e where e.idempotency_key is not null and e.tenant_id > t.tenant_id
             order by e.tenant_id, e.idempotency_key, e.shard limit 1) from t where t.tenant_id is not null
)
select q.tenant_id from (select t.tenant_id from t where t.tenant_id is not null limit $2) q
 where exists (select from chimeway.events e where e.tenant_id = q.tenant_id and e.idempotency_key = $1
                  and e.shard = chimeway.shard_of(q.tenant_id, $1));

-- name: tenants_of_recipient
-- The same of a recipient with a profile.
with recursive t(tenant_id) as (
    (select p.tenant_id from chimeway.recipients p order by p.tenant_id, p.recipient_id, p.shard limit 1)
    union all
    select (select p.tenant_id from chimeway.recipients p where p.tenant_id > t.tenant_id
             order by p.tenant_id, p.recipient_id, p.shard limit 1) from t where t.tenant_id is not null
)
select q.tenant_id from (select t.tenant_id from t where t.tenant_id is not null limit $2) q
 where exists (select from chimeway.recipients p where p.tenant_id = q.tenant_id and p.recipient_id = $1
                  and p.shard = chimeway.shard_of(q.tenant_id, $1));

-- name: profile_at_hand
-- Whether somebody has a profile, and to which channels they have an address.
select array(select jsonb_object_keys(p.addresses)) as channels from chimeway.recipients p
 where p.tenant_id = $1 and p.recipient_id = $2 and p.shard = chimeway.shard_of($1, $2);

-- name: workflow_at_hand
-- Of each version of a workflow, the newest first: since when it is there, and since when it is paused.
select d.version, d.registered_at, d.paused_at from chimeway.workflow_definitions d where d.key = $1 order by d.version desc;

-- name: workflow_keys
-- The keys of all workflows.
select distinct d.key from chimeway.workflow_definitions d;
