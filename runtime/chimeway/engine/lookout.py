"""When to look for new work: on a hint, or, in a storm of them, on one's own.

NOTIFY takes a lock of the whole database through commit, so that producers who notify commit one
after the other. A node therefore asks for hints (`nodes.asleep`) only while few come: each finds it
at rest, and costs a lock that nobody else wants. When they come fast it takes the flag away and
looks by itself, soon again where it has found something (a little later where it was much, for that
is cheaper together), else a hundred times a second; producers
read "awake" and notify nobody. When it has found nothing for half a second it sets the flag, commits,
looks once more and sleeps. It is the way in which network drivers turn interrupts off under load.

What can slip: a producer reads "awake", the node sets the flag and looks its last look, the producer
commits. Nobody tells the node. It is found by the idle look, one second later at most; likewise
whatever a lost notification should have told. A node that hears nothing (`polling`) never asks.

The idle look is a glance (`glance`): one statement that asks whether there is anything to look for.

Who is silent for long is marked awake by others, or taken off their list: a node that was frozen, or whose
database's clock was put forward. So a node that sleeps says again and again that it does.
"""

import asyncio
from collections.abc import Callable
from typing import Final
from uuid import UUID

from chimeway.clock import set_within
from chimeway.engine.listener import Listener
from chimeway.limits import (
    ASK_AGAIN_S,
    AWAKE_ABOVE_HINTS,
    AWAKE_LOOK_S,
    AWAKE_LOOK_SOON_S,
    IDLE_LOOK_S,
    POLLING_LOOK_S,
    QUIET_S,
)
from chimeway.store import nodes
from chimeway.store.pool import Database, persistently

_POLLING_ACTIVE_S: Final = 5.0
_LOOK_MANY_S: Final = 0.005
"""After a look that found several: what comes fast is cheaper together, and sooner through if all is busy."""


class Lookout:
    """Calls `look` when there may be new work; `found` counts what looking found so far."""

    def __init__(
        self,
        listener: Listener,
        database: Database,
        node: UUID,
        *,
        look: Callable[[], None],
        found: Callable[[], int],
        glance: Callable[[], None] | None = None,
    ) -> None:
        """Take what to do, how to see whether it was worth it, and what is done unasked (else the same)."""
        self._listener = listener
        self._database = database
        self._node = node
        self._look = look
        self._found = found
        self._glance = glance or look
        self._asked_at = 0.0

    async def serve(self) -> None:
        """Look until cancelled."""
        while True:
            self._look()
            if self._listener.mode == "polling":
                await self._poll()
            else:
                await self._sleep()
                await self._stay_awake()

    async def _sleep(self) -> None:
        """Be hinted, until hints come too fast or are heard no more."""
        await self._ask_for_hints(asleep=True)
        self._look()
        while self._listener.mode == "hinted" and self._listener.rate() <= AWAKE_ABOVE_HINTS:
            if await self._heard(IDLE_LOOK_S):
                self._look()
            else:
                self._glance()
            if asyncio.get_running_loop().time() - self._asked_at > ASK_AGAIN_S:
                await self._ask_for_hints(asleep=True)

    async def _stay_awake(self) -> None:
        """Look often and unasked, until there was nothing to find for a while."""
        await self._ask_for_hints(asleep=False)
        loop = asyncio.get_running_loop()
        found, last, pause_s = self._found(), loop.time(), AWAKE_LOOK_SOON_S
        while loop.time() - last < QUIET_S:
            self._look()
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, AWAKE_LOOK_S)
            if (now_found := self._found()) != found:
                pause_s = min(_LOOK_MANY_S, (now_found - found) * AWAKE_LOOK_SOON_S)
                found, last = now_found, loop.time()

    async def _poll(self) -> None:
        """Look often while there is something to find; return when hints are heard again."""
        loop = asyncio.get_running_loop()
        found, last = self._found(), loop.time()
        while self._listener.mode == "polling":
            active = loop.time() - last < _POLLING_ACTIVE_S
            await self._heard(POLLING_LOOK_S if active else IDLE_LOOK_S)
            self._look()
            if self._found() != found:
                found, last = self._found(), loop.time()

    async def _heard(self, at_most_s: float) -> bool:
        if not await set_within(self._listener.heard, at_most_s):
            return False
        self._listener.heard.clear()
        return True

    async def _ask_for_hints(self, *, asleep: bool) -> None:
        await persistently(nodes.set_asleep, self._database, self._node, asleep=asleep)
        self._asked_at = asyncio.get_running_loop().time()
