"""A customer's endpoint: a real HTTP server on loopback that answers as a test tells it, byte by byte."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def reply(status: int, *headers: str, body: bytes = b"") -> bytes:
    """Return an answer as it goes over the wire."""
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


@dataclass(slots=True)
class Request:
    """What arrived, in whole."""

    connection: int
    first: str
    headers: dict[str, str]
    body: bytes


@dataclass(slots=True)
class Receiver:
    """What the server will answer, and what it saw."""

    port: int = 0
    answers: list[bytes] = field(default_factory=list)
    """Taken one by one; then `OK`. `CLOSE` behind one hangs up after it, `HANG` says no more."""
    requests: list[Request] = field(default_factory=list)
    connections: int = 0
    writers: list[asyncio.StreamWriter] = field(default_factory=list)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    gone: asyncio.Event = field(default_factory=asyncio.Event)

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer requests until one side hangs up."""
        self.connections += 1
        self.writers.append(writer)
        connection = self.connections
        try:
            while (request := await _read(reader, connection)) is not None:
                self.requests.append(request)
                answer = self.answers.pop(0) if self.answers else OK
                writer.write(answer.removesuffix(CLOSE).removesuffix(HANG))
                await writer.drain()
                if answer.endswith(HANG):
                    await self.ended.wait()
                if answer.endswith((CLOSE, HANG)):
                    break
        except ConnectionError:
            pass
        finally:
            self.gone.set()
            writer.close()

    def hang_up(self) -> None:
        """Close what lies idle, as servers do."""
        for writer in self.writers:
            writer.close()


CLOSE = b"<close>"
HANG = b"<hang>"


async def _read(reader: asyncio.StreamReader, connection: int) -> Request | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.strip().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return Request(connection, first, headers, await reader.readexactly(int(headers["content-length"])))


@asynccontextmanager
async def receiving(
    *answers: bytes, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1", port: int = 0
) -> AsyncIterator[Receiver]:
    """Serve on loopback while the block lasts."""
    receiver = Receiver(answers=list(answers))
    server = await asyncio.start_server(receiver.converse, host, port, ssl=tls)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        receiver.ended.set()
        server.close()
        for writer in receiver.writers:
            writer.transport.abort()
        await asyncio.sleep(0)


@asynccontextmanager
async def outside_and_inside(*answers: bytes) -> AsyncIterator[tuple[Receiver, Receiver]]:
    """Serve on 127.0.0.2, which stands for the world, and on 127.0.0.1, at one port."""
    for _ in range(20):
        async with AsyncExitStack() as stack:
            outside = await stack.enter_async_context(receiving(*answers, host="127.0.0.2"))
            try:
                inside = await stack.enter_async_context(receiving(port=outside.port))
            except OSError:
                continue  # somebody has that port of the other address
            yield outside, inside
            return
    raise AssertionError("no port is free on both addresses")
