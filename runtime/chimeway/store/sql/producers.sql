-- name: bind_producer
-- Lets a login act for these tenants alone, beside those that it was bound to before; only the schema's owner may.
insert into chimeway.producers as p (role_name, tenant_ids) values ($1, $2)
on conflict (role_name) do update
   set tenant_ids = array(select distinct t.id from unnest(p.tenant_ids || excluded.tenant_ids) t(id) order by t.id),
       changed_at = chimeway.clock(), changed_by = session_user
returning p.role_name, p.tenant_ids, p.changed_at, p.changed_by;

-- name: narrow_producer
-- Takes tenants from a login (null: all of them); it stays bound, if to none. No row: it was not bound.
update chimeway.producers p
   set tenant_ids = array(select t.id from unnest(p.tenant_ids) t(id) where t.id <> all(coalesce($2, p.tenant_ids))),
       changed_at = chimeway.clock(), changed_by = session_user
 where p.role_name = $1
returning p.role_name, p.tenant_ids, p.changed_at, p.changed_by;

-- name: free_producer
-- Lets a login act for every tenant again. No row: it was not bound.
delete from chimeway.producers p where p.role_name = $1
returning p.role_name, p.tenant_ids, p.changed_at, p.changed_by;

-- name: list_producers
-- Logins that are bound, by name.
select p.role_name, p.tenant_ids, p.changed_at, p.changed_by, r.rolname is not null as known,
       coalesce(pg_has_role(r.oid, g.oid, 'usage'), false) as may_call
  from chimeway.producers p
  left join pg_roles r on r.rolname = p.role_name
  left join pg_roles g on g.rolname = 'chimeway_producer'
 order by p.role_name limit $1;

-- name: find_login
-- What a role of the cluster may, as far as it matters to who would bind it.
select r.rolsuper or pg_has_role(r.oid, n.nspowner, 'usage') as is_owner,
       coalesce(pg_has_role(r.oid, d.oid, 'usage'), false) as is_node, r.rolcanlogin as logs_in
  from pg_roles r
  join pg_namespace n on n.nspname = 'chimeway'
  left join pg_roles d on d.rolname = 'chimeway_daemon'
 where r.rolname = $1;
