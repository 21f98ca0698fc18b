-- Plans: what a statement reads no longer hangs on how many rows the planner believes a table to have. (A count made
-- while somebody loads a table says that it is empty, and every way of reading it looks as cheap as any other.)
-- serves from: 7

-- transaction

-- The same, with the count in the runs' rows. (Their ids stand beside the join, too: without them a table that the planner
-- takes for empty would be read from end to end. `= any(array(...))` in the place of `in (...)` does the same elsewhere.)
create or replace function chimeway.route_for_runs(p_locked uuid[]) returns pg_snapshot
language plpgsql set enable_seqscan = off set enable_bitmapscan = off
set jit = off set plan_cache_mode = force_generic_plan as $$
declare v_mail record;
begin
    v_mail := chimeway.put_mail(p_locked);
    if v_mail.runs <> '{}' then
        update chimeway.workflow_runs r set mailbox_count = m.many
          from unnest(v_mail.runs, v_mail.counts) m(id, many) where r.id = m.id and r.id = any(v_mail.runs);
    end if;
    return v_mail.seen;
end $$;

-- Of these runs, those whose recipient's profile somebody is changing just now. It is for whoever defers messages:
-- what wakes the deferred (wake_deferred) does not see what is not committed. No profile is changed until the caller
-- has committed. A profile that is being written for the first time is not seen: what is deferred by the tenant's
-- words in that moment keeps its time.
create or replace function chimeway.being_changed(p_runs uuid[]) returns uuid[]
language sql set enable_seqscan = off security definer set search_path = chimeway, pg_temp as $$
    with wanted as (
        select r.id, c.tenant_id, c.recipient_id, c.shard
          from unnest(p_runs) p(id)
         cross join lateral (
            select r.id, r.tenant_id, r.recipient_id, r.shard from chimeway.workflow_runs r
             where r.id = p.id offset 0) r
         cross join lateral (
            select c.tenant_id, c.recipient_id, c.shard from chimeway.recipients c
             where c.tenant_id = r.tenant_id and c.recipient_id = r.recipient_id and c.shard = r.shard offset 0) c
    ), still as (
        select c.tenant_id, c.recipient_id
          from (select distinct w.tenant_id, w.recipient_id, w.shard from wanted w
                 order by w.tenant_id, w.recipient_id) w
         cross join lateral (
            select c.tenant_id, c.recipient_id from chimeway.recipients c
             where c.tenant_id = w.tenant_id and c.recipient_id = w.recipient_id and c.shard = w.shard offset 0
               for share skip locked) c
    )
    select coalesce(array_agg(w.id), '{}') from wanted w
     where not exists (select from still s where s.tenant_id = w.tenant_id and s.recipient_id = w.recipient_id)
$$;

-- Commits the decisions of many runs: lock, route, guard, write, each a statement with its own snapshot.
-- Answers per run: applied | stale | busy | refused | gone. `applied` is also the answer to a decision
-- that was written before (its answer was lost). A run stands at most once in a call.
-- p_profile and p_tenant: by which versions of the recipient's and the tenant's rows policy judged what is planned
-- (their xmin: whoever writes a row, in whatever way, makes another; 0: there was no row; null: nothing was judged).
-- What policy had to say stands in the arrays d_verdict, _reason, _inputs and d_until. d_budget: of an in-app message
-- that a cap looks at, by which revision of the budget it was counted; d_room and d_keep: see begin_attempts.
-- m_run, m_number and m_signal: signals on which it was decided before they were in the mailbox, and which number each
-- was foretold; routing has put them there now, or others. What was foretold wrongly is stale.
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
          from unnest(v_mail.runs, v_mail.counts) m(id, many)
         where r.id = m.id and r.id = any(v_mail.runs) and not r.id = any(v_passed);
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

