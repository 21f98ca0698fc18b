-- Roles and their grants; what operators call runs with the owner's rights; versions say whom they serve.
-- serves from: 1
-- transaction

alter table chimeway.schema_version add column serves_from int, add column program text;
update chimeway.schema_version set serves_from = version;
alter table chimeway.schema_version alter column serves_from set not null, add primary key (version);

create or replace function chimeway.mark_inbox(p_tenant_id text, p_recipient_id text, p_ids uuid[], p_mark text)
returns table (id uuid)
language plpgsql security definer set search_path = chimeway, pg_temp as $$
#variable_conflict use_column
declare
    now_  timestamptz := chimeway.clock();
    fresh uuid[];
begin
    perform chimeway.check_id('tenant_id', p_tenant_id);
    perform chimeway.check_id('recipient_id', p_recipient_id);
    if p_mark is null or p_mark not in ('seen','read','archived') then
        perform chimeway.refuse('invalid_input', 'CW001', format('mark is %s', coalesce('"' || p_mark || '"', 'null')),
            'give seen, read or archived');
    end if;
    perform 1 from (
        select i.id from chimeway.inbox_items i
         where i.id = any(p_ids) and i.tenant_id = p_tenant_id and i.recipient_id = p_recipient_id
         order by i.id for update) l;
    with marked as (
        update chimeway.inbox_items i
           set seen_at     = case when p_mark = 'seen' then now_ else i.seen_at end,
               read_at     = case when p_mark = 'read' then now_ else i.read_at end,
               archived_at = case when p_mark = 'archived' then now_ else i.archived_at end
         where i.id = any(p_ids) and i.tenant_id = p_tenant_id and i.recipient_id = p_recipient_id
           and case p_mark when 'seen' then i.seen_at when 'read' then i.read_at else i.archived_at end is null
        returning i.id, i.shard, i.run_id
    ), told as (
        insert into chimeway.signals (id, shard, tenant_id, actor_id, type, payload, run_id, created_at)
        select chimeway.new_id(m.shard), m.shard, p_tenant_id, p_recipient_id, 'chimeway.notification.' || p_mark,
               jsonb_build_object('notification_id', m.id), m.run_id, now_
          from marked m
    )
    select coalesce(array_agg(m.id order by m.id), '{}') into fresh from marked m;
    if fresh <> '{}' then perform chimeway.hint(); end if;
    return query select u.id from unnest(fresh) u(id);
end $$;

create or replace function chimeway.hold_run(p_run uuid, p_reason text, p_note text default null, p_patient boolean default true)
returns boolean
language plpgsql security definer set search_path = chimeway, pg_temp as $$
declare now_ timestamptz := chimeway.clock();
begin
    if p_patient then
        perform 1 from chimeway.workflow_runs r where r.id = p_run for update;
    else
        perform 1 from chimeway.workflow_runs r where r.id = p_run for update skip locked;
    end if;
    if not found then return false; end if;
    perform 1 from chimeway.workflow_runs r
      where r.id = p_run and r.state in ('active','waiting') and r.held_reason is null;
    if not found then return false; end if;
    insert into chimeway.workflow_transitions (run_id, shard, seq, decision_id, reason, from_state, to_state,
            from_step, to_step, visit, status_reason, context, note, at)
    select r.id, r.shard, r.transition_count + 1, gen_random_uuid(), 'run_held', r.state, r.state, r.step, r.step,
           r.visit, r.status_reason, r.status_context, left(p_reason || coalesce(': ' || p_note, ''), 1000), now_
      from chimeway.workflow_runs r where r.id = p_run;
    update chimeway.workflow_runs r
       set held_reason = p_reason, held_at = now_, transition_count = r.transition_count + 1, revision = r.revision + 1
     where r.id = p_run;
    return true;
end $$;

