-- Audit: what operators did, and what restores left behind, leaves some day, too.
-- serves from: 6

-- transaction

alter table chimeway.pruning drop constraint pruning_part_check;
alter table chimeway.pruning add check (part in ('bodies','runs','events','signals','answers','actions','restored'));
insert into chimeway.pruning (part) values ('actions'), ('restored');

-- What operators did more than `keep` ago: the audit, whether or not what they did it to is still there.
create function chimeway.prune_actions(
    keep      interval,
    at_most   int     default 500,
    tenant_id text    default null,
    dry       boolean default false
) returns table (more boolean, last_at timestamptz, last_id uuid, removed jsonb)
language plpgsql security definer set search_path = chimeway, pg_temp set enable_seqscan = off set jit = off as $$
#variable_conflict use_column
declare
    v_cut timestamptz := chimeway.check_pruning(keep, at_most);
    n     bigint;
begin
    more := false;
    if dry then
        select count(*) into n from chimeway.operator_actions o
         where o.at < v_cut and (prune_actions.tenant_id is null or o.tenant_id = prune_actions.tenant_id);
    else
        with old as materialized (
            select o.id from chimeway.operator_actions o
             where o.at < v_cut and (prune_actions.tenant_id is null or o.tenant_id = prune_actions.tenant_id)
             order by o.at, o.id limit at_most for update skip locked
        ), gone as (
            delete from chimeway.operator_actions o using old where o.id = old.id returning o.at
        )
        select count(*), max(g.at) into n, last_at from gone g;
        more := n = at_most;
    end if;
    removed := jsonb_build_object('operator_actions', n);
    return next;
end $$;

-- What restores left behind more than `keep` ago: messages of which nothing is to be decided any more, runs that have
-- ended, and the restores themselves once nothing hangs on them. They are of no tenant. What is still held stays.
create function chimeway.prune_restored(
    keep    interval,
    at_most int     default 500,
    dry     boolean default false
) returns table (more boolean, last_at timestamptz, last_id uuid, removed jsonb)
language plpgsql security definer set search_path = chimeway, pg_temp set jit = off as $$
#variable_conflict use_column
declare
    v_cut      timestamptz := chimeway.check_pruning(keep, at_most);
    v_messages uuid[];
    v_runs     uuid[];
    v_restores uuid[];
begin
    v_messages := array(
        select h.delivery_id from chimeway.restored_deliveries h
         where h.held_at < v_cut and h.decided_at < v_cut
            or h.held_at < v_cut and h.decision is null and not exists (
               select from chimeway.deliveries d
                where d.id = h.delivery_id and d.shard = chimeway.shard_of_id(h.delivery_id) and d.terminal_at is null)
         limit case when dry then null else at_most end);
    v_runs := array(
        select m.run_id from chimeway.restored_runs m join chimeway.restores e on e.id = m.restore_id
         where e.began_at < v_cut and not exists (
               select from chimeway.workflow_runs r
                where r.id = m.run_id and r.shard = chimeway.shard_of_id(m.run_id) and r.ended_at is null)
         limit case when dry then null else at_most end);
    if not dry then
        v_messages := array(select h.delivery_id from chimeway.restored_deliveries h
                             where h.delivery_id = any(v_messages) for update skip locked);
        delete from chimeway.restored_deliveries h where h.delivery_id = any(v_messages);
        delete from chimeway.restored_runs m where m.run_id = any(v_runs);
    end if;
    v_restores := array(
        select e.id from chimeway.restores e
         where e.began_at < v_cut and e.until < v_cut
           and not exists (select from chimeway.restored_deliveries h
                            where h.restore_id = e.id and not h.delivery_id = any(v_messages))
           and not exists (select from chimeway.restored_runs m
                            where m.restore_id = e.id and not m.run_id = any(v_runs))
         limit case when dry then null else at_most end);
    if not dry then
        delete from chimeway.restores e where e.id = any(v_restores);
    end if;
    more := not dry and greatest(cardinality(v_messages), cardinality(v_runs), cardinality(v_restores)) >= at_most;
    removed := jsonb_build_object('restored_deliveries', cardinality(v_messages),
                                  'restored_runs', cardinality(v_runs), 'restores', cardinality(v_restores));
    return next;
end $$;

create or replace function chimeway.prune_next(
    part         text,
    keep         interval,
    keep_keys    interval,
    keep_signals interval,
    at_most      int default 200
) returns table (busy boolean, more boolean, behind interval, removed jsonb)
language plpgsql security definer set search_path = chimeway, pg_temp as $$
#variable_conflict use_column
declare
    here  chimeway.pruning;
    found record;
    now_  timestamptz := chimeway.clock();
