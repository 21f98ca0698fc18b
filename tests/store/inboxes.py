"""A world for tests of inboxes: a client, a plain connection, and items by the hundred thousand."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import asyncpg

from chimeway import Chimeway
from chimeway.client.inbox import Inbox
from store.plain_sql import plain, put_into_inbox, register, trigger

FILL = """
set session_replication_role = replica;
create temporary table made as
    select p.n, p.who, chimeway.shard_of('default', p.who) as shard,
           chimeway.new_id(chimeway.shard_of('default', p.who)) as id,
           chimeway.new_id(chimeway.shard_of('default', p.who)) as run, chimeway.new_id(0::smallint) as event
      from (select n, 'ada' as who from generate_series(1, {many}) n
            union all select n, 'user_' || n from generate_series(1, {others}) n) p;
insert into chimeway.events (id, shard, tenant_id, workflow_key, workflow_version, recipient_ids, run_ids,
        data, data_digest, created_at)
    select event, 0, 'default', 'mention_escalation', 1, array[who], array[run], '{{"n": 1}}', '', now()
      from made;
insert into chimeway.workflow_runs (id, shard, tenant_id, recipient_id, workflow_key, workflow_version,
        event_id, state, status_reason, created_at, ended_at)
    select run, shard, 'default', who, 'mention_escalation', 1, event, 'completed', 'x', now(), now()
      from made;
insert into chimeway.deliveries (id, shard, run_id, visit, step_id, tenant_id, recipient_id, channel,
        render_key, status, created_at, terminal_at)
    select id, shard, run, 1, 'step_in_app', 'default', who, 'in_app', 'mention', 'succeeded', now(), now()
      from made;
insert into chimeway.inbox_items (id, shard, tenant_id, recipient_id, run_id, render_key, subject, body,
        created_at, seen_at, read_at, archived_at)
    select id, shard, 'default', who, run, 'mention', 's', 'b', now() - n * interval '1 s',
           case when n <= {many} - 10 then now() end, case when n <= {many} - 20 then now() end,
           case when n <= {many} / 2 then now() end from made;
set session_replication_role = origin;
drop table made;
"""
"""Ada has many items: the newer half is put away, of the oldest twenty are unread, ten of these unseen."""


@dataclass(frozen=True, slots=True)
class Place:
    """A client and a plain connection on the same database, where MENTION is registered."""

    client: Chimeway
    sql: "asyncpg.Connection[Any]"
    url: str

    @property
    def inbox(self) -> Inbox:
        """Ada's inbox."""
        return self.client.inbox("ada")

    async def put(self, recipient: str = "ada", **more: Any) -> UUID:
        """Give somebody an item, of a run of its own."""
        return await put_into_inbox(self.sql, await trigger(self.sql, recipient, **more))

    async def told(self) -> list[str]:
        """Return what runs were told of marks, in order."""
        rows = await self.sql.fetch("select type from chimeway.signals order by arrival")
        return [row["type"].removeprefix("chimeway.notification.") for row in rows]


@asynccontextmanager
async def place_on(url: str) -> AsyncIterator[Place]:
    """Open a client and a connection."""
    async with Chimeway.connect(url) as client, plain(url) as sql:
        await register(sql)
        yield Place(client, sql, url)
