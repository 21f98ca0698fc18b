-- Deliveries: which provider was called, what it told later; the inbox; who is due, tenant by tenant.
-- serves from: 2

create index concurrently if not exists delivery_attempt_results_reference on chimeway.delivery_attempt_results (provider_reference)
    where provider_reference is not null;

create index concurrently if not exists inbox_items_listed on chimeway.inbox_items (tenant_id, recipient_id, created_at desc, archived_at, shard);
create index concurrently if not exists inbox_items_unread on chimeway.inbox_items (tenant_id, recipient_id, created_at desc, seen_at, shard)
    where read_at is null and archived_at is null;

create index concurrently if not exists workflow_runs_due_of_tenant on chimeway.workflow_runs (least(visit, 1), tenant_id, wake_at, id)
    where wake_at is not null and held_reason is null and waiting_for_node is null and not parked;
create index concurrently if not exists deliveries_due_of_tenant on chimeway.deliveries (channel, tenant_id, next_attempt_at, id)
    where next_attempt_at is not null and waiting_for_node is null;
create index concurrently if not exists deliveries_unanswered on chimeway.deliveries (id)
    where terminal_at is not null
      and attempt_count > failed_count + case last_outcome when 'succeeded' then 1 else 0 end;

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
-- (if no two of this tenant's deliveries were called so, and not a hundred calls of anybody's).
create function chimeway.delivery_told_of(p_event jsonb, p_tenant_id text) returns uuid
language plpgsql stable set enable_seqscan = off as $$
declare
    v_id    uuid;
    v_found uuid[];
    v_calls int;
begin
    select d.id into v_id from chimeway.deliveries d
     where d.id = (p_event ->> 'delivery_id')::uuid and (p_tenant_id is null or d.tenant_id = p_tenant_id);
    if v_id is not null or p_event ->> 'provider_reference' is null then return v_id; end if;
    select array_agg(distinct d.id) filter (where p_tenant_id is null or d.tenant_id = p_tenant_id), count(*)
      into v_found, v_calls from (
            select x.delivery_id, x.shard from chimeway.delivery_attempt_results x
             where x.provider_reference in (select r.reference from jsonb_array_elements_text(case
                       when jsonb_typeof(p_event -> 'provider_reference') = 'array' then p_event -> 'provider_reference'
                       else jsonb_build_array(p_event -> 'provider_reference') end) r(reference)) limit 101) x
      join chimeway.deliveries d on d.id = x.delivery_id and d.shard = x.shard;
    return case when v_calls <= 100 and cardinality(v_found) = 1 then v_found[1] end;
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
    -- What a caller in REPEATABLE READ cannot see, it must not weigh without: the row tells it to begin again.
    update chimeway.deliveries d set revision = d.revision + 1
     where d.id = any(v_risen || v_complained) and not d.id = any(v_moved);

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

-- The inbox: an order within one instant, marks, counts, who watches. (inbox_items_listed does what this index did,
-- for programs of version 2 too.)
drop index chimeway.inbox_items_feed;
alter table chimeway.inbox_items add column arrival bigint not null default 0;
alter table chimeway.inbox_items alter column arrival set default nextval('chimeway.arrival');

-- Processes that show inboxes live, with their signs of life, and whose inboxes. Who writes into an inbox
-- notifies only while a living one watches it: NOTIFY takes a lock of the whole database.
create table chimeway.inbox_watchers (
    id      uuid        primary key,
    seen_at timestamptz not null default clock_timestamp()
) with (fillfactor = 50, autovacuum_vacuum_threshold = 200, autovacuum_vacuum_scale_factor = 0);
create table chimeway.inbox_watched (
    watcher uuid not null references chimeway.inbox_watchers (id) on delete cascade,
    digest  text not null,                          -- chimeway.inbox_digest of tenant and recipient
    primary key (digest, watcher)
) with (autovacuum_vacuum_threshold = 200, autovacuum_vacuum_scale_factor = 0);
create index inbox_watched_by on chimeway.inbox_watched (watcher);

-- What a filter means, as conditions of inbox_items i whose values are $3 ->> 'key': the text of a query needs
-- constants, or the partial indexes could not be used. Filters: unseen, unread, uninteracted (true: only such),
-- archived ("no", "only", "with"), workflow, render_key, step, since, before (an instant, itself not included).
create function chimeway.inbox_conditions(filter jsonb) returns text
language plpgsql as $$
declare k text;
begin
    perform chimeway.check_object('filter', filter);
    for k in select jsonb_object_keys(filter) loop
        if k in ('unseen','unread','uninteracted') then
            if jsonb_typeof(filter -> k) <> 'boolean' then
                perform chimeway.refuse('invalid_input', 'CW001',
                    format('filter.%s is a JSON %s', k, jsonb_typeof(filter -> k)), 'give true or false');
            end if;
        elsif k in ('workflow','render_key','step') then
            perform chimeway.check_id('filter.' || k, filter ->> k);
        elsif k in ('since','before') then
            if not chimeway.is_instant(filter -> k) then
                perform chimeway.refuse('invalid_input', 'CW001', format('filter.%s is no instant', k),
                    'give RFC 3339 with its offset, such as "2026-11-27T09:00:00Z"');
            end if;
        elsif k = 'archived' then
            if coalesce(filter ->> k, '') not in ('no','only','with') then
                perform chimeway.refuse('invalid_input', 'CW001',
                    format('filter.archived is %s', coalesce('"' || left(filter ->> k, 100) || '"', 'null')),
                    'give no, only or with');
            end if;
        else
            perform chimeway.refuse('invalid_input', 'CW001', format('filter has the unknown key "%s"', left(k, 100)),
                'known are unseen, unread, uninteracted, archived, workflow, render_key, step, since, before');
        end if;
    end loop;
    return case coalesce(filter ->> 'archived', 'no') when 'no' then ' and i.archived_at is null'
                when 'only' then ' and i.archived_at is not null' else '' end
        || case when (filter ->> 'unseen')::bool then ' and i.seen_at is null and i.read_at is null' else '' end
        || case when (filter ->> 'unread')::bool then ' and i.read_at is null' else '' end
        || case when (filter ->> 'uninteracted')::bool then ' and i.interacted_at is null' else '' end
        || case when filter ? 'render_key' then ' and i.render_key = $3 ->> ''render_key''' else '' end
        || case when filter ? 'since' then ' and i.created_at >= ($3 ->> ''since'')::timestamptz' else '' end
        || case when filter ? 'before' then ' and i.created_at < ($3 ->> ''before'')::timestamptz' else '' end
        || case when filter ? 'workflow' then ' and $3 ->> ''workflow'' = (select r.workflow_key
            from chimeway.workflow_runs r where r.id = i.run_id and r.shard = i.shard)' else '' end
        || case when filter ? 'step' then ' and $3 ->> ''step'' = (select d.step_id
            from chimeway.deliveries d where d.id = i.id and d.shard = i.shard)' else '' end;
end $$;

