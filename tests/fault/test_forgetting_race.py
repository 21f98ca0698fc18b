"""People are forgotten again and again while an engine works for them, and others signal, mark and cancel."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final, TypeAlias

import asyncpg

from chimeway.delivery.channel import Message, Sent, TransientFailure
from chimeway.delivery.pacing import ChannelLimits
from kit.home import workflow
from kit.invariants import assert_invariants
from kit.machine import running_machine
from store.plain_sql import plain

PEOPLE: Final = ("ada", "bob")
ROUNDS: Final = 12
NOTE: Final = "the provider's words about {}@example.org"
JOURNEY: Final = workflow(
    {"id": "app", "action": {"type": "notify", "channel": "in_app", "render_key": "mention"}},
    {"id": "wait", "action": {"type": "wait", "duration": "PT0.05S", "stop_conditions": [
        {"type": "signal_received", "signal_type": "read"}]}},
    {"id": "push", "action": {"type": "notify", "channel": "push", "render_key": "mention"}},
    stop_conditions=[{"type": "signal_received", "signal_type": "chimeway.delivery.bounced"}],
)  # fmt: skip
Connection: TypeAlias = "asyncpg.Connection[Any]"
Round: TypeAlias = Callable[[Connection, str], Awaitable[object]]


class Wordy:
    """A provider that fails every third time, with words about whom it was for."""

    needs_address = False
    name = "push"
    limits = ChannelLimits()

    def __init__(self) -> None:
        """Begin with nothing sent."""
        self.calls = 0

    async def send(self, message: Message) -> Sent:
        """Take a moment, and answer."""
        self.calls += 1
        await asyncio.sleep(0.005)
        if self.calls % 3 == 0:
            raise TransientFailure(NOTE.format(message.recipient_id))
        return Sent(NOTE.format(message.recipient_id))


async def _start(sql: Connection, person: str) -> None:
    people = [person, f"{person}'s friend {random.random()}"]
    await sql.execute(
        """select from chimeway.trigger_many('mention_escalation', 'default', $1,
                jsonb_build_object('who', $2::text), cancellation_key => $2)""",
        people, person,
    )  # fmt: skip


async def _say(sql: Connection, person: str) -> None:
    await sql.execute("select chimeway.signal('read', 'default', $1, '{\"n\": 1}')", person)


async def _mark(sql: Connection, person: str) -> None:
    await sql.execute("select from chimeway.mark_all_inbox('default', $1, 'read')", person)


async def _tell(sql: Connection, person: str) -> None:
    await sql.execute(
        """select from chimeway.record_feedback('s', (
                select coalesce(jsonb_agg(jsonb_build_object(
                           'id', $2::text, 'delivery_id', d.id, 'type', 'bounced', 'detail', $1::text)), '[]')
                  from (select d.id from chimeway.deliveries d where d.channel = 'push' limit 5) d))""",
        NOTE.format(person), str(random.random()),
    )  # fmt: skip


async def _cancel(sql: Connection, person: str) -> None:
    await sql.execute("select from chimeway.cancel(cancellation_key => $1, note => $1)", person)


async def _forget(sql: Connection, person: str) -> None:
    await sql.execute("select from chimeway.forget_recipient('default', $1)", person)


async def _identify(sql: Connection, person: str) -> None:
    await sql.execute("select chimeway.identify('default', $1, '{\"locale\": \"en\"}')", person)


@asynccontextmanager
async def _connections(url: str, many: int) -> AsyncIterator[list[Connection]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(plain(url)) for _ in range(many)]


async def _rounds(sql: Connection, turn: Round, person: str) -> None:
    for _ in range(ROUNDS):
        await turn(sql, person)
        await asyncio.sleep(random.random() * 0.02)


async def test_nobody_waits_in_a_circle_and_nothing_comes_back(database_url: str) -> None:
    """No deadlock (a plain connection would tell), every audit holds, and nothing of them is left."""
    turns: list[Round] = [_start, _start, _say, _mark, _tell, _cancel, _forget, _forget, _identify]
    each = [(turn, person) for turn in turns for person in PEOPLE]
    async with (
        running_machine(database_url, Wordy(), definitions=(JOURNEY,)) as on,
        _connections(database_url, len(each)) as connections,
    ):
        async with asyncio.TaskGroup() as group:
            for sql, (turn, person) in zip(connections, each, strict=True):
                group.create_task(_rounds(sql, turn, person))
        for person in PEOPLE:
            await _forget(connections[0], person)
        await on.rows.until_none_live()
        await assert_invariants(database_url, on.rows)
        assert (
            await on.rows.value("select count(*) from chimeway.workflow_runs where forgotten_at is not null")
            > 2
        )
        for table in ("workflow_runs", "deliveries", "inbox_items", "recipients"):
            sql = f"select count(*) from chimeway.{table} where recipient_id = any($1)"
            assert await on.rows.value(sql, list(PEOPLE)) == 0, table
        words = """select count(*) from chimeway.deliveries d
                     left join chimeway.delivery_attempt_results x on x.delivery_id = d.id
                     left join chimeway.delivery_feedback f on f.delivery_id = d.id
                    where d.recipient_id like 'forgotten-%'
                      and num_nonnulls(d.note, d.message, x.note, x.provider_reference, f.detail) > 0"""
        assert await on.rows.value(words) == 0
