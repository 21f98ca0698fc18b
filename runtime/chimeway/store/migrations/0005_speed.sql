-- Speed: less is done for each decision, and rows have room to change where they stand.
-- serves from: 4

create index concurrently if not exists workflow_runs_ended_at on chimeway.workflow_runs (ended_at, id) where ended_at is not null;

create index concurrently if not exists deliveries_bodies on chimeway.deliveries (terminal_at, id)
    where message is not null and terminal_at is not null;

-- transaction

-- ── rows that change have room on their page ──
-- A mailbox row changes once, soon, when it is consumed, and no index knows of that: beside each there is room for it.
alter table chimeway.run_mailbox set (fillfactor = 50);

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

-- Its delivery may be pruned while it waits.
create or replace function chimeway.retry_delivery(p_delivery uuid, p_tenant_id text default 'default')
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
    select x.* into r from chimeway.workflow_runs x where x.id = r.id for update;
    select x.* into d from chimeway.deliveries x where x.id = p_delivery for no key update;
    if not found then return; end if;  -- it was pruned meanwhile
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
        perform chimeway.refuse('invalid_input', 'CW001',
            format('pruning in a transaction that is %s', current_setting('transaction_isolation')),
            'it needs READ COMMITTED');
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

-- ── less is done for each ──

-- A UUIDv7-shaped id: milliseconds and their fraction first (index locality; those of one session come
-- in order, but for those of one quarter of a microsecond), then chance, and the shard in the last byte. One expression
-- that uses its argument once, so it is inlined where it is called. (4096ths of a millisecond in hexadecimal are eleven
-- digits, and three behind the version; no id is a secret, so 52 bits of the session's own generator do.)
create or replace function chimeway.new_id(shard smallint) returns uuid
language sql volatile strict as $$
    select ('0' || overlay(to_hex((date_part('epoch', clock_timestamp()) * 1000000)::bigint * 512 / 125)
                           placing '7' from 12 for 0)
            || to_hex('-9223372036854775808'::bigint + (random() * 4503599627370496)::bigint * 256 + $1))::uuid
$$;

-- The shard of a recipient; the only place where it is computed (vectors are in the tests). Always the same, and yet
-- only `stable`, as convert_to is: else it would not be inlined.
create or replace function chimeway.shard_of(tenant_id text, recipient_id text) returns smallint
language sql stable strict parallel safe as $$
    select get_byte(sha256(convert_to($1 || chr(31) || $2, 'UTF8')), 0)::smallint
$$;

-- Whether a text may be a name.
create or replace function chimeway.is_id(value text) returns boolean
language sql immutable parallel safe as $$ select coalesce(length($1) between 1 and 255, false) $$;

create or replace function chimeway.check_id(name text, value text) returns void
language plpgsql as $$
begin
    if not chimeway.is_id(value) then
        perform chimeway.refuse('invalid_input', 'CW001',
            format('%s is %s', name, case when value is null then 'null' when value = '' then 'empty'
                else length(value) || ' characters long' end),
            format('%s must be a text of 1 to 255 characters', name));
    end if;
end $$;

-- Records that something happened. The same dedupe key again returns the first signal.
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
    if not (chimeway.is_id(type) and chimeway.is_id(tenant_id) and chimeway.is_id(actor_id)) then
        perform chimeway.check_id('type', type);
        perform chimeway.check_id('tenant_id', tenant_id);
        perform chimeway.check_id('actor_id', actor_id);
    end if;
    if payload is distinct from '{}' then perform chimeway.check_object('payload', payload); end if;
    s_shard := chimeway.shard_of(tenant_id, actor_id);
    if dedupe_key is null then
        s_id := chimeway.new_id(s_shard);
        insert into chimeway.signals (id, shard, tenant_id, actor_id, type, payload, created_at)
        values (s_id, s_shard, signal.tenant_id, signal.actor_id, signal.type, signal.payload, chimeway.clock());
        perform chimeway.hint();
        return s_id;
    end if;
    perform chimeway.check_id('dedupe_key', dedupe_key);
    -- No index takes more; three texts of 255 characters may be longer.
    if octet_length(tenant_id) + octet_length(actor_id) + octet_length(dedupe_key) > 2600 then
        perform chimeway.refuse('invalid_input', 'CW001', format('tenant_id, actor_id and dedupe_key are %s bytes long',
            octet_length(tenant_id) + octet_length(actor_id) + octet_length(dedupe_key)),
            'together they may be 2600 bytes long: make dedupe_key shorter, such as a digest');
    end if;
    loop
        insert into chimeway.signals (id, shard, tenant_id, actor_id, type, payload, dedupe_key, created_at)
        values (chimeway.new_id(s_shard), s_shard, signal.tenant_id, signal.actor_id, signal.type,
                signal.payload, signal.dedupe_key, chimeway.clock())
        on conflict (tenant_id, actor_id, dedupe_key, shard) where dedupe_key is not null do nothing
        returning id into s_id;
        if found then
            perform chimeway.hint();
            return s_id;
        end if;
        select s.id into s_id from chimeway.signals s
         where s.tenant_id = signal.tenant_id and s.actor_id = signal.actor_id
           and s.dedupe_key = signal.dedupe_key and s.shard = s_shard;
        if found then
            perform pg_logical_emit_message(true, 'chimeway', 'known');  -- as in trigger_many
            return s_id;
        end if;  -- else he was forgotten between the two
    end loop;
end $$;

-- Starts one run per recipient: one event, the runs, their first transitions. With a known
-- idempotency key it returns the first result and writes nothing.
create or replace function chimeway.trigger_many(
    workflow         text,
    tenant_id        text        default 'default',
    recipient_ids    text[]      default null,
    data             jsonb       default '{}',
    idempotency_key  text        default null,
    workflow_version int         default null,
    cancellation_key text        default null,
    at               timestamptz default null
) returns table (recipient_id text, run_id uuid, known boolean)
language plpgsql security definer set search_path = chimeway, pg_temp as $$
#variable_conflict use_column
declare
    d        chimeway.workflow_definitions;
    seen     chimeway.events;
    people   text[];
    ids      uuid[];
    event    uuid;
    e_shard  smallint;
    now_     timestamptz := chimeway.clock();
    person   text;
    new      boolean;
begin
    perform chimeway.check_id('workflow', workflow);
    perform chimeway.check_id('tenant_id', tenant_id);
    perform chimeway.check_object('data', data);
    if idempotency_key is not null then perform chimeway.check_id('idempotency_key', idempotency_key); end if;
    if cancellation_key is not null then perform chimeway.check_id('cancellation_key', cancellation_key); end if;
    if at is not null and (not isfinite(at) or at > now_ + interval '10 years') then
        perform chimeway.refuse('invalid_input', 'CW001', format('at is %s', at),
            'give an instant within the next ten years');
    end if;
    select array_agg(u.id order by u.place) into people from (
        select r.id, min(r.place) as place from unnest(recipient_ids) with ordinality r(id, place) group by r.id
    ) u;
    if people is null then
        perform chimeway.refuse('invalid_input', 'CW001', 'recipient_ids is empty', 'name at least one recipient');
    elsif cardinality(people) > 1000 then
        perform chimeway.refuse('invalid_input', 'CW001',
            format('recipient_ids names %s recipients', cardinality(people)),
            'at most 1000 in one call; call once for each thousand');
    end if;
    if exists (select from unnest(people) p(id) where not chimeway.is_id(p.id)) then  -- the first is named
        foreach person in array people loop perform chimeway.check_id('recipient_id', person); end loop;
    end if;
    d := chimeway.current_definition(workflow, workflow_version);
    perform chimeway.check_data(d, data);

    event := chimeway.new_id(0::smallint);
    e_shard := chimeway.shard_of(tenant_id, coalesce(idempotency_key, event::text));
    event := encode(set_byte(uuid_send(event), 15, e_shard::int), 'hex')::uuid;
    ids := array(select chimeway.new_id(chimeway.shard_of(trigger_many.tenant_id, p.id)) from unnest(people) p(id));

    insert into chimeway.events (id, shard, tenant_id, workflow_key, workflow_version, idempotency_key,
            recipient_ids, run_ids, data, data_digest, created_at)
    values (event, e_shard, trigger_many.tenant_id, d.key, d.version, trigger_many.idempotency_key,
            people, ids, trigger_many.data, sha256(convert_to(trigger_many.data::text, 'UTF8')), now_)
    on conflict (tenant_id, idempotency_key, shard) where idempotency_key is not null do nothing;

    new := found;
    if idempotency_key is not null then
        -- Behind the insert, whatever that waited for: a key is kept as its digest once somebody of it was forgotten.
        select e.* into seen from chimeway.events e
         where e.tenant_id = trigger_many.tenant_id and e.shard = e_shard and e.id <> event and e.idempotency_key
               = any(array[trigger_many.idempotency_key,
                           chimeway.digest_of(trigger_many.tenant_id, trigger_many.idempotency_key)]);
        if seen.id is not null then
            delete from chimeway.events e where e.id = event and e.shard = e_shard;
            -- What wrote it may have been cut off in its commit, and lack the standby that it waited for. So this
            -- answer waits for that standby, too: who has written WAL does, if only this word, and who has read does not.
            perform pg_logical_emit_message(true, 'chimeway', 'known');
            return query select k.recipient_id, k.run_id, true
                from chimeway.known_runs(seen, trigger_many.idempotency_key, d.key, people, trigger_many.data) k;
            return;
        elsif not new then
            raise exception 'the event of idempotency_key "%" has just gone', idempotency_key using errcode = '40001';
        end if;
    end if;

    insert into chimeway.workflow_runs (id, shard, tenant_id, recipient_id, workflow_key, workflow_version,
            event_id, cancellation_key, state, transition_count, status_reason, wake_at, created_at)
    select r.run, chimeway.shard_of_id(r.run), trigger_many.tenant_id, r.id, d.key, d.version,
           event, trigger_many.cancellation_key, 'active', 1, 'workflow_started',
           greatest(now_, coalesce(trigger_many.at, now_)), now_
      from unnest(people, ids) r(id, run);
    insert into chimeway.workflow_transitions (run_id, shard, seq, decision_id, reason, to_state, visit,
            status_reason, at)
    select i, chimeway.shard_of_id(i), 1, event, 'workflow_started', 'active', 0, 'workflow_started', now_
      from unnest(ids) i;
    perform chimeway.hint();
    return query select r.id, r.run, false from unnest(people, ids) r(id, run);
end $$;

-- Ends runs whose locks the caller holds; the one place where a stop is written. Deliveries that no
-- provider has yet been asked for are cancelled; one under way stays and is marked.
-- Arrays are parallel; returns for each run what became of its deliveries. The last seven are the ledger's: where a
-- run stood when its decision came to the stop, and how many transitions of that decision are written already
-- (null: it stands where its row says).
create or replace function chimeway.stop_runs(
    p_run uuid[], p_decision uuid[], p_to_state text[], p_reason text[], p_status_reason text[],
    p_context jsonb[], p_note text[], p_inputs jsonb[], p_delivery_reason text,
    p_from_state text[], p_step text[], p_visit int[], p_entered_at timestamptz[], p_mailbox int[], p_written int[]
) returns table (run_id uuid, cancelled uuid[], on_their_way uuid[])
language plpgsql set enable_seqscan = off set enable_bitmapscan = off
set jit = off set plan_cache_mode = force_generic_plan as $$
#variable_conflict use_column
declare now_ timestamptz := chimeway.clock();
begin
    perform 1 from (
        select d.id from chimeway.deliveries d
         where d.run_id = any(p_run) and d.status in ('pending','deferred','digested','failed','dispatched')
         order by d.id for no key update) l;
    if found then
        return query
        with ended as (
            update chimeway.deliveries d
               set status = case when d.status = 'dispatched' then d.status else 'cancelled' end,
                   suppression_reason = case when d.status = 'dispatched' then d.suppression_reason else p_delivery_reason end,
                   terminal_at = case when d.status = 'dispatched' then null else now_ end,
                   stop_requested = d.status = 'dispatched',
                   next_attempt_at = null, deferred_reason = null, revision = d.revision + 1
             where d.run_id = any(p_run) and d.status in ('pending','deferred','digested','failed','dispatched')
             returning d.run_id, d.id, d.status
        )
        select r.id, coalesce(array_agg(e.id) filter (where e.status = 'cancelled'), '{}'),
               coalesce(array_agg(e.id) filter (where e.status = 'dispatched'), '{}')
          from unnest(p_run) r(id) left join ended e on e.run_id = r.id group by r.id;
    else
        return query select r.id, '{}'::uuid[], '{}'::uuid[] from unnest(p_run) r(id);
    end if;

    insert into chimeway.workflow_transitions (run_id, shard, seq, decision_id, reason, from_state, to_state,
            from_step, to_step, visit, status_reason, context, note, inputs, at)
    select r.id, r.shard, r.transition_count + coalesce(s.written, 0) + 1, s.decision, s.reason,
           coalesce(s.from_state, r.state), s.to_state, coalesce(s.step, r.step), coalesce(s.step, r.step),
           coalesce(s.visit, r.visit), s.status_reason, coalesce(s.context, '{}'), s.note, s.inputs, now_
      from unnest(p_run, p_decision, p_to_state, p_reason, p_status_reason, p_context, p_note, p_inputs,
                  p_from_state, p_step, p_visit, p_written)
           s(id, decision, to_state, reason, status_reason, context, note, inputs, from_state, step, visit, written)
     cross join lateral (
        select r.id, r.shard, r.transition_count, r.state, r.step, r.visit from chimeway.workflow_runs r
         where r.id = s.id offset 0) r;

    update chimeway.workflow_runs r
       set state = s.to_state, step = coalesce(s.step, r.step), visit = coalesce(s.visit, r.visit),
           entered_at = coalesce(s.entered_at, r.entered_at), mailbox_seen = coalesce(s.mailbox, r.mailbox_seen),
           status_reason = s.status_reason, status_context = coalesce(s.context, '{}'),
           pending_signals = '{}', wake_at = null, armed_step = null, armed_entered_at = null,
           held_reason = null, held_at = null, waiting_for_node = null, parked = false,
           transition_count = r.transition_count + coalesce(s.written, 0) + 1, revision = r.revision + 1,
           ended_at = now_
      from unnest(p_run, p_to_state, p_status_reason, p_context, p_step, p_visit, p_entered_at, p_mailbox, p_written)
           s(id, to_state, status_reason, context, step, visit, entered_at, mailbox, written)
     where r.id = s.id and r.shard = chimeway.shard_of_id(s.id);
end $$;

-- The same of runs that stand where their rows say.
create or replace function chimeway.stop_run(
    p_run uuid[], p_decision uuid[], p_to_state text[], p_reason text[], p_status_reason text[],
    p_context jsonb[], p_note text[], p_inputs jsonb[], p_delivery_reason text
) returns table (run_id uuid, cancelled uuid[], on_their_way uuid[])
language sql as $$
    select s.run_id, s.cancelled, s.on_their_way from chimeway.stop_runs(
        p_run, p_decision, p_to_state, p_reason, p_status_reason, p_context, p_note, p_inputs, p_delivery_reason,
        null::text[], null::text[], null::int[], null::timestamptz[], null::int[], null::int[]) s
$$;

-- Puts the unrouted signals of locked runs' recipients into their mailboxes, and returns the snapshot
-- that looked for them. The caller holds the run locks, taken in an EARLIER statement: this one's
-- snapshot is therefore younger than the locks, and sees every signal committed while it waited.
-- A run that entered no step yet also takes signals that were routed before it could be seen.
-- (What it names it locks first, as the foreign key would: one that forget_recipient is deleting is waited for, and
-- then is not there, or is, where the key could only fail.)
create or replace function chimeway.route_for_runs(p_locked uuid[]) returns pg_snapshot
language plpgsql set enable_seqscan = off set enable_bitmapscan = off
set jit = off set plan_cache_mode = force_generic_plan as $$
#variable_conflict use_column
declare
    seen  pg_snapshot;
    heard boolean;
begin
    -- Nearly always there is nothing to put: one look tells, whose snapshot is as young.
    select pg_current_snapshot(), exists (
        select from unnest(p_locked) p(id)
         cross join lateral (
            select r.tenant_id, r.recipient_id, r.shard, r.arrival, r.visit from chimeway.workflow_runs r
             where r.id = p.id offset 0) r
         where exists (select from chimeway.signals s
                        where s.routed_at is null and s.tenant_id = r.tenant_id and s.actor_id = r.recipient_id
                          and s.shard = r.shard and s.arrival > r.arrival offset 0)
            or r.visit = 0 and exists (
                       select from chimeway.signals s
                        where s.tenant_id = r.tenant_id and s.actor_id = r.recipient_id and s.shard = r.shard
                          and s.arrival > r.arrival offset 0))
      into seen, heard;
    if not heard then return seen; end if;

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
         where m.visit > 0 and s.type = any(m.signal_types) and (s.run_id is null or s.run_id = m.id)
        union all
        select m.id, m.shard, m.mailbox_count, s.id, s.arrival
          from mine m cross join lateral (
            select s.id, s.arrival, s.type, s.run_id from chimeway.signals s
             where s.tenant_id = m.tenant_id and s.actor_id = m.recipient_id
               and s.shard = m.shard and s.arrival > m.arrival offset 0) s
         where m.visit = 0 and s.type = any(m.signal_types) and (s.run_id is null or s.run_id = m.id)
    ), fresh as (
        select c.* from candidates c
         where not exists (select from chimeway.run_mailbox b
                            where b.run_id = c.run_id and b.signal_id = c.signal_id and b.shard = c.shard)
    ), held as (
        select c.* from fresh c cross join lateral (
            select from chimeway.signals s where s.id = c.signal_id and s.shard = c.shard offset 0 for key share) s
    ), put as (
        insert into chimeway.run_mailbox (run_id, shard, number, signal_id, routed_at)
        select h.run_id, h.shard, h.mailbox_count + row_number() over (partition by h.run_id order by h.arrival),
               h.signal_id, chimeway.clock()
          from held h
        returning run_id, shard, number
    ), counted as (
        update chimeway.workflow_runs r set mailbox_count = t.top
          from (select run_id, shard, max(number) as top from put group by run_id, shard) t
         where r.id = t.run_id and r.shard = t.shard
    )
    select pg_current_snapshot() into seen;
    return seen;
