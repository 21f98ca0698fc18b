"""What a node knows, and says, of calls that do not get through."""

import asyncio
from collections.abc import Callable
from typing import Any

import asyncpg
import pytest
from structlog.testing import capture_logs

from chimeway.store import health as health_module
from chimeway.store.health import Health, own_health
from chimeway.store.pool import persistently
from kit.waiting import wait_for


def refusal(state: str) -> Exception:
    """Return what the server would say."""
    return asyncpg.PostgresError.new({"C": state, "M": f"said {state}", "S": "ERROR"})


class Failing:
    """A call that fails for as long as there are errors left."""

    def __init__(self, *errors: Exception) -> None:
        """Take the errors, in order."""
        self.errors = list(errors)
        self.waiting = asyncio.Event()

    async def __call__(self) -> str:
        """Fail, or answer."""
        await asyncio.sleep(0)
        if self.errors:
            raise self.errors.pop(0)
        return "done"


async def test_a_loss_is_one_episode_however_many_calls_are_in_it() -> None:
    """It is told once, and its end once, with how long it took; in between the node is not ready."""
    mine = own_health()
    calls = [Failing(*[ConnectionResetError("gone") for _ in range(3)]) for _ in range(5)]
    with capture_logs() as lines:
        async with asyncio.TaskGroup() as group:
            for call in calls:
                group.create_task(persistently(call))
            worst = await wait_for(mine.worst, "it is known", every_s=0.001)
            assert (worst.kind, worst.error) == ("lost", "gone")
        assert mine.worst() is None
    assert [line["event"] for line in lines] == ["database.lost", "database.back"]
    assert lines[1]["seconds"] > 0


async def test_a_refusal_is_told_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """At once, but each code once in ten seconds at most; what passes at once keeps nobody from work."""
    mine = own_health()
    with capture_logs() as lines:
        for _ in range(3):
            assert await persistently(Failing(refusal("40P01"))) == "done"
            assert mine.worst() is None
    (line,) = lines
    assert (line["event"], line["code"], line["error"]) == ("database.refused", "40P01", "said 40P01")
    assert line["hint"]
    monkeypatch.setattr(health_module, "_SAID_AGAIN_S", 0.0)
    with capture_logs() as lines:
        await persistently(Failing(refusal("40P01")))
    assert lines[0]["times"] == 3


async def test_a_refusal_that_goes_on_is_no_readiness(monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk answers, and lets nobody work."""
    monkeypatch.setattr(health_module, "_PASSES_S", 0.05)
    mine = own_health()
    with capture_logs() as lines:
        call = Failing(*[refusal("53100") for _ in range(4)])
        working = asyncio.ensure_future(persistently(call))
        worst = await wait_for(mine.worst, "it goes on", every_s=0.001)
        assert (worst.kind, worst.code) == ("refused", "53100")
        assert await working == "done"
    assert [line["event"] for line in lines] == ["database.refused", "database.back"]


async def test_what_is_not_answered_is_told_before_its_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that stands still says nothing: the node does."""
    monkeypatch.setattr(health_module, "_SLOW_S", 0.05)
    mine, answer = own_health(), asyncio.Event()

    async def slow_call() -> None:
        await answer.wait()

    with capture_logs() as lines:
        working = asyncio.ensure_future(persistently(slow_call))
        assert (await wait_for(mine.worst, "it is slow")).kind == "slow"
        answer.set()
        await working
    assert [line["event"] for line in lines] == ["database.slow", "database.back"]
    assert mine.worst() is None


@pytest.mark.parametrize("end", ["given up", "a fault of its own"])
async def test_what_is_given_up_is_no_trouble_any_more(end: str) -> None:
    """Neither a cancelled call nor one that fails for good is waited for, and neither is told as a return."""
    mine = own_health()
    errors: list[Exception] = [ConnectionResetError("gone")]
    call = Failing(*errors, *([ValueError("mine")] if end != "given up" else [ConnectionResetError()] * 99))
    with capture_logs() as lines:
        working = asyncio.ensure_future(persistently(call))
        await wait_for(mine.worst, "it is known", every_s=0.001)
        if end == "given up":
            working.cancel()
        await asyncio.wait({working})
        assert working.cancelled() or isinstance(working.exception(), ValueError)
    assert mine.worst() is None
    assert [line["event"] for line in lines] == ["database.lost"]


async def test_nodes_of_one_process_have_troubles_of_their_own() -> None:
    """What one has lost, another may have."""
    found: dict[str, Health] = {}
    hold = asyncio.Event()

    async def node(name: str, call: Callable[[], Any]) -> None:
        found[name] = own_health()
        working = asyncio.ensure_future(persistently(call))
        await hold.wait()
        working.cancel()

    async def works() -> None:
        await asyncio.sleep(0)

    async with asyncio.TaskGroup() as group:
        group.create_task(node("lost", Failing(*[ConnectionResetError() for _ in range(99)])))
        group.create_task(node("well", works))
        await wait_for(lambda: found and found["lost"].worst(), "it is known", every_s=0.001)
        assert found["well"].worst() is None
        hold.set()
