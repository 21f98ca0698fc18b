"""`/v1/unsubscribe/{token}`: where a signed link leads. RFC 8058 for machines, a button for people.

| | status |
|---|---|
| POST: unsubscribed, now or before | 200, a page that offers to undo it |
| POST to `.../undo`: what the link had written is taken back | 200, a page |
| GET, HEAD: nothing changes, for whatever looks at links in mail only looks | 200, a page with a button |
| not a token that we signed; or of somebody who is forgotten, or was never known | 404 |
| a body that is too long, or takes too long to come | 413, 408 |
| the database cannot be reached, or not in time | 503, again soon |

The method alone decides: a body is read to its end and not looked at. No cookie, no redirect, no log-in;
whoever has the link has what it is for. What is wrong with a token is not said.
"""

import asyncio
from collections.abc import Sequence
from typing import Final

from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Route

from chimeway.client import unsubscribe_calls
from chimeway.errors import DatabaseUnavailable, SchemaMismatch
from chimeway.log import Events
from chimeway.store import callers
from chimeway.store.faults import passes
from chimeway.store.pool import Database
from chimeway.unsubscribe_tokens import PATH, Subscription, read
from chimeway.web.bodies import body_of
from chimeway.web.limits import MAX_UNSUBSCRIBE_BYTES
from chimeway.web.unsubscribe_page import Pages, State

_log = Events()
_WRITING: Final = 4
"""Requests that write at once: of the node's connections most stay its engine's."""
_WRITE_S: Final = 10.0
"""Who has waited so long for a place, or for a row that somebody has locked, may come again."""
_AGAIN_S: Final = 15
_NO_LINK: Final[tuple[int, State]] = (404, "invalid")
_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Robots-Tag": "noindex",
}


class UnsubscribeDoor:
    """Answers for all links that one of the keys has signed."""

    def __init__(self, database: Database, keys: Sequence[bytes], pages: Pages | None = None) -> None:
        """Take where preferences are written, whose signatures are believed, and what people see."""
        self._database = database
        self._keys = keys
        self._pages = pages or Pages()
        self._writing = asyncio.Semaphore(_WRITING)

    def routes(self, below: str = "") -> list[BaseRoute]:
        """Return where it answers.

        Args:
            below: a path that stands before those of links, where a proxy before us does not take it off.
        """
        found: list[BaseRoute] = []
        for prefix in sorted({"", below}):
            path = f"{prefix}{PATH}{{token}}"
            found.append(Route(path, self.unsubscribe, methods=["GET", "POST"]))
            found.append(Route(f"{path}/undo", self.undo, methods=["GET", "POST"]))
        return found

    async def unsubscribe(self, request: Request) -> Response:
        """Answer a request to unsubscribe, or show the button."""
        return await self._answer(request, undo=False)

    async def undo(self, request: Request) -> Response:
        """Answer a request to take it back, or show the button."""
        return await self._answer(request, undo=True)

    async def _answer(self, request: Request, *, undo: bool) -> Response:
        token = request.path_params["token"]
        what = read(token, self._keys)
        status, state = _NO_LINK if what is None else await self._answer_to(what, request, undo=undo)
        headers = _HEADERS | ({"Retry-After": str(_AGAIN_S)} if status == 503 else {})
        shown = what if state != "invalid" else None
        text = self._pages.page(state, shown, token, request.headers.get("accept-language", ""))
        return HTMLResponse(text, status, headers)

    async def _answer_to(self, what: Subscription, request: Request, *, undo: bool) -> tuple[int, State]:
        """Do what a link of ours is for, and return the status and what is to be shown."""
        if request.method != "POST":
            return 200, "ask_undo" if undo else "ask"
        try:
            body = await body_of(request, MAX_UNSUBSCRIBE_BYTES)
            if not isinstance(body, bytes):
                return body, "later"
            known = await self._write(what, undo=undo)
        except ClientDisconnect:
            return 400, "later"  # nobody reads it
        except Exception as error:  # noqa: BLE001  (the boundary: what is asked must not end the node)
            return _status_for(error, what), "later"
        if not known:
            _log.info("unsubscribe.unknown", **_told(what))
            return _NO_LINK
        _log.info("unsubscribe.done", **_told(what), undone=undo)
        return 200, "undone" if undo else "done"

    async def _write(self, what: Subscription, *, undo: bool) -> bool:
        """Write it, and return whether there is such a recipient."""
        verb = unsubscribe_calls.resubscribe if undo else unsubscribe_calls.unsubscribe
        call = verb(
            what.tenant_id, what.recipient_id, what.workflow, what.channel, delivery_id=what.delivery_id
        )
        async with asyncio.timeout(_WRITE_S), self._writing:
            return await callers.run(self._database, call)


def _status_for(error: Exception, what: Subscription) -> int:
    """Say in the log what went wrong, and return whether whoever asks may come again: 503, else 500."""
    if isinstance(error, DatabaseUnavailable | SchemaMismatch) or passes(error):
        _log.warning("unsubscribe.put_off", **_told(what), reason=str(error) or type(error).__name__)
        return 503
    _log.error("unsubscribe.failed", **_told(what), error=repr(error))
    return 500


def _told(what: Subscription) -> dict[str, str]:
    return {"workflow": what.workflow, "channel": what.channel, "delivery_id": str(what.delivery_id)}
