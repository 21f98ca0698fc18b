-- Web: tokens, what was answered to requests that may be sent again, and what operators did.
-- serves from: 5

create index concurrently if not exists workflow_runs_held on chimeway.workflow_runs (id) where held_reason is not null;

-- transaction

-- ── what is asked by HTTP ──

-- Tokens by which programs ask a node by HTTP. Of a secret only its SHA-256 is kept: it is 256 bits of chance, which
-- nobody guesses, so there is nothing to salt or to slow down.
create table chimeway.api_tokens (
    id            uuid        primary key default gen_random_uuid(),
    name          text        not null check (length(name) between 1 and 100),
    secret_digest bytea       not null unique check (length(secret_digest) = 32),
    tenant_id     text        check (length(tenant_id) between 1 and 255),   -- null: those of all tenants
    scopes        text[]      not null check (cardinality(scopes) > 0 and scopes <@ '{produce,read,operate}'),
    made_at       timestamptz not null default chimeway.clock(),
    made_by       text        not null default session_user,
    expires_at    timestamptz,
    revoked_at    timestamptz,
    revoked_by    text,
    last_used_on  date                               -- in UTC, so that a token is written once a day
);

-- What was answered to requests that bear an Idempotency-Key, written in the transaction of what they did: where there
-- is no row nothing was done. The answer to a person who was forgotten is emptied; its key goes on to hold.
create table chimeway.request_answers (
    token_id    uuid        not null,
    key_digest  bytea       not null,                -- of tenant and key
    tenant_id   text        not null,
    fingerprint bytea,                               -- of method, path and body; null: forgotten
    status      smallint    not null,
    answer      text,                                -- null: forgotten
    about       text[]      not null default '{}',   -- recipients that request and answer name
    created_at  timestamptz not null default chimeway.clock(),
    primary key (token_id, key_digest)
);
create index request_answers_about on chimeway.request_answers using gin (about);
create index request_answers_old on chimeway.request_answers (created_at);

-- What operators did by HTTP, written in the transaction of what they did: who, when, to what, and why.
create table chimeway.operator_actions (
    id           uuid        primary key default gen_random_uuid(),
    at           timestamptz not null default chimeway.clock(),
    who          text        not null,               -- a token's name
    token_id     uuid,
    action       text        not null,               -- such as 'cancel'
    tenant_id    text,                               -- null: what is of no tenant, such as a workflow
    run_id       uuid,
    delivery_id  uuid,
    workflow_key text,
    note         text
);
create index operator_actions_of_run on chimeway.operator_actions (run_id) where run_id is not null;
create index operator_actions_at on chimeway.operator_actions (at, id);

-- Who has signed in to the operators' pages. Of a cookie only its SHA-256 is kept; it holds while its token does.
create table chimeway.console_sessions (
    digest   bytea       primary key check (length(digest) = 32),
    token_id uuid        not null references chimeway.api_tokens (id) on delete cascade,
    began_at timestamptz not null default clock_timestamp(),
    ends_at  timestamptz not null
);
create index console_sessions_ended on chimeway.console_sessions (ends_at);

-- What an operator is about to do to many runs: to which, each as it was when they were counted.
create table chimeway.operator_plans (
    id        uuid        primary key default gen_random_uuid(),
    token_id  uuid        not null,
    action    text        not null check (action in ('cancel','wake','retime')),
    tenant_id text,                                 -- null: of all tenants
    chosen    jsonb       not null,                 -- by what the runs were chosen: ids, enum words, instants; nobody's name
    retimed   jsonb       not null default '{}',    -- where to, or by how much
    run_ids   uuid[]      not null,
    revisions bigint[]    not null,
    more      boolean     not null,                 -- there were more than a plan takes
    made_at   timestamptz not null default clock_timestamp(),
    begun_at  timestamptz,
    done      int         not null default 0,       -- how many of the runs, from the first, were seen to
    outcome   jsonb       not null default '{}'     -- what became of these: outcome → number
);
create index operator_plans_made on chimeway.operator_plans (made_at);

-- ── retention ──

alter table chimeway.pruning drop constraint pruning_part_check,
    add constraint pruning_part_check check (part in ('bodies','runs','events','signals','answers'));
insert into chimeway.pruning (part) values ('answers');