end $$;

-- Routes signals that the caller has locked into the mailboxes of live runs, for each at most p_each runs.
-- Returns the runs that got mail, and at last whether more runs of these signals may be had by asking again.
-- A signal whose runs are partly locked keeps its mark and is taken up again; none is passed over.
create or replace function chimeway.route_these(p_signals uuid[], p_each int) returns table (run_id uuid, more boolean)
language plpgsql set enable_seqscan = off
set jit = off set plan_cache_mode = force_generic_plan as $$
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

-- Routes waiting signals of some shards in the order in which they came: at most p_limit signals, for each at most
-- p_each runs at a time. Returns the runs that got mail, the last arrival looked at, and whether more runs of
-- these signals may be had by asking again.
create or replace function chimeway.route_signals(p_limit int, p_each int, p_after bigint, p_shards smallint[])
returns table (run_id uuid, last_arrival bigint, more boolean)
language plpgsql set enable_seqscan = off
set jit = off set plan_cache_mode = force_generic_plan as $$
#variable_conflict use_column
declare
    v_signals uuid[];
    v_last    bigint;
begin
    -- (not FOR UPDATE: the mailbox's foreign key of another caller would have to wait for us)
    select coalesce(array_agg(l.id), '{}'), max(l.arrival) into v_signals, v_last from (
        select s.id, s.arrival from chimeway.signals s
         where s.routed_at is null and s.arrival > p_after and s.shard = any(p_shards)
         order by s.arrival limit p_limit for no key update skip locked) l;
    if v_signals = '{}' then return; end if;
    return query select t.run_id, v_last, t.more from chimeway.route_these(v_signals, p_each) t;
end $$;

-- Routes waiting signals of some shards tenant by tenant: of the next p_tenants behind p_after, but for those in
-- p_not, at most p_of_each, whoever has how many. Returns the runs that got mail, and at last the tenant behind which
-- to go on (null: all had their turn).
create or replace function chimeway.route_signals_in_turn(
    p_tenants int, p_of_each int, p_each int, p_after text, p_not text[], p_shards smallint[]
) returns table (run_id uuid, last_tenant text)
language plpgsql set enable_seqscan = off set enable_sort = off set enable_incremental_sort = off
set jit = off set plan_cache_mode = force_generic_plan as $$
#variable_conflict use_column
declare
    v_signals uuid[] := '{}';
    v_some    uuid[];
    v_last    text := p_after;
    v_next    text;
begin
    for i in 1 .. p_tenants loop
        select s.tenant_id into v_next from chimeway.signals s
         where s.routed_at is null and s.tenant_id > v_last
         order by s.tenant_id, s.actor_id, s.arrival, s.shard limit 1;
        v_last := v_next;
        exit when v_last is null;
        continue when v_last = any(p_not);
        v_some := array(
            select l.id from (
                select s.id, s.shard from chimeway.signals s where s.routed_at is null and s.tenant_id = v_last
                 order by s.tenant_id, s.actor_id, s.arrival, s.shard
                 limit chimeway.rows_for(p_of_each, p_shards)) l
             where l.shard = any(p_shards) limit p_of_each);
        v_signals := v_signals || array(  -- (by their ids: those of one statement would be looked for among all unrouted)
            select s.id from chimeway.signals s
             where s.id = any(v_some) and s.routed_at is null for no key update skip locked);
    end loop;
    return query select t.run_id, v_last from chimeway.route_these(v_signals, p_each) t;
end $$;

-- Commits the decisions of many runs: lock, route, guard, write, each a statement with its own snapshot.
-- Answers per run: applied | stale | busy | refused | gone. `applied` is also the answer to a decision
-- that was written before (its answer was lost). A run stands at most once in a call.
-- p_profile and p_tenant: by which versions of the recipient's and the tenant's rows policy judged what is planned
-- (their xmin: whoever writes a row, in whatever way, makes another; 0: there was no row; null: nothing was judged).
-- What policy had to say stands in the arrays d_verdict, _reason, _inputs and d_until. d_budget: of an in-app message
-- that a cap looks at, by which revision of the budget it was counted; d_room and d_keep: see begin_attempts.
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
    c_run uuid[], c_visit int[], c_reason text[],
    p_profile bigint[], p_tenant bigint[], d_until timestamptz[], d_verdict text[], d_verdict_reason text[],
    d_verdict_inputs jsonb[], d_budget bigint[], d_room int[], d_keep int[]
) returns table (run_id uuid, answer text)
language plpgsql set enable_seqscan = off set enable_bitmapscan = off
set jit = off set plan_cache_mode = force_generic_plan as $$
#variable_conflict use_column
declare
    v_locked   uuid[];
    v_stopped  uuid[];
    v_changing uuid[] := '{}';
    v_budgets  boolean := array_remove(d_budget, null) <> '{}';
    v_seen     pg_snapshot;
    v_clock    timestamptz;
    v_key      record;
    -- Of the decisions that passed, in parallel: what the guard found in their runs' rows, which nobody else changes.
    v_passed    uuid[];
    v_shard     smallint[];
    v_tenant    text[];
    v_recipient text[];
    v_count     int[];
    v_state     text[];
    v_decision  uuid[];
    v_inputs    jsonb[];
