"""What the fault servers share: a port of loopback that stays theirs, connections that end, a record.

They live in the caller's event loop. So a channel that blocks the loop while it sends waits for a
server that cannot answer: it fails its test by its own timeout, as it should.
"""

import asyncio
import socket
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from types import MappingProxyType, TracebackType
from typing import ClassVar, Final, Self

from chimeway.testing.contract_answers import Answer
from chimeway.testing.faults import AnyFault, Fault, FaultKind, Program, Received, as_fault

GONE: Final = (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError)
LINE_LIMIT: Final = 16 * 1024 * 1024
"""Longest line or body read: far above what any test sends, below what hurts."""
_PIECES: Final = 4


class FaultServer(Program, ABC):
    """A real server on loopback that fails as it is told; use as an async context manager."""

    answers: ClassVar[Mapping[FaultKind, frozenset[Answer]]] = MappingProxyType({})
    """What a channel may answer besides the contract's table: this protocol cannot say all of it."""
    tells_pause: ClassVar[bool] = True
    """Whether a client is told for how long the provider wants to be left alone."""

    def __init__(self) -> None:
        """Listen once entered."""
        super().__init__()
        self.received: list[Received] = []
        """Each message given in full, whatever it met."""
        self.port = 0
        self._place: socket.socket | None = None
        self._server: asyncio.Server | None = None
        self._connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._changed = asyncio.Event()

    @property
    def taken(self) -> list[Received]:
        """The messages that the provider has: those it did not refuse."""
        return [one for one in self.received if one.taken]

    @property
    def connections(self) -> int:
        """How many clients are connected now."""
        return len(self._connections)

    async def __aenter__(self) -> Self:
        """Listen on a free port, and hold it also while nothing listens there: nobody else may get it."""
        self._place = socket.socket()
        self._place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._place.bind(("127.0.0.1", self.port))
        self.port = self._place.getsockname()[1]
        await self._listen()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End all connections, and listen no more."""
        await self._end()
        if self._place is not None:
            self._place.close()

    @asynccontextmanager
    async def failing(self, fault: AnyFault) -> AsyncIterator[None]:
        """Meet every call with this while the block lasts; with `refuse` nothing listens meanwhile."""
        found = as_fault(fault)
        if found.kind == "refuse":
            await self._end()
            try:
                yield
            finally:
                await self._listen()
            return
        self.fail_all(found)
        try:
            yield
        finally:
            self.fail_all("ok")

    async def restart(self) -> None:
        """End all connections and listen anew on the same port, as a provider does that is deployed."""
        await self._end()
        await self._listen()

    async def wait_until(self, condition: Callable[[], bool], within_s: float = 10) -> None:
        """Wait until something is so, looked at whenever a message or a connection has come or gone.

        Raises:
            TimeoutError: it is not so in time.
        """
        async with asyncio.timeout(within_s):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    @abstractmethod
    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection to its end; what `GONE` names may be raised."""

    def _met(self, received: Received) -> None:
        """Keep a message."""
        self.received.append(received)
        self._changed.set()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(
            self._serve, "127.0.0.1", self.port, limit=LINE_LIMIT, backlog=1024, reuse_port=True
        )

    async def _end(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.close()
        ending = dict(self._connections)
        for task, writer in ending.items():
            writer.transport.abort()
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections[task] = writer
        self._changed.set()
        try:
            await self._converse(reader, writer)
        except GONE:
            pass
        except asyncio.CancelledError:
            return  # the server ends; nobody waits for this task's own words
        finally:
            writer.transport.abort() if self._server is None else writer.close()
            del self._connections[task]
            self._changed.set()


async def hang(reader: asyncio.StreamReader) -> None:
    """Say nothing until the client has gone."""
    while await reader.read(65_536):
        pass


async def write_slowly(writer: asyncio.StreamWriter, answer: bytes, fault: Fault) -> None:
    """Give an answer in pieces."""
    size = max(1, len(answer) // _PIECES)
    for at in range(0, len(answer), size):
        await asyncio.sleep(fault.delay_s / _PIECES)
        writer.write(answer[at : at + size])
        await writer.drain()