-- What was answered to requests with an Idempotency-Key more than `keep` ago.
create or replace function chimeway.prune_answers(
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
        select count(*) into n from chimeway.request_answers a
         where a.created_at < v_cut and (prune_answers.tenant_id is null or a.tenant_id = prune_answers.tenant_id);
    else
        with old as materialized (
            select a.token_id, a.key_digest from chimeway.request_answers a
             where a.created_at < v_cut and (prune_answers.tenant_id is null or a.tenant_id = prune_answers.tenant_id)
             order by a.created_at limit at_most for update skip locked
        ), gone as (
            delete from chimeway.request_answers a using old
             where a.token_id = old.token_id and a.key_digest = old.key_digest returning a.created_at
        )
        select count(*), max(g.created_at) into n, last_at from gone g;
        more := n = at_most;
    end if;
    removed := jsonb_build_object('request_answers', n);
    return next;
end $$;

-- Runs that ended more than `keep` ago, with all their rows. Their event leaves with the last of its runs, if it has no
-- key or is older than keep_keys; else its key stays, without data and names. Signals leave with the last mailbox that
-- names them, if they are routed and older than keep_signals.
create or replace function chimeway.prune_runs(
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
    update chimeway.operator_actions o set note = null where o.run_id = any(v_runs) and o.note is not null;
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

-- A batch of what nodes prune by themselves: of one part, behind the place where the last batch ended, whoever made it.
-- One at a time: who finds another at it is told `busy`. Once a day a pass begins at the beginning (of signals: as often
-- as they are kept for), for what was locked or not at its end. (Places, because rows that are deleted stay in an index
-- until they are vacuumed: each batch that began at the beginning would go through all of them, and beside a
-- forgotten transaction they stay for as long as it does.)
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
    end case;
    if found.last_id is not null or here.began_at = now_ then
        update chimeway.pruning p
           set place_at = coalesce(found.last_at, here.place_at), place = coalesce(found.last_id, here.place),
               began_at = here.began_at, moved_at = now_
         where p.part = prune_next.part;
    end if;
    return query select false, found.more, now_ - keep - found.last_at, found.removed;
end $$;

-- ── forgetting ──

-- Forgets a recipient: ends live runs, cancels what is not sent, and leaves of the person nothing but what the audit
-- needs, under another name. See docs/design.md, "Forgetting", for what becomes of each column and why. Waits for
-- runs that somebody has locked, in the order of all who do. What is committed after it began is of somebody new.
create or replace function chimeway.forget_recipient(tenant_id text default 'default', recipient_id text default null)
returns table (known boolean, runs_cancelled int, deliveries_cancelled int, on_their_way int, rows_erased bigint)
language plpgsql security definer set search_path = chimeway, pg_temp set enable_seqscan = off as $$
#variable_conflict use_column
declare
    now_     timestamptz := chimeway.clock();
    nobody   text;
    v_shard  smallint;
    v_runs   uuid[];
    v_live   uuid[];
    v_sent   uuid[];    -- their deliveries
    v_events uuid[];
    v_said   uuid[];    -- what he said: his signals
    v_free   uuid[];    -- those that nobody is taking up
    v_rows   bigint;
    v_switch text := coalesce(current_setting('chimeway.retention', true), '');
begin
    perform chimeway.check_id('tenant_id', tenant_id);
    perform chimeway.check_id('recipient_id', recipient_id);
    if current_setting('transaction_isolation') <> 'read committed' then
        perform chimeway.refuse('invalid_input', 'CW001', 'forget_recipient was called in a transaction that is '
            || current_setting('transaction_isolation'),
            'it needs READ COMMITTED: what others wrote while it waited must go, too');
    end if;
    v_shard := chimeway.shard_of(tenant_id, recipient_id);
    loop  -- a name of another shard: whoever uses it as an id finds nothing under it
        nobody := 'forgotten-' || gen_random_uuid();
        exit when chimeway.shard_of(tenant_id, nobody) <> v_shard;
    end loop;
    rows_erased := 0;

    -- (1) lock: runs, then their deliveries; what follows has younger snapshots
    v_runs := array(
        select r.id from chimeway.workflow_runs r
         where r.tenant_id = forget_recipient.tenant_id and r.recipient_id = forget_recipient.recipient_id
           and r.shard = v_shard and r.state in ('active','waiting')
        union all
        select r.id from chimeway.workflow_runs r
         where r.tenant_id = forget_recipient.tenant_id and r.recipient_id = forget_recipient.recipient_id
           and r.shard = v_shard and r.ended_at is not null);
    select coalesce(array_agg(l.id), '{}'), coalesce(array_agg(l.id) filter (where l.state in ('active','waiting')), '{}')
      into v_runs, v_live from (
        select r.id, r.state from chimeway.workflow_runs r
         where r.id = any(v_runs) and r.recipient_id = forget_recipient.recipient_id order by r.id for update) l;
    select coalesce(array_agg(l.id), '{}') into v_sent from (
        select d.id from chimeway.deliveries d where d.run_id = any(v_runs) order by d.id for update) l;
    v_events := array(select distinct r.event_id from chimeway.workflow_runs r where r.id = any(v_runs));
    perform 1 from (select e.id from chimeway.events e where e.id = any(v_events) order by e.id for update) l;

    -- (2) end what lives, call back what is not sent
    runs_cancelled := cardinality(v_live);
    select coalesce(sum(cardinality(s.cancelled)), 0) into deliveries_cancelled
      from chimeway.stop_run(v_live, array(select gen_random_uuid() from unnest(v_live)),
            array_fill('stopped'::text, array[cardinality(v_live)]),
            array_fill('recipient_forgotten'::text, array[cardinality(v_live)]),
            array_fill('recipient_forgotten'::text, array[cardinality(v_live)]),
            array_fill('{}'::jsonb, array[cardinality(v_live)]),
            array_fill(null::text, array[cardinality(v_live)]),
            array_fill(null::jsonb, array[cardinality(v_live)]), 'recipient_forgotten') s;
    update chimeway.deliveries d  -- of runs that had completed: they left their retries alone
       set status = 'cancelled', suppression_reason = 'recipient_forgotten', terminal_at = now_, next_attempt_at = null,
           deferred_reason = null
     where d.id = any(v_sent) and d.status in ('pending','deferred','digested','failed');
    get diagnostics v_rows = row_count;
    deliveries_cancelled := deliveries_cancelled + v_rows;
    select count(*) into on_their_way from chimeway.deliveries d where d.id = any(v_sent) and d.status = 'dispatched';

    -- (3) another name, and no words
    update chimeway.deliveries d
       set recipient_id = nobody, address = null, message = null, note = null, waiting_for_node = null,
           stop_requested = d.stop_requested or d.status = 'dispatched', revision = d.revision + 1
     where d.id = any(v_sent);
    get diagnostics v_rows = row_count; rows_erased := rows_erased + v_rows;
    perform set_config('chimeway.retention', 'on', true);  -- a refusal below takes it back with everything else
    update chimeway.delivery_attempt_results x set note = null, provider_reference = null
     where x.delivery_id = any(v_sent) and (x.note is not null or x.provider_reference is not null);
    get diagnostics v_rows = row_count; rows_erased := rows_erased + v_rows;
    update chimeway.delivery_feedback f
       set detail = null, event_id = chimeway.digest_of(forget_recipient.tenant_id, f.event_id)
     where f.delivery_id = any(v_sent);
    get diagnostics v_rows = row_count; rows_erased := rows_erased + v_rows;
    update chimeway.delivery_verdicts v set inputs = '{}' where v.delivery_id = any(v_sent) and v.inputs <> '{}';
    get diagnostics v_rows = row_count; rows_erased := rows_erased + v_rows;
    update chimeway.workflow_transitions t  -- a note is free text; before it may stand why a run was held
       set note = substring(t.note from '^(poison_decision|three_strikes|too_many_steps|held_by_request)')
     where t.run_id = any(v_runs) and t.note is not null;
    get diagnostics v_rows = row_count; rows_erased := rows_erased + v_rows;
    perform set_config('chimeway.retention', v_switch, true);
    update chimeway.workflow_runs r
       set recipient_id = nobody, cancellation_key = null, forgotten_at = now_, revision = r.revision + 1
     where r.id = any(v_runs);
    get diagnostics v_rows = row_count; rows_erased := rows_erased + v_rows;
    update chimeway.events e
       set recipient_ids = array_replace(e.recipient_ids, forget_recipient.recipient_id, nobody),
           forgotten = e.forgotten + 1,
           idempotency_key = case when e.forgotten > 0 then e.idempotency_key
                when not exists (  -- or somebody has used the digest itself as a key: he is found by this one, too
                    select from chimeway.events o where o.tenant_id = e.tenant_id and o.shard = e.shard
                       and o.idempotency_key = chimeway.digest_of(e.tenant_id, e.idempotency_key))
                then chimeway.digest_of(e.tenant_id, e.idempotency_key) end,
           data = case when e.forgotten + 1 = cardinality(e.recipient_ids) then '{}' else e.data end,
           data_digest = case when e.forgotten + 1 = cardinality(e.recipient_ids) then '' else e.data_digest end
     where e.id = any(v_events) and e.tenant_id = forget_recipient.tenant_id
       and forget_recipient.recipient_id = any(e.recipient_ids);
    get diagnostics v_rows = row_count; rows_erased := rows_erased + v_rows;

    -- (4) the inbox before the signals: who marks an item holds its lock, and says so in a signal. Items and budgets are
    -- locked first, in the order of who locks several of them (put_marks, lock_budget): a delete takes them as they lie.
    perform 1 from (select i.id from chimeway.inbox_items i where i.id = any(v_sent) order by i.id for update) l;
    delete from chimeway.inbox_items i where i.id = any(v_sent);
    get diagnostics v_rows = row_count; rows_erased := rows_erased + v_rows;
    perform 1 from (
        select b.channel from chimeway.send_budgets b
         where b.tenant_id = forget_recipient.tenant_id and b.recipient_id = forget_recipient.recipient_id
           and b.shard = v_shard order by b.channel for update) l;
    delete from chimeway.send_budgets b
     where b.tenant_id = forget_recipient.tenant_id and b.recipient_id = forget_recipient.recipient_id and b.shard = v_shard;
    get diagnostics v_rows = row_count; rows_erased := rows_erased + v_rows;
    delete from chimeway.recipients p
     where p.tenant_id = forget_recipient.tenant_id and p.recipient_id = forget_recipient.recipient_id and p.shard = v_shard;
    get diagnostics v_rows = row_count; rows_erased := rows_erased + v_rows;

    -- (5) the signals; but for those that mailboxes name, or that a new run is taking up just now: these are emptied.
    -- Behind the lock of who deletes wait those who take up (route_for_runs), so from there on nothing waits here.
    v_said := array(
        select s.id from chimeway.signals s
         where s.tenant_id = forget_recipient.tenant_id and s.actor_id = forget_recipient.recipient_id
           and s.shard = v_shard order by s.id for no key update);
    v_said := array(
        select s.id from unnest(v_said) u(id) join chimeway.signals s on s.id = u.id and s.shard = v_shard
         where s.run_id is null or exists (
                select from chimeway.workflow_runs r
                 where r.id = s.run_id and r.shard = s.shard and r.recipient_id = nobody));
    v_free := array(
        select s.id from chimeway.signals s where s.id = any(v_said) and s.shard = v_shard for update skip locked);
    delete from chimeway.signals s where s.id = any(v_free) and s.shard = v_shard and not exists (
        select from chimeway.run_mailbox b where b.signal_id = s.id and b.shard = s.shard);
    get diagnostics v_rows = row_count; rows_erased := rows_erased + v_rows;
    update chimeway.signals s
       set actor_id = nobody, payload = '{}', dedupe_key = null, routed_at = coalesce(s.routed_at, now_)
     where s.id = any(v_said) and s.shard = v_shard;
    get diagnostics v_rows = row_count; rows_erased := rows_erased + v_rows;

    -- (6) what was said by HTTP: the key holds on, so that what is sent again does nothing again
    perform 1 from (
        select a.token_id from chimeway.request_answers a
         where a.tenant_id = forget_recipient.tenant_id and a.about @> array[forget_recipient.recipient_id]
         order by a.token_id, a.key_digest for update) l;
    update chimeway.request_answers a set fingerprint = null, answer = null, about = '{}'
     where a.tenant_id = forget_recipient.tenant_id and a.about @> array[forget_recipient.recipient_id];
    get diagnostics v_rows = row_count; rows_erased := rows_erased + v_rows;
    update chimeway.operator_actions o set note = null where o.run_id = any(v_runs) and o.note is not null;
    get diagnostics v_rows = row_count; rows_erased := rows_erased + v_rows;
    known := rows_erased > 0;
    if known then
        perform chimeway.tell_inboxes(array[tenant_id], array[recipient_id]);
    end if;
    return next;
end $$;

-- ── tokens ──

-- Ends a token; null: there is none of this id. One that was ended before stays as it was.
create or replace function chimeway.revoke_api_token(id uuid, revoked_by text default session_user) returns boolean
language plpgsql security definer set search_path = chimeway, pg_temp as $$
#variable_conflict use_column
begin
    update chimeway.api_tokens t
       set revoked_at = chimeway.clock(), revoked_by = revoke_api_token.revoked_by
     where t.id = revoke_api_token.id and t.revoked_at is null;
    if found then
        return true;
    end if;
    return (select false from chimeway.api_tokens t where t.id = revoke_api_token.id);
end $$;

-- ── what operators do to many runs ──
-- All three: in one transaction, in the order of the ids, waiting for whoever has one locked. A run that is no longer
-- of the revision that was counted is left as it is (`changed`), so what is done is what was shown. A row for each id:
-- `gone` where there is no such run of this tenant (null: of any).

-- Locks runs in their order, and says of each what forbids to do anything to it, if anything does.
create or replace function chimeway.lock_runs(p_runs uuid[], p_revisions bigint[], p_tenant_id text)
returns table (run_id uuid, refusal text)
language plpgsql set enable_seqscan = off as $$
#variable_conflict use_column
begin
    perform 1 from (
        select r.id from chimeway.workflow_runs r
         where r.id = any(p_runs) and (p_tenant_id is null or r.tenant_id = p_tenant_id) order by r.id for update) l;
    return query
    select distinct on (g.id) g.id, case when r.id is null then 'gone'
                      when r.state not in ('active','waiting') then 'ended'
                      when r.revision is distinct from coalesce(g.revision, r.revision) then 'changed' end
      from unnest(p_runs, p_revisions) g(id, revision)
      left join chimeway.workflow_runs r
        on r.id = g.id and r.shard = chimeway.shard_of_id(g.id) and (p_tenant_id is null or r.tenant_id = p_tenant_id);
end $$;

-- Stops runs, as cancel does each: `stopped`, with how many deliveries were cancelled and were on their way.
create or replace function chimeway.cancel_runs(
    p_runs uuid[], p_revisions bigint[] default null, p_tenant_id text default null, p_note text default null
) returns table (run_id uuid, outcome text, cancelled int, on_their_way int)
language plpgsql security definer set search_path = chimeway, pg_temp set enable_seqscan = off as $$
#variable_conflict use_column
declare
    looked jsonb;
    live   uuid[];
begin
    perform chimeway.check_note(p_note);
    select coalesce(jsonb_object_agg(l.run_id, l.refusal), '{}'),
           coalesce(array_agg(l.run_id order by l.run_id) filter (where l.refusal is null), '{}')
      into looked, live from chimeway.lock_runs(p_runs, p_revisions, p_tenant_id) l;
    return query
    select g.id, coalesce(looked ->> g.id::text, 'stopped'), coalesce(cardinality(s.cancelled), 0),
           coalesce(cardinality(s.on_their_way), 0)
      from unnest(p_runs) g(id)
      left join chimeway.stop_run(live,
            (select coalesce(array_agg(gen_random_uuid()), '{}') from unnest(live)),
            array_fill('stopped'::text, array[cardinality(live)]),
            array_fill('cancelled_by_request'::text, array[cardinality(live)]),
            array_fill('cancelled_by_request'::text, array[cardinality(live)]),
            array_fill('{}'::jsonb, array[cardinality(live)]),
            array_fill(p_note, array[cardinality(live)]),
            array_fill(null::jsonb, array[cardinality(live)]), 'run_stopped') s on s.run_id = g.id;
end $$;

-- Has runs evaluated now that ought to move: that are due, wait for a node, or stand on a message that has ended.
-- `woken`; `held`, `paused`: others keep them; `not_due`: it waits on purpose, and to evaluate it would change nothing,
-- while a wake in the past would list it as overdue for ever. Nothing of its journey changes, so no transition is written.
create or replace function chimeway.wake_runs(
    p_runs uuid[], p_revisions bigint[] default null, p_tenant_id text default null
) returns table (run_id uuid, outcome text)
language plpgsql security definer set search_path = chimeway, pg_temp set enable_seqscan = off as $$
#variable_conflict use_column
declare
    now_   timestamptz := chimeway.clock();
    looked jsonb;
begin
    select coalesce(jsonb_object_agg(l.run_id, l.refusal), '{}') into looked
      from chimeway.lock_runs(p_runs, p_revisions, p_tenant_id) l;
    select looked || coalesce(jsonb_object_agg(r.id, case
               when r.held_reason is not null then 'held'
               when w.paused_at is not null then 'paused'
               when r.waiting_for_node is null and coalesce(chimeway.wake_again(r, now_), 'infinity') > now_ then 'not_due'
               end) , '{}') into looked
      from unnest(p_runs) g(id)
      join chimeway.workflow_runs r on r.id = g.id and r.shard = chimeway.shard_of_id(g.id)
      join chimeway.workflow_definitions w on w.key = r.workflow_key and w.version = r.workflow_version
     where looked ->> g.id::text is null;
    update chimeway.workflow_runs r
       set waiting_for_node = null, parked = false, wake_at = chimeway.wake_again(r, now_), revision = r.revision + 1
     where r.id = any(p_runs) and looked ->> r.id::text is null;
    if found then perform chimeway.hint(); end if;
    return query select g.id, coalesce(looked ->> g.id::text, 'woken') from unnest(p_runs) g(id);
end $$;

-- Moves when waits are over: to an instant, or by a span, each; never before now. `retimed`, a transition
-- `wait_retimed`, which bears the context whole with its new `due_at`: what folds and replays it decides by that.
-- `not_waiting`: it stands on a message; `no_time`: it is stuck, and has no time that could be moved by a span.
create or replace function chimeway.retime_runs(
    p_runs uuid[], p_at timestamptz default null, p_by interval default null, p_revisions bigint[] default null,
    p_tenant_id text default null, p_note text default null
) returns table (run_id uuid, outcome text, due_at timestamptz)
language plpgsql security definer set search_path = chimeway, pg_temp set enable_seqscan = off set timezone = 'UTC' as $$
#variable_conflict use_column
declare
    now_   timestamptz := chimeway.clock();
    most   timestamptz := now_ + interval '3653 days';
    looked jsonb;
    moved  uuid[];
begin
    perform chimeway.check_note(p_note);
    if (p_at is null) = (p_by is null) then
        perform chimeway.refuse('invalid_input', 'CW001', 'retime_runs needs p_at or p_by, and not both',
            'p_at => an instant, or p_by => an interval');
    elsif not coalesce(p_at <= most, p_by between interval '-3653 days' and interval '3653 days') then
        perform chimeway.refuse('invalid_input', 'CW001', 'the new time is more than ten years away',
            'give an instant within ten years, or a span of at most as much');
    end if;
    select coalesce(jsonb_object_agg(l.run_id, l.refusal), '{}') into looked
      from chimeway.lock_runs(p_runs, p_revisions, p_tenant_id) l;
    select looked || coalesce(jsonb_object_agg(r.id, case
               when r.state <> 'waiting' then 'not_waiting'
               when p_at is null and not chimeway.is_instant(r.status_context -> 'due_at') then 'no_time'
               end), '{}') into looked
      from unnest(p_runs) g(id)
      join chimeway.workflow_runs r on r.id = g.id and r.shard = chimeway.shard_of_id(g.id)
     where looked ->> g.id::text is null;
    moved := array(select distinct g.id from unnest(p_runs) g(id) where looked ->> g.id::text is null order by g.id);
    with due as materialized (
        select r.id, r.shard, t.at, jsonb_set(r.status_context, '{due_at}', to_jsonb(
                   to_char(t.at, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'))) as context
          from unnest(moved) g(id)
          join chimeway.workflow_runs r on r.id = g.id and r.shard = chimeway.shard_of_id(g.id)
         cross join lateral (
            select greatest(now_, least(most, coalesce(p_at, (r.status_context ->> 'due_at')::timestamptz + p_by))) as at) t
    ), told as (
        insert into chimeway.workflow_transitions (run_id, shard, seq, decision_id, reason, from_state, to_state,
                from_step, to_step, visit, status_reason, context, note, at)
        select r.id, r.shard, r.transition_count + 1, gen_random_uuid(), 'wait_retimed', r.state, r.state, r.step, r.step,
               r.visit, r.status_reason, d.context, p_note, now_
          from due d join chimeway.workflow_runs r on r.id = d.id and r.shard = d.shard
    )
    update chimeway.workflow_runs r
       set status_context = d.context, wake_at = d.at, parked = false,
           transition_count = r.transition_count + 1, revision = r.revision + 1
      from due d where r.id = d.id and r.shard = d.shard;
    if found then perform chimeway.hint(); end if;
    return query
    select g.id, coalesce(looked ->> g.id::text, 'retimed'), case when looked ->> g.id::text is null then r.wake_at end
      from unnest(p_runs) g(id)
      left join chimeway.workflow_runs r on r.id = g.id and r.shard = chimeway.shard_of_id(g.id);
end $$;

-- ── producers that act for some tenants alone ──

-- Logins that may act for some tenants alone, whatever else they may; who is not here acts for every tenant. By name: a
-- role's number is another one after a restore.
create table chimeway.producers (
    role_name  text        primary key,
    tenant_ids text[]      not null,                -- none: it acts for nobody
    changed_at timestamptz not null default chimeway.clock(),
    changed_by text        not null default session_user
);

-- Refuses a login that is bound to other tenants. Who asks has found it in `producers` by `session_user`, who logged in:
-- in functions that run as their owner `current_user` is the owner, and SET ROLE changes nothing of who logged in.
create function chimeway.refuse_producer(tenant_id text) returns void
language plpgsql as $$
declare
    allowed text[] := (select p.tenant_ids from chimeway.producers p where p.role_name = session_user::text);
begin
    perform chimeway.refuse('not_permitted', 'CW012',
        format('this login acts for %s, not for "%s"',
            case when allowed = '{}' then 'no tenant'
                else (select string_agg(format('"%s"', a), ', ') from unnest(allowed) a) end, tenant_id),
        'name a tenant of its own; the owner of the schema lets it act for more: chimeway db producer');
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
    if exists (select from chimeway.producers p
                where p.role_name = session_user::text and tenant_id <> all(p.tenant_ids)) then
        perform chimeway.refuse_producer(tenant_id);
    end if;
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
    if exists (select from chimeway.producers p
                where p.role_name = session_user::text and tenant_id <> all(p.tenant_ids)) then
        perform chimeway.refuse_producer(tenant_id);
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

-- Writes a recipient's profile; keys that are left out stay as they are, null removes. Null or {} does nothing but
-- make one where there is none. Keys: email, phone, addresses {channel: address}, timezone, locale,
-- preferences (merged key by key, all the way down), data (merged key by key).
create or replace function chimeway.identify(
    tenant_id    text  default 'default',
    recipient_id text  default null,
    profile      jsonb default '{}'
) returns void
language sql volatile security definer set search_path = chimeway, pg_temp as $$
    select chimeway.refuse_producer($1) from chimeway.producers p
     where p.role_name = session_user::text and $1 <> all(p.tenant_ids);
    select chimeway.write_profile('profile', $1, $2, $3)
$$;

-- The same for many: profiles is {recipient: profile}. Returns how many. All or none; in the order of the ids, so
-- that two callers do not wait for each other.
create or replace function chimeway.identify_many(
    tenant_id text  default 'default',
    profiles  jsonb default '{}'
) returns int
language plpgsql security definer set search_path = chimeway, pg_temp as $$
#variable_conflict use_column
declare
    one  record;
    many int := 0;
begin
    if exists (select from chimeway.producers p
                where p.role_name = session_user::text and tenant_id <> all(p.tenant_ids)) then
        perform chimeway.refuse_producer(tenant_id);
    end if;
    if profiles is null or jsonb_typeof(profiles) <> 'object' then
        perform chimeway.refuse('invalid_input', 'CW001',
            format('profiles is %s', coalesce('a JSON ' || jsonb_typeof(profiles), 'null')),
            'give an object of recipients and their profiles, such as {"user_123": {"email": "ada@example.org"}}');
    end if;
    if (select count(*) from jsonb_object_keys(profiles)) > 1000 then
        perform chimeway.refuse('invalid_input', 'CW001',
            format('profiles names %s recipients', (select count(*) from jsonb_object_keys(profiles))),
            'at most 1000 in one call; call once for each thousand');
    end if;
    for one in select e.key, e.value from jsonb_each(profiles) e order by e.key loop
        perform chimeway.write_profile(format('profiles.%s', left(one.key, 100)), identify_many.tenant_id, one.key, one.value);
        many := many + 1;
    end loop;
    return many;
end $$;

-- Stops a run by id, or all live runs that bear a cancellation key. Exact: each row says what became of
-- one run: `stopped`, or `already_ended`; which deliveries were cancelled, which were on their way.
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
    if exists (select from chimeway.producers p
                where p.role_name = session_user::text and tenant_id <> all(p.tenant_ids)) then
        perform chimeway.refuse_producer(tenant_id);
    end if;
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

-- ── traces ──

-- In two steps: rows that are there stay as they are, and no table is written anew.
alter table chimeway.events add column traceparent text;
alter table chimeway.events alter column traceparent set default
        case when current_setting('chimeway.traceparent', true) ~ '^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$'
             then current_setting('chimeway.traceparent', true) end;

-- ── after a restore ──

-- Restores from a backup: when it was taken, and until when what its runs plan is doubted. docs/design.md, "After a
-- restore", has the theory.
create table chimeway.restores (
    id       uuid        primary key default gen_random_uuid(),
    taken_at timestamptz not null unique,           -- the instant of the backup
    began_at timestamptz not null,                  -- when the first node learned of it
    until    timestamptz not null,                  -- as long after that as it was before: what was lost may come again
    began_by text        not null default session_user
);

-- Runs that were live in the backup and had gone on when the database was lost: whatever they plan is held, too, until
-- somebody has let one of their messages go.
create table chimeway.restored_runs (
    run_id     uuid primary key,
    restore_id uuid not null references chimeway.restores (id)
);

-- Messages that may have been sent after the backup was taken, and what somebody decided about each.
create table chimeway.restored_deliveries (
    delivery_id uuid        primary key,
    restore_id  uuid        not null references chimeway.restores (id),
    held_at     timestamptz not null,
    decision    text        check (decision in ('released','dropped','ended')),   -- ended: it came to its end otherwise
    decided_at  timestamptz,
    decided_by  text,
    check ((decision is null) = (decided_at is null))
);
create index restored_deliveries_held on chimeway.restored_deliveries (delivery_id) where decision is null;

-- Begins what follows a restore from a backup that was taken at this instant: holds what was not terminal in it, and
-- remembers the live runs that had gone on by now. Again with the same instant: nothing. Refuses where a node has
-- worked after that instant: then the backup is younger, or it is too late.
create function chimeway.begin_restore(p_taken_at timestamptz, p_by text default session_user)
returns table (again boolean, deliveries bigint, runs bigint)
language plpgsql security definer set search_path = chimeway, pg_temp as $$
declare
    now_   timestamptz := chimeway.clock();
    latest timestamptz;
    this   uuid;
begin
    if p_taken_at is null or not isfinite(p_taken_at) or p_taken_at > now_ then
        perform chimeway.refuse('invalid_input', 'CW001', format('the instant of the backup is %s', p_taken_at),
            'give when the backup was taken: an instant in the past');
    end if;
    lock table chimeway.restores in share row exclusive mode;
    if exists (select from chimeway.restores r where r.taken_at = p_taken_at) then
        return query select true, 0::bigint, 0::bigint;
        return;
    end if;
    select max(n.seen_at) into latest from chimeway.nodes n;
    if latest > p_taken_at then
        perform chimeway.refuse('invalid_input', 'CW001', format('a node worked here at %s, after %s', latest, p_taken_at),
            'give an instant not before the backup was taken; or nodes have worked since the restore, and it is too late');
    end if;
    insert into chimeway.restores (taken_at, began_at, until, began_by)
    values (p_taken_at, now_, now_ + (now_ - p_taken_at), p_by) returning id into this;

    insert into chimeway.restored_deliveries (delivery_id, restore_id, held_at)
    select d.id, this, now_ from chimeway.deliveries d where d.terminal_at is null and d.created_at <= p_taken_at
    on conflict (delivery_id) do update set restore_id = this, held_at = now_, decision = null, decided_at = null,
            decided_by = null;
    get diagnostics deliveries = row_count;
    update chimeway.deliveries d set waiting_for_node = 'after_restore'
      from chimeway.restored_deliveries h where h.restore_id = this and d.id = h.delivery_id;
    insert into chimeway.restored_runs (run_id, restore_id)
    select r.id, this from chimeway.workflow_runs r
     where r.state in ('active','waiting') and r.created_at <= p_taken_at
       and (r.wake_at <= now_ or exists (
            select from chimeway.deliveries d where d.run_id = r.id and d.shard = r.shard and d.terminal_at is null))
    on conflict (run_id) do update set restore_id = this;
    get diagnostics runs = row_count;
    again := false;
    return next;
end $$;

-- Of deliveries that are about to be sent, whose rows are locked, those that are held after a restore. What a run that
-- is doubted has planned since is held from now on.
create function chimeway.hold_restored(p_delivery uuid[]) returns uuid[]
language plpgsql security definer set search_path = chimeway, pg_temp set enable_seqscan = off as $$
declare held uuid[];
begin
    insert into chimeway.restored_deliveries (delivery_id, restore_id, held_at)
    select d.id, m.restore_id, chimeway.clock()
      from unnest(p_delivery) p(id)
     cross join lateral (
        select d.id, d.run_id, d.created_at from chimeway.deliveries d where d.id = p.id offset 0) d
      join chimeway.restored_runs m on m.run_id = d.run_id
      join chimeway.restores s on s.id = m.restore_id and d.created_at < s.until
    on conflict (delivery_id) do nothing;
    held := array(select h.delivery_id from chimeway.restored_deliveries h
                   where h.delivery_id = any(p_delivery) and h.decision is null);
    update chimeway.deliveries d set waiting_for_node = 'after_restore'
     where d.id = any(held) and d.waiting_for_node is distinct from 'after_restore';
    return held;
end $$;

-- Decides about messages that are held after a restore: p_release says whether they go, else they are given up. Whose
-- message goes is doubted no more: what came later in that journey was not sent either. Answers: released | dropped |
-- ended (it has ended otherwise) | decided (it was before) | gone.
create function chimeway.decide_restored(p_delivery uuid[], p_release boolean, p_by text default session_user)
returns table (delivery_id uuid, answer text)
language plpgsql security definer set search_path = chimeway, pg_temp set enable_seqscan = off as $$
#variable_conflict use_column
declare
    now_   timestamptz := chimeway.clock();
    v_runs uuid[];
    v_open uuid[];
    v_live uuid[];
begin
    v_runs := array(select d.run_id from chimeway.restored_deliveries h
                      join chimeway.deliveries d on d.id = h.delivery_id where h.delivery_id = any(p_delivery));
    perform 1 from (select r.id from chimeway.workflow_runs r where r.id = any(v_runs) order by r.id for update) l;
    perform 1 from (select d.id from chimeway.deliveries d where d.id = any(p_delivery) order by d.id for no key update) l;
    v_open := array(select h.delivery_id from chimeway.restored_deliveries h
                     where h.delivery_id = any(p_delivery) and h.decision is null order by h.delivery_id for update);
    v_live := array(select d.id from chimeway.deliveries d where d.id = any(v_open) and d.terminal_at is null);

    update chimeway.restored_deliveries h
       set decision = case when not h.delivery_id = any(v_live) then 'ended' when p_release then 'released' else 'dropped' end,
           decided_at = now_, decided_by = p_by
     where h.delivery_id = any(v_open);
    if p_release then
        delete from chimeway.restored_runs m using chimeway.deliveries d where d.id = any(v_live) and m.run_id = d.run_id;
        update chimeway.deliveries d set waiting_for_node = null, revision = d.revision + 1 where d.id = any(v_live);
    else
        -- As where a run stops: a call that was under way in the backup is let end, and is the last.
        update chimeway.deliveries d
           set status = case d.status when 'dispatched' then d.status else 'cancelled' end,
               suppression_reason = case d.status when 'dispatched' then null else 'superseded' end,
               terminal_at = case d.status when 'dispatched' then null else now_ end,
               stop_requested = d.stop_requested or d.status = 'dispatched', waiting_for_node = null,
               note = 'given up after a restore', next_attempt_at = null, deferred_reason = null, revision = d.revision + 1
         where d.id = any(v_live);
        update chimeway.workflow_runs r set wake_at = least(coalesce(r.wake_at, now_), now_)
          from chimeway.deliveries d
         where d.id = any(v_live) and d.terminal_at is not null and r.id = d.run_id and r.shard = d.shard
           and r.visit = d.visit and r.state = 'active' and r.held_reason is null;
    end if;
    perform chimeway.hint();
    return query
    select p.id, case when h.delivery_id is null then 'gone' when not p.id = any(v_open) then 'decided' else h.decision end
      from unnest(p_delivery) p(id) left join chimeway.restored_deliveries h on h.delivery_id = p.id;
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
    v_held    uuid[] := '{}';
    v_seen    pg_snapshot;
    v_clock   timestamptz;
    v_key     record;
begin
    perform chimeway.check_ledger(p_owner, p_epoch);
    v_locked := chimeway.lock_deliveries(p_run, p_delivery);
    if exists (select from chimeway.restores) then  -- seldom anybody has ever restored anything
        v_held := chimeway.hold_restored(array(
            select p.id from unnest(p_delivery, p_run) p(id, run) where p.run = any(v_locked)));
        v_locked := array(
            select l.run from unnest(v_locked) l(run)
             where l.run not in (select p.run from unnest(p_delivery, p_run) p(id, run) where p.id = any(v_held)));
    end if;
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
            when d.id is null or p.id = any(v_held) then 'gone'
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

-- ── signals are heard before they are routed ──

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
           entered_at = coalesce(s.entered_at, r.entered_at),
           mailbox_count = coalesce(s.mailbox, r.mailbox_count), mailbox_seen = coalesce(s.mailbox, r.mailbox_seen),
           status_reason = s.status_reason, status_context = coalesce(s.context, '{}'),
           pending_signals = '{}', wake_at = null, armed_step = null, armed_entered_at = null,
           held_reason = null, held_at = null, waiting_for_node = null, parked = false,
           transition_count = r.transition_count + coalesce(s.written, 0) + 1, revision = r.revision + 1,
           ended_at = now_
      from unnest(p_run, p_to_state, p_status_reason, p_context, p_step, p_visit, p_entered_at, p_mailbox, p_written)
           s(id, to_state, status_reason, context, step, visit, entered_at, mailbox, written)
     where r.id = s.id and r.shard = chimeway.shard_of_id(s.id);
end $$;

-- Puts the unrouted signals of locked runs' recipients into their mailboxes, and returns the snapshot
-- that looked for them. The caller holds the run locks, taken in an EARLIER statement: this one's
-- snapshot is therefore younger than the locks, and sees every signal committed while it waited.
-- A run that entered no step yet also takes signals that were routed before it could be seen.
-- (What it names it locks first, as the foreign key would: one that forget_recipient is deleting is waited for, and
-- then is not there, or is, where the key could only fail.)
-- The runs' own rows are the caller's to change: which got mail, and up to which number their mailbox goes now.
create function chimeway.put_mail(p_locked uuid[], out seen pg_snapshot, out runs uuid[], out counts int[])
language plpgsql set enable_seqscan = off set enable_bitmapscan = off
set jit = off set plan_cache_mode = force_generic_plan as $$
#variable_conflict use_column
declare heard boolean;
begin
    runs := '{}';
    counts := '{}';
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
    if not heard then return; end if;

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
        returning run_id, number
    ), each as (
        select p.run_id, max(p.number) as many from put p group by p.run_id
    )
    select pg_current_snapshot(), coalesce(array_agg(e.run_id), '{}'), coalesce(array_agg(e.many), '{}')
      into seen, runs, counts from each e;
end $$;

-- The same, with the count in the runs' rows.
create or replace function chimeway.route_for_runs(p_locked uuid[]) returns pg_snapshot
language plpgsql set enable_seqscan = off set enable_bitmapscan = off
set jit = off set plan_cache_mode = force_generic_plan as $$
declare v_mail record;
begin
    v_mail := chimeway.put_mail(p_locked);
    if v_mail.runs <> '{}' then
        update chimeway.workflow_runs r set mailbox_count = m.many
          from unnest(v_mail.runs, v_mail.counts) m(id, many) where r.id = m.id;
    end if;
    return v_mail.seen;
end $$;

-- What of the unrouted signals of some shards nobody here has heard yet (p_known: those somebody has), as they came: at
-- most p_limit, and for each at most p_each of the runs that it is for (one row with none, if it is for nobody).
-- It writes nothing: who decides on the runs puts the signals into their mailboxes.
create function chimeway.heed_signals(p_limit int, p_each int, p_known uuid[], p_shards smallint[])
returns table (signal_id uuid, run_id uuid, tenant_id text)
language plpgsql stable set enable_seqscan = off
set jit = off set plan_cache_mode = force_generic_plan as $$
#variable_conflict use_column
begin
    return query
    select w.id, q.id, w.tenant_id
      from (select s.id, s.shard, s.tenant_id, s.actor_id, s.arrival, s.type, s.run_id from chimeway.signals s
             where s.routed_at is null and s.id not in (select unnest(p_known)) and s.shard = any(p_shards)
             order by s.arrival limit p_limit) w
      left join lateral (
        select r.id from chimeway.workflow_runs r
          join chimeway.workflow_definitions d on d.key = r.workflow_key and d.version = r.workflow_version
         where r.tenant_id = w.tenant_id and r.recipient_id = w.actor_id and r.shard = w.shard
           and r.state in ('active','waiting') and r.arrival < w.arrival and w.type = any(d.signal_types)
           and (w.run_id is null or w.run_id = r.id)
           and not exists (select from chimeway.run_mailbox b
                            where b.run_id = r.id and b.signal_id = w.id and b.shard = w.shard offset 0)
         limit p_each) q on true;
end $$;

-- Routes the signals that are named, and are not routed yet: for each at most p_each runs at a time. Returns as
-- route_signals; a signal that somebody else has locked is passed over.
create function chimeway.route_named_signals(p_signals uuid[], p_each int)
returns table (run_id uuid, more boolean)
language plpgsql set enable_seqscan = off
set jit = off set plan_cache_mode = force_generic_plan as $$
#variable_conflict use_column
declare v_signals uuid[];
begin
    select coalesce(array_agg(l.id), '{}') into v_signals from (
        select s.id from chimeway.signals s
         where s.id = any(p_signals) and s.routed_at is null for no key update skip locked) l;
    if v_signals = '{}' then return; end if;
    return query select t.run_id, t.more from chimeway.route_these(v_signals, p_each) t;
end $$;

-- Commits the decisions of many runs: lock, route, guard, write, each a statement with its own snapshot.
-- Answers per run: applied | stale | busy | refused | gone. `applied` is also the answer to a decision
-- that was written before (its answer was lost). A run stands at most once in a call.
-- p_profile and p_tenant: by which versions of the recipient's and the tenant's rows policy judged what is planned
-- (their xmin: whoever writes a row, in whatever way, makes another; 0: there was no row; null: nothing was judged).
-- What policy had to say stands in the arrays d_verdict, _reason, _inputs and d_until. d_budget: of an in-app message
-- that a cap looks at, by which revision of the budget it was counted; d_room and d_keep: see begin_attempts.
-- m_run, m_number and m_signal: signals on which it was decided before they were in the mailbox, and which number each
-- was foretold; routing has put them there now, or others. What was foretold wrongly is stale.
create function chimeway.commit_decisions(
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
    d_verdict_inputs jsonb[], d_budget bigint[], d_room int[], d_keep int[],
    m_run uuid[], m_number int[], m_signal uuid[]
) returns table (run_id uuid, answer text)
language plpgsql set enable_seqscan = off set enable_bitmapscan = off
set jit = off set plan_cache_mode = force_generic_plan as $$
#variable_conflict use_column
declare
    v_locked   uuid[];
    v_stopped  uuid[];
    v_changing uuid[] := '{}';
    v_misread  uuid[] := '{}';
    v_budgets  boolean := array_remove(d_budget, null) <> '{}';
    v_mail     record;
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
    v_mail := chimeway.put_mail(v_locked);
    if m_run <> '{}' then
        v_misread := array(
            select m.run from unnest(m_run, m_number, m_signal) m(run, number, signal)
             where not exists (select from chimeway.run_mailbox b
                                where b.run_id = m.run and b.number = m.number and b.signal_id = m.signal offset 0));
    end if;

    -- (3) guard
    v_clock := chimeway.clock();
    select coalesce(array_agg(r.id), '{}'), array_agg(r.shard), array_agg(r.tenant_id), array_agg(r.recipient_id),
           array_agg(r.transition_count), array_agg(r.state), array_agg(p.decision), array_agg(p.inputs)
      into v_passed, v_shard, v_tenant, v_recipient, v_count, v_state, v_decision, v_inputs
      from unnest(v_locked) l(id)
      join unnest(p_run, p_revision, p_mailbox, p_delivery, p_delivery_revision, p_now, p_profile, p_tenant,
                  p_decision, p_inputs)
           p(id, revision, mailbox, delivery, delivery_revision, now, profile, tenant, decision, inputs) on p.id = l.id
      left join unnest(v_mail.runs, v_mail.counts) m(id, many) on m.id = l.id
     cross join lateral (
        select r.id, r.shard, r.visit, r.state, r.held_reason, r.revision, r.workflow_key, r.workflow_version,
               r.tenant_id, r.recipient_id, r.transition_count, coalesce(m.many, r.mailbox_count) as mailbox_count
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
     where not p.id = any(v_changing) and not p.id = any(v_misread) and r.state in ('active','waiting')
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
               case when t.reason = 'reactivated_from_wait' then v_mail.seen end, v_clock
          from unnest(t_run, t_pos, t_reason, t_from_state, t_to_state, t_from_step, t_to_step, t_visit,
                      t_status_reason, t_context, t_signal_id, t_signal_type)
               t(run, pos, reason, from_state, to_state, from_step, to_step, visit, status_reason, context,
                 signal_id, signal_type)
          join unnest(v_passed, v_shard, v_count, v_decision, v_inputs) g(id, shard, many, decision, inputs)
            on g.id = t.run;

        update chimeway.workflow_runs r
           set revision = r.revision + 1, parked = false,  -- its workflow goes on: nothing is decided in a pause
               transition_count = r.transition_count + coalesce(n.many, 0),
               mailbox_count = p.mailbox, mailbox_seen = p.mailbox, state = p.state,
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

    if not v_mail.runs <@ v_passed then  -- mail of runs whose decisions did not pass, and so are not written
        update chimeway.workflow_runs r set mailbox_count = m.many
          from unnest(v_mail.runs, v_mail.counts) m(id, many) where r.id = m.id and not m.id = any(v_passed);
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

-- The same of programs of schema version 5: all mail that they decide on is in the mailbox.
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
language sql as $$
    select c.run_id, c.answer from chimeway.commit_decisions(
        p_owner, p_epoch, p_run, p_decision, p_revision, p_mailbox, p_delivery, p_delivery_revision, p_now, p_state,
        p_step, p_visit, p_status_reason, p_context, p_pending, p_wake_at, p_entered_at, p_armed_step,
        p_armed_entered_at, p_held_reason, p_inputs, p_consumed, t_run, t_pos, t_reason, t_from_state, t_to_state,
        t_from_step, t_to_step, t_visit, t_status_reason, t_context, t_signal_id, t_signal_type, d_id, d_run, d_visit,
        d_step, d_channel, d_render_key, d_status, d_reason, d_error_class, d_note, d_terminal_at, d_subject, d_body,
        c_run, c_visit, c_reason, p_profile, p_tenant, d_until, d_verdict, d_verdict_reason, d_verdict_inputs, d_budget,
        d_room, d_keep, null::uuid[], null::int[], null::uuid[]) c
$$;

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
                                                  retry_delivery,record_feedback,configure_tenant,decide_restored,
                                                  cancel_runs,wake_runs,retime_runs,
                                                  forget_recipient,export_recipient,unsubscribe,resubscribe,
                                                  prune_runs,prune_bodies,prune_events,prune_signals,prune_answers,
                                                  revoke_api_token}'),
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
            ('daemon',   'insert', 'table', '{request_answers,operator_actions}'),
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