begin
    perform chimeway.check_ledger(p_owner, p_epoch);

    -- (1) lock the runs, in id order, then the deliveries that were looked at (one that is no longer its run's current
    -- one is told by the run's revision; where there was none, only who holds the run's lock can have made one)
    select coalesce(array_agg(l.id), '{}') into v_locked from (
        select r.id from chimeway.workflow_runs r where r.id = any(p_run) order by r.id for update skip locked) l;
    if array_remove(p_delivery, null) <> '{}' then
        perform 1 from (
            select d.id from chimeway.deliveries d
             where d.id = any(p_delivery) and d.run_id = any(v_locked) order by d.id for no key update) l;
    end if;
    if v_budgets then
        perform chimeway.lock_budget(k.tenant_id, k.recipient_id, k.channel, k.shard) from (
            select distinct r.tenant_id, r.recipient_id, n.channel, r.shard
              from unnest(d_run, d_channel, d_budget) n(run, channel, budget)
             cross join lateral (
                select r.tenant_id, r.recipient_id, r.shard from chimeway.workflow_runs r where r.id = n.run offset 0) r
             where n.budget is not null and n.run = any(v_locked)
             order by r.tenant_id, r.recipient_id, n.channel offset 0) k;
    end if;

    if 'deferred' = any(d_status) then
        v_changing := chimeway.being_changed(array(
            select n.run from unnest(d_run, d_status) n(run, status)
             where n.status = 'deferred' and n.run = any(v_locked)));
    end if;

    -- (2) route
    v_seen := chimeway.route_for_runs(v_locked);

    -- (3) guard
    v_clock := chimeway.clock();
    select coalesce(array_agg(r.id), '{}'), array_agg(r.shard), array_agg(r.tenant_id), array_agg(r.recipient_id),
           array_agg(r.transition_count), array_agg(r.state), array_agg(p.decision), array_agg(p.inputs)
      into v_passed, v_shard, v_tenant, v_recipient, v_count, v_state, v_decision, v_inputs
      from unnest(v_locked) l(id)
      join unnest(p_run, p_revision, p_mailbox, p_delivery, p_delivery_revision, p_now, p_profile, p_tenant,
                  p_decision, p_inputs)
           p(id, revision, mailbox, delivery, delivery_revision, now, profile, tenant, decision, inputs) on p.id = l.id
     cross join lateral (
        select r.id, r.shard, r.visit, r.state, r.held_reason, r.revision, r.mailbox_count, r.workflow_key,
               r.workflow_version, r.tenant_id, r.recipient_id, r.transition_count
          from chimeway.workflow_runs r where r.id = p.id offset 0) r
      join chimeway.workflow_definitions w on w.key = r.workflow_key and w.version = r.workflow_version
      left join lateral (
        select d.id, d.revision from chimeway.deliveries d
         where r.visit > 0 and d.run_id = r.id and d.visit = r.visit and d.shard = r.shard offset 0) d on true
      left join lateral (
        select c.xmin::text::bigint as version from chimeway.recipients c
         where p.profile is not null and c.tenant_id = r.tenant_id and c.recipient_id = r.recipient_id
           and c.shard = r.shard offset 0) c on true
      left join lateral (
        select t.xmin::text::bigint as version from chimeway.tenants t
         where p.profile is not null and t.tenant_id = r.tenant_id offset 0) t on true
     where not p.id = any(v_changing) and r.state in ('active','waiting')
       and r.held_reason is null and w.paused_at is null
       and r.revision = p.revision and r.mailbox_count = p.mailbox
       and d.id is not distinct from p.delivery and d.revision is not distinct from p.delivery_revision
       and p.now <= v_clock + interval '50 milliseconds'
       and (p.profile is null or (p.profile = coalesce(c.version, 0) and p.tenant = coalesce(t.version, 0)));

    if v_budgets then  -- of runs that counted by one revision, as many as there is room for
        select coalesce(array_agg(g.id), '{}'), array_agg(g.shard), array_agg(g.tenant_id), array_agg(g.recipient_id),
               array_agg(g.many), array_agg(g.state), array_agg(g.decision), array_agg(g.inputs)
          into v_passed, v_shard, v_tenant, v_recipient, v_count, v_state, v_decision, v_inputs
          from unnest(v_passed, v_shard, v_tenant, v_recipient, v_count, v_state, v_decision, v_inputs)
               g(id, shard, tenant_id, recipient_id, many, state, decision, inputs)
         where g.id = any(array(
            select p.id from unnest(v_passed) p(id)
            except
            select n.run from unnest(d_run, d_budget) n(run, budget) where n.budget is not null
            union all
            select k.run from (
                select n.run, n.room, coalesce(sum(n.many) over (
                           partition by r.tenant_id, r.recipient_id, n.channel order by n.run
                           rows between unbounded preceding and 1 preceding), 0) as before
                  from (select n.run, n.channel, n.budget, min(n.room) as room, count(*) as many
                          from unnest(d_run, d_channel, d_budget, d_room) n(run, channel, budget, room)
                         where n.budget is not null and n.run = any(v_passed)
                         group by n.run, n.channel, n.budget) n
                 cross join lateral (
                    select r.tenant_id, r.recipient_id, r.shard from chimeway.workflow_runs r
                     where r.id = n.run offset 0) r
                 cross join lateral (
                    select b.revision from chimeway.send_budgets b
                     where b.tenant_id = r.tenant_id and b.recipient_id = r.recipient_id and b.channel = n.channel
                       and b.shard = r.shard offset 0) b
                 where b.revision = n.budget) k
             where k.before < k.room));
    end if;

    -- (4) write what passed
    if v_passed <> '{}' then
        insert into chimeway.workflow_transitions (run_id, shard, seq, decision_id, reason, from_state, to_state,
                from_step, to_step, visit, status_reason, context, signal_id, signal_type, inputs, snapshot, at)
        select g.id, g.shard, g.many + t.pos, g.decision, t.reason, t.from_state, t.to_state,
               t.from_step, t.to_step, t.visit, t.status_reason, t.context, t.signal_id, t.signal_type,
               case when t.pos = 1 then g.inputs end,
               case when t.reason = 'reactivated_from_wait' then v_seen end, v_clock
          from unnest(t_run, t_pos, t_reason, t_from_state, t_to_state, t_from_step, t_to_step, t_visit,
                      t_status_reason, t_context, t_signal_id, t_signal_type)
               t(run, pos, reason, from_state, to_state, from_step, to_step, visit, status_reason, context,
                 signal_id, signal_type)
          join unnest(v_passed, v_shard, v_count, v_decision, v_inputs) g(id, shard, many, decision, inputs)
            on g.id = t.run;

        update chimeway.workflow_runs r
           set revision = r.revision + 1, parked = false,  -- its workflow goes on: nothing is decided in a pause
               transition_count = r.transition_count + coalesce(n.many, 0),
               mailbox_seen = p.mailbox, state = p.state,
               step = p.step, visit = p.visit, status_reason = p.status_reason, status_context = p.context,
               pending_signals = p.pending::text[], wake_at = p.wake_at, entered_at = p.entered_at,
               armed_step = p.armed_step, armed_entered_at = p.armed_entered_at,
               held_reason = p.held_reason, held_at = case when p.held_reason is not null then v_clock end,
               ended_at = case when p.state = 'completed' then v_clock end
          from unnest(v_passed, v_shard) g(id, shard)
          join unnest(p_run, p_mailbox, p_state, p_step, p_visit, p_status_reason, p_context, p_pending, p_wake_at,
                      p_entered_at, p_armed_step, p_armed_entered_at, p_held_reason)
               p(id, mailbox, state, step, visit, status_reason, context, pending, wake_at, entered_at, armed_step,
                 armed_entered_at, held_reason) on p.id = g.id
          left join (select t.run, max(t.pos) as many from unnest(t_run, t_pos) t(run, pos) group by t.run) n
            on n.run = g.id
         where r.id = g.id and r.shard = g.shard and p.state <> 'stopped';  -- those stop_runs ends

        if array_remove(p_consumed, '{}') <> '{}' then
            update chimeway.run_mailbox b set consumed_by = p.decision
              from unnest(v_passed, v_shard) g(id, shard)
              join unnest(p_run, p_decision, p_consumed) p(id, decision, consumed) on p.id = g.id
             where p.consumed <> '{}' and b.run_id = g.id and b.number = any(p.consumed::int[]) and b.shard = g.shard
               and b.consumed_by is null;
        end if;

        if c_run <> '{}' then
            update chimeway.deliveries d
               set status = 'cancelled', suppression_reason = c.reason, terminal_at = v_clock, next_attempt_at = null,
                   deferred_reason = null, revision = d.revision + 1
              from unnest(c_run, c_visit, c_reason) c(run, visit, reason)
             where c.run = any(v_passed) and d.run_id = c.run and d.visit = c.visit
               and d.status not in ('succeeded','suppressed','cancelled');
        end if;
    end if;

    if v_passed <> '{}' and d_id <> '{}' then
        insert into chimeway.deliveries (id, shard, run_id, visit, step_id, tenant_id, recipient_id, channel, render_key,
                status, suppression_reason, next_attempt_at, last_error_class, note, created_at, terminal_at,
                deferred_reason)
        select n.id, g.shard, g.id, n.visit, n.step, g.tenant_id, g.recipient_id, n.channel, n.render_key, n.status,
               case when n.status <> 'deferred' then n.reason end,
               case n.status when 'pending' then v_clock when 'deferred' then n.until end, n.error_class, n.note, v_clock,
               n.terminal_at, case when n.status = 'deferred' then n.reason end
          from unnest(d_id, d_run, d_visit, d_step, d_channel, d_render_key, d_status, d_reason, d_error_class, d_note,
                      d_terminal_at, d_until)
               n(id, run, visit, step, channel, render_key, status, reason, error_class, note, terminal_at, until)
          join unnest(v_passed, v_shard, v_tenant, v_recipient) g(id, shard, tenant_id, recipient_id) on g.id = n.run;
        if array_remove(d_verdict, null) <> '{}' then
            insert into chimeway.delivery_verdicts (delivery_id, shard, number, stage, verdict, reason, until, inputs, at)
            select n.id, g.shard, 1, 'planned', n.verdict, n.reason, n.until, n.inputs, v_clock
              from unnest(d_id, d_run, d_verdict, d_verdict_reason, d_until, d_verdict_inputs)
                   n(id, run, verdict, reason, until, inputs)
              join unnest(v_passed, v_shard) g(id, shard) on g.id = n.run
             where n.verdict is not null;
        end if;
        if v_budgets then
            for v_key in
                select g.tenant_id, g.recipient_id, n.channel, g.shard, array_agg(v_clock) as sent, max(n.keep) as keep
                  from unnest(d_run, d_channel, d_budget, d_keep) n(run, channel, budget, keep)
                  join unnest(v_passed, v_shard, v_tenant, v_recipient) g(id, shard, tenant_id, recipient_id)
                    on g.id = n.run
                 where n.budget is not null
                 group by g.tenant_id, g.recipient_id, n.channel, g.shard
            loop
                perform chimeway.count_sends(
                    v_key.tenant_id, v_key.recipient_id, v_key.channel, v_key.shard, v_key.sent, v_key.keep);
            end loop;
        end if;
        if array_remove(d_body, null) <> '{}' then
            insert into chimeway.inbox_items (id, shard, tenant_id, recipient_id, run_id, render_key, subject, body,
                    created_at)
            select n.id, g.shard, g.tenant_id, g.recipient_id, g.id, n.render_key, n.subject, n.body, v_clock
              from unnest(d_id, d_run, d_render_key, d_subject, d_body) with ordinality
                   n(id, run, render_key, subject, body, place)
              join unnest(v_passed, v_shard, v_tenant, v_recipient) g(id, shard, tenant_id, recipient_id) on g.id = n.run
             where n.body is not null
             order by n.place;  -- arrival numbers follow the order in which they were planned
            if found and exists (select from chimeway.inbox_watched) then
                perform chimeway.tell_inboxes(array_agg(g.tenant_id), array_agg(g.recipient_id))
                   from unnest(d_run, d_body) n(run, body)
                   join unnest(v_passed, v_tenant, v_recipient) g(id, tenant_id, recipient_id) on g.id = n.run
                  where n.body is not null;
            end if;
        end if;
    end if;

    if 'stopped' = any(p_state) then
        perform 1 from (
            select array_agg(g.id order by g.id) as ids, array_agg(g.decision order by g.id) as decisions,
                   array_agg('stopped'::text) as states, array_agg('workflow_stopped'::text) as reasons,
                   array_agg(p.status_reason order by g.id) as status_reasons,
                   array_agg(p.context order by g.id) as contexts, array_agg(null::text) as notes,
                   array_agg(case when n.many is null then g.inputs end order by g.id) as inputs,
                   array_agg(coalesce(n.last_state, g.state) order by g.id) as from_states,
                   array_agg(p.step order by g.id) as steps, array_agg(p.visit order by g.id) as visits,
                   array_agg(p.entered_at order by g.id) as entered, array_agg(p.mailbox order by g.id) as mailboxes,
                   array_agg(n.many order by g.id) as written
              from unnest(v_passed, v_state, v_decision, v_inputs) g(id, state, decision, inputs)
              join unnest(p_run, p_state, p_status_reason, p_context, p_step, p_visit, p_entered_at, p_mailbox)
                   p(id, state, status_reason, context, step, visit, entered_at, mailbox) on p.id = g.id
              left join (select t.run, max(t.pos) as many, (array_agg(t.to_state order by t.pos desc))[1] as last_state
                           from unnest(t_run, t_pos, t_to_state) t(run, pos, to_state) group by t.run) n on n.run = g.id
             where p.state = 'stopped') s,
            chimeway.stop_runs(s.ids, s.decisions, s.states, s.reasons, s.status_reasons, s.contexts, s.notes,
                s.inputs, 'run_stopped', s.from_states, s.steps, s.visits, s.entered, s.mailboxes, s.written)
         where s.ids is not null;
    end if;

    -- A writer without a lease is nobody's node: whoever sends and keeps time must be told.
    if p_owner is null and v_passed <> '{}' then perform chimeway.hint(); end if;

    if cardinality(v_passed) = cardinality(p_run) then
        return query select p.id, 'applied' from unnest(p_run) p(id);
        return;
    end if;
    return query
    select p.id, case
            when p.id = any(v_passed) then 'applied'
            when r.id is null then 'gone'
            when not p.id = any(v_locked) or p.id = any(v_changing) then 'busy'
            when p.now > v_clock + interval '50 milliseconds' then 'refused'
            when exists (select from chimeway.workflow_transitions t
                          where t.run_id = p.id and t.decision_id = p.decision offset 0) then 'applied'
            else 'stale' end
      from unnest(p_run, p_decision, p_now) p(id, decision, now)
      left join lateral (select r.id from chimeway.workflow_runs r where r.id = p.id offset 0) r on true;
