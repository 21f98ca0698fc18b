"""A group that is ending takes no task any more, and that is nobody's fault."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

import pytest

from chimeway.delivery.intake import Intake
from chimeway.delivery.lane import Lane, OpenWay
from chimeway.groups import begin
from chimeway.store.batching import Batcher


class Lost(Exception):  # noqa: N818  (what happened to the lease)
    """The failure of a neighbour that ends a group."""


async def _nothing() -> None:
    return None


async def _fail() -> None:
    raise Lost


async def _while_ending(wanted: Callable[[asyncio.TaskGroup], None]) -> list[type[Exception]]:
    """Want something of a part whose group is just ending; return what the group failed of."""

    async def want(group: asyncio.TaskGroup) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            wanted(group)

    async def live() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(want(group))
            await asyncio.sleep(0)
            group.create_task(_fail())

    with pytest.raises(ExceptionGroup) as found:
        await live()
    return [type(each) for each in found.value.exceptions]


async def test_what_cannot_begin_is_closed() -> None:
    """Who begins something in such a group is told so, and nothing of it is left unawaited."""
    begun: list[bool] = []
    async with asyncio.TaskGroup() as group:
        begun.append(begin(group, _nothing(), "well"))
    assert await _while_ending(lambda ends: begun.append(begin(ends, _nothing(), "ending"))) == [Lost]
    assert begun == [True, False]


async def test_a_delivery_that_comes_in_the_end_is_left() -> None:
    """The way in and a lane that get one while their group ends add no error to the one that ended it."""

    async def bring(*_: Any) -> None:
        raise AssertionError

    async def send(_: int) -> bool:
        raise AssertionError

    def comes(group: asyncio.TaskGroup) -> None:
        Intake(bring, group).put("tenant", UUID(int=1))
        Lane("webhook", OpenWay(), 2, send, group, lambda: None).put("tenant", 1)

    assert await _while_ending(comes) == [Lost]


@pytest.mark.parametrize("owner", [None, "tenant"])
async def test_who_asks_a_batcher_in_the_end_is_cancelled(owner: str | None) -> None:
    """A call that comes while its batcher ends waits for nothing, and no error is left to the loop."""
    faults: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context))
    held = asyncio.Event()

    async def call(numbers: Sequence[int]) -> list[int]:
        try:
            await held.wait()
        finally:
            asked.append(asyncio.ensure_future(batcher(2, owner)))
            await asyncio.sleep(0)  # as a call that ends its connection does
        return list(numbers)

    batcher: Batcher[int, int] = Batcher(call, told="hold", limit=10)
    serving = asyncio.ensure_future(batcher.serve())
    asked = [asyncio.ensure_future(batcher(1, owner))]
    await asyncio.sleep(0.01)
    serving.cancel()
    answers = await asyncio.gather(serving, *asked, return_exceptions=True)
    answers += await asyncio.gather(*asked, return_exceptions=True)
    assert {type(answer) for answer in answers} == {asyncio.CancelledError}
    assert not faults
