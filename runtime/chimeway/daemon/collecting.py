"""Garbage is collected often and in small pieces, by us: Python's own collector stops the loop for too long.

**Why not by count.** Python collects the youngest generation when so many more objects were made than let go.
Where as many go as come that count stays low while the generation grows, and one collection in a hundred took
15 to 25 milliseconds here; so did passes over everything, of which there were several a minute. A message of
somebody who has one to send waits that long.

**So** what is young is collected every few milliseconds while the process works, which takes a tenth of a
millisecond. Everything is collected now and then, and the less there was to find the later the next time: a
full pass takes tens of milliseconds, and this program makes few cycles that live long. When the process does
not work, it looks less and less often. The collector's own thresholds stay as a net, far out: for a burst
between two looks.
"""

import asyncio
import gc
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

_EVERY_S: Final = 0.01
_IDLE_EVERY_S: Final = 1.0
_BUSY: Final = 0.1
"""Of a core, since the look before."""
_ALL_EVERY_S: Final = 30.0
_ALL_SELDOM_S: Final = 960.0
_WORTH_IT: Final = 20_000
"""Objects found by a full pass that make the next one come soon: some ten megabytes."""
_NET: Final = (50_000, 10, 1_000)


@asynccontextmanager
async def collecting() -> AsyncIterator[None]:
    """Collect garbage for the whole process while the block lasts; then as it was before."""
    before = gc.get_threshold()
    gc.set_threshold(*_NET)
    task = asyncio.create_task(_collect(), name="garbage")
    try:
        yield
    finally:
        task.cancel()
        gc.set_threshold(*before)


async def _collect() -> None:
    every_s, worked_s = _EVERY_S, time.process_time()
    all_every_s, all_at_s = _ALL_EVERY_S, time.monotonic() + _ALL_EVERY_S
    while True:
        await asyncio.sleep(every_s)
        busy = time.process_time() - worked_s > _BUSY * every_s
        if busy and time.monotonic() > all_at_s:
            all_every_s = _next_of(all_every_s, gc.collect())
            all_at_s = time.monotonic() + all_every_s
        else:
            gc.collect(1)
        worked_s = time.process_time()
        every_s = _EVERY_S if busy else min(2 * every_s, _IDLE_EVERY_S)


def _next_of(all_every_s: float, found: int) -> float:
    """Return in how many seconds everything is to be collected again, after so many objects were found."""
    return _ALL_EVERY_S if found >= _WORTH_IT else min(2 * all_every_s, _ALL_SELDOM_S)
