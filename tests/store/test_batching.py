"""The batcher: calls in company, and each bears only its own fault."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise

import asyncpg
import pytest
from structlog.testing import capture_logs

from chimeway.store.batching import Batcher
from chimeway.store.faults import LeaseLost
from kit.waiting import Gate


class Call:
    """Squares numbers, and keeps the batches that it was given; some numbers are bad."""

    def __init__(self, *bad: int) -> None:
        """Take what it raises ValueError for."""
        self._bad = set(bad)
        self.batches: list[list[int]] = []
        self.gates: list[Gate] = []
        self.errors: list[Exception] = []

    async def __call__(self, numbers: Sequence[int]) -> list[int]:
        """Do a batch; hold it at the next gate, or raise the next error, when there is one."""
        self.batches.append(list(numbers))
        if self.gates:
            await self.gates.pop(0).passes()
        if self.errors:
            raise self.errors.pop(0)
        if bad := self._bad & set(numbers):
            raise ValueError(bad)
        return [number * number for number in numbers]

    def hold(self) -> Gate:
        """Hold the next batch."""
        self.gates.append(Gate())
        return self.gates[-1]


@asynccontextmanager
async def batching(
    call: Call, *, limit: int = 100, lanes: int = 1, share: int | None = None
) -> AsyncIterator[Batcher[int, int]]:
    """Serve while the block lasts."""
    batcher = Batcher(call, told="square", limit=limit, lanes=lanes, share=share)
    serving = asyncio.ensure_future(batcher.serve())
    try:
        yield batcher
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)


def _submit(batcher: Batcher[int, int], *numbers: int) -> list["asyncio.Task[int]"]:
    return [asyncio.ensure_future(batcher(number)) for number in numbers]


async def test_calls_gather_while_one_is_under_way() -> None:
    """The first goes at once and alone; those that come meanwhile go together, up to the limit, in order."""
    call = Call()
    gate = call.hold()
    async with batching(call, limit=3) as batcher:
        first = _submit(batcher, 1)
        await gate.reached.wait()
        rest = _submit(batcher, 2, 3, 4, 5)
        await asyncio.sleep(0)
        assert call.batches == [[1]]
        gate.release()
        assert await asyncio.gather(*first, *rest) == [1, 4, 9, 16, 25]
    assert call.batches == [[1], [2, 3, 4], [5]]


async def test_two_lanes_carry_two_batches() -> None:
    """With two lanes a batch that hangs does not keep the next one back."""
    call = Call()
    gate = call.hold()
    async with batching(call, lanes=2) as batcher:
        (hung,) = _submit(batcher, 1)
        await gate.reached.wait()
        assert await asyncio.wait_for(batcher(2), 5) == 4
        assert not hung.done()
        gate.release()
        assert await hung == 1


async def test_only_the_bad_item_gets_the_error() -> None:
    """A batch that fails is split until the bad ones stand alone; all others get their results."""
    call = Call(3, 6)
    gate = call.hold()
    with capture_logs() as lines:
        async with batching(call) as batcher:
            first = _submit(batcher, 0)
            await gate.reached.wait()
            rest = _submit(batcher, *range(1, 9))
            await asyncio.sleep(0)
            gate.release()
            done = await asyncio.gather(*first, *rest, return_exceptions=True)
    assert [one for one in done if isinstance(one, int)] == [0, 1, 4, 16, 25, 49, 64]
    for number in (3, 6):
        assert isinstance(done[number], ValueError)
        assert str(done[number]) == str({number})
    assert call.batches[1] == list(range(1, 9))
    assert [3] in call.batches
    assert {line["event"] for line in lines} == {"ledger.batch_split"}
    assert lines[0]["operation"] == "square"


async def test_a_bad_item_alone_is_not_tried_again() -> None:
    """An item that stood alone when it failed gets the error of that one call."""
    call = Call(3)
    async with batching(call) as batcher:
        with pytest.raises(ValueError, match="3"):
            await batcher(3)
        assert await batcher(2) == 4
    assert call.batches == [[3], [2]]


async def test_a_lost_connection_is_tried_again_with_the_same_items() -> None:
    """Faults of connection and retries reach no caller: the same batch is done again."""
    call = Call()
    call.errors = [ConnectionResetError(), asyncpg.DeadlockDetectedError(), asyncpg.AdminShutdownError()]
    async with batching(call) as batcher:
        assert await asyncio.wait_for(batcher(3), 10) == 9
    assert call.batches == [[3]] * 4


async def test_what_is_made_again_may_be_another_call() -> None:
    """From the second time on `again` is asked, each time; a new batch begins with the call itself."""
    call, again = Call(), Call()
    call.errors = [ConnectionResetError()]
    again.errors = [asyncpg.DeadlockDetectedError()]
    batcher: Batcher[int, int] = Batcher(call, told="square", limit=3, again=again)
    async with asyncio.TaskGroup() as group:
        serving = group.create_task(batcher.serve())
        assert [await batcher(3), await batcher(4)] == [9, 16]
        serving.cancel()
    assert (call.batches, again.batches) == ([[3], [4]], [[3], [3]])


async def test_a_lost_lease_reaches_all() -> None:
    """Refused as the owner of a former epoch, a batch is not split: everybody in it is told."""
    call = Call()
    gate = call.hold()
    async with batching(call) as batcher:
        first = _submit(batcher, 1)
        await gate.reached.wait()
        rest = _submit(batcher, 2, 3, 4)
        await asyncio.sleep(0)
        second_gate = call.hold()
        gate.release()
        await second_gate.reached.wait()
        call.errors = [LeaseLost("another node has taken over")]
        second_gate.release()
        assert await asyncio.gather(*first) == [1]
        done = await asyncio.gather(*rest, return_exceptions=True)
        assert [type(one) for one in done] == [LeaseLost] * 3
    assert call.batches == [[1], [2, 3, 4]]


async def test_who_leaves_harms_no_neighbour() -> None:
    """A caller who is cancelled while his batch is under way leaves the others their results."""
    call = Call()
    gate = call.hold()
    async with batching(call) as batcher:
        first = _submit(batcher, 1)
        await gate.reached.wait()
        two, three = _submit(batcher, 2, 3)
        await asyncio.sleep(0)
        second_gate = call.hold()
        gate.release()
        await second_gate.reached.wait()
        two.cancel()
        second_gate.release()
        assert await asyncio.gather(*first, three) == [1, 9]
        assert two.cancelled()
        assert await batcher(4) == 16


async def test_who_leaves_a_bad_batch_harms_no_neighbour() -> None:
    """A caller cancelled before his batch fails and is split is passed over."""
    call = Call(3)
    gate = call.hold()
    async with batching(call) as batcher:
        first = _submit(batcher, 1)
        await gate.reached.wait()
        two, three, four = _submit(batcher, 2, 3, 4)
        await asyncio.sleep(0)
        two.cancel()
        three.cancel()
        gate.release()
        assert await asyncio.gather(*first, four) == [1, 16]


async def test_the_end_reaches_those_under_way() -> None:
    """When the batcher is cancelled the callers whose batch was under way are cancelled with it."""
    call = Call()
    gate = call.hold()
    async with batching(call) as batcher:
        (caller,) = _submit(batcher, 1)
        await gate.reached.wait()
    with pytest.raises(asyncio.CancelledError):
        await caller


async def test_a_flood_shares_its_batches() -> None:
    """Of two owners who wait each has half of a batch, in its own order, whoever has how much."""
    call = Call()
    gate = call.hold()
    async with batching(call, limit=4) as batcher:
        first = [asyncio.ensure_future(batcher(0, "a"))]
        await gate.reached.wait()
        flood = [asyncio.ensure_future(batcher(number, "a")) for number in range(1, 9)]
        await asyncio.sleep(0)
        other = call.hold()
        few = [asyncio.ensure_future(batcher(number, "b")) for number in range(11, 15)]
        await other.reached.wait()
        gate.release()
        await asyncio.gather(*first)
        other.release()
        await asyncio.gather(*flood, *few)
    assert call.batches[:2] == [[0], [11]], "nobody new waits for another's batch"
    assert call.batches[2] == [1, 12, 2, 13]


async def test_who_is_alone_is_carried_by_all_lanes_in_big_batches() -> None:
    """Until somebody else asks: then in one lane, and so many at once as are anybody's share."""
    call = Call()
    first, second, third, fourth = (call.hold() for _ in range(4))
    async with batching(call, limit=4, lanes=2, share=1) as batcher:
        flood = [asyncio.ensure_future(batcher(number, "a")) for number in range(1, 12)]
        await first.reached.wait()
        await second.reached.wait()
        assert call.batches == [[1, 2, 3, 4], [5, 6, 7, 8]]
        other = asyncio.ensure_future(batcher(21, "b"))
        await third.reached.wait()
        assert call.batches[2] == [21], "it waits for nothing that is under way"
        first.release()
        second.release()
        await fourth.reached.wait()
        assert call.batches[3:] == [[9]]
        third.release()
        fourth.release()
        await asyncio.gather(*flood, other)
    assert call.batches[4] == [10]


