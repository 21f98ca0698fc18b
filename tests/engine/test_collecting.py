"""Garbage goes while a node works, in small pieces, and the process is as before afterwards."""

import asyncio
import gc
import weakref

from chimeway.daemon.collecting import collecting


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
