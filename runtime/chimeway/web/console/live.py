"""Pages that keep themselves up to date: their live part is drawn again, and sent when it has changed.

By server-sent events, on the page's own address: whoever may see the page may look on, and no longer.
"""

import asyncio
import json
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from chimeway.clock import jittered, set_within
from chimeway.errors import ChimewayError
from chimeway.fair import Places
from chimeway.store.faults import passes
from chimeway.web.console.pages import HEADERS, Pages, View, mark_of

_EVERY_S: Final = 3.0
_ROUNDS: Final = 100
"""Five minutes; then the browser comes again by itself, maybe to another node."""
LOOKERS: Final = 24
"""Who look on at once: each is a connection, and a page every three seconds. Of one tenant, or one token of
all tenants, three times as many as are free: alone 18."""
_PING_ROUNDS: Final = 7

Again: TypeAlias = Callable[[], Awaitable[str | None]]
"""Draws a part anew; empty: not now; None: there is nothing more to see."""
Drawing: TypeAlias = Callable[[], Awaitable[tuple[View, Mapping[str, Any]] | None]]


@dataclass(slots=True)
class _Shared:
    """A part as it was drawn last, and when."""

    part: str | None = None
    at: float = -math.inf
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Streams:
    """All who look on at this node."""

    def __init__(self, pages: Pages, ending: asyncio.Event) -> None:
        """Nobody yet; `ending` is set when the node goes, and ends them all."""
        self._pages = pages
        self._ending = ending
        self._places = Places(LOOKERS)
        self._shared: dict[Hashable, _Shared] = {}

    def begin(self, again: Again, whose: Hashable) -> Response:
        """Return the stream of a page that `again` draws; None from it ends the stream."""
        if self._ending.is_set() or self._places.burden(whose) is None:
            return Response(status_code=503, headers={**HEADERS, "Retry-After": "30"})
        self._places.take(whose)
        return _Looking(self._events(again), lambda: self._places.leave(whose))

    async def _events(self, again: Again) -> AsyncIterator[str]:
        seen = ""
        yield "retry: 3000\n\n"
        for number in range(_ROUNDS):
            part = await self._drawn(again)
            if part is None:
                yield "event: over\ndata: {}\n\n"
                return
            mark = mark_of(part)
            if part and mark != seen:
                seen = mark
                yield f"id: {mark}\nevent: part\ndata: {json.dumps({'html': part})}\n\n"
            elif number % _PING_ROUNDS == 0:
                yield ": here\n\n"
            await set_within(self._ending, jittered(_EVERY_S))
            if self._ending.is_set():
                return

    async def part(self, key: Hashable, drawing: Drawing) -> str | None:
        """Return a page's live part, drawn once in a round for all who see the same (`key`)."""
        now = asyncio.get_running_loop().time
        shared = self._shared.setdefault(key, _Shared())
        async with shared.lock:
            if now() - shared.at > _EVERY_S / 2:
                made = await drawing()
                shared.part = None if made is None else self._pages.part(*made)
                shared.at = now()
        for other in [each for each, one in self._shared.items() if now() - one.at > 4 * _EVERY_S]:
            if not self._shared[other].lock.locked():
                del self._shared[other]
        return shared.part

    async def _drawn(self, again: Again) -> str | None:
        try:
            return await again()
        except Exception as error:
            if isinstance(error, TimeoutError) or passes(error):
                return ""
            if isinstance(error, ChimewayError):  # such as a run that was pruned meanwhile
                return None
            raise


class _Looking(StreamingResponse):
    """Writes a stream, and gives its place back, however it ends: it may end before it has begun."""

    def __init__(self, events: AsyncIterator[str], leave: Callable[[], None]) -> None:
        headers = {**HEADERS, "X-Accel-Buffering": "no"}
        super().__init__(events, media_type="text/event-stream", headers=headers)
        self._leave = leave

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._leave()
