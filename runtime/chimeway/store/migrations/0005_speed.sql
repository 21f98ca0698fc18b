-- Speed: less is done for each decision, and rows have room to change where they stand.
-- serves from: 4

create index concurrently if not exists workflow_runs_ended_at on chimeway.workflow_runs (ended_at, id) where ended_at is not null;

create index concurrently if not exists deliveries_bodies on chimeway.deliveries (terminal_at, id)
    where message is not null and terminal_at is not null;

-- transaction

-- ── rows that change have room on their page ──
-- A mailbox row changes once, when it is consumed, and no index knows of that.
alter table chimeway.run_mailbox set (fillfactor = 85);

-- ── retention ──

alter table chimeway.events add column pruned int not null default 0;

-- Events whose runs have all left, and which stay for their keys' sake.
create table chimeway.outlived_events (
    created_at timestamptz not null,                -- the event's
    event_id   uuid        not null,
    shard      smallint    not null,
    primary key (created_at, event_id, shard)
);

-- How far what nodes prune by themselves has come: see chimeway.prune_next.
create table chimeway.pruning (
    part     text        primary key check (part in ('bodies','runs','events','signals')),
    place_at timestamptz not null default '-infinity',
    place    uuid        not null default '00000000-0000-0000-0000-000000000000',
    began_at timestamptz not null default '-infinity',  -- when a pass last began at the beginning
    moved_at timestamptz
) with (fillfactor = 50, autovacuum_vacuum_threshold = 200, autovacuum_vacuum_scale_factor = 0);
insert into chimeway.pruning (part) values ('bodies'), ('runs'), ('events'), ('signals');

alter table chimeway.events set (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05);
alter table chimeway.workflow_runs set (autovacuum_vacuum_insert_scale_factor = 0.05);
alter table chimeway.deliveries set (autovacuum_vacuum_insert_scale_factor = 0.05);
alter table chimeway.workflow_transitions set (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05);
alter table chimeway.delivery_attempts set (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05);
alter table chimeway.delivery_attempt_results set (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05);
alter table chimeway.delivery_feedback set (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05);
alter table chimeway.inbox_items set (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05);
alter table chimeway.delivery_verdicts set (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05);
alter table chimeway.signals set (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05);
alter table chimeway.run_mailbox set (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05);

-- What has ended long ago leaves, in small batches, each a transaction: a run with all its rows, or not at all. Nothing
-- waits: every row is locked with `skip locked`, and a run of which something is locked elsewhere stays until the next
-- pass. Nobody waits for long: what is locked here has ended. (docs/design.md, "Retention")
-- All of these: `keep` is for how long; at_most rows are looked at, the oldest first, behind the place after_at, after_id;
-- `last_at` and `last_id` say where to go on, and `more` whether there may be more. With `dry` nothing is locked or
-- removed, and only counted. `removed` has a count for each table. They need READ COMMITTED: each statement's snapshot
-- must be younger than the locks before it.

create function chimeway.check_pruning(keep interval, at_most int) returns timestamptz
language plpgsql as $$
begin
    if current_setting('transaction_isolation') <> 'read committed' then
        perform chimeway.refuse('invalid_input', 'CW001', 'pruning in a transaction that is '
            || current_setting('transaction_isolation'), 'it needs READ COMMITTED');
    elsif keep is null or keep <= interval '0' then
        perform chimeway.refuse('invalid_input', 'CW001', format('keep is %s', coalesce(keep::text, 'null')),
            'give an interval of more than nothing, such as ''90 days''');
    elsif at_most is null or at_most not between 1 and 1000 then
        perform chimeway.refuse('invalid_input', 'CW001', format('at_most is %s', coalesce(at_most::text, 'null')),
            'give a whole number from 1 to 1000');
    end if;
    return chimeway.clock() - keep;
end $$;

-- Which of these runs may not leave now: a message of them is not at its end, or a call for one is under way.
create function chimeway.unsettled(p_runs uuid[]) returns setof uuid
language sql stable as $$
    select d.run_id from chimeway.deliveries d
     where d.run_id = any(p_runs)
       and (d.terminal_at is null
            or d.attempt_count > d.failed_count + case d.last_outcome when 'succeeded' then 1 else 0 end)
$$;

-- How many rows of each table these runs have: what prune_runs would remove.
create function chimeway.rows_of_runs(p_runs uuid[], p_keys timestamptz, p_said timestamptz) returns jsonb
language plpgsql stable set enable_seqscan = off as $$
declare
    v_sent uuid[] := array(select d.id from chimeway.deliveries d where d.run_id = any(p_runs));
