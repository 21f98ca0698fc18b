-- name: recipient_row
-- The profile of one recipient.
select p.tenant_id, p.recipient_id, p.addresses, p.timezone, p.locale, p.preferences, p.data, p.created_at,
       p.updated_at
  from chimeway.recipients p
 where p.tenant_id = $1::text and p.recipient_id = $2::text and p.shard = chimeway.shard_of($1::text, $2::text);

-- name: list_recipients
-- A page of a tenant's profiles in the order of their ids, behind the cursor.
select p.tenant_id, p.recipient_id, p.addresses, p.timezone, p.locale, p.preferences, p.data, p.created_at,
       p.updated_at
  from chimeway.recipients p
 where p.tenant_id = $1::text and p.recipient_id > coalesce($2::text, '')
 order by p.recipient_id
 limit $3::text::int;

-- name: tenant_row
-- What holds for one tenant, where anything was written.
select t.tenant_id, t.timezone, t.locale, t.working_days, t.holidays, t.preferences, t.created_at, t.updated_at
  from chimeway.tenants t
 where t.tenant_id = $1::text;

-- name: list_tenants
-- A page of the tenants for whom something was written, in the order of their ids, behind the cursor.
select t.tenant_id, t.timezone, t.locale, t.working_days, t.holidays, t.preferences, t.created_at, t.updated_at
  from chimeway.tenants t
 where t.tenant_id > coalesce($1::text, '')
 order by t.tenant_id
 limit $2::text::int;

-- name: forget_recipient
-- Forgets a person: see schema.sql, section 5.
select f.known, f.runs_cancelled, f.deliveries_cancelled, f.on_their_way, f.rows_erased
  from chimeway.forget_recipient($1::text, $2::text) f;

-- name: export_recipient
-- What is held about a person, some documents of one part behind a place.
select x.place, x.document
  from chimeway.export_recipient($1::text, $2::text, $3::text, $4::text, $5::text::int) x;
