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

-- name: lock_answer
-- Takes a request's key for this transaction; false: another has it.
select pg_try_advisory_xact_lock($1::bigint);

-- name: find_answer
-- What was answered to a request, if it was.
select a.fingerprint, a.status, a.answer from chimeway.request_answers a where a.token_id = $1 and a.key_digest = $2;

-- name: keep_answer
-- Writes down what is answered to a request.
insert into chimeway.request_answers (token_id, key_digest, tenant_id, fingerprint, status, answer, about)
values ($1, $2, $3, $4, $5, $6, $7);

-- name: recipients_of_runs
-- Whose runs these are.
select distinct r.recipient_id from unnest($1::uuid[]) u(id)
  join chimeway.workflow_runs r on r.id = u.id and r.shard = chimeway.shard_of_id(u.id);

-- name: may_note_actions
-- Whether this role may write down what it does: a producer may cancel, and has no such right.
select has_any_column_privilege('chimeway.operator_actions', 'insert');

-- name: note_decided
-- Writes down what an operator did to messages that a restore held back.
insert into chimeway.operator_actions (who, token_id, action, tenant_id, run_id, delivery_id)
select $1, $2, $3, d.tenant_id, d.run_id, d.id
  from unnest($4::uuid[]) g(id) join chimeway.deliveries d on d.id = g.id and d.shard = chimeway.shard_of_id(g.id);

-- name: note_action
-- Writes down what an operator does; of whom was forgotten no word.
insert into chimeway.operator_actions (who, token_id, action, tenant_id, run_id, delivery_id, workflow_key, note)
select $1, $2, $3, $4, $5, $6, $7, case when not exists (
        select from chimeway.workflow_runs r
         where r.id = $5 and r.shard = chimeway.shard_of_id($5) and r.forgotten_at is not null) then $8::text end;