-- A page of a recipient's in-app items, the newest first, behind a place (created_at, arrival, id of the last
-- item of the page before), with where each came from, and the data of its trigger if that is not forgotten
-- and at most 16384 bytes of JSON.
create function chimeway.list_inbox(
    p_tenant_id text, p_recipient_id text, p_filter jsonb default '{}', p_limit int default 50,
    p_after_at timestamptz default null, p_after_arrival bigint default null, p_after_id uuid default null
) returns table (
    id uuid, run_id uuid, workflow_key text, workflow_version int, step_id text, render_key text, subject text,
    body text, data jsonb, created_at timestamptz, seen_at timestamptz, read_at timestamptz,
    interacted_at timestamptz, archived_at timestamptz, arrival bigint
)
language plpgsql stable security definer set search_path = chimeway, pg_temp
    set enable_bitmapscan = off set enable_sort = off as $$  -- a page ends early, whatever is thought of its filters
#variable_conflict use_column
begin
    perform chimeway.check_id('tenant_id', p_tenant_id);
    perform chimeway.check_id('recipient_id', p_recipient_id);
    if p_limit is null or p_limit not between 1 and 1001 then
        perform chimeway.refuse('invalid_input', 'CW001', format('p_limit is %s', coalesce(p_limit::text, 'null')),
            'give a whole number from 1 to 1001');
    end if;
    return query execute format($list$
        select i.id, i.run_id, r.workflow_key, r.workflow_version, d.step_id, i.render_key, i.subject, i.body,
               case when octet_length(e.data::text) <= 16384 then e.data end, i.created_at, i.seen_at, i.read_at,
               i.interacted_at, i.archived_at, i.arrival
          from (select i.* from chimeway.inbox_items i
                 where i.tenant_id = $1 and i.recipient_id = $2 and i.shard = $4 %s %s
                 order by i.created_at desc, i.arrival desc, i.id desc limit $5) i
          left join lateral (select r.workflow_key, r.workflow_version, r.event_id from chimeway.workflow_runs r
                              where r.id = i.run_id and r.shard = i.shard offset 0) r on true
          left join lateral (select d.step_id from chimeway.deliveries d
                              where d.id = i.id and d.shard = i.shard offset 0) d on true
          left join lateral (select e.data from chimeway.events e where e.id = r.event_id offset 0) e on true
         order by i.created_at desc, i.arrival desc, i.id desc $list$,
        chimeway.inbox_conditions(p_filter),
        case when p_after_at is not null
             then 'and i.created_at <= $6 and (i.created_at, i.arrival, i.id) < ($6, $7, $8)' end)
    using p_tenant_id, p_recipient_id, p_filter, chimeway.shard_of(p_tenant_id, p_recipient_id), p_limit,
          p_after_at, p_after_arrival, p_after_id;
end $$;

-- How many items of each of these inboxes are unseen and unread (counted up to a bound), which is the newest,
-- and what the newest twenty look like: another text, another look.
create function chimeway.inbox_states(p_tenant_ids text[], p_recipient_ids text[], p_at_most int)
returns table (place int, unseen int, unread int, newest uuid, look text)
language sql stable security definer set search_path = chimeway, pg_temp as $$
    select w.place::int,
           (select count(*) from (
                select from chimeway.inbox_items i
                 where i.tenant_id = w.tenant and i.recipient_id = w.recipient and i.shard = w.shard
                   and i.seen_at is null and i.read_at is null and i.archived_at is null limit p_at_most) c)::int,
           (select count(*) from (
                select from chimeway.inbox_items i
                 where i.tenant_id = w.tenant and i.recipient_id = w.recipient and i.shard = w.shard
                   and i.read_at is null and i.archived_at is null limit p_at_most) c)::int,
           n.newest, n.look
      from (select u.tenant, u.recipient, u.place, chimeway.shard_of(u.tenant, u.recipient) as shard
              from unnest(p_tenant_ids, p_recipient_ids) with ordinality u(tenant, recipient, place) offset 0) w
     cross join lateral (
        select (array_agg(i.id order by i.created_at desc, i.arrival desc, i.id desc))[1] as newest,
               md5(string_agg(concat_ws(' ', i.id, i.seen_at is null, i.read_at is null, i.interacted_at is null),
                   ',' order by i.created_at desc, i.arrival desc, i.id desc)) as look
          from (select i.* from chimeway.inbox_items i
                 where i.tenant_id = w.tenant and i.recipient_id = w.recipient and i.shard = w.shard
                   and i.archived_at is null
                 order by i.created_at desc, i.arrival desc, i.id desc limit 20) i) n
     order by w.place
$$;

-- By what name an inbox is called when it changes: anybody may listen, so it tells nobody's name.
create function chimeway.inbox_digest(tenant_id text, recipient_id text) returns text
language sql immutable strict parallel safe as $$
    select left(encode(sha256(convert_to('inbox' || chr(31) || $1 || chr(31) || $2, 'UTF8')), 'hex'), 32)
$$;

-- Says at commit, to those who watch one of these inboxes, that it has changed.
create function chimeway.tell_inboxes(p_tenant_ids text[], p_recipient_ids text[]) returns void
language plpgsql as $$
begin
    if exists (select from chimeway.inbox_watched) then
        perform pg_notify('chimeway_inbox', d.digest)
           from (select distinct chimeway.inbox_digest(u.tenant, u.recipient) as digest
                   from unnest(p_tenant_ids, p_recipient_ids) u(tenant, recipient)) d
          where exists (select from chimeway.inbox_watched w join chimeway.inbox_watchers l on l.id = w.watcher
                         where w.digest = d.digest and l.seen_at > clock_timestamp() - interval '30 seconds');
    end if;
end $$;

-- Has a process watch inboxes, a thousand a call at the most, and is its sign of life. Returns by what name each
-- is called on the channel chimeway_inbox. Processes that gave none for two minutes are taken off the list.
create function chimeway.watch_inboxes(p_watcher uuid, p_tenant_ids text[], p_recipient_ids text[])
returns table (place int, digest text)
language plpgsql security definer set search_path = chimeway, pg_temp as $$
#variable_conflict use_column
begin
    if p_watcher is null or cardinality(p_tenant_ids) is distinct from cardinality(p_recipient_ids)
       or cardinality(p_tenant_ids) > 1000 or array_position(p_tenant_ids || p_recipient_ids, null) is not null then
        perform chimeway.refuse('invalid_input', 'CW001', 'watcher, a tenant or a recipient is null, or they do not pair',
            'give an id of your own, and two arrays of equal length, at most 1000 long');
    end if;
    insert into chimeway.inbox_watchers as w (id) values (p_watcher)
        on conflict (id) do update set seen_at = clock_timestamp();
    delete from chimeway.inbox_watchers w where w.id in (
        select o.id from chimeway.inbox_watchers o where o.seen_at < clock_timestamp() - interval '2 minutes'
         order by o.id for update skip locked);
    return query
        with asked as (
            select u.place::int, chimeway.inbox_digest(u.tenant, u.recipient) as digest
              from unnest(p_tenant_ids, p_recipient_ids) with ordinality u(tenant, recipient, place)
        ), put as (
            insert into chimeway.inbox_watched (watcher, digest) select distinct p_watcher, a.digest from asked a
            order by 2 on conflict do nothing
        )
        select a.place, a.digest from asked a order by a.place;
