"""At the ledger's door: a journey of one person, decided and committed step by step, by hand."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg

from chimeway.progression.decide import decide
from chimeway.progression.decision import Birth, Decision
from chimeway.render.message import Rendered
from chimeway.store.catalogue import Catalogue
from chimeway.store.definitions import register
from chimeway.store.deliveries import Beginning, Begun, begin_attempts, load_sendables
from chimeway.store.ledger import Answer, Entry, Fence, commit_decisions, entry_for
from chimeway.store.pool import Database
from chimeway.store.runs import Loaded, load_runs
from chimeway.workflow.parse import parse
from store.plain_sql import contents, plain
from store.verify_world import ESCALATION, World

BLOCKED = """select exists (select from pg_stat_activity
    where datname = current_database() and wait_event_type = 'Lock')"""
"""To be asked outside of a transaction: within one, all answers are the first."""
READ = {"type": "signal_received", "signal_type": "read"}
TWO_MESSAGES = {
    "key": "escalation",
    "version": 1,
    "stop_conditions": [{"type": "signal_received", "signal_type": "halt"}],
    "steps": [
        {"id": "push", "action": {"type": "notify", "channel": "push", "render_key": "mention"},
         "progress": [{"kind": "on_outcome", "outcome": "temporary_failure", "to_step": "wait",
                       "keep_retrying": True}]},
        {"id": "wait", "action": {"type": "wait", "duration": "PT2H", "stop_conditions": [READ]}},
        {"id": "email", "action": {"type": "notify", "channel": "email", "render_key": "mention"}},
    ],
}  # fmt: skip
"""A journey that goes on while its first message is still retried: two deliveries are open at once."""


@dataclass
class Door(World):
    """A world whose decisions stand before the ledger until the test commits them."""

    async def trigger(self, recipient: str) -> None:
        """Start a journey, and do nothing about it."""
        sql = """select chimeway.trigger('escalation', recipient_id => $1, data => '{"document": 7}')"""
        self.runs[recipient] = await self.sql(sql, recipient)

    async def entry(self, recipient: str) -> Entry:
        """Decide about a run, and write nothing."""
        decision = await self.decide(recipient)
        assert isinstance(decision, Decision), decision
        messages = {p.visit: Rendered("s", "b", None) for p in decision.planned if p.channel == "in_app"}
        return entry_for(self.runs[recipient], decision, messages)

    async def commit(self, *entries: Entry, fence: Fence | None = None) -> list[Answer]:
        """Commit decisions in one call."""
        return await commit_decisions(self.database, fence, entries)

    async def beginning(self, recipient: str, **other: Any) -> Beginning:
        """Return what a sender that has just looked would submit."""
        run_id = self.runs[recipient]
        delivery = other.pop("delivery_id", None) or await self.delivery(recipient)
        sendable = (await load_sendables(self.database, [delivery]))[delivery]
        seen = {
            "delivery_id": delivery,
            "run_id": run_id,
            "revision": sendable.revision,
            "mailbox": (await self.row(recipient))["mailbox_count"],
            "address": "ada@example.org",
            "message": {"subject": "s", "body": "b"},
        }
        return Beginning(**{**seen, **other})

    async def begin(self, *rows: Beginning, fence: Fence | None = None) -> list[Begun]:
        """Begin attempts in one call."""
        return await begin_attempts(self.database, fence, uuid4(), rows)

    async def row(self, recipient: str) -> asyncpg.Record:
        """Return a run's row."""
        rows = await self.all("select * from chimeway.workflow_runs where id = $1", self.runs[recipient])
        return rows[0]

    async def deliveries(self, recipient: str) -> list[asyncpg.Record]:
        """Return a run's deliveries, in the order of its visits."""
        sql = "select * from chimeway.deliveries where run_id = $1 order by visit"
        return await self.all(sql, self.runs[recipient])

    async def reasons(self, recipient: str) -> list[str]:
        """Return the reasons in a run's audit; its numbers have no gaps."""
        sql = "select * from chimeway.workflow_transitions where run_id = $1 order by seq"
        rows = await self.all(sql, self.runs[recipient])
        assert [row["seq"] for row in rows] == list(range(1, len(rows) + 1))
        assert (await self.row(recipient))["transition_count"] == len(rows)
        return [row["reason"] for row in rows]

    async def all(self, sql: str, *args: Any) -> Sequence[asyncpg.Record]:
        """Run SQL and return its rows."""
        async with self.database.acquire() as connection:
            return await connection.fetch(sql, *args)

    async def contents(self) -> dict[str, str]:
        """Return a fingerprint of each table."""
        async with self.database.acquire() as connection:
            return await contents(connection)

    async def to_email(self, *recipients: str) -> None:
        """Start journeys, and go as far as the e-mail, which is planned and not sent."""
        for recipient in recipients:
            await self.start(recipient)
        await self.pass_time(2)
        for recipient in recipients:
            await self.progress(recipient)
            assert (await self.row(recipient))["step"] == "email"


async def opened(database: Database, definition: dict[str, Any] = ESCALATION) -> Door:
    """Register a definition, and stand at the door."""
    await register(database, parse(definition))
    return Door(database)


@asynccontextmanager
async def locked(database: Database, run_id: UUID) -> AsyncIterator["asyncpg.Connection[Any]"]:
    """Hold a run's row locked by another connection while the block lasts."""
    async with plain(database.url) as other, other.transaction():
        await other.execute("select 1 from chimeway.workflow_runs where id = $1 for update", run_id)
        yield other


async def leased(database: Database) -> Fence:
    """Take the lease, as a node that dies at once would: its owner and epoch."""
    owner = uuid4()
    async with database.acquire() as connection:
        sql = "select epoch from chimeway.acquire_lease($1, $2, (select max(epoch) from chimeway.shards))"
        return Fence(owner, await connection.fetchval(sql, owner, timedelta(minutes=1)))


async def foretelling(world: Door, recipient: str = "ada") -> Loaded:
    """Load a run as a node does: signals that nobody has routed yet are its mail, too."""
    ids = [world.runs[recipient]]
    (loaded,) = await load_runs(world.database, Catalogue(world.database), ids, foretelling=True)
    assert loaded is not None
    return loaded


def _nothing_is_sent(*_: object) -> Birth:
    raise AssertionError


async def foretold_entry(
    world: Door, recipient: str = "ada", born: Callable[..., Birth] = _nothing_is_sent
) -> Entry:
    """Decide about a run as a node does, also on mail that is not in its mailbox yet; write nothing."""
    loaded = await foretelling(world, recipient)
    assert loaded.snapshot is not None
    decision = decide(loaded.snapshot, await world.sql("select chimeway.clock()"), born)
    assert isinstance(decision, Decision), decision
    return entry_for(loaded.id, decision, {}, loaded.policy, loaded.foretold)
