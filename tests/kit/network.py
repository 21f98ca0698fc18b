"""A network of our own: what stands between one client and one server, and fails as it is told.

It carries bytes and knows no protocol, so it stands before PostgreSQL, a webhook's endpoint or an SMTP
server alike. (`kit.proxy` knows PostgreSQL's messages, and holds a certain one.) A `Line` is one way to one
server; whoever gives each node lines of its own can cut one node off and leave the others alone.

    client ──up──▶ line ──up──▶ server
    client ◀─down─ line ◀─down─ server

What it can do, to both directions or one, to all links or to some of them:

- **delay**: each piece arrives so much later, in order; what follows is not held up by it (latency, not
  bandwidth).
- **hold**: a black hole. Nothing arrives, no end either: who was killed behind it looks alive from the other
  side. A new link connects, and hears nothing. Nothing is lost for ever: as TCP sends again what was not
  acknowledged, `heal` lets arrive what was held, unless the link was ended meanwhile.
- **cut**: both ends get a reset, at once, and what was held is gone.
- **cut in mid-answer**: answers are held for a moment and then cut. What the clients had asked was done, and
  nobody has told them: commits whose outcome they cannot know.
- **refuse**: new links are reset as they come; those that are open go on.
- **lead elsewhere**: new links go to another server, as after a failover.

A link is told from others by what the client has said on it (`says`): `LISTEN`, an application's name.
What a direction holds is bounded by the sockets' own buffers and `_HELD` pieces behind them.
"""

import asyncio
import random
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Final, TypeAlias
from urllib.parse import parse_qsl, urlsplit

Place: TypeAlias = str | tuple[str, int]
"""Where a server listens: the path of its socket, or host and port."""
_PIECE: Final = 65_536
_HELD: Final = 64
_HEARD: Final = 32_768
"""Bytes of a client's first words that are remembered, to tell links apart."""
_GONE: Final = OSError
_RESET: Final = struct.pack("ii", 1, 0)
"""SO_LINGER for no time at all: closing sends a reset instead of an end."""


class Way:
    """One direction: how late its pieces arrive, and whether any do."""

    def __init__(self) -> None:
        """Begin as a network that works."""
        self.delay_s = 0.0
        self.jitter_s = 0.0
        self._open = asyncio.Event()
        self._open.set()

    @property
    def held(self) -> bool:
        """Whether nothing arrives."""
        return not self._open.is_set()

    def hold(self) -> None:
        """Let nothing arrive any more."""
        self._open.clear()

    def heal(self) -> None:
        """Let all arrive, what was held first, and without delay."""
        self.delay_s = self.jitter_s = 0.0
        self._open.set()

    def delay(self, delay_s: float, jitter_s: float = 0.0) -> None:
        """Let each piece arrive so much later, and by up to `jitter_s` more."""
        self.delay_s, self.jitter_s = delay_s, jitter_s

    def late_s(self) -> float:
        """Return by how much the next piece is late."""
        return self.delay_s + random.uniform(0, self.jitter_s)

    async def opened(self) -> None:
        """Wait until something arrives again."""
        await self._open.wait()


@dataclass(slots=True, eq=False)
class Link:
    """One connection through a line, with ways of its own beside the line's."""

    client: asyncio.StreamWriter
    up: Way = field(default_factory=Way)
    down: Way = field(default_factory=Way)
    server: asyncio.StreamWriter | None = None
    heard: bytearray = field(default_factory=bytearray)

    def says(self, word: str) -> bool:
        """Say whether the client has said this among its first words."""
        return word.encode() in self.heard

    def cut(self) -> None:
        """Reset both ends."""
        for writer in (self.client, self.server):
            if writer is not None:
                reset(writer)

    def end(self) -> None:
        """End both, once they have got what was written to them."""
        for writer in (self.client, self.server):
            if writer is not None:
                writer.close()


Chosen: TypeAlias = Callable[[Link], bool]


def _all(_link: Link) -> bool:
    return True