end $$;

-- Has a process watch these inboxes no longer; without a list, it goes.
create function chimeway.unwatch_inboxes(p_watcher uuid, p_digests text[] default null) returns void
language plpgsql security definer set search_path = chimeway, pg_temp as $$
begin
    if p_digests is null then
        delete from chimeway.inbox_watchers w where w.id = p_watcher;
    else
        delete from chimeway.inbox_watched w where w.watcher = p_watcher and w.digest = any(p_digests);
    end if;
end $$;

-- Puts a mark on a recipient's items, or takes one away, and says so to their runs, in the same transaction.
-- Who interacted has read, who has read has seen: those marks are set and told along. Each is told once in an
-- item's life (`told`), also when it was taken away in between; the strongest first, so that a wait which
-- listens to several goes by it. Taking away is told to nobody. Returns the items that were changed.
create function chimeway.put_marks(p_tenant_id text, p_recipient_id text, p_ids uuid[], p_mark text) returns uuid[]
language plpgsql as $$
#variable_conflict use_column
declare
    now_    timestamptz := chimeway.clock();
    marks   text[] := case p_mark when 'interacted' then '{interacted,read,seen}' when 'read' then '{read,seen}'
                                  when 'seen' then '{seen}' when 'archived' then '{archived}' else '{}' end;
    lost    text[] := case p_mark when 'unseen' then '{seen,read}' when 'unread' then '{read}'
                                  when 'unarchived' then '{archived}' else '{}' end;
    mine    uuid[];
    changed uuid[];
    news    boolean;
begin
    -- Compared so that it stays with the index of ids: a plan for any inbox takes an inbox for small, and reads it all.
    select array_agg(l.id) into mine from (
        select i.id from chimeway.inbox_items i
         where i.id = any(p_ids) and i.tenant_id is not distinct from p_tenant_id
           and i.recipient_id is not distinct from p_recipient_id
         order by i.id for update) l;
    with found as (
        select i.id, i.shard, i.run_id, i.arrival, i.told, b.borne
          from chimeway.inbox_items i
         cross join lateral (select array_remove(array[
                case when i.seen_at is not null then 'seen' end, case when i.read_at is not null then 'read' end,
                case when i.interacted_at is not null then 'interacted' end,
                case when i.archived_at is not null then 'archived' end], null) as borne) b
         where i.id = any(mine) and (not marks <@ b.borne or lost && b.borne)
    ), written as (
        update chimeway.inbox_items i
           set seen_at = case when 'seen' = any(marks) then coalesce(i.seen_at, now_)
                              when not 'seen' = any(lost) then i.seen_at end,
               read_at = case when 'read' = any(marks) then coalesce(i.read_at, now_)
                              when not 'read' = any(lost) then i.read_at end,
               interacted_at = case when 'interacted' = any(marks) then coalesce(i.interacted_at, now_)
                                    else i.interacted_at end,
               archived_at = case when 'archived' = any(marks) then coalesce(i.archived_at, now_)
                                  when not 'archived' = any(lost) then i.archived_at end,
               told = array(select distinct m from unnest(f.told || f.borne || marks) m order by m)
          from found f where i.id = f.id and i.shard = f.shard
    ), said as (
        insert into chimeway.signals (id, shard, tenant_id, actor_id, type, payload, run_id, created_at)
        select chimeway.new_id(f.shard), f.shard, p_tenant_id, p_recipient_id, 'chimeway.notification.' || m.mark,
               jsonb_build_object('notification_id', f.id), f.run_id, now_
          from found f cross join unnest(marks) with ordinality m(mark, place)
         where not m.mark = any(f.told || f.borne)
         order by f.arrival, f.id, m.place
        returning 1
    )
    select coalesce(array_agg(f.id order by f.id), '{}'), exists (select from said) into changed, news from found f;
    if news then perform chimeway.hint(); end if;
    if changed <> '{}' then perform chimeway.tell_inboxes(array[p_tenant_id], array[p_recipient_id]); end if;
    return changed;
end $$;

-- Marks a recipient's in-app items as seen, read, interacted or archived, or takes a mark away (unseen, unread,
-- unarchived); see put_marks. Returns the items that were changed.
create or replace function chimeway.mark_inbox(p_tenant_id text, p_recipient_id text, p_ids uuid[], p_mark text)
returns table (id uuid)
language plpgsql security definer set search_path = chimeway, pg_temp as $$
begin
    perform chimeway.check_id('tenant_id', p_tenant_id);
    perform chimeway.check_id('recipient_id', p_recipient_id);
    if p_mark is null or p_mark not in ('seen','read','interacted','archived','unseen','unread','unarchived') then
        perform chimeway.refuse('invalid_input', 'CW001', format('mark is %s', coalesce('"' || left(p_mark, 100) || '"', 'null')),
            'give seen, read, interacted, archived, unseen, unread or unarchived');
    end if;
    return query select u.id from unnest(chimeway.put_marks(p_tenant_id, p_recipient_id, p_ids, p_mark)) u(id);
end $$;

-- Marks what lies in an inbox (not put away, not yet marked so) as seen, read or archived: what a filter lets
-- through, down from an item (itself included) if one is given, and nothing that arrived after `upto`, which is
-- the present where none is given. p_limit bounds a call: it returns whom it marked, and with which `p_through`
-- and `p_upto` to go on, if `further` is not null.
create function chimeway.mark_all_inbox(
    p_tenant_id text, p_recipient_id text, p_mark text, p_filter jsonb default '{}', p_through uuid default null,
    p_upto bigint default null, p_limit int default null
) returns table (marked uuid[], further uuid, upto bigint)
language plpgsql security definer set search_path = chimeway, pg_temp
    set enable_bitmapscan = off set enable_sort = off as $$
#variable_conflict use_column
declare
    top    chimeway.inbox_items;
    found_ uuid[];