end $$;

-- Makes attempts durable before their providers are called, through the same door as a decision:
-- lock, route, refuse when the mailbox holds what the caller had not seen, write.
-- p_profile and p_tenant: by which versions of the recipient's and the tenant's rows policy judged (null: it did
-- not). p_budget: the revision of the budget that was counted by, where a cap is set (0: there was none); the
-- first attempt of a delivery is then counted, p_room is how many more there was a place for, and p_keep how many
-- sends are remembered. p_verdict: why policy let it go, where there was anything to judge.
-- Answers: begun (with its number) | unseen | stale | busy | gone.
create or replace function chimeway.begin_attempts(
    p_owner uuid, p_epoch bigint, p_node uuid,
    p_delivery uuid[], p_run uuid[], p_revision bigint[], p_mailbox int[], p_address text[], p_message jsonb[],
    p_provider text[], p_profile bigint[], p_tenant bigint[], p_budget bigint[], p_room int[], p_keep int[],
    p_verdict jsonb[]
) returns table (delivery_id uuid, answer text, attempt_no int)
language plpgsql set enable_seqscan = off
set jit = off set plan_cache_mode = force_generic_plan as $$
#variable_conflict use_column
declare
    v_locked  uuid[];
    v_passed  uuid[];
    v_counted uuid[] := '{}';
    v_seen    pg_snapshot;
    v_clock   timestamptz;
    v_key     record;
