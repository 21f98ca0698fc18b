-- Deliveries: which provider was called, what it told later; the inbox; who is due, tenant by tenant.
-- serves from: 2

create index concurrently if not exists delivery_attempt_results_reference on chimeway.delivery_attempt_results (provider_reference)
    where provider_reference is not null;

-- transaction

alter table chimeway.delivery_attempts add column provider text;

alter table chimeway.inbox_items
    add column interacted_at timestamptz,
    add column told text[] not null default '{}';

-- Feedback: what providers tell later.

-- What providers told later of a delivery, by webhooks. Append-only; an event stands here once, however often it
-- is told.
create table chimeway.delivery_feedback (
    delivery_id uuid        not null,
    shard       smallint    not null,
    source      text        not null,               -- who told it, as it is set up
    event_id    text        not null,               -- the source's own name for what it told
    kind        text        not null check (kind in ('delivered','bounced','failed','complained','deferred')),
    at          timestamptz not null,               -- when it happened, as the source says
    detail      text        check (length(detail) <= 1000),
    recorded_at timestamptz not null,
    primary key (delivery_id, source, event_id, shard),
    foreign key (delivery_id, shard) references chimeway.deliveries (id, shard)
);

create trigger append_only before update or delete on chimeway.delivery_feedback
    for each row execute function chimeway.refuse_change();
create trigger append_only_truncate before truncate on chimeway.delivery_feedback
    for each statement execute function chimeway.refuse_change();

-- How much an event of a delivery weighs: what it is, is what its gravest event says, in whichever order they come.
create function chimeway.feedback_rank(kind text) returns int
language sql immutable as $$
    select case kind when 'delivered' then 1 when 'failed' then 2 when 'bounced' then 3 else 0 end
$$;

