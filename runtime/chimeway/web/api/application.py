"""`/v1` as one application: its routes, what answers when something is wrong, and its description."""

import json
from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from functools import cache
from typing import Any, Final

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from chimeway.client.chimeway import Chimeway
from chimeway.client.verbs import MAX_LATENESS
from chimeway.clock import Clock
from chimeway.store.pool import Database
from chimeway.web.api import describing, inboxes, operating, producing, reading
from chimeway.web.api.asking import Service
from chimeway.web.api.guard import Guard
from chimeway.web.api.refusals import Refused, handler
from chimeway.web.api.streams import Streams
from chimeway.web.auth import Tokens
from chimeway.web.rates import Rates

PREFIX: Final = "/v1"


class Api:
    """Answers what is asked below `/v1`."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        tokens: Tokens,
        inbox_keys: Sequence[bytes] = (),
        origins: Collection[str] = (),
        rates: Rates | None = None,
        lateness: timedelta = MAX_LATENESS,
    ) -> None:
        """Take connections of its own, who knows tokens, what inbox tokens are signed by, from where browsers
        may ask, how often each may (None: as he likes), and how late a run may be before it is overdue.
        """
        self.streams = Streams()
        service = Service(Chimeway(database), tokens, clock, inbox_keys, lateness)
        self._app = _application(service, self.streams)
        self._guarded = Guard(self._app, tokens, inbox_keys, origins, clock, rates or Rates(0, 0))

    def routes(self) -> list[BaseRoute]:
        """Return where it answers."""
        return [Route(PREFIX, self._guarded), Route(f"{PREFIX}/{{rest:path}}", self._guarded)]

    def description(self) -> Mapping[str, Any]:
        """Return what `/v1/openapi.json` says."""
        return self._app.openapi()


def _application(service: Service, streams: Streams) -> FastAPI:
    app = FastAPI(
        title="Chimeway", version="1", docs_url=None, redoc_url=None, openapi_url=None,
        summary="Durable notification journeys on PostgreSQL.", redirect_slashes=False,
        separate_input_output_schemas=False,
    )  # fmt: skip
    app.state.service = service
    app.state.streams = streams
    routers = (producing.router, reading.router, operating.router, inboxes.router)
    for router in routers:  # not included: the frame would look twice through them, at each request
        app.router.routes.extend(router.routes)
    for kind in (Refused, RequestValidationError, HTTPException, Exception):
        app.add_exception_handler(kind, handler)
    app.state.routes = [route for router in routers for route in router.routes]
    describing.describe(app, routers)
    app.router.routes.append(_described(app))
    return app


def _described(app: FastAPI) -> Route:
    """Return the route of its description, written out once: anybody may ask, and it is long."""

    @cache
    def text() -> bytes:
        return json.dumps(app.openapi(), ensure_ascii=False, separators=(",", ":")).encode()

    async def answer(_request: Request) -> Response:
        return Response(text(), media_type="application/json")

    return Route(f"{PREFIX}/openapi.json", answer, methods=["GET"])
