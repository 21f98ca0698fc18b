"""The network of our own fails as it is told, and only so."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import asyncpg
import pytest

from kit.network import Line, line_to, place_of
from kit.waiting import wait_for

SHORT_S = 0.3
"""How long nothing must come before we believe that it does not."""


class Echo:
    """A server that sends everything back, and keeps what it got."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.got: list[bytes] = []
        self.lost = 0
        self.ended = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one link."""
        try:
            while line := await reader.readline():
                self.got.append(line)
                writer.write(line)
                if line == b"bye\n":
                    break
            self.ended += 1
        except OSError:
            self.lost += 1
        finally:
            writer.close()


@asynccontextmanager
async def _echo() -> AsyncIterator[tuple[Echo, Line]]:
    echo = Echo()
    server = await asyncio.start_server(echo.serve, "127.0.0.1", 0)
    try:
        async with line_to(server.sockets[0].getsockname()) as line:
            yield echo, line
    finally:
        server.close()


async def _says(line: Line, word: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection(*line.address)
    writer.write(word + b"\n")
    return reader, writer


async def _nothing(reader: asyncio.StreamReader) -> bool:
    with suppress(TimeoutError):
        async with asyncio.timeout(SHORT_S):
            await reader.readline()
            return False
    return True


async def test_what_is_said_arrives_and_the_last_word_too() -> None:
    """Untouched it is no more than a wire, also for an answer right before the end."""
    async with _echo() as (echo, line):
        reader, writer = await _says(line, b"bye")
        assert await reader.read() == b"bye\n"
        writer.close()
        await wait_for(lambda: not line.links, "the link is gone")
        assert echo.got == [b"bye\n"]


async def test_a_black_hole_tells_nobody_of_anything() -> None:
    """Held, neither words nor ends arrive; healed, they all do."""
    async with _echo() as (echo, line):
        reader, writer = await _says(line, b"one")
        assert await reader.readline() == b"one\n"
        line.black_hole()
        writer.write(b"two\n")
        _, other = await _says(line, b"three")
        assert await _nothing(reader)
        other.transport.abort()
        writer.transport.abort()
        await asyncio.sleep(SHORT_S)
        assert (echo.got, echo.ended, echo.lost) == ([b"one\n"], 0, 0)
        line.heal()
        await wait_for(lambda: echo.ended + echo.lost >= 1 and b"two\n" in echo.got, "the end arrives")


async def test_one_direction_alone_can_be_held() -> None:
    """The server does what it is asked, and the client hears nothing; cut, it never will."""
    async with _echo() as (echo, line):
        reader, writer = await _says(line, b"hello")
        await reader.readline()
        cutting = asyncio.create_task(line.cut_in_answer(SHORT_S))
        await asyncio.sleep(0)
        writer.write(b"commit\n")
        assert await cutting == 1
        with pytest.raises(ConnectionResetError):
            await reader.readline()
        assert echo.got == [b"hello\n", b"commit\n"]


async def test_delay_keeps_order_and_is_latency() -> None:
    """Ten pieces, each late by as much, are not ten times as late."""
    async with _echo() as (_, line):
        reader, writer = await _says(line, b"0")
        await reader.readline()
        line.delay(0.1, 0.05)
        began = time.monotonic()
        for number in range(1, 11):
            writer.write(b"%d\n" % number)
            await asyncio.sleep(0.01)
        assert [await reader.readline() for _ in range(10)] == [b"%d\n" % n for n in range(1, 11)]
        assert time.monotonic() - began >= 0.2
        writer.close()


async def test_links_are_chosen_by_what_was_said() -> None:
    """Only the chosen link is cut, or held."""
    async with _echo() as (_, line):
        deaf, first = await _says(line, b"LISTEN")
        well, second = await _says(line, b"select")
        await deaf.readline()
        await well.readline()
        assert len(line.black_hole(lambda link: link.says("LISTEN"))) == 1
        for writer in (first, second):
            writer.write(b"more\n")
        assert await well.readline() == b"more\n"
        assert await _nothing(deaf)
        line.heal()
        assert await deaf.readline() == b"more\n"
        assert line.cut(lambda link: link.says("select")) == 1
        with pytest.raises(ConnectionResetError):
            await well.readline()
        first.close()


async def test_it_refuses_and_leads_elsewhere() -> None:
    """New links are reset while it refuses; led elsewhere, they reach the other server."""
    async with _echo() as (first, line), _echo() as (second, other):
        line.refuse()
        reader, writer = await _says(line, b"no")
        with pytest.raises(ConnectionResetError):
            await reader.readline()
        line.heal()
        line.lead_to(other.address)
        reader, writer = await _says(line, b"yes")
        assert await reader.readline() == b"yes\n"
        assert (first.got, second.got) == ([], [b"yes\n"])
        writer.close()


async def test_it_stands_before_postgresql(database_url: str) -> None:
    """A commit whose answer is cut was done, and its client knows that it does not know."""
    async with line_to(place_of(database_url)) as line:
        through = await asyncpg.connect(line.url(database_url))
        await through.execute("create table public.told (said text)")
        cutting = asyncio.create_task(line.cut_in_answer(1.0))
        await asyncio.sleep(0)
        with pytest.raises((OSError, asyncpg.PostgresError, asyncpg.InterfaceError)):
            await through.execute("insert into public.told values ('yes')")
        assert await cutting == 1
        direct = await asyncpg.connect(database_url)
        assert await direct.fetchval("select said from public.told") == "yes"
        await direct.close()
