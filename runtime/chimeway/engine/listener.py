"""Hears hints. Nothing but latency depends on it: what is not heard is found by looking.

Two modes with names: `hinted`, while a connection of its own listens and hears its own calls, and
`polling`, while none does. Each change is logged. A connection counts from its first call on: one that
connects and hears nothing (a network that swallows packets) never makes the node rely on it.
"""

import asyncio
import random
from collections import deque
from typing import Final, Literal, TypeAlias
from uuid import UUID

from chimeway.clock import Clock
from chimeway.limits import PROBE_TIMEOUT_S
from chimeway.log import Events
from chimeway.store.faults import behind, passes
from chimeway.store.hints import HintLine
from chimeway.tally import Tally

Mode: TypeAlias = Literal["hinted", "polling"]
_log = Events()
_AGAIN_S: Final = 1.0
_POOLED_AGAIN_S: Final = 60.0
_PAST_THE_POOLER: Final = (
    "name the server itself in CHIMEWAY_DIRECT_DATABASE_URL; all works, up to a second later"
)
_COUNTED: Final = 1_000


class Listener:
    """Keeps a listening connection; `heard` is set by each hint, and when the mode changes."""

    def __init__(self, url: str, name: str, node: UUID, clock: Clock, tally: Tally | None = None) -> None:
        """Take where to listen, and as whom; and where round trips are counted."""
        self._tally = Tally() if tally is None else tally
        self._url = url
        self._name = name
        self._node = node
        self._clock = clock
        self._hints: deque[float] = deque(maxlen=_COUNTED)
        self._told_of_pooler = False
        self.mode: Mode = "polling"
        self.heard = asyncio.Event()

    def rate(self) -> int:
        """Return how many hints came within the last second (counted up to a thousand)."""
        since = self._clock.monotonic() - 1.0
        while self._hints and self._hints[0] < since:
            self._hints.popleft()
        return len(self._hints)

    async def serve(self) -> None:
        """Listen until cancelled; a lost connection is replaced."""
        while True:
            try:
                line = await HintLine.open(self._url, self._name, self._node, self._hint)
            except Exception as error:
                if not passes(behind(error)):
                    raise
                self._turn("polling", str(error))
            else:
                if line is None:
                    await self._keep_polling()
                    continue
                await self._stay(line)
            await asyncio.sleep(_AGAIN_S * random.random())  # noqa: S311  (jitter, no secret)

    async def _stay(self, line: HintLine) -> None:
        """Listen until the line is lost, or deaf."""
        try:
            if not await line.stay(lambda: self._heard_itself(line)):
                _log.warning("listener.silent", seconds=PROBE_TIMEOUT_S)
        finally:
            await line.close()
        self._turn("polling", "the connection was lost")

    def _heard_itself(self, line: HintLine) -> None:
        self._tally.hints.add(line.round_trip_s)
        self._turn("hinted", "listening")

    async def _keep_polling(self) -> None:
        """Hear nothing, as what listens behind a pooler is a session that is soon somebody else's."""
        if not self._told_of_pooler:
            self._told_of_pooler = True
            _log.warning("listener.pooled", hint=_PAST_THE_POOLER)
        await asyncio.sleep(_POOLED_AGAIN_S)

    def _hint(self) -> None:
        self._hints.append(self._clock.monotonic())
        self.heard.set()

    def _turn(self, mode: Mode, reason: str) -> None:
        if mode != self.mode:
            self.mode = mode
            _log.info("listener.mode", mode=mode, reason=reason)
            self.heard.set()