-- Writes down that policy holds messages back that were about to be sent: `defer` until an instant, or `suppress`.
-- The same door as that of an attempt, and the same guards. Who is deferring a message also makes sure that nobody
-- is changing the recipient's preferences just then: what wakes the deferred (wake_deferred) would not see it.
-- Answers: applied | unseen | stale | busy | gone; nudged: the run can move now.
create or replace function chimeway.record_verdicts(
    p_owner uuid, p_epoch bigint,
    p_delivery uuid[], p_run uuid[], p_revision bigint[], p_mailbox int[], p_profile bigint[], p_tenant bigint[],
    p_verdict text[], p_reason text[], p_until timestamptz[], p_inputs jsonb[]
) returns table (delivery_id uuid, answer text, nudged boolean)
language plpgsql set enable_seqscan = off as $$
#variable_conflict use_column
declare
    v_locked   uuid[];
    v_passed   uuid[];
    v_changing uuid[];
    v_woken    uuid[];
    v_clock    timestamptz;
begin
    perform chimeway.check_ledger(p_owner, p_epoch);
    v_locked := chimeway.lock_deliveries(p_run, p_delivery);
    v_changing := chimeway.being_changed(array(
        select p.run from unnest(p_run, p_verdict) p(run, verdict)
         where p.verdict = 'defer' and p.run = any(v_locked)));
    perform chimeway.route_for_runs(v_locked);
    v_clock := chimeway.clock();
    select coalesce(array_agg(d.id), '{}') into v_passed
      from unnest(p_delivery, p_revision, p_mailbox, p_profile, p_tenant, p_verdict)
           p(id, revision, mailbox, profile, tenant, verdict)
     cross join lateral (
        select d.id, d.shard, d.run_id, d.status, d.revision, d.tenant_id, d.recipient_id from chimeway.deliveries d
         where d.id = p.id offset 0) d
     cross join lateral (
        select r.state, r.held_reason, r.mailbox_count from chimeway.workflow_runs r
         where r.id = d.run_id and r.shard = d.shard offset 0) r
      left join lateral (
        select c.xmin::text::bigint as version from chimeway.recipients c
         where p.profile is not null and c.tenant_id = d.tenant_id and c.recipient_id = d.recipient_id
           and c.shard = d.shard offset 0) c on true
      left join lateral (
        select t.xmin::text::bigint as version from chimeway.tenants t
         where p.profile is not null and t.tenant_id = d.tenant_id offset 0) t on true
     where d.run_id = any(v_locked) and not (p.verdict = 'defer' and d.run_id = any(v_changing))
       and d.status in ('pending','failed','deferred') and d.revision = p.revision and r.held_reason is null
       and (r.state not in ('active','waiting') or r.mailbox_count = p.mailbox)
       and p.profile = coalesce(c.version, 0) and p.tenant = coalesce(t.version, 0);

    insert into chimeway.delivery_verdicts (delivery_id, shard, number, stage, verdict, reason, until, inputs, at)
    select d.id, d.shard, chimeway.next_verdict(d.id, d.shard), 'before_send', p.verdict, p.reason, p.until, p.inputs,
           v_clock
      from unnest(p_delivery, p_verdict, p_reason, p_until, p_inputs) p(id, verdict, reason, until, inputs)
     cross join lateral (select d.id, d.shard from chimeway.deliveries d where d.id = p.id offset 0) d
     where d.id = any(v_passed);
    update chimeway.deliveries d
       set status = case p.verdict when 'defer' then 'deferred' else 'suppressed' end,
           deferred_reason = case p.verdict when 'defer' then p.reason end,
           next_attempt_at = case p.verdict when 'defer' then p.until end,
           -- The trace names the rule; of a message, hours that never allow it are all quiet hours.
           suppression_reason = case when p.verdict = 'suppress' then
               case p.reason when 'send_window' then 'quiet_hours' else p.reason end end,
           terminal_at = case p.verdict when 'suppress' then v_clock end,
           revision = d.revision + 1
      from unnest(p_delivery, p_verdict, p_reason, p_until) p(id, verdict, reason, until)
     where d.id = p.id and d.id = any(v_passed);

    -- What has ended may let its run go on.
    select coalesce(array_agg(d.id), '{}') into v_woken
      from unnest(v_passed) p(id)
     cross join lateral (
        select d.id, d.shard, d.run_id, d.visit, d.terminal_at from chimeway.deliveries d where d.id = p.id offset 0) d
     cross join lateral (
        select r.visit, r.state from chimeway.workflow_runs r where r.id = d.run_id and r.shard = d.shard offset 0) r
     where d.terminal_at is not null and r.visit = d.visit and r.state = 'active';
    if v_woken <> '{}' then
        update chimeway.workflow_runs r set wake_at = least(coalesce(r.wake_at, v_clock), v_clock)
         where r.id = any(array(select d.run_id from chimeway.deliveries d where d.id = any(v_woken)));
    end if;

    return query
    select p.id, case
            when p.id = any(v_passed) then 'applied'
            when d.id is null then 'gone'
            when not d.run_id = any(v_locked) or (p.verdict = 'defer' and d.run_id = any(v_changing)) then 'busy'
            when d.status in ('pending','failed','deferred') and d.revision = p.revision
                 and r.state in ('active','waiting') and r.mailbox_count <> p.mailbox then 'unseen'
            else 'stale' end,
           p.id = any(v_woken)
      from unnest(p_delivery, p_revision, p_mailbox, p_verdict) p(id, revision, mailbox, verdict)
      left join lateral (
        select d.id, d.shard, d.run_id, d.status, d.revision from chimeway.deliveries d
         where d.id = p.id offset 0) d on true
      left join lateral (
        select r.state, r.mailbox_count from chimeway.workflow_runs r
         where r.id = d.run_id and r.shard = d.shard offset 0) r on true;
