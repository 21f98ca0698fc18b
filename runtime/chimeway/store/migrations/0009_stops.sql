-- Stops: written with the other decisions of their batch, and mail as consumed where it is put into its mailbox. What the
-- ledger does for a signal takes two thirds of the time. No table changes.
-- serves from: 8

-- transaction

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
        if exists (select from chimeway.nodes where asleep) then perform chimeway.hint(); end if;  -- a call less, mostly
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

-- What becomes of the deliveries of runs that end, whose locks the caller holds: those that no provider has yet been asked
-- for are cancelled; one under way stays and is marked. A row for each run.
create function chimeway.end_deliveries(p_run uuid[], p_reason text, p_at timestamptz)
returns table (run_id uuid, cancelled uuid[], on_their_way uuid[])
language plpgsql set enable_seqscan = off set enable_bitmapscan = off
set jit = off set plan_cache_mode = force_generic_plan as $$
#variable_conflict use_column
declare
    -- (looked for run by run, and locked by their ids: to find them in the order of the locks, a plan from quiet times would
    -- go through all deliveries)
    v_open uuid[] := array(
        select d.id from unnest(p_run) p(id)
         cross join lateral (
            select d.id from chimeway.deliveries d
             where d.run_id = p.id and d.status in ('pending','deferred','digested','failed','dispatched') offset 0) d);
begin
    if v_open <> '{}' then
        perform 1 from (
            select d.id from chimeway.deliveries d where d.id = any(v_open) order by d.id for no key update) l;
        return query
        with ended as (
            update chimeway.deliveries d
               set status = case when d.status = 'dispatched' then d.status else 'cancelled' end,
                   suppression_reason = case when d.status = 'dispatched' then d.suppression_reason else p_reason end,
                   terminal_at = case when d.status = 'dispatched' then null else p_at end,
                   stop_requested = d.status = 'dispatched',
                   next_attempt_at = null, deferred_reason = null, revision = d.revision + 1
             where d.id = any(v_open) and d.status in ('pending','deferred','digested','failed','dispatched')
             returning d.run_id, d.id, d.status
        )
        select r.id, coalesce(array_agg(e.id) filter (where e.status = 'cancelled'), '{}'),
               coalesce(array_agg(e.id) filter (where e.status = 'dispatched'), '{}')
          from unnest(p_run) r(id) left join ended e on e.run_id = r.id group by r.id;
    else
        return query select r.id, '{}'::uuid[], '{}'::uuid[] from unnest(p_run) r(id);
    end if;
end $$;

-- Ends runs whose locks the caller holds, for whoever is not the ledger (which writes the stops of its decisions with them).
-- Arrays are parallel; returns for each run what became of its deliveries. (The last six: of ledgers of schema version 8
-- that were at work when it went.)
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
    return query select e.run_id, e.cancelled, e.on_their_way from chimeway.end_deliveries(p_run, p_delivery_reason, now_) e;

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
     where r.id = s.id and r.shard = chimeway.shard_of_id(s.id) and r.id = any(p_run);
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
     where r.id = any(live)
    union all
    select r.id, 'already_ended', r.state, r.step, '{}', '{}'
      from chimeway.workflow_runs r where r.id = any(ended)
    order by 1;
end $$;

-- Looks for the unrouted signals of locked runs' recipients that are not in these runs' mailboxes, gives each its number
-- there, and returns the snapshot that looked for them. The caller holds the run locks, taken in an EARLIER statement: this
-- one's snapshot is therefore younger than the locks, and sees every signal committed while it waited; and nobody but the
-- caller can put them there.
-- A run that entered no step yet also takes signals that were routed before it could be seen.
-- (What it names it locks, as the mailbox's foreign key would: one that forget_recipient is deleting is waited for, and
-- then is not there, or is, where the key could only fail.)
-- p_likely: nearly always there is nothing, which one look tells; it is left out where the caller knows of signals.
create function chimeway.find_mail(
    p_locked uuid[], p_likely boolean, out seen pg_snapshot, out runs uuid[], out numbers int[], out signals uuid[])
