-- Chimeway: the whole schema, readable from top to bottom, and its only copy.
--
-- Needs no superuser and no extension, only CREATE on the database; PostgreSQL 15 to 18.
-- Contents:  1 ground  2 tables  3 append-only  4 what producers call  5 what operators call
--            6 the ledger  7 deliveries  8 mailbox  9 nodes and shards  10 retention  11 roles
--
-- A change here goes into the newest migration too (runtime/chimeway/store/migrations); a test compares.
--
-- Locks are taken in one order everywhere, table after table and within each in the order of its key:
--   workflow_definitions (key, version), inbox_watchers, workflow_runs, deliveries, events, inbox_items,
--   send_budgets (tenant, recipient, channel), recipients (tenant, recipient), signals, request_answers.
-- Who waits for a row has none behind it, so nobody waits in a circle. What is taken with `skip locked` is not waited
-- for, and may be of any place. (tests/store/test_lock_order.py tries every verb; docs/design.md, "The order of locks".)
-- Whoever changes a delivery holds its run's lock, or takes it as nobody waits for (skip locked); whoever changes what
-- a process watches holds that watcher's lock. Deliveries are locked `for no key update`: a link to unsubscribe
-- has its own `for key share`, which only forgetting, `for update`, waits for; likewise who routes a signal has it
-- `for no key update`, who puts it into a mailbox `for key share`, and who deletes it waits for nothing any more.
-- Only `cancel` and other commands of people wait for a run; every function that works in batches skips what is locked.
-- All instants are UTC; time comes from chimeway.clock(), ownership alone from clock_timestamp().

create schema chimeway;

-- ── 1 ground ─────────────────────────────────────────────────────────────────────────────────────

-- A row for each version that the schema here has had since it was installed; the highest one holds.
create table chimeway.schema_version (
    version      int         primary key,
    installed_at timestamptz not null default clock_timestamp(),
    serves_from  int         not null,             -- programs that know this version may work on it, too
    program      text                              -- which program brought it; null: somebody, by hand
);
insert into chimeway.schema_version (version, serves_from) values (9, 8);

-- The one clock of all SQL. A test installation replaces it by one that reads chimeway.test_clock.
create function chimeway.clock() returns timestamptz
language sql volatile as $$ select clock_timestamp() $$;

-- Numbers runs and signals when they are written: a signal reaches runs with a smaller number.
create sequence chimeway.arrival cache 1;

-- The shard of a recipient; the only place where it is computed (vectors are in the tests). Always the same, and yet
-- only `stable`, as convert_to is: else it would not be inlined.
create function chimeway.shard_of(tenant_id text, recipient_id text) returns smallint
language sql stable strict parallel safe as $$
    select get_byte(sha256(convert_to($1 || chr(31) || $2, 'UTF8')), 0)::smallint
$$;

-- The shard that an id of a run, delivery, event or signal carries in its last byte.
create function chimeway.shard_of_id(id uuid) returns smallint
language sql immutable strict parallel safe as $$ select get_byte(uuid_send($1), 15)::smallint $$;

-- A UUIDv7-shaped id: milliseconds and their fraction first (index locality; those of one session come
-- in order, but for those of one quarter of a microsecond), then chance, and the shard in the last byte. One expression
-- that uses its argument once, so it is inlined where it is called. (4096ths of a millisecond in hexadecimal are eleven
-- digits, and three behind the version; no id is a secret, so 52 bits of the session's own generator do.)
create function chimeway.new_id(shard smallint) returns uuid
language sql volatile strict as $$
    select ('0' || overlay(to_hex((date_part('epoch', clock_timestamp()) * 1000000)::bigint * 512 / 125)
                           placing '7' from 12 for 0)
            || to_hex('-9223372036854775808'::bigint + (random() * 4503599627370496)::bigint * 256 + $1))::uuid
$$;

-- ── 2 tables ─────────────────────────────────────────────────────────────────────────────────────
-- `shard` is part of every primary, unique and foreign key (after the id, so that inserts stay local).

create table chimeway.workflow_definitions (
    key           text        not null check (key <> '' and length(key) <= 255),
    version       int         not null check (version >= 1),
    digest        text        not null,            -- SHA-256 over canonical JSON, hexadecimal
    definition    jsonb       not null check (jsonb_typeof(definition) = 'object'),
    signal_types  text[]      not null,            -- what routing needs to know
    required_data jsonb       not null,            -- top-level name → "any" | "instant"
    match_fields  text[]      not null default '{}',  -- of payloads, what conditions look at
    activated     boolean     not null default false,
    paused_at     timestamptz,
    registered_at timestamptz not null default chimeway.clock(),
    data_schema   jsonb,                           -- JSON Schema of the data, where a model was declared
    primary key (key, version)
);
-- At most one version is fixed as the current one; else the highest is.
create unique index workflow_definitions_activated on chimeway.workflow_definitions (key) where activated;

-- One trigger. Its shard is that of (tenant_id, idempotency_key), so that a key meets itself.
create table chimeway.events (
    id               uuid        not null,
    shard            smallint    not null,
    tenant_id        text        not null,
    workflow_key     text        not null,
    workflow_version int         not null,
    idempotency_key  text,
    recipient_ids    text[]      not null,
    run_ids          uuid[]      not null,          -- in the order of recipient_ids
    data             jsonb       not null,
    data_digest      bytea       not null,
    created_at       timestamptz not null,
    forgotten        int         not null default 0,  -- of how many of its recipients the name is gone: forgotten, or pruned
    pruned           int         not null default 0,  -- how many of its runs have left (retention)
    traceparent      text        default              -- of who triggered (W3C), where that was said: docs/metrics.md
        case when current_setting('chimeway.traceparent', true) ~ '^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$'
             then current_setting('chimeway.traceparent', true) end,
    primary key (id, shard)
) with (autovacuum_vacuum_scale_factor = 0.02,
        autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05);
create unique index events_idempotency on chimeway.events (tenant_id, idempotency_key, shard)
    where idempotency_key is not null;

-- Events whose runs have all left, and which stay for their keys' sake.
create table chimeway.outlived_events (
    created_at timestamptz not null,                -- the event's
    event_id   uuid        not null,
    shard      smallint    not null,
    primary key (created_at, event_id, shard)
);

create table chimeway.workflow_runs (
    id               uuid        not null,
    shard            smallint    not null,
    tenant_id        text        not null,
    recipient_id     text        not null,
    workflow_key     text        not null,
    workflow_version int         not null,
    event_id         uuid        not null,          -- no foreign key: an event has another shard
    cancellation_key text,
    arrival          bigint      not null default nextval('chimeway.arrival'),
    state            text        not null check (state in ('active','waiting','completed','stopped','failed')),
    step             text,
    visit            int         not null default 0,
    revision         bigint      not null default 1,
    transition_count int         not null default 0,
    mailbox_count    int         not null default 0,  -- the highest number given
    mailbox_seen     int         not null default 0,  -- the highest that a written decision had seen
    status_reason    text        not null,
    status_context   jsonb       not null default '{}',
    pending_signals  text[]      not null default '{}',
    wake_at          timestamptz,                   -- the next instant at which it must be evaluated
    entered_at       timestamptz,
    armed_step       text,                          -- the wait just left, see semantics §6
    armed_entered_at timestamptz,
    held_reason      text check (held_reason in ('poison_decision','three_strikes','too_many_steps','held_by_request')),
    held_at          timestamptz,
    waiting_for_node text,                          -- what no node of late could do
    parked           boolean     not null default false,  -- kept by a pause: due, or has mail
    strikes          smallint    not null default 0,
    created_at       timestamptz not null,
    ended_at         timestamptz,
    forgotten_at     timestamptz,                   -- whose it was is forgotten: no free text is written any more
    primary key (id, shard),
    foreign key (workflow_key, workflow_version) references chimeway.workflow_definitions (key, version),
    check ((state in ('completed','stopped','failed')) = (ended_at is not null)),
    check (ended_at is null or wake_at is null),
    check (mailbox_seen <= mailbox_count),
    check (held_reason is null = (held_at is null))
) with (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02,
        autovacuum_vacuum_insert_scale_factor = 0.05);
create index workflow_runs_due on chimeway.workflow_runs (shard, wake_at, id)
    where wake_at is not null and held_reason is null and waiting_for_node is null and not parked;
-- The same tenant by tenant, first those that were not decided about yet: each tenant's turn (docs/design.md).
create index workflow_runs_due_of_tenant on chimeway.workflow_runs (least(visit, 1), tenant_id, wake_at, id)
    where wake_at is not null and held_reason is null and waiting_for_node is null and not parked;
-- What people page through: a tenant's runs, the newest first, and who waits, who goes on first. Each decision
-- writes into them, too: measured 4 percent more WAL for a whole journey (its update of the run is no HOT
-- update without them either: state and wake_at are indexed), so there are no more.
create index workflow_runs_of_tenant on chimeway.workflow_runs (tenant_id, id);
create index workflow_runs_waiting on chimeway.workflow_runs
    (tenant_id, coalesce(wake_at, '9999-12-31Z'::timestamptz), id) where state = 'waiting';
create index workflow_runs_parked on chimeway.workflow_runs (workflow_key, id) where parked;
create index workflow_runs_live on chimeway.workflow_runs (tenant_id, recipient_id, shard)
    where state in ('active','waiting');
-- What is forgotten and exported; a run comes into it once, when it ends.
create index workflow_runs_ended on chimeway.workflow_runs (tenant_id, recipient_id, id, shard)
    where ended_at is not null;
-- The oldest first, for retention; written once, when a run ends, at its right edge.
create index workflow_runs_ended_at on chimeway.workflow_runs (ended_at, id) where ended_at is not null;
create index workflow_runs_cancellation on chimeway.workflow_runs (tenant_id, cancellation_key, shard)
    where cancellation_key is not null;
create index workflow_runs_unread on chimeway.workflow_runs (id, shard)
    where mailbox_count > mailbox_seen and state in ('active','waiting') and held_reason is null;
create index workflow_runs_struck on chimeway.workflow_runs (id) where strikes > 0;
create index workflow_runs_held on chimeway.workflow_runs (id) where held_reason is not null;
create index workflow_runs_incapable on chimeway.workflow_runs (shard, id) where waiting_for_node is not null;

-- The audit: append-only. Bears the run's whole state after each change, so that a fold takes the last.
create table chimeway.workflow_transitions (
    run_id        uuid        not null,
    shard         smallint    not null,
    seq           int         not null check (seq >= 1),
    decision_id   uuid        not null,
    reason        text        not null check (reason in (
        'workflow_started','step_activated','signal_received','waiting_for_step_progression',
        'reactivated_from_wait','progressed_on_delivery_outcome','workflow_stopped','workflow_completed',
        'cancelled_by_request','recipient_forgotten','failed_by_request','run_held','run_resumed',
        'wait_retimed')),
    from_state    text,
    to_state      text        not null,
    from_step     text,
    to_step       text,
    visit         int         not null,
    status_reason text        not null,
    context       jsonb       not null default '{}',
    signal_id     uuid,
    signal_type   text,
    note          text check (length(note) <= 1000),
    inputs        jsonb,                            -- on the first transition of a decision (replay)
    snapshot      pg_snapshot,                      -- what the guard of an elapsed wait could see
    xid           xid8        not null default pg_current_xact_id(),
    at            timestamptz not null,
    primary key (run_id, seq, shard),
    foreign key (run_id, shard) references chimeway.workflow_runs (id, shard)
) with (autovacuum_vacuum_scale_factor = 0.02,
        autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05);

create table chimeway.deliveries (
    id                 uuid        not null,
    shard              smallint    not null,
    run_id             uuid        not null,
    visit              int         not null,
    step_id            text        not null,
    tenant_id          text        not null,
    recipient_id       text        not null,
    channel            text        not null,
    render_key         text        not null,
    status             text        not null check (status in
        ('pending','dispatched','deferred','digested','failed','succeeded','suppressed','cancelled')),
    suppression_reason text check (suppression_reason in (
        'no_address','preference','quiet_hours','cap','retries_exhausted','permanent_failure','bounced',
        'superseded','stopped_before_send','run_stopped','recipient_forgotten')),
    revision           bigint      not null default 1,
    attempt_count      int         not null default 0,
    failed_count       int         not null default 0,
    stop_requested     boolean     not null default false,
    next_attempt_at    timestamptz,
    waiting_for_node   text,
    address            text,
    message            jsonb,                       -- rendered once, sent unchanged by every retry
    last_outcome       text,
    last_error_class   text,
    note               text,
    created_at         timestamptz not null,
    terminal_at        timestamptz,
    deferred_reason    text,                        -- why it waits (quiet_hours, send_window, cap), while deferred
    primary key (id, shard),
    unique (run_id, visit, shard),
    foreign key (run_id, shard) references chimeway.workflow_runs (id, shard),
    check ((status in ('succeeded','suppressed','cancelled')) = (terminal_at is not null)),
    check (status in ('suppressed','cancelled') = (suppression_reason is not null)),
    check (next_attempt_at is null or status in ('pending','failed','deferred','digested'))
) with (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02,
        autovacuum_vacuum_insert_scale_factor = 0.05);
create index deliveries_due on chimeway.deliveries (shard, next_attempt_at, id) include (channel)
    where next_attempt_at is not null and waiting_for_node is null;
create index deliveries_due_of_tenant on chimeway.deliveries (channel, tenant_id, next_attempt_at, id)
    where next_attempt_at is not null and waiting_for_node is null;
create index deliveries_dispatched on chimeway.deliveries (shard, id) where status = 'dispatched';
-- What has ended while a call was under way, by what its provider told: the call's result is still to come.
create index deliveries_unanswered on chimeway.deliveries (id)
    where terminal_at is not null
      and attempt_count > failed_count + case last_outcome when 'succeeded' then 1 else 0 end;
create index deliveries_deferred on chimeway.deliveries (tenant_id, recipient_id, shard) where status = 'deferred';
create index deliveries_incapable on chimeway.deliveries (shard, id) where waiting_for_node is not null;
-- What was rendered, to be erased some days after the end. What was written into an inbox is not in it.
create index deliveries_bodies on chimeway.deliveries (terminal_at, id)
    where message is not null and terminal_at is not null;

-- One provider call, durable before it is made. Append-only, as is its result.
create table chimeway.delivery_attempts (
    delivery_id uuid        not null,
    shard       smallint    not null,
    attempt_no  int         not null check (attempt_no >= 1),
    run_id      uuid        not null,
    node        uuid        not null,
    snapshot    pg_snapshot not null,               -- what the guard could see
    xid         xid8        not null default pg_current_xact_id(),
    started_at  timestamptz not null,
    provider    text,                               -- which of its channel's was called
    primary key (delivery_id, attempt_no, shard),
    foreign key (delivery_id, shard) references chimeway.deliveries (id, shard)
) with (autovacuum_vacuum_scale_factor = 0.02,
        autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05);
create table chimeway.delivery_attempt_results (
    delivery_id        uuid        not null,
    shard              smallint    not null,
    attempt_no         int         not null,
    outcome            text        not null check (outcome in ('succeeded','failed','unknown')),
    error_class        text check (error_class in
        ('transient','timeout','rate_limited','unknown','permanent','configuration','bounced')),
    note               text,
    provider_reference text,
    finished_at        timestamptz not null,
    primary key (delivery_id, attempt_no, shard),
    foreign key (delivery_id, attempt_no, shard)
        references chimeway.delivery_attempts (delivery_id, attempt_no, shard)
) with (autovacuum_vacuum_scale_factor = 0.02,
        autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05);
create index delivery_attempt_results_reference on chimeway.delivery_attempt_results (provider_reference)
    where provider_reference is not null;

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
) with (autovacuum_vacuum_scale_factor = 0.02,
        autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05);