end $$;

-- Lets what waits for a recipient be judged again now: his preferences have changed. It is for whoever writes them,
-- in the same transaction; returns how many. What somebody else has locked keeps its time, and so does what is of
-- more than a thousand runs: the locks are held until the caller commits.
create or replace function chimeway.wake_deferred(p_tenant_id text, p_recipient_id text) returns int
language plpgsql set enable_seqscan = off as $$
#variable_conflict use_column
declare
    v_runs  uuid[];
    v_clock timestamptz := chimeway.clock();
    v_many  int;
begin
    if not exists (select from chimeway.deliveries d
                    where d.tenant_id = p_tenant_id and d.recipient_id = p_recipient_id
                      and d.shard = chimeway.shard_of(p_tenant_id, p_recipient_id) and d.status = 'deferred') then
        return 0;
    end if;
    -- The runs first, as everywhere: else a batch of the ledger would wait for whoever called this.
    select coalesce(array_agg(l.id), '{}') into v_runs from (
        select r.id from chimeway.workflow_runs r
         where r.id = any(array(
            select d.run_id from chimeway.deliveries d
             where d.tenant_id = p_tenant_id and d.recipient_id = p_recipient_id
               and d.shard = chimeway.shard_of(p_tenant_id, p_recipient_id) and d.status = 'deferred'))
         order by r.id limit 1000 for update skip locked) l;
    update chimeway.deliveries d set next_attempt_at = least(d.next_attempt_at, v_clock)
     where d.id = any(array(
        select l.id from chimeway.deliveries l
         where l.run_id = any(v_runs) and l.tenant_id = p_tenant_id and l.recipient_id = p_recipient_id
           and l.status = 'deferred' order by l.id for no key update skip locked));
    get diagnostics v_many = row_count;
    if v_many > 0 then perform chimeway.hint(); end if;
    return v_many;
end $$;

-- The delivery that an event is about, or null: by its id, else by what the provider called it when it took it
-- (if no two of this tenant's deliveries were called so, and not a hundred calls of anybody's).
create or replace function chimeway.delivery_told_of(p_event jsonb, p_tenant_id text) returns uuid
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
             where x.provider_reference = any(array(select r.reference from jsonb_array_elements_text(case
                       when jsonb_typeof(p_event -> 'provider_reference') = 'array' then p_event -> 'provider_reference'
                       else jsonb_build_array(p_event -> 'provider_reference') end) r(reference))) limit 101) x
     cross join lateral (
        select d.id, d.tenant_id from chimeway.deliveries d where d.id = x.delivery_id and d.shard = x.shard offset 0) d;
    return case when v_calls <= 100 and cardinality(v_found) = 1 then v_found[1] end;
end $$;

