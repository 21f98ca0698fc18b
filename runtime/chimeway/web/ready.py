"""`GET /readyz`: whether this node can do its work now, for whoever starts, watches or replaces nodes.

| | status |
|---|---|
| it works, in time or not, or stands by | 200, `{"status": "working", "overloaded" or "standing_by", ...}` |
| it begins, or ends; its database is lost, refuses, or does not answer; its work stands | 503, with a code |

A node that is not ready is not broken: it waits, and goes on by itself. `/healthz` says that the process
answers, and that its work moves; restart a node by that, never by this: a restart mends no database.
"""

from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from chimeway.web.problems import problem
from chimeway.web.state import Asked, NotReady

_AGAIN_S: Final = 1


class ReadyDoor:
    """Answers for one node."""

    def __init__(self, asked: Asked) -> None:
        """Take whom to ask."""
        self._asked = asked

    def routes(self) -> list[BaseRoute]:
        """Return where it answers."""
        return [Route("/readyz", self.answer, methods=["GET"])]

    async def answer(self, _request: Request) -> Response:
        """Answer one request."""
        found = await self._asked()
        if isinstance(found, NotReady):
            return problem(503, found.code, found.detail, retry_after_s=_AGAIN_S)
        return JSONResponse({"status": found.status, **found.facts})