begin
    return jsonb_build_object(
        'workflow_runs', cardinality(p_runs),
        'workflow_transitions', (select count(*) from chimeway.workflow_transitions t where t.run_id = any(p_runs)),
        'deliveries', cardinality(v_sent),
        'delivery_attempts', (select count(*) from chimeway.delivery_attempts a where a.delivery_id = any(v_sent)),
        'delivery_attempt_results',
            (select count(*) from chimeway.delivery_attempt_results x where x.delivery_id = any(v_sent)),
        'delivery_feedback', (select count(*) from chimeway.delivery_feedback f where f.delivery_id = any(v_sent)),
        'delivery_verdicts', (select count(*) from chimeway.delivery_verdicts v where v.delivery_id = any(v_sent)),
        'inbox_items', (select count(*) from chimeway.inbox_items i where i.id = any(v_sent)),
        'run_mailbox', (select count(*) from chimeway.run_mailbox b where b.run_id = any(p_runs)),
        'events', (
            select count(*) from (
                select r.event_id as id, count(*) as many from chimeway.workflow_runs r
                 where r.id = any(p_runs) group by r.event_id offset 0) g
             cross join lateral (
                select e.pruned, e.run_ids, e.idempotency_key, e.created_at from chimeway.events e
                 where e.id = g.id offset 0) e
             where e.pruned + g.many >= cardinality(e.run_ids)
               and (e.idempotency_key is null or e.created_at < p_keys)),
        'signals', (
            select count(*) from (
                select b.signal_id as id from chimeway.run_mailbox b where b.run_id = any(p_runs)
                 group by b.signal_id offset 0) m
             cross join lateral (
                select s.created_at, s.routed_at from chimeway.signals s where s.id = m.id offset 0) s
             where s.routed_at is not null and s.created_at < p_said
               and not exists (select from chimeway.run_mailbox o
                                where o.signal_id = m.id and not o.run_id = any(p_runs))));
end $$;

-- Runs that ended more than `keep` ago, with all their rows. Their event leaves with the last of its runs, if it has no
-- key or is older than keep_keys; else its key stays, without data and names. Signals leave with the last mailbox that
-- names them, if they are routed and older than keep_signals.
create function chimeway.prune_runs(
    keep         interval,
    keep_keys    interval,
    keep_signals interval,
    at_most      int         default 200,
    tenant_id    text        default null,
    after_at     timestamptz default null,
    after_id     uuid        default null,
    dry          boolean     default false
) returns table (more boolean, last_at timestamptz, last_id uuid, removed jsonb)
language plpgsql security definer set search_path = chimeway, pg_temp set enable_seqscan = off set jit = off as $$
#variable_conflict use_column
declare
    v_cut    timestamptz := chimeway.check_pruning(keep, at_most);
    v_keys   timestamptz := chimeway.check_pruning(keep_keys, at_most);
    v_said   timestamptz := chimeway.check_pruning(keep_signals, at_most);
    v_switch text := coalesce(current_setting('chimeway.retention', true), '');
    v_from   timestamptz := coalesce(after_at, '-infinity');
    v_behind uuid := coalesce(after_id, '00000000-0000-0000-0000-000000000000');
    v_page   uuid[];
    v_runs   uuid[];
    v_sent   uuid[];
    v_events uuid[];
    v_heard  uuid[];    -- the signals in their mailboxes
    v_locked uuid[];
    n        bigint;
    told_t   text[];
    told_r   text[];
