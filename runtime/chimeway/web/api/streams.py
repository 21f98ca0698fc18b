"""Event streams: how many there may be, what is written into one, and when it ends.

A stream says what is, never what happened: so nothing is lost on whoever was away, and whoever is slow gets
the last state. Each ends with its token, with the node, or when nobody reads it any more.
"""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from types import TracebackType
from typing import Any, Final, Self, TypeAlias

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from chimeway.fair import Places
from chimeway.store.views import InboxChange
from chimeway.web.api.refusals import Refused
from chimeway.web.limits import INBOX_STREAM_ALIVE_S, INBOX_STREAMS, INBOX_STREAMS_OF_ONE

MEDIA_TYPE: Final = "text/event-stream"
EVENT: Final = {
    "type": "object",
    "properties": {
        "event": {"enum": ["state", "expired"]},
        "data": {"type": "string", "contentMediaType": "application/json"},
        "id": {"type": "string"},
        "retry": {"type": "integer"},
    },
}
"""One event of a stream, as a description has it."""
_RETRY: Final = "retry: 2000\n"
_ALIVE: Final = ": alive\n\n"
_LAST_WORDS_S: Final = 5.0
Longest: TypeAlias = tuple[float | None, bool]
"""How many seconds a stream lasts at most, and whether its token ends then."""


class Streams:
    """The places that a node has for streams."""

    def __init__(self) -> None:
        """Begin with none taken."""
        self._of: Counter[tuple[str, str]] = Counter()
        self._places = Places(INBOX_STREAMS)
        self.ending = asyncio.Event()

    def join(self, whose: tuple[str, str]) -> "Taken":
        """Take a place, which is given back when whoever has it is left; or refuse."""
        tenant, _ = whose
        if self.ending.is_set() or not self._places.free:
            raise Refused("try_again", "this node has no place for another event stream")
        if self._of[whose] >= INBOX_STREAMS_OF_ONE:
            raise Refused("too_many_streams", f"at most {INBOX_STREAMS_OF_ONE} streams of one recipient")
        if self._places.burden(tenant) is None:
            raise Refused("too_many_streams", "this tenant has its share of this node's event streams")
        self._of[whose] += 1
        self._places.take(tenant)
        return Taken(lambda: self._leave(whose))

    def _leave(self, whose: tuple[str, str]) -> None:
        self._of[whose] -= 1
        if not self._of[whose]:
            del self._of[whose]
        self._places.leave(whose[0])

    def end(self) -> None:
        """End all of them, and take no more: the node goes."""
        self.ending.set()


class Taken:
    """A place that somebody has; given back once."""

    def __init__(self, leave: Callable[[], None]) -> None:
        self._leave = leave
        self._taken = True

    def give_back(self) -> None:
        """Give it back, if that was not done."""
        if self._taken:
            self._taken = False
            self._leave()

    def __enter__(self) -> Self:
        """Have it while the block lasts."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give it back."""
        self.give_back()


class EventStream(StreamingResponse):
    """Writes events as they come; whoever does not read them is left after its time."""

    media_type = MEDIA_TYPE

    def __init__(self, events: AsyncIterator[str], longest: Longest, place: Taken) -> None:
        """Take the events, how long that lasts at most, and the place that it has."""
        super().__init__(events, headers={"X-Accel-Buffering": "no", "Cache-Control": "no-store"})
        self._most_s = None if longest[0] is None else longest[0] + _LAST_WORDS_S
        self._place = place

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Write them."""
        try:
            async with asyncio.timeout(self._most_s):
                await super().__call__(scope, receive, send)
        finally:
            self._place.give_back()


async def told(
    changes: AsyncGenerator[InboxChange, None],
    known: str | None,
    longest: Longest,
    holds: Callable[[], Awaitable[bool]],
    streams: Streams,
) -> AsyncGenerator[str, None]:
    """Yield what is written into a stream.

    Args:
        changes: of the inbox.
        known: the newest item that whoever follows knows.
        longest: see the type.
        holds: says whether whoever follows still may; asked now and then, however much happens.
        streams: says when the node goes.
    """
    loop = asyncio.get_running_loop()
    ends_at = None if longest[0] is None else loop.time() + longest[0]
    ending: asyncio.Future[Any] = asyncio.ensure_future(streams.ending.wait())
    change: asyncio.Future[Any] = asyncio.ensure_future(anext(changes))
    looks_at = loop.time() + INBOX_STREAM_ALIVE_S
    try:
        yield _RETRY
        while ends_at is None or loop.time() < ends_at:
            until = looks_at if ends_at is None else min(looks_at, ends_at)
            pause = max(0.0, until - loop.time())
            await asyncio.wait({change, ending}, timeout=pause, return_when=asyncio.FIRST_COMPLETED)
            if ending.done():
                return
            if changed := change.done():
                try:
                    now = change.result()
                except StopAsyncIteration:
                    return
                yield _event(now, known)
                known = str(now.newest or "")
                change = asyncio.ensure_future(anext(changes))
            if loop.time() >= looks_at:  # not only where nothing happens: inboxes of some are busy
                if not await holds():
                    yield "event: expired\ndata: {}\n\n"
                    return
                looks_at = loop.time() + INBOX_STREAM_ALIVE_S
                if not changed:
                    yield _ALIVE
        if longest[1]:
            yield "event: expired\ndata: {}\n\n"
    finally:
        ending.cancel()
        change.cancel()
        await asyncio.wait({change, ending})
        if not change.cancelled():
            change.exception()
        await changes.aclose()


def _event(now: InboxChange, known: str | None) -> str:
    newest = str(now.newest or "")
    told = {
        "unseen": now.unseen, "unread": now.unread, "newest": newest or None,
        "resync": known is not None and known != newest,
    }  # fmt: skip
    return f"id: {newest}\nevent: state\ndata: {json.dumps(told)}\n\n"
