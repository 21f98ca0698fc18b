"""What stands before `/v1`: who asks, how much they may send, and how long it may take.

In this order: CORS for inboxes, who it is and how often he asks (before a byte of the body is read), the
body, and then the time that the rest may take. What is refused here looks as what is refused within.
"""

import asyncio
import re
from collections.abc import Callable, Collection, Coroutine, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from fastapi.dependencies.models import Dependant
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chimeway import inbox_tokens
from chimeway.clock import Clock
from chimeway.errors import InvalidInput
from chimeway.inbox_tokens import InboxBearer
from chimeway.web.api import strict_json
from chimeway.web.api.paths import as_meant, is_utf8, with_slashes_in_ids
from chimeway.web.api.refusals import Refused, answer_to
from chimeway.web.auth import Principal, Tokens
from chimeway.web.bodies import body_of
from chimeway.web.limits import HTTP_REQUEST_S, MAX_HTTP_BODY_BYTES
from chimeway.web.rates import Rates

OPEN: Final = frozenset({"/v1/openapi.json"})
INBOX: Final = "/v1/inbox/"
STREAM: Final = "/v1/inbox/stream"
_BEARER: Final = re.compile(r"[Bb]earer +([A-Za-z0-9._~+/=-]{1,4096})", re.ASCII)
_JSON: Final = re.compile(r"application/json *(?:; *charset *= *\"?utf-8\"? *)?", re.ASCII | re.IGNORECASE)
_WRITES: Final = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_ALWAYS: Final = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
_PREFLIGHT: Final = {
    "Access-Control-Allow-Methods": "GET, POST",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, Last-Event-ID",
    "Access-Control-Max-Age": "600",
}


@dataclass(frozen=True, slots=True)
class Asked:
    """What the guard has found out of a request: who asks, by which secret, and what its body says."""

    bearer: Principal | InboxBearer | None
    secret: str
    body: bytes
    said: Any


class Guard:
    """Lets through to an application what it may answer."""

    def __init__(
        self,
        app: ASGIApp,
        tokens: Tokens,
        inbox_keys: Sequence[bytes],
        origins: Collection[str],
        clock: Clock,
        rates: Rates,
    ) -> None:
        """Take who knows tokens, whose inbox tokens are believed, from where browsers ask, how often all."""
        self._app = app
        self._tokens = tokens
        self._inbox_keys = inbox_keys
        self._origins = origins
        self._clock = clock
        self._rates = rates

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        scope = with_slashes_in_ids(scope)
        request = Request(scope, receive)
        sending = _Sending(send, self._allowed_origin(request))
        try:
            if request.method == "OPTIONS" and "access-control-request-method" in request.headers:
                await self._preflight(request)(scope, receive, sending)
                return
            async with asyncio.timeout(HTTP_REQUEST_S):
                await self._admit(request)
            longest = None if scope["path"] == STREAM else HTTP_REQUEST_S
            async with asyncio.timeout(longest):
                await self._app(scope, _replayed(scope, receive), sending)
        except ClientDisconnect:
            return
        except Exception as error:  # noqa: BLE001  (the boundary: what is asked must not end the node)
            if not sending.begun:
                await answer_to(request, error)(scope, receive, sending)
        await self._tokens.note_use()

    async def _admit(self, request: Request) -> None:
        """Find out who asks, read the body, and leave both where the application finds them."""
        path = request.scope["path"]
        bearer, secret = (None, "") if path in OPEN else await self._bearer(request)
        self._count(bearer)
        if not is_utf8(request.scope):
            raise InvalidInput("path and query are not UTF-8: encode ids as UTF-8, then by percent signs")
        body, said = b"", None
        if request.method in _WRITES:
            body = await _body(request)
            said = _said(request, body) if body else None
        request.scope.setdefault("state", {})["asked"] = Asked(bearer, secret, body, said)

    async def _bearer(self, request: Request) -> tuple[Principal | InboxBearer, str]:
        given = request.headers.getlist("authorization")
        found = _BEARER.fullmatch(given[0]) if len(given) == 1 else None
        if found is None:
            raise Refused("unauthorized", "send one header `Authorization: Bearer TOKEN`")
        secret = found[1]
        bearer: Principal | InboxBearer | None = None
        if request.scope["path"].startswith(INBOX):
            bearer = inbox_tokens.read(secret, self._inbox_keys, self._clock.now())
        bearer = bearer or await self._tokens.of(secret)
        if bearer is None:
            raise Refused("unauthorized", "this token opens nothing, or nothing any more")
        return bearer, secret

    def _count(self, bearer: Principal | InboxBearer | None) -> None:
        if bearer is None:
            return
        who: Hashable
        if isinstance(bearer, InboxBearer):
            who, told = (bearer.tenant, bearer.recipient), "this inbox is asked for"
        else:
            who, told = bearer.token_id, "this token asks"
        if wait_s := self._rates.wait_s(who, self._clock.monotonic()):
            raise Refused(
                "too_many_requests",
                f"{told} more often than it may: come again in {wait_s} s",
                again_s=wait_s,
            )

    def _allowed_origin(self, request: Request) -> str | None:
        origin = request.headers.get("origin")
        return origin if request.scope["path"].startswith(INBOX) and origin in self._origins else None

    def _preflight(self, request: Request) -> Response:
        if self._allowed_origin(request) is None:
            return Refused("not_found", "browsers may not ask this from there").answer()
        return Response(status_code=204, headers=_PREFLIGHT)