create table chimeway.signals (
    id         uuid        not null,
    shard      smallint    not null,
    tenant_id  text        not null,
    actor_id   text        not null,
    type       text        not null check (type <> '' and length(type) <= 255),
    payload    jsonb       not null,
    dedupe_key text,
    run_id     uuid,                                -- of Chimeway's own signals: the only run it reaches
    arrival    bigint      not null default nextval('chimeway.arrival'),
    routed_at  timestamptz,
    xid        xid8        not null default pg_current_xact_id(),
    created_at timestamptz not null,
    primary key (id, shard)
) with (fillfactor = 85, autovacuum_vacuum_scale_factor = 0.02,
        autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05);
create unique index signals_dedupe on chimeway.signals (tenant_id, actor_id, dedupe_key, shard)
    where dedupe_key is not null;
create index signals_of_actor on chimeway.signals (tenant_id, actor_id, arrival, shard);
create index signals_unrouted on chimeway.signals (arrival, shard) where routed_at is null;
create index signals_unrouted_of_actor on chimeway.signals (tenant_id, actor_id, arrival, shard)
    where routed_at is null;

create table chimeway.run_mailbox (
    run_id      uuid        not null,
    shard       smallint    not null,
    number      int         not null check (number >= 1),
    signal_id   uuid        not null,
    routed_at   timestamptz not null,
    consumed_by uuid,                               -- the decision; a mark, never a deletion
    primary key (run_id, number, shard),
    foreign key (run_id, shard) references chimeway.workflow_runs (id, shard),
    foreign key (signal_id, shard) references chimeway.signals (id, shard)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02,
        autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05);
create unique index run_mailbox_of_signal on chimeway.run_mailbox (signal_id, run_id, shard);

create table chimeway.inbox_items (
    id           uuid        not null,              -- the delivery's id
    shard        smallint    not null,
    tenant_id    text        not null,
    recipient_id text        not null,
    run_id       uuid        not null,
    render_key   text        not null,
    subject      text        not null,
    body         text        not null,
    created_at   timestamptz not null,
    seen_at      timestamptz,
    read_at      timestamptz,
    archived_at  timestamptz,
    interacted_at timestamptz,
    told         text[]      not null default '{}',  -- the marks of which its run has heard: each is told once
    arrival      bigint      not null default nextval('chimeway.arrival'),  -- orders the items of one instant
    primary key (id, shard),
    foreign key (id, shard) references chimeway.deliveries (id, shard)
) with (autovacuum_vacuum_scale_factor = 0.02,
        autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05);
-- The feed: what is put away is told by the index, and passed over or picked there. And what counts ask for, which
-- tells what is unseen. Those of one instant are few, and sorted when they are read. Measured: docs/inbox.md.
create index inbox_items_listed on chimeway.inbox_items (tenant_id, recipient_id, created_at desc, archived_at, shard);
create index inbox_items_unread on chimeway.inbox_items (tenant_id, recipient_id, created_at desc, seen_at, shard)
    where read_at is null and archived_at is null;

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

create table chimeway.recipients (
    tenant_id    text        not null,
    recipient_id text        not null,
    shard        smallint    not null,
    addresses    jsonb       not null default '{}',  -- channel → address
    timezone     text,
    locale       text,
    preferences  jsonb       not null default '{}',
    data         jsonb       not null default '{}',
    created_at   timestamptz not null,
    updated_at   timestamptz not null,
    unsubscribed jsonb       not null default '{}',  -- workflow → channel → what unsubscribing wrote, and what was there
    primary key (tenant_id, recipient_id, shard)
);

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
) with (autovacuum_vacuum_scale_factor = 0.02,
        autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05);

create table chimeway.nodes (
    id         uuid        primary key,
    name       text        not null,
    version    text        not null,
    channels   text[]      not null default '{}',
    asleep     boolean     not null default false,   -- producers notify only when one is
    started_at timestamptz not null default clock_timestamp(),
    seen_at    timestamptz not null default clock_timestamp()
) with (fillfactor = 50, autovacuum_vacuum_threshold = 200, autovacuum_vacuum_scale_factor = 0);

-- Who works: a lease for each node, which it renews and others end; and who has which shard. (engine/ownership.py has
-- the whole theory.) A lease that ends is deleted: whoever stands nowhere here has nothing under way any more.
create sequence chimeway.lease_epoch cache 1;
create table chimeway.leases (
    owner      uuid        primary key,              -- made anew for each lease
    epoch      bigint      not null unique default nextval('chimeway.lease_epoch'),
    node       uuid,                                 -- null: a program of schema version 3
    alone      boolean     not null default false,   -- has all shards or none, as programs of schema version 3 do
    shown      boolean     not null,                 -- whether it holds a session lock while it lives
    draining   boolean     not null default false,   -- it ends what is under way, and is given nothing any more
    taken_at   timestamptz not null default clock_timestamp(),
    lasts      interval    not null default '3 s',   -- from each beat
    expires_at timestamptz not null
) with (fillfactor = 50, autovacuum_vacuum_threshold = 200, autovacuum_vacuum_scale_factor = 0);

create table chimeway.shard_owners (
    shard    smallint    primary key check (shard between 0 and 255),
    owner    uuid,                                   -- of a lease; one that has ended: nobody
    clean    boolean     not null default true,      -- whether nothing in it is under suspicion of having killed a node
    taken_at timestamptz
) with (fillfactor = 50, autovacuum_vacuum_threshold = 500, autovacuum_vacuum_scale_factor = 0);
insert into chimeway.shard_owners (shard) select generate_series(0, 255);

-- Both as one, as programs of schema version 3 know it, and as people ask.
create view chimeway.shards as
select s.shard as first_shard, s.shard as last_shard, l.owner, coalesce(l.epoch, 0) as epoch, l.expires_at, s.taken_at,
       s.clean, l.node
  from chimeway.shard_owners s left join chimeway.leases l on l.owner = s.owner;

-- Logins that may act for some tenants alone, whatever else they may; who is not here acts for every tenant. By name: a
-- role's number is another one after a restore.
create table chimeway.producers (
    role_name  text        primary key,
    tenant_ids text[]      not null,                -- none: it acts for nobody
    changed_at timestamptz not null default chimeway.clock(),
    changed_by text        not null default session_user
);

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

