-- Deliveries: which provider was called, what it told later; the inbox; who is due, tenant by tenant.
-- serves from: 2

-- transaction

alter table chimeway.delivery_attempts add column provider text;

alter table chimeway.inbox_items
    add column interacted_at timestamptz,
    add column told text[] not null default '{}';

select chimeway.grant_roles();