class _Sending:
    """Sends an answer with the heads that all have, and remembers whether it has begun."""

    def __init__(self, send: Send, origin: str | None) -> None:
        self._send = send
        self._origin = origin
        self.begun = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.begun = True
            headers = MutableHeaders(scope=message)
            for name, value in _ALWAYS.items():
                headers.setdefault(name, value)
            if self._origin is not None:
                headers["Access-Control-Allow-Origin"] = self._origin
                headers["Access-Control-Expose-Headers"] = "Retry-After"
                headers.add_vary_header("Origin")
        await self._send(message)


async def _body(request: Request) -> bytes:
    match await body_of(request, MAX_HTTP_BODY_BYTES):
        case 413:
            raise Refused("too_large", f"a body has at most {MAX_HTTP_BODY_BYTES} bytes")
        case 408:
            raise Refused("too_slow")
        case body:
            return body


def _said(request: Request, body: bytes) -> Any:
    given = request.headers.getlist("content-type")
    if len(given) != 1 or not _JSON.fullmatch(given[0].strip()) or "content-encoding" in request.headers:
        raise Refused("unsupported_media_type", "send `Content-Type: application/json`, and no encoding")
    try:
        return strict_json.read(body)
    except strict_json.NotJson as fault:
        raise Refused("malformed_json", f"the body is not JSON as we take it: {fault}") from None


def _replayed(scope: Scope, receive: Receive) -> Receive:
    """Give the application the body that was read; behind it, whether whoever asked is gone."""
    asked: Asked = scope["state"]["asked"]
    rest: list[Message] = [{"type": "http.request", "body": asked.body, "more_body": False}]

    async def replay() -> Message:
        return rest.pop() if rest else await receive()

    return replay


class ReadOnce(APIRoute):
    """A route that takes what the guard has read of a body, and does not read it again.

    A name in the query that it does not know is refused, as in a body: of a filter that is misspelled
    nothing would be left, and everything be shown.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return what answers, as the frame wants it."""
        answer = super().get_route_handler()
        known = {"tenant_id", *_names_in_queries(self.dependant)}  # who has all tenants may always name one

        async def answered(request: Request) -> Response:
            request.scope["path_params"] = as_meant(request.scope["path_params"])
            read = _Read(request.scope, request.receive)
            if unknown := [name for name in read.query_params if name not in known]:
                raise RequestValidationError(
                    [{"type": "extra_forbidden", "loc": ("query", name)} for name in unknown]
                )
            return await answer(read)

        return answered


def _names_in_queries(wanted: Dependant) -> Iterator[str]:
    """Go through what a route, and what it depends on, takes from a query."""
    yield from (field.alias for field in wanted.query_params)
    for other in wanted.dependencies:
        yield from _names_in_queries(other)


class _Read(Request):
    """A request whose body was read."""

    async def json(self) -> Any:
        return asked_of(self).said


def asked_of(request: Request) -> Asked:
    """Return what the guard has found out of a request."""
    asked: Asked = request.scope["state"]["asked"]
    return asked


__all__ = ["INBOX", "Asked", "Guard", "ReadOnce", "asked_of"]
