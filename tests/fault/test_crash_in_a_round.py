"""Killed where a step leads back: a round is counted once, whether its commit or only the answer was lost."""

from pathlib import Path

import pytest

from chimeway.store.pool import open_database
from chimeway.store.verify import verify
from kit.daemon import running_daemon
from kit.home import home, in_app, wait, workflow
from kit.proxy import proxy_to
from kit.psql import psql
from kit.rows import rows_of
from kit.waiting import wait_for

ROUNDS = workflow(
    wait(duration="PT0.05S"),
    in_app() | {"next": {"repeat": "step_wait_for_read", "times": 2, "then": "end"}},
)
TRIGGER = "select chimeway.trigger('mention_escalation', recipient_id => 'ada')"


@pytest.mark.parametrize(
    ("side", "counted"),
    [pytest.param("request", None, marks=pytest.mark.big), ("reply", {"step_in_app": 1})],
)
async def test_a_round_is_counted_once(
    database_url: str, tmp_path: Path, side: str, counted: dict[str, int] | None
) -> None:
    """Three items, whatever was lost at the first way back; every row and every replay is as it must be."""
    made = home(tmp_path, ROUNDS)
    async with proxy_to(database_url) as proxy, rows_of(database_url) as rows:
        async with running_daemon(proxy.url, made) as daemon:
            hold = proxy.hold_request if side == "request" else proxy.hold_reply
            gate = hold("commit_decisions", "repeats")
            (run_id,) = await psql(database_url, TRIGGER)
            await wait_for(gate.reached.is_set, "the first way back")
            daemon.kill()
            gate.discard()
        context = (await rows.run(run_id))["status_context"]
        assert context.get("repeats") == counted
        async with running_daemon(proxy.url, made, name="fresh"):
            await rows.until(run_id, "completed")
        assert await rows.value("select count(*) from chimeway.inbox_items") == 3
        async with open_database(database_url) as database:
            assert await verify(database) == []