begin
    perform chimeway.check_ledger(p_owner, p_epoch);
    v_locked := chimeway.lock_deliveries(p_run, p_delivery);
    if array_remove(p_budget, null) <> '{}' then
        perform chimeway.lock_budget(k.tenant_id, k.recipient_id, k.channel, k.shard) from (
            select distinct d.tenant_id, d.recipient_id, d.channel, d.shard
              from unnest(p_delivery, p_budget) p(id, budget)
             cross join lateral (
                select d.tenant_id, d.recipient_id, d.channel, d.shard, d.run_id, d.attempt_count
                  from chimeway.deliveries d where d.id = p.id offset 0) d
             where p.budget is not null and d.attempt_count = 0 and d.run_id = any(v_locked)
             order by d.tenant_id, d.recipient_id, d.channel offset 0) k;
    end if;
    v_seen := chimeway.route_for_runs(v_locked);
    v_clock := chimeway.clock();
    select coalesce(array_agg(x.id), '{}'), coalesce(array_agg(x.id) filter (where x.counts), '{}')
      into v_passed, v_counted from (
        select d.id, k.counts, p.room,
               -- Of several that counted by one revision the oldest go, as many as there is room for.
               case when k.counts then row_number() over (
                   partition by d.tenant_id, d.recipient_id, d.channel, k.counts order by d.created_at, d.id) end as place
          from unnest(p_delivery, p_revision, p_mailbox, p_profile, p_tenant, p_budget, p_room)
               p(id, revision, mailbox, profile, tenant, budget, room)
         cross join lateral (
            select d.id, d.shard, d.run_id, d.status, d.revision, d.attempt_count, d.tenant_id, d.recipient_id,
                   d.channel, d.created_at
              from chimeway.deliveries d where d.id = p.id offset 0) d
         cross join lateral (select p.budget is not null and d.attempt_count = 0 as counts) k
         cross join lateral (
            select r.state, r.held_reason, r.mailbox_count, r.mailbox_seen, r.workflow_key, r.workflow_version
              from chimeway.workflow_runs r where r.id = d.run_id and r.shard = d.shard offset 0) r
          join chimeway.workflow_definitions w on w.key = r.workflow_key and w.version = r.workflow_version
          left join lateral (
            select c.xmin::text::bigint as version from chimeway.recipients c
             where p.profile is not null and c.tenant_id = d.tenant_id and c.recipient_id = d.recipient_id
               and c.shard = d.shard offset 0) c on true
          left join lateral (
            select t.xmin::text::bigint as version from chimeway.tenants t
             where p.profile is not null and t.tenant_id = d.tenant_id offset 0) t on true
         where d.run_id = any(v_locked) and d.status in ('pending','failed','deferred') and d.revision = p.revision
           and r.held_reason is null
           -- While a workflow is paused nobody listens: a retry may go on unless something was said since.
           and (w.paused_at is null or (d.attempt_count > 0 and r.mailbox_count = r.mailbox_seen))
           and (r.state not in ('active','waiting') or r.mailbox_count = p.mailbox)
           and (p.profile is null or (p.profile = coalesce(c.version, 0) and p.tenant = coalesce(t.version, 0)))
           and case when k.counts then p.budget = (
                        select b.revision from chimeway.send_budgets b
                         where (b.tenant_id, b.recipient_id, b.channel, b.shard)
                               = (d.tenant_id, d.recipient_id, d.channel, d.shard))
                    else true end) x
     where x.place is null or x.place <= x.room;

    insert into chimeway.delivery_attempts (delivery_id, shard, attempt_no, run_id, node, snapshot, started_at,
            provider)
    select d.id, d.shard, d.attempt_count + 1, d.run_id, p_node, v_seen, v_clock, p.provider
      from unnest(p_delivery, p_provider) p(id, provider)
     cross join lateral (
        select d.id, d.shard, d.run_id, d.attempt_count from chimeway.deliveries d where d.id = p.id offset 0) d
     where d.id = any(v_passed);
    if array_remove(p_verdict, null) <> '{}' then
        insert into chimeway.delivery_verdicts (delivery_id, shard, number, stage, verdict, inputs, at)
        select d.id, d.shard, chimeway.next_verdict(d.id, d.shard), 'before_send', 'send', p.inputs, v_clock
          from unnest(p_delivery, p_verdict) p(id, inputs)
         cross join lateral (select d.id, d.shard from chimeway.deliveries d where d.id = p.id offset 0) d
         where d.id = any(v_passed) and p.inputs is not null;
    end if;
    update chimeway.deliveries d
       set status = 'dispatched', attempt_count = d.attempt_count + 1, revision = d.revision + 1,
           next_attempt_at = null, deferred_reason = null,
           address = coalesce(d.address, p.address), message = coalesce(d.message, p.message)
      from unnest(p_delivery, p_address, p_message) p(id, address, message)
     where d.id = p.id and d.id = any(v_passed);
    for v_key in
        select d.tenant_id, d.recipient_id, d.channel, d.shard, p.keep from unnest(p_delivery, p_keep) p(id, keep)
         cross join lateral (
            select d.tenant_id, d.recipient_id, d.channel, d.shard from chimeway.deliveries d
             where d.id = p.id offset 0) d
         where p.id = any(v_counted)
    loop
        perform chimeway.count_sends(
            v_key.tenant_id, v_key.recipient_id, v_key.channel, v_key.shard, array[v_clock], v_key.keep);
    end loop;

    return query
    select p.id, case
            when p.id = any(v_passed) then 'begun'
            when d.id is null then 'gone'
            when not d.run_id = any(v_locked) then 'busy'
            when d.status in ('pending','failed','deferred') and d.revision = p.revision
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

