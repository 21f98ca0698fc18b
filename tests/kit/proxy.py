"""A proxy in front of PostgreSQL: knows the messages, and holds one where the test wants it.

Statements are followed by name (Parse gives a text a name, Bind uses it), so that a request can be
told by a word of its SQL. A held request has not been seen by the server; a held reply belongs to a
request whose transaction has ended (it is held from ReadyForQuery on), and the client has seen
nothing of it. What is thrown away takes its connection with it, as the end of its process would.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import parse_qsl, urlsplit

from kit.waiting import Gate

_STARTUP, _SSL, _GSS = 196608, 80877103, 80877104
_GONE = (asyncio.IncompleteReadError, ConnectionError)


@dataclass(slots=True)
class _Trap:
    """Holds the first request with this word in its SQL, or the reply to it."""

    word: str
    about: str
    side: Literal["request", "reply"]
    gate: Gate


@dataclass(slots=True)
class _Link:
    """One connection through the proxy."""

    client: tuple[asyncio.StreamReader, asyncio.StreamWriter]
    server: tuple[asyncio.StreamReader, asyncio.StreamWriter]
    statements: dict[bytes, bytes] = field(default_factory=dict)
    reply_gate: Gate | None = None

    def close(self) -> None:
        """End both sides."""
        self.client[1].transport.abort()
        self.server[1].transport.abort()


class Proxy:
    """What the test sees of the proxy."""

    def __init__(self, upstream: str) -> None:
        """Take the URL of the server behind it."""
        self.url = ""
        self._upstream = upstream
        self._traps: list[_Trap] = []
        self._gates: list[Gate] = []
        self._links: list[_Link] = []

    def hold_request(self, word: str, about: str = "") -> Gate:
        """Hold the next request whose SQL has this word, before the server sees it.

        `about`: only one that bears this text, in its SQL or among its arguments.
        """
        return self._set("request", word, about)

    def hold_reply(self, word: str, about: str = "") -> Gate:
        """Hold the next reply to such a request, after the server has committed."""
        return self._set("reply", word, about)

    def _set(self, side: Literal["request", "reply"], word: str, about: str) -> Gate:
        gate = Gate()
        self._traps.append(_Trap(word, about, side, gate))
        self._gates.append(gate)
        return gate

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection."""
        try:
            opening = await _opening(reader, writer)
            server = await self._connected()
        except (*_GONE, OSError):
            writer.transport.abort()
            return
        server[1].write(opening)
        link = _Link((reader, writer), server)
        self._links.append(link)
        requests = asyncio.ensure_future(self._requests(link))
        replies = asyncio.ensure_future(self._replies(link))
        try:
            await asyncio.wait({requests, replies}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            link.close()
            for task in (requests, replies):
                task.cancel()
            await asyncio.gather(requests, replies, return_exceptions=True)

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        parts = urlsplit(self._upstream)
        options = dict(parse_qsl(parts.query))
        host = options.get("host") or parts.hostname or "127.0.0.1"
        port = int(options.get("port") or parts.port or 5432)
        if host.startswith("/"):
            return await asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")
        return await asyncio.open_connection(host, port)

    async def _requests(self, link: _Link) -> None:
        while True:
            kind, message = await _message(link.client[0])
            trap = self._sprung(_sql(link, kind, message[5:]), message)
            if trap is not None and trap.side == "reply":
                link.reply_gate = trap.gate
            elif trap is not None and not await trap.gate.passes():
                return
            link.server[1].write(message)
            await link.server[1].drain()

    async def _replies(self, link: _Link) -> None:
        held = b""
        while True:
            kind, message = await _message(link.server[0])
            held += message
            if link.reply_gate is not None:
                if kind != b"Z":
                    continue
                if not await link.reply_gate.passes():
                    return
                link.reply_gate = None
            link.client[1].write(held)
            held = b""
            await link.client[1].drain()

    def _sprung(self, sql: bytes, message: bytes) -> _Trap | None:
        for trap in self._traps:
            if trap.word.encode() in sql and trap.about.encode() in message:
                self._traps.remove(trap)
                return trap
        return None

    def close(self) -> None:
        """End all connections."""
        for gate in self._gates:
            gate.discard()
        for link in self._links:
            link.close()


async def _opening(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """Return the first real message; a wish for encryption is declined here."""
    while True:
        size = await reader.readexactly(4)
        body = await reader.readexactly(int.from_bytes(size, "big") - 4)
        if int.from_bytes(body[:4], "big") not in {_SSL, _GSS}:
            return size + body
        writer.write(b"N")


async def _message(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Return the kind of the next message, and the whole of it."""
    head = await reader.readexactly(5)
    body = await reader.readexactly(int.from_bytes(head[1:], "big") - 4)
    return head[:1], head + body


def _sql(link: _Link, kind: bytes, body: bytes) -> bytes:
    """Return the SQL that a message executes, empty for all other messages."""
    match kind:
        case b"P":
            name, sql = body.split(b"\0", 2)[:2]
            link.statements[name] = sql
            return b""
        case b"B":
            name = body.split(b"\0", 2)[1]
            return link.statements.get(name, b"")
        case b"Q":
            return body
        case _:
            return b""


@asynccontextmanager
async def proxy_to(url: str) -> AsyncIterator[Proxy]:
    """Stand in front of a database while the block lasts; connect to `proxy.url`."""
    proxy = Proxy(url)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    parts = urlsplit(url)
    user = parts.netloc.rpartition("@")[0]
    proxy.url = f"postgresql://{user}@127.0.0.1:{port}{parts.path}?sslmode=disable"
    try:
        yield proxy
    finally:
        server.close()
        proxy.close()
