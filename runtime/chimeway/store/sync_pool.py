"""Connections without an event loop: a small pool of psycopg connections, safe between threads and forks.

No more than `size` connections, opened when they are needed, and the one used last is used again first. One
that the server has closed is noticed before it is lent (its socket has something to say while it should be
silent), so a restart of the server costs reconnects and no errors; a statement under way when it
happens fails, since nobody knows what became of it.

Room in it is counted by the places that somebody holds, weakly: whatever interrupts a thread (Ctrl-C, a
time limit's signal), wherever it stands, a place that nobody holds any more is free again.

A forked child begins with an empty pool: the parent's connections are left alone there, neither used nor
closed, since closing one would end the parent's session. So a client made before the fork (gunicorn with
preload, multiprocessing) serves in each child.
"""

import os
import select
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final, TypeAlias, TypeVar
from weakref import WeakSet

import psycopg
from psycopg.abc import PQGen
from psycopg.pq import TransactionStatus

from chimeway.database_url import read
from chimeway.errors import DatabaseUnavailable
from chimeway.store.pooler import DIRECT
from chimeway.store.targets import for_psycopg

_T = TypeVar("_T")
Connection: TypeAlias = "psycopg.Connection[Any]"
_COMMAND_TIMEOUT_S: Final = 60.0
_LEND_TIMEOUT_S: Final = 30.0
_LOOK_S: Final = 1.0
_CANCEL_S: Final = 1.0


class _Place:
    """Room for one connection, taken as long as this lives."""

    __slots__ = ("__weakref__",)


class _Bounded(psycopg.Connection[Any]):
    """A connection whose server is given up when it does not answer in time."""

    process: int
    place: _Place

    def __del__(self, *_: object) -> None:
        """Go without the driver's warning: a client may live as long as its process, and an interrupt may
        lose a connection; what the driver has under this is closed with it.
        """

    def wait(self, gen: PQGen[_T], *args: Any, **named: Any) -> _T:
        """Wait as long as a statement may take."""
        return super().wait(_bounded(gen, _COMMAND_TIMEOUT_S), *args, **named)


def _bounded(gen: PQGen[_T], seconds: float) -> PQGen[_T]:
    """Pass a driver's generator through, until it has been silent for too long."""
    end = time.monotonic() + seconds
    try:
        wanted = next(gen)
        while True:
            ready = yield wanted
            if not ready and time.monotonic() > end:
                raise TimeoutError(f"no answer within {seconds:g} s")
            wanted = gen.send(ready)
    except StopIteration as done:
        answer: _T = done.value
        return answer


class SyncDatabase:
    """A pool of connections to one PostgreSQL; any thread may borrow."""

    def __init__(self, url: str, *, name: str = "chimeway-client", size: int = 8) -> None:
        """Read the URL; nothing is opened yet.

        Raises:
            InvalidInput: the URL is none, or has what is not understood.
        """
        self._target = for_psycopg(read(url), name)
        self._size = size
        self._closed = False
        self._begin()
        _pools.add(self)

    def _begin(self) -> None:
        self._state = threading.Condition()
        self._idle: list[_Bounded] = []
        self._places: WeakSet[_Place] = WeakSet()

    @contextmanager
    def lend(self) -> Iterator[Connection]:
        """Lend a connection, in autocommit.

        Raises:
            DatabaseUnavailable: nothing answers there, all connections stay in use, or this is closed.
        """
        connection = self._take()
        try:
            yield connection
        finally:
            self._take_back(connection)

    def close(self) -> None:
        """Close what is idle now, and what is lent when it comes back; nothing is lent any more."""
        with self._state:
            self._closed = True
            idle, self._idle = self._idle, []
            self._state.notify_all()
        for connection in idle:
            connection.close()

    def _take(self) -> _Bounded:
        with self._state:
            self._wait()
            if self._closed:
                raise DatabaseUnavailable("the client is closed", hint="open another")
            while self._idle:
                connection = self._idle.pop()
                if _is_silent(connection):
                    return connection
                connection.close()
                self._leave(connection.place)
            place = _Place()
            self._places.add(place)
        try:
            return self._connect(place)
        except BaseException:
            self._leave(place)
            raise

    def _wait(self) -> None:
        """Wait until there is something to lend; from time to time look oneself, as a place may fall free
        where nobody is left to tell of it.
        """
        end = time.monotonic() + _LEND_TIMEOUT_S
        while not self._can_lend():
            left = end - time.monotonic()
            if left <= 0:
                hint = "open the client with a larger pool_size, or keep transactions shorter"
                busy = f"all {self._size} connections were in use for {_LEND_TIMEOUT_S:g} s"
                raise DatabaseUnavailable(f"{busy}: {hint}", hint=hint)
            self._state.wait(min(left, _LOOK_S))

    def _can_lend(self) -> bool:
        return self._closed or bool(self._idle) or len(self._places) < self._size

    def _connect(self, place: _Place) -> _Bounded:
        # No prepared statements: they would not survive a pooler in front of the server.
        connection = _Bounded.connect(**self._target, autocommit=True, prepare_threshold=None)
        connection.process = os.getpid()
        connection.place = place
        try:
            connection.execute(DIRECT.format(connection.info.backend_pid))
        except BaseException:
            connection.close()
            raise
        return connection

    def _take_back(self, connection: _Bounded) -> None:
        if connection.process != os.getpid():
            _inherited.append(connection)  # forked while it was lent: it is the parent's
            return
        if not connection.closed and not _end_transaction(connection):
            connection.close()
        with self._state:
            if not connection.closed and not self._closed:
                self._idle.append(connection)
                self._state.notify()
                return
        connection.close()
        self._leave(connection.place)

    def _leave(self, place: _Place) -> None:
        with self._state:
            self._places.discard(place)
            self._state.notify()

    def _after_fork(self) -> None:
        _inherited.extend(self._idle)
        self._begin()


def _is_silent(connection: _Bounded) -> bool:
    """Say whether an idle connection is as it should be: open, and nothing to read on it."""
    if connection.closed:
        return False
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return not poll.poll(0)


def _end_transaction(connection: _Bounded) -> bool:
    """Bring a connection back to rest; say whether that worked."""
    with suppress(psycopg.Error, OSError):
        match connection.info.transaction_status:
            case TransactionStatus.IDLE:
                return True
            case TransactionStatus.INTRANS | TransactionStatus.INERROR:
                connection.rollback()
                return True
            case TransactionStatus.ACTIVE:
                connection.cancel_safe(timeout=_CANCEL_S)  # it was given up; its statement should be, too
            case _:
                pass
    return False


_pools: Final[WeakSet[SyncDatabase]] = WeakSet()
_inherited: Final[list[_Bounded]] = []
"""A parent's connections in its forked child: kept, since to drop one would be to close it."""


def _in_child() -> None:
    for pool in list(_pools):
        pool._after_fork()  # noqa: SLF001  (a method of its own module)


os.register_at_fork(after_in_child=_in_child)
