"""A world for tests of the SQL functions: plain connections, a few rows, and what the tables hold."""

import asyncio
import hashlib
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import asyncpg

TABLES = (
    "workflow_definitions", "events", "workflow_runs", "workflow_transitions", "deliveries",
    "delivery_attempts", "delivery_attempt_results", "delivery_feedback", "signals", "run_mailbox",
    "inbox_items", "recipients", "tenants",
)  # fmt: skip

MENTION: dict[str, Any] = {
    "key": "mention_escalation",
    "version": 1,
    "steps": [
        {"id": "step_in_app", "action": {"type": "notify", "channel": "in_app", "render_key": "mention"}},
        {
            "id": "step_wait",
            "action": {
                "type": "wait",
                "duration": "PT2H",
                "stop_conditions": [{"type": "signal_received", "signal_type": "notification_read"}],
            },
        },
        {"id": "step_email", "action": {"type": "notify", "channel": "email", "render_key": "mention_email"}},
    ],
}


@asynccontextmanager
async def plain(url: str) -> AsyncIterator["asyncpg.Connection[Any]"]:
    """Lend a connection of its own, without any codec: JSON is text, as any program gets it."""
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close(timeout=30)


async def register(connection: "asyncpg.Connection[Any]", definition: dict[str, Any] = MENTION) -> bool:
    """Register a definition under a digest of its own text."""
    text = json.dumps(definition)
    digest = hashlib.sha256(text.encode()).hexdigest()
    new: bool = await connection.fetchval("select chimeway.register_workflow($1, digest => $2)", text, digest)
    return new


async def trigger(connection: "asyncpg.Connection[Any]", recipient: str = "ada", **more: Any) -> UUID:
    """Trigger MENTION for one recipient."""
    names = "".join(f", {name} => ${place}" for place, name in enumerate(more, start=2))
    run_id: UUID = await connection.fetchval(
        f"select chimeway.trigger('mention_escalation', recipient_id => $1{names})", recipient, *more.values()
    )
    return run_id


async def deliver(
    connection: "asyncpg.Connection[Any]",
    run_id: UUID,
    *,
    visit: int = 1,
    status: str = "pending",
    channel: str = "email",
) -> UUID:
    """Give a run a delivery in this status, as the ledger would have written it."""
    reason = {"cancelled": "bounced", "suppressed": "no_address"}.get(status)
    delivery_id: UUID = await connection.fetchval(
        """insert into chimeway.deliveries (id, shard, run_id, visit, step_id, tenant_id, recipient_id,
                channel, render_key, status, suppression_reason, created_at, terminal_at)
           select chimeway.new_id(r.shard), r.shard, r.id, $2, 'step_' || $4, r.tenant_id, r.recipient_id,
                  $4, 'mention', $3, $5, chimeway.clock(),
                  case when $3 in ('succeeded','suppressed','cancelled') then chimeway.clock() end
             from chimeway.workflow_runs r where r.id = $1 returning id""",
        run_id, visit, status, channel, reason,
    )  # fmt: skip
    return delivery_id


async def put_into_inbox(connection: "asyncpg.Connection[Any]", run_id: UUID, visit: int = 1) -> UUID:
    """Give a run a delivered in-app item; return its id."""
    item = await deliver(connection, run_id, visit=visit, status="succeeded", channel="in_app")
    await connection.execute(
        """insert into chimeway.inbox_items (id, shard, tenant_id, recipient_id, run_id, render_key, subject,
                body, created_at)
           select d.id, d.shard, d.tenant_id, d.recipient_id, d.run_id, d.render_key, 's', 'b', d.created_at
             from chimeway.deliveries d where d.id = $1""",
        item,
    )
    return item


async def contents(connection: "asyncpg.Connection[Any]") -> dict[str, str]:
    """Return a fingerprint of each table: equal when no row was written, changed or deleted."""
    return {
        table: await connection.fetchval(
            f"select coalesce(md5(string_agg(t::text, '|' order by t::text)), '') from chimeway.{table} t"
        )
        for table in TABLES
    }


async def run_row(connection: "asyncpg.Connection[Any]", run_id: UUID) -> asyncpg.Record:
    """Return a run's row."""
    row = await connection.fetchrow("select * from chimeway.workflow_runs where id = $1", run_id)
    assert row is not None
    return row


async def blocked(observer: "asyncpg.Connection[Any]", waiter: "asyncpg.Connection[Any]") -> None:
    """Wait until the waiter's statement waits for a lock of somebody else."""
    deadline = time.monotonic() + 30
    pid = waiter.get_server_pid()
    while not await observer.fetchval("select cardinality(pg_blocking_pids($1)) > 0", pid):
        assert time.monotonic() < deadline, "the statement was never blocked"
        await asyncio.sleep(0.005)


async def refused(connection: "asyncpg.Connection[Any]", sql: str, *args: Any) -> asyncpg.PostgresError:
    """Run what must be refused and return the error."""
    try:
        await connection.fetch(sql, *args)
    except asyncpg.PostgresError as error:
        return error
    raise AssertionError(f"not refused: {sql}")