begin
    select coalesce(array_agg(p.id) filter (where prune_runs.tenant_id is null or p.tenant_id = prune_runs.tenant_id), '{}'),
           count(*) = at_most, max(p.ended_at), (array_agg(p.id order by p.ended_at desc, p.id desc))[1]
      into v_page, more, last_at, last_id from (
        select r.id, r.ended_at, r.tenant_id from chimeway.workflow_runs r
         where r.ended_at is not null and r.ended_at < v_cut and (r.ended_at, r.id) > (v_from, v_behind)
         order by r.ended_at, r.id limit at_most) p;
    if dry then
        removed := chimeway.rows_of_runs(array(
            select unnest(v_page) except select chimeway.unsettled(v_page)), v_keys, v_said);
        return next;
        return;
    end if;

    -- (1) lock, in the order of all; who waits for nobody may leave out what others have
    v_runs := array(
        select l.id from (select r.id from chimeway.workflow_runs r
                           where r.id = any(v_page) order by r.id for update skip locked) l);
    v_sent := array(
        select l.id from (select d.id from chimeway.deliveries d
                           where d.run_id = any(v_runs) order by d.id for update skip locked) l);
    v_runs := array(
        select unnest(v_runs)
        except select chimeway.unsettled(v_runs)
        except select d.run_id from chimeway.deliveries d where d.run_id = any(v_runs) and not d.id = any(v_sent));
    v_events := array(select distinct r.event_id from chimeway.workflow_runs r where r.id = any(v_runs));
    v_locked := array(
        select l.id from (select e.id from chimeway.events e
                           where e.id = any(v_events) order by e.id for update skip locked) l);
    v_runs := array(
        select unnest(v_runs)
        except
        select r.id from chimeway.workflow_runs r
         where r.id = any(v_runs) and not r.event_id = any(v_locked)
           and exists (select from chimeway.events e where e.id = r.event_id));
    v_events := v_locked;
    v_locked := array(
        select l.id from (select i.id from chimeway.inbox_items i
                           where i.id = any(v_sent) order by i.id for update skip locked) l);
    v_runs := array(
        select unnest(v_runs)
        except
        select i.run_id from chimeway.inbox_items i where i.id = any(v_sent) and not i.id = any(v_locked));
    v_heard := array(select distinct b.signal_id from chimeway.run_mailbox b where b.run_id = any(v_runs));
    v_locked := array(
        select l.id from (select s.id from chimeway.signals s
                           where s.id = any(v_heard) order by s.id for update skip locked) l);
    v_runs := array(
        select unnest(v_runs)
        except
        select b.run_id from chimeway.run_mailbox b where b.run_id = any(v_runs) and not b.signal_id = any(v_locked));
    v_heard := v_locked;
    if v_runs = '{}' then
        removed := '{}';
        return next;
        return;
    end if;
    v_sent := array(select d.id from chimeway.deliveries d where d.run_id = any(v_runs));

    -- (2) what hangs on a row before the row
    removed := jsonb_build_object('workflow_runs', cardinality(v_runs), 'deliveries', cardinality(v_sent));
    perform set_config('chimeway.retention', 'on', true);  -- a refusal below takes it back with everything else
    with gone as (delete from chimeway.inbox_items i where i.id = any(v_sent) returning i.tenant_id, i.recipient_id)
    select count(*), array_agg(g.tenant_id), array_agg(g.recipient_id) into n, told_t, told_r from gone g;
    removed := removed || jsonb_build_object('inbox_items', n);
    delete from chimeway.delivery_feedback f where f.delivery_id = any(v_sent);
    get diagnostics n = row_count; removed := removed || jsonb_build_object('delivery_feedback', n);
    delete from chimeway.delivery_verdicts v where v.delivery_id = any(v_sent);
    get diagnostics n = row_count; removed := removed || jsonb_build_object('delivery_verdicts', n);
    delete from chimeway.delivery_attempt_results x where x.delivery_id = any(v_sent);
    get diagnostics n = row_count; removed := removed || jsonb_build_object('delivery_attempt_results', n);
    delete from chimeway.delivery_attempts a where a.delivery_id = any(v_sent);
    get diagnostics n = row_count; removed := removed || jsonb_build_object('delivery_attempts', n);
    delete from chimeway.deliveries d where d.id = any(v_sent);
    delete from chimeway.run_mailbox b where b.run_id = any(v_runs);
    get diagnostics n = row_count; removed := removed || jsonb_build_object('run_mailbox', n);
    delete from chimeway.workflow_transitions t where t.run_id = any(v_runs);
    get diagnostics n = row_count; removed := removed || jsonb_build_object('workflow_transitions', n);
    perform set_config('chimeway.retention', v_switch, true);

    -- (3) their events, while the runs still say which are whose
    delete from chimeway.events e
     using (select r.event_id, count(*) as many from chimeway.workflow_runs r
             where r.id = any(v_runs) group by r.event_id) g
     where e.id = any(v_events) and e.id = g.event_id and e.pruned + g.many >= cardinality(e.run_ids)
       and (e.idempotency_key is null or e.created_at < v_keys);
    get diagnostics n = row_count; removed := removed || jsonb_build_object('events', n);
    update chimeway.events e
       set pruned = e.pruned + g.many, forgotten = e.forgotten + g.named,
           recipient_ids = array(
               select case when u.run = any(g.runs) then 'pruned-' || gen_random_uuid() else u.name end
                 from unnest(e.recipient_ids, e.run_ids) with ordinality u(name, run, n) order by u.n),
           idempotency_key = case
                when e.created_at < v_keys then null
                when e.forgotten > 0 then e.idempotency_key
                when not exists (  -- as in forget_recipient
                    select from chimeway.events o where o.tenant_id = e.tenant_id and o.shard = e.shard
                       and o.idempotency_key = chimeway.digest_of(e.tenant_id, e.idempotency_key))
                then chimeway.digest_of(e.tenant_id, e.idempotency_key) end,
           data = case when e.pruned + g.many >= cardinality(e.run_ids) then '{}' else e.data end
      from (select r.event_id, count(*)::int as many, array_agg(r.id) filter (where r.forgotten_at is null) as runs,
                   (count(*) filter (where r.forgotten_at is null))::int as named
              from chimeway.workflow_runs r where r.id = any(v_runs) group by r.event_id) g
     where e.id = any(v_events) and e.id = g.event_id;
    insert into chimeway.outlived_events (created_at, event_id, shard)
    select e.created_at, e.id, e.shard from chimeway.events e
     where e.id = any(v_events) and e.pruned >= cardinality(e.run_ids);

    -- (4) the runs, and what only their mailboxes named
    delete from chimeway.workflow_runs r where r.id = any(v_runs);
    delete from chimeway.signals s
     where s.id = any(v_heard) and s.routed_at is not null and s.created_at < v_said
       and not exists (select from chimeway.run_mailbox b where b.signal_id = s.id);
    get diagnostics n = row_count; removed := removed || jsonb_build_object('signals', n);
    perform chimeway.tell_inboxes(told_t, told_r);
    return next;
