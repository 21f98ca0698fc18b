"""A decision, or an attempt to be begun, whose answer did not come, and which has grown old meanwhile."""

from datetime import datetime
from typing import Any, Final
from uuid import UUID

import asyncpg
import pytest

from chimeway.delivery import sending
from chimeway.store import ledger
from kit.home import wait, workflow
from kit.invariants import assert_invariants
from kit.machine import Provider, running_machine
from kit.saboteur import FAULTS, Fault, sabotage

ITEM: Final = {"id": "in_app", "action": {"type": "notify", "channel": "in_app", "render_key": "mention"}}
PUSH: Final = {"id": "push", "action": {"type": "notify", "channel": "push", "render_key": "mention"}}
JOURNEY: Final = workflow(ITEM, wait(duration="PT0.2S"), PUSH, key="mention_escalation")


@pytest.fixture(autouse=True)
def _old_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every decision be old that is to be submitted again."""
    monkeypatch.setattr(ledger, "DECIDED_ANEW_S", 0.0)


@pytest.mark.parametrize("fault", ["cut before", "answer lost"])
async def test_a_decision_of_before_the_outage_is_made_again(database_url: str, fault: str) -> None:
    """And counts once, whether it had been written or not."""
    push = Provider("push")
    with sabotage() as saboteur:
        async with running_machine(database_url, push, definitions=(JOURNEY,)) as on:
            runs: list[UUID] = []
            for number in (1, 2):
                saboteur.arm("commit_decisions", number, FAULTS[fault])
                runs.append(await on.start(f"user_{number}"))
                await on.rows.until(runs[-1], "completed")
                assert saboteur.struck
            assert await on.rows.value("select count(*) from chimeway.inbox_items") == 2
            assert [len(await on.rows.deliveries(run_id)) for run_id in runs] == [2, 2]
            assert sorted(one.recipient_id for one in push.messages) == ["user_1", "user_2"]
            await assert_invariants(database_url, on.rows)


async def test_a_wait_counts_from_the_end_of_the_outage(database_url: str) -> None:
    """Who is to read something has the whole wait to do so: it is decided later than the connection broke."""
    broke: list[datetime] = []

    def breaks() -> Exception:
        broke.append(on.node.clock.now())
        return asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation")

    with sabotage() as saboteur:
        async with running_machine(database_url, Provider("push"), definitions=(JOURNEY,)) as on:
            saboteur.arm("commit_decisions", 1, Fault(breaks, cut=True))
            run_id = await on.start()
            await on.rows.until(run_id, "completed")
            first: dict[str, Any] = await on.rows.value(
                "select inputs from chimeway.workflow_transitions where run_id = $1 and inputs is not null"
                " order by seq limit 1", run_id,
            )  # fmt: skip
    assert datetime.fromisoformat(first["now"]) > broke[0]


async def test_an_attempt_of_before_the_outage_is_judged_again(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was allowed then may not be so any more: policy is asked anew before the provider is called."""
    asked, judged = [], sending.judged

    def judge(*about: Any) -> Any:
        asked.append(about)
        return judged(*about)

    monkeypatch.setattr(sending, "judged", judge)
    push = Provider("push")
    with sabotage() as saboteur:
        async with running_machine(
            database_url, push, definitions=(workflow(PUSH, key=JOURNEY["key"]),)
        ) as on:
            saboteur.arm("begin_attempts", 1, FAULTS["cut before"])
            run_id = await on.start()
            await on.rows.until(run_id, "completed")
    assert (len(asked), len(push.messages)) == (2, 1)