create or replace function chimeway.resume_run(p_run uuid, p_note text default null) returns boolean
language plpgsql security definer set search_path = chimeway, pg_temp as $$
declare now_ timestamptz := chimeway.clock();
begin
    perform 1 from chimeway.workflow_runs r where r.id = p_run and r.held_reason is not null for update;
    if not found then return false; end if;
    insert into chimeway.workflow_transitions (run_id, shard, seq, decision_id, reason, from_state, to_state,
            from_step, to_step, visit, status_reason, context, note, at)
    select r.id, r.shard, r.transition_count + 1, gen_random_uuid(), 'run_resumed', r.state, r.state, r.step, r.step,
           r.visit, r.status_reason, r.status_context, p_note, now_
      from chimeway.workflow_runs r where r.id = p_run;
    update chimeway.workflow_runs r
       set held_reason = null, held_at = null, strikes = 0, transition_count = r.transition_count + 1,
           revision = r.revision + 1, wake_at = chimeway.wake_again(r, now_)
     where r.id = p_run;
    perform chimeway.hint();
    return true;
end $$;

create or replace function chimeway.pause_workflow(p_key text, p_paused boolean) returns int
language plpgsql security definer set search_path = chimeway, pg_temp as $$
declare touched int;
begin
    update chimeway.workflow_definitions
       set paused_at = case when p_paused then coalesce(paused_at, chimeway.clock()) end where key = p_key;
    get diagnostics touched = row_count;
    if touched = 0 then
        perform chimeway.refuse('unknown_workflow', 'CW002', format('workflow "%s" is not registered', p_key),
            'chimeway workflow list shows the registered ones');
    end if;
    perform chimeway.hint();
    return touched;
end $$;

create function chimeway.retry_delivery(p_delivery uuid, p_tenant_id text default 'default')
returns table (
    retried boolean, run_id uuid, workflow_key text, recipient_id text, step_id text, channel text, status text,
    suppression_reason text, stop_requested boolean, attempt_count int, next_attempt_at timestamptz,
    terminal_at timestamptz, held_reason text, waiting_for_node text
)
language plpgsql security definer set search_path = chimeway, pg_temp as $$
#variable_conflict use_column
declare
    r    chimeway.workflow_runs;
    d    chimeway.deliveries;
    now_ timestamptz := chimeway.clock();
begin
    select d.run_id into r.id from chimeway.deliveries d where d.id = p_delivery and d.tenant_id = p_tenant_id;
    if not found then return; end if;
    select x.* into strict r from chimeway.workflow_runs x where x.id = r.id for update;
    select x.* into strict d from chimeway.deliveries x where x.id = p_delivery for update;
    retried := d.status = 'failed' and r.held_reason is null and d.waiting_for_node is null;
    if retried then
        update chimeway.deliveries x
           set next_attempt_at = least(x.next_attempt_at, now_), revision = x.revision + 1 where x.id = p_delivery;
        perform chimeway.hint();
    end if;
    return query select retried, d.run_id, r.workflow_key, d.recipient_id, d.step_id, d.channel, d.status,
        d.suppression_reason, d.stop_requested, d.attempt_count, d.next_attempt_at, d.terminal_at, r.held_reason,
        d.waiting_for_node;
end $$;

create function chimeway.grant_roles() returns text[]
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
            ('deployer', 'execute', 'function', '{register_workflow}'),
            ('deployer', 'select, update (activated)', 'table', '{workflow_definitions}'),
            ('reader',   'select', 'all tables', '{}'),
            ('reader',   'execute', 'function', '{clock,shard_of,shard_of_id,is_instant,is_stuck,wake_again}'),
            ('operator', 'select', 'all tables', '{}'),
            ('operator', 'execute', 'function', '{clock,shard_of,shard_of_id,is_instant,is_stuck,wake_again,
                                                  cancel,hold_run,resume_run,pause_workflow,
                                                  retry_delivery}'),
            ('inbox',    'select', 'table', '{inbox_items}'),
            ('inbox',    'execute', 'function', '{shard_of,mark_inbox}'),
            ('daemon',   'execute', 'all functions', '{}'),
            ('daemon',   'usage', 'sequence', '{arrival}'),
            ('daemon',   'select', 'all tables', '{}'),
            ('daemon',   'insert', 'table', '{workflow_transitions,delivery_attempts,delivery_attempt_results}'),
            ('daemon',   'insert, update', 'table', '{deliveries,run_mailbox,inbox_items,signals}'),
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

revoke all on function chimeway.grant_roles() from public;
select chimeway.grant_roles();
