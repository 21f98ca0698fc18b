"""How late the event loop comes to those who sleep in it: what keeps it busy keeps all of them waiting."""

import asyncio
from typing import Final

from chimeway.tally import Spread

_LOOK_S: Final = 0.5


async def watch(spread: Spread) -> None:
    """Measure twice a second until cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + _LOOK_S
        await asyncio.sleep(_LOOK_S)
        spread.add(max(0.0, loop.time() - due))