-- What operators did by HTTP or by command, written in the transaction of what they did: who, when, to what, and why.
create table chimeway.operator_actions (
    id           uuid        primary key default gen_random_uuid(),
    at           timestamptz not null default chimeway.clock(),
    who          text        not null,               -- a token's name; of a command, who was logged in
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

-- How far what nodes prune by themselves has come: see chimeway.prune_next.
create table chimeway.pruning (
    part     text        primary key check (part in ('bodies','runs','events','signals','answers','actions','restored')),
    place_at timestamptz not null default '-infinity',
    place    uuid        not null default '00000000-0000-0000-0000-000000000000',
    began_at timestamptz not null default '-infinity',  -- when a pass last began at the beginning
    moved_at timestamptz
) with (fillfactor = 50, autovacuum_vacuum_threshold = 200, autovacuum_vacuum_scale_factor = 0);
insert into chimeway.pruning (part) values ('bodies'), ('runs'), ('events'), ('signals'), ('answers'), ('actions'),
    ('restored');

-- ── 3 append-only ────────────────────────────────────────────────────────────────────────────────

create function chimeway.refuse_change() returns trigger
language plpgsql as $$
begin
    if coalesce(current_setting('chimeway.retention', true), '') = 'on' then
        return coalesce(new, old);
    end if;
    raise exception 'append_only: rows of chimeway.% are never changed or deleted', tg_table_name
        using errcode = 'CW010', hint = 'Retention deletes whole runs; nothing else may.';
end $$;

create trigger append_only before update or delete on chimeway.workflow_transitions
    for each row execute function chimeway.refuse_change();
create trigger append_only before update or delete on chimeway.delivery_attempts
    for each row execute function chimeway.refuse_change();
create trigger append_only before update or delete on chimeway.delivery_attempt_results
    for each row execute function chimeway.refuse_change();
create trigger append_only before update or delete on chimeway.delivery_feedback
    for each row execute function chimeway.refuse_change();
create trigger append_only before update or delete on chimeway.delivery_verdicts
    for each row execute function chimeway.refuse_change();
create trigger append_only_truncate before truncate on chimeway.workflow_transitions
    for each statement execute function chimeway.refuse_change();
create trigger append_only_truncate before truncate on chimeway.delivery_attempts
    for each statement execute function chimeway.refuse_change();
create trigger append_only_truncate before truncate on chimeway.delivery_attempt_results
    for each statement execute function chimeway.refuse_change();
create trigger append_only_truncate before truncate on chimeway.delivery_feedback
    for each statement execute function chimeway.refuse_change();
create trigger append_only_truncate before truncate on chimeway.delivery_verdicts
    for each statement execute function chimeway.refuse_change();

-- ── 4 what producers call ────────────────────────────────────────────────────────────────────────
-- All take part in the caller's transaction. Errors: SQLSTATE class CW, the message opens with the
-- stable code, the hint says what would be right.

create function chimeway.refuse(code text, state text, message text, hint text) returns void
language plpgsql as $$
begin
    raise exception '%: %', code, message using errcode = state, hint = hint;
end $$;

-- Whether a text may be a name.
create function chimeway.is_id(value text) returns boolean
language sql immutable parallel safe as $$ select coalesce(length($1) between 1 and 255, false) $$;

create function chimeway.check_id(name text, value text) returns void
language plpgsql as $$
begin
    if not chimeway.is_id(value) then
        perform chimeway.refuse('invalid_input', 'CW001',
            format('%s is %s', name, case when value is null then 'null' when value = '' then 'empty'
                else length(value) || ' characters long' end),
            format('%s must be a text of 1 to 255 characters', name));
    end if;
end $$;

create function chimeway.check_object(name text, value jsonb) returns void
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

-- Wakes a node, if one sleeps. A producer that reads "awake" is found by that node's next look.
create function chimeway.hint() returns void
language plpgsql as $$
begin
    if exists (select from chimeway.nodes where asleep) then
        perform pg_notify('chimeway', '');
    end if;
end $$;

-- Whether text is an instant: RFC 3339 with its offset, in the years 1 to 9999. Nothing that the engine
-- cannot read may pass here (a leap second, an hour 24): a run would be stuck on it.
create function chimeway.is_instant(value jsonb) returns boolean
language plpgsql stable as $$
begin
    if value is null or jsonb_typeof(value) <> 'string'
       or (value #>> '{}') !~ ('^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt]([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]'
            || '([.][0-9]{1,6})?([Zz]|[+-][0-9]{2}:[0-9]{2})$') then
        return false;
    end if;
    return (value #>> '{}')::timestamptz between '0001-01-01T00:00:00Z' and '9999-12-31T23:59:59.999999Z';
exception when others then
    return false;
end $$;

-- The definition that a trigger starts; raises unknown_workflow.
create function chimeway.current_definition(workflow text, workflow_version int)
returns chimeway.workflow_definitions
language plpgsql stable as $$
declare found chimeway.workflow_definitions;
begin
    if workflow_version is not null then
        select * into found from chimeway.workflow_definitions d
         where d.key = workflow and d.version = current_definition.workflow_version;
    else
        select * into found from chimeway.workflow_definitions d
         where d.key = workflow order by d.activated desc, d.version desc limit 1;
    end if;
    if found.key is null then
        perform chimeway.refuse('unknown_workflow', 'CW002',
            format('workflow "%s"%s is not registered', workflow,
                coalesce(' version ' || workflow_version, '')),
            'register it first: chimeway workflow register FILE, or chimeway.register_workflow(...)');
    end if;
    return found;
end $$;

create function chimeway.check_data(definition chimeway.workflow_definitions, data jsonb) returns void
language plpgsql stable as $$
declare wanted record;
begin
    for wanted in select key, value from jsonb_each_text(definition.required_data) loop
        if not data ? wanted.key then
            perform chimeway.refuse('invalid_data_reference', 'CW004',
                format('data lacks "%s", to which workflow "%s" version %s refers', wanted.key,
                    definition.key, definition.version),
                format('add "%s" to data', wanted.key));
        elsif wanted.value = 'instant' and not chimeway.is_instant(data -> wanted.key) then
            perform chimeway.refuse('invalid_data_reference', 'CW004',
                format('data."%s" is no instant', wanted.key),
                'give an RFC 3339 text with its offset, such as "2026-11-23T09:00:00Z"');
        end if;
    end loop;
end $$;

-- What stands for a text that is not kept, so that the same text is known again.
create function chimeway.digest_of(tenant_id text, words text) returns text
language sql immutable strict parallel safe as $$
    select 'sha256:' || encode(sha256(convert_to($1 || chr(31) || $2, 'UTF8')), 'hex')
$$;

-- The runs of an event whose key is used again, by the names that the caller gives; refuses another trigger. Of an
-- event some of whose recipients were forgotten, those stand under another name: the names that are left over are
-- theirs, if they are of the same shards, which runs keep; within a shard in their order. Data that was forgotten is
-- not compared.
create function chimeway.known_runs(seen chimeway.events, idempotency_key text, workflow text, people text[], data jsonb)
returns table (recipient_id text, run_id uuid)
language plpgsql as $$
begin
    if seen.workflow_key <> workflow
       or cardinality(people) <> cardinality(seen.recipient_ids)
       or (select count(*) from unnest(seen.recipient_ids) x where x <> all(people)) > seen.forgotten
       or (select array_agg(chimeway.shard_of(seen.tenant_id, p.id) order by chimeway.shard_of(seen.tenant_id, p.id))
             from unnest(people) p(id) where p.id <> all(seen.recipient_ids))
          is distinct from
          (select array_agg(chimeway.shard_of_id(r.run) order by chimeway.shard_of_id(r.run))
             from unnest(seen.recipient_ids, seen.run_ids) r(id, run) where r.id <> all(people))
       or (seen.data_digest <> '' and seen.data_digest <> sha256(convert_to(data::text, 'UTF8'))) then
        perform chimeway.refuse('idempotency_conflict', 'CW003',
            format('idempotency_key "%s" was used for another trigger (workflow, recipients or data differ)',
                idempotency_key),
            'use one key for one event; the same key again must bring the same workflow, recipients and data');
    end if;
    return query
        with stored as (
            select r.id as name, r.run, r.n, chimeway.shard_of_id(r.run) as shard, row_number() over (
                       partition by r.id = any(people), chimeway.shard_of_id(r.run) order by r.n) as k
              from unnest(seen.recipient_ids, seen.run_ids) with ordinality r(id, run, n)
        ), others as (
            select p.id as name, p.shard, row_number() over (partition by p.shard order by p.n) as k
              from (select p.id, p.n, chimeway.shard_of(seen.tenant_id, p.id) as shard
                      from unnest(people) with ordinality p(id, n) where p.id <> all(seen.recipient_ids)) p
        )
        select coalesce(o.name, s.name), s.run from stored s
          left join others o on (o.shard, o.k) = (s.shard, s.k) and s.name <> all(people)
         order by s.n;
end $$;

-- Starts one run per recipient: one event, the runs, their first transitions. With a known
-- idempotency key it returns the first result and writes nothing.
create function chimeway.trigger_many(
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

create function chimeway.trigger(
    workflow         text,
    tenant_id        text        default 'default',
    recipient_id     text        default null,
    data             jsonb       default '{}',
    idempotency_key  text        default null,
    workflow_version int         default null,
    cancellation_key text        default null,
    at               timestamptz default null
) returns uuid
language sql volatile security definer set search_path = chimeway, pg_temp as $$
    select t.run_id from chimeway.trigger_many($1, $2, array[$3], $4, $5, $6, $7, $8) t
$$;

-- Records that something happened. The same dedupe key again returns the first signal.
create function chimeway.signal(
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

-- ── preferences: what a document of them may hold ──
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
    for k, said in select e.key, e.value from jsonb_each(value) e order by e.key loop
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

-- What a recipient's or a tenant's time zone may be: an IANA name as it is written in the database of zones.
-- PostgreSQL itself takes more than nodes read (abbreviations, any case, offsets): asked for a zone, it says how that
-- one is written. The client refuses the same; what only one of them knows, because its zones are older, is refused.
create function chimeway.check_zone(name text, zone text) returns void
language plpgsql set timezone = 'UTC' as $$
begin
    if zone ~ '^(UTC|GMT|(US|[A-Z][a-z]+)(/[A-Z][A-Za-z0-9_+-]*)+)$' and length(zone) <= 100 then
        begin
            perform set_config('TimeZone', zone, true);  -- to the end of this function
            if current_setting('TimeZone') = zone then return; end if;
        exception when invalid_parameter_value then
            null;
        end;
    end if;
    perform chimeway.refuse('invalid_input', 'CW001', format('%s "%s" is unknown', name, left(zone, 100)),
        'give an IANA name, such as "Europe/London", as this PostgreSQL knows it');
end $$;

-- What a locale may be: a tag as templates look it up (de, pt-BR, zh_Hant_TW, de_DE.UTF-8).
create function chimeway.check_locale(name text, locale text) returns void
language plpgsql as $$
begin
    if length(locale) > 64 or locale !~ '^[A-Za-z]{2,8}([-_][A-Za-z0-9]{1,8})*([.@][A-Za-z0-9._@=-]*)?$'
       or locale ~* '^(posix|und)([.@]|$)' then
        perform chimeway.refuse('invalid_input', 'CW001', format('%s "%s" is no tag', name, left(locale, 100)),
            'give a BCP 47 tag, such as "de-DE", of at most 64 characters');
    end if;
end $$;

-- What the address of a channel may be: it is handed to the channel as it is. No value is quoted: it may be a secret.
create function chimeway.check_address(name text, channel text, address jsonb) returns void
language plpgsql as $$
declare
    told  text;
    hint  text := 'give a text, or null to remove it';
    given text := address #>> '{}';
    odd   text := ' "(),:;<>@' || chr(1) || '-' || chr(31) || chr(127) || chr(92) || chr(92);
begin
    if jsonb_typeof(address) = 'null' then
        return;
    elsif jsonb_typeof(address) <> 'string' then
        told := 'a JSON ' || jsonb_typeof(address);
    elsif given = '' then
        told := 'empty';
    elsif length(given) > 4096 then
        told := length(given) || ' characters long';
        hint := 'give at most 4096 characters';
    elsif given ~ ('[' || chr(1) || '-' || chr(31) || chr(127) || '-' || chr(159) || ']') then
        told := 'a text with control characters';
        hint := 'leave them out';
    elsif channel = 'email' and (length(given) > 320 or given ~ '=[?]' or given !~ ('^[^][' || odd || ']{1,64}@('
            || '[^][' || odd || '!#$%&''*+./=?^`{|}~]+([.][^][' || odd || '!#$%&''*+./=?^`{|}~]+)*|[[][A-Za-z0-9.:]+[]])$')) then
        told := 'no e-mail address';
        hint := 'give one such as ada@example.org, without a name beside it';
    elsif channel = 'phone' and (given !~ '^[+]?[0-9(][0-9 ()./-]*$'
            or length(regexp_replace(given, '[^0-9]', '', 'g')) not between 2 and 20) then
        told := 'no phone number';
        hint := 'give one such as +44 20 7946 0958';
    else
        return;
    end if;
    perform chimeway.refuse('invalid_input', 'CW001', format('%s is %s', name, told), hint);
end $$;

-- Refuses what a merge made too large.
create function chimeway.check_merged(name text, value jsonb) returns void
language plpgsql as $$
begin
    if octet_length(value::text) > 65536 then
        perform chimeway.refuse('invalid_input', 'CW001',
            format('%s would be %s bytes of JSON with what is there', name, octet_length(value::text)),
            'together at most 65536 bytes; null removes a key');
    end if;
end $$;

-- Writes a profile; p_place is what refusals call it.
create function chimeway.write_profile(p_place text, p_tenant_id text, p_recipient_id text, p_profile jsonb) returns void
language plpgsql as $$
#variable_conflict use_column
declare
    given   jsonb := coalesce(nullif(p_profile, 'null'), '{}');
    k       text;
    now_    timestamptz := chimeway.clock();
    home    smallint := chimeway.shard_of(p_tenant_id, p_recipient_id);
    old     chimeway.recipients;
    new     chimeway.recipients;
    moved   jsonb;
    gone    text[];
    wishes  jsonb;
    facts   jsonb;
    forget  text[];
begin
    perform chimeway.check_id('tenant_id', p_tenant_id);
    perform chimeway.check_id('recipient_id', p_recipient_id);
    perform chimeway.check_object(p_place, given);
    for k in select jsonb_object_keys(given) loop
        if k not in ('email','phone','addresses','timezone','locale','preferences','data') then
            perform chimeway.refuse('invalid_input', 'CW001', format('%s has the unknown key "%s"', p_place, left(k, 100)),
                'known are email, phone, addresses, timezone, locale, preferences, data');
        elsif k in ('addresses','data') then
            perform chimeway.check_object(p_place || '.' || k, given -> k);
        elsif k = 'preferences' then
            perform chimeway.check_preferences(p_place || '.preferences', given -> k);
        elsif k in ('timezone','locale') and jsonb_typeof(given -> k) not in ('string','null') then
            perform chimeway.refuse('invalid_input', 'CW001',
                format('%s.%s is a JSON %s', p_place, k, jsonb_typeof(given -> k)), 'give a text, or null to remove it');
        elsif k in ('email','phone') then
            perform chimeway.check_address(p_place || '.' || k, k, given -> k);
        end if;
    end loop;
    if given ->> 'timezone' is not null then perform chimeway.check_zone(p_place || '.timezone', given ->> 'timezone'); end if;
    if given ->> 'locale' is not null then perform chimeway.check_locale(p_place || '.locale', given ->> 'locale'); end if;
    for k in select jsonb_object_keys(given -> 'addresses') loop
        if k = '' or length(k) > 255 then
            perform chimeway.refuse('invalid_input', 'CW001', format('a channel in %s.addresses is %s', p_place,
                case k when '' then 'empty' else length(k) || ' characters long' end),
                'a channel must be a text of 1 to 255 characters');
        end if;
        perform chimeway.check_address(format('%s.addresses.%s', p_place, left(k, 100)), k, given -> 'addresses' -> k);
    end loop;
    wishes := coalesce(given -> 'preferences', '{}');
    moved := coalesce(given -> 'addresses', '{}')
        || case when given ? 'email' then jsonb_build_object('email', given -> 'email') else '{}' end
        || case when given ? 'phone' then jsonb_build_object('phone', given -> 'phone', 'sms', given -> 'phone') else '{}' end;
    gone := array(select e.key from jsonb_each(moved) e where e.value = 'null');
    facts := coalesce(given -> 'data', '{}');
    forget := array(select e.key from jsonb_each(facts) e where e.value = 'null');

    -- Who says again what is known writes nothing. In doubt (somebody else is writing) the row decides, below.
    select * into old from chimeway.recipients r
     where r.tenant_id = p_tenant_id and r.recipient_id = p_recipient_id and r.shard = home;
    if found and (old.addresses || moved) - gone = old.addresses and (old.data || facts) - forget = old.data
       and chimeway.merge_preferences(old.preferences, wishes) = old.preferences
       and (not given ? 'timezone' or old.timezone is not distinct from given ->> 'timezone')
       and (not given ? 'locale' or old.locale is not distinct from given ->> 'locale') then
        return;
    end if;

    select * into old from chimeway.recipients r
     where r.tenant_id = p_tenant_id and r.recipient_id = p_recipient_id and r.shard = home for update;
    insert into chimeway.recipients as r (tenant_id, recipient_id, shard, addresses, timezone, locale,
            preferences, data, created_at, updated_at)
    values (p_tenant_id, p_recipient_id, home, moved - gone, given ->> 'timezone', given ->> 'locale',
            chimeway.merge_preferences('{}', wishes), facts - forget, now_, now_)
    on conflict (tenant_id, recipient_id, shard) do update set
        addresses   = (r.addresses || moved) - gone,
        timezone    = case when given ? 'timezone' then excluded.timezone else r.timezone end,
        locale      = case when given ? 'locale' then excluded.locale else r.locale end,
        preferences = chimeway.merge_preferences(r.preferences, wishes),
        data        = (r.data || facts) - forget,
        updated_at  = excluded.updated_at
    returning r.* into new;
    -- What is there may have been larger from of old: whoever only removes is let do so.
    if moved - gone <> '{}' then perform chimeway.check_merged(p_place || '.addresses', new.addresses); end if;
    if facts - forget <> '{}' then perform chimeway.check_merged(p_place || '.data', new.data); end if;
    if jsonb_strip_nulls(wishes) <> '{}' then
        perform chimeway.check_preference_bounds(p_place || '.preferences', chimeway.own_preferences(new));
    end if;
    -- The row is locked: what policy is just deferring by what stood there is not written now (record_verdicts).
    if new.timezone is distinct from old.timezone or new.preferences <> coalesce(old.preferences, '{}') then
        perform chimeway.wake_deferred(p_tenant_id, p_recipient_id);
    end if;
end $$;

-- The working days that a tenant's settings name, in the order of the week; null where they name none.
create function chimeway.working_days_in(given jsonb) returns text[]
language plpgsql as $$
declare
    week text[] := '{mon,tue,wed,thu,fri,sat,sun}';
    k    text;
begin
    if given is null or jsonb_typeof(given) = 'null' then return null; end if;
    if jsonb_typeof(given) <> 'array' or given = '[]' then
        perform chimeway.refuse('invalid_input', 'CW001', format('settings.working_days is %s',
            case when given = '[]' then 'empty' else 'a JSON ' || jsonb_typeof(given) end),
            'give days, such as ["mon", "tue"], or null for Monday to Friday');
    end if;
    for k in select e::text from jsonb_array_elements(given) e
              where jsonb_typeof(e) <> 'string' or not e #>> '{}' = any(week) limit 1 loop
        perform chimeway.refuse('invalid_input', 'CW001', format('settings.working_days has %s', left(k, 100)),
            'known are ' || array_to_string(week, ', '));
    end loop;
    return array(select d.day from unnest(week) with ordinality d(day, n) where given ? d.day order by d.n);
end $$;

-- The holidays that a tenant's settings name, each once, in their order; null where they name none.
create function chimeway.holidays_in(given jsonb) returns date[]
language plpgsql as $$
declare
    k     text;
    found date[] := '{}';
    hint  text := 'give days as "2026-12-25"';
begin
    if given is null or jsonb_typeof(given) = 'null' then return null; end if;
    if jsonb_typeof(given) <> 'array' then
        perform chimeway.refuse('invalid_input', 'CW001', format('settings.holidays is a JSON %s', jsonb_typeof(given)),
            'give a list of days, such as ["2026-12-25"], or null for none');
    elsif jsonb_array_length(given) > 1000 then
        perform chimeway.refuse('invalid_input', 'CW001',
            format('settings.holidays has %s days', jsonb_array_length(given)), 'give at most 1000');
    end if;
    for k in select case when jsonb_typeof(e) = 'string' then e #>> '{}' else e::text end
               from jsonb_array_elements(given) e loop
        begin
            if k !~ '^[0-9]{4}-[0-9]{2}-[0-9]{2}$' then raise exception 'no day' using errcode = '22008'; end if;
            found := found || make_date(left(k, 4)::int, substr(k, 6, 2)::int, right(k, 2)::int);
        exception when datetime_field_overflow then
            perform chimeway.refuse('invalid_input', 'CW001', format('settings.holidays has %s', to_json(left(k, 100))), hint);
        end;
    end loop;
    return array(select distinct d from unnest(found) d order by d);
end $$;

-- Writes a recipient's profile; keys that are left out stay as they are, null removes. Null or {} does nothing but
-- make one where there is none. Keys: email, phone, addresses {channel: address}, timezone, locale,
-- preferences (merged key by key, all the way down), data (merged key by key).
create function chimeway.identify(
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
create function chimeway.identify_many(
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

-- Writes what holds for a tenant as a whole, below what each recipient has of his own; keys that are left out stay as
-- they are, null removes. Keys: timezone, locale, working_days ["mon", ...], holidays ["2026-12-25", ...] (each
-- replaced as a whole), preferences (merged key by key, all the way down).
create function chimeway.configure_tenant(
    tenant_id text  default 'default',
    settings  jsonb default '{}'
) returns void
language plpgsql security definer set search_path = chimeway, pg_temp as $$
#variable_conflict use_column
declare
    given    jsonb := coalesce(nullif(settings, 'null'), '{}');
    k        text;
    now_     timestamptz := chimeway.clock();
    days     text[];
    holidays date[];
    wishes   jsonb;
    merged   jsonb;
    old      chimeway.tenants;
begin
    perform chimeway.check_id('tenant_id', tenant_id);
    perform chimeway.check_object('settings', given);
    for k in select jsonb_object_keys(given) loop
        if k not in ('timezone','locale','working_days','holidays','preferences') then
            perform chimeway.refuse('invalid_input', 'CW001', format('settings has the unknown key "%s"', left(k, 100)),
                'known are timezone, locale, working_days, holidays, preferences');
        elsif k = 'preferences' then
            perform chimeway.check_preferences('settings.preferences', given -> k);
        elsif k in ('timezone','locale') and jsonb_typeof(given -> k) not in ('string','null') then
            perform chimeway.refuse('invalid_input', 'CW001',
                format('settings.%s is a JSON %s', k, jsonb_typeof(given -> k)), 'give a text, or null to remove it');
        end if;
    end loop;
    if given ->> 'timezone' is not null then perform chimeway.check_zone('settings.timezone', given ->> 'timezone'); end if;
    if given ->> 'locale' is not null then perform chimeway.check_locale('settings.locale', given ->> 'locale'); end if;
    days := chimeway.working_days_in(given -> 'working_days');
    holidays := coalesce(chimeway.holidays_in(given -> 'holidays'), '{}');
    wishes := coalesce(given -> 'preferences', '{}');

    -- Who says again what is known writes nothing: whatever is being sent for this tenant would be judged anew.
    select * into old from chimeway.tenants t where t.tenant_id = configure_tenant.tenant_id;
    if found and chimeway.merge_preferences(old.preferences, wishes) = old.preferences
       and (not given ? 'timezone' or old.timezone is not distinct from given ->> 'timezone')
       and (not given ? 'locale' or old.locale is not distinct from given ->> 'locale')
       and (not given ? 'working_days' or old.working_days is not distinct from days)
       and (not given ? 'holidays' or old.holidays = holidays) then
        return;
    end if;
    insert into chimeway.tenants as t (tenant_id, timezone, locale, working_days, holidays, preferences,
            created_at, updated_at)
    values (configure_tenant.tenant_id, given ->> 'timezone', given ->> 'locale', days, holidays,
            chimeway.merge_preferences('{}', wishes), now_, now_)
    on conflict (tenant_id) do update set
        timezone     = case when given ? 'timezone' then excluded.timezone else t.timezone end,
        locale       = case when given ? 'locale' then excluded.locale else t.locale end,
        working_days = case when given ? 'working_days' then excluded.working_days else t.working_days end,
        holidays     = case when given ? 'holidays' then excluded.holidays else t.holidays end,
        preferences  = chimeway.merge_preferences(t.preferences, wishes),
        updated_at   = excluded.updated_at
    returning t.preferences into merged;
    if jsonb_strip_nulls(wishes) <> '{}' then
        perform chimeway.check_preference_bounds('settings.preferences', merged);
    end if;
end $$;

-- ── unsubscribing: what a person says by a link, in his preferences ──
-- Whose a link's delivery is: 'his', 'another' (he is forgotten: it bears a pseudonym now), 'gone' (it was pruned).
-- Locked, so that nobody is forgotten and written anew at the same time: only who forgets waits for that lock.
create function chimeway.link_of(p_tenant_id text, p_recipient_id text, p_delivery_id uuid) returns text
language plpgsql as $$
#variable_conflict use_column
declare d record;
begin
    if p_delivery_id is null then return 'his'; end if;
    select x.tenant_id, x.recipient_id into d from chimeway.deliveries x
     where x.id = p_delivery_id and x.shard = chimeway.shard_of_id(p_delivery_id) for key share;
    if not found then return 'gone'; end if;
    return case when d.tenant_id = p_tenant_id and d.recipient_id = p_recipient_id then 'his' else 'another' end;
end $$;

-- What unsubscribing says no to: the workflow, and the categories of its current definition and of the one that
-- sent the delivery.
create function chimeway.refusable(p_workflow text, p_delivery_id uuid) returns table (kind text, name text)
language sql stable as $$
    select 'workflows', p_workflow
     union all
    select 'categories', c.category from (
        (select w.definition ->> 'category' as category from chimeway.workflow_definitions w
          where w.key = p_workflow order by w.activated desc, w.version desc limit 1)
         union
        select w.definition ->> 'category' from chimeway.deliveries d
          join chimeway.workflow_runs r on r.id = d.run_id and r.shard = d.shard
          join chimeway.workflow_definitions w on w.key = r.workflow_key and w.version = r.workflow_version
         where d.id = p_delivery_id and d.shard = chimeway.shard_of_id(p_delivery_id) and w.key = p_workflow) c
     where c.category <> ''
$$;

-- A document of preferences without what unsubscribing wrote for a channel, as far as that still stands.
create function chimeway.taken_back(preferences jsonb, channel text, wrote jsonb) returns jsonb
language plpgsql immutable as $$
declare one jsonb;
begin
    for one in select e.value from jsonb_array_elements(wrote) e loop
        if preferences -> (one ->> 'kind') -> (one ->> 'name') -> channel = 'false' then
            preferences := chimeway.merge_preferences(preferences, jsonb_build_object(one ->> 'kind',
                jsonb_build_object(one ->> 'name', jsonb_build_object(channel, one -> 'was'))));
        end if;
    end loop;
    return preferences;
end $$;

-- What of a recipient's preferences has to keep within bounds. Not what unsubscribing wrote: a no by a link always finds
-- room, and takes none from what his application says. Nor what stands under keys that only programs of schema version 3
-- took: nobody could remove it.
create function chimeway.own_preferences(person chimeway.recipients) returns jsonb
language plpgsql immutable as $$
declare said record;
begin
    if octet_length(person.preferences::text) <= 5000 then  -- too short for 500 words of yes and no, too
        return person.preferences;
    end if;
    for said in
        select c.key as channel, c.value -> 'wrote' as wrote
          from jsonb_each(person.unsubscribed) w cross join lateral jsonb_each(w.value) c
    loop
        person.preferences := chimeway.taken_back(person.preferences, said.channel, said.wrote);
    end loop;
    return (select coalesce(jsonb_object_agg(e.key, e.value), '{}') from jsonb_each(person.preferences) e
             where e.key in ('channels','categories','workflows','quiet_hours','caps'));
end $$;

-- Writes into a recipient's preferences that he wants no more of a workflow, and of its category, on a channel: the
-- most particular that can be said, so that nothing general overrules it. Beside them it writes what was said of just
-- that before, for resubscribe; where he says so already, nothing. By a link: the id of the delivery that bore it,
-- whose run hears of it (chimeway.delivery.unsubscribed), also when he said so before. Returns false, and writes nothing,
-- where that delivery is not his, or is gone and he is not known: nobody comes back by an old link. No bound keeps
-- a link's no out: there are no more of them than there are workflows and channels that he was sent something by.
create function chimeway.unsubscribe(
    tenant_id    text default 'default',
    recipient_id text default null,
    workflow     text default null,
    channel      text default null,
    delivery_id  uuid default null
) returns boolean
language plpgsql security definer set search_path = chimeway, pg_temp as $$
#variable_conflict use_column
declare
    s_shard smallint;
    now_    timestamptz := chimeway.clock();
    link    text;
    person  chimeway.recipients;
    one     record;
    word    jsonb;
    wrote   jsonb := '[]';
    before  jsonb;
    size    int;
begin
    perform chimeway.check_id('tenant_id', tenant_id);
    perform chimeway.check_id('recipient_id', recipient_id);
    perform chimeway.check_id('workflow', workflow);
    perform chimeway.check_id('channel', channel);
    if channel = '*' then
        perform chimeway.refuse('invalid_input', 'CW001', 'channel is "*"', 'name one channel, such as "email"');
    end if;
    s_shard := chimeway.shard_of(tenant_id, recipient_id);
    link := chimeway.link_of(tenant_id, recipient_id, delivery_id);
    if link = 'another' then return false; end if;
    if delivery_id is null then perform chimeway.current_definition(workflow, null); end if;
    if link = 'his' then
        insert into chimeway.recipients (tenant_id, recipient_id, shard, created_at, updated_at)
        values (unsubscribe.tenant_id, unsubscribe.recipient_id, s_shard, now_, now_)
        on conflict (tenant_id, recipient_id, shard) do nothing;
    end if;
    select p.* into person from chimeway.recipients p
     where p.tenant_id = unsubscribe.tenant_id and p.recipient_id = unsubscribe.recipient_id and p.shard = s_shard
       for update;
    if not found then return false; end if;

    before := coalesce(person.unsubscribed -> workflow -> channel -> 'wrote', '[]');
    for one in select r.kind, r.name from chimeway.refusable(workflow, delivery_id) r loop
        word := person.preferences -> one.kind -> one.name;
        if word -> channel = 'false' then
            -- That of a category another workflow's link may have written. Then it is of both: undone here it must not
            -- go on standing against what he wants again.
            wrote := wrote || (
                select coalesce(jsonb_agg(distinct e.value), '[]')
                  from jsonb_each(person.unsubscribed - workflow) w
                 cross join lateral jsonb_array_elements(w.value -> channel -> 'wrote') e
                 where e.value ->> 'kind' = one.kind and e.value ->> 'name' = one.name
                   and not jsonb_path_exists(before, '$[*] ? (@.kind == $kind && @.name == $name)', to_jsonb(one)));
            continue;
        end if;
        wrote := wrote || jsonb_build_array(
            jsonb_build_object('kind', one.kind, 'name', one.name, 'was', word -> channel));
        person.preferences := chimeway.merge_preferences(person.preferences,
            jsonb_build_object(one.kind, jsonb_build_object(one.name, jsonb_build_object(channel, false))));
    end loop;
    if delivery_id is not null and link = 'his' then
        insert into chimeway.signals (id, shard, tenant_id, actor_id, type, payload, dedupe_key, run_id, created_at)
        select chimeway.new_id(d.shard), d.shard, d.tenant_id, d.recipient_id, 'chimeway.delivery.unsubscribed',
               jsonb_build_object('delivery_id', d.id, 'workflow', workflow, 'channel', channel),
               'chimeway.delivery.unsubscribed ' || d.id, d.run_id, now_
          from chimeway.deliveries d where d.id = unsubscribe.delivery_id and d.shard = chimeway.shard_of_id(d.id)
            on conflict (tenant_id, actor_id, dedupe_key, shard) where dedupe_key is not null do nothing;
        if found then perform chimeway.hint(); end if;
    end if;
    if wrote = '[]' then return true; end if;
    -- What an earlier link had written and still holds stays to be undone.
    select wrote || coalesce(jsonb_agg(b.value), '[]') into wrote
      from jsonb_array_elements(before) b
     where not exists (select from jsonb_array_elements(wrote) n
                        where n.value ->> 'kind' = b.value ->> 'kind' and n.value ->> 'name' = b.value ->> 'name');
    update chimeway.recipients p
       set preferences = person.preferences, updated_at = now_,
           unsubscribed = p.unsubscribed || jsonb_build_object(workflow, coalesce(p.unsubscribed -> workflow, '{}')
               || jsonb_build_object(channel, jsonb_build_object(
                      'at', now_, 'delivery_id', delivery_id, 'wrote', wrote)))
     where p.tenant_id = unsubscribe.tenant_id and p.recipient_id = unsubscribe.recipient_id and p.shard = s_shard
    returning octet_length(p.unsubscribed::text) into size;
    if delivery_id is null and size > 65536 then
        perform chimeway.refuse('invalid_input', 'CW001',
            'what the recipient is unsubscribed from would be more than 65536 bytes of JSON',
            'switch whole channels or categories off by his preferences');
    end if;
    perform chimeway.wake_deferred(tenant_id, recipient_id);
    return true;
end $$;

-- Takes back what unsubscribe has written for this workflow and channel, as far as it still stands; what the
-- recipient says otherwise stays. Returns as unsubscribe does.
create function chimeway.resubscribe(
    tenant_id    text default 'default',
    recipient_id text default null,
    workflow     text default null,
    channel      text default null,
    delivery_id  uuid default null
) returns boolean
language plpgsql security definer set search_path = chimeway, pg_temp as $$
#variable_conflict use_column
declare
    s_shard smallint;
    person  chimeway.recipients;
    rest    jsonb;
begin
    perform chimeway.check_id('tenant_id', tenant_id);
    perform chimeway.check_id('recipient_id', recipient_id);
    perform chimeway.check_id('workflow', workflow);
    perform chimeway.check_id('channel', channel);
    s_shard := chimeway.shard_of(tenant_id, recipient_id);
    if chimeway.link_of(tenant_id, recipient_id, delivery_id) = 'another' then return false; end if;
    select p.* into person from chimeway.recipients p
     where p.tenant_id = resubscribe.tenant_id and p.recipient_id = resubscribe.recipient_id and p.shard = s_shard
       for update;
    if not found then return delivery_id is null; end if;
    if person.unsubscribed -> workflow -> channel is null then return true; end if;

    rest := (person.unsubscribed -> workflow) - channel;
    update chimeway.recipients p
       set preferences = chimeway.taken_back(person.preferences, channel,
                                             person.unsubscribed -> workflow -> channel -> 'wrote'),
           updated_at = chimeway.clock(),
           unsubscribed = case when rest = '{}' then p.unsubscribed - workflow
                               else p.unsubscribed || jsonb_build_object(workflow, rest) end
     where p.tenant_id = resubscribe.tenant_id and p.recipient_id = resubscribe.recipient_id and p.shard = s_shard;
    return true;
end $$;

-- ── in-app items: what front ends ask and say ──
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
    -- What a process watches is changed under its own lock: it may be taken off the list just now (watch_inboxes).
    perform 1 from chimeway.inbox_watchers w where w.id = p_watcher for update;
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
create function chimeway.mark_inbox(p_tenant_id text, p_recipient_id text, p_ids uuid[], p_mark text)
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

-- Refuses a definition that SQL itself cannot work with: its frame, the conditions that routing reads, the
-- steps that are named. What a kind of step needs is not looked at: `chimeway workflow check` does that, and
-- a program of the next version may register kinds of which this schema has never heard.
-- (Not compiled: a server that does so would take two seconds for what takes seven milliseconds.)
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
         where jsonb_typeof(body -> 'next') is distinct from 'object'
        union all
        select s.n, s.place || '.next.' || k.name, coalesce(s.body -> 'next' -> k.name, 'null')
          from step s cross join (values ('repeat'), ('then')) k(name) where jsonb_typeof(s.body -> 'next') = 'object'
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

-- Registers a definition, a deploy step. The same digest again does nothing; another is refused.
create function chimeway.register_workflow(definition jsonb, digest text) returns boolean
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

-- ── 5 what operators call ────────────────────────────────────────────────────────────────────────

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
create function chimeway.stop_runs(
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

-- The same of runs that stand where their rows say.
create function chimeway.stop_run(
    p_run uuid[], p_decision uuid[], p_to_state text[], p_reason text[], p_status_reason text[],
    p_context jsonb[], p_note text[], p_inputs jsonb[], p_delivery_reason text
) returns table (run_id uuid, cancelled uuid[], on_their_way uuid[])
language sql as $$
    select s.run_id, s.cancelled, s.on_their_way from chimeway.stop_runs(
        p_run, p_decision, p_to_state, p_reason, p_status_reason, p_context, p_note, p_inputs, p_delivery_reason,
        null::text[], null::text[], null::int[], null::timestamptz[], null::int[], null::int[]) s
$$;

-- Stops a run by id, or all live runs that bear a cancellation key. Exact: each row says what became of
-- one run: `stopped`, or `already_ended`; which deliveries were cancelled, which were on their way.
create function chimeway.cancel(
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

-- Forgets a recipient: ends live runs, cancels what is not sent, and leaves of the person nothing but what the audit
-- needs, under another name. See docs/design.md, "Forgetting", for what becomes of each column and why. Waits for
-- runs that somebody has locked, in the order of all who do. What is committed after it began is of somebody new.
create function chimeway.forget_recipient(tenant_id text default 'default', recipient_id text default null)
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

-- Everything that is held about a recipient, as documents: one of part `recipient` (profile, preferences, when he was
-- sent what is capped), one of part `run` for each run (with its event, audit, deliveries, items and mailbox), one of
-- part `signal` for each signal. For large lives in pages: one part, behind the place of the last row, so many rows.
-- (Whole rows, less what is of the machinery, so that a column which comes later is not left out.)
create function chimeway.export_recipient(
    tenant_id text default 'default', recipient_id text default null,
    part text default null, after text default null, at_most int default null
) returns table (part_of text, place text, document jsonb)
language plpgsql stable security definer set search_path = chimeway, pg_temp set enable_seqscan = off
    set timezone = 'UTC' as $$
#variable_conflict use_column
declare
    inner_ constant text[] := '{shard,xid,snapshot,tenant_id,recipient_id,run_id,delivery_id}';
    v_shard smallint;
begin
    perform chimeway.check_id('tenant_id', tenant_id);
    perform chimeway.check_id('recipient_id', recipient_id);
    if part is not null and part not in ('recipient','run','signal') then
        perform chimeway.refuse('invalid_input', 'CW001', format('part is "%s"', left(part, 100)),
            'give recipient, run or signal, or leave it out for all');
    elsif at_most < 1 then
        perform chimeway.refuse('invalid_input', 'CW001', format('at_most is %s', at_most), 'give a whole number from 1 on');
    elsif after is not null and coalesce(part, 'recipient') = 'recipient' then
        perform chimeway.refuse('invalid_input', 'CW001', 'after is given without a part that has places',
            'give part => ''run'' or part => ''signal'' with the place of the last row');
    elsif after !~ (case part when 'run' then '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' else '^[0-9]{1,18}$' end) then
        perform chimeway.refuse('invalid_input', 'CW001', format('after is "%s", which is no place in part %s',
            left(after, 100), part), 'give the place of the last row, as it stands');
    end if;
    v_shard := chimeway.shard_of(tenant_id, recipient_id);
    if coalesce(part, 'recipient') = 'recipient' then
        return query
        select 'recipient', null, jsonb_build_object('tenant_id', export_recipient.tenant_id,
                   'recipient_id', export_recipient.recipient_id, 'profile', p.profile, 'sent', coalesce(b.sent, '[]'))
          from (select) nothing
          left join lateral (
                select to_jsonb(p) - inner_ as profile from chimeway.recipients p
                 where p.tenant_id = export_recipient.tenant_id and p.recipient_id = export_recipient.recipient_id
                   and p.shard = v_shard) p on true
          left join lateral (
                select jsonb_agg(to_jsonb(b) - inner_ order by b.channel) as sent from chimeway.send_budgets b
                 where b.tenant_id = export_recipient.tenant_id and b.recipient_id = export_recipient.recipient_id
                   and b.shard = v_shard) b on true
         where p.profile is not null or b.sent is not null;
    end if;
    if coalesce(part, 'run') = 'run' then
        return query
        select 'run', q.id::text, chimeway.export_run(q.id) from (
            select l.id from chimeway.workflow_runs l
             where l.tenant_id = export_recipient.tenant_id and l.recipient_id = export_recipient.recipient_id
               and l.shard = v_shard and l.state in ('active','waiting')
               and (export_recipient.after is null or l.id > export_recipient.after::uuid)
            union all
            select e.id from chimeway.workflow_runs e
             where e.tenant_id = export_recipient.tenant_id and e.recipient_id = export_recipient.recipient_id
               and e.shard = v_shard and e.ended_at is not null
               and (export_recipient.after is null or e.id > export_recipient.after::uuid)
             order by id limit export_recipient.at_most) q
         order by q.id;
    end if;
    if coalesce(part, 'signal') = 'signal' then
        return query
        select 'signal', s.arrival::text, to_jsonb(s) - (inner_ || '{actor_id,arrival}') from chimeway.signals s
         where s.tenant_id = export_recipient.tenant_id and s.actor_id = export_recipient.recipient_id
           and s.shard = v_shard and (export_recipient.after is null or s.arrival > export_recipient.after::bigint)
         order by s.arrival limit export_recipient.at_most;
    end if;
end $$;

-- A run as one document, for whom it is about. Of its event what is his: not who else was told of it.
create function chimeway.export_run(p_run uuid) returns jsonb
language sql stable set enable_seqscan = off as $$
    with inner_ as (select '{shard,xid,snapshot,tenant_id,recipient_id,run_id,delivery_id}'::text[] as names)
    select to_jsonb(r) - (x.names || '{arrival,forgotten_at,parked,strikes}')
        || jsonb_build_object('event', (
               select jsonb_build_object('id', e.id, 'idempotency_key', e.idempotency_key, 'data', e.data,
                          'created_at', e.created_at)
                 from chimeway.events e where e.id = r.event_id and e.shard = chimeway.shard_of_id(r.event_id)),
           'transitions', (
               select coalesce(jsonb_agg(to_jsonb(t) - x.names order by t.seq), '[]')
                 from chimeway.workflow_transitions t where t.run_id = r.id and t.shard = r.shard),
           'mailbox', (
               select coalesce(jsonb_agg(to_jsonb(b) - x.names order by b.number), '[]')
                 from chimeway.run_mailbox b where b.run_id = r.id and b.shard = r.shard),
           'deliveries', (
               select coalesce(jsonb_agg(to_jsonb(d) - x.names || jsonb_build_object(
                   'inbox_item', (select to_jsonb(i) - (x.names || '{id,arrival,render_key}')
                                    from chimeway.inbox_items i where i.id = d.id and i.shard = d.shard),
                   'attempts', (select coalesce(jsonb_agg((to_jsonb(a) - (x.names || '{node}'))
                                         || coalesce(to_jsonb(z) - x.names, '{}') order by a.attempt_no), '[]')
                                  from chimeway.delivery_attempts a
                                  left join chimeway.delivery_attempt_results z on z.delivery_id = a.delivery_id
                                        and z.attempt_no = a.attempt_no and z.shard = a.shard
                                 where a.delivery_id = d.id and a.shard = d.shard),
                   'feedback', (select coalesce(jsonb_agg(to_jsonb(f) - x.names order by f.recorded_at, f.event_id), '[]')
                                  from chimeway.delivery_feedback f where f.delivery_id = d.id and f.shard = d.shard),
                   'verdicts', (select coalesce(jsonb_agg(to_jsonb(v) - x.names order by v.number), '[]')
                                  from chimeway.delivery_verdicts v where v.delivery_id = d.id and v.shard = d.shard)
                   ) order by d.visit), '[]')
                 from chimeway.deliveries d where d.run_id = r.id and d.shard = r.shard))
      from chimeway.workflow_runs r cross join inner_ x
     where r.id = p_run and r.shard = chimeway.shard_of_id(p_run)
$$;

-- Holds live runs: no decision and no attempt until resumed. Cancel still works.
-- Says whether it was held now: not when it has ended, is held already or, for one who is not patient,
-- when somebody else has it locked.
create function chimeway.hold_run(p_run uuid, p_reason text, p_note text default null, p_patient boolean default true)
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

-- When a live run must be evaluated that nobody looked at for a while: a wait keeps its time, and a run
-- on a notify step is due only when its delivery has become something that the step's rules may want.
create function chimeway.wake_again(r chimeway.workflow_runs, now_ timestamptz) returns timestamptz
language sql stable as $$
    select case
        when r.visit = 0 then coalesce(r.wake_at, now_)
        when r.state = 'waiting' then r.wake_at
        when r.wake_at is not null then r.wake_at
        when exists (
            select from chimeway.deliveries d
              join chimeway.workflow_definitions w on w.key = r.workflow_key and w.version = r.workflow_version
             where d.run_id = r.id and d.visit = r.visit and d.shard = r.shard
               and (d.terminal_at is not null
                    or (d.failed_count > 0 and jsonb_path_exists(w.definition,
                        '$.steps[*] ? (@.id == $step).progress[*] ? (@.outcome == "temporary_failure")',
                        jsonb_build_object('step', r.step))))) then now_
        end
$$;

-- Who is not due, and has heard something meanwhile, is put where those are who were kept by a pause that is over: nodes
-- look there each second, and show him his mail.
create function chimeway.resume_run(p_run uuid, p_note text default null) returns boolean
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

-- Pauses or resumes all versions of a workflow: decisions and first attempts wait, triggers do not.
create function chimeway.pause_workflow(p_key text, p_paused boolean) returns int
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

-- Lets a message that failed be tried again now, and not when its backoff is over; how often it has been
-- tried still counts. Returns it as it was found under its lock; no row: this tenant has no such delivery.
-- `retried` only while it is `failed`, its run is not held and no node has said that it lacks what it needs.
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

-- ── what operators do to many runs ──
-- All three: in one transaction, in the order of the ids, waiting for whoever has one locked. A run that is no longer
-- of the revision that was counted is left as it is (`changed`), so what is done is what was shown. A row for each id:
-- `gone` where there is no such run of this tenant (null: of any).

-- Locks runs in their order, and says of each what forbids to do anything to it, if anything does.
create function chimeway.lock_runs(p_runs uuid[], p_revisions bigint[], p_tenant_id text)
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
create function chimeway.cancel_runs(
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
create function chimeway.wake_runs(
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
create function chimeway.retime_runs(
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

-- Whether a live run cannot move by itself: its context, its step or its delivery is not what it must be.
-- The noops of the decision core that no wake can cure, said in SQL so that they can be listed.
create function chimeway.is_stuck(r chimeway.workflow_runs, w chimeway.workflow_definitions) returns boolean
language sql stable as $$
    select r.state in ('active','waiting') and (
        (r.step is not null and not w.definition @> jsonb_build_object('steps',
            jsonb_build_array(jsonb_build_object('id', r.step))))
        or (r.state = 'waiting' and (
            not chimeway.is_instant(r.status_context -> 'due_at')
            or coalesce(r.status_context ->> 'rule_kind', '') not in ('wait','wait_until')
            or jsonb_typeof(r.status_context -> 'to_step') is distinct from 'string'
            or (r.status_context ->> 'to_step' <> 'end' and not w.definition @> jsonb_build_object('steps',
                jsonb_build_array(jsonb_build_object('id', r.status_context -> 'to_step'))))))
        or (r.state = 'active' and r.step is not null and not exists (
            select from chimeway.deliveries d
             where d.run_id = r.id and d.visit = r.visit and d.shard = r.shard)))
$$;

-- Ends a token; null: there is none of this id. One that was ended before stays as it was.
create function chimeway.revoke_api_token(id uuid, revoked_by text default session_user) returns boolean
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

-- ── 6 the ledger ─────────────────────────────────────────────────────────────────────────────────
-- What is called for each batch has one plan for all of them (force_generic_plan): of arrays of another length each time
-- PostgreSQL would think every plan better than the one it keeps, and make it anew at every call, which costs more than
-- all that a small batch does.

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
create function chimeway.put_mail(p_locked uuid[], out seen pg_snapshot, out runs uuid[], out counts int[])
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

-- The same, with the count in the runs' rows. (Their ids stand beside the join, too: without them a table that the planner
-- takes for empty would be read from end to end. `= any(array(...))` in the place of `in (...)` does the same elsewhere.)
create function chimeway.route_for_runs(p_locked uuid[]) returns pg_snapshot
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

-- Locks a recipient's budget on a channel and returns its revision. One that is missing is made, with revision 0,
-- which says the same; who was forgotten has a name of another shard, and none is made for him. Budgets are locked
-- after runs and deliveries, in the order of their keys.
create function chimeway.lock_budget(p_tenant_id text, p_recipient_id text, p_channel text, p_shard smallint)
returns bigint language plpgsql set enable_seqscan = off as $$
declare v_revision bigint;
begin
    for i in 1 .. 2 loop
        select b.revision into v_revision from chimeway.send_budgets b
         where b.tenant_id = p_tenant_id and b.recipient_id = p_recipient_id and b.channel = p_channel
           and b.shard = p_shard for update;
        exit when found;
        insert into chimeway.send_budgets (tenant_id, recipient_id, channel, shard, revision)
        select p_tenant_id, p_recipient_id, p_channel, p_shard, 0
         where p_shard = chimeway.shard_of(p_tenant_id, p_recipient_id) on conflict do nothing;
    end loop;
    return v_revision;
end $$;

-- Of these runs, those whose recipient's profile somebody is changing just now. It is for whoever defers messages:
-- what wakes the deferred (wake_deferred) does not see what is not committed. No profile is changed until the caller
-- has committed. A profile that is being written for the first time is not seen: what is deferred by the tenant's
-- words in that moment keeps its time.
create function chimeway.being_changed(p_runs uuid[]) returns uuid[]
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

-- Counts sends on a locked budget; the newest p_keep are remembered.
create function chimeway.count_sends(
    p_tenant_id text, p_recipient_id text, p_channel text, p_shard smallint, p_at timestamptz[], p_keep int
) returns void language sql set enable_seqscan = off as $$
    update chimeway.send_budgets b
       set revision = b.revision + 1,
           sent_at = array(select s.at from (
                select u.at from unnest(b.sent_at || p_at) u(at) order by u.at desc limit greatest(p_keep, 1)) s
                order by s.at)
     where b.tenant_id = p_tenant_id and b.recipient_id = p_recipient_id and b.channel = p_channel
       and b.shard = p_shard
$$;

-- Refuses who may not write by the ledger now: in a transaction whose snapshot is older than its locks, or as a node
-- whose lease another has taken. Without an owner it is a worker, whom the guards alone keep right.
create function chimeway.check_ledger(p_owner uuid, p_epoch bigint) returns void
language plpgsql as $$
begin
    if current_setting('transaction_isolation') <> 'read committed' then
        perform chimeway.refuse('invalid_input', 'CW001', 'the ledger was called in a transaction that is '
            || current_setting('transaction_isolation'), 'its guards need READ COMMITTED');
    end if;
    if p_owner is not null
       and not exists (select from chimeway.leases l where l.owner = p_owner and l.epoch = p_epoch) then
        perform chimeway.refuse('lease_lost', 'CW009', 'another node has taken over', 'acquire the lease again');
    end if;
end $$;

-- Locks runs that nobody else has locked, in id order, then those of the deliveries that are theirs. What is looked at
-- in later statements is younger than these locks. Returns the runs.
create function chimeway.lock_deliveries(p_run uuid[], p_delivery uuid[]) returns uuid[]
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

-- The same of programs of schema version 5: all mail that they decide on is in the mailbox.
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

-- The same of programs of schema version 3, which know of no policy: nothing was judged.
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
    c_run uuid[], c_visit int[], c_reason text[]
) returns table (run_id uuid, answer text)
language sql as $$
    select c.run_id, c.answer from chimeway.commit_decisions(
        p_owner, p_epoch, p_run, p_decision, p_revision, p_mailbox, p_delivery, p_delivery_revision, p_now, p_state,
        p_step, p_visit, p_status_reason, p_context, p_pending, p_wake_at, p_entered_at, p_armed_step,
        p_armed_entered_at, p_held_reason, p_inputs, p_consumed, t_run, t_pos, t_reason, t_from_state, t_to_state,
        t_from_step, t_to_step, t_visit, t_status_reason, t_context, t_signal_id, t_signal_type, d_id, d_run, d_visit,
        d_step, d_channel, d_render_key, d_status, d_reason, d_error_class, d_note, d_terminal_at, d_subject, d_body,
        c_run, c_visit, c_reason,
        null::bigint[], null::bigint[], null::timestamptz[], null::text[], null::text[], null::jsonb[], null::bigint[],
        null::int[], null::int[]) c
$$;

-- ── 7 deliveries ─────────────────────────────────────────────────────────────────────────────────

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
create function chimeway.begin_attempts(
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

-- The same of programs of schema version 3, which know of no policy: nothing is judged or counted.
create function chimeway.begin_attempts(
    p_owner uuid, p_epoch bigint, p_node uuid,
    p_delivery uuid[], p_run uuid[], p_revision bigint[], p_mailbox int[], p_address text[], p_message jsonb[],
    p_provider text[]
) returns table (delivery_id uuid, answer text, attempt_no int)
language sql as $$
    select b.delivery_id, b.answer, b.attempt_no from chimeway.begin_attempts(
        p_owner, p_epoch, p_node, p_delivery, p_run, p_revision, p_mailbox, p_address, p_message, p_provider,
        null::bigint[], null::bigint[], null::bigint[], null::int[], null::int[], null::jsonb[]) b
$$;

-- The number of a delivery's next verdict; its row is locked.
create function chimeway.next_verdict(p_delivery uuid, p_shard smallint) returns int
language sql stable as $$
    select coalesce(max(v.number), 0) + 1 from chimeway.delivery_verdicts v
     where v.delivery_id = p_delivery and v.shard = p_shard
$$;

-- Writes down that policy holds messages back that were about to be sent: `defer` until an instant, or `suppress`.
-- The same door as that of an attempt, and the same guards. Who is deferring a message also makes sure that nobody
-- is changing the recipient's preferences just then: what wakes the deferred (wake_deferred) would not see it.
-- Answers: applied | unseen | stale | busy | gone; nudged: the run can move now.
create function chimeway.record_verdicts(
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
create function chimeway.wake_deferred(p_tenant_id text, p_recipient_id text) returns int
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

-- Records what became of attempts (attempt_no null: of a delivery that never reached a provider, such
-- as one whose template is at fault), and wakes runs that can now move.
-- p_status: succeeded | failed | cancelled | suppressed. Answers: applied | repeat | busy | gone.
create function chimeway.record_results(
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
create function chimeway.record_feedback(
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

-- ── 8 mailbox ────────────────────────────────────────────────────────────────────────────────────

-- Routes signals that the caller has locked into the mailboxes of live runs, for each at most p_each runs.
-- Returns the runs that got mail, and at last whether more runs of these signals may be had by asking again.
-- A signal whose runs are partly locked keeps its mark and is taken up again; none is passed over.
create function chimeway.route_these(p_signals uuid[], p_each int) returns table (run_id uuid, more boolean)
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

-- All shards: what programs look through that know of no others.
create function chimeway.all_shards() returns smallint[]
language sql immutable as $$ select array_agg(n::smallint order by n) from generate_series(0, 255) n $$;

-- Of what lies in some shards a look at p_rows rows sees few: how many it may go through to find as many as
-- are wanted, where all shards have alike. What lies deeper in somebody's backlog the sweeps find, shard by shard.
create function chimeway.rows_for(p_rows int, p_shards smallint[]) returns int
language sql immutable as $$
    select case when cardinality(p_shards) >= 256 then p_rows
                else least(greatest(p_rows, 1000), 512 * p_rows / greatest(cardinality(p_shards), 1)) end
$$;

-- Routes waiting signals of some shards in the order in which they came: at most p_limit signals, for each at most
-- p_each runs at a time. Returns the runs that got mail, the last arrival looked at, and whether more runs of
-- these signals may be had by asking again.
create function chimeway.route_signals(p_limit int, p_each int, p_after bigint, p_shards smallint[])
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

-- The same over all shards.
create function chimeway.route_signals(p_limit int, p_each int, p_after bigint default 0)
returns table (run_id uuid, last_arrival bigint, more boolean)
language sql as $$
    select s.run_id, s.last_arrival, s.more
      from chimeway.route_signals(p_limit, p_each, p_after, chimeway.all_shards()) s
$$;

-- What of the unrouted signals of some shards nobody here has heard yet (p_known: those somebody has), as they came: at
-- most p_limit, and for each at most p_each of the runs that it is for (one row with none, if it is for nobody).
-- It writes nothing: who decides on the runs puts the signals into their mailboxes. (For nodes of schema version 6; later
-- ones have a statement of their own, which begins behind an arrival number.)
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

-- Routes waiting signals of some shards tenant by tenant: of the next p_tenants behind p_after, but for those in
-- p_not, at most p_of_each, whoever has how many. Returns the runs that got mail, and at last the tenant behind which
-- to go on (null: all had their turn).
create function chimeway.route_signals_in_turn(
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

-- The same over all shards.
create function chimeway.route_signals_in_turn(
    p_tenants int, p_of_each int, p_each int, p_after text, p_not text[]
) returns table (run_id uuid, last_tenant text)
language sql as $$
    select s.run_id, s.last_tenant
      from chimeway.route_signals_in_turn(p_tenants, p_of_each, p_each, p_after, p_not, chimeway.all_shards()) s
$$;

-- What is due in some shards of the next tenants behind p_after, the oldest p_rows of each, whoever has how many: from
-- tenant to tenant by the index. Looks at p_looks tenants at most, whether anything of theirs is due or not, and at
-- p_tenants that have something, but for those in p_not. The last row says behind whom to go on (null: all had
-- their turn). p_entered: 0 for runs that no step was entered in yet, 1 for the others.
-- (Sorting is off because the planner, without fresh statistics, would rather sort a whole backlog.)
create function chimeway.due_runs_in_turn(
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

-- The same over all shards.
create function chimeway.due_runs_in_turn(
    p_entered int, p_after text, p_looks int, p_tenants int, p_until timestamptz, p_rows int, p_not text[]
) returns table (id uuid, wake_at timestamptz, tenant_id text, paused boolean)
language sql as $$
    select t.id, t.wake_at, t.tenant_id, t.paused from chimeway.due_runs_in_turn(
        p_entered, p_after, p_looks, p_tenants, p_until, p_rows, p_not, chimeway.all_shards()) t
$$;

-- The same of deliveries, channel by channel: a line is a tenant's on one channel. Channels in p_not are jumped
-- over, however much waits for them; so are the lines that p_full_channel and p_full_tenant name.
create function chimeway.due_deliveries_in_turn(
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

-- The same over all shards.
create function chimeway.due_deliveries_in_turn(
    p_channel text, p_after text, p_looks int, p_lines int, p_until timestamptz, p_rows int, p_not text[],
    p_full_channel text[], p_full_tenant text[]
) returns table (id uuid, next_attempt_at timestamptz, channel text, tenant_id text, allowed boolean)
language sql as $$
    select t.id, t.next_attempt_at, t.channel, t.tenant_id, t.allowed from chimeway.due_deliveries_in_turn(
        p_channel, p_after, p_looks, p_lines, p_until, p_rows, p_not, p_full_channel, p_full_tenant,
        chimeway.all_shards()) t
$$;

-- ── 9 nodes and shards ───────────────────────────────────────────────────────────────────────────
-- The theory stands at the top of engine/ownership.py. Whoever gives or takes shards holds one lock of the whole
-- database until he commits (order_shards), and waits for no row while he does: so nobody waits for another in a circle.
-- What he writes of his own lease he has locked before: an earlier call of his, whose answer was lost, may have it still.

create function chimeway.order_shards() returns void
language sql as $$ select pg_advisory_xact_lock(206420, -1) $$;

-- Who may be given shards: those who live, do not drain, and share.
create function chimeway.receivers() returns table (owner uuid, epoch bigint, have int)
language sql stable as $$
    select l.owner, l.epoch, count(s.shard)::int
      from chimeway.leases l left join chimeway.shard_owners s on s.owner = l.owner
     where not l.draining and not l.alone and l.expires_at > clock_timestamp()
     group by l.owner, l.epoch
$$;

-- Gives shards away, one by one to whoever has fewest, but not to p_not; with nobody there they are nobody's.
-- Says whether anybody was there.
create function chimeway.deal_shards(p_shards smallint[], p_not uuid) returns boolean
language plpgsql as $$
declare v_dealt boolean;
begin
    with places as (
        select r.owner, row_number() over (order by had.shards, r.epoch) as n
          from chimeway.receivers() r
         cross join lateral generate_series(r.have, r.have + cardinality(p_shards) - 1) had(shards)
         where r.owner is distinct from p_not
         order by had.shards, r.epoch limit cardinality(p_shards)
    ), dealt as (
        update chimeway.shard_owners s set owner = p.owner, taken_at = clock_timestamp()
          from unnest(p_shards) with ordinality g(shard, n) left join places p on p.n = g.n
         where s.shard = g.shard
        returning s.owner
    )
    select coalesce(bool_or(d.owner is not null), false) into v_dealt from dealt d;
    perform pg_notify('chimeway_shards', '');
    return v_dealt;
end $$;

-- Leases whose session lock nobody holds though somebody should: their process is gone, or is connecting again.
create function chimeway.silent_nodes() returns table (epoch bigint)
language sql volatile as $$
    select l.epoch from chimeway.leases l
     where l.shown and not exists (
        select from pg_locks k
         where k.locktype = 'advisory' and k.granted and k.classid = 206420 and k.objsubid = 2
           and k.database = (select d.oid from pg_database d where d.datname = current_database())
           and k.objid::bigint = case when l.alone then 0 else l.epoch & 2147483647 end)
$$;

-- Ends the leases that have expired, and of p_dead those that no session lock shows to be alive. A lease with far longer
-- to go than it lasts was renewed before the clock was set back: it ends when it has lasted from now on. Whoever is just
-- renewing his is alive: he has his row locked, and is passed over.
create function chimeway.bury_nodes(p_dead bigint[]) returns void
language sql as $$
    update chimeway.leases l set expires_at = clock_timestamp() + l.lasts where l.owner in (
        select d.owner from chimeway.leases d where d.expires_at > clock_timestamp() + 2 * d.lasts for update skip locked);
    with buried as (
        delete from chimeway.leases l where l.owner in (
            select d.owner from chimeway.leases d
             where d.expires_at < clock_timestamp()
                or d.epoch = any(p_dead) and d.epoch in (select q.epoch from chimeway.silent_nodes() q)
               for update skip locked)
        returning l.owner
    )
    update chimeway.shard_owners s set owner = null, clean = false from buried b where s.owner = b.owner
$$;

-- Takes the session lock that shows others that this process lives; it goes with the connection.
create function chimeway.show_life(p_epoch bigint) returns boolean
language sql volatile as $$ select pg_try_advisory_lock(206420, (p_epoch & 2147483647)::int) $$;

-- Begins a lease; the same again is the same lease. p_shown: the session is this process's own, so that a lock of it
-- shows that the process lives (a pooler's session shows nothing). Others are told, so that they give of theirs.
create function chimeway.begin_lease(p_owner uuid, p_node uuid, p_ttl interval, p_shown boolean) returns bigint
language plpgsql as $$
declare v_epoch bigint;
begin
    insert into chimeway.leases as l (owner, node, shown, lasts, expires_at)
    values (p_owner, p_node, p_shown, p_ttl, clock_timestamp() + p_ttl)
        on conflict (owner) do update set expires_at = excluded.expires_at
    returning l.epoch into v_epoch;
    if p_shown and not chimeway.show_life(v_epoch) then  -- the session of a call whose answer was lost has the lock still
        update chimeway.leases l set shown = false where l.owner = p_owner;
    end if;
    perform pg_notify('chimeway_shards', '');
    return v_epoch;
end $$;

-- Since when the server runs. (A function of its own, so that tests can have it started just now.)
create function chimeway.server_started() returns timestamptz
language sql stable as $$ select pg_postmaster_start_time() $$;

-- A lease's sign of life: it is renewed; leases that are over are ended, if p_judges, and what is nobody's is dealt out.
-- p_dead: whose session lock the caller has missed for some time; p_show: take the session lock first (a new session).
-- Returns one row, or none when the lease has ended: the shards that are its own, and of those the ones under
-- suspicion; how many of them others should have; how many nodes share; and whose session lock is missing.
-- After the server has started all leases may be over, and all locks are gone: for p_ttl nobody is judged. (A clock that
-- stands before the server's start was set back since.)
create function chimeway.beat(
    p_owner uuid, p_epoch bigint, p_ttl interval, p_show boolean, p_judges boolean, p_dead bigint[]
) returns table (shards smallint[], suspect smallint[], surplus int, nodes int, silent bigint[], shown boolean)
language plpgsql as $$
#variable_conflict use_column
declare
    v_shown  boolean := p_show and chimeway.show_life(p_epoch);
    v_judges boolean := p_judges and clock_timestamp() not between chimeway.server_started()
                                                               and chimeway.server_started() + p_ttl;
begin
    update chimeway.leases l
       set lasts = p_ttl, expires_at = clock_timestamp() + p_ttl, alone = false,
           shown = case when p_show then v_shown else l.shown and not l.alone end
     where l.owner = p_owner and l.epoch = p_epoch;
    if not found then return; end if;
    if v_judges and (p_dead <> '{}' or exists (
            select from chimeway.leases l
             where l.expires_at not between clock_timestamp() and clock_timestamp() + 2 * l.lasts))
       or exists (select from chimeway.shard_owners s
                   where not exists (select from chimeway.leases l where l.owner = s.owner))
          and exists (select from chimeway.receivers()) then
        perform chimeway.order_shards();
        if v_judges then perform chimeway.bury_nodes(p_dead); end if;
        perform chimeway.deal_shards(f.free, null)
           from (select array_agg(s.shard order by s.shard) as free from chimeway.shard_owners s
                  where not exists (select from chimeway.leases l where l.owner = s.owner)) f
          where f.free is not null;
    end if;
    return query
    select coalesce(array_agg(s.shard order by s.shard), '{}'),
           coalesce(array_agg(s.shard order by s.shard) filter (where not s.clean), '{}'),
           coalesce((
               select greatest(r.have - (256 / r.many + case when r.place <= 256 % r.many then 1 else 0 end), 0)
                 from (select v.owner, v.have, count(*) over ()::int as many,
                              row_number() over (order by v.have desc, v.epoch)::int as place
                         from chimeway.receivers() v) r
                where r.owner = p_owner), 0),
           (select count(*)::int from chimeway.receivers()),
           array(select q.epoch from chimeway.silent_nodes() q where q.epoch <> p_epoch),
           v_shown
      from chimeway.shard_owners s where s.owner = p_owner;
end $$;

-- Gives shards of one's own to others, who are told. p_leaving: to whoever is there, or to nobody, and takes none
-- any more; otherwise nothing is given where nobody is. Returns how many were given.
create function chimeway.hand_over(p_owner uuid, p_epoch bigint, p_shards smallint[], p_leaving boolean) returns int
language plpgsql as $$
declare v_given smallint[];
begin
    perform from chimeway.leases l where l.owner = p_owner and l.epoch = p_epoch for no key update;
    if not found then return 0; end if;
    perform chimeway.order_shards();
    if p_leaving then
        update chimeway.leases l set draining = true where l.owner = p_owner and l.epoch = p_epoch;
    elsif not exists (select from chimeway.receivers() r where r.owner <> p_owner) then
        return 0;
    end if;
    v_given := array(select s.shard from chimeway.shard_owners s
                      where s.owner = p_owner and s.shard = any(p_shards) order by s.shard);
    if v_given <> '{}' then perform chimeway.deal_shards(v_given, p_owner); end if;
    return cardinality(v_given);
end $$;

-- Ends a lease; shards that are still its own go to others.
create function chimeway.end_lease(p_owner uuid, p_epoch bigint) returns void
language plpgsql as $$
declare v_left smallint[];
begin
    perform from chimeway.leases l where l.owner = p_owner and l.epoch = p_epoch for update;
    perform chimeway.order_shards();
    delete from chimeway.leases l where l.owner = p_owner and l.epoch = p_epoch;
    v_left := array(select s.shard from chimeway.shard_owners s where s.owner = p_owner order by s.shard);
    if v_left <> '{}' then perform chimeway.deal_shards(v_left, p_owner); end if;
end $$;

-- Says of shards of one's own that nothing in them is under suspicion any more.
create function chimeway.absolve_shards(p_owner uuid, p_epoch bigint, p_shards smallint[]) returns void
language plpgsql as $$
begin
    perform chimeway.order_shards();
    update chimeway.shard_owners s set clean = true
     where s.owner = p_owner and s.shard = any(p_shards) and not s.clean
       and exists (select from chimeway.leases l where l.owner = p_owner and l.epoch = p_epoch);
end $$;

-- What programs of schema version 3 call: one of them has all shards or none. It gets them when nobody works, or the
-- one of its kind that does, by this epoch, is believed to be gone. Who drains is waited for while a call of his is under
-- way: such a program would take it for abandoned.
create function chimeway.acquire_lease(p_owner uuid, p_ttl interval, p_orphaned bigint)
returns table (epoch bigint, clean boolean)
language plpgsql set enable_seqscan = off as $$
#variable_conflict use_column
declare
    v_epoch bigint;
    v_clean boolean;
begin
    perform chimeway.order_shards();
    with buried as (
        delete from chimeway.leases l where l.owner in (
            select d.owner from chimeway.leases d
             where d.alone and d.epoch = p_orphaned
                or d.expires_at < clock_timestamp()
                   and clock_timestamp() not between chimeway.server_started() and chimeway.server_started() + p_ttl
               for update skip locked)
        returning l.owner
    )
    update chimeway.shard_owners s set owner = null, clean = false from buried b where s.owner = b.owner;
    if exists (select from chimeway.leases l
                where not l.draining or exists (select from chimeway.shard_owners s where s.owner = l.owner)
                   or exists (select from chimeway.deliveries d
                                join chimeway.delivery_attempts a on a.delivery_id = d.id and a.shard = d.shard
                                                                 and a.attempt_no = d.attempt_count
                               where d.status = 'dispatched' and a.node = l.owner)) then
        return;
    end if;
    insert into chimeway.leases as l (owner, alone, shown, lasts, expires_at)
    values (p_owner, true, true, p_ttl, clock_timestamp() + p_ttl) returning l.epoch into v_epoch;
    select bool_and(s.clean) into v_clean from chimeway.shard_owners s;
    update chimeway.shard_owners s set owner = p_owner, clean = true, taken_at = clock_timestamp();
    return query select v_epoch, v_clean;
end $$;

create function chimeway.renew_lease(p_owner uuid, p_epoch bigint, p_ttl interval) returns boolean
language plpgsql as $$
begin
    update chimeway.leases l set lasts = p_ttl, expires_at = clock_timestamp() + p_ttl
     where l.owner = p_owner and l.epoch = p_epoch;
    return found;
end $$;

create function chimeway.release_lease(p_owner uuid, p_epoch bigint) returns boolean
language plpgsql as $$
begin
    if not exists (select from chimeway.leases l where l.owner = p_owner and l.epoch = p_epoch) then
        return false;
    end if;
    perform chimeway.end_lease(p_owner, p_epoch);
    return true;
end $$;

-- ── 10 retention ─────────────────────────────────────────────────────────────────────────────────
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

-- What was answered to requests with an Idempotency-Key more than `keep` ago.
create function chimeway.prune_answers(
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

-- ── 11 roles ─────────────────────────────────────────────────────────────────────────────────────
-- Roles belong to the whole cluster, grants to one database. `chimeway db roles` makes the roles; whoever
-- installs or migrates calls this function, which gives to those that exist what stands here, and takes
-- away what else they had been given by its predecessors. Nothing is granted to PUBLIC, and nothing may be
-- changed by any of them that is append-only. Functions named with SECURITY DEFINER look up names in
-- chimeway and pg_catalog alone; what they call is checked for their owner.
--
--   producer  starts, signals, identifies and cancels, and reads nothing
--   deployer  registers definitions and fixes versions
--   daemon    what `serve` needs: decides, sends, records
--   reader    reads everything, personal data too: explain, waiting, verify
--   operator  what a reader may, and hold, resume, pause, cancel, retry, record feedback, forget, unsubscribe, prune
--   inbox     shows recipients their in-app items, and marks them; unsubscribes them

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
revoke all on function chimeway.grant_roles() from public;
select chimeway.grant_roles();
