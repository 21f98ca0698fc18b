"""Garbage goes while a node works, in small pieces, and the process is as before afterwards."""

import asyncio
import gc
import weakref

from chimeway.daemon.collecting import _next_of, collecting


class _Cycle:
    """What only the collector can free."""

    def __init__(self) -> None:
        self.me = self


async def test_a_cycle_goes_long_before_a_threshold() -> None:
    """Far fewer objects than the net holds: still they go, soon."""
    gone = asyncio.Event()
    async with collecting():
        weakref.finalize(_Cycle(), gone.set)
        await asyncio.wait_for(gone.wait(), 10)


async def test_the_collector_is_as_before_afterwards() -> None:
    """Whoever runs a node inside something else gets his thresholds back, also after an error."""
    before = gc.get_threshold()
    try:
        async with collecting():
            assert gc.get_threshold() != before
            raise ZeroDivisionError
    except ZeroDivisionError:
        pass
    await asyncio.sleep(0)
    assert gc.get_threshold() == before
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "garbage"]


def test_a_full_pass_that_finds_little_comes_less_often() -> None:
    """From half a minute to a quarter of an hour; one that finds much brings the next one soon."""
    waits = [30.0]
    for _ in range(7):
        waits.append(_next_of(waits[-1], 100))
    assert waits == [30, 60, 120, 240, 480, 960, 960, 960]
    assert _next_of(960.0, 1_000_000) == 30
