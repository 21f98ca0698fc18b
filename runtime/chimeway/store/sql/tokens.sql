-- name: make_api_token
-- Writes a token down, by the digest of its secret; only the schema's owner may.
insert into chimeway.api_tokens (name, secret_digest, tenant_id, scopes, expires_at)
values ($1, $2, $3, $4, $5)
returning id, name, tenant_id, scopes, made_at, made_by, expires_at, revoked_at, revoked_by, last_used_on,
          chimeway.clock() as now;

-- name: find_api_token
-- The token of a digest, and the time by which it is judged.
select t.id, t.name, t.secret_digest, t.tenant_id, t.scopes, t.expires_at, t.revoked_at, t.last_used_on,
       chimeway.clock() as now
  from chimeway.api_tokens t where t.secret_digest = $1;

-- name: mark_api_token_used
-- Notes the day on which a token was used, once a day.
update chimeway.api_tokens t set last_used_on = $2 where t.id = $1 and t.last_used_on is distinct from $2;

-- name: list_api_tokens
-- All tokens, the newest first.
select t.id, t.name, t.tenant_id, t.scopes, t.made_at, t.made_by, t.expires_at, t.revoked_at, t.revoked_by,
       t.last_used_on, chimeway.clock() as now
  from chimeway.api_tokens t order by t.made_at desc, t.id limit $1;

-- name: revoke_api_token
-- Ends a token; null: there is none.
select chimeway.revoke_api_token($1);
