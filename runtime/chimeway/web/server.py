"""HTTP inside a node: Starlette on uvicorn, in the node's own loop, on a socket that was bound before.

The process is not the server's: it catches no signal, sets up no logging, and ends when it is told to. A
connection that has not sent a whole request head in time is closed, or a handful of them would keep everybody
out. One request more than there may be at once is answered with 503.
"""

import asyncio
import socket
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from chimeway.errors import InvalidSettings
from chimeway.log import Events
from chimeway.web.joining import Joined
from chimeway.web.limits import HTTP_AT_ONCE, INBOX_STREAMS
from chimeway.web.problems import Lost, for_people, problem
from chimeway.web.traced import Traced

_log = Events()
_HEAD_S: Final = 10.0
_KEEP_ALIVE_S: Final = 5
_GRACE_S: Final = 5
_HEAD_BYTES: Final = 32_768
_STALLED_S: Final = 30.0
"""Who takes nothing of what was sent to him for so long is cut off: closing waits until he has it all, so
he would keep his place for ever, and a few hundred of his kind everybody's."""
_AT_ONCE: Final = HTTP_AT_ONCE + INBOX_STREAMS
_AGAIN_S: Final = 2
_TWO_ENDS: Final = frozenset({b"content-length", b"transfer-encoding"})
_MOST_CONNECTIONS: Final = 2 * HTTP_AT_ONCE + INBOX_STREAMS
"""More are closed unanswered: each is a file, of which a process has a thousand for its database, too."""


@dataclass(frozen=True, slots=True)
class Site:
    """What answers, part by part; a part without routes is not there. Each part names its own paths.

    Of two that fit a path the first one answers: so what is most particular comes first.
    """

    stands: Callable[[], str | None] = lambda: None
    """Names what of the node gets nowhere, and only a new process mends; `/healthz` says so."""
    ready: Sequence[BaseRoute] = ()
    metrics: Sequence[BaseRoute] = ()
    feedback: Sequence[BaseRoute] = ()
    unsubscribing: Sequence[BaseRoute] = ()
    api: Sequence[BaseRoute] = ()
    console: Sequence[BaseRoute] = ()
    lost: Lost | None = None
    """What people see where nothing is; programs get a problem."""

    def routes(self) -> list[BaseRoute]:
        """Return all of them, in the order in which they are asked."""
        alive = Route("/healthz", partial(_alive, self.stands), methods=["GET"])
        return [
            alive, *self.ready, *self.metrics, *self.feedback, *self.unsubscribing, *self.api, *self.console,
        ]  # fmt: skip


def application(site: Site) -> ASGIApp:
    """Return what answers requests: at their own paths, and with no redirect to what a `Host` header says."""
    app = Starlette(routes=site.routes(), exception_handlers={HTTPException: for_people(site.lost)})
    app.router.redirect_slashes = False
    return Traced(app)


async def _alive(stands: Callable[[], str | None], _request: Request) -> Response:
    """Answer who restarts nodes: the process lives, and its work moves, late or not."""
    if (part := stands()) is not None:
        return problem(503, "work_stands", f"{part}: nothing moves there, and a restart may mend it")
    return JSONResponse({"status": "alive"})


def bound(host: str, port: int) -> socket.socket:
    """Return a socket that listens there.

    Raises:
        InvalidSettings: that cannot be.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=HTTP_AT_ONCE)
    except OSError as error:
        hint = "give a free address in CHIMEWAY_HTTP_BIND, or leave it empty for no HTTP"
        told = f"CHIMEWAY_HTTP_BIND: nobody can listen on {host}:{port} ({error.strerror or error}): {hint}"
        raise InvalidSettings(told, variable="CHIMEWAY_HTTP_BIND", hint=hint) from None


class HttpServer:
    """Serves an application on a bound socket until it is closed."""

    def __init__(
        self,
        app: ASGIApp,
        listening: socket.socket,
        ending: Callable[[], None] = lambda: None,
        refused: Counter[int] | None = None,
    ) -> None:
        """Take both, what is to be told when it closes, and where it is counted by which statuses requests
        are refused; nobody is answered before `serve`.
        """
        self._listening = listening
        self._ending = ending
        self._refused = Counter[int]() if refused is None else refused
        self._app = app
        self._server = _Server(
            uvicorn.Config(
                self._answer,
                interface="asgi3",
                http=_Hurried,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=_KEEP_ALIVE_S,
                timeout_graceful_shutdown=_GRACE_S,
                h11_max_incomplete_event_size=_HEAD_BYTES,
            )
        )

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or send it away while there are too many connections (uvicorn's own way has no
        words for programs, and does not say when to come again).

        One that says twice, and in two ways, where it ends may be two for the proxy before us.
        """
        send = self._counting(send)
        if {name for name, _ in scope["headers"]} >= _TWO_ENDS:
            told = "give Content-Length or Transfer-Encoding, not both"
            await problem(400, "bad_header", told, headers={"Connection": "close"})(scope, receive, send)
        elif len(self._server.server_state.connections) > _AT_ONCE:
            told = "too many ask at once: ask again"
            busy = problem(503, "try_again", told, retry_after_s=_AGAIN_S, headers={"Connection": "close"})
            await busy(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _counting(self, send: Send) -> Send:
        """Return what sends an answer, and counts one that refuses: whichever part it comes from."""

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] >= 400:
                self._refused[message["status"]] += 1
            await send(message)

        return sending

    @property
    def address(self) -> tuple[str, int]:
        """Return where it listens."""
        host, port = self._listening.getsockname()[:2]
        return str(host), int(port)

    async def serve(self) -> None:
        """Answer requests until `close`, and then those under way, for a few seconds at most."""
        host, port = self.address
        _log.info("http.listening", host=host, port=port)
        try:
            await self._server.serve(sockets=[self._listening])
        except asyncio.CancelledError:
            self._server.force_exit = True
            await self._server.shutdown(sockets=[self._listening])
            raise
        finally:
            self._listening.close()

    def close(self) -> None:
        """Take no more requests."""
        self._ending()
        self._server.should_exit = True


def _hurry(transport: Any) -> None:
    """Have the head of an answer and its body sent as they are written, and who takes nothing of it cut off.

    Else the second waits until the first is acknowledged, for which whoever asks takes forty milliseconds.
    (asyncio does so by itself, but only for sockets that were made with a protocol's number.)
    """
    own = transport.get_extra_info("socket")
    if own is not None and own.family in {socket.AF_INET, socket.AF_INET6}:
        own.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux
            own.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(_STALLED_S * 1_000))


class _Server(uvicorn.Server):
    """uvicorn without its hands on the process's signals: they are the node's, or the host's."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _Hurried(H11Protocol):
    """The protocol of one connection, which closes it when a request's head takes too long to come."""

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(Joined(transport))  # type: ignore[arg-type]  # it is as one
        if len(self.connections) > _MOST_CONNECTIONS:
            transport.abort()
            return
        _hurry(transport)
        self._await_head()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._has_request():
            self._forget_deadline()
        elif self._deadline is None:
            self._await_head()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self.transport.is_closing() and not self._has_request():
            self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget_deadline()
        super().connection_lost(exc)

    def _has_request(self) -> bool:
        cycle: Any = self.cycle  # None before the first request, whatever its type says
        return cycle is not None and not cycle.response_complete

    def _await_head(self) -> None:
        self._forget_deadline()
        self._deadline = self.loop.call_later(_HEAD_S, self.transport.close)

    def _forget_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
