"""Requests that say whose trace they belong to: what they trigger goes on in it."""

from starlette.types import ASGIApp, Receive, Scope, Send

from chimeway import trace_context


class Traced:
    """Takes the header `traceparent` of each request for all that is done for it."""

    def __init__(self, app: ASGIApp) -> None:
        """Take what answers."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        given = next((value for name, value in scope.get("headers", ()) if name == b"traceparent"), None)
        if given is None:
            await self._app(scope, receive, send)
            return
        with trace_context.said(given.decode("latin-1")):
            await self._app(scope, receive, send)
