-- Recipients: what they and their tenants prefer, what policy said of each message, forgetting.
-- serves from: 3

-- transaction

alter table chimeway.deliveries add column deferred_reason text;

-- What holds for a tenant as a whole, below what each recipient has of his own. One row a tenant: not sharded.
create table chimeway.tenants (
    tenant_id    text        primary key,
    timezone     text,                              -- of recipients who have none
    locale       text,
    working_days text[],                            -- 'mon' to 'sun'; null: Monday to Friday
    holidays     date[]      not null default '{}',
    preferences  jsonb       not null default '{}',
    created_at   timestamptz not null,
    updated_at   timestamptz not null
);

-- Where caps are kept: when a recipient was sent something on a channel that has a cap. Who begins an attempt names
-- the revision that he counted by, and is refused when it is another.
create table chimeway.send_budgets (
    tenant_id    text          not null,
    recipient_id text          not null,
    channel      text          not null,
    shard        smallint      not null,
    revision     bigint        not null default 1,
    sent_at      timestamptz[] not null default '{}',
    primary key (tenant_id, recipient_id, channel, shard)
) with (fillfactor = 70);

-- What policy said of a delivery, each time that it had something to say. Append-only.
create table chimeway.delivery_verdicts (
    delivery_id uuid        not null,
    shard       smallint    not null,
    number      int         not null check (number >= 1),
    stage       text        not null check (stage in ('planned','before_send')),
    verdict     text        not null check (verdict in ('send','defer','suppress')),
    reason      text        check (reason in ('preference','quiet_hours','send_window','cap')),
    until       timestamptz,                        -- of what was deferred
    inputs      jsonb       not null,               -- which rules, from where, in which zone, and what they counted
    at          timestamptz not null,
    primary key (delivery_id, number, shard),
    foreign key (delivery_id, shard) references chimeway.deliveries (id, shard)
);

create trigger append_only before update or delete on chimeway.delivery_verdicts
    for each row execute function chimeway.refuse_change();
create trigger append_only_truncate before truncate on chimeway.delivery_verdicts
    for each statement execute function chimeway.refuse_change();

-- ── waits ──

-- ── policy ──

-- ── profiles and tenants ──

-- ── unsubscribing ──

-- ── forgetting ──

-- ── who may what: as in schema.sql, always last ──

create or replace function chimeway.grant_roles() returns text[]
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    roles text[];
    give  record;
begin
    select coalesce(array_agg(r.rolname::text order by r.rolname), '{}') into roles from pg_roles r
     where r.rolname in ('chimeway_producer','chimeway_deployer','chimeway_daemon','chimeway_reader',
                         'chimeway_operator','chimeway_inbox');
    for give in select unnest(array['public'] || roles) as role loop
        execute format('revoke all on all functions in schema chimeway from %s', give.role);
        execute format('revoke all on all tables in schema chimeway from %s', give.role);
        execute format('revoke all on all sequences in schema chimeway from %s', give.role);
        execute format('revoke all on schema chimeway from %s', give.role);
    end loop;
    for give in
        select 'chimeway_' || g.role as role, g.privilege, g.kind, o as object
          from (values
            ('producer', 'execute', 'function', '{trigger,trigger_many,signal,identify,cancel}'::text[]),
            ('deployer', 'execute', 'function', '{register_workflow,register_workflow_and_schema}'),
            ('deployer', 'select, update (activated)', 'table', '{workflow_definitions}'),
            ('reader',   'select', 'all tables', '{}'),
            ('reader',   'execute', 'function', '{clock,shard_of,shard_of_id,is_instant,is_stuck,wake_again,
                                                  list_inbox,inbox_states}'),
            ('operator', 'select', 'all tables', '{}'),
            ('operator', 'execute', 'function', '{clock,shard_of,shard_of_id,is_instant,is_stuck,wake_again,
                                                  list_inbox,inbox_states,
                                                  cancel,hold_run,resume_run,pause_workflow,
                                                  retry_delivery,record_feedback}'),
            ('inbox',    'select', 'table', '{inbox_items}'),
            ('inbox',    'execute', 'function', '{shard_of,list_inbox,mark_inbox,mark_all_inbox,inbox_states,
                                                  watch_inboxes,unwatch_inboxes}'),
            ('daemon',   'execute', 'all functions', '{}'),
            ('daemon',   'usage', 'sequence', '{arrival}'),
            ('daemon',   'select', 'all tables', '{}'),
            ('daemon',   'insert', 'table', '{workflow_transitions,delivery_attempts,delivery_attempt_results,
                                               delivery_feedback,delivery_verdicts}'),
            ('daemon',   'insert, update', 'table', '{deliveries,run_mailbox,inbox_items,signals,send_budgets}'),
            ('daemon',   'update', 'table', '{workflow_runs,shards}'),
            ('daemon',   'insert, update, delete', 'table', '{nodes}')
          ) g(role, privilege, kind, objects)
         cross join lateral unnest(case when g.objects = '{}' then array[null] else g.objects end) o
         where 'chimeway_' || g.role = any(roles)
    loop
        execute format('grant usage on schema chimeway to %s', give.role);
        execute format(
            case when give.object is null then 'grant %s on %s in schema chimeway to %s'
                 else 'grant %s on %s chimeway.' || quote_ident(give.object) || ' to %s' end,
            give.privilege, give.kind, give.role);
    end loop;
    if 'chimeway_daemon' = any(roles) then
        revoke all on function chimeway.grant_roles() from chimeway_daemon;
    end if;
    if to_regclass('chimeway.test_clock') is not null then
        grant select on chimeway.test_clock to public;
    end if;
    return roles;
end $$;

select chimeway.grant_roles();
