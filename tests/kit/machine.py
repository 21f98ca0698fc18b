"""A whole engine inside the test's own process: the parts of one tenure, on channels of the test's own."""

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from chimeway.clock import SystemClock
from chimeway.daemon.machine import Machine, Node
from chimeway.delivery.channel import Channel, Message, Sent, TransientFailure
from chimeway.delivery.pacing import ChannelLimits
from chimeway.delivery.route import single
from chimeway.engine.ownership import Tenure
from chimeway.progression.retry import RetryPolicy
from chimeway.render.renderers import Renderers
from chimeway.render.templates import Templates
from chimeway.store import nodes
from chimeway.store.catalogue import Catalogue
from chimeway.store.definitions import register
from chimeway.store.ledger import Fence
from chimeway.store.migrations import VERSION
from chimeway.store.pool import Database, open_database
from chimeway.workflow.parse import parse
from kit.rows import Rows, rows_of
from kit.waiting import Gate

QUICK = RetryPolicy(base_s=0.02, cap_s=0.02)
TEMPLATES = Templates(
    {
        f"mention.{channel}.j2": "{% block subject %}Hello {{ recipient.id }}{% endblock %}"
        "{% block body %}{{ document }}{% endblock %}"
        for channel in ("in_app", "push", "sms", "email", "letter")
    }
    | {"broken.push.j2": "{% block subject %}x{% endblock %}{% block body %}{{ no.thing }}{% endblock %}"}
)
START = (
    "select chimeway.trigger($1::text, recipient_id => $2::text, tenant_id => $3::text,"
    " data => '{\"document\": 7}')"
)


class Provider:
    """A channel that keeps what it was given, and answers as the test said, else with success.

    An answer may be an exception (raised), a gate (held there; discarded: lost), or anything (returned).
    """

    needs_address = False
    limits = ChannelLimits()

    def __init__(self, name: str = "push", *answers: object) -> None:
        """Take its name and its first answers."""
        self.name = name
        self.messages: list[Message] = []
        self.answers: deque[object] = deque(answers)

    async def send(self, message: Message) -> Sent:
        """Keep a message, and answer."""
        self.messages.append(message)
        answer = self.answers.popleft() if self.answers else Sent(f"{self.name}-{len(self.messages)}")
        if isinstance(answer, BaseException):
            raise answer
        if isinstance(answer, Gate):
            if not await answer.passes():
                raise TransientFailure("the test lost it")
            return Sent("late")
        return answer  # type: ignore[return-value]  # rubbish is one of the things that channels return

    def to(self, recipient: str) -> list[Message]:
        """Return what a recipient was sent."""
        return [message for message in self.messages if message.recipient_id == recipient]


@dataclass(frozen=True, slots=True)
class Running:
    """A machine that runs, and what its tests look at."""

    machine: Machine
    node: Node
    tenure: Tenure
    rows: Rows

    async def start(
        self, recipient: str = "ada", workflow: str = "mention_escalation", tenant: str = "default"
    ) -> UUID:
        """Trigger a journey, as a producer would."""
        run_id: UUID = await self.rows.value(START, workflow, recipient, tenant)
        return run_id

    def retries_in_an_hour(self) -> None:
        """Have what fails wait for an hour: of hundreds that draw when, one may well draw the next second."""
        results = self.machine._results
        results._policy, results._draw = RetryPolicy(base_s=3_600), lambda: 1.0 - 1e-9


async def install(database: Database, *definitions: Mapping[str, Any]) -> None:
    """Register definitions."""
    for definition in definitions:
        await register(database, parse(json.loads(json.dumps(definition))))


async def lease(database: Database, *, minutes: float = 10, clean: bool = True) -> Tenure:
    """Take the lease, whoever has it; nobody renews it."""
    owner = uuid4()
    async with database.acquire() as connection:
        sql = "select epoch from chimeway.acquire_lease($1, $2, (select max(epoch) from chimeway.shards))"
        epoch = await connection.fetchval(sql, owner, timedelta(minutes=minutes))
    return Tenure(Fence(owner, epoch), clean=clean, trusted_until=float("inf"))


async def node_on(database: Database, *channels: Channel, name: str = "node") -> Node:
    """Enrol a node with these channels, on a clock that follows the database's."""
    clock = SystemClock()
    for _ in range(3):
        await nodes.synchronise(database, clock)
    node_id, names = uuid4(), {channel.name: single(channel, clock) for channel in channels}
    await nodes.enrol(database, node_id, name, "0", sorted(names))
    return Node(
        id=node_id,
        name=name,
        version="0",
        direct_url=database.url,
        database=database,
        clock=clock,
        catalogue=Catalogue(database),
        renderers=Renderers(templates=TEMPLATES),
        channels=names,
        max_lateness_s=5.0,
        schema_version=VERSION,
    )


@asynccontextmanager
async def running_machine(
    url: str, *channels: Channel, definitions: tuple[Mapping[str, Any], ...] = (), clean: bool = True
) -> AsyncIterator[Running]:
    """Run an engine while the block lasts; failed deliveries are tried again at once.

    What the block raises comes out as it is; a part that fails ends the block and comes out as a group.
    """
    failed: BaseException | None = None
    async with open_database(url, size=12) as database, rows_of(url) as rows:
        await install(database, *definitions)
        node, tenure = await node_on(database, *channels), await lease(database, clean=clean)
        try:
            async with asyncio.TaskGroup() as group:
                machine = Machine(node, tenure, group)
                machine._results._policy = QUICK
                await machine.start()
                try:
                    yield Running(machine, node, tenure, rows)
                except (Exception, pytest.fail.Exception) as error:  # noqa: BLE001  (raised below)
                    failed = error
                raise _Over
        except* _Over:
            pass
    if failed is not None:
        raise failed


class _Over(Exception):  # noqa: N818  (no error: the way out of a task group)
    """The block has ended."""