begin
    select p.* into here from chimeway.pruning p where p.part = prune_next.part for update skip locked;
    if here.part is null then
        return query select true, false, null::interval, '{}'::jsonb;
        return;
    end if;
    if now_ - here.began_at > greatest(interval '1 day', (case part when 'signals' then keep end))
       or now_ < here.began_at then
        here.place_at := '-infinity';
        here.place := '00000000-0000-0000-0000-000000000000';
        here.began_at := now_;
    end if;
    case part
    when 'bodies' then select * into found from chimeway.prune_bodies(keep, at_most, null, here.place_at, here.place);
    when 'runs' then
        select * into found from chimeway.prune_runs(keep, keep_keys, keep_signals, at_most, null, here.place_at, here.place);
    when 'events' then select * into found from chimeway.prune_events(keep, at_most, null, here.place_at, here.place);
    when 'signals' then select * into found from chimeway.prune_signals(keep, at_most, null, here.place);
    when 'answers' then select * into found from chimeway.prune_answers(keep, at_most);
    when 'actions' then select * into found from chimeway.prune_actions(keep, at_most);
    when 'restored' then select * into found from chimeway.prune_restored(keep, at_most);
    end case;
    if found.last_id is not null or here.began_at = now_ then
        update chimeway.pruning p
           set place_at = coalesce(found.last_at, here.place_at), place = coalesce(found.last_id, here.place),
               began_at = here.began_at, moved_at = now_
         where p.part = prune_next.part;
    end if;
    return query select false, found.more, now_ - keep - found.last_at, found.removed;
end $$;

-- Who is not due, and has heard something meanwhile, is put where those are who were kept by a pause that is over: nodes
-- look there each second, and show him his mail.
create or replace function chimeway.resume_run(p_run uuid, p_note text default null) returns boolean
language plpgsql security definer set search_path = chimeway, pg_temp as $$
declare now_ timestamptz := chimeway.clock();
begin
    perform chimeway.check_note(p_note);
    perform 1 from chimeway.workflow_runs r where r.id = p_run and r.held_reason is not null for update;
    if not found then return false; end if;
    insert into chimeway.workflow_transitions (run_id, shard, seq, decision_id, reason, from_state, to_state,
            from_step, to_step, visit, status_reason, context, note, at)
    select r.id, r.shard, r.transition_count + 1, gen_random_uuid(), 'run_resumed', r.state, r.state, r.step, r.step,
           r.visit, r.status_reason, r.status_context, p_note, now_
      from chimeway.workflow_runs r where r.id = p_run;
    update chimeway.workflow_runs r
       set held_reason = null, held_at = null, strikes = 0, transition_count = r.transition_count + 1,
           revision = r.revision + 1, wake_at = chimeway.wake_again(r, now_),
           parked = r.parked or r.mailbox_count > r.mailbox_seen and coalesce(chimeway.wake_again(r, now_), 'infinity') > now_
     where r.id = p_run;
    perform chimeway.hint();
    return true;
end $$;

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
            ('producer', 'execute', 'function', '{trigger,trigger_many,signal,identify,identify_many,
                                                  cancel}'::text[]),
            ('deployer', 'execute', 'function', '{register_workflow,register_workflow_and_schema}'),
            ('deployer', 'select, update (activated)', 'table', '{workflow_definitions}'),
            ('reader',   'select', 'all tables', '{}'),
            ('reader',   'execute', 'function', '{clock,shard_of,shard_of_id,is_instant,is_stuck,wake_again,
                                                  list_inbox,inbox_states,export_recipient}'),
            ('operator', 'select', 'all tables', '{}'),
            ('operator', 'execute', 'function', '{clock,shard_of,shard_of_id,is_instant,is_stuck,wake_again,
                                                  list_inbox,inbox_states,
                                                  cancel,hold_run,resume_run,pause_workflow,
                                                  retry_delivery,record_feedback,configure_tenant,decide_restored,
                                                  cancel_runs,wake_runs,retime_runs,
                                                  forget_recipient,export_recipient,unsubscribe,resubscribe,
                                                  prune_runs,prune_bodies,prune_events,prune_signals,prune_answers,
                                                  prune_actions,prune_restored,
                                                  revoke_api_token}'),
            -- When it was is the database's to say: nobody dates what he did.
            ('operator', 'insert (who, token_id, action, tenant_id, run_id, delivery_id, workflow_key, note)', 'table',
                         '{operator_actions}'),
            ('inbox',    'select', 'table', '{inbox_items}'),
            ('inbox',    'execute', 'function', '{shard_of,list_inbox,mark_inbox,mark_all_inbox,inbox_states,
                                                  watch_inboxes,unwatch_inboxes,
                                                  unsubscribe,resubscribe}'),
            ('daemon',   'execute', 'all functions', '{}'),
            ('daemon',   'usage', 'sequence', '{arrival,lease_epoch}'),
            ('daemon',   'select', 'all tables', '{}'),
            ('daemon',   'insert', 'table', '{workflow_transitions,delivery_attempts,delivery_attempt_results,
                                               delivery_feedback,delivery_verdicts}'),
            ('daemon',   'insert, update', 'table', '{deliveries,run_mailbox,inbox_items,signals,send_budgets}'),
            ('daemon',   'update', 'table', '{workflow_runs,shard_owners}'),
            ('daemon',   'insert, update, delete', 'table', '{nodes,leases,console_sessions,operator_plans}'),
            ('daemon',   'insert', 'table', '{request_answers}'),
            ('daemon',   'insert (who, token_id, action, tenant_id, run_id, delivery_id, workflow_key, note)', 'table',
                         '{operator_actions}'),
            ('daemon',   'update (last_used_on)', 'table', '{api_tokens}')
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
