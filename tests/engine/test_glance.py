"""A node at rest glances: one statement a second is all that it looks with, and it finds what is there."""

import asyncio
from collections import Counter
from typing import Any

import pytest

from chimeway.store.pool import Database
from kit.home import READ, workflow
from kit.machine import Provider, running_machine
from kit.waiting import wait_for

WAIT = {"id": "wait", "action": {"type": "wait", "duration": "PT2H", "stop_conditions": [READ]}}
PUSH = {"id": "push", "action": {"type": "notify", "channel": "push", "render_key": "mention"}}
JOURNEY = workflow(WAIT, PUSH)
STARTED_UNHEARD = """
    select chimeway.trigger('mention_escalation', recipient_id => 'ada', data => '{"document": 7}')"""


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each statement was asked; glances come twenty times a second, and none counts as costly.

    On a busy machine one may take as long as beside an old snapshot, after which nobody glances for a while.
    """
    asked: Counter[str] = Counter()
    fetch = Database.fetch

    async def noted(database: Database, name: str, *args: Any) -> Any:
        asked[name] += 1
        return await fetch(database, name, *args)

    monkeypatch.setattr(Database, "fetch", noted)
    monkeypatch.setattr("chimeway.engine.lookout.IDLE_LOOK_S", 0.05)
    monkeypatch.setattr("chimeway.store.sparing._CHEAP_S", 60.0)
    return asked


async def test_a_node_at_rest_only_glances(database_url: str, asked: Counter[str]) -> None:
    """While there is nothing, nobody looks for due runs, due deliveries, signals or ends of pauses."""
    async with running_machine(database_url, Provider(), definitions=(JOURNEY,)):
        await wait_for(lambda: asked["glance"] > 2, "it glances")
        await asyncio.sleep(0)
        before, glances = Counter(asked), asked["glance"]
        await wait_for(lambda: asked["glance"] > glances + 10, "it glances on")
        others = {"due_runs", "due_deliveries", "route_signals", "unpark_runs", "abandoned_attempts"}
        assert {name: asked[name] - before[name] for name in others} == dict.fromkeys(others, 0)


async def test_what_no_hint_told_of_is_found_by_a_glance(database_url: str, asked: Counter[str]) -> None:
    """A run whose hint is lost is played all the same, and soon."""
    async with running_machine(database_url, Provider(), definitions=(JOURNEY,)) as on:
        await wait_for(lambda: asked["glance"] > 2, "it glances")
        await on.rows.all("create or replace function chimeway.hint() returns void language sql as 'select'")
        run_id = await on.rows.value(STARTED_UNHEARD)
        await on.rows.until(run_id, "waiting")


async def test_where_looking_at_all_is_costly_what_comes_is_found_behind_the_marks(
    database_url: str, asked: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside an old snapshot nobody glances; what no hint told of is found, played, and stopped."""
    monkeypatch.setattr("chimeway.store.sparing._CHEAP_S", 0.0)
    monkeypatch.setattr("chimeway.store.sparing.TIMES", 1_000_000)
    monkeypatch.setattr("chimeway.store.sparing._WORTH", 0)
    async with running_machine(database_url, Provider(), definitions=(JOURNEY,)) as on:
        await wait_for(lambda: asked["glance"] > 2, "it glances")
        await on.rows.all("create or replace function chimeway.hint() returns void language sql as 'select'")
        run_id = await on.rows.value(STARTED_UNHEARD)
        await on.rows.until(run_id, "waiting")
        glances = asked["glance"]
        await on.rows.value("select chimeway.signal('notification_read', actor_id => 'ada')")
        await on.rows.until(run_id, "stopped")
        assert asked["glance"] == glances
