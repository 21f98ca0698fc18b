"""A node prunes by itself: seldom, in turn with others, and never instead of work."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

from chimeway.engine import pruner as module
from chimeway.engine.pruner import Pruner
from chimeway.limits import PRUNE_EVERY_S
from chimeway.store.pool import Database
from chimeway.store.pruning import PARTS, Part, Retention, Turn, turn
from chimeway.store.verify import verify
from kit.home import READ, workflow
from kit.machine import Provider, running_machine
from kit.waiting import wait_for
from store.pruning import KEPT, prune

SOON = Retention(*[timedelta(microseconds=1)] * 5)
PAUSE = {"id": "wait", "action": {"type": "wait", "duration": "PT1S", "stop_conditions": [READ]}}
PUSH = {"id": "push", "action": {"type": "notify", "channel": "push", "render_key": "mention"}}
START = """select chimeway.trigger('mention_escalation', recipient_id => 'user_' || $1,
    data => '{"document": 7}', idempotency_key => 'key_' || $1)"""
SAY = "select chimeway.signal('notification_read', actor_id => 'user_' || $1, payload => '{\"document\": 7}')"


@dataclass
class Rests:
    """A clock on which sleeping takes no time and is written down; a batch takes a tenth of a second."""

    slept: list[float] = field(default_factory=list)
    passed: float = 0.0

    def monotonic(self) -> float:
        """Go on by half a tenth at each look."""
        self.passed += 0.05
        return self.passed

    async def sleep(self, seconds: float) -> None:
        """Write it down."""
        self.slept.append(seconds)
        self.passed += seconds
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("overloaded", "behind", "rests"),
    [(False, timedelta(0), 0.2), (True, timedelta(0), 1.0), (True, timedelta(hours=2), 0.05)],
    ids=["usually", "overloaded", "behind"],
)
async def test_it_rests_longer_than_it_works(
    database: Database, monkeypatch: pytest.MonkeyPatch, overloaded: bool, behind: timedelta, rests: float
) -> None:
    """Behind each batch, for a multiple of what it took: longer while work is late, unless disks fill."""

    async def turns(_database: Database, part: Part, _retention: Retention) -> Turn:
        turns_taken[part] += 1
        return Turn({"workflow_runs": 1}, turns_taken[part] < 4, busy=False, behind=behind)

    turns_taken: Counter[str] = Counter()
    monkeypatch.setattr(module, "turn", turns)
    clock: Any = Rests()
    await Pruner(database, clock, KEPT, overloaded=lambda: overloaded).prune("runs")
    assert clock.slept == pytest.approx([rests] * 3)


async def test_it_looks_once_a_minute_and_says_hourly_what_left(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five statements that find nothing, until something is old enough."""
    asked: Counter[str] = Counter()

    async def counted(database: Database, part: Part, retention: Retention) -> Turn:
        asked[part] += 1
        found = await turn(database, part, retention)
        return Turn({"workflow_runs": 1}, found.more, busy=False, behind=found.behind)

    monkeypatch.setattr(module, "turn", counted)
    clock: Any = Rests()
    with capture_logs() as logs:
        serving = asyncio.ensure_future(Pruner(database, clock, KEPT, overloaded=lambda: False).serve())
        try:
            await wait_for(lambda: len(logs) > 0, "it says what left")
        finally:
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)
    assert [each["event"] for each in logs][:1] == ["prune.removed"]
    minutes = [pause for pause in clock.slept if pause > 1]
    assert all(PRUNE_EVERY_S / 2 <= pause <= PRUNE_EVERY_S * 1.5 for pause in minutes)
    assert set(asked) == set(PARTS)
    assert asked["runs"] <= len(minutes)


async def test_what_it_cannot_do_ends_no_node(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A part that fails is said, once an hour, and tried again; the others go on."""
    asked: Counter[str] = Counter()

    async def failing(_database: Database, part: Part, _retention: Retention) -> Turn:
        asked[part] += 1
        if part == "runs":
            raise ValueError("update or delete on table workflow_runs violates a foreign key of a stranger")
        return Turn({}, more=False, busy=False, behind=timedelta(0))

    monkeypatch.setattr(module, "turn", failing)
    clock: Any = Rests()
    with capture_logs() as logs:
        serving = asyncio.ensure_future(Pruner(database, clock, KEPT, overloaded=lambda: False).serve())
        await wait_for(lambda: asked["runs"] >= 5, "it is tried again")
        assert not serving.done()
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
    assert {(each["event"], each["part"]) for each in logs} == {("prune.failed", "runs")}
    assert len(logs) <= 1 + clock.passed / 3600
    assert len(logs) < asked["runs"]
    assert asked["signals"] >= 4


async def test_what_ends_leaves_at_once_while_a_node_works(database_url: str) -> None:
    """Kept for a microsecond only: nothing that a live run, a message or a node at work needs is missed."""
    push = Provider("push")
    async with running_machine(database_url, push, definitions=(workflow(PAUSE, PUSH),)) as on:
        database, going = on.node.database, True

        async def prune_on() -> Counter[str]:
            removed: Counter[str] = Counter()
            while going:
                removed += await prune(database, SOON, at_most=7)
            return removed

        pruning = [asyncio.ensure_future(prune_on()) for _ in range(2)]
        for number in range(30):
            await on.rows.value(START, str(number))
            if number % 3:
                await on.rows.value(SAY, str(number))
        live = "select count(*) = 0 from chimeway.workflow_runs"
        await wait_for(lambda: on.rows.value(live), "all have ended and left")
        going = False
        removed = sum(await asyncio.gather(*pruning), Counter()) + await prune(database, SOON)
        assert removed["workflow_runs"] == removed["events"] == 30
        assert len(push.messages) >= 10
        for table in ("workflow_transitions", "deliveries", "delivery_attempts", "events", "run_mailbox"):
            assert await on.rows.value(f"select count(*) from chimeway.{table}") == 0, table
        assert await verify(database) == []
