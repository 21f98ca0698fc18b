"""What a provider tells, against results that are being recorded and decisions that are being made."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from chimeway import Chimeway
from chimeway.delivery.channel import Message, Sent, UnknownOutcome
from chimeway.store.pool import Database, open_database
from kit.home import workflow
from kit.invariants import assert_invariants
from kit.machine import running_machine
from kit.waiting import wait_for

KINDS: Final = ("delivered", "deferred", "bounced", "delivered", "bounced")
PATIENT: Final = workflow(
    {
        "id": "by_push",
        "action": {"type": "notify", "channel": "push", "render_key": "mention"},
        "progress": [
            {"kind": "on_outcome", "outcome": "bounced", "to_step": "in_app"},
            {"kind": "wait_until", "anchor": "prior_delivery_terminal_at", "delay": "PT0.05S",
             "to_step": "wait"},
        ],
    },
    {"id": "wait", "action": {"type": "wait", "duration": "PT1H", "stop_conditions": [
        {"type": "signal_received", "signal_type": "chimeway.delivery.bounced", "then": {"goto": "in_app"},
         "match": {"delivery_id": {"delivery": "by_push"}}}]}},
    {"id": "in_app", "action": {"type": "notify", "channel": "in_app", "render_key": "mention"}},
)  # fmt: skip
RUNS: Final = 40
_ALL: Final = f"select count(*) = {RUNS * len(KINDS)} from chimeway.delivery_feedback"


class Telling:
    """A provider that tells of each message: before it answers, and after, at once or later."""

    needs_address = False
    name = "push"

    def __init__(self, client: Chimeway, group: asyncio.TaskGroup) -> None:
        """Take whom to tell."""
        self.client, self.group, self.chance = client, group, random.Random(7)

    async def send(self, message: Message) -> Sent:
        """Tell some of it now and some later; now and then lose the answer."""
        told = list(enumerate(KINDS))
        self.chance.shuffle(told)
        now = self.chance.randrange(len(told))
        await asyncio.gather(*(self.tell(message, each, 0.0) for each in told[:now]))
        for each in told[now:]:
            self.group.create_task(self.tell(message, each, self.chance.random() * 0.1))
        if self.chance.random() < 0.3:
            raise UnknownOutcome("the answer was lost")
        return Sent("taken")

    async def tell(self, message: Message, event: tuple[int, Any], later_s: float) -> None:
        """Tell one thing, twice."""
        await asyncio.sleep(later_s)
        number, kind = event
        for _ in range(2):
            receipt = await self.client.record_feedback(
                message.delivery_id, kind, source="race", event_id=str(number)
            )
            assert receipt.answer in {"recorded", "repeat"}


@asynccontextmanager
async def telling(database: Database) -> AsyncIterator[Telling]:
    """Give the provider, and wait for all that it tells."""
    async with asyncio.TaskGroup() as group:
        yield Telling(Chimeway(database), group)


async def test_feedback_against_results_and_decisions(database_url: str) -> None:
    """Whatever meets whatever: each message has bounced, each run escalated once, all rows agree."""
    async with (
        open_database(database_url) as database,
        telling(database) as provider,
        running_machine(database_url, provider, definitions=(PATIENT,)) as running,
    ):
        for number in range(RUNS):
            await running.start(f"user_{number}")
        await running.rows.until_none_live()
        await wait_for(lambda: running.rows.value(_ALL), "all is told")
        pushed = await running.rows.all(
            """select d.status, d.suppression_reason, count(f.*) as events
                 from chimeway.deliveries d join chimeway.delivery_feedback f on f.delivery_id = d.id
                where d.channel = 'push' group by d.id, d.shard"""
        )
        assert [tuple(row) for row in pushed] == [("cancelled", "bounced", len(KINDS))] * RUNS
        assert await running.rows.value("select count(*) from chimeway.inbox_items") == RUNS
        by_type = await running.rows.all("select type, count(*) from chimeway.signals group by type")
        counted = {row["type"]: row["count"] for row in by_type}
        assert counted["chimeway.delivery.bounced"] == RUNS
        assert 0 < counted["chimeway.delivery.succeeded"] < RUNS
        await assert_invariants(database_url, running.rows)