end $$;

-- What was rendered for messages that came to their end more than `keep` ago.
create function chimeway.prune_bodies(
    keep      interval,
    at_most   int         default 200,
    tenant_id text        default null,
    after_at  timestamptz default null,
    after_id  uuid        default null,
    dry       boolean     default false
) returns table (more boolean, last_at timestamptz, last_id uuid, removed jsonb)
language plpgsql security definer set search_path = chimeway, pg_temp set enable_seqscan = off set jit = off as $$
#variable_conflict use_column
declare
    v_cut    timestamptz := chimeway.check_pruning(keep, at_most);
    v_from   timestamptz := coalesce(after_at, '-infinity');
    v_behind uuid := coalesce(after_id, '00000000-0000-0000-0000-000000000000');
    v_page   uuid[];
    n        bigint;
begin
    select coalesce(array_agg(p.id) filter (where prune_bodies.tenant_id is null or p.tenant_id = prune_bodies.tenant_id), '{}'),
           count(*) = at_most, max(p.terminal_at), (array_agg(p.id order by p.terminal_at desc, p.id desc))[1]
      into v_page, more, last_at, last_id from (
        select d.id, d.terminal_at, d.tenant_id from chimeway.deliveries d
         where d.message is not null and d.terminal_at is not null and d.terminal_at < v_cut
           and (d.terminal_at, d.id) > (v_from, v_behind)
         order by d.terminal_at, d.id limit at_most) p;
    if dry then
        removed := jsonb_build_object('bodies', cardinality(v_page));
        return next;
        return;
    end if;
    v_page := array(
        select l.id from (select d.id from chimeway.deliveries d
                           where d.id = any(v_page) order by d.id for no key update skip locked) l);
    update chimeway.deliveries d set message = null where d.id = any(v_page);
    get diagnostics n = row_count;
    removed := jsonb_build_object('bodies', n);
    return next;
end $$;

-- Events that have outlived their runs, for their keys' sake, once they are older than `keep`.
create function chimeway.prune_events(
    keep      interval,
    at_most   int         default 200,
    tenant_id text        default null,
    after_at  timestamptz default null,
    after_id  uuid        default null,
    dry       boolean     default false
) returns table (more boolean, last_at timestamptz, last_id uuid, removed jsonb)
language plpgsql security definer set search_path = chimeway, pg_temp set enable_seqscan = off set jit = off as $$
#variable_conflict use_column
declare
    v_cut    timestamptz := chimeway.check_pruning(keep, at_most);
    v_from   timestamptz := coalesce(after_at, '-infinity');
    v_behind uuid := coalesce(after_id, '00000000-0000-0000-0000-000000000000');
    v_page   uuid[];
    n        bigint;