begin
    perform chimeway.check_id('tenant_id', p_tenant_id);
    perform chimeway.check_id('recipient_id', p_recipient_id);
    if p_mark is null or p_mark not in ('seen','read','archived') then
        perform chimeway.refuse('invalid_input', 'CW001', format('mark is %s', coalesce('"' || left(p_mark, 100) || '"', 'null')),
            'all can be marked as seen, read or archived');
    end if;
    if p_limit < 1 then
        perform chimeway.refuse('invalid_input', 'CW001', format('p_limit is %s', p_limit), 'give a whole number from 1 on');
    end if;
    upto := coalesce(p_upto, (select a.last_value from chimeway.arrival a));
    select i.* into top from chimeway.inbox_items i
     where i.id = p_through and i.tenant_id = p_tenant_id and i.recipient_id = p_recipient_id;
    execute format($all$
        select array_agg(x.id order by x.created_at desc, x.arrival desc, x.id desc) from (
            select i.id, i.created_at, i.arrival from chimeway.inbox_items i
             where i.tenant_id = $1 and i.recipient_id = $2 and i.shard = $4 and i.arrival <= $5 %s %s %s
             order by i.created_at desc, i.arrival desc, i.id desc limit $6) x $all$,
        chimeway.inbox_conditions(p_filter || '{"archived": "no"}'),
        case p_mark when 'seen' then 'and i.seen_at is null and i.read_at is null'
                    when 'read' then 'and i.read_at is null' end,
        case when p_through is not null
             then 'and i.created_at <= $7 and (i.created_at, i.arrival, i.id) <= ($7, $8, $9)' end)
    into found_ using p_tenant_id, p_recipient_id, p_filter, chimeway.shard_of(p_tenant_id, p_recipient_id), upto,
        p_limit, top.created_at, top.arrival, top.id;
    marked := case when found_ is null then '{}'
                   else chimeway.put_marks(p_tenant_id, p_recipient_id, found_, p_mark) end;
    further := case when cardinality(found_) = p_limit then found_[p_limit] end;
    return next;
end $$;
-- (So much for the inbox.)

create or replace function chimeway.commit_decisions(
    p_owner uuid, p_epoch bigint,
    p_run uuid[], p_decision uuid[], p_revision bigint[], p_mailbox int[], p_delivery uuid[],
    p_delivery_revision bigint[], p_now timestamptz[], p_state text[], p_step text[], p_visit int[],
    p_status_reason text[], p_context jsonb[], p_pending text[], p_wake_at timestamptz[],
    p_entered_at timestamptz[], p_armed_step text[], p_armed_entered_at timestamptz[], p_held_reason text[],
    p_inputs jsonb[], p_consumed text[],
    t_run uuid[], t_pos int[], t_reason text[], t_from_state text[], t_to_state text[], t_from_step text[],
    t_to_step text[], t_visit int[], t_status_reason text[], t_context jsonb[], t_signal_id uuid[],
    t_signal_type text[],
    d_id uuid[], d_run uuid[], d_visit int[], d_step text[], d_channel text[], d_render_key text[],
    d_status text[], d_reason text[], d_error_class text[], d_note text[], d_terminal_at timestamptz[],
    d_subject text[], d_body text[],
    c_run uuid[], c_visit int[], c_reason text[]
) returns table (run_id uuid, answer text)
language plpgsql set enable_seqscan = off as $$
#variable_conflict use_column
declare
    v_locked  uuid[];
    v_current uuid[];
    v_passed  uuid[];
    v_stopped uuid[];
    v_seen    pg_snapshot;
    v_clock   timestamptz;