language plpgsql set enable_seqscan = off set enable_bitmapscan = off
set jit = off set plan_cache_mode = force_generic_plan as $$
#variable_conflict use_column
declare heard boolean := true;
begin
    runs := '{}';
    numbers := '{}';
    signals := '{}';
    if p_likely is not true then
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
    end if;
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
                            where b.run_id = c.run_id and b.signal_id = c.signal_id and b.shard = c.shard offset 0)
    ), held as (
        select c.* from fresh c cross join lateral (
            select from chimeway.signals s where s.id = c.signal_id offset 0 for key share) s
    )
    select pg_current_snapshot(), coalesce(array_agg(n.run_id), '{}'), coalesce(array_agg(n.number), '{}'),
           coalesce(array_agg(n.signal_id), '{}')
      into seen, runs, numbers, signals
      from (select h.run_id, h.signal_id,
                   h.mailbox_count + row_number() over (partition by h.run_id order by h.arrival) as number
              from held h) n;
end $$;

-- Puts the mail of locked runs into their mailboxes. The runs' own rows are the caller's to change: which got mail, and up
-- to which number their mailbox goes now.
create or replace function chimeway.put_mail(p_locked uuid[], out seen pg_snapshot, out runs uuid[], out counts int[])
language plpgsql set enable_seqscan = off set enable_bitmapscan = off
set jit = off set plan_cache_mode = force_generic_plan as $$
declare v_mail record;
begin
    runs := '{}';
    counts := '{}';
    v_mail := chimeway.find_mail(p_locked, false);
    seen := v_mail.seen;
    if v_mail.runs = '{}' then return; end if;
    with put as (
        insert into chimeway.run_mailbox (run_id, shard, number, signal_id, routed_at)
        select m.run, chimeway.shard_of_id(m.run), m.number, m.signal, chimeway.clock()
          from unnest(v_mail.runs, v_mail.numbers, v_mail.signals) m(run, number, signal)
        returning run_id, number
    ), each as (
        select p.run_id, max(p.number) as many from put p group by p.run_id
    )
    select array_agg(e.run_id), array_agg(e.many) into runs, counts from each e;
end $$;

-- Commits the decisions of many runs: lock, route, guard, write, each a statement with its own snapshot.
-- Answers per run: applied | stale | busy | refused | gone. `applied` is also the answer to a decision
-- that was written before (its answer was lost). A run stands at most once in a call.
-- p_profile and p_tenant: by which versions of the recipient's and the tenant's rows policy judged what is planned
-- (their xmin: whoever writes a row, in whatever way, makes another; 0: there was no row; null: nothing was judged).
-- What policy had to say stands in the arrays d_verdict, _reason, _inputs and d_until. d_budget: of an in-app message
-- that a cap looks at, by which revision of the budget it was counted; d_room and d_keep: see begin_attempts.
-- m_run, m_number and m_signal: signals on which it was decided before they were in the mailbox, and which number each
-- was foretold; they are put there now, or others are. What was foretold wrongly is stale.
-- (Columns are read by subscripts, from a place in the first of them: to unnest a dozen arrays in one call costs five times
-- as much. In PL/pgSQL a subscript is one step; in SQL it would walk through the array. And what is written names its runs
-- beside the join, too: without them a plan that was kept from a time of few runs would read all that came since.)
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
    d_verdict_inputs jsonb[], d_budget bigint[], d_room int[], d_keep int[],
    m_run uuid[], m_number int[], m_signal uuid[]
) returns table (run_id uuid, answer text)
language plpgsql set enable_seqscan = off set enable_bitmapscan = off
set jit = off set plan_cache_mode = force_generic_plan as $$
#variable_conflict use_column
declare
    v_locked   uuid[];
    v_ours     boolean;  -- whether the caller may write, by his lease
    v_changing uuid[] := '{}';
    v_misread  uuid[] := '{}';
    v_budgets  boolean := array_remove(d_budget, null) <> '{}';
    v_mail     record;
    v_mail_run    uuid[];
    v_mail_number int[];
    v_mail_signal uuid[];
    v_had_mail boolean;  -- whether any of what passed goes by mail that was in the mailbox before
    v_clock    timestamptz;
    v_key      record;
    -- Of the decisions that passed, in parallel: their places in what was given, and what the guard found in their runs'
    -- rows, which nobody else changes.
    v_passed    uuid[];
    v_place     bigint[];
    v_shard     smallint[];
    v_tenant    text[];
    v_recipient text[];
    v_count     int[];
    v_state     text[];