-- Records what became of attempts (attempt_no null: of a delivery that never reached a provider, such
-- as one whose template is at fault), and wakes runs that can now move.
-- p_status: succeeded | failed | cancelled | suppressed. Answers: applied | repeat | busy | gone.
create or replace function chimeway.record_results(
    p_delivery uuid[], p_run uuid[], p_attempt int[], p_outcome text[], p_error_class text[], p_note text[],
    p_reference text[], p_status text[], p_reason text[], p_next_attempt_at timestamptz[], p_nudge boolean[]
) returns table (delivery_id uuid, answer text, nudged boolean)
language plpgsql set enable_seqscan = off
set jit = off set plan_cache_mode = force_generic_plan as $$
#variable_conflict use_column
declare
    v_locked uuid[];
    v_gone   uuid[];    -- runs whose recipient was forgotten: what was said of their calls may name him
    v_fresh  uuid[];
    v_woken  uuid[];
    v_moving uuid[];
    v_clock  timestamptz;
begin
    select coalesce(array_agg(l.id), '{}'), coalesce(array_agg(l.id) filter (where l.forgotten_at is not null), '{}')
      into v_locked, v_gone from (
        select r.id, r.forgotten_at from chimeway.workflow_runs r
         where r.id = any(p_run) order by r.id for update skip locked) l;  -- the newest version, since it is locked
    perform 1 from (
        select d.id from chimeway.deliveries d
         where d.id = any(p_delivery) and d.run_id = any(v_locked) order by d.id for no key update) l;
    v_clock := chimeway.clock();

    with new as (
        insert into chimeway.delivery_attempt_results (delivery_id, shard, attempt_no, outcome, error_class, note,
                provider_reference, finished_at)
        select d.id, d.shard, p.attempt, p.outcome, p.error_class,
               case when not d.run_id = any(v_gone) then left(p.note, 1000) end,
               case when not d.run_id = any(v_gone) then p.reference end, v_clock
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
         where p.attempt is null and d.run_id = any(v_locked) and d.status in ('pending','failed','deferred')) x;

    update chimeway.deliveries d
       set last_outcome = coalesce(p.outcome, d.last_outcome), last_error_class = p.error_class,
           note = case when not d.run_id = any(v_gone) then left(p.note, 1000) end,
           failed_count = d.failed_count + case when p.outcome in ('failed','unknown') then 1 else 0 end,
           status = case when d.status in ('succeeded','suppressed','cancelled') then d.status
                         when p.status = 'succeeded' then 'succeeded'
                         when d.stop_requested then 'cancelled' else p.status end,
           suppression_reason = case when d.status in ('succeeded','suppressed','cancelled') then d.suppression_reason
                         when p.status = 'succeeded' then null
                         when d.stop_requested and d.run_id = any(v_gone) then 'recipient_forgotten'
                         when d.stop_requested then 'run_stopped' else p.reason end,
           terminal_at = case when d.terminal_at is not null then d.terminal_at
                         when p.status = 'failed' and not d.stop_requested then null else v_clock end,
           next_attempt_at = case when d.status not in ('succeeded','suppressed','cancelled')
                         and p.status = 'failed' and not d.stop_requested then p.next_attempt_at end,
           deferred_reason = null, revision = d.revision + 1
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