begin
    if current_setting('transaction_isolation') <> 'read committed' then
        perform chimeway.refuse('invalid_input', 'CW001', 'the ledger was called in a transaction that is '
            || current_setting('transaction_isolation'), 'its guards need READ COMMITTED');
    end if;
    if p_owner is not null
       and not exists (select from chimeway.shards s where s.owner = p_owner and s.epoch = p_epoch) then
        perform chimeway.refuse('lease_lost', 'CW009', 'another node has taken over', 'acquire the lease again');
    end if;

    -- (1) lock the runs, in id order, then their current deliveries
    select coalesce(array_agg(l.id), '{}') into v_locked from (
        select r.id from chimeway.workflow_runs r where r.id = any(p_run) order by r.id for update skip locked) l;
    v_current := array(
        select d.id from unnest(v_locked) l(id)
         cross join lateral (select r.visit, r.shard from chimeway.workflow_runs r where r.id = l.id offset 0) r
         cross join lateral (select d.id from chimeway.deliveries d
                              where d.run_id = l.id and d.visit = r.visit and d.shard = r.shard offset 0) d);
    if v_current <> '{}' then
        perform 1 from (
            select d.id from chimeway.deliveries d where d.id = any(v_current) order by d.id for update) l;
    end if;

    -- (2) route
    v_seen := chimeway.route_for_runs(v_locked);

    -- (3) guard
    v_clock := chimeway.clock();
    select coalesce(array_agg(r.id), '{}') into v_passed
      from unnest(p_run, p_revision, p_mailbox, p_delivery, p_delivery_revision, p_now)
           p(id, revision, mailbox, delivery, delivery_revision, now)
     cross join lateral (
        select r.id, r.shard, r.visit, r.state, r.held_reason, r.revision, r.mailbox_count, r.workflow_key,
               r.workflow_version
          from chimeway.workflow_runs r where r.id = p.id offset 0) r
      join chimeway.workflow_definitions w on w.key = r.workflow_key and w.version = r.workflow_version
      left join lateral (
        select d.id, d.revision from chimeway.deliveries d
         where d.run_id = r.id and d.visit = r.visit and d.shard = r.shard offset 0) d on true
     where p.id = any(v_locked) and r.state in ('active','waiting') and r.held_reason is null
       and w.paused_at is null
       and r.revision = p.revision and r.mailbox_count = p.mailbox
       and d.id is not distinct from p.delivery and d.revision is not distinct from p.delivery_revision
       and p.now <= v_clock + interval '50 milliseconds';

    -- (4) write what passed
    insert into chimeway.workflow_transitions (run_id, shard, seq, decision_id, reason, from_state, to_state,
            from_step, to_step, visit, status_reason, context, signal_id, signal_type, inputs, snapshot, at)
    select r.id, r.shard, r.transition_count + t.pos, p.decision, t.reason, t.from_state, t.to_state,
           t.from_step, t.to_step, t.visit, t.status_reason, t.context, t.signal_id, t.signal_type,
           case when t.pos = 1 then p.inputs end,
           case when t.reason = 'reactivated_from_wait' then v_seen end, v_clock
      from unnest(t_run, t_pos, t_reason, t_from_state, t_to_state, t_from_step, t_to_step, t_visit,
                  t_status_reason, t_context, t_signal_id, t_signal_type)
           t(run, pos, reason, from_state, to_state, from_step, to_step, visit, status_reason, context,
             signal_id, signal_type)
     cross join lateral (
        select r.id, r.shard, r.transition_count from chimeway.workflow_runs r where r.id = t.run offset 0) r
      join unnest(p_run, p_decision, p_inputs) p(id, decision, inputs) on p.id = t.run
     where t.run = any(v_passed);

    update chimeway.workflow_runs r
       set revision = r.revision + 1,
           transition_count = r.transition_count + coalesce(n.many, 0),
           mailbox_seen = p.mailbox,
           state = case when p.state = 'stopped' then coalesce(n.last_state, r.state) else p.state end,  -- stop_run ends it
           step = p.step, visit = p.visit, status_reason = p.status_reason, status_context = p.context,
           pending_signals = p.pending::text[], wake_at = p.wake_at, entered_at = p.entered_at,
           armed_step = p.armed_step, armed_entered_at = p.armed_entered_at,
           held_reason = p.held_reason, held_at = case when p.held_reason is not null then v_clock end,
           ended_at = case when p.state = 'completed' then v_clock end
      from unnest(p_run, p_mailbox, p_state, p_step, p_visit, p_status_reason, p_context, p_pending, p_wake_at,
                  p_entered_at, p_armed_step, p_armed_entered_at, p_held_reason)
           p(id, mailbox, state, step, visit, status_reason, context, pending, wake_at, entered_at, armed_step,
             armed_entered_at, held_reason)
      left join (select t.run, count(*)::int as many, (array_agg(t.to_state order by t.pos desc))[1] as last_state
                   from unnest(t_run, t_pos, t_to_state) t(run, pos, to_state) group by t.run) n on n.run = p.id
     where r.id = p.id and r.id = any(v_passed);

    update chimeway.run_mailbox b set consumed_by = p.decision
      from unnest(p_run, p_decision, p_consumed) p(id, decision, consumed)
     where p.consumed <> '{}' and p.id = any(v_passed)
       and b.run_id = p.id and b.number = any(p.consumed::int[]) and b.consumed_by is null;

    update chimeway.deliveries d
       set status = 'cancelled', suppression_reason = c.reason, terminal_at = v_clock, next_attempt_at = null,
           revision = d.revision + 1
      from unnest(c_run, c_visit, c_reason) c(run, visit, reason)
     where c.run = any(v_passed) and d.run_id = c.run and d.visit = c.visit
       and d.status not in ('succeeded','suppressed','cancelled');

    insert into chimeway.deliveries (id, shard, run_id, visit, step_id, tenant_id, recipient_id, channel, render_key,
            status, suppression_reason, next_attempt_at, last_error_class, note, created_at, terminal_at)
    select n.id, r.shard, r.id, n.visit, n.step, r.tenant_id, r.recipient_id, n.channel, n.render_key, n.status,
           n.reason, case when n.status = 'pending' then v_clock end, n.error_class, n.note, v_clock, n.terminal_at
      from unnest(d_id, d_run, d_visit, d_step, d_channel, d_render_key, d_status, d_reason, d_error_class, d_note,
                  d_terminal_at)
           n(id, run, visit, step, channel, render_key, status, reason, error_class, note, terminal_at)
     cross join lateral (
        select r.id, r.shard, r.tenant_id, r.recipient_id from chimeway.workflow_runs r where r.id = n.run offset 0) r
     where n.run = any(v_passed);
    insert into chimeway.inbox_items (id, shard, tenant_id, recipient_id, run_id, render_key, subject, body, created_at)
    select n.id, r.shard, r.tenant_id, r.recipient_id, r.id, n.render_key, n.subject, n.body, v_clock
      from unnest(d_id, d_run, d_render_key, d_subject, d_body) with ordinality
           n(id, run, render_key, subject, body, place)
     cross join lateral (
        select r.id, r.shard, r.tenant_id, r.recipient_id from chimeway.workflow_runs r where r.id = n.run offset 0) r
     where n.run = any(v_passed) and n.body is not null
     order by n.place;  -- arrival numbers follow the order in which they were planned
    if found and exists (select from chimeway.inbox_watched) then
        perform chimeway.tell_inboxes(array_agg(r.tenant_id), array_agg(r.recipient_id))
           from unnest(d_run, d_body) n(run, body)
          cross join lateral (
             select r.tenant_id, r.recipient_id from chimeway.workflow_runs r where r.id = n.run offset 0) r
          where n.run = any(v_passed) and n.body is not null;
    end if;

    select coalesce(array_agg(p.id), '{}') into v_stopped
      from unnest(p_run, p_state) p(id, state) where p.state = 'stopped' and p.id = any(v_passed);
    if v_stopped <> '{}' then
        perform 1 from (
            select array_agg(p.id order by p.id) as ids, array_agg(p.decision order by p.id) as decisions,
                   array_agg('stopped'::text) as states, array_agg('workflow_stopped'::text) as reasons,
                   array_agg(p.status_reason order by p.id) as status_reasons,
                   array_agg(p.context order by p.id) as contexts, array_agg(null::text) as notes,
                   array_agg(case when p.id = any(t_run) then null else p.inputs end order by p.id) as inputs
              from unnest(p_run, p_decision, p_status_reason, p_context, p_inputs)
                   p(id, decision, status_reason, context, inputs)
             where p.id = any(v_stopped)) s,
            chimeway.stop_run(s.ids, s.decisions, s.states, s.reasons, s.status_reasons, s.contexts, s.notes,
                s.inputs, 'run_stopped');
    end if;

    -- A writer without a lease is nobody's node: whoever sends and keeps time must be told.
    if p_owner is null and v_passed <> '{}' then perform chimeway.hint(); end if;

    return query
    select p.id, case
            when p.id = any(v_passed) then 'applied'
            when r.id is null then 'gone'
            when not p.id = any(v_locked) then 'busy'
            when p.now > v_clock + interval '50 milliseconds' then 'refused'
            when exists (select from chimeway.workflow_transitions t
                          where t.run_id = p.id and t.decision_id = p.decision offset 0) then 'applied'
            else 'stale' end
      from unnest(p_run, p_decision, p_now) p(id, decision, now)
      left join lateral (select r.id from chimeway.workflow_runs r where r.id = p.id offset 0) r on true;
end $$;

-- Attempts name their provider.
create function chimeway.begin_attempts(
    p_owner uuid, p_epoch bigint, p_node uuid,
    p_delivery uuid[], p_run uuid[], p_revision bigint[], p_mailbox int[], p_address text[], p_message jsonb[],
    p_provider text[]
) returns table (delivery_id uuid, answer text, attempt_no int)
language plpgsql set enable_seqscan = off as $$
#variable_conflict use_column
declare
    v_locked uuid[];
    v_passed uuid[];
    v_seen   pg_snapshot;
    v_clock  timestamptz;
