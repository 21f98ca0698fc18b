-- name: inbox_items
-- A page of a recipient's in-app items, the newest first, behind the cursor.
select * from chimeway.list_inbox($1::text, $2::text, $3::text::jsonb, $4::text::int,
                                  $5::text::timestamptz, $6::text::bigint, $7::text::uuid);

-- name: inbox_counts
-- How many items a recipient has not seen, and not read; what is put away counts as neither.
select (select count(*) from chimeway.inbox_items i
         where i.tenant_id = $1::text and i.recipient_id = $2::text
           and i.shard = chimeway.shard_of($1::text, $2::text)
           and i.seen_at is null and i.read_at is null and i.archived_at is null) as unseen,
       (select count(*) from chimeway.inbox_items i
         where i.tenant_id = $1::text and i.recipient_id = $2::text
           and i.shard = chimeway.shard_of($1::text, $2::text)
           and i.read_at is null and i.archived_at is null) as unread;

-- name: inbox_unseen
-- How many items a recipient has neither seen nor read nor put away.
select count(*) from chimeway.inbox_items i
 where i.tenant_id = $1::text and i.recipient_id = $2::text and i.shard = chimeway.shard_of($1::text, $2::text)
   and i.seen_at is null and i.read_at is null and i.archived_at is null;

-- name: inbox_unread
-- How many items a recipient has neither read nor put away.
select count(*) from chimeway.inbox_items i
 where i.tenant_id = $1::text and i.recipient_id = $2::text and i.shard = chimeway.shard_of($1::text, $2::text)
   and i.read_at is null and i.archived_at is null;

-- name: inbox_mark
-- Puts a mark on items, or takes one away; the rows are those that were changed.
select m.id
  from chimeway.mark_inbox($1::text, $2::text, array(select jsonb_array_elements_text($3::text::jsonb)::uuid),
                           $4::text) m;

-- name: inbox_mark_all
-- Marks what lies in an inbox, as far as the bound of one call; says how to go on.
select a.marked, a.further, a.upto
  from chimeway.mark_all_inbox($1::text, $2::text, $3::text, $4::text::jsonb, $5::text::uuid, $6::text::bigint,
                               $7::text::int) a;

-- name: inbox_states
-- Counts, newest item and look of many inboxes.
select s.place, s.unseen, s.unread, s.newest, s.look
  from chimeway.inbox_states(array(select jsonb_array_elements_text($1::text::jsonb)),
                             array(select jsonb_array_elements_text($2::text::jsonb)), $3::text::int) s;

-- name: inbox_watch
-- Has a process watch inboxes, and is its sign of life; returns by what name each is called.
select w.place, w.digest
  from chimeway.watch_inboxes($1::text::uuid, array(select jsonb_array_elements_text($2::text::jsonb)),
                              array(select jsonb_array_elements_text($3::text::jsonb))) w;

-- name: inbox_unwatch
-- Has a process watch these inboxes no longer; null: none of its own, it goes.
select chimeway.unwatch_inboxes($1::text::uuid, case when $2::text is not null
    then array(select jsonb_array_elements_text($2::text::jsonb)) end) is null as done;
