"""One POST to one target: the connection it takes, how long, and what is raised when no answer comes.

The client is httpcore, which httpx is built on. All that httpx adds would have to be off here: redirects
that it follows, cookies that it keeps (and would show to the next tenant), bodies that it unpacks, proxies
that it finds in the environment; and what is needed, a network below the client, only httpcore takes.
"""

import asyncio
import ssl
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import cache
from typing import Final, TypeAlias

import httpcore2

from chimeway.delivery.channel import TransientFailure, UnknownOutcome
from chimeway.delivery.channels.webhook_answers import Reply, at_fault, nobody_there
from chimeway.delivery.outward.connecting import Inside, OutwardBackend, Resolve
from chimeway.delivery.outward.names import NoSuchName
from chimeway.delivery.outward.networks import Networks
from chimeway.delivery.outward.streams import OutwardStream
from chimeway.delivery.outward.targets import Target
from chimeway.limits import WEBHOOK_BODY_BYTES, WEBHOOK_REPLY_BYTES

Headers: TypeAlias = Mapping[str, str]

_REST_S: Final = 2.0
"""For what comes after an answer's head: it changes nothing but whether the connection serves again."""
_IDLE_S: Final = 15.0
"""An idle connection is kept for so long: many servers close theirs after a little more."""
_KEPT: Final = 32
"""Idle connections: most endpoints get a message now and then, and each open one costs both sides."""


@dataclass(frozen=True, slots=True)
class Reach:
    """Where requests may go, and how far."""

    networks: Networks = field(default_factory=Networks)
    http: bool = False
    ports: tuple[int, ...] = ()
    """None: 443, and 80 where http is allowed."""
    redirects: int = 0
    """How many are followed; each is looked at as the first URL was, and the method stays."""
    tls: ssl.SSLContext | None = field(default=None, repr=False)
    """None: what the system trusts."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How long, how much, how many."""

    connect_timeout_s: float = 5.0
    reply_timeout_s: float = 15.0
    body_bytes: int = WEBHOOK_BODY_BYTES
    reply_bytes: int = WEBHOOK_REPLY_BYTES
    connections: int = 64


@cache
def _system_tls() -> ssl.SSLContext:
    """Return TLS that trusts what the system trusts; one for all channels, since reading it takes time."""
    return httpcore2.default_ssl_context()


class Poster:
    """Posts, by a few connections kept open."""

    def __init__(self, reach: Reach, bounds: Bounds, resolve: Resolve, *, ours: bool) -> None:
        """Take where to and how far, who says the addresses of names, and whether the URL is our own."""
        self._bounds = bounds
        self._ours = ours
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=reach.tls or _system_tls(),
            max_connections=bounds.connections,
            max_keepalive_connections=min(_KEPT, bounds.connections),
            keepalive_expiry=_IDLE_S,
            network_backend=OutwardBackend(reach.networks, resolve),
        )

    async def close(self) -> None:
        """Close all connections."""
        await self._pool.aclose()

    async def post(self, target: Target, headers: Headers, body: bytes, ends: float) -> Reply:
        """Make one request; return its answer, whatever it says.

        Args:
            target: where to.
            headers: all but Host.
            body: what.
            ends: until when, in the loop's time, an answer must have begun.

        Raises:
            SendFailure, TimeoutError: there was none, as the table of `webhook.py` says.
        """
        request = httpcore2.Request(
            "POST",
            httpcore2.URL(scheme=target.scheme, host=target.host, port=target.port, target=target.path),
            headers=[("Host", target.authority), *headers.items()],
            content=body,
            extensions={
                "timeout": {"connect": self._bounds.connect_timeout_s},
                "trace": (begun := _Begun()),
            },
        )
        try:
            async with asyncio.timeout_at(ends):
                response = await self._pool.handle_async_request(request)
        except Exception as error:  # noqa: BLE001  (all that a library may raise; the table says what it means)
            # Not chained: what a library says of a broken answer quotes it.
            raise _failure(error, begun=begun.is_true, ours=self._ours) from None
        try:
            await _refuse_stale(response)
            rest, whole = await _rest(response, self._bounds.reply_bytes)
        finally:
            await response.aclose()
        return Reply(response.status, response.headers, rest, whole)


class _Begun:
    """Sees whether a request has begun to leave: until then nobody can have it."""

    def __init__(self) -> None:
        self.is_true = False

    async def __call__(self, event: str, _details: Mapping[str, object]) -> None:
        if event.endswith(".send_request_headers.started"):
            self.is_true = True


async def _refuse_stale(response: httpcore2.Response) -> None:
    """Refuse an answer that was there before the request: what came behind the answer to another message."""
    stream = response.extensions["network_stream"]
    if isinstance(stream, OutwardStream) and not stream.heard:
        await stream.aclose()
        raise UnknownOutcome("the answer came before the request: it belongs to another")


async def _rest(response: httpcore2.Response, most: int) -> tuple[bytes, bool]:
    """Read on for a moment; return the beginning of the body, and whether the connection held."""
    read = bytearray()
    try:
        async with asyncio.timeout(_REST_S), aclosing(response.aiter_stream()) as pieces:
            async for piece in pieces:
                read += piece[: most - len(read)]
                if len(read) >= most:
                    break
    except TimeoutError:
        pass
    except Exception:  # noqa: BLE001  (all that a library may raise: what was answered holds all the same)
        return bytes(read), False
    return bytes(read), True


def _failure(error: Exception, *, begun: bool, ours: bool) -> Exception:
    """Return what the table says of a request that got no answer."""
    timed_out = isinstance(error, TimeoutError | httpcore2.TimeoutException)
    if begun:
        if timed_out:
            return TimeoutError("no answer in time")
        return UnknownOutcome(f"no answer that can be read ({type(error).__name__})")
    match error:
        case Inside():
            return at_fault(ours=ours)("the address leads where it must not")
        case NoSuchName():
            return nobody_there(ours=ours)("the name does not exist")
        case _ if _certificate(error):
            return at_fault(ours=ours)("the endpoint's certificate is not trusted")
        case _ if timed_out:
            return TransientFailure("no connection in time")
        case _:
            return TransientFailure(f"no connection ({type(error).__name__})")


def _certificate(error: BaseException | None) -> bool:
    """Say whether a certificate is at the root of it: the library hides causes, but not what came before."""
    while error is not None and not isinstance(error, ssl.SSLCertVerificationError):
        error = error.__context__
    return error is not None