begin
    if current_setting('transaction_isolation') <> 'read committed' then
        perform chimeway.refuse('invalid_input', 'CW001', 'the ledger was called in a transaction that is '
            || current_setting('transaction_isolation'), 'its guards need READ COMMITTED');
    end if;
    if p_owner is not null
       and not exists (select from chimeway.shards s where s.owner = p_owner and s.epoch = p_epoch) then
        perform chimeway.refuse('lease_lost', 'CW009', 'another node has taken over', 'acquire the lease again');
    end if;
    select coalesce(array_agg(l.id), '{}') into v_locked from (
        select r.id from chimeway.workflow_runs r where r.id = any(p_run) order by r.id for update skip locked) l;
    perform 1 from (
        select d.id from chimeway.deliveries d
         where d.id = any(p_delivery) and d.run_id = any(v_locked) order by d.id for update) l;
    v_seen := chimeway.route_for_runs(v_locked);
    v_clock := chimeway.clock();
    select coalesce(array_agg(d.id), '{}') into v_passed
      from unnest(p_delivery, p_revision, p_mailbox) p(id, revision, mailbox)
     cross join lateral (
        select d.id, d.shard, d.run_id, d.status, d.revision, d.attempt_count from chimeway.deliveries d
         where d.id = p.id offset 0) d
     cross join lateral (
        select r.state, r.held_reason, r.mailbox_count, r.mailbox_seen, r.workflow_key, r.workflow_version
          from chimeway.workflow_runs r where r.id = d.run_id and r.shard = d.shard offset 0) r
      join chimeway.workflow_definitions w on w.key = r.workflow_key and w.version = r.workflow_version
     where d.run_id = any(v_locked) and d.status in ('pending','failed') and d.revision = p.revision
       and r.held_reason is null
       -- While a workflow is paused nobody listens: a retry may go on unless something was said since.
       and (w.paused_at is null or (d.attempt_count > 0 and r.mailbox_count = r.mailbox_seen))
       and (r.state not in ('active','waiting') or r.mailbox_count = p.mailbox);

    insert into chimeway.delivery_attempts (delivery_id, shard, attempt_no, run_id, node, snapshot, started_at,
            provider)
    select d.id, d.shard, d.attempt_count + 1, d.run_id, p_node, v_seen, v_clock, p.provider
      from unnest(p_delivery, p_provider) p(id, provider)
     cross join lateral (
        select d.id, d.shard, d.run_id, d.attempt_count from chimeway.deliveries d where d.id = p.id offset 0) d
     where d.id = any(v_passed);
    update chimeway.deliveries d
       set status = 'dispatched', attempt_count = d.attempt_count + 1, revision = d.revision + 1,
           next_attempt_at = null, address = coalesce(d.address, p.address), message = coalesce(d.message, p.message)
      from unnest(p_delivery, p_address, p_message) p(id, address, message)
     where d.id = p.id and d.id = any(v_passed);

    return query
    select p.id, case
            when p.id = any(v_passed) then 'begun'
            when d.id is null then 'gone'
            when not d.run_id = any(v_locked) then 'busy'
            when d.status in ('pending','failed') and d.revision = p.revision
                 and r.state in ('active','waiting') and r.mailbox_count <> p.mailbox then 'unseen'
            else 'stale' end,
           case when p.id = any(v_passed) then d.attempt_count end
      from unnest(p_delivery, p_revision, p_mailbox) p(id, revision, mailbox)
      left join lateral (
        select d.id, d.shard, d.run_id, d.status, d.revision, d.attempt_count from chimeway.deliveries d
         where d.id = p.id offset 0) d on true
      left join lateral (
        select r.state, r.mailbox_count from chimeway.workflow_runs r
         where r.id = d.run_id and r.shard = d.shard offset 0) r on true;
end $$;

-- The same of programs of schema version 2, which do not say which provider they call.
create or replace function chimeway.begin_attempts(
    p_owner uuid, p_epoch bigint, p_node uuid,
    p_delivery uuid[], p_run uuid[], p_revision bigint[], p_mailbox int[], p_address text[], p_message jsonb[]
) returns table (delivery_id uuid, answer text, attempt_no int)
language sql as $$
    select b.delivery_id, b.answer, b.attempt_no from chimeway.begin_attempts(
        p_owner, p_epoch, p_node, p_delivery, p_run, p_revision, p_mailbox, p_address, p_message, null::text[]) b
$$;

-- Turns: what is due, and what was said, tenant by tenant.
-- Routes signals that the caller has locked into the mailboxes of live runs, for each at most p_each runs.
-- Returns the runs that got mail, and at last whether more runs of these signals may be had by asking again.
-- A signal whose runs are partly locked keeps its mark and is taken up again; none is passed over.
create function chimeway.route_these(p_signals uuid[], p_each int) returns table (run_id uuid, more boolean)
language plpgsql set enable_seqscan = off as $$
#variable_conflict use_column
declare
    v_most   bigint;
    v_locked uuid[];
    v_runs   uuid[] := '{}';
begin
    -- Each signal's next runs, but for those that somebody else has locked: they must not stand before the
    -- others. (Nothing waits here, so the order in which rows are locked does not matter.)
    select coalesce(array_agg(distinct c.run), '{}'), coalesce(max(c.many), 0) into v_locked, v_most
      from (select l.run, count(*) over (partition by s.id) as many
      from chimeway.signals s cross join lateral (
        select r.id as run from chimeway.workflow_runs r
          join chimeway.workflow_definitions d on d.key = r.workflow_key and d.version = r.workflow_version
         where r.tenant_id = s.tenant_id and r.recipient_id = s.actor_id
           and r.shard = s.shard and r.state in ('active','waiting') and r.arrival < s.arrival
           and s.type = any(d.signal_types) and (s.run_id is null or s.run_id = r.id)
           and not exists (select from chimeway.run_mailbox b
                            where b.run_id = r.id and b.signal_id = s.id and b.shard = s.shard offset 0)
         limit p_each for update of r skip locked) l
     where s.id = any(p_signals)) c;
    if v_locked <> '{}' then
        perform chimeway.route_for_runs(v_locked);
        select coalesce(array_agg(l.id), '{}') into v_runs from unnest(v_locked) l(id)
         cross join lateral (
            select r.mailbox_count, r.mailbox_seen, r.held_reason, r.state from chimeway.workflow_runs r
             where r.id = l.id offset 0) r
         where r.mailbox_count > r.mailbox_seen and r.held_reason is null and r.state in ('active','waiting');
    end if;

    update chimeway.signals s set routed_at = chimeway.clock()
     where s.id = any(p_signals) and not exists (
        select from chimeway.workflow_runs r
          join chimeway.workflow_definitions d on d.key = r.workflow_key and d.version = r.workflow_version
         where r.tenant_id = s.tenant_id and r.recipient_id = s.actor_id and r.shard = s.shard
           and r.state in ('active','waiting') and r.arrival < s.arrival and s.type = any(d.signal_types)
           and (s.run_id is null or s.run_id = r.id)
           and not exists (select from chimeway.run_mailbox b
                            where b.run_id = r.id and b.signal_id = s.id and b.shard = s.shard offset 0) offset 0);
    return query select u.id, false from unnest(v_runs) u(id)
        union all select null, v_most = p_each and v_locked <> '{}';
end $$;

-- Routes waiting signals in the order in which they came: at most p_limit signals, for each at most p_each
-- runs at a time. Returns the runs that got mail, the last arrival looked at, and whether more runs of
-- these signals may be had by asking again.
create or replace function chimeway.route_signals(p_limit int, p_each int, p_after bigint default 0)
returns table (run_id uuid, last_arrival bigint, more boolean)
language plpgsql set enable_seqscan = off as $$
#variable_conflict use_column
declare
    v_signals uuid[];
    v_last    bigint;
