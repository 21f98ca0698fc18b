-- Roles and their grants; versions say whom they serve; definitions by hand are looked at; pages by tenant.
-- serves from: 1

create index concurrently if not exists workflow_runs_of_tenant on chimeway.workflow_runs (tenant_id, id);
create index concurrently if not exists workflow_runs_waiting on chimeway.workflow_runs
    (tenant_id, coalesce(wake_at, '9999-12-31Z'::timestamptz), id) where state = 'waiting';

-- transaction

alter table chimeway.schema_version add column serves_from int, add column program text;
update chimeway.schema_version set serves_from = version where serves_from is null;
alter table chimeway.schema_version alter column serves_from set not null, add primary key (version);

alter table chimeway.workflow_definitions add column data_schema jsonb;

create or replace function chimeway.check_object(name text, value jsonb) returns void
language plpgsql as $$
begin
    if value is null or jsonb_typeof(value) <> 'object' then
        perform chimeway.refuse('invalid_input', 'CW001',
            format('%s is %s', name, coalesce('a JSON ' || jsonb_typeof(value), 'null')),
            format('%s must be a JSON object, such as {}', name));
    end if;
    if octet_length(value::text) > 65536 then
        perform chimeway.refuse('invalid_input', 'CW001',
            format('%s is %s bytes of JSON', name, octet_length(value::text)),
            format('%s may be 65536 bytes long; keep large things elsewhere and pass their ids', name));
    end if;
    -- What other programs cannot read must not be let in: they would meet it at every evaluation.
    -- (No backslash in what follows: a caller's standard_conforming_strings would change its meaning.)
    if jsonb_path_exists(value, 'strict $.**{64 to last} ? (@.type() == "object" || @.type() == "array")') then
        perform chimeway.refuse('invalid_input', 'CW001', format('%s is nested more than 64 levels deep', name),
            'flatten it, or keep it elsewhere and pass its id');
    end if;
    if octet_length(value::text) > 300
       and regexp_replace(value::text, '"([^"[.backslash.]]|[[.backslash.]].)*"', '', 'g') ~ '[0-9]{150}[0-9]{150}' then
        perform chimeway.refuse('invalid_input', 'CW001', format('%s holds a number of 300 digits or more', name),
            'numbers must fit a double precision; write longer ones as text');
    end if;
end $$;

create function chimeway.check_note(note text) returns void
language plpgsql as $$
begin
    if length(note) > 1000 then
        perform chimeway.refuse('invalid_input', 'CW001', format('note is %s characters long', length(note)),
            'at most 1000 characters');
    end if;
end $$;

create or replace function chimeway.signal(
    type       text,
    tenant_id  text  default 'default',
    actor_id   text  default null,
    payload    jsonb default '{}',
    dedupe_key text  default null
) returns uuid
language plpgsql security definer set search_path = chimeway, pg_temp as $$
#variable_conflict use_column
declare
    s_shard smallint;
    s_id    uuid;
begin
    perform chimeway.check_id('type', type);
    perform chimeway.check_id('tenant_id', tenant_id);
    perform chimeway.check_id('actor_id', actor_id);
    perform chimeway.check_object('payload', payload);
    if dedupe_key is not null then perform chimeway.check_id('dedupe_key', dedupe_key); end if;
    -- No index takes more; three texts of 255 characters may be longer.
    if octet_length(tenant_id) + octet_length(actor_id) + octet_length(dedupe_key) > 2600 then
        perform chimeway.refuse('invalid_input', 'CW001', format('tenant_id, actor_id and dedupe_key are %s bytes long',
            octet_length(tenant_id) + octet_length(actor_id) + octet_length(dedupe_key)),
            'together they may be 2600 bytes long: make dedupe_key shorter, such as a digest');
    end if;
    s_shard := chimeway.shard_of(tenant_id, actor_id);
    insert into chimeway.signals (id, shard, tenant_id, actor_id, type, payload, dedupe_key, created_at)
    values (chimeway.new_id(s_shard), s_shard, signal.tenant_id, signal.actor_id, signal.type,
            signal.payload, signal.dedupe_key, chimeway.clock())
    on conflict (tenant_id, actor_id, dedupe_key, shard) where dedupe_key is not null do nothing
    returning id into s_id;
    if s_id is null then
        select s.id into strict s_id from chimeway.signals s
         where s.tenant_id = signal.tenant_id and s.actor_id = signal.actor_id
           and s.dedupe_key = signal.dedupe_key and s.shard = s_shard;
        return s_id;
    end if;
    perform chimeway.hint();
    return s_id;
end $$;

create or replace function chimeway.identify(
    tenant_id    text  default 'default',
    recipient_id text  default null,
    profile      jsonb default '{}'
) returns void
language plpgsql security definer set search_path = chimeway, pg_temp as $$
#variable_conflict use_column
declare
    k     text;
    now_  timestamptz := chimeway.clock();
    moved jsonb;
    zone  text;
begin
    perform chimeway.check_id('tenant_id', tenant_id);
    perform chimeway.check_id('recipient_id', recipient_id);
    perform chimeway.check_object('profile', profile);
    for k in select jsonb_object_keys(profile) loop
        if k not in ('email','phone','addresses','timezone','locale','preferences','data') then
            perform chimeway.refuse('invalid_input', 'CW001', format('profile has the unknown key "%s"', left(k, 100)),
                'known are email, phone, addresses, timezone, locale, preferences, data');
        elsif k in ('addresses','preferences','data') then
            perform chimeway.check_object('profile.' || k, profile -> k);
        elsif jsonb_typeof(profile -> k) not in ('string','null') then
            perform chimeway.refuse('invalid_input', 'CW001',
                format('profile.%s is a JSON %s', k, jsonb_typeof(profile -> k)), 'give a text, or null to remove it');
        end if;
    end loop;
    zone := profile ->> 'timezone';
    if zone is not null then
        begin
            -- PostgreSQL takes more than the engine reads: abbreviations, any case, offsets.
            if zone !~ '^(UTC|GMT|(US|[A-Z][a-z]+)(/[A-Z][A-Za-z0-9_+-]*)+)$' then raise exception 'no zone'; end if;
            perform now_ at time zone zone;
        exception when others then
            perform chimeway.refuse('invalid_input', 'CW001', format('profile.timezone "%s" is unknown', left(zone, 100)),
                'give an IANA name, such as "Europe/London"');
        end;
    end if;
    moved := coalesce(profile -> 'addresses', '{}')
        || case when profile ? 'email' then jsonb_build_object('email', profile -> 'email') else '{}' end
        || case when profile ? 'phone' then jsonb_build_object('phone', profile -> 'phone', 'sms', profile -> 'phone') else '{}' end;
    -- What is kept here is handed to a channel as it is; the client refuses the same.
    for k in select m.key from jsonb_each(moved) m
              where m.key = '' or length(m.key) > 255 or jsonb_typeof(m.value) not in ('string','null')
                 or m.value #>> '{}' = '' or m.value #>> '{}' ~ ('[' || chr(1) || '-' || chr(31) || chr(127) || ']') loop
        perform chimeway.refuse('invalid_input', 'CW001', format('the address for channel "%s" is none', left(k, 100)),
            'give a text without control characters, or null to remove it; a channel has 1 to 255 characters');
    end loop;
    if profile ->> 'locale' is not null then perform chimeway.check_id('profile.locale', profile ->> 'locale'); end if;
    insert into chimeway.recipients as r (tenant_id, recipient_id, shard, addresses, timezone, locale,
            preferences, data, created_at, updated_at)
    values (identify.tenant_id, identify.recipient_id, chimeway.shard_of(identify.tenant_id, identify.recipient_id),
            jsonb_strip_nulls(moved), zone, profile ->> 'locale', coalesce(profile -> 'preferences', '{}'),
            coalesce(profile -> 'data', '{}'), now_, now_)
    on conflict (tenant_id, recipient_id, shard) do update set
        addresses   = jsonb_strip_nulls(r.addresses || moved),
        timezone    = case when profile ? 'timezone' then excluded.timezone else r.timezone end,
        locale      = case when profile ? 'locale' then excluded.locale else r.locale end,
        preferences = case when profile ? 'preferences' then r.preferences || excluded.preferences else r.preferences end,
        data        = case when profile ? 'data' then r.data || excluded.data else r.data end,
        updated_at  = excluded.updated_at;
end $$;

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
        perform chimeway.refuse('invalid_input', 'CW001', format('mark is %s', coalesce('"' || left(p_mark, 100) || '"', 'null')),
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

create function chimeway.check_definition(definition jsonb) returns void
language plpgsql set jit = off as $$
declare
    fault text;
    check_it constant text := 'check the definition with: chimeway workflow check FILE';
begin
    if definition is null or jsonb_typeof(definition) <> 'object' then
        perform chimeway.refuse('invalid_definition', 'CW007',
            format('definition is %s', coalesce('a JSON ' || jsonb_typeof(definition), 'null')),
            'a definition is a JSON object with key, version and steps');
    end if;
    perform chimeway.check_id('definition.key', definition ->> 'key');
    if jsonb_typeof(definition -> 'key') <> 'string' then
        perform chimeway.refuse('invalid_definition', 'CW007',
            format('key is a JSON %s', jsonb_typeof(definition -> 'key')), 'give a text, such as "welcome"');
    end if;
    if jsonb_typeof(definition -> 'version') is distinct from 'number'
       or (definition ->> 'version') !~ '^[1-9][0-9]{0,9}$'
       or (definition -> 'version')::numeric > 2147483647 then
        perform chimeway.refuse('invalid_definition', 'CW007',
            format('version is %s', coalesce(left(definition ->> 'version', 100), 'missing')),
            'give a whole number from 1 to 2147483647');
    end if;
    if octet_length(definition::text) > 262144 then
        perform chimeway.refuse('invalid_definition', 'CW007',
            format('the definition is %s bytes of JSON', octet_length(definition::text)),
            'it may be 262144 bytes long; keep texts in templates');
    end if;
    if jsonb_path_exists(definition, 'strict $.**{64 to last} ? (@.type() == "object" || @.type() == "array")')
       or regexp_replace(definition::text, '"([^"[.backslash.]]|[[.backslash.]].)*"', '', 'g') ~ '[0-9]{150}[0-9]{150}' then
        perform chimeway.refuse('invalid_definition', 'CW007',
            'the definition is nested more than 64 levels deep, or holds a number of 300 digits or more', check_it);
    end if;
    if jsonb_typeof(definition -> 'steps') is distinct from 'array' or jsonb_array_length(definition -> 'steps') = 0 then
        perform chimeway.refuse('invalid_definition', 'CW007', 'steps is missing or empty', check_it);
    elsif jsonb_array_length(definition -> 'steps') > 100 then
        perform chimeway.refuse('invalid_definition', 'CW007',
            format('there are %s steps', jsonb_array_length(definition -> 'steps')), 'at most 100 steps');
    end if;
    with step as (
        select s.value as body, 'steps[' || s.n - 1 || ']' as place, s.n
          from jsonb_array_elements(definition -> 'steps') with ordinality s(value, n)
    ), lists as (
        select 0 as n, 'stop_conditions' as place, definition -> 'stop_conditions' as list, 'signal_type' as needs
        union all select n, place || '.action.stop_conditions', body #> '{action,stop_conditions}', 'signal_type' from step
        union all select n, place || '.progress', body -> 'progress', 'kind' from step
        union all
        select s.n, s.place || '.progress[' || r.n - 1 || '].cancel_signals', r.value -> 'cancel_signals', 'signal_type'
          from step s cross join lateral jsonb_array_elements(case when jsonb_typeof(s.body -> 'progress') = 'array'
               then s.body -> 'progress' else '[]' end) with ordinality r(value, n)
    ), items as (
        select l.n, l.place || '[' || i.n - 1 || ']' as place, i.value as body, l.needs
          from lists l cross join lateral jsonb_array_elements(case when jsonb_typeof(l.list) = 'array'
               then l.list else '[]' end) with ordinality i(value, n)
    ), named as (
        select n, place || '.next' as place, body -> 'next' as step from step
        union all select n, place || '.to_step', body -> 'to_step' from items
        union all select n, place || '.then.goto', body #> '{then,goto}' from items
    ), faults as (
        select n, 1 as rank, place || ' is a JSON ' || jsonb_typeof(body) || ', where an object must be' as told
          from step where jsonb_typeof(body) <> 'object'
        union all
        select n, 2, place || '.id is ' || coalesce(left((body -> 'id')::text, 100), 'missing')
          from step where jsonb_typeof(body -> 'id') is distinct from 'string'
                       or body ->> 'id' in ('', 'end') or length(body ->> 'id') > 255
        union all
        select max(n), 3, 'two steps have the id "' || (body ->> 'id') || '"'
          from step group by body ->> 'id' having count(*) > 1 and body ->> 'id' is not null
        union all
        select n, 4, place || '.action.type is ' || coalesce(left((body #> '{action,type}')::text, 100), 'missing')
          from step where jsonb_typeof(body #> '{action,type}') is distinct from 'string'
        union all
        select n, 5, place || ' is a JSON ' || jsonb_typeof(list) || ', where a list must be'
          from lists where jsonb_typeof(list) <> 'array'
        union all
        select n, 6, place || '.' || needs || ' is ' || coalesce(left((body -> needs)::text, 100), 'missing')
          from items where jsonb_typeof(body -> needs) is distinct from 'string'
                        or body ->> needs = '' or length(body ->> needs) > 255
        union all
        select n, 7, place || '.match is a JSON ' || jsonb_typeof(body -> 'match') || ', where an object must be'
          from items where jsonb_typeof(body -> 'match') <> 'object'
        union all
        select i.n, 9, i.place || '.match."' || left(m.key, 100) || '".data is ' || left((m.value -> 'data')::text, 100)
          from items i cross join lateral jsonb_each(case when jsonb_typeof(i.body -> 'match') = 'object'
               then i.body -> 'match' else '{}' end) m
         where jsonb_typeof(m.value) = 'object' and m.value ? 'data' and jsonb_typeof(m.value -> 'data') <> 'string'
        union all
        select n, 10, place || '.action.until.data is ' || left((body #> '{action,until,data}')::text, 100)
          from step where jsonb_typeof(body #> '{action,until,data}') <> 'string'
        union all
        select n, 8, place || ' names the step ' || left(named.step::text, 100) || ', which there is not'
          from named where named.step is not null and named.step <> '"end"'
           and named.step not in (select s.body -> 'id' from step s where s.body -> 'id' is not null)
    )
    select told into fault from faults order by n, rank, told limit 1;
    if fault is not null then
        perform chimeway.refuse('invalid_definition', 'CW007', fault, check_it);
    end if;
end $$;

create or replace function chimeway.register_workflow(definition jsonb, digest text) returns boolean
language plpgsql security definer set search_path = chimeway, pg_temp as $$
#variable_conflict use_column
declare
    d_key     text := definition ->> 'key';
    d_version int;
    stored    text;
begin
    perform chimeway.check_definition(definition);
    perform chimeway.check_id('digest', digest);
    d_version := (definition ->> 'version')::int;
    -- A new version is paused as the others are: who pauses them at this moment waits for us, or we for him.
    if not exists (select from chimeway.workflow_definitions w where w.key = d_key and w.version = d_version) then
        perform 1 from chimeway.workflow_definitions w where w.key = d_key order by w.version for no key update;
    end if;
    insert into chimeway.workflow_definitions
        (key, version, digest, definition, signal_types, required_data, match_fields, paused_at)
    values (d_key, d_version, register_workflow.digest, register_workflow.definition,
        (select coalesce(array_agg(distinct t #>> '{}'), '{}') from (
            select jsonb_path_query(definition, '$.stop_conditions[*].signal_type') t union all
            select jsonb_path_query(definition, '$.steps[*].action.stop_conditions[*].signal_type') union all
            select jsonb_path_query(definition, '$.steps[*].progress[*].cancel_signals[*].signal_type')) s),
        (select coalesce(jsonb_object_agg(name, kind order by kind), '{}') from (
            select m.value ->> 'data' as name, 'any' as kind
              from (select jsonb_path_query(definition, '$.stop_conditions[*].match') t union all
                    select jsonb_path_query(definition, '$.steps[*].action.stop_conditions[*].match')) c,
                   jsonb_each(c.t) m
             where jsonb_typeof(m.value) = 'object' and m.value ? 'data'
            union
            select u #>> '{}', 'instant' from jsonb_path_query(definition, '$.steps[*].action.until.data') u) n),
        (select coalesce(array_agg(distinct f.key), '{}') from (
            select jsonb_path_query(definition, '$.stop_conditions[*].match') t union all
            select jsonb_path_query(definition, '$.steps[*].action.stop_conditions[*].match')) m,
            jsonb_each(m.t) f),
        (select max(w.paused_at) from chimeway.workflow_definitions w where w.key = d_key))
    on conflict (key, version) do nothing;
    if found then return true; end if;
    select w.digest into strict stored from chimeway.workflow_definitions w where w.key = d_key and w.version = d_version;
    if stored <> digest then
        perform chimeway.refuse('workflow_definition_version_conflict', 'CW005',
            format('workflow "%s" version %s is registered with another content (digest %s, given %s)',
                d_key, d_version, left(stored, 12), left(digest, 12)),
            'a registered version never changes: give the new content a higher version');
    end if;
    return false;
end $$;

-- Registers a workflow together with the JSON Schema of its data, for those who write triggers. The schema
-- is no part of the content: it changes no digest, and the one that was given last is kept.
create function chimeway.register_workflow_and_schema(definition jsonb, digest text, data_schema jsonb)
returns boolean
language plpgsql security definer set search_path = chimeway, pg_temp as $$
#variable_conflict use_variable
declare new boolean;
begin
    perform chimeway.check_object('data_schema', data_schema);
    new := chimeway.register_workflow(definition, digest);
    update chimeway.workflow_definitions w set data_schema = register_workflow_and_schema.data_schema
     where w.key = definition ->> 'key' and w.version = (definition ->> 'version')::int
       and w.data_schema is distinct from register_workflow_and_schema.data_schema;
    return new;
end $$;

create or replace function chimeway.cancel(
    run_id           uuid default null,
    tenant_id        text default 'default',
    note             text default null,
    cancellation_key text default null
) returns table (stopped_run_id uuid, outcome text, state text, step text, cancelled uuid[], on_their_way uuid[])
language plpgsql set enable_seqscan = off security definer set search_path = chimeway, pg_temp as $$
#variable_conflict use_column
declare
    locked uuid[];
    live   uuid[];
    ended  uuid[];
begin
    perform chimeway.check_id('tenant_id', tenant_id);
    if (run_id is null) = (cancellation_key is null) then
        perform chimeway.refuse('invalid_input', 'CW001', 'cancel needs run_id or cancellation_key, and not both',
            'cancel(run_id => ..., tenant_id => ...)');
    end if;
    perform chimeway.check_note(note);
    -- Waits for each run in id order. What ended while it waited is then seen by a younger snapshot.
    if run_id is not null then
        select coalesce(array_agg(l.id), '{}') into locked from (
            select r.id from chimeway.workflow_runs r
             where r.id = cancel.run_id and r.tenant_id = cancel.tenant_id for update) l;
    else
        select coalesce(array_agg(l.id), '{}') into locked from (
            select r.id from chimeway.workflow_runs r
             where r.tenant_id = cancel.tenant_id and r.cancellation_key = cancel.cancellation_key
             order by r.id for update) l;
    end if;
    select coalesce(array_agg(r.id order by r.id) filter (where r.state in ('active','waiting')), '{}'),
           coalesce(array_agg(r.id order by r.id) filter (where r.state not in ('active','waiting')), '{}')
      into live, ended from chimeway.workflow_runs r where r.id = any(locked);
    if cancel.run_id is not null and live = '{}' and ended = '{}' then
        perform chimeway.refuse('workflow_run_not_found', 'CW006',
            format('no run %s in tenant "%s"', run_id, tenant_id), 'look at the id and at the tenant');
    end if;
    return query
    select r.id, 'stopped'::text, 'stopped'::text, r.step, s.cancelled, s.on_their_way
      from chimeway.workflow_runs r
      join chimeway.stop_run(live,
            (select coalesce(array_agg(gen_random_uuid()), '{}') from unnest(live)),
            array_fill('stopped'::text, array[cardinality(live)]),
            array_fill('cancelled_by_request'::text, array[cardinality(live)]),
            array_fill('cancelled_by_request'::text, array[cardinality(live)]),
            array_fill('{}'::jsonb, array[cardinality(live)]),
            array_fill(cancel.note, array[cardinality(live)]),
            array_fill(null::jsonb, array[cardinality(live)]), 'run_stopped') s on s.run_id = r.id
    union all
    select r.id, 'already_ended', r.state, r.step, '{}', '{}'
      from chimeway.workflow_runs r where r.id = any(ended)
    order by 1;
end $$;

create or replace function chimeway.hold_run(p_run uuid, p_reason text, p_note text default null, p_patient boolean default true)
returns boolean
language plpgsql security definer set search_path = chimeway, pg_temp as $$
declare now_ timestamptz := chimeway.clock();
begin
    if p_reason is null or p_reason not in ('poison_decision','three_strikes','too_many_steps','held_by_request') then
        perform chimeway.refuse('invalid_input', 'CW001',
            format('reason is %s', coalesce('"' || left(p_reason, 100) || '"', 'null')),
            'give held_by_request (the others are the engine''s), and say more in the note');
    end if;
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
           revision = r.revision + 1, wake_at = chimeway.wake_again(r, now_)
     where r.id = p_run;
    perform chimeway.hint();
    return true;
end $$;

create or replace function chimeway.pause_workflow(p_key text, p_paused boolean) returns int
language plpgsql security definer set search_path = chimeway, pg_temp as $$
declare touched int;
begin
    perform chimeway.check_id('key', p_key);
    if p_paused is null then
        perform chimeway.refuse('invalid_input', 'CW001', 'paused is null', 'give true or false');
    end if;
    perform 1 from chimeway.workflow_definitions w where w.key = p_key order by w.version for no key update;
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
            ('deployer', 'execute', 'function', '{register_workflow,register_workflow_and_schema}'),
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