class Line:
    """The way to one server, for whoever connects to `address` (or, of a database, to `url`)."""

    def __init__(self, place: Place) -> None:
        """Take where the server is; use `line_to`."""
        self.up = Way()
        """From the clients to the server, all links."""
        self.down = Way()
        """From the server to the clients."""
        self.links: set[Link] = set()
        self.port = 0
        self._place = place
        self._refusing = False
        self._closing = False
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def address(self) -> tuple[str, int]:
        """Where to connect to."""
        return "127.0.0.1", self.port

    def lead_to(self, place: Place) -> None:
        """Lead new links to another server; those that are open stay where they are."""
        self._place = place

    def url(self, database_url: str) -> str:
        """Return a database's URL with this line in the place of its host; its words are not encrypted."""
        parts = urlsplit(database_url)
        user = parts.netloc.rpartition("@")[0]
        return f"postgresql://{user}@127.0.0.1:{self.port}{parts.path}?sslmode=disable"

    def black_hole(self, chosen: Chosen = _all) -> list[Link]:
        """Hold both directions of some links, or (by default) of the line and all that come; return them."""
        found = [link for link in self.links if chosen(link)]
        for side in [self] if chosen is _all else found:
            side.up.hold()
            side.down.hold()
        return found

    def delay(self, delay_s: float, jitter_s: float = 0.0) -> None:
        """Delay both directions."""
        self.up.delay(delay_s, jitter_s)
        self.down.delay(delay_s, jitter_s)

    def refuse(self) -> None:
        """Reset whoever connects from now on."""
        self._refusing = True

    def heal(self) -> None:
        """End all faults."""
        self._refusing = False
        for side in (self, *self.links):
            side.up.heal()
            side.down.heal()

    def cut(self, chosen: Chosen = _all) -> int:
        """Reset some links, or all; return how many."""
        found = [link for link in self.links if chosen(link)]
        for link in found:
            link.cut()
        return len(found)

    async def cut_in_answer(self, seconds: float, chosen: Chosen = _all) -> int:
        """Hold answers for so long, and then reset: what was asked meanwhile was done, and nobody told so."""
        found = [link for link in self.links if chosen(link)]
        for link in found:
            link.down.hold()
        await asyncio.sleep(seconds)
        for link in found:
            link.cut()
        return len(found)

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one link until either side ends it."""
        link = Link(writer)
        if self._refusing:
            link.cut()
            return
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.links.add(link)
        try:
            await self._carry_both(link, reader)
        except asyncio.CancelledError:
            if not self._closing:  # the streams' own callback cannot bear a task that was cancelled
                raise
        finally:
            self.links.discard(link)
            self._tasks.discard(task)

    async def _carry_both(self, link: Link, reader: asyncio.StreamReader) -> None:
        try:
            await self.up.opened()  # behind a black hole nobody is reached
            answers, link.server = await _connected(self._place)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._carry(link, reader, link.server, is_up=True))
                group.create_task(self._carry(link, answers, link.client, is_up=False))
        except* _Ended:
            link.end()
        except* _GONE:
            link.cut()

    async def _carry(
        self, link: Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_up: bool
    ) -> None:
        """Carry one direction: pieces are read as they come, and written when it is time."""
        ways = (link.up, self.up) if is_up else (link.down, self.down)
        held: asyncio.Queue[tuple[float, bytes | None]] = asyncio.Queue(_HELD)
        now = asyncio.get_running_loop().time

        async def read() -> None:
            due, piece = 0.0, b"-"
            while piece:
                try:
                    piece = await reader.read(_PIECE)
                except OSError:
                    await held.put(
                        (due, None)
                    )  # a reset, too, is heard of no sooner than the network lets it
                    return
                due = max(due, now() + sum(way.late_s() for way in ways))
                if is_up and len(link.heard) < _HEARD:
                    link.heard += piece
                await held.put((due, piece))

        async def write() -> None:
            while True:
                due, piece = await held.get()
                if (early_s := due - now()) > 0:
                    await asyncio.sleep(early_s)
                while any(way.held for way in ways):
                    for way in ways:
                        await way.opened()
                if piece is None:
                    raise ConnectionResetError
                if not piece:
                    raise _Ended
                writer.write(piece)
                await writer.drain()

        async with asyncio.TaskGroup() as group:
            group.create_task(read())
            group.create_task(write())

    async def close(self) -> None:
        """End all links."""
        self._closing = True
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


class _Ended(Exception):  # noqa: N818  (no error: one side has said all it had to say)
    """One side has ended the link."""


def reset(writer: asyncio.StreamWriter) -> None:
    """End a connection by a reset, as the end of its process would."""
    raw = writer.get_extra_info("socket")
    with suppress(OSError):
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()


async def _connected(place: Place) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if isinstance(place, str):
        return await asyncio.open_unix_connection(place)
    return await asyncio.open_connection(*place)


def place_of(database_url: str) -> Place:
    """Return where a database's server listens, by its URL."""
    parts = urlsplit(database_url)
    options = dict(parse_qsl(parts.query))
    host = options.get("host") or parts.hostname or "127.0.0.1"
    port = int(options.get("port") or parts.port or 5432)
    return f"{host}/.s.PGSQL.{port}" if host.startswith("/") else (host, port)


@asynccontextmanager
async def line_to(place: Place) -> AsyncIterator[Line]:
    """Serve a line while the block lasts."""
    line = Line(place)
    server = await asyncio.start_server(line.carry, "127.0.0.1", 0)
    line.port = server.sockets[0].getsockname()[1]
    try:
        yield line
    finally:
        server.close()
        await line.close()