async def test_where_little_waits_nobody_need_be_considerate() -> None:
    """Single items in company go by all lanes: who has no more than his share floods nobody."""
    call = Call()
    first, second, third = (call.hold() for _ in range(3))
    async with batching(call, lanes=3, share=2) as batcher:
        asked = [asyncio.ensure_future(batcher(1, "a"))]
        await first.reached.wait()
        asked.append(asyncio.ensure_future(batcher(2, "b")))
        await second.reached.wait()
        asked.append(asyncio.ensure_future(batcher(3, "a")))
        await third.reached.wait()
        for gate in (first, second, third):
            gate.release()
        await asyncio.gather(*asked)
    assert call.batches == [[1], [2], [3]]


async def test_many_results_come_a_few_at_a_time() -> None:
    """Who has one result waits for no other owner's many, which come over several turns of the loop."""
    call, order = Call(), list[int]()
    gate = call.hold()

    async def ask(number: int, owner: str) -> None:
        await batcher(number, owner)
        order.append(number)

    async with batching(call) as batcher:
        first = asyncio.ensure_future(ask(0, "b"))
        await gate.reached.wait()
        flood = [asyncio.ensure_future(ask(number, "a")) for number in range(1, 51)]
        await asyncio.sleep(0)
        last = asyncio.ensure_future(ask(99, "b"))
        await asyncio.sleep(0)
        gate.release()
        await asyncio.gather(first, *flood, last)
    assert order.index(99) < 25