-- Refuses events that are none. Each is an object: `id` (the source's own), `delivery_id` or
-- `provider_reference` (a text, or a list of the ways in which it may have been written down) or both, `type`,
-- and optionally `at` (an instant) and `detail` (a text).
create function chimeway.check_feedback(p_source text, p_events jsonb) returns void
language plpgsql as $$
declare
    e     jsonb;
    n     int := 0;
    wrong text;
begin
    perform chimeway.check_id('source', p_source);
    if p_events is null or jsonb_typeof(p_events) <> 'array' or jsonb_array_length(p_events) > 1000 then
        perform chimeway.refuse('invalid_input', 'CW001', format('events is %s', case
            when p_events is null then 'null'
            when jsonb_typeof(p_events) <> 'array' then 'a JSON ' || jsonb_typeof(p_events)
            else 'a list of ' || jsonb_array_length(p_events) end),
            'events must be a JSON array of at most 1000');
    end if;
    for e in select jsonb_array_elements(p_events) loop
        if jsonb_typeof(e) <> 'object' then
            perform chimeway.refuse('invalid_input', 'CW001', format('events[%s] is a JSON %s', n, jsonb_typeof(e)),
                'each event must be a JSON object');
        end if;
        select min(k.key) into wrong from jsonb_object_keys(e) k(key)
         where k.key not in ('id','delivery_id','provider_reference','type','at','detail');
        if wrong is not null then
            perform chimeway.refuse('invalid_input', 'CW001', format('events[%s] has the unknown key "%s"', n, left(wrong, 100)),
                'known are id, delivery_id, provider_reference, type, at, detail');
        end if;
        wrong := case
            when coalesce(jsonb_typeof(e -> 'id'), '') <> 'string' or length(e ->> 'id') not between 1 and 255 then 'id'
            when coalesce(e ->> 'type', '') not in ('delivered','bounced','failed','complained','deferred') then 'type'
            when e ->> 'delivery_id' is not null and not e ->> 'delivery_id' ~* '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'
                then 'delivery_id'
            when e ->> 'delivery_id' is null and e ->> 'provider_reference' is null then 'delivery_id'
            when coalesce(jsonb_typeof(e -> 'provider_reference'), 'null') not in ('null','string','array')
                then 'provider_reference'
            when e ->> 'at' is not null and not chimeway.is_instant(e -> 'at') then 'at'
            when coalesce(jsonb_typeof(e -> 'detail'), 'null') not in ('null','string') then 'detail' end;
        if wrong is not null then
            perform chimeway.refuse('invalid_input', 'CW001', format('events[%s].%s is not what it must be', n, wrong),
                case wrong when 'id' then 'a text of 1 to 255 characters: the source''s own name for the event'
                    when 'type' then 'one of delivered, bounced, failed, complained, deferred'
                    when 'delivery_id' then 'a UUID, or give provider_reference'
                    when 'provider_reference' then 'a text, or a list of texts'
                    when 'at' then 'an instant, such as "2026-01-05T09:00:00Z"' else 'a text' end);
        end if;
        n := n + 1;
    end loop;
end $$;

-- The delivery that an event is about, or null: by its id, else by what the provider called it when it took it
-- (if no two of this tenant's deliveries were called so).
create function chimeway.delivery_told_of(p_event jsonb, p_tenant_id text) returns uuid
language plpgsql stable set enable_seqscan = off as $$
declare
    v_id    uuid;
    v_found uuid[];
begin
    select d.id into v_id from chimeway.deliveries d
     where d.id = (p_event ->> 'delivery_id')::uuid and (p_tenant_id is null or d.tenant_id = p_tenant_id);
    if v_id is not null or p_event ->> 'provider_reference' is null then return v_id; end if;
    select array_agg(f.id) into v_found from (
        select distinct d.id from (
            select x.delivery_id, x.shard from chimeway.delivery_attempt_results x
             where x.provider_reference in (select r.reference from jsonb_array_elements_text(case
                       when jsonb_typeof(p_event -> 'provider_reference') = 'array' then p_event -> 'provider_reference'
                       else jsonb_build_array(p_event -> 'provider_reference') end) r(reference)) limit 100) x
          join chimeway.deliveries d on d.id = x.delivery_id and d.shard = x.shard
         where p_tenant_id is null or d.tenant_id = p_tenant_id) f;
    return case when cardinality(v_found) = 1 then v_found[1] end;
end $$;

-- Writes down what a provider told of deliveries, and moves them to what its gravest event says: `delivered` is
-- succeeded, `failed` cancelled/permanent_failure, `bounced` cancelled/bounced, whatever they were before;
-- `complained` and `deferred` move nothing. The run hears of it by signals, and is woken when it stands there.
-- An event told before changes nothing. Answers: recorded | repeat | unknown | unsent (no provider was ever
-- asked for it: nothing is written) | busy (somebody else has the run locked; only without patience).
-- With a tenant, deliveries of others are unknown.
create function chimeway.record_feedback(
    p_source text, p_events jsonb, p_tenant_id text default null, p_patient boolean default true
) returns table (place int, event_id text, delivery_id uuid, answer text)
language plpgsql set enable_seqscan = off security definer set search_path = chimeway, pg_temp as $$
#variable_conflict use_column
declare
    v_id         uuid[];    -- of each event in its place
    v_locked     uuid[];
    v_fresh      int[];
    v_risen      uuid[];    -- deliveries of which something graver was told than before, and how grave it is
    v_rank       int[];
    v_complained uuid[];
    v_moved      uuid[];
    v_clock      timestamptz;
begin
    perform chimeway.check_feedback(p_source, p_events);
    if p_tenant_id is not null then perform chimeway.check_id('tenant_id', p_tenant_id); end if;
    -- Who is meant: before any lock, since neither a delivery's id nor its run nor a reference ever changes.
    select coalesce(array_agg(chimeway.delivery_told_of(e.event, p_tenant_id) order by e.place), '{}') into v_id
      from jsonb_array_elements(p_events) with ordinality e(event, place);

    if p_patient then
        select coalesce(array_agg(l.id), '{}') into v_locked from (
            select r.id from chimeway.workflow_runs r
             where r.id in (select d.run_id from chimeway.deliveries d where d.id = any(v_id)) order by r.id for update) l;
    else
        select coalesce(array_agg(l.id), '{}') into v_locked from (
            select r.id from chimeway.workflow_runs r
             where r.id in (select d.run_id from chimeway.deliveries d where d.id = any(v_id))
             order by r.id for update skip locked) l;
    end if;
    perform 1 from (
        select d.id from chimeway.deliveries d
         where d.id = any(v_id) and d.run_id = any(v_locked) order by d.id for update) l;
    v_clock := chimeway.clock();

    -- `before` is what stood there when this statement began, under the locks.
    with items as (
        select distinct on (d.id, e.event ->> 'id') e.place::int as place, d.id, d.shard, e.event
          from jsonb_array_elements(p_events) with ordinality e(event, place)
          join unnest(v_id) with ordinality m(id, place) on m.place = e.place
          join chimeway.deliveries d on d.id = m.id
         where d.run_id = any(v_locked) and d.attempt_count > 0
         order by d.id, e.event ->> 'id', e.place
    ), new as (
        insert into chimeway.delivery_feedback (delivery_id, shard, source, event_id, kind, at, detail, recorded_at)
        select i.id, i.shard, p_source, i.event ->> 'id', i.event ->> 'type',
               coalesce((i.event ->> 'at')::timestamptz, v_clock), left(i.event ->> 'detail', 1000), v_clock
          from items i
        on conflict do nothing
        returning delivery_id, event_id, kind
    ), told as (
        select n.delivery_id, max(chimeway.feedback_rank(n.kind)) as rank, bool_or(n.kind = 'complained') as complained
          from new n group by n.delivery_id
    ), before as (
        select f.delivery_id, max(chimeway.feedback_rank(f.kind)) as rank, bool_or(f.kind = 'complained') as complained
          from chimeway.delivery_feedback f where f.delivery_id = any(v_id) group by f.delivery_id
    ), news as (
        select t.delivery_id as id, t.rank, t.rank > coalesce(b.rank, 0) as graver,
               t.complained and not coalesce(b.complained, false) as complained
          from told t left join before b on b.delivery_id = t.delivery_id
    )
    select (select coalesce(array_agg(i.place), '{}') from items i
              join new n on n.delivery_id = i.id and n.event_id = i.event ->> 'id'),
           coalesce(array_agg(w.id order by w.id) filter (where w.graver), '{}'),
           coalesce(array_agg(w.rank order by w.id) filter (where w.graver), '{}'),
           coalesce(array_agg(w.id) filter (where w.complained), '{}')
      into v_fresh, v_risen, v_rank, v_complained from news w;

    with moved as (
        update chimeway.deliveries d
           set status = v.status, suppression_reason = v.reason, terminal_at = v_clock, next_attempt_at = null,
               waiting_for_node = null, revision = d.revision + 1
          from (select u.id, case u.rank when 1 then 'succeeded' else 'cancelled' end as status,
                       case u.rank when 2 then 'permanent_failure' when 3 then 'bounced' end as reason
                  from unnest(v_risen, v_rank) u(id, rank)) v
         where d.id = v.id and (d.status, d.suppression_reason) is distinct from (v.status, v.reason)
        returning d.id
    )
    select coalesce(array_agg(m.id), '{}') into v_moved from moved m;

    -- A run that stands there goes on. One that waits for its step's time does only if a rule is about this
    -- (semantics 5, row 7); if none is, it wakes when it would have, whatever was told a moment ago.
    update chimeway.workflow_runs r
       set wake_at = case
               when r.state = 'active' then least(coalesce(r.wake_at, v_clock), v_clock)
               when (r.status_context ->> 'anchor_delivery_status', r.status_context ->> 'workflow_outcome')
                        is distinct from (o.status, o.outcome)
                    and jsonb_path_exists(w.definition,
                        '$.steps[*] ? (@.id == $step).progress[*] ? (@.outcome == $outcome)',
                        jsonb_build_object('step', r.step, 'outcome', o.outcome))
                   then least(coalesce(r.wake_at, v_clock), v_clock)
               when chimeway.is_instant(r.status_context -> 'due_at')
                   then (r.status_context ->> 'due_at')::timestamptz
               else r.wake_at end
      from (select d.run_id, d.shard, d.visit, d.status, coalesce(d.suppression_reason, 'delivered') as outcome
              from chimeway.deliveries d where d.id = any(v_moved)) o,
           chimeway.workflow_definitions w
     where r.id = o.run_id and r.shard = o.shard and r.visit = o.visit and r.state in ('active','waiting')
       and w.key = r.workflow_key and w.version = r.workflow_version;

    insert into chimeway.signals (id, shard, tenant_id, actor_id, type, payload, run_id, created_at)
    select chimeway.new_id(d.shard), d.shard, d.tenant_id, d.recipient_id, 'chimeway.delivery.' || s.word,
           jsonb_build_object('delivery_id', d.id), d.run_id, v_clock
      from (select u.id, case u.rank when 1 then 'succeeded' when 2 then 'failed' else 'bounced' end as word
              from unnest(v_risen, v_rank) u(id, rank)
             union all
            select u.id, 'complained' from unnest(v_complained) u(id)) s
      join chimeway.deliveries d on d.id = s.id
     order by d.id, s.word;
    if v_risen <> '{}' or v_complained <> '{}' then perform chimeway.hint(); end if;

    return query
    select e.place::int, e.event ->> 'id', d.id, case
            when d.id is null then 'unknown'
            when e.place::int = any(v_fresh) then 'recorded'
            when not d.run_id = any(v_locked) then 'busy'
            when d.attempt_count = 0 then 'unsent'
            else 'repeat' end
      from jsonb_array_elements(p_events) with ordinality e(event, place)
      join unnest(v_id) with ordinality m(id, place) on m.place = e.place
      left join chimeway.deliveries d on d.id = m.id
     order by e.place;
end $$;

-- Roles.
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
            ('reader',   'execute', 'function', '{clock,shard_of,shard_of_id,is_instant,is_stuck,wake_again}'),
            ('operator', 'select', 'all tables', '{}'),
            ('operator', 'execute', 'function', '{clock,shard_of,shard_of_id,is_instant,is_stuck,wake_again,
                                                  cancel,hold_run,resume_run,pause_workflow,
                                                  retry_delivery,record_feedback}'),
            ('inbox',    'select', 'table', '{inbox_items}'),
            ('inbox',    'execute', 'function', '{shard_of,mark_inbox}'),
            ('daemon',   'execute', 'all functions', '{}'),
            ('daemon',   'usage', 'sequence', '{arrival}'),
            ('daemon',   'select', 'all tables', '{}'),
            ('daemon',   'insert', 'table', '{workflow_transitions,delivery_attempts,delivery_attempt_results,
                                               delivery_feedback}'),
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

select chimeway.grant_roles();