-- What is due in some shards of the next tenants behind p_after, the oldest p_rows of each, whoever has how many: from
-- tenant to tenant by the index. Looks at p_looks tenants at most, whether anything of theirs is due or not, and at
-- p_tenants that have something, but for those in p_not. The last row says behind whom to go on (null: all had
-- their turn). p_entered: 0 for runs that no step was entered in yet, 1 for the others.
-- (Sorting is off because the planner, without fresh statistics, would rather sort a whole backlog.)
create or replace function chimeway.due_runs_in_turn(
    p_entered int, p_after text, p_looks int, p_tenants int, p_until timestamptz, p_rows int, p_not text[],
    p_shards smallint[]
) returns table (id uuid, wake_at timestamptz, tenant_id text, paused boolean)
language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off set enable_incremental_sort = off
set jit = off set plan_cache_mode = force_generic_plan as $$
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
          from (select l.id, l.wake_at, l.workflow_key, l.workflow_version from (
                    select r.id, r.shard, r.wake_at, r.workflow_key, r.workflow_version from chimeway.workflow_runs r
                     where least(r.visit, 1) = p_entered and r.tenant_id = v_tenant and r.wake_at <= p_until
                       and r.wake_at is not null and r.held_reason is null and r.waiting_for_node is null
                       and not r.parked
                     order by least(r.visit, 1), r.tenant_id, r.wake_at, r.id
                     limit chimeway.rows_for(p_rows, p_shards)) l
                 where l.shard = any(p_shards) limit p_rows) q
          join chimeway.workflow_definitions w on w.key = q.workflow_key and w.version = q.workflow_version;
        continue when not found;
        v_found := v_found + 1;
        exit when v_found = p_tenants;
    end loop;
    return query select null::uuid, null::timestamptz, v_tenant, false;