-- Writes down what a provider told of deliveries, and moves them to what its gravest event says: `delivered` is
-- succeeded, `failed` cancelled/permanent_failure, `bounced` cancelled/bounced, whatever they were before;
-- `complained` and `deferred` move nothing. The run hears of it by signals, and is woken when it stands there.
-- An event told before changes nothing. Answers: recorded | repeat | unknown | unsent (no provider was ever
-- asked for it: nothing is written) | busy (somebody else has the run locked; only without patience).
-- With a tenant, deliveries of others are unknown.
create or replace function chimeway.record_feedback(
    p_source text, p_events jsonb, p_tenant_id text default null, p_patient boolean default true
) returns table (place int, event_id text, delivery_id uuid, answer text)
language plpgsql set enable_seqscan = off security definer set search_path = chimeway, pg_temp as $$
#variable_conflict use_column
declare
    v_id         uuid[];    -- of each event in its place
    v_locked     uuid[];
    v_gone       uuid[];    -- runs whose recipient was forgotten: of their events only kind and time are kept
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
        select coalesce(array_agg(l.id), '{}'), coalesce(array_agg(l.id) filter (where l.forgotten_at is not null), '{}')
          into v_locked, v_gone from (
            select r.id, r.forgotten_at from chimeway.workflow_runs r
             where r.id = any(array(select d.run_id from chimeway.deliveries d where d.id = any(v_id)))
             order by r.id for update) l;
    else
        select coalesce(array_agg(l.id), '{}'), coalesce(array_agg(l.id) filter (where l.forgotten_at is not null), '{}')
          into v_locked, v_gone from (
            select r.id, r.forgotten_at from chimeway.workflow_runs r
             where r.id = any(array(select d.run_id from chimeway.deliveries d where d.id = any(v_id)))
             order by r.id for update skip locked) l;
    end if;
    perform 1 from (
        select d.id from chimeway.deliveries d
         where d.id = any(v_id) and d.run_id = any(v_locked) order by d.id for no key update) l;
    v_clock := chimeway.clock();

    -- `before` is what stood there when this statement began, under the locks.
    with items as (
        select distinct on (d.id, e.event ->> 'id') e.place::int as place, d.id, d.shard, e.event, g.gone,
               case when g.gone then chimeway.digest_of(d.tenant_id, e.event ->> 'id') else e.event ->> 'id' end as name
          from jsonb_array_elements(p_events) with ordinality e(event, place)
          join unnest(v_id) with ordinality m(id, place) on m.place = e.place
          join chimeway.deliveries d on d.id = m.id
         cross join lateral (select d.run_id = any(v_gone) as gone) g
         where d.run_id = any(v_locked) and d.attempt_count > 0
         order by d.id, e.event ->> 'id', e.place
    ), new as (
        insert into chimeway.delivery_feedback (delivery_id, shard, source, event_id, kind, at, detail, recorded_at)
        select i.id, i.shard, p_source, i.name, i.event ->> 'type', coalesce((i.event ->> 'at')::timestamptz, v_clock),
               case when not i.gone then left(i.event ->> 'detail', 1000) end, v_clock
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
              join new n on n.delivery_id = i.id and n.event_id = i.name),
           coalesce(array_agg(w.id order by w.id) filter (where w.graver), '{}'),
           coalesce(array_agg(w.rank order by w.id) filter (where w.graver), '{}'),
           coalesce(array_agg(w.id) filter (where w.complained), '{}')
      into v_fresh, v_risen, v_rank, v_complained from news w;

    with moved as (
        update chimeway.deliveries d
           set status = v.status, suppression_reason = v.reason, terminal_at = v_clock, next_attempt_at = null,
               waiting_for_node = null, deferred_reason = null, revision = d.revision + 1
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
         cross join lateral (
            select r.workflow_key, r.workflow_version, r.held_reason, r.mailbox_count, r.mailbox_seen
              from chimeway.workflow_runs r where r.id = q.run_id and r.shard = q.shard offset 0) r
          join chimeway.workflow_definitions w on w.key = r.workflow_key and w.version = r.workflow_version;
        continue when not found;
        v_found := v_found + 1;
        exit when v_found = p_lines;
    end loop;
    return query select null::uuid, null::timestamptz, v_channel, v_tenant, false;
end $$;