begin
    -- (not FOR UPDATE: the mailbox's foreign key of another caller would have to wait for us)
    select coalesce(array_agg(l.id), '{}'), max(l.arrival) into v_signals, v_last from (
        select s.id, s.arrival from chimeway.signals s
         where s.routed_at is null and s.arrival > p_after
         order by s.arrival limit p_limit for no key update skip locked) l;
    if v_signals = '{}' then return; end if;
    return query select t.run_id, v_last, t.more from chimeway.route_these(v_signals, p_each) t;
end $$;

-- Routes waiting signals tenant by tenant: of the next p_tenants behind p_after, but for those in p_not, at most
-- p_of_each, whoever has how many. Returns the runs that got mail, and at last the tenant behind which to go on
-- (null: all had their turn).
create function chimeway.route_signals_in_turn(
    p_tenants int, p_of_each int, p_each int, p_after text, p_not text[]
) returns table (run_id uuid, last_tenant text)
language plpgsql set enable_seqscan = off set enable_sort = off set enable_incremental_sort = off as $$
#variable_conflict use_column
declare
    v_signals uuid[];
    v_last    text := p_after;
    v_next    text;
begin
    v_signals := '{}';
    for i in 1 .. p_tenants loop
        select s.tenant_id into v_next from chimeway.signals s
         where s.routed_at is null and s.tenant_id > v_last
         order by s.tenant_id, s.actor_id, s.arrival, s.shard limit 1;
        v_last := v_next;
        exit when v_last is null;
        continue when v_last = any(p_not);
        v_signals := v_signals || array(
            select s.id from chimeway.signals s where s.routed_at is null and s.tenant_id = v_last
             order by s.tenant_id, s.actor_id, s.arrival, s.shard limit p_of_each for no key update skip locked);
    end loop;
    return query select t.run_id, v_last from chimeway.route_these(v_signals, p_each) t;
end $$;

-- What is due of the next tenants behind p_after, the oldest p_rows of each, whoever has how many: from tenant to
-- tenant by the index. Looks at p_looks tenants at most, whether anything of theirs is due or not, and at
-- p_tenants that have something, but for those in p_not. The last row says behind whom to go on (null: all had
-- their turn). p_entered: 0 for runs that no step was entered in yet, 1 for the others.
-- (Sorting is off because the planner, without fresh statistics, would rather sort a whole backlog.)
create function chimeway.due_runs_in_turn(
    p_entered int, p_after text, p_looks int, p_tenants int, p_until timestamptz, p_rows int, p_not text[]
) returns table (id uuid, wake_at timestamptz, tenant_id text, paused boolean)
language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off set enable_incremental_sort = off as $$
#variable_conflict use_column
declare
    v_tenant text := p_after;
    v_first  timestamptz;
    v_found  int := 0;
begin
    for i in 1 .. p_looks loop
        select r.tenant_id, r.wake_at into v_tenant, v_first from chimeway.workflow_runs r
         where least(r.visit, 1) = p_entered and r.tenant_id > v_tenant and r.wake_at is not null
           and r.held_reason is null and r.waiting_for_node is null and not r.parked
         order by least(r.visit, 1), r.tenant_id, r.wake_at limit 1;
        exit when v_tenant is null;
        continue when v_first > p_until or v_tenant = any(p_not);
        return query
        select q.id, q.wake_at, v_tenant, w.paused_at is not null
          from (select r.id, r.wake_at, r.workflow_key, r.workflow_version from chimeway.workflow_runs r
                 where least(r.visit, 1) = p_entered and r.tenant_id = v_tenant and r.wake_at <= p_until
                   and r.wake_at is not null and r.held_reason is null and r.waiting_for_node is null and not r.parked
                 order by least(r.visit, 1), r.tenant_id, r.wake_at, r.id limit p_rows) q
          join chimeway.workflow_definitions w on w.key = q.workflow_key and w.version = q.workflow_version;
        v_found := v_found + 1;
        exit when v_found = p_tenants;
    end loop;
    return query select null::uuid, null::timestamptz, v_tenant, false;
end $$;

-- The same of deliveries, channel by channel: a line is a tenant's on one channel. Channels in p_not are jumped
-- over, however much waits for them; so are the lines that p_full_channel and p_full_tenant name.
create function chimeway.due_deliveries_in_turn(
    p_channel text, p_after text, p_looks int, p_lines int, p_until timestamptz, p_rows int, p_not text[],
    p_full_channel text[], p_full_tenant text[]
) returns table (id uuid, next_attempt_at timestamptz, channel text, tenant_id text, allowed boolean)
language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off set enable_incremental_sort = off as $$
#variable_conflict use_column
declare
    v_channel text := p_channel;
    v_tenant  text := p_after;
    v_before  text;
    v_first   timestamptz;
    v_found   int := 0;
begin
    for i in 1 .. p_looks loop
        v_before := v_channel;
        v_channel := null;
        if v_before <> all(p_not) then
            select d.channel, d.tenant_id, d.next_attempt_at into v_channel, v_tenant, v_first from chimeway.deliveries d
             where d.channel = v_before and d.tenant_id > v_tenant
               and d.next_attempt_at is not null and d.waiting_for_node is null
             order by d.channel, d.tenant_id, d.next_attempt_at limit 1;
        end if;
        if v_channel is null then
            select d.channel, d.tenant_id, d.next_attempt_at into v_channel, v_tenant, v_first from chimeway.deliveries d
             where d.channel > v_before and d.next_attempt_at is not null and d.waiting_for_node is null
             order by d.channel, d.tenant_id, d.next_attempt_at limit 1;
        end if;
        exit when v_channel is null;
        continue when v_first > p_until or v_channel = any(p_not) or exists (
            select from unnest(p_full_channel, p_full_tenant) f(channel, tenant)
             where f.channel = v_channel and f.tenant = v_tenant);
        return query
        select q.id, q.next_attempt_at, v_channel, v_tenant,
               r.held_reason is null
               and (w.paused_at is null or (q.attempt_count > 0 and r.mailbox_count = r.mailbox_seen))
          from (select d.id, d.next_attempt_at, d.shard, d.run_id, d.attempt_count from chimeway.deliveries d
                 where d.channel = v_channel and d.tenant_id = v_tenant and d.next_attempt_at <= p_until
                   and d.next_attempt_at is not null and d.waiting_for_node is null
                 order by d.channel, d.tenant_id, d.next_attempt_at, d.id limit p_rows) q
          join chimeway.workflow_runs r on r.id = q.run_id and r.shard = q.shard
          join chimeway.workflow_definitions w on w.key = r.workflow_key and w.version = r.workflow_version;
        v_found := v_found + 1;
        exit when v_found = p_lines;
    end loop;
    return query select null::uuid, null::timestamptz, v_channel, v_tenant, false;
end $$;

-- plans that need no statistics (docs/design.md, fair between tenants): the rows of a call are found one by one

-- Puts the unrouted signals of locked runs' recipients into their mailboxes, and returns the snapshot
-- that looked for them. The caller holds the run locks, taken in an EARLIER statement: this one's
-- snapshot is therefore younger than the locks, and sees every signal committed while it waited.
-- A run that entered no step yet also takes signals that were routed before it could be seen.
create or replace function chimeway.route_for_runs(p_locked uuid[]) returns pg_snapshot
language plpgsql set enable_seqscan = off as $$
#variable_conflict use_column
declare seen pg_snapshot;
begin
    with mine as (
        select r.id, r.shard, r.tenant_id, r.recipient_id, r.arrival, r.visit, r.mailbox_count, d.signal_types
          from unnest(p_locked) p(id)
         cross join lateral (
            select r.id, r.shard, r.tenant_id, r.recipient_id, r.arrival, r.visit, r.mailbox_count, r.state,
                   r.workflow_key, r.workflow_version
              from chimeway.workflow_runs r where r.id = p.id offset 0) r
          join chimeway.workflow_definitions d on d.key = r.workflow_key and d.version = r.workflow_version
         where r.state in ('active','waiting') and d.signal_types <> '{}'
    ), candidates as (
        select m.id as run_id, m.shard, m.mailbox_count, s.id as signal_id, s.arrival
          from mine m cross join lateral (
            select s.id, s.arrival, s.type, s.run_id from chimeway.signals s
             where s.routed_at is null and s.tenant_id = m.tenant_id and s.actor_id = m.recipient_id
               and s.shard = m.shard and s.arrival > m.arrival offset 0) s
         where s.type = any(m.signal_types) and (s.run_id is null or s.run_id = m.id)
        union
        select m.id, m.shard, m.mailbox_count, s.id, s.arrival
          from mine m cross join lateral (
            select s.id, s.arrival, s.type, s.run_id from chimeway.signals s
             where s.tenant_id = m.tenant_id and s.actor_id = m.recipient_id
               and s.shard = m.shard and s.arrival > m.arrival offset 0) s
         where m.visit = 0 and s.type = any(m.signal_types) and (s.run_id is null or s.run_id = m.id)
    ), put as (
        insert into chimeway.run_mailbox (run_id, shard, number, signal_id, routed_at)
        select c.run_id, c.shard, c.mailbox_count + row_number() over (partition by c.run_id order by c.arrival),
               c.signal_id, chimeway.clock()
          from candidates c
         where not exists (select from chimeway.run_mailbox b
                            where b.run_id = c.run_id and b.signal_id = c.signal_id and b.shard = c.shard)
        returning run_id, number
    ), counted as (
        update chimeway.workflow_runs r set mailbox_count = t.top
          from (select run_id, max(number) as top from put group by run_id) t
         where r.id = t.run_id
    )
    select pg_current_snapshot() into seen;
    return seen;
end $$;

-- Records what became of attempts (attempt_no null: of a delivery that never reached a provider, such
-- as one whose template is at fault), and wakes runs that can now move.
-- p_status: succeeded | failed | cancelled | suppressed. Answers: applied | repeat | busy | gone.
create or replace function chimeway.record_results(
    p_delivery uuid[], p_run uuid[], p_attempt int[], p_outcome text[], p_error_class text[], p_note text[],
    p_reference text[], p_status text[], p_reason text[], p_next_attempt_at timestamptz[], p_nudge boolean[]
) returns table (delivery_id uuid, answer text, nudged boolean)
language plpgsql set enable_seqscan = off as $$
#variable_conflict use_column
declare
    v_locked uuid[];
    v_fresh  uuid[];
    v_woken  uuid[];
    v_moving uuid[];
    v_clock  timestamptz;
begin
    select coalesce(array_agg(l.id), '{}') into v_locked from (
        select r.id from chimeway.workflow_runs r where r.id = any(p_run) order by r.id for update skip locked) l;
    perform 1 from (
        select d.id from chimeway.deliveries d
         where d.id = any(p_delivery) and d.run_id = any(v_locked) order by d.id for update) l;
    v_clock := chimeway.clock();

    with new as (
        insert into chimeway.delivery_attempt_results (delivery_id, shard, attempt_no, outcome, error_class, note,
                provider_reference, finished_at)
        select d.id, d.shard, p.attempt, p.outcome, p.error_class, left(p.note, 1000), p.reference, v_clock
          from unnest(p_delivery, p_attempt, p_outcome, p_error_class, p_note, p_reference)
               p(id, attempt, outcome, error_class, note, reference)
         cross join lateral (
            select d.id, d.shard, d.run_id from chimeway.deliveries d where d.id = p.id offset 0) d
         where d.run_id = any(v_locked) and p.attempt is not null
        on conflict do nothing
        returning delivery_id
    )
    select coalesce(array_agg(x.id), '{}') into v_fresh from (
        select n.delivery_id as id from new n
        union all
        select d.id from unnest(p_delivery, p_attempt) p(id, attempt)
         cross join lateral (
            select d.id, d.run_id, d.status from chimeway.deliveries d where d.id = p.id offset 0) d
         where p.attempt is null and d.run_id = any(v_locked) and d.status in ('pending','failed')) x;

    update chimeway.deliveries d
       set last_outcome = coalesce(p.outcome, d.last_outcome), last_error_class = p.error_class,
           note = left(p.note, 1000),
           failed_count = d.failed_count + case when p.outcome in ('failed','unknown') then 1 else 0 end,
           status = case when d.status in ('succeeded','suppressed','cancelled') then d.status
                         when p.status = 'succeeded' then 'succeeded'
                         when d.stop_requested then 'cancelled' else p.status end,
           suppression_reason = case when d.status in ('succeeded','suppressed','cancelled') then d.suppression_reason
                         when p.status = 'succeeded' then null
                         when d.stop_requested then 'run_stopped' else p.reason end,
           terminal_at = case when d.terminal_at is not null then d.terminal_at
                         when p.status = 'failed' and not d.stop_requested then null else v_clock end,
           next_attempt_at = case when d.status not in ('succeeded','suppressed','cancelled')
                         and p.status = 'failed' and not d.stop_requested then p.next_attempt_at end,
           revision = d.revision + 1
      from unnest(p_delivery, p_outcome, p_error_class, p_note, p_status, p_reason, p_next_attempt_at)
           p(id, outcome, error_class, note, status, reason, next_attempt_at)
     where d.id = p.id and d.id = any(v_fresh);

    select coalesce(array_agg(d.id), '{}'), coalesce(array_agg(r.id), '{}') into v_woken, v_moving
      from unnest(p_delivery, p_nudge) p(id, nudge)
     cross join lateral (
        select d.id, d.shard, d.run_id, d.visit, d.terminal_at from chimeway.deliveries d where d.id = p.id offset 0) d
     cross join lateral (
        select r.id, r.visit, r.state from chimeway.workflow_runs r
         where r.id = d.run_id and r.shard = d.shard offset 0) r
     where d.id = any(v_fresh) and r.visit = d.visit and r.state = 'active' and (d.terminal_at is not null or p.nudge);
    if v_moving <> '{}' then
        update chimeway.workflow_runs r set wake_at = least(coalesce(r.wake_at, v_clock), v_clock)
         where r.id = any(v_moving);
    end if;

    return query
    select p.id, case
            when p.id = any(v_fresh) then 'applied'
            when d.id is null then 'gone'
            when not d.run_id = any(v_locked) then 'busy'
            else 'repeat' end,
           p.id = any(v_woken)
      from unnest(p_delivery) p(id)
      left join lateral (select d.id, d.run_id from chimeway.deliveries d where d.id = p.id offset 0) d on true;
end $$;

select chimeway.grant_roles();