end $$;

-- The same of deliveries, channel by channel: a line is a tenant's on one channel. Channels in p_not are jumped
-- over, however much waits for them; so are the lines that p_full_channel and p_full_tenant name.
create or replace function chimeway.due_deliveries_in_turn(
    p_channel text, p_after text, p_looks int, p_lines int, p_until timestamptz, p_rows int, p_not text[],
    p_full_channel text[], p_full_tenant text[], p_shards smallint[]
) returns table (id uuid, next_attempt_at timestamptz, channel text, tenant_id text, allowed boolean)
language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off set enable_incremental_sort = off
set jit = off set plan_cache_mode = force_generic_plan as $$
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
          from (select l.* from (
                    select d.id, d.next_attempt_at, d.shard, d.run_id, d.attempt_count from chimeway.deliveries d
                     where d.channel = v_channel and d.tenant_id = v_tenant and d.next_attempt_at <= p_until
                       and d.next_attempt_at is not null and d.waiting_for_node is null
                     order by d.channel, d.tenant_id, d.next_attempt_at, d.id
                     limit chimeway.rows_for(p_rows, p_shards)) l
                 where l.shard = any(p_shards) limit p_rows) q
          join chimeway.workflow_runs r on r.id = q.run_id and r.shard = q.shard
          join chimeway.workflow_definitions w on w.key = r.workflow_key and w.version = r.workflow_version;
        continue when not found;
        v_found := v_found + 1;
        exit when v_found = p_lines;
    end loop;
    return query select null::uuid, null::timestamptz, v_channel, v_tenant, false;
end $$;

-- Locks runs that nobody else has locked, in id order, then those of the deliveries that are theirs. What is looked at
-- in later statements is younger than these locks. Returns the runs.
create or replace function chimeway.lock_deliveries(p_run uuid[], p_delivery uuid[]) returns uuid[]
language plpgsql set enable_seqscan = off
set jit = off set plan_cache_mode = force_generic_plan as $$
declare v_locked uuid[];
begin
    select coalesce(array_agg(l.id), '{}') into v_locked from (
        select r.id from chimeway.workflow_runs r where r.id = any(p_run) order by r.id for update skip locked) l;
    perform 1 from (
        select d.id from chimeway.deliveries d
         where d.id = any(p_delivery) and d.run_id = any(v_locked) order by d.id for no key update) l;
    return v_locked;
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