class _Slow(Call):
    """A call that takes its time, and knows when each batch began and ended."""

    def __init__(self, takes_s: float) -> None:
        """Take how long each batch lasts."""
        super().__init__()
        self.takes_s = takes_s
        self.times: list[tuple[float, float]] = []

    async def __call__(self, numbers: Sequence[int]) -> list[int]:
        """Do a batch, slowly."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        await asyncio.sleep(self.takes_s)
        self.times.append((began, loop.time()))
        return await super().__call__(numbers)

    def rests(self) -> list[float]:
        """From the end of each batch to the beginning of the next."""
        return [after[0] - before[1] for before, after in pairwise(self.times)]


async def test_in_company_a_lane_rests_as_long_as_it_worked() -> None:
    """So one whose work never ends leaves the machine to others half of the time."""
    call = _Slow(0.02)
    async with batching(call, limit=4, share=1) as batcher:
        await batcher(0, "b")
        await batcher(1, "a")
        await batcher(2, "a")
        call.times.clear()
        await asyncio.gather(*(batcher(number, "a") for number in range(3, 13)))
    by_lane = call.rests()[1:3]  # the first went by the lane of who is new; at the end little waits
    assert all(rest >= 0.02 for rest in by_lane)


async def test_who_is_alone_does_not_rest() -> None:
    """There is nobody to leave it to."""
    call = _Slow(0.2)
    async with batching(call, limit=1) as batcher:
        await asyncio.gather(*(batcher(number, "a") for number in range(5)))
    assert min(call.rests()[1:]) < 0.2  # a busy machine may stand still for as long, but not each time


async def test_a_lane_rests_no_longer_than_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that hung for long had no work of ours."""
    monkeypatch.setattr("chimeway.store.lanes.LANE_REST_MAX_S", 0.0)
    call = _Slow(0.2)
    async with batching(call, limit=1, share=1) as batcher:
        await batcher(0, "b")
        await asyncio.gather(*(batcher(number, "a") for number in range(1, 6)))
    assert min(call.rests()[1:]) < 0.2