begin
    select coalesce(array_agg(p.id) filter (where prune_events.tenant_id is null or p.tenant_id = prune_events.tenant_id), '{}'),
           count(*) = at_most, max(p.created_at), (array_agg(p.id order by p.created_at desc, p.id desc))[1]
      into v_page, more, last_at, last_id from (
        select o.event_id as id, o.created_at, e.tenant_id from chimeway.outlived_events o
         cross join lateral (select e.tenant_id from chimeway.events e where e.id = o.event_id offset 0) e
         where o.created_at < v_cut and (o.created_at, o.event_id) > (v_from, v_behind)
         order by o.created_at, o.event_id limit at_most) p;
    if dry then
        removed := jsonb_build_object('events', cardinality(v_page));
        return next;
        return;
    end if;
    v_page := array(
        select l.id from (select e.id from chimeway.events e
                           where e.id = any(v_page) order by e.id for update skip locked) l);
    delete from chimeway.outlived_events o
     using (select e.created_at, e.id from chimeway.events e where e.id = any(v_page)) e
     where o.created_at = e.created_at and o.event_id = e.id;
    delete from chimeway.events e where e.id = any(v_page);
    get diagnostics n = row_count;
    removed := jsonb_build_object('events', n);
    return next;
end $$;

-- Signals older than `keep` that are routed and that no mailbox names; nor may a run still be to come that would take
-- them up. (What a mailbox names leaves with the last run that has it.) In the order of their ids, which is that in
-- which they were written; a pass ends at the first that is too young.
create function chimeway.prune_signals(
    keep      interval,
    at_most   int         default 500,
    tenant_id text        default null,
    after_id  uuid        default null,
    dry       boolean     default false
) returns table (more boolean, last_at timestamptz, last_id uuid, removed jsonb)
language plpgsql security definer set search_path = chimeway, pg_temp set enable_seqscan = off set jit = off as $$
#variable_conflict use_column
declare
    v_cut    timestamptz := chimeway.check_pruning(keep, at_most);
    v_behind uuid := coalesce(after_id, '00000000-0000-0000-0000-000000000000');
    v_page   uuid[];
    n        bigint;
begin
    -- Nothing behind the first that is too young is passed over: the place stays before it.
    select coalesce(array_agg(p.id) filter (where p.routed_at is not null
                        and (prune_signals.tenant_id is null or p.tenant_id = prune_signals.tenant_id)), '{}'),
           count(*) = at_most, max(p.created_at), (array_agg(p.id order by p.id desc))[1]
      into v_page, more, last_at, last_id from (
        select q.*, bool_and(q.created_at < v_cut) over (order by q.id) as old from (
            select s.id, s.created_at, s.routed_at, s.tenant_id from chimeway.signals s
             where s.id > v_behind order by s.id limit at_most) q) p
     where p.old;
    v_page := array(
        select p.id from unnest(v_page) p(id)
         cross join lateral (
            select s.shard, s.tenant_id, s.actor_id, s.arrival from chimeway.signals s where s.id = p.id offset 0) s
         where not exists (select from chimeway.run_mailbox b where b.signal_id = p.id)
           and not exists (select from chimeway.workflow_runs r
                            where r.tenant_id = s.tenant_id and r.recipient_id = s.actor_id and r.shard = s.shard
                              and r.state in ('active','waiting') and r.visit = 0 and r.arrival < s.arrival));
    if dry then
        removed := jsonb_build_object('signals', cardinality(v_page));
        return next;
        return;
    end if;
    v_page := array(
        select l.id from (select s.id from chimeway.signals s
                           where s.id = any(v_page) order by s.id for update skip locked) l);
    delete from chimeway.signals s
     where s.id = any(v_page) and not exists (select from chimeway.run_mailbox b where b.signal_id = s.id);
    get diagnostics n = row_count;
    removed := jsonb_build_object('signals', n);
    return next;
end $$;

-- A batch of what nodes prune by themselves: of one part, behind the place where the last batch ended, whoever made it.
-- One at a time: who finds another at it is told `busy`. Once a day a pass begins at the beginning (of signals: as often
-- as they are kept for), for what was locked or not at its end. (Places, because rows that are deleted stay in an index
-- until they are vacuumed: each batch that began at the beginning would go through all of them, and beside a
-- forgotten transaction they stay for as long as it does.)
create function chimeway.prune_next(
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
    end case;
    if found.last_id is not null or here.began_at = now_ then
        update chimeway.pruning p
           set place_at = coalesce(found.last_at, here.place_at), place = coalesce(found.last_id, here.place),
               began_at = here.began_at, moved_at = now_
         where p.part = prune_next.part;
    end if;
    return query select false, found.more, now_ - keep - found.last_at, found.removed;
end $$;

-- ── roles ──

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
                                                  retry_delivery,record_feedback,configure_tenant,
                                                  forget_recipient,export_recipient,unsubscribe,resubscribe,
                                                  prune_runs,prune_bodies,prune_events,prune_signals}'),
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
            ('daemon',   'insert, update, delete', 'table', '{nodes,leases}')
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
