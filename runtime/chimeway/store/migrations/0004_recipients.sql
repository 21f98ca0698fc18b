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

-- The same grammar as chimeway.progression.policy reads, looked at in the same order, so that all doors tell of the
-- same first fault: unknown keys, then the known ones as listed, names from A to Z.

create function chimeway.shortened(said text) returns text
language sql immutable as $$
select case when length(said) > 60 then left(said, 60) || '...' else said end
$$;

-- How a value is shown in a sentence: as JSON, short; objects and lists by their size.
create function chimeway.shown(value jsonb) returns text
language sql immutable as $$
select case coalesce(jsonb_typeof(value), 'null')
       when 'object' then case when value = '{}' then 'an empty object' else 'an object' end
       when 'array' then 'a list of ' || jsonb_array_length(value)
       when 'string' then to_jsonb(chimeway.shortened(value #>> '{}'))::text
       when 'null' then 'null'
       else chimeway.shortened(value::text) end
$$;

create function chimeway.path_to(path text, key text) returns text
language sql immutable as $$
select path || case when key ~ '^[A-Za-z_][A-Za-z0-9_-]*$' then '.' || chimeway.shortened(key)
                    else '[' || to_jsonb(chimeway.shortened(key))::text || ']' end
$$;

create function chimeway.refuse_at(path text, told text, hint text) returns void
language plpgsql as $$
begin
    perform chimeway.refuse('invalid_input', 'CW001', path || ' ' || told, hint);
end $$;

-- Refuses the first key, from A to Z, that an object must not have.
create function chimeway.check_keys(path text, value jsonb, known text[]) returns void
language plpgsql as $$
declare k text;
begin
    for k in select key from jsonb_object_keys(value) key where key <> all(known) order by key collate "C" loop
        perform chimeway.refuse_at(path, 'has the unknown key ' || chimeway.shown(to_jsonb(k)),
            'known are ' || array_to_string(known, ', '));
    end loop;
end $$;

create function chimeway.check_name(path text, value jsonb) returns void
language plpgsql as $$
declare wanted constant text := 'give a name of 1 to 255 characters';
begin
    if jsonb_typeof(value) <> 'string' then
        perform chimeway.refuse_at(path, 'is ' || chimeway.shown(value), wanted);
    elsif value = '""' then
        perform chimeway.refuse_at(path, 'is an empty text', wanted);
    elsif length(value #>> '{}') > 255 then
        perform chimeway.refuse_at(path, format('is a text of %s characters', length(value #>> '{}')), wanted);
    end if;
end $$;

-- True, false or null under each key; within categories and workflows also an object of these by channel.
create function chimeway.check_statements(path text, value jsonb, kind text) returns void
language plpgsql as $$
declare
    k     text;
    below text;
    said  jsonb;
begin
    if jsonb_typeof(value) <> 'object' then
        perform chimeway.refuse_at(path, 'is ' || chimeway.shown(value),
            case kind when 'channels' then 'give true or false for each channel, such as {"email": false}'
                      else 'give true or false for each name, such as {"marketing": false}' end
            || ', or null to remove it');
    elsif kind = 'channels' and value ? '*' then
        perform chimeway.refuse_at(path, 'has the key "*"', 'name each channel');
    end if;
    for k, said in select e.key, e.value from jsonb_each(value) e order by e.key collate "C" loop
        if k = '' or length(k) > 255 then
            perform chimeway.refuse_at(path,
                case k when '' then 'has an empty key' else format('has a key of %s characters', length(k)) end,
                'give names of 1 to 255 characters');
        end if;
        below := chimeway.path_to(path, k);
        if kind = 'topics' and jsonb_typeof(said) = 'object' then
            perform chimeway.check_statements(below, said, 'topic');
        elsif jsonb_typeof(said) not in ('boolean','null') then
            perform chimeway.refuse_at(below, 'is ' || chimeway.shown(said),
                case kind when 'topics' then 'give true or false, or an object of these by channel'
                          else 'give true or false' end || ', or null to remove it');
        end if;
    end loop;
end $$;

-- An ISO 8601 duration of more than zero and at most ten years (3653 days), as the engine reads it.
create function chimeway.is_duration(said text) returns boolean
language plpgsql immutable as $$
declare
    found  text[];
    n      numeric[];
    days   numeric;
    exact  numeric;
begin
    found := regexp_match(said, '^P(?=[0-9T])(?:([0-9]{1,12})Y)?(?:([0-9]{1,12})M)?(?:([0-9]{1,12})W)?(?:([0-9]{1,12})D)?'
        || '(?:T(?=[0-9])(?:([0-9]{1,12})H)?(?:([0-9]{1,12})M)?(?:([0-9]{1,12})(?:[.,]([0-9]{1,6}))?S)?)?$');
    if found is null or length(said) > 100 then
        return false;
    end if;
    select array_agg(coalesce(f, '0')::numeric order by i) into n
      from unnest(found[1:7]) with ordinality u(f, i);
    days  := n[3] * 7 + n[4];
    exact := n[5] * 3600 + n[6] * 60 + n[7] + rpad(coalesce(found[8], ''), 6, '0')::numeric / 1000000;
    -- A month counts as a 120th of the longest ten years, so that P10Y is just allowed.
    return (n[1] * 12 + n[2]) * 315619200 + days * 86400 * 120 + exact * 120 between 0.000001 and 315619200::numeric * 120;
end $$;

create function chimeway.check_quiet_hours(path text, value jsonb) returns void
language plpgsql as $$
declare
    k     text;
    one   jsonb;
    place bigint;
    clock constant text := '([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9])?';
    days  constant text[] := '{mon,tue,wed,thu,fri,sat,sun}';
begin
    perform chimeway.check_keys(path, value, '{from,to,days,channels}');
    foreach k in array '{from,to}'::text[] loop
        if not value ? k then
            perform chimeway.refuse_at(path, format('lacks "%s"', k),
                format('give a local time from "00:00" to "%s"', case k when 'from' then '23:59' else '24:00' end));
        elsif jsonb_typeof(value -> k) <> 'string'
           or value ->> k !~ ('^(' || clock || (case k when 'to' then '|24:00(:00)?' else '' end) || ')$') then
            perform chimeway.refuse_at(path || '.' || k, 'is ' || chimeway.shown(value -> k),
                format('give a local time from "00:00" to "%s"', case k when 'from' then '23:59' else '24:00' end));
        end if;
    end loop;
    foreach k in array '{days,channels}'::text[] loop
        continue when not value ? k;
        if jsonb_typeof(value -> k) <> 'array' or value -> k = '[]' then
            perform chimeway.refuse_at(path || '.' || k, 'is ' || chimeway.shown(value -> k),
                case k when 'days' then 'give a list of days, such as ["mon", "tue"]'
                       else 'give a list of channels, such as ["email"]' end);
        end if;
        for one, place in select e.value, e.place - 1
                            from jsonb_array_elements(value -> k) with ordinality e(value, place) loop
            if k = 'days' and (jsonb_typeof(one) <> 'string' or one #>> '{}' <> all(days)) then
                perform chimeway.refuse_at(format('%s.days[%s]', path, place), 'is ' || chimeway.shown(one),
                    'give one of ' || array_to_string(days, ', '));
            elsif k = 'channels' and one = '"in_app"' then
                perform chimeway.refuse_at(format('%s.channels[%s]', path, place), 'is ' || chimeway.shown(one),
                    'leave it out: the inbox disturbs nobody');
            elsif k = 'channels' then
                perform chimeway.check_name(format('%s.channels[%s]', path, place), one);
            end if;
        end loop;
    end loop;
    if ((value ->> 'from')::time = (value ->> 'to')::time
        or (value ->> 'from')::time = '00:00' and (value ->> 'to')::time = '24:00')
       and (not value ? 'days' or value -> 'days' @> to_jsonb(days)) then
        perform chimeway.refuse_at(path, 'never ends', 'switch channels off instead');
    end if;
end $$;

create function chimeway.check_cap(path text, value jsonb) returns void
language plpgsql as $$
declare
    k    text;
    hint text;
begin
    perform chimeway.check_keys(path, value, '{channel,limit,per,then}');
    for k, hint in values ('channel', 'give the name of a channel'), ('limit', 'give a whole number from 1 to 500'),
            ('per', 'give an ISO 8601 duration of more than zero and at most ten years, such as "PT24H"'),
            ('then', 'give "delay" or "drop"') loop
        if not value ? k then
            perform chimeway.refuse_at(path, format('lacks "%s"', k), hint);
        elsif k = 'channel' then
            perform chimeway.check_name(path || '.channel', value -> k);
        elsif (case k
              when 'limit' then jsonb_typeof(value -> k) = 'number' and value ->> k ~ '^[0-9]{1,3}$'
                            and (value ->> k)::int between 1 and 500
              when 'per' then jsonb_typeof(value -> k) = 'string' and chimeway.is_duration(value ->> k)
              else value -> k in ('"delay"', '"drop"') end) is not true then
            perform chimeway.refuse_at(path || '.' || k, 'is ' || chimeway.shown(value -> k), hint);
        end if;
    end loop;
    if value ->> 'channel' = 'in_app' and value ->> 'then' = 'delay' then
        perform chimeway.refuse_at(path || '.then', 'is "delay"',
            'give "drop": the inbox disturbs nobody, and is never delayed');
    end if;
end $$;

-- Quiet hours or caps: one, or a list of at most twenty.
create function chimeway.check_rules(path text, value jsonb, kind text) returns void
language plpgsql as $$
declare
    one   jsonb;
    place bigint;
    hint  text := case kind when 'quiet_hours' then 'give {"from": "22:00", "to": "07:00"}'
                    else 'give {"channel": "email", "limit": 3, "per": "PT24H", "then": "delay"}' end;
begin
    if jsonb_typeof(value) = 'array' and jsonb_array_length(value) > 20 then
        perform chimeway.refuse_at(path, 'is ' || chimeway.shown(value), 'give at most 20');
    elsif jsonb_typeof(value) not in ('array','object') then
        perform chimeway.refuse_at(path, 'is ' || chimeway.shown(value),
            hint || ', or a list of such, or null to remove it');
    end if;
    for one, place in
        select value, null where jsonb_typeof(value) = 'object'
        union all
        select e.value, e.place - 1 from jsonb_array_elements(case jsonb_typeof(value) when 'array' then value else '[]' end)
               with ordinality e(value, place)
    loop
        if jsonb_typeof(one) <> 'object' then
            perform chimeway.refuse_at(format('%s[%s]', path, place), 'is ' || chimeway.shown(one), hint);
        elsif kind = 'quiet_hours' then
            perform chimeway.check_quiet_hours(path || coalesce('[' || place || ']', ''), one);
        else
            perform chimeway.check_cap(path || coalesce('[' || place || ']', ''), one);
        end if;
    end loop;
end $$;

-- Refuses a document that has become too large. A change is checked before it is merged, and what comes of it by this:
-- not more strictly, since what is stored may be older than the grammar.
create function chimeway.check_preference_bounds(name text, preferences jsonb) returns void
language plpgsql as $$
declare said bigint;
begin
    if octet_length(preferences::text) > 16384 then
        perform chimeway.refuse_at(name, format('is %s bytes of JSON', octet_length(preferences::text)),
            'give at most 16384 bytes');
    end if;
    select count(*) into said
      from jsonb_path_query(preferences, 'strict $.keyvalue() ? (@.key == "channels" || @.key == "categories"
                || @.key == "workflows").value.** ? (@.type() == "boolean")') q;
    if said > 500 then
        perform chimeway.refuse_at(name, format('has %s statements', said), 'give at most 500 of true and false');
    end if;
end $$;

-- Refuses a document of preferences that says what nobody could obey. Null under a key of a person's own, or for a
-- part as a whole, is allowed: it removes (chimeway.merge_preferences).
create function chimeway.check_preferences(name text, preferences jsonb) returns void
language plpgsql as $$
declare
    part  text;
    parts constant text[] := '{channels,categories,workflows,quiet_hours,caps}';
begin
    if preferences is null or jsonb_typeof(preferences) <> 'object' then
        perform chimeway.refuse_at(name, 'is ' || chimeway.shown(preferences),
            'give an object with ' || array_to_string(parts, ', '));
    elsif octet_length(preferences::text) > 16384 then
        perform chimeway.check_preference_bounds(name, preferences);
    end if;
    perform chimeway.check_keys(name, preferences, parts);
    foreach part in array parts loop
        continue when coalesce(jsonb_typeof(preferences -> part), 'null') = 'null';
        if part in ('quiet_hours','caps') then
            perform chimeway.check_rules(name || '.' || part, preferences -> part, part);
        else
            perform chimeway.check_statements(name || '.' || part, preferences -> part,
                case part when 'channels' then part else 'topics' end);
        end if;
    end loop;
    perform chimeway.check_preference_bounds(name, preferences);
end $$;

-- One category or workflow after a change; null: nothing is said of it any more. A word that stood for all channels
-- goes on standing for those that the change does not name: who has switched a category off and allows one channel
-- has allowed one channel.
create function chimeway.merge_topic(old jsonb, new jsonb) returns jsonb
language sql immutable as $$
select case
       when coalesce(jsonb_typeof(new), 'null') = 'null' then null
       when jsonb_typeof(new) <> 'object' then new
       when said = '{}' then null
       when said - '*' = '{}' then said -> '*'
       else said end
  from (select jsonb_strip_nulls(case jsonb_typeof(old) when 'boolean' then jsonb_build_object('*', old)
                                                         when 'object' then old else '{}' end
                                 || case jsonb_typeof(new) when 'object' then new else '{}' end) as said) s
$$;

-- A document of preferences after a change: yes and no key by key, quiet hours and caps as a whole, null removes, and
-- objects that have become empty vanish. (An empty list stays: it says "none", also of the tenant's.)
create function chimeway.merge_preferences(old jsonb, new jsonb) returns jsonb
language plpgsql immutable as $$
declare
    part   text;
    before jsonb;
    after  jsonb;
    result jsonb := case jsonb_typeof(old) when 'object' then old else '{}' end;
begin
    foreach part in array '{channels,categories,workflows,quiet_hours,caps}'::text[] loop
        continue when not coalesce(new ? part, false);
        before := case jsonb_typeof(result -> part) when 'object' then result -> part else '{}' end;
        after := new -> part;
        if part = 'channels' and jsonb_typeof(after) = 'object' then
            after := jsonb_strip_nulls(before || after);
        elsif part in ('categories','workflows') and jsonb_typeof(after) = 'object' then
            select coalesce(jsonb_object_agg(m.key, m.said) filter (where m.said is not null), '{}') into after
              from (select coalesce(b.key, a.key) as key,
                           case when a.key is null then b.value else chimeway.merge_topic(b.value, a.value) end as said
                      from jsonb_each(before) b full join jsonb_each(after) a on a.key = b.key) m;
        end if;
        result := case when after in ('null', '{}') then result - part
                       else result || jsonb_build_object(part, after) end;
    end loop;
    return result;
end $$;

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