begin
    if current_setting('transaction_isolation') <> 'read committed' then
        perform chimeway.check_ledger(p_owner, p_epoch);  -- which refuses, before a lock can fail otherwise
    end if;

    -- (1) lock the runs, in id order, then the deliveries that were looked at (one that is no longer its run's current
    -- one is told by the run's revision; where there was none, only who holds the run's lock can have made one)
    select coalesce(array_agg(l.id), '{}'),
           p_owner is null or exists (select from chimeway.leases l where l.owner = p_owner and l.epoch = p_epoch)
      into v_locked, v_ours from (
        select r.id from chimeway.workflow_runs r where r.id = any(p_run) order by r.id for update skip locked) l;
    if not v_ours then perform chimeway.check_ledger(p_owner, p_epoch); end if;  -- which refuses
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
    v_mail := chimeway.find_mail(v_locked, m_run <> '{}');
    v_mail_run := v_mail.runs;
    v_mail_number := v_mail.numbers;
    v_mail_signal := v_mail.signals;
    if m_run <> '{}' and (v_mail_run <> m_run or v_mail_number <> m_number or v_mail_signal <> m_signal) then
        v_misread := array(
            select m.run from (
                select m.run, m.number, m.signal from unnest(m_run, m_number, m_signal) m(run, number, signal)
                except
                select f.run, f.number, f.signal from unnest(v_mail_run, v_mail_number, v_mail_signal) f(run, number, signal)) m
             where not exists (select from chimeway.run_mailbox b
                                where b.run_id = m.run and b.number = m.number and b.signal_id = m.signal offset 0));
    end if;

    -- (3) guard
    v_clock := chimeway.clock();
    select coalesce(array_agg(r.id), '{}'), array_agg(p.n), array_agg(r.shard), array_agg(r.tenant_id),
           array_agg(r.recipient_id), array_agg(r.transition_count), array_agg(r.state),
           bool_or(r.had_mail > 0 and p_consumed[p.n] <> '{}')
      into v_passed, v_place, v_shard, v_tenant, v_recipient, v_count, v_state, v_had_mail
      from unnest(p_run) with ordinality p(id, n)
      left join (select m.run, max(v_mail_number[m.n]) as many from unnest(v_mail_run) with ordinality m(run, n)
                  group by m.run) m on m.run = p.id
     cross join lateral (
        select r.id, r.shard, r.visit, r.state, r.held_reason, r.revision, r.workflow_key, r.workflow_version,
               r.tenant_id, r.recipient_id, r.transition_count, r.mailbox_count as had_mail,
               coalesce(m.many, r.mailbox_count) as mailbox_count
          from chimeway.workflow_runs r where r.id = p.id offset 0) r
      join chimeway.workflow_definitions w on w.key = r.workflow_key and w.version = r.workflow_version
      left join lateral (
        select d.id, d.revision from chimeway.deliveries d
         where r.visit > 0 and d.run_id = r.id and d.visit = r.visit and d.shard = r.shard offset 0) d on true
      left join lateral (
        select c.xmin::text::bigint as version from chimeway.recipients c
         where p_profile[p.n] is not null and c.tenant_id = r.tenant_id and c.recipient_id = r.recipient_id
           and c.shard = r.shard offset 0) c on true
      left join lateral (
        select t.xmin::text::bigint as version from chimeway.tenants t
         where p_profile[p.n] is not null and t.tenant_id = r.tenant_id offset 0) t on true
     where p.id = any(v_locked) and not p.id = any(v_changing) and not p.id = any(v_misread)
       and r.state in ('active','waiting') and r.held_reason is null and w.paused_at is null
       and r.revision = p_revision[p.n] and r.mailbox_count = p_mailbox[p.n]
       and d.id is not distinct from p_delivery[p.n] and d.revision is not distinct from p_delivery_revision[p.n]
       and p_now[p.n] <= v_clock + interval '50 milliseconds'
       and (p_profile[p.n] is null
            or (p_profile[p.n] = coalesce(c.version, 0) and p_tenant[p.n] = coalesce(t.version, 0)));

    if v_budgets then  -- of runs that counted by one revision, as many as there is room for
        select coalesce(array_agg(g.id), '{}'), array_agg(g.place), array_agg(g.shard), array_agg(g.tenant_id),
               array_agg(g.recipient_id), array_agg(g.many), array_agg(g.state)
          into v_passed, v_place, v_shard, v_tenant, v_recipient, v_count, v_state
          from unnest(v_passed, v_place, v_shard, v_tenant, v_recipient, v_count, v_state)
               g(id, place, shard, tenant_id, recipient_id, many, state)
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

    -- (4) write: the mail of all, and what passed
    if v_mail_run <> '{}' then
        insert into chimeway.run_mailbox (run_id, shard, number, signal_id, routed_at, consumed_by)
        select m.run, chimeway.shard_of_id(m.run), v_mail_number[m.n], v_mail_signal[m.n], v_clock,
               case when v_mail_number[m.n] = any(p_consumed[g.place]::int[]) then p_decision[g.place] end
          from unnest(v_mail_run) with ordinality m(run, n)
          left join unnest(v_passed, v_place) g(id, place) on g.id = m.run;
    end if;

    if v_passed <> '{}' then
        insert into chimeway.workflow_transitions (run_id, shard, seq, decision_id, reason, from_state, to_state,
                from_step, to_step, visit, status_reason, context, signal_id, signal_type, inputs, snapshot, at)
        select g.id, v_shard[g.n], v_count[g.n] + t.pos, p_decision[g.place], t.reason, t.from_state, t.to_state,
               t.from_step, t.to_step, t.visit, t.status_reason, t.context, t.signal_id, t.signal_type,
               case when t.pos = 1 then p_inputs[g.place] end,
               case when t.reason = 'reactivated_from_wait' then v_mail.seen end, v_clock
          from (
            select t.run, t_pos[t.n] as pos, t_reason[t.n] as reason, t_from_state[t.n] as from_state,
                   t_to_state[t.n] as to_state, t_from_step[t.n] as from_step, t_to_step[t.n] as to_step,
                   t_visit[t.n] as visit, t_status_reason[t.n] as status_reason, t_context[t.n] as context,
                   t_signal_id[t.n] as signal_id, t_signal_type[t.n] as signal_type
              from unnest(t_run) with ordinality t(run, n)
            union all  -- the last one of a stop is the ledger's, behind what its decision wrote before
            select g.id, coalesce(l.pos, 0) + 1, 'workflow_stopped', coalesce(l.state, v_state[g.n]), 'stopped',
                   p_step[g.place], p_step[g.place], p_visit[g.place], p_status_reason[g.place], p_context[g.place],
                   null, null
              from unnest(v_passed, v_place) with ordinality g(id, place, n)
              left join (
                select distinct on (t.run) t.run, t_pos[t.n] as pos, t_to_state[t.n] as state
                  from unnest(t_run) with ordinality t(run, n) order by t.run, t_pos[t.n] desc) l on l.run = g.id
             where p_state[g.place] = 'stopped') t
          join unnest(v_passed, v_place) with ordinality g(id, place, n) on g.id = t.run;

        update chimeway.workflow_runs r
           set revision = r.revision + 1, parked = false,  -- its workflow goes on: nothing is decided in a pause
               transition_count = r.transition_count + coalesce(t.many, 0) + g.stops::int,
               mailbox_count = p_mailbox[g.place], mailbox_seen = p_mailbox[g.place], state = p_state[g.place],
               step = p_step[g.place], visit = p_visit[g.place], entered_at = p_entered_at[g.place],
               status_reason = p_status_reason[g.place], status_context = p_context[g.place],
               pending_signals = case when g.stops then '{}' else p_pending[g.place]::text[] end,
               wake_at = case when not g.stops then p_wake_at[g.place] end,
               armed_step = case when not g.stops then p_armed_step[g.place] end,
               armed_entered_at = case when not g.stops then p_armed_entered_at[g.place] end,
               held_reason = case when not g.stops then p_held_reason[g.place] end,
               held_at = case when not g.stops and p_held_reason[g.place] is not null then v_clock end,
               waiting_for_node = case when not g.stops then r.waiting_for_node end,
               ended_at = case when p_state[g.place] in ('completed','stopped') then v_clock end
          from (select g.id, g.place, g.n, p_state[g.place] = 'stopped' as stops
                  from unnest(v_passed, v_place) with ordinality g(id, place, n)) g
          left join (select t.run, count(*)::int as many from unnest(t_run) t(run) group by t.run) t on t.run = g.id
         where r.id = g.id and r.shard = v_shard[g.n] and r.id = any(v_passed);

        if v_had_mail then
            update chimeway.run_mailbox b set consumed_by = p_decision[g.place]
              from unnest(v_passed, v_place) with ordinality g(id, place, n)
             where p_consumed[g.place] <> '{}' and b.run_id = g.id and b.number = any(p_consumed[g.place]::int[])
               and b.shard = v_shard[g.n] and b.consumed_by is null and b.run_id = any(v_passed);
        end if;

        if c_run <> '{}' then
            update chimeway.deliveries d
               set status = 'cancelled', suppression_reason = c.reason, terminal_at = v_clock, next_attempt_at = null,
                   deferred_reason = null, revision = d.revision + 1
              from unnest(c_run, c_visit, c_reason) c(run, visit, reason)
             where c.run = any(v_passed) and d.run_id = c.run and d.visit = c.visit and d.run_id = any(v_passed)
               and d.status not in ('succeeded','suppressed','cancelled');
        end if;
    end if;

    if v_passed <> '{}' and d_id <> '{}' then
        insert into chimeway.deliveries (id, shard, run_id, visit, step_id, tenant_id, recipient_id, channel, render_key,
                status, suppression_reason, next_attempt_at, last_error_class, note, created_at, terminal_at,
                deferred_reason)
        select d.id, v_shard[g.n], g.id, d_visit[d.n], d_step[d.n], v_tenant[g.n], v_recipient[g.n], d_channel[d.n],
               d_render_key[d.n], d_status[d.n], case when d_status[d.n] <> 'deferred' then d_reason[d.n] end,
               case d_status[d.n] when 'pending' then v_clock when 'deferred' then d_until[d.n] end,
               d_error_class[d.n], d_note[d.n], v_clock, d_terminal_at[d.n],
               case when d_status[d.n] = 'deferred' then d_reason[d.n] end
          from unnest(d_id, d_run) with ordinality d(id, run, n)
          join unnest(v_passed) with ordinality g(id, n) on g.id = d.run;
        if array_remove(d_verdict, null) <> '{}' then
            insert into chimeway.delivery_verdicts (delivery_id, shard, number, stage, verdict, reason, until, inputs, at)
            select d.id, v_shard[g.n], 1, 'planned', d_verdict[d.n], d_verdict_reason[d.n], d_until[d.n],
                   d_verdict_inputs[d.n], v_clock
              from unnest(d_id, d_run) with ordinality d(id, run, n)
              join unnest(v_passed) with ordinality g(id, n) on g.id = d.run
             where d_verdict[d.n] is not null;
        end if;
        if v_budgets then
            for v_key in
                select v_tenant[g.n] as tenant_id, v_recipient[g.n] as recipient_id, d_channel[d.n] as channel,
                       v_shard[g.n] as shard, array_agg(v_clock) as sent, max(d_keep[d.n]) as keep
                  from unnest(d_run) with ordinality d(run, n)
                  join unnest(v_passed) with ordinality g(id, n) on g.id = d.run
                 where d_budget[d.n] is not null
                 group by 1, 2, 3, 4
            loop
                perform chimeway.count_sends(
                    v_key.tenant_id, v_key.recipient_id, v_key.channel, v_key.shard, v_key.sent, v_key.keep);
            end loop;
        end if;
        if array_remove(d_body, null) <> '{}' then
            insert into chimeway.inbox_items (id, shard, tenant_id, recipient_id, run_id, render_key, subject, body,
                    created_at)
            select d.id, v_shard[g.n], v_tenant[g.n], v_recipient[g.n], g.id, d_render_key[d.n], d_subject[d.n],
                   d_body[d.n], v_clock
              from unnest(d_id, d_run) with ordinality d(id, run, n)
              join unnest(v_passed) with ordinality g(id, n) on g.id = d.run
             where d_body[d.n] is not null
             order by d.n;  -- arrival numbers follow the order in which they were planned
            if found and exists (select from chimeway.inbox_watched) then
                perform chimeway.tell_inboxes(array_agg(v_tenant[g.n]), array_agg(v_recipient[g.n]))
                   from unnest(d_run) with ordinality d(run, n)
                   join unnest(v_passed) with ordinality g(id, n) on g.id = d.run
                  where d_body[d.n] is not null;
            end if;
        end if;
    end if;

    -- The deliveries of runs that were stopped: of those that wait in the app nearly none is open.
    if v_passed <> '{}' and 'stopped' = any(p_state) then
        if exists (
            select from unnest(v_passed, v_place) g(id, place)
             cross join lateral (
                select from chimeway.deliveries d
                 where d.run_id = g.id and d.status in ('pending','deferred','digested','failed','dispatched') offset 0) d
             where p_state[g.place] = 'stopped') then
            perform chimeway.end_deliveries(
                array(select g.id from unnest(v_passed, v_place) g(id, place) where p_state[g.place] = 'stopped'),
                'run_stopped', v_clock);
        end if;
    end if;

    if not v_mail_run <@ v_passed then  -- mail of runs whose decisions did not pass, and so are not written
        update chimeway.workflow_runs r set mailbox_count = m.many
          from (select m.run, max(m.number) as many from unnest(v_mail_run, v_mail_number) m(run, number)
                 group by m.run) m
         where r.id = m.run and r.id = any(v_mail_run) and not r.id = any(v_passed);
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

select chimeway.grant_roles();
